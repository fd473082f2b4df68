"""A user's `keras.utils.PyDataset`, with its order and its randomness governed by streams, in any number of workers."""

from __future__ import annotations

import multiprocessing
import random
import signal
import threading
import types
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

from seedbed.run import backend, children, drawing, variables
from seedbed.run import seeds as streams

# A longer container is data, not a holder of generators.
MANY = 1000

# The global generators belong to the process: threads that make batches take turns.
_TURN = threading.RLock()


class Governed:
    """A user's PyDataset with its order and its randomness governed by streams, the same in any number of workers.

    Batch i of an epoch is the user's batch permutation(shuffle, epoch)[i]. While it is made, Python's, NumPy's and Keras's global
    generators and every generator that the data set holds are children of (augment, epoch, batch): which worker makes it,
    and what that worker made before, doesn't matter. (Seeding the workers is not enough: FACTS 2.) While a hook runs, they are
    children of (augment, HOOKS, epoch, hook). TensorFlow's seeds for operations that have none are children of the same kind.

    Worker processes are forked for each epoch, by us: Keras's own pool (3.15) can hang when the process ends. Threads are
    not used: they would take turns at the global generators anyway.
    """

    def __init__(self, inner: Any, seeds: Mapping[str, int], shuffle: bool, hooks: bool = True) -> None:
        self.inner, self.seeds, self.shuffle, self.hooks = inner, seeds, shuffle, hooks
        self.num_batches: int | None = inner.num_batches
        self.epoch = -1
        self.hidden: str | None = None  # what it keeps that a resumed run couldn't bring back
        self.made_before = True  # training has not begun: what is made is looked at

    def __getitem__(self, batch: int) -> Any:
        """The user's batch of that number, in the current epoch."""
        before = _outline(self.inner)
        with self._generators(max(self.epoch, 0), batch) as tensorflow:
            made = self.inner[batch]
        if tensorflow.drew:  # can't be set for each batch in any decent time
            self.hidden = "TensorFlow's own random operations in the PyDataset"
        after = _outline(self.inner)
        if changed := [name for name, was in before.items() if was[0] is not None and not _same(was, after.get(name))]:
            self.hidden = f"attributes that {type(self.inner).__name__} changes while it makes a batch: {', '.join(changed)}"
        if used_up := [name for name, value in vars(self.inner).items() if hasattr(value, "__next__")]:
            self.hidden = f"an iterator that {type(self.inner).__name__} holds, and uses up: {', '.join(used_up)}"
        return made

    def epochs(self, wanted: range, count: int) -> Iterator[Any]:
        """`count` batches for each of the `wanted` epochs; the hooks of epochs that a resumed run missed are made up for."""
        self.made_before = False
        self._hook("on_epoch_end")  # as Keras does before the first epoch
        for self.epoch in range(wanted.stop):
            self._hook("on_epoch_begin")
            if self.epoch in wanted:
                order = range(count)
                if self.shuffle and self.num_batches is not None:
                    order = streams.permutation(self.seeds["shuffle"], self.epoch, self.num_batches)[:count].tolist()
                yield from self._made(list(order))
            self._hook("on_epoch_end")

    def _made(self, order: Sequence[int]) -> Iterator[Any]:
        workers = self.inner.workers if self.inner.use_multiprocessing else 0
        if not workers:
            yield from (self[batch] for batch in order)
            return
        # forked, not spawned: the data set is whatever the user made it, and need not be picklable
        fork = multiprocessing.get_context("fork")
        with children.forks() as line, ProcessPoolExecutor(workers, fork, _adopt, (self, line)) as pool:
            ahead: deque[Future[Any]] = deque()
            for batch in order:
                ahead.append(pool.submit(_adopted, batch))
                if len(ahead) > max(workers, self.inner.max_queue_size):
                    yield _received(ahead.popleft())
            while ahead:
                yield _received(ahead.popleft())

    def _hook(self, name: str) -> None:
        if not self.hooks:
            return
        with self._generators(streams.HOOKS, self.epoch + 1, {"on_epoch_begin": 0, "on_epoch_end": 1}[name]):
            getattr(self.inner, name)()

    @contextmanager
    def _generators(self, *place: int) -> Iterator[drawing.Generator]:
        """The global generators, and those that the data set holds, as children of `augment` at `place`; yields TensorFlow's.

        Not the same for a batch that is made to be looked at: TensorFlow's kernels would go on from there when it is trained with.
        """
        seed = self.seeds["augment"]
        tensorflow = drawing.Generator(streams.words(seed, streams.TENSORFLOW, int(self.made_before), *place)[0])
        # TensorFlow can't be used after a fork
        with _generators(self.inner, seed, *place), tensorflow.in_force() if _GOVERNED is None else nullcontext():
            yield tensorflow


