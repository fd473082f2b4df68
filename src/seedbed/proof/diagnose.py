"""Where two executions part, and why: coarse first, then within the steps of the one epoch in which they do.

Executions are asked for again at a finer detail, so a long run is trained up to the epoch in question and no further, with each
step's points hashed in that epoch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seedbed.proof import causes, execution, places, untrusted
from seedbed.proof.control import CONTROLS, Change, Control, controlled
from seedbed.proof.execution import Execution
from seedbed.proof.perturbing import Way
from seedbed.proof.places import Place, Seen

BUDGET = 300_000_000  # bytes of values that each execution keeps on the disk, to tell how far they are apart
TRIES = 3  # a difference that timing makes can be somewhere else each time


@dataclass(frozen=True)
class Side:
    """One of the two: what it trains, in which surroundings, and what it left."""

    config: DictConfig
    way: Way
    execution: Execution
    stop: int | None = None  # the epoch after which it was stopped, and gone on with
    changes: str = "nothing"  # what of it is not as in the first, see `plan`

    @property
    def seen(self) -> Seen:
        return Seen(self.execution.folder)


@dataclass(frozen=True)
class Diagnosis:
    """control: whether a change makes the difference, or the run differs by itself; None: nobody asked. vanished: whether the two
    agreed when each step was looked into. process: what decides bits in the two processes' environments and isn't the same, by
    name."""

    place: Place
    causes: list[causes.Cause]
    control: Control | None = None
    vanished: bool = False
    process: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def surrounding(self) -> str | None:
        """The one change of `perturbing.PARTS` that is enough, as controls confirm."""
        return self.control.surrounding if self.control else None

    def as_json(self) -> dict[str, Any]:
        found = [{"what": cause.what, "remedy": cause.remedy} for cause in self.causes]
        process = {name: list(values) for name, values in self.process.items()}
        return {
            "process": process,
            "place": self.place.as_json(),
            "causes": found,
            "surrounding": self.surrounding,
            "control": self.control.as_json() if self.control else None,
            "vanished": self.vanished,
        }


@dataclass(frozen=True)
class Looking:
    """What a diagnosis works with. folder: for further executions. said: gets a line for people before each. audited: the static
    audit's findings for a config. execute: trains once, in a process. times: control executions."""

    folder: Path
    said: Callable[[str], None]
    audited: Callable[[DictConfig], Sequence[Any]] = lambda config: ()
    execute: Callable[..., Execution] = execution.execute
    times: int = CONTROLS


def diagnosed(first: Side, second: Side, looking: Looking) -> Diagnosis | None:
    """The first point at which the two part; None if they don't."""
    said = looking.said
    place = _failure(first.execution, second.execution) or places.coarse(first.seen, second.seen)
    if place is None:
        return None
    vanished = False
    if first.config.backend.name != "tensorflow" and place.kind in ("epoch", "logs", "predictions", "metrics"):
        said("Steps are looked into on TensorFlow alone, so this is as near as it gets.")
    elif place.kind in ("epoch", "logs"):
        said(f"They part in epoch {place.epoch}; looking into its steps.")
        place, vanished = _within(place, first, second, looking)
    elif place.kind in ("predictions", "metrics"):
        said("They part after training; looking into evaluation and prediction.")
        place = _afterwards(place, first, second, looking)
    control = _controlled(place, first, second, looking)
    named = control.confirms
    differing = [] if first.config is second.config else config_differences(first.config, second.config)
    draws = [draw for side in (first, second) for draw in side.execution.draws if not draw.get("governed")]
    traces = [first.seen.trace, second.seen.trace]
    resumed = named and first.stop != second.stop
    shared = named and second.way.after > 0
    cpu = second.way.cpu or first.way.cpu if named else ""
    findings = [] if differing and named else looking.audited(first.config)
    found = causes.usual(place, traces, draws, control.surrounding, differing if named else [], findings, resumed, cpu, shared)
    return Diagnosis(place, found, control, vanished, places.process(first.seen, second.seen))


