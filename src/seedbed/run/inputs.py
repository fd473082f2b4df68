"""How batches reach the model: one order of the examples for each (shuffle, epoch), whatever kind of input carries it.

Arrays and `Examples` become one `tf.data` stream over all epochs (as Keras's own array adapter, but with our order), so
that an epoch's batches are a function of (seed, epoch) alone and a resumed run starts the stream where it left off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seedbed import Refused
from seedbed.run import collective, determinism, portable
from seedbed.run import data as data_sets
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet, Examples, as_fit, flat, mapped
from seedbed.run.py_dataset import Governed, as_tuple


@dataclass(frozen=True)
class Feed:
    """What `model.fit` is given: batches of all epochs, one after the other, and how many are an epoch."""

    x: tf.data.Dataset
    steps: int


class InMemory(keras.utils.PyDataset):
    """Arrays as a PyDataset of batches in the order of permutation(shuffle, epoch)."""

    def __init__(self, part: Any, seeds: Mapping[str, int], shuffle: bool, batch_size: int) -> None:
        super().__init__()
        self.part, self.seeds, self.shuffle, self.batch_size, self.epoch = part, seeds, shuffle, batch_size, 0
        self.examples = len(flat(part)[0])
        self.order, self.made = np.arange(0), -1

    def __len__(self) -> int:
        return math.ceil(self.examples / self.batch_size)

    def __getitem__(self, index: int) -> Any:
        if self.made != self.epoch:
            self.order, self.made = order_of(self.seeds, self.epoch, self.examples, self.shuffle), self.epoch
        return data_sets.take(self.part, self.order[index * self.batch_size : (index + 1) * self.batch_size])

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
        count = steps or part.num_batches
        if count is None:
            raise Refused(data_sets.NO_END)
        if part.num_batches is not None and count > part.num_batches:
            raise Refused(f"training.steps_per_epoch={steps} is more than the data set has: {part.num_batches} batches.")
        return Feed(_generated(part, epochs, count), count)
    if isinstance(part, tf.data.Dataset):
        _accepts(kind, "tf_data", part)
        count = steps or int(part.cardinality())
        if count == -1:
            raise Refused(data_sets.NO_END)
        if count < 0:
            count = sum(1 for _ in part)  # a filter, say: its length shows only when it is walked through
        endless = part if int(part.cardinality()) == -1 else part.repeat()
        # skipped, not jumped over: the pipeline's own random state must be what it would have been
        return Feed(endless.skip(epochs.start * count), count)
    if isinstance(part, Examples):
        _accepts(kind, "tf_data", part)
    examples = len(part) if isinstance(part, Examples) else len(flat(part)[0])
    batch = batch_size or examples
    whole = math.ceil(examples / batch)
    count = steps or whole
    if count > whole:
        raise Refused(f"training.steps_per_epoch={steps} is more than the data have: {whole} batches of {batch} examples.")
    taken = min(examples, count * batch)
    if kind == "py_dataset":
        made = _generated(InMemory(part, seeds, shuffle, batch), epochs, count, batch if taken % batch == 0 else None)
        return Feed(made.map(lambda *whole: as_fit(whole)) if len(part) == 1 else made, count)

    def orders() -> Iterator[tuple[int, np.ndarray]]:
        for epoch in epochs:
            yield epoch, order_of(seeds, epoch, examples, shuffle)[:taken]

    signature = (tf.TensorSpec((), tf.int64), tf.TensorSpec((taken,), tf.int64))
    with portable.own():
        epochwise = tf.data.Dataset.from_generator(orders, output_signature=signature).prefetch(1)
    if isinstance(part, Examples) or kind == "tf_data":
        stream = epochwise.flat_map(lambda epoch, order: _one_by_one(part, epoch, order, seeds, batch))
    else:
        stream = epochwise.flat_map(lambda epoch, order: _sliced(order, taken, batch)).map(_batch_of(part))
    return Feed(stream.prefetch(tf.data.AUTOTUNE), count)


def held_out(part: Any, batch_size: int | None, steps: int | None = None) -> Any:
    """A part as batches in its own order, the same each time, for `evaluate` and `predict`.

    A ready-made `tf.data.Dataset` is taken as it is. steps: how many batches to take of a pipeline; all, if None.
    """
    return collective.dealt(_held_out(part, batch_size, steps))


def _held_out(part: Any, batch_size: int | None, steps: int | None) -> tf.data.Dataset:
    if isinstance(part, Governed):
        count = steps or part.num_batches
        if count is None:
            raise Refused("A PyDataset without an end can't be evaluated. Give it a length (__len__), or other held-out data.")
        made = _generated(Governed(part.inner, part.seeds, shuffle=False, hooks=False), range(1), count)
        return made.apply(tf.data.experimental.assert_cardinality(count))  # Keras warns of an end that it didn't expect
    if isinstance(part, tf.data.Dataset) and steps:
        return part.take(steps)
    if isinstance(part, tf.data.Dataset) and int(part.cardinality()) == -1:
        raise Refused("A held-out tf.data pipeline has no end. Give it one in the data function: `.take(BATCHES)`.")
    if data_sets.is_arrays(part):
        examples = len(flat(part)[0])
        # not Keras's own adapter: under op determinism its parallel map makes TensorFlow 2.21 print an error for each use
        return _sliced(tf.range(examples, dtype=tf.int64), examples, batch_size or examples).map(_batch_of(part))
    if not isinstance(part, Examples):
        return part

    def make(*item: Any) -> Any:
        _draw_from(part.seed)
        return part.load(*item)

    dataset = tf.data.Dataset.from_tensor_slices(part.items).map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size or len(part)).prefetch(tf.data.AUTOTUNE)


def hidden_state(data: DataSet) -> str | None:
    """What a pipeline keeps that a resumed run couldn't bring back; None if nothing.

    A training pipeline's own random operations draw again what they drew while its batches are skipped. But Python code in
    it may draw from generators that everybody uses, and how often a held-out part is read is Keras's affair.
    """
    for name, part in data.parts().items():
        if isinstance(part, Governed) and part.hidden:
            return part.hidden
        if not isinstance(part, tf.data.Dataset):
            continue
        try:
            operations = operations_of(part)
        except tf.errors.OpError as error:
            return f"a tf.data pipeline that can't be looked into: {type(error).__name__}"
        hidden = operations & determinism.PYTHON_INSIDE
        if name != "train":
            hidden |= {op for op in operations if determinism.DRAWS.search(op)}
        if hidden:
            return f"the operation {', '.join(sorted(hidden))} in the {name} part's tf.data pipeline"
    return None


def operations_of(dataset: tf.data.Dataset) -> set[str]:
    """The operations of a pipeline and of the functions in it; raises tf.errors.OpError if it can't be looked into."""
    written = tf.raw_ops.DatasetToGraphV2(input_dataset=dataset._variant_tensor, external_state_policy=1)  # 1: ignore state
    definition = tf.compat.v1.GraphDef.FromString(written.numpy())
    return {node.op for node in [*definition.node, *(node for function in definition.library.function for node in function.node_def)]}


