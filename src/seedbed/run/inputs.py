"""How batches reach the model: one order of the examples for each (shuffle, epoch), whatever kind of input carries it.

Arrays and `Examples` become one `tf.data` stream over all epochs (as Keras's own array adapter, but with our order), so
that an epoch's batches are a function of (seed, epoch) alone and a resumed run starts the stream where it left off.
"""

from __future__ import annotations

import math
import multiprocessing
import random
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.random.seed_generator import global_seed_generator  # no public way to it in Keras 3.15

from seedbed import Refused
from seedbed.run import data as data_sets
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet, Examples, flat, mapped

# A longer container is data, not a holder of generators.
MANY = 1000

# The global generators belong to the process: threads that make batches take turns.
_TURN = threading.RLock()


@dataclass(frozen=True)
class Feed:
    """What `model.fit` is given: batches of all epochs, one after the other, and how many are an epoch."""

    x: tf.data.Dataset
    steps: int


class Governed:
    """A user's PyDataset with its order and its randomness governed by streams, the same in any number of workers.

    Batch i of an epoch is the user's batch permutation(shuffle, epoch)[i]. While it is made, Python's and NumPy's global
    generators and every generator that the data set holds are children of (augment, epoch, batch): which worker makes it,
    and what that worker made before, doesn't matter. (Seeding the workers is not enough: FACTS 2.)

    Worker processes are forked for each epoch, by us: Keras's own pool (3.15) can hang when the process ends. Threads are
    not used: they would take turns at the global generators anyway.
    """

    def __init__(self, inner: Any, seeds: Mapping[str, int], shuffle: bool, hooks: bool = True) -> None:
        self.inner, self.seeds, self.shuffle, self.hooks = inner, seeds, shuffle, hooks
        self.num_batches: int | None = inner.num_batches
        self.epoch = -1

    def __getitem__(self, batch: int) -> Any:
        """The user's batch of that number, in the current epoch."""
        with _generators(self.inner, self.seeds["augment"], max(self.epoch, 0), batch):
            return self.inner[batch]

    def epochs(self, wanted: range, count: int) -> Iterator[Any]:
        """`count` batches for each of the `wanted` epochs; the hooks of epochs that a resumed run missed are made up for."""
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
        with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _adopt, (self,)) as pool:
            ahead: deque[Future[Any]] = deque()
            for batch in order:
                ahead.append(pool.submit(_adopted, batch))
                if len(ahead) > max(workers, self.inner.max_queue_size):
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _hook(self, name: str) -> None:
        if not self.hooks:
            return
        with _generators(self.inner, self.seeds["shuffle"], self.epoch + 1, {"on_epoch_begin": 0, "on_epoch_end": 1}[name]):
            getattr(self.inner, name)()


_GOVERNED: Governed | None = None  # in a worker process: the data set that it was forked with


def _adopt(data_set: Governed) -> None:
    global _GOVERNED, _TURN
    _GOVERNED, _TURN = data_set, threading.RLock()  # a lock that was held at the fork would never be released


def _adopted(batch: int) -> Any:
    assert _GOVERNED is not None
    return _GOVERNED[batch]


class InMemory(keras.utils.PyDataset):
    """Arrays as a PyDataset of batches in the order of permutation(shuffle, epoch)."""

    def __init__(self, part: Any, seeds: Mapping[str, int], shuffle: bool, batch_size: int) -> None:
        super().__init__()
        self.part, self.seeds, self.shuffle, self.batch_size, self.epoch = part, seeds, shuffle, batch_size, 0
        self.examples = len(flat(part)[0])

    def __len__(self) -> int:
        return math.ceil(self.examples / self.batch_size)

    def __getitem__(self, index: int) -> Any:
        order = order_of(self.seeds, self.epoch, self.examples, self.shuffle)
        return data_sets.take(self.part, order[index * self.batch_size : (index + 1) * self.batch_size])

    def epochs(self, wanted: range, count: int) -> Iterator[Any]:
        for self.epoch in wanted:
            yield from (self[index] for index in range(count))


