"""Executions of one run, each in a fresh process with surroundings of its own; what they leave is compared elsewhere."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.singleton import Singleton
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.proof import emulation
from seedbed.proof.perturbing import AS_IT_IS, Way
from seedbed.proof.work import APART, HINDERED, Order
from seedbed.run import children, process, training
from seedbed.run.record import INTERRUPTED, Record


@dataclass(frozen=True)
class Execution:
    """What one execution left.

    folder: `outcome.json`, `log.txt`, the trace, `runs/<key>/`. status: the record's, or `failed` before there was one, or
    `stopped` where the trace had seen all it wanted. draws: who drew from the system's entropy (`entropy.Draw`s as dicts).
    seconds: the whole process. apart: why it was not trained in the process of a study's other runs, where it was meant to be.
    """

    name: str
    folder: Path
    status: str
    record: Record | None
    error: str | None
    seconds: float
    draws: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    apart: str | None = None

    @property
    def digests(self) -> dict[str, str]:
        return self.record.all_digests() if self.record is not None else {}


def execute(
    config: DictConfig, folder: Path, name: str = "", way: Way = AS_IT_IS, trace: Mapping[str, Any] | None = None,
    stop: int | None = None,
) -> Execution:  # fmt: skip
    """Train what `config` describes in a fresh process; its record and its trace lie below `folder` (made here).

    way: the surroundings. trace: what is to be seen (arguments of `trace.Trace`). stop: the run is stopped after so many epochs,
    by SIGTERM, and another process goes on.
    Raises Refused for what the run refuses, and where the process has died (its log is named).
    """
    if stop is not None:
        first = execute(config, folder, name, way, {"stop": stop})
        if first.status != INTERRUPTED:
            return first
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "outcome.json").unlink(missing_ok=True)
    needed = training.environment_of(config)
    process.refuse_conflicts(needed, str(config.determinism.level))
    order = Order(config, folder, Singleton.get_state(), trace=dict(trace or {}), inside=way.inside, after=way.after)
    begun = time.monotonic()
    with way.outside(folder, config) as given:
        env = process.environment(needed) | {key: value for key, value in given.pop("env").items() if key not in needed}
        child = children.start(
            [*emulation.prefix(way.cpu), *process.COMMAND, "verify", "--worker"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env,
            start_new_session=True, **given,
        )  # fmt: skip
        try:
            _ordered(child, order)
            assert child.stderr is not None
            with child.stderr:
                error = child.stderr.read()
            child.wait()
        finally:
            children.kill_group(child)  # also what it has started: workers of a PyDataset
    if (found := _why_apart(folder)) is not None:  # a study would train it in a process of its own
        return replace(execute(config, folder, name or way.name, replace(way, after=0), trace, stop), apart=found)
    return _left(folder, name or way.name, child.returncode, error.decode(errors="replace"), time.monotonic() - begun)


def _why_apart(folder: Path) -> str | None:
    """Why the runs before an execution let no other one into their process; None if they do, or there were none."""
    try:
        outcome = json.loads((folder / "outcome.json").read_text())
    except (OSError, ValueError):
        return None
    return str(outcome["error"]) if outcome["status"] == APART else None


def _ordered(child: subprocess.Popen[bytes], order: Order) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        cloudpickle.dump(order, child.stdin)  # as Hydra's own launchers: resolvers may be functions in functions
        child.stdin.close()


def _left(folder: Path, name: str, code: int, error: str, seconds: float) -> Execution:
    try:
        outcome = json.loads((folder / "outcome.json").read_text())
    except (OSError, ValueError):
        if code == HINDERED:
            raise Refused(error.strip().splitlines()[-1]) from None
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        raise Refused(f"The process of the execution {name!r} {how}{hint}; see {folder / 'log.txt'}.\n{error[-2000:]}".strip()) from None
    if outcome["status"] == "refused" or outcome.get("hindered"):  # a run that the disk has broken off tells nothing
        raise Refused(outcome["error"])
    record = Record.read(Path(outcome["record"])) if outcome.get("record") else None
    draws = json.loads((folder / "draws.json").read_text()) if (folder / "draws.json").exists() else []
    return Execution(name, folder, outcome["status"], record, outcome.get("error"), seconds, draws)
