"""The test's side: starts the processes that measure and train, each once, and says how a phase has ended."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import cloudpickle
from filelock import FileLock
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from seedbed import Refused, composing
from seedbed.contract import BROKEN, ENTROPY, HOLDS, SKIPPED, Finding, Limits, runs
from seedbed.contract.work import Measured, Order
from seedbed.proof import execution
from seedbed.proof.execution import Execution
from seedbed.run import children, json_text, process, training
from seedbed.run import config as configs
from seedbed.run.record import FINISHED, Record, write_atomically

# Starts the process that measures.
COMMAND = (*process.COMMAND[:-1], "seedbed.contract")


class Asked:
    """One config and what is found of it, phase by phase, kept in `folder` for all of pytest's workers.

    phases: those that are to be judged. timeout: seconds that the process that measures may take.
    """

    def __init__(self, config: str | Sequence[str] | None, folder: Path, limits: Limits, phases: Sequence[str], timeout: float) -> None:
        self.words = None if config is None else words_of(config)
        self.folder, self.limits, self.phases, self.timeout = folder, limits, phases, timeout
        self.executions: dict[str, Execution] = {}

    def finding(self, phase: str) -> Finding:
        """How a phase has ended; measured when it is first asked for."""
        found = next((one for one in self.measured.findings if one.phase == phase), Finding(phase, HOLDS))
        if phase not in ("resume", "repeat") or found.status != HOLDS:
            return found
        return Finding(**self._once(phase, lambda: asdict(self._of_runs(phase))))

    @cached_property
    def measured(self) -> Measured:
        """What one process has found of everything but whole runs."""
        found = self._once("asked", lambda: asdict(self._measure()))
        return Measured(**{**found, "findings": [Finding(**one) for one in found["findings"]]})

    @cached_property
    def settings(self) -> DictConfig:
        """The config; raises Refused if there is none by these words."""
        if self.words is None:
            raise Refused('The test class says no config. Say what follows `seedbed train`: config = "model=mlp data=digits".')
        flags, overrides = composing.flags_of(self.words)
        if strange := [flag[0] for flag in flags if flag[0] not in ("--config-dir", "-cd")]:
            raise Refused(f"{strange[0]} has no place in a test's config. Accepted: KEY=VALUE, --config-dir DIR.")
        if flags:
            places = ",".join(composing.quoted(f"file://{Path(flag[1]).absolute()}") for flag in flags)
            overrides.append(f"hydra.searchpath=[{places}]")
        try:
            return configs.composed(*overrides)
        except (HydraException, OmegaConfBaseException) as error:
            cause = f"\n{error.__cause__}" if error.__cause__ is not None and str(error.__cause__) not in str(error) else ""
            raise Refused(f"{error}{cause}\nGiven: {shlex.join(self.words)}. `seedbed train --help` shows what can be chosen.") from error

    def _once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gives, made by the first of pytest's workers that asks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{name}.json"
        with FileLock(f"{file}.lock"):
            if not file.exists():
                write_atomically(file, json_text.dumps(make()))
            return dict(json_text.loads(file.read_text()))

    def _measure(self) -> Measured:
        try:
            if (backend := self.settings.backend.name) != "tensorflow":
                raise Refused(f"A model is measured on TensorFlow alone, and this config has backend={backend}. Accepted: "
                              "backend=tensorflow. `seedbed verify` says on any backend whether a run repeats.")  # fmt: skip
            needed = training.environment_of(self.settings, ENTROPY)
            process.refuse_conflicts(needed, str(self.settings.determinism.level))
        except Refused as error:
            return Measured([Finding(self.phases[0], BROKEN, str(error))])
        order = Order(self.settings, self.folder, self.limits, self.phases)
        with children.start(COMMAND, stdin=subprocess.PIPE, env=process.environment(needed), start_new_session=True) as child:
            try:
                with suppress(subprocess.TimeoutExpired):
                    child.communicate(cloudpickle.dumps(order), self.timeout)
                ended = child.poll()
            finally:
                children.kill_group(child)  # also what it has started: workers of a PyDataset
        return self._left(ended)

    def _left(self, ended: int | None) -> Measured:
        """What the process that measures has left; a phase that it hasn't come back from is broken."""
        file = self.folder / "measured.json"
        found = json_text.loads(file.read_text()) if file.exists() else asdict(Measured(now=self.phases[0]))
        measured = Measured(**{**found, "findings": [Finding(**one) for one in found["findings"]]})
        if measured.now:
            if ended is None:
                how = f"has taken longer than {self.timeout:g} s (timeout), and was ended"
            else:
                how = f"was ended by {signal.Signals(-ended).name}" if ended < 0 else f"ended with exit status {ended}"
            log = self.folder / "log.txt"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            measured.findings.append(Finding(measured.now, BROKEN, f"The process that measured it {how}; see {log}.", tail))
        return measured

    def _of_runs(self, phase: str) -> Finding:
        if self.settings.determinism.level in ("off", "seeded"):
            return Finding(phase, SKIPPED, f"determinism={self.settings.determinism.level} doesn't promise the same bits")
        config = runs.shortened(self.settings, self.measured.steps)
        try:
            with ThreadPoolExecutor(2) as pool:
                straight, other = pool.map(lambda name: self._run(config, name), ("straight", phase))
        except Refused as error:
            return Finding(phase, BROKEN, str(error))
        for run in (straight, other):
            if run.record is None or run.status != FINISHED:
                said = (run.error or "").strip().splitlines()
                return Finding(phase, BROKEN, f"The run fails: {said[-1] if said else run.status}; see {run.folder / 'log.txt'}.")
        assert straight.record is not None
        assert other.record is not None
        if phase == "repeat":
            return runs.repeated(straight.record, other.record, self.words or ())
        stopped = Record.read(Path(self.measured.stopped))
        return runs.resumed(straight.record, stopped, other.record, self.measured.changed, other.folder / "log.txt")

    def _run(self, config: DictConfig, name: str) -> Execution:
        """A run in a fresh process. Another of pytest's workers may have made it before, which that process will find."""
        if name not in self.executions:
            with FileLock(self.folder / f"{name}.lock"):
                self.executions[name] = execution.execute(config, self.folder / name, name)
        return self.executions[name]


def words_of(config: str | Sequence[str]) -> list[str]:
    """The overrides of a test class's `config`; a word without `=` is an experiment's name."""
    words = shlex.split(config) if isinstance(config, str) else list(config)
    flags = composing.flags_of(words)[0]
    values = {word for flag in flags for word in flag}
    return [f"experiment={word}" if re.fullmatch(r"[\w./-]+", word) and word not in values else word for word in words]
