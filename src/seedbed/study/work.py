"""The process that trains a study's runs, one after the other, sharing what doesn't depend on seeds.

`seedbed repeat --worker` reads what to do from standard input: pickled by `launch`, which starts it with the environment
that the level needs. How each seed stands goes into the study's folder as it happens; the exit status says why it stopped.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.run import config as configs
from seedbed.run import process, training
from seedbed.run.record import FINISHED, INTERRUPTED, Record
from seedbed.run.session import Session, Worn
from seedbed.study.plan import BEGUN, REFUSED, Task

# Exit statuses: all done; this process is worn and another is to go on; stopped by a signal (128 + its number).
DONE, WORN = 0, 75


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
    with suppress(EOFError):
        return work(Order.read(sys.stdin.buffer))
    return DONE


def work(order: Order) -> int:
    """Train the tasks in turn; returns the exit status."""
    process.end_with(os.getppid())
    sessions: dict[str, Session] = {}  # configs that differ in the varied stream alone have one
    for task in order.tasks:
        gc.freeze()  # what is there stays: TensorFlow's half a million objects aren't looked through again and again
        known = order.known[task.side]
        session = sessions.setdefault(known["study"], Session(order.many, known))
        status = one(order, task, session)
        if status is not None:
            return status
    return DONE


def one(order: Order, task: Task, session: Session) -> int | None:
    """Train one task and note how it went; the exit status if this process has to stop after it."""
    if session.worn and order.many:
        print(f"Another process goes on from seed {task.master}: {session.worn}.", flush=True)
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
        noted = task.noted()
        last = traceback.format_exception_only(error)[-1].strip()
        task.note(**{**noted, "status": "failed", "error": last, "traceback": traceback.format_exc()})
        return None
    noted = {"status": record.status, "call": order.call, "node": order.node, "key": record.key, "record": str(record.path),
             "reused": record.reused}  # fmt: skip
    if record.status != FINISHED:
        task.note(**noted, error=(record.content.get("error") or "").strip())
    else:
        task.note(**noted, seconds=record.timing["seconds"])
    if record.status == INTERRUPTED:
        return 143 if "SIGTERM" in str(record.content.get("error")) else 130
    return None


def needed(configs: list[DictConfig], task: Task) -> dict[str, str | None]:
    """The environment that a process has to be started with for a task."""
    return training.environment_of(task.configured(configs), task.master)


def _say(line: str) -> None:
    print(line, flush=True)
