"""Does a result hold? The same key in fresh processes, each in other surroundings, compared digest by digest.

Also: the same under a change that isn't meant to matter (`--against`), stopped and gone on with (`--resume`), and against digests
that were written down (`golden`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seedbed import Refused
from seedbed.proof import execution
from seedbed.proof.control import CONTROLS
from seedbed.proof.diagnose import Diagnosis, Looking, Side, diagnosed
from seedbed.proof.execution import Execution
from seedbed.proof.perturbing import left_out
from seedbed.proof.plan import Wanted, chance, check, executions
from seedbed.run import digest, reuse, variables
from seedbed.run.record import FINISHED, Record

# In the order in which a run comes by them.
OUTPUTS = ("initial_weights", "history", "final_weights", "generators", "optimizer", "predictions", "metrics")


@dataclass(frozen=True)
class Asked:
    """config: what to train; wanted: which executions of it are compared; diagnose: whether the place of a difference is looked
    for; audited: the static audit's findings for a config; controls: executions with nothing changed before a cause is named."""

    config: DictConfig
    wanted: Wanted = field(default_factory=Wanted)
    diagnose: bool = True
    audited: Callable[[DictConfig], Sequence[Any]] = lambda config: ()
    controls: int = CONTROLS


@dataclass
class Verdict:
    """holds: whether all agree. differing: the outputs that don't. record: one that was there before, if it took part.
    left_out: the parts that this machine or this config can't perturb, each with the reason."""

    sides: list[Side]
    differing: list[str]
    record: Record | None
    diagnosis: Diagnosis | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    differs: Sequence[Sequence[str]] = ()  # of each side, the outputs that are not the first one's

    @property
    def holds(self) -> bool:
        return not self.differing

    def as_json(self) -> dict[str, Any]:
        first = self.sides[0].execution
        executions = [
            {"name": side.execution.name, "changes": side.changes, "perturbed": sorted(side.way.parts), "status": side.execution.status,
             "seconds": round(side.execution.seconds, 2), "digests": side.execution.digests, "error": side.execution.error,
             "apart": side.execution.apart,
             "differs": list(differs)}
            for side, differs in zip(self.sides, self.differs, strict=True)
        ]  # fmt: skip
        return {
            "holds": self.holds, "key": first.record.key if first.record else None, "differing": self.differing, "executions": executions,
            "record": str(self.record.path) if self.record else None, "diagnosis": self.diagnosis.as_json() if self.diagnosis else None,
            "left_out": dict(self.left_out), "chance": {"executions": len(self.sides), "share": 0.5, "seen": chance(len(self.sides))},
        }  # fmt: skip


def verified(asked: Asked, folder: Path, said: Callable[[str], None], execute: Callable[..., Execution] = execution.execute) -> Verdict:
    """Train, compare, and where something differs look for the first point at which it does.

    folder: see `workspace.workspace`. said: gets a line for people before each execution. execute: trains once, in a process.
    Raises Refused for what the run refuses.
    """
    check(asked.config, asked.wanted)
    planned = executions(asked.config, asked.wanted)
    sides: list[Side] = []
    for number, one in enumerate(planned, 1):
        stop = _half(asked.config, sides[0].execution) if one.stopped else None
        said(f"Execution {number}: {one.name}.")
        way = replace(one.way, read=_read(sides[0].execution)) if sides else one.way
        done = execute(one.config, folder / f"execution {number}", one.name, way, stop=stop)
        sides.append(Side(one.config, way, done, stop, one.changes))
        if number == asked.wanted.of_itself and all(side.execution.status == "failed" and not side.execution.digests for side in sides):
            raise Refused(f"The run fails before it has trained anything, so there is nothing to verify: {sides[0].execution.error}")
    first = sides[0]
    differs = [compared(first.execution, side.execution) for side in sides]
    differing = list(dict.fromkeys(name for found in differs for name in found))
    against = next((side for side, found in zip(sides, differs, strict=True) if found), None)
    unable = left_out(asked.config) if any(side.way.parts for side in sides) else {}
    if variables.WHOLE in _read(first.execution):
        unable |= {"environment": "the run reads all variables of the environment"}
    unable = {part: why for part, why in unable.items() if part not in asked.wanted.leave}
    verdict = Verdict(sides, differing, None, left_out=unable, differs=differs)
    before = _before(asked.config, first.execution, said)
    if before is not None and not differing:
        verdict.record = before
        verdict.differing = [name for name in OUTPUTS if before.all_digests().get(name) != first.execution.digests.get(name)]
    if against is not None and asked.diagnose:
        verdict.diagnosis = diagnosed(first, against, Looking(folder, said, asked.audited, execute, asked.controls))
    return verdict


def _read(first: Execution) -> frozenset[str]:
    """The variables of the environment that the run's own code reads: they are in its key or its record, and stay as they are."""
    if first.record is None:
        return frozenset()
    around = first.record.inputs.get("environment") or {}
    return frozenset({*(around.get("read") or {}), *(first.record.content.get("read") or {})})


def compared(a: Execution, b: Execution) -> list[str]:
    """The outputs in which two executions differ; `status` if they ended differently, `data` where the data are others."""
    found = ["status"] if a.status != b.status else []
    if a.record is not None and b.record is not None and a.record.inputs["data"] != b.record.inputs["data"]:
        found.append("data")
    for name in OUTPUTS:
        if a.digests.get(name) != b.digests.get(name):
            found.append(name)
    if not found and a.record is not None and b.record is not None:  # of a run that fails: as far as it came
        found += ["history"] if digest.history(a.record.history()) != digest.history(b.record.history()) else []
    return found


def _half(config: DictConfig, first: Execution) -> int:
    """The epoch after which a run is stopped: the middle of those that it was trained for, which early stopping makes fewer."""
    epochs = len(first.record.history()) if first.record is not None else 0
    if epochs < 2:
        raise Refused(f"--resume needs two epochs or more, to stop between them; training.epochs={config.training.epochs}.")
    return epochs // 2


def _before(config: DictConfig, first: Execution, said: Callable[[str], None]) -> Record | None:
    """The finished record of this key that was there already, if it is whole."""
    path = Path(config.runs) / first.record.key if first.record is not None and first.record.key else None
    if path is None or not (path / "record.json").exists():
        return None
    try:
        record = Record.read(path)
        wrong = reuse.damage(record, whole=True)
    except Refused as error:
        record, wrong = None, str(error)
    if wrong:
        said(f"The record {path} takes no part, since it is damaged ({wrong}). Next: seedbed fsck {path}")
    return record if record is not None and not wrong and record.status == FINISHED else None
