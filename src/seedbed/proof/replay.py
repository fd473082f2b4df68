"""A record's inputs taken back, trained again, and the digests compared.

    the record says what went in (claims.checked) → one from elsewhere asks for nothing that conf/ doesn't name
    (config_policy.refuse) → the same is here, as far as that can be said beforehand (promise) → `seedbed train` in a
    process of its own, here or in a worktree of the recorded commit → once the data are loaded: is the key the recorded
    one? → the digests, one by one

One way for both places: an older commit knows no `replay`, but it knows `train` and a config file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedbed import project_root
from seedbed.proof import checkout, clean_environment, conf_targets, config_policy, data_locations, here, promise, retrain, untrusted
from seedbed.proof.promise import Comparison, Row
from seedbed.run import origin
from seedbed.run.record import FINISHED, Record


@dataclass(frozen=True)
class Options:
    """What the user asks for and accepts.

    Attributes:
        anyway: train also where the promise can't hold.
        checkout: at the recorded commit.
        trust_diff: the diff of a record from elsewhere may run.
        trust_config: the config of a record from elsewhere may name anything.
        trust_commit: a commit that is on no branch of the user's may run.
        data: files, folders and addresses that a record from elsewhere may name.
    """

    anyway: bool = False
    checkout: bool = False
    trust_diff: bool = False
    trust_config: bool = False
    trust_commit: bool = False
    data: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replay:
    """What came of it.

    inputs: each beside what there is here. reasons: why it is no replay; empty if it is one. digests: each beside the one here;
    empty if it wasn't trained. error: why there are no digests though it was trained. commit: of the worktree that it was
    trained in. seconds: of the whole process.
    """

    record: Record
    inputs: Sequence[Row]
    reasons: Sequence[str]
    trained: bool = False
    digests: Sequence[Row] = field(default_factory=tuple)
    error: str | None = None
    commit: str | None = None
    seconds: float = 0.0

    @property
    def is_replay(self) -> bool:
        return self.trained and not self.reasons

    @property
    def agrees(self) -> bool:
        return bool(self.digests) and all(row.same for row in self.digests)


def replay(record: Record, folder: Path, options: Options, said: Callable[[str], None]) -> Replay:
    """Train a record again and compare.

    Args:
        record: as `claims.checked` returns it.
        folder: for what is made meanwhile; see `workspace`.
        options: what the user asks for and accepts.
        said: gets a line for people.
    Raises:
        Refused: the record asks for something that this repository doesn't have or that isn't trusted, or the
            run refuses.
    """
    plain = untrusted.config_of(record.path)
    foreign = origin.doubt(record.content, record.path)
    if foreign is not None:
        said(f"A record from elsewhere ({foreign}): only what conf/ names may run, in a clean environment.")
    with ExitStack() as stack:
        place = checkout.here()
        if options.checkout:
            trust = checkout.Trust(foreign is None or options.trust_diff, foreign is None or options.trust_commit)
            place = stack.enter_context(checkout.worktree(record, folder, trust, said))
        if foreign is not None and not options.trust_config:
            declared = conf_targets.read(place.root / "conf", place.modules)
            config_policy.refuse(plain, declared, data_locations.of(project_root(), options.data))
        if options.checkout:
            place = checkout.interpreter(place, record, said)
        stated = retrain.stated(plain)
        parts = [promise.of_level(record.level), here.before(record, stated, place), here.facts(record, plain, place)]
        parts += [here.reads(record)] if foreign is None else []  # one from elsewhere is trained without them: asked afterwards
        before = _joined(*parts)
        if before.reasons and not options.anyway:
            return Replay(record, before.rows, before.reasons, commit=place.commit)
        seconds = (record.timing or {}).get("seconds")
        said(f"Training it again{f' (it took {seconds:.0f} s)' if isinstance(seconds, float) else ''} …")
        job = retrain.Job(stated, place, folder, foreign is not None, options.trust_config)
        return _trained(record, job, options, plain)


def _trained(record: Record, job: retrain.Job, options: Options, plain: Mapping[str, Any]) -> Replay:
    """Train, stopping once it is seen that other things go in than the recorded ones, and compare what came out."""
    place = job.place

    def compared(found: Record) -> Comparison:
        inputs = promise.compared(*(_inputs(one, job.foreign) for one in (record, found)))
        parts = [promise.of_level(record.level), inputs, here.facts(record, plain, place)]
        if found.status == FINISHED:
            recorded, read = (_read(one, job.foreign) for one in (record, found))
            parts.append(promise.of_reads(recorded, read))
        return _joined(*parts)

    def is_in_vain(begun: Record) -> bool:
        return not options.anyway and begun.key != record.key and bool(compared(begun).reasons)

    began = time.monotonic()
    found, whole = retrain.trained(job, is_in_vain)
    after, seconds = compared(found), time.monotonic() - began
    if not whole:
        return Replay(record, after.rows, after.reasons, commit=place.commit)
    if found.status != FINISHED:
        error = str(found.content.get("error") or f"it ended with the status {found.status}").strip()
        return Replay(record, after.rows, after.reasons, True, error=error, commit=place.commit, seconds=seconds)
    digests = list(promise.digests(record.all_digests(), found.all_digests()))
    return Replay(record, after.rows, after.reasons, True, digests, commit=place.commit, seconds=seconds)


def _inputs(record: Record, foreign: bool) -> dict[str, Any]:
    """The inputs of a run, but for variables that a clean process has of its own."""
    environment = dict(record.inputs["environment"])
    read = _recorded(environment.pop("read", None), foreign)
    return {**record.inputs, "environment": {**environment, **({"read": read} if read else {})}}


def _read(record: Record, foreign: bool) -> dict[str, Any]:
    """What a record lists of variables that its run has read, but for those that a clean process has of its own."""
    return _recorded(record.content.get("read"), foreign)


def _recorded(read: Mapping[str, Any] | None, foreign: bool) -> dict[str, Any]:
    left_out = clean_environment.OWN if foreign else frozenset()
    return {name: value for name, value in (read or {}).items() if name not in left_out}


def _joined(*parts: Comparison) -> Comparison:
    return Comparison([row for part in parts for row in part.rows], [reason for part in parts for reason in part.reasons])