def govern(data: DataSet, seeds: Mapping[str, int], shuffle: bool) -> DataSet:
    """`data` with each PyDataset governed; a held-out part keeps its order."""
    from dataclasses import replace

    parts: dict[str, Any] = {
        name: Governed(part, seeds, shuffle and name == "train")
        for name, part in data.parts().items()
        if isinstance(part, keras.utils.PyDataset)
    }
    return replace(data, **parts) if parts else data


def order_of(seeds: Mapping[str, int], epoch: int, examples: int, shuffle: bool) -> np.ndarray:
    """The examples' order in `epoch`: int64 of shape (examples,)."""
    return streams.permutation(seeds["shuffle"], epoch, examples) if shuffle else np.arange(examples)


def training(
    part: Any, seeds: Mapping[str, int], epochs: range, batch_size: int | None, shuffle: bool, steps: int | None, kind: str
) -> Feed:
    """The training part as `fit` takes it, from the first of `epochs` (where a resumed run starts) to the last."""
    if isinstance(part, Governed):
        _accepts(kind, "py_dataset", part.inner)
        count = steps or part.num_batches or 0
        if part.num_batches is not None and count > part.num_batches:
            raise Refused(f"training.steps_per_epoch={steps} is more than the data set has: {part.num_batches} batches.")
        return Feed(_generated(part, epochs, count), count)
    if isinstance(part, tf.data.Dataset):
        _accepts(kind, "tf_data", part)
        count = steps or int(part.cardinality())
        if count < 0:
            count = sum(1 for _ in part)  # a filter, say: its length shows only when it is walked through
        endless = part if int(part.cardinality()) == -1 else part.repeat()
        # skipped, not jumped over: the pipeline's own random state must be what it would have been
        return Feed(endless.skip(epochs.start * count), count)
    if isinstance(part, Examples):
        _accepts(kind, "tf_data", part)
    examples = len(part) if isinstance(part, Examples) else len(flat(part)[0])
    batch = batch_size or examples
    if kind == "py_dataset":
        in_memory = InMemory(part, seeds, shuffle, batch)
        return Feed(_generated(in_memory, epochs, len(in_memory)), len(in_memory))

    def orders() -> Iterator[tuple[int, np.ndarray]]:
        for epoch in epochs:
            yield epoch, order_of(seeds, epoch, examples, shuffle)

    signature = (tf.TensorSpec((), tf.int64), tf.TensorSpec((examples,), tf.int64))
    epochwise = tf.data.Dataset.from_generator(orders, output_signature=signature).prefetch(1)
    if isinstance(part, Examples) or kind == "tf_data":
        stream = epochwise.flat_map(lambda epoch, order: _one_by_one(part, epoch, order, seeds, batch))
    else:
        stream = epochwise.flat_map(lambda epoch, order: _sliced(order, examples, batch)).map(_gather(part))
    return Feed(stream.prefetch(tf.data.AUTOTUNE), steps or math.ceil(examples / batch))


def held_out(part: Any, batch_size: int | None, steps: int | None = None) -> Any:
    """A part as batches in its own order, the same each time, for `evaluate` and `predict`.

    A ready-made `tf.data.Dataset` is taken as it is. steps: how many batches to take of a pipeline; all, if None.
    """
    if isinstance(part, Governed):
        count = steps or part.num_batches
        if count is None:
            raise Refused("A PyDataset without an end can't be evaluated. Give it a length (__len__), or other held-out data.")
        return _generated(Governed(part.inner, part.seeds, shuffle=False, hooks=False), range(1), count)
    if isinstance(part, tf.data.Dataset) and steps:
        return part.take(steps)
    if data_sets.is_arrays(part):
        examples = len(flat(part)[0])
        # not Keras's own adapter: under op determinism its parallel map makes TensorFlow 2.21 print an error for each use
        return _sliced(tf.range(examples, dtype=tf.int64), examples, batch_size or examples).map(_gather(part))
    if not isinstance(part, Examples):
        return part
    dataset = tf.data.Dataset.from_tensor_slices(part.items).map(part.load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size or len(part)).prefetch(tf.data.AUTOTUNE)


def first_batch(part: Any, batch_size: int | None) -> tuple[Any, ...]:
    """(x, y, …) of one batch, in the part's own order; for a model that is built by being called."""
    if data_sets.is_arrays(part):
        return data_sets.take(part, np.arange(min(batch_size or 32, len(flat(part)[0]))))
    if isinstance(part, Governed):
        return _as_tuple(part[0])
    return _as_tuple(next(iter(held_out(part, batch_size))))