def config_differences(a: DictConfig, b: DictConfig) -> list[str]:
    """The dotted names of values in which two configs differ, streams and the rest, without where things are kept."""
    first, second = (dict(untrusted.leaves(OmegaConf.to_container(config, resolve=True))) for config in (a, b))
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    # the last of these is seeds.hash once more
    elsewhere = ("runs", "tracking", "study", "force", "checkpoint", "determinism.environment.PYTHONHASHSEED")
    return [name for name in names if not name.startswith(elsewhere)]


def _failure(a: Execution, b: Execution) -> Place | None:
    """One of them failed, or they did with different errors."""
    if a.status == b.status:
        return None
    failed = next((one for one in (a, b) if one.status == "failed"), b)
    why = (failed.error or "").strip().splitlines()
    return Place("run", f"the execution {failed.name!r} {failed.status}: {why[-1] if why else 'no error was kept'}")


def _within(place: Place, first: Side, second: Side, looking: Looking) -> tuple[Place, bool]:
    """The place within the steps of an epoch; and whether the two agreed this time."""
    for number in range(TRIES):
        assert place.epoch is not None
        epoch = place.epoch - 1
        trace = {"steps_from": epoch, "until": epoch, "budget": BUDGET}
        a, b = (_again(side, looking, f"look {number} {name}", trace) for side, name in ((first, "a"), (second, "b")))
        found = places.coarse(a.seen, b.seen)
        if found is None:
            looking.said("Looked into step by step, the two agree; once more." if number < TRIES - 1 else "They agree again.")
            continue
        if found.epoch is None or found.epoch < place.epoch:
            place = found
            if found.kind not in ("epoch", "logs"):
                return found, False
            continue
        point = places.fine(a.seen, b.seen, f"epoch {epoch} train", place.epoch) or places.fine(
            a.seen, b.seen, f"epoch {epoch} test", place.epoch
        )
        if point is None:
            where = f"epoch {place.epoch}, after its last step: {found.tensor}" if found.kind == "epoch" else found.where
            return replace(found, where=where), False
        if point.size is None and point.step is not None and point.kind not in ("start", "run"):
            point = _sized(point, a, b, looking, trace)
        return point, False
    return place, True


def _sized(point: Place, first: Side, second: Side, looking: Looking, trace: dict[str, Any]) -> Place:
    """A place with how far the values are apart: that one step's values are kept, whatever their size."""
    assert point.step is not None
    assert point.epoch is not None
    only = {**trace, "budget": 0, "only": point.step - 1}
    a, b = (_again(side, looking, f"values {name}", only) for side, name in ((first, "a"), (second, "b")))
    found = places.fine(a.seen, b.seen, f"epoch {point.epoch - 1} train", point.epoch)
    return found if found is not None and found.size is not None and found.kind == point.kind else point


def _afterwards(place: Place, first: Side, second: Side, looking: Looking) -> Place:
    trace = {"predictions": True, "budget": BUDGET}
    a, b = (_again(side, looking, f"after {name}", trace) for side, name in ((first, "a"), (second, "b")))
    return places.fine(a.seen, b.seen, "after test", None) or places.fine(a.seen, b.seen, "after predict", None) or place


def _again(side: Side, looking: Looking, name: str, trace: dict[str, Any]) -> Side:
    done = looking.execute(side.config, looking.folder / name, side.execution.name, side.way, trace, side.stop)
    return replace(side, execution=done)


def _controlled(place: Place, first: Side, second: Side, looking: Looking) -> Control:
    """Whether what the second one had changed makes the difference; executions go on up to the place and no further."""
    until: Any = {"data": "data", "split": "data", "weights": "model", "generators": "model"}.get(place.kind)
    if until is None and place.epoch is not None and place.kind != "run":
        until = place.epoch - 1

    def differs(change: Change, name: str) -> bool:
        other = looking.execute(change.config, looking.folder / f"around {name}", name, change.way, {"until": until}, change.stop)
        return _failure_of(other, first.execution) or places.coarse(first.seen, Seen(other.folder)) is not None

    nothing, change = (Change(side.config, side.way, side.stop) for side in (first, second))
    return controlled(nothing, change, differs, looking.said, looking.times)


def _failure_of(other: Execution, first: Execution) -> bool:
    return (other.status == "failed") != (first.status == "failed")
