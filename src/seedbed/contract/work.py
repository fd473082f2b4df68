"""The process that measures, started with the environment that the config's level needs: `python -m seedbed.contract`.

Reads an `Order` from standard input (pickled by the test that started it), and leaves in the order's folder `measured.json`,
written anew after each phase, so that it is known which one a process has died in.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seedbed import Refused
from seedbed.contract import BROKEN, HOLDS, SKIPPED, Broken, Finding, Limits, Skipped
from seedbed.run import config as configs
from seedbed.run import json_text
from seedbed.run import seeds as streams
from seedbed.run.record import write_atomically


@dataclass
class Order:
    """What is to be measured. phases: those that the test class has; what comes after a broken one isn't looked at."""

    config: DictConfig
    folder: Path
    limits: Limits = field(default_factory=Limits)
    phases: Sequence[str] = ()


@dataclass
class Measured:
    """What was found. steps: the batches of an epoch of the short runs. stopped: the record of the one that was stopped.
    changed: what training changes and no checkpoint holds. now: the phase that is being looked at."""

    findings: list[Finding] = field(default_factory=list)
    steps: int = 0
    stopped: str = ""
    changed: list[str] = field(default_factory=list)
    now: str = ""

    def write(self, folder: Path) -> None:
        write_atomically(folder / "measured.json", json_text.dumps(asdict(self)))


def measure(order: Order) -> Measured:
    """Look at the phases in turn, until one is broken; also at what is saved, which the stop of a run has nothing to do with."""
    import keras

    from seedbed.contract import keeping, outputs, updating, weights
    from seedbed.contract.subject import Subject

    measured, policy = Measured(now=order.phases[0]), keras.config.dtype_policy()
    order.folder.mkdir(parents=True, exist_ok=True)

    def stop(subject: Subject) -> None:
        record, measured.changed = keeping.stopped(subject, order.folder / "resume" / "runs")
        measured.stopped = str(record)

    asked: dict[str, Callable[[Subject], Any]] = {
        "initialisation": weights.initialisation,
        "forward": outputs.forward,
        "loss": outputs.loss,
        "gradient": weights.gradient,
        "update": updating.update,
        "save and load": lambda subject: keeping.save_and_load(subject, order.folder),
        "resume": stop,
    }
    try:
        subject = Subject(order.config, order.limits)
        measured.steps = subject.steps
        for phase in (name for name in asked if name in order.phases):
            measured.now = phase
            measured.write(order.folder)
            with streams.global_generators(subject.seeds["python"], subject.seeds["numpy"]):
                measured.findings.append(_found(phase, partial(asked[phase], subject)))
            if measured.findings[-1].status == BROKEN and phase != "save and load":
                break
    except Exception as error:  # what the config says, or its data, can't be had
        measured.findings.append(_failed(order.phases[0], error))
    finally:
        keras.config.set_dtype_policy(policy)
    measured.now = ""
    measured.write(order.folder)
    return measured


def _found(phase: str, ask: Callable[[], Any]) -> Finding:
    try:
        ask()
    except Skipped as why:
        return Finding(phase, SKIPPED, str(why))
    except Broken as what:
        return Finding(phase, BROKEN, str(what), "" if what.__cause__ is None else "".join(traceback.format_exception(what.__cause__)))
    except Exception as error:  # the user's own code, or what Keras says to it
        return _failed(phase, error)
    return Finding(phase, HOLDS)


def _failed(phase: str, error: Exception) -> Finding:
    if isinstance(error, Refused):
        return Finding(phase, BROKEN, str(error))
    said = traceback.format_exception_only(error)[-1].strip()
    if "determinis" in said.lower():  # TensorFlow's UnimplementedError, or its RuntimeError about a missing seed
        said += "\nAn operation of this model can't keep the level: use another one, or a weaker level, determinism=seeded."
    return Finding(phase, BROKEN, f"It can't be done: {said}", "".join(traceback.format_exception(error)))


def main() -> int:
    configs.register()
    order: Order = pickle.load(sys.stdin.buffer)
    log = os.open(order.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    measure(order)
    return 0