def _as_tuple(batch: Any) -> tuple[Any, ...]:
    """A batch as (x,), (x, y) or (x, y, sample_weight)."""
    if not isinstance(batch, tuple | list):
        return (batch,)
    return tuple(part for part in batch if part is not None)


def _generated(source: Any, epochs: range, count: int) -> tf.data.Dataset:
    """Batches made in Python. Not prefetched: the next batch is made, and global generators touched, only when it is asked for."""
    first, last = (mapped(np.asarray, _as_tuple(source[number])) for number in (0, max(count - 1, 0)))

    def common(a: np.ndarray, b: np.ndarray) -> tf.TensorSpec:
        axes = [None, *(m if m == n else None for m, n in zip(a.shape[1:], b.shape[1:], strict=True))]
        return tf.TensorSpec(axes, _floatx(a).dtype)

    signature = tf.nest.map_structure(common, first, last)

    def batches() -> Iterator[Any]:
        for batch in source.epochs(epochs, count):
            yield mapped(lambda leaf: _floatx(np.asarray(leaf)), _as_tuple(batch))

    return tf.data.Dataset.from_generator(batches, output_signature=signature)


def _floatx(array: np.ndarray) -> np.ndarray:
    """Floating point in Keras's floatx, as `fit` would have it."""
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _sliced(order: tf.Tensor, examples: int, batch: int) -> tf.data.Dataset:
    whole = examples // batch
    slices = tf.data.Dataset.from_tensor_slices(tf.reshape(order[: whole * batch], (whole, batch)))
    return slices.concatenate(tf.data.Dataset.from_tensors(order[whole * batch :])) if examples % batch else slices


def _gather(part: Any) -> Callable[[tf.Tensor], Any]:
    tensors = mapped(tf.constant, part)
    return lambda indices: mapped(lambda tensor: tf.gather(tensor, indices), tensors)


def _one_by_one(part: Any, epoch: tf.Tensor, order: tf.Tensor, seeds: Mapping[str, int], batch: int) -> tf.data.Dataset:
    """An epoch of examples, each made and changed by itself, then batched."""
    items, load, augment = (part.items, part.load, part.augment) if isinstance(part, Examples) else (part, None, None)
    item_of = _gather(mapped(np.asarray, items))
    base = tf.constant(np.array(streams.words(seeds["augment"], count=2), np.uint32).view(np.int32))

    def make(index: tf.Tensor) -> Any:
        item = item_of(index)
        example = item if load is None else load(*item) if isinstance(item, tuple) else load(item)
        if augment is None:
            return example
        # one seed for each (augment, epoch, example): the same whichever worker takes it
        seed = tf.random.experimental.stateless_fold_in(tf.random.experimental.stateless_fold_in(base, epoch), index)
        return augment(*example, seed)

    examples = tf.data.Dataset.from_tensor_slices(order)
    return examples.map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).batch(batch)


def _accepts(kind: str, natural: str, part: Any) -> None:
    if kind not in ("auto", natural):
        raise Refused(f"data.input={kind} needs arrays; the data function returned {type(part).__name__}. Accepted: auto, {natural}.")


@contextmanager
def _generators(owner: Any, seed: int, *place: int) -> Iterator[None]:
    """Global generators, and those that `owner` holds, as children of a stream at `place`."""
    python, numpy = streams.words(seed, *place, count=2)
    with _TURN, streams.global_generators(python, numpy):
        for number, held in enumerate(_held(owner)):
            child = streams.sequence(seed, *place, number)
            word = int(child.generate_state(1)[0])
            if isinstance(held, np.random.Generator):
                held.bit_generator.state = type(held.bit_generator)(child).state
            elif isinstance(held, keras.random.SeedGenerator):
                held.state.assign([word, 0])
            else:
                held.seed(word)
        yield


def _held(owner: Any) -> Iterator[Any]:
    """The generators that an object holds in its attributes, and in theirs, in the order in which they were set.

    Keras's own global one too (`keras.random` without a seed). Not Keras's in a worker process: TensorFlow can't be used
    after a fork.
    """
    if _GOVERNED is None:
        yield global_seed_generator()
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