_GOVERNED: Governed | None = None  # in a worker process: the data set that it was forked with


def _adopt(data_set: Governed, line: children.Line) -> None:
    global _GOVERNED, _TURN
    children.hold_on(line)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the run's own handler waits for the end of an epoch
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends its workers
    _GOVERNED, _TURN = data_set, threading.RLock()  # a lock that was held at the fork would never be released


def _received(made: Future[Any]) -> Any:
    batch, read = made.result()
    variables.add(read)
    return batch


def _adopted(batch: int) -> Any:
    assert _GOVERNED is not None
    return _GOVERNED[batch], variables.taken()


@contextmanager
def _generators(owner: Any, seed: int, *place: int) -> Iterator[None]:
    """Global generators, and those that `owner` holds, as children of a stream at `place`."""
    python, numpy = streams.words(seed, *place, count=2)
    with _TURN, streams.global_generators(python, numpy), _keras_generator_kept():
        for number, held in enumerate(_held(owner)):
            child = streams.sequence(seed, *place, number)
            word = int(child.generate_state(1)[0])
            if isinstance(held, np.random.Generator):
                held.bit_generator.state = type(held.bit_generator)(child).state
            elif isinstance(held, keras.random.SeedGenerator):
                backend.set_generator(held.state, word)
            else:
                held.seed(word)
        yield


@contextmanager
def _keras_generator_kept() -> Iterator[None]:
    """Keras's global generator as it was: a model may draw from it, too."""
    if _GOVERNED is not None:  # TensorFlow can't be used after a fork
        yield
        return
    state = drawing.keras_generator().state
    before = np.array(np.asarray(state))
    try:
        yield
    finally:
        state.assign(before)


def _held(owner: Any) -> Iterator[Any]:
    """The generators that an object holds in its attributes, and in theirs, in the order in which they were set.

    Keras's own global one too (`keras.random` without a seed). Not Keras's in a worker process: TensorFlow can't be used
    after a fork.
    """
    if _GOVERNED is None:
        yield drawing.keras_generator()
    seen: set[int] = set()
    waiting = deque([owner])
    while waiting:
        one = waiting.popleft()
        if id(one) in seen or isinstance(one, type | str | bytes | int | float | np.ndarray | types.ModuleType | types.FunctionType):
            continue
        seen.add(id(one))
        if isinstance(one, np.random.Generator | np.random.RandomState | random.Random):
            yield one
        elif isinstance(one, keras.random.SeedGenerator):
            if _GOVERNED is None:
                yield one
        elif isinstance(one, Mapping):
            waiting.extend(one.values() if len(one) < MANY else ())
        elif isinstance(one, list | tuple | set):
            waiting.extend(one if len(one) < MANY else ())
        else:
            waiting.extend(getattr(one, "__dict__", {}).values())


def _outline(owner: Any) -> dict[str, tuple[Any, int | None]]:
    """An object's attributes, and how many items those hold that can grow."""
    return {name: (value, len(value) if isinstance(value, list | dict | set | deque) else None) for name, value in vars(owner).items()}


def _same(was: tuple[Any, int | None], now: tuple[Any, int | None] | None) -> bool:
    plain = isinstance(was[0], int | float | str)
    return now is not None and (was[0] is now[0] or (plain and was[0] == now[0])) and was[1] == now[1]


def as_tuple(batch: Any) -> tuple[Any, ...]:
    """A batch as (x,), (x, y) or (x, y, sample_weight)."""
    if not isinstance(batch, tuple | list):
        return (batch,)
    return tuple(part for part in batch if part is not None)
