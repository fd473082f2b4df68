"""The process that trains a study's runs, one after the other, sharing what doesn't depend on seeds.

`seedbed repeat --worker` reads what to do from standard input: pickled by `launch`, which starts it with the environment
that the level needs. How each seed stands goes into the study's folder as it happens; the exit status says why it stopped.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.run import config as configs
from seedbed.run import plain_files, training
from seedbed.run.record import DENIED, FINISHED, FULL, INTERRUPTED, Record
from seedbed.run.session import Session, Worn
from seedbed.study.plan import BEGUN, LARGEST_NOTE, REFUSED, Task, unkept

# Exit statuses: all done; this process is worn and another is to go on; the disk says no (EX_TEMPFAIL and EX_IOERR of
# sysexits.h); stopped by a signal (128 + its number).
DONE, WORN, HINDERED = 0, 75, 74


@dataclass
class Order:
    """What a process is to train."""

    configs: list[DictConfig]
    tasks: list[Task]
    call: str  # names this call of the command, so that what an earlier one noted isn't taken for news
    hydra: Any  # Hydra's singletons, for `${hydra:…}`, as its own launchers hand them over
    many: bool = True  # False: one task alone, sharing nothing
    known: list[dict[str, Any]] = field(default_factory=list)  # for each config, what a `Session` needn't find out again
    node: str = ""  # where it is trained, for people
    apart: str | None = None  # why it is trained in this process, where it might have shared another one
    scratch: Path | None = None  # a second run of the first task, for `check`: its record goes here, and nothing is noted

    def write(self, file: IO[bytes]) -> None:
        cloudpickle.dump(self, file)  # as Hydra's own launchers: resolvers may be functions in functions

    @staticmethod
    def read(file: IO[bytes]) -> Order:
        configs.register()
        setup_globals()
        found: Order = pickle.load(file)  # from the process that started this one
        log = os.open(found.tasks[0].folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
        Singleton.set_state(found.hydra)
        return found


def main() -> int:
    """The process itself; its exit status. Nothing to do if it gets no order: the one that started it has ended."""
    try:
        with suppress(EOFError):
            return work(Order.read(sys.stdin.buffer))
    except OSError as error:  # the log, or a note of how a seed stands
        if error.errno not in FULL | DENIED:
            raise
        return HINDERED  # who started this process meets the same, and says so
    return DONE


def work(order: Order) -> int:
    """Train the tasks in turn; returns the exit status."""
    if order.scratch is not None:
        config = order.tasks[0].configured(order.configs)
        config.runs = str(order.scratch)
        return training.run(config, said=_say).exit_status()
    sessions: dict[str, Session] = {}  # configs that differ in the varied stream alone have one
    for task in order.tasks:
        gc.freeze()  # what is there stays: TensorFlow's half a million objects aren't looked through again and again
        known = order.known[task.side]
        session = sessions.setdefault(known["study"], Session(order.many, known, order.apart, _written(task)))
        status = one(order, task, session)
        if status is not None:
            return status
    return DONE


def _written(task: Task) -> set[str]:
    """The files outside of records that the study's runs have written so far, as their notes say."""
    found: set[str] = set()
    for file in task.file.parent.glob("[0-9]*.json"):
        with suppress(ValueError, AttributeError, TypeError, RecursionError, Refused):
            found |= set(json.loads(plain_files.read(file, LARGEST_NOTE) or b"").get("wrote") or ())
    return found


def one(order: Order, task: Task, session: Session) -> int | None:
    """Train one task and note how it went; the exit status if this process has to stop after it."""
    if session.worn and order.many:
        print(f"Another process goes on from seed {task.master}: {session.worn}.", flush=True)
        task.note(status=BEGUN, call=order.call, node=order.node, worn=session.worn)
        return WORN

    def begun(record: Record) -> None:
        task.note(status=BEGUN, call=order.call, node=order.node, key=record.key, record=str(record.path))

    task.note(status=BEGUN, call=order.call, node=order.node)
    try:
        config = task.configured(order.configs)
        off = config.determinism.level == "off"
        record = training.run(config, task.master if off else None, said=_say, started=begun, session=session)
    except Worn:
        task.file.unlink()
        return one(order, task, session)
    except Refused as error:
        task.note(status=REFUSED, call=order.call, error=str(error), traceback=traceback.format_exc())
        return None
    except Exception as error:
        noted = {**task.noted(), "status": "failed", "traceback": traceback.format_exc()}
        if isinstance(error, OSError) and error.errno in FULL:
            task.note(**{**noted, "error": unkept("It was not begun", error), "hindered": True})
            return HINDERED
        task.note(**{**noted, "error": traceback.format_exception_only(error)[-1].strip()})
        return None
    noted = {"status": record.status, "call": order.call, "node": order.node, "key": record.key, "record": str(record.path),
             "reused": record.reused, "wrote": sorted(session.written), "files": session.files}  # fmt: skip
    hindered = record.status == INTERRUPTED and record.exit_status() == 1
    if record.status != FINISHED:
        task.note(**noted, error=(record.content.get("error") or "").strip(), hindered=hindered)
    else:
        task.note(**noted, seconds=record.timing["seconds"])
    if record.status == INTERRUPTED:
        return HINDERED if hindered else record.exit_status()
    return None


def needed(configs: list[DictConfig], task: Task) -> dict[str, str | None]:
    """The environment that a process has to be started with for a task."""
    return training.environment_of(task.configured(configs), task.master)


def _say(line: str) -> None:
    print(line, flush=True)
