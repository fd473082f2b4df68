"""strategy=multi_worker, seen from the process that holds the key and the record: it starts the workers and waits for them.

Each worker is a process of its own (`worker.py`) on one device, as tf.distribute wants it: TensorFlow has to know of the others
before its first operation, which is long before it is known whether anything is to be trained. Worker 0 writes the record;
the others keep theirs in a folder that goes with them.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.singleton import Singleton
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.run import children, json_text, process, scratch
from seedbed.run.record import INTERRUPTED, RUNNING, Record

# How long the others have, in seconds, to write down why they stop when one has ended: what it meant for them comes after that.
LAST_WORDS = 5.0


class Ended(Exception):
    """A worker has failed; the message is its traceback."""


@dataclass(frozen=True)
class Job:
    """What a worker is told, by its standard input. inputs: what the key is made of. singletons: Hydra's and OmegaConf's resolvers."""

    config: DictConfig
    path: Path
    seeds: Mapping[str, int]
    inputs: Mapping[str, Any]
    addresses: Sequence[str]
    index: int
    gpu: int
    progress: bool
    singletons: Mapping[Any, Any]


class Worker:
    """A worker's process. It tells lines of JSON: {"say": …}, {"begun": true}, {"resumed_at": …}, {"refused": …}, {"failed": …}."""

    def __init__(self, job: Job, heard: Callable[[int, dict[str, Any]], None]) -> None:
        self.index, self.begun = job.index, False
        self.refused: str | None = None
        self.failed: str | None = None
        self.process = children.start(  # ends at once with this process: with its lock goes the right to write into the record
            [*process.COMMAND, "train", "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            stderr=None if job.index == 0 else subprocess.DEVNULL, env=process.environment({}),
        )  # fmt: skip
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            cloudpickle.dump(job, self.process.stdin)
            self.process.stdin.close()
        self.reader = threading.Thread(target=self._read, args=(heard,), daemon=True)
        self.reader.start()

    def _read(self, heard: Callable[[int, dict[str, Any]], None]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(ValueError):
                said = json_text.loads(line)
                self.begun |= "begun" in said
                self.refused = said.get("refused", self.refused)
                self.failed = said.get("failed", self.failed)
                heard(self.index, said)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def how(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"


@contextmanager
def folder(config: DictConfig) -> Iterator[Path]:
    """Where this process keeps the record: in `runs`, or with another number than 0 among several machines', for the time being."""
    if config.strategy.index == 0:
        yield Path(config.runs).expanduser().absolute()
        return
    with scratch.folder("worker") as made:
        yield made


def train(found: Record, config: DictConfig, said: Callable[[str], None], progress: bool) -> None:
    """Train into the record `found` with a worker for each replica of this machine. Raises Refused, and Ended."""
    here, addresses = _here(config)
    stopped: list[int] = []
    with scratch.folder("workers") as others, ExitStack() as stack:
        workers: list[Worker] = []

        def heard(index: int, what: Mapping[str, Any]) -> None:
            if index == here[0] and "say" in what:
                said(what["say"])
            if index == here[0] and "resumed_at" in what:
                found.resumed_at = what["resumed_at"]

        def stop(number: int, frame: Any) -> None:
            for worker in workers:  # at the end of the epoch, with a checkpoint; the second time, or before the first epoch, at once
                if stopped or not all(one.begun for one in workers):
                    worker.kill()
                elif worker.process.poll() is None:
                    worker.process.send_signal(number)
            stopped.append(number)

        stack.enter_context(process.signals_to(stop))
        for index in here:
            path = found.path if index == here[0] else _copy(found, others / str(index))
            job = Job(config, path, found.seeds, found.inputs, addresses, index, here.index(index), progress and index == here[0],
                      Singleton.get_state())  # fmt: skip
            workers.append(Worker(job, heard))
            stack.callback(workers[-1].kill)
        first = _wait(workers)
        for worker in workers:
            worker.reader.join()
    found.content = Record.read(found.path).content
    _judge(found, workers, first, stopped, len(addresses))
    if here[0] != 0:
        said(f"This was worker {here[0]} of {len(addresses)}: the record is with worker 0, and none is kept here.")


def _judge(found: Record, workers: Sequence[Worker], first: Worker | None, stopped: Sequence[int], many: int) -> None:
    """Write down in the record what the workers' end means, where they haven't. first: the first that ended otherwise than well."""
    if refused := [worker.refused for worker in workers if worker.refused]:
        found.fail(refused[0])
        raise Refused(refused[0])
    if first is None or (stopped and found.status == INTERRUPTED):
        return
    if stopped:
        found.fail(f"stopped by {signal.Signals(stopped[0]).name}", status=INTERRUPTED)
    elif first.process.returncode < 0:  # the others have failed for want of it
        what = f"worker {first.index} of {many} {first.how()}; the same command goes on from the last checkpoint"
        found.fail(what, status=INTERRUPTED)
    elif first.failed:
        found.fail(first.failed)
        raise Ended(first.failed)
    elif found.status == RUNNING:
        found.fail(f"worker {first.index} of {many} {first.how()}")


def _wait(workers: Sequence[Worker]) -> Worker | None:
    """Until all have ended; once one has done so otherwise than well, the others don't go on for long. Returns that one."""
    first: Worker | None = None
    deadline = math.inf
    while any(worker.process.poll() is None for worker in workers):
        time.sleep(0.05)
        if first is None and (ill := [worker for worker in workers if worker.process.poll()]):
            first, deadline = min(ill, key=lambda worker: worker.process.returncode), time.monotonic() + LAST_WORDS
        if time.monotonic() > deadline:
            for worker in workers:
                worker.kill()
    return first or next((worker for worker in workers if worker.process.returncode), None)


def _here(config: DictConfig) -> tuple[list[int], list[str]]:
    """The numbers of this machine's workers, and all workers' addresses."""
    strategy = config.strategy
    if strategy.addresses:
        return [int(strategy.index)], [str(address) for address in strategy.addresses]
    return list(range(strategy.replicas)), list(_loopback(strategy.replicas))


def _loopback(many: int) -> Iterator[str]:
    """Addresses on this machine that are free now."""
    with ExitStack() as stack:
        for _ in range(many):
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            yield f"127.0.0.1:{free.getsockname()[1]}"


def _copy(found: Record, path: Path) -> Path:
    """A record like `found` for a worker that keeps none; worker 0's checkpoints come later, from itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(found.path, path, ignore=shutil.ignore_patterns("checkpoints", "again"))
    return path


@contextmanager
def telling() -> Iterator[Callable[..., None]]:
    """In a worker: standard output for what is told to the process that started it; what others print goes to standard error."""
    sys.stdout.flush()
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(**what: Any) -> None:
        with suppress(BrokenPipeError):
            print(json_text.dumps(what), file=pipe, flush=True)

    with pipe:
        yield tell