def first_batch(part: Any, batch_size: int | None) -> Any:
    """One batch as a train step gets it, in the part's own order, to build or look at a model with; no generator is moved on by it."""
    if data_sets.is_arrays(part):
        return as_fit(data_sets.take(part, np.arange(min(batch_size or 32, len(flat(part)[0])))))
    before = streams.generator_states()
    try:
        if isinstance(part, Governed):
            return as_tuple(part[0])
        # the iterator ends with the statement, and with it the threads that fetch ahead and may draw
        return next(iter(part if isinstance(part, tf.data.Dataset) else held_out(part, batch_size)))
    finally:
        streams.put_generator_states(before)


def broken_example(data: DataSet) -> str | None:
    """Which of the examples that are made one by one can't be made, and why; for when a run has failed."""
    for part in data.parts().values():
        for index in range(len(part)) if isinstance(part, Examples) else ():
            item = mapped(partial(_item, index), part.items)
            try:
                part.load(*item) if isinstance(item, tuple) else part.load(item)
            except tf.errors.OpError as error:
                return f"The example {item} can't be made: {error.message}\nMend it, or leave it out."
    return None


def _item(index: int, array: Any) -> Any:
    return np.asarray(array)[index]


def _generated(source: Any, epochs: range, count: int, size: int | None = None) -> tf.data.Dataset:
    """Batches made in Python, of `size` examples each if that is given.

    Not prefetched: the next batch is made, and global generators touched, only when it is asked for.
    """
    first, last = (mapped(np.asarray, as_tuple(source[number])) for number in (0, max(count - 1, 0)))

    def common(a: np.ndarray, b: np.ndarray) -> tf.TensorSpec:
        axes = [size, *(m if m == n else None for m, n in zip(a.shape[1:], b.shape[1:], strict=True))]
        return tf.TensorSpec(axes, _floatx(a).dtype)

    signature = tf.nest.map_structure(common, first, last)

    def batches() -> Iterator[Any]:
        portable.watch_thread()
        for batch in source.epochs(epochs, count):
            yield mapped(lambda leaf: _floatx(np.asarray(leaf)), as_tuple(batch))

    with portable.own():
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


def _batch_of(part: Any) -> Callable[[tf.Tensor], Any]:
    gather = _gather(part)
    return lambda indices: as_fit(gather(indices))


def _one_by_one(part: Any, epoch: tf.Tensor, order: tf.Tensor, seeds: Mapping[str, int], batch: int) -> tf.data.Dataset:
    """An epoch of examples, each made and changed by itself, then batched."""
    items, load, augment = (part.items, part.load, part.augment) if isinstance(part, Examples) else (part, None, None)
    item_of = _gather(mapped(np.asarray, items))
    base = tf.constant(np.array(streams.words(seeds["augment"], count=2), np.uint32).view(np.int32))

    def make(index: tf.Tensor) -> Any:
        if load is not None:
            _draw_from(part.seed)
        item = item_of(index)
        example = as_fit(item) if load is None else load(*item) if isinstance(item, tuple) else load(item)
        if augment is None:
            return example
        # one seed for each (augment, epoch, example): the same whichever worker takes it
        seed = tf.random.experimental.stateless_fold_in(tf.random.experimental.stateless_fold_in(base, epoch), index)
        return augment(*example, seed)

    made = tf.data.Dataset.from_tensor_slices(order).map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    # a known size changes bits: known where all batches have it, as for arrays
    return made.batch(batch, drop_remainder=order.shape[0] % batch == 0)


def _draw_from(seed: int | None) -> None:
    """Seed the operations that are added to the graph of an example's function from here on and have no seed of their own; by
    themselves they take the one that the model's noise begins with."""
    if seed is not None:
        tf.compat.v1.get_default_graph().seed = seed


def _accepts(kind: str, natural: str, part: Any) -> None:
    if kind not in ("auto", natural):
        raise Refused(f"data.input={kind} needs arrays; the data function returned {type(part).__name__}. Accepted: auto, {natural}.")
