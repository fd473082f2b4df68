"""A data set: what a data function may return, its parts and its checks.

A data function (the `_target_` under `data.source`) returns one of

- `(x, y)` or `(x, y, sample_weight)`: arrays, data frames, or dicts, tuples and lists of them, examples first; `(x,)` where
  nothing is to be predicted, for a model that makes its loss of the inputs alone;
- `Examples`: items (file names, say) and a TensorFlow function that makes an example of each;
- a ready-made `tf.data.Dataset` of batches, or a `keras.utils.PyDataset`;
- `DataSet` (or a dict with the keys train, validation, test): any of these for each part.

Arrays and `Examples` are ordered and split here. A ready-made pipeline brings its own batches and order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from seedbed import Refused, quiet
from seedbed.run import seeds as streams


@dataclass(frozen=True)
class Examples:
    """Examples that are made when they are needed, by a `tf.data` pipeline.

    items: a dict, tuple or array of arrays, one entry an example (paths and labels, say).
    load: item -> (x, y), in TensorFlow operations; runs in parallel.
    augment: (x, y, seed) -> (x, y) for training alone; seed is an int32 tensor of shape (2,) for stateless random
        operations, another one for each example in each epoch.
    files: what `load` reads, for the fingerprint.
    seed: of TensorFlow's operations in `load` that have no seed; set from the stream `augment`, not by a data function.
    """

    items: Any
    load: Callable[..., Any]
    augment: Callable[..., Any] | None = None
    files: Sequence[str | Path] = ()
    seed: int | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(flat(self.items)[0])


@dataclass(frozen=True)
class DataSet:
    """A data set in parts; a part that is None is split off `train` if the config says so.

    outputs: the number of classes, or of values to predict; found out from the targets where it is None.
    classes: whether the targets are class numbers; None: they are if they are integers.
    vocabulary: the number of distinct tokens where the inputs are token numbers.
    drawn: whether numbers were drawn from the global generators while the data were made; not for a data function to say.
    """

    train: Any
    validation: Any = None
    test: Any = None
    outputs: int | None = None
    classes: bool | None = None
    vocabulary: int | None = None
    fingerprint: str = field(default="", compare=False)
    drawn: bool = field(default=False, compare=False)

    def parts(self) -> dict[str, Any]:
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


@dataclass(frozen=True)
class Spec:
    """What a model function needs to know of its data; passed to its parameter `spec`, if it has one.

    inputs: for each input (a tuple, list or dict of them, or one) the shape of an example, without the batch axis.
    dtypes: the inputs' dtypes, in the same structure.
    """

    inputs: Any
    dtypes: Any
    outputs: int
    classes: bool
    vocabulary: int | None


def flat(structure: Any) -> list[Any]:
    """The leaves of nested dicts, tuples and lists; a dict's in the order of its sorted keys, as Keras's."""
    if isinstance(structure, Mapping):
        return [leaf for key in sorted(structure) for leaf in flat(structure[key])]
    if isinstance(structure, tuple | list):
        return [leaf for item in structure for leaf in flat(item)]
    return [structure]


def mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """`structure` with `function` applied to each leaf."""
    if isinstance(structure, Mapping):
        return {key: mapped(function, value) for key, value in structure.items()}
    if isinstance(structure, tuple | list):
        return tuple(mapped(function, item) for item in structure)
    return function(structure)


def as_fit(batch: Any) -> Any:
    """A batch of arrays as `model.fit(x)` hands it to a train step: inputs alone, `(x,)`, without the tuple around them."""
    return batch[0] if isinstance(batch, tuple) and len(batch) == 1 and not isinstance(batch[0], tuple | list) else batch


def is_arrays(part: Any) -> bool:
    return isinstance(part, tuple)


def targets(part: Any) -> list[np.ndarray]:
    """The arrays to be predicted, where `part` is arrays and has any."""
    return flat(part[1]) if is_arrays(part) and len(part) > 1 else []


def is_ready_made(part: Any) -> bool:
    """Whether `part` is a pipeline that brings its own batches and order."""
    return not isinstance(part, tuple | Examples)


@contextmanager
def at_level(ready: Callable[[], None], keras_ready: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let code of the user's import TensorFlow, whenever it does (it costs seconds, so that is left to it): `ready` is called as soon
    as TensorFlow is there, before its first operation, and `keras_ready` once when Keras is there, too. What the imports draw from
    the global generators doesn't count."""
    waiting = [keras_ready]

    def whole() -> None:
        # either one may be imported first, and imports the other meanwhile
        if "keras" in sys.modules and not any(quiet.is_importing(name) for name in ("tensorflow", "keras")) and waiting:
            waiting.pop()()

    @contextmanager
    def importing(name: str) -> Iterator[None]:
        before = streams.generator_states()  # rich, which Keras imports, draws from Python's
        yield
        streams.put_generator_states(before)
        if name == "tensorflow":
            ready()

    if "tensorflow" in sys.modules:
        ready()
    whole()
    quiet.install()
    quiet.AROUND.append(importing)
    quiet.AFTER.append(whole)
    try:
        yield
    finally:
        quiet.AROUND.remove(importing)
        quiet.AFTER.remove(whole)


def load(call: Callable[[], Any], seeds: Mapping[str, int], apply_level: Callable[[], None]) -> DataSet:
    """What the data function returns, as a DataSet of checked parts; the same for the same seeds.

    `call` runs with every global generator seeded: Python's and NumPy's from the streams of their names, TensorFlow's and
    Keras's from `augment`, and the shuffles of a `tf.data` pipeline that have no seed from `shuffle`.
    """
    word = streams.words(seeds["augment"], streams.TENSORFLOW)[0]
    with ExitStack() as stack:

        def ready() -> None:
            apply_level()
            sys.modules["tensorflow"].random.set_seed(word)
            from seedbed.run import drawing

            stack.enter_context(drawing.shuffles(seeds["shuffle"]))

        def keras_ready() -> None:
            from seedbed.run import drawing

            stack.callback(drawing.begin_keras(streams.words(seeds["augment"], streams.KERAS)[0]))

        with at_level(ready, keras_ready), streams.global_generators(seeds["python"], seeds["numpy"]):
            before = streams.state_hash()
            found = _as_data_set(call())
            drawn = streams.state_hash() != before
    return replace(found, drawn=drawn)


def seeded(data: DataSet, augment: int) -> DataSet:
    """`data` with each `Examples` seeded from the stream `augment`; a study's runs share the data, and not the seeds."""
    word = streams.words(augment, streams.TENSORFLOW)[0]
    parts: dict[str, Any] = {name: replace(part, seed=word) for name, part in data.parts().items() if isinstance(part, Examples)}
    return replace(data, **parts)


def _as_data_set(result: Any) -> DataSet:
    if isinstance(result, Mapping) and set(result) <= {"train", "validation", "test"} and "train" in result:
        result = DataSet(**result)
    if not isinstance(result, DataSet):
        result = DataSet(train=result)
    if result.train is None:
        raise Refused("The data function returned no training part. Accepted: (x, y), or a DataSet or dict with `train`.")
    return replace(result, **{name: _checked_part(part, name) for name, part in result.parts().items()})


def _checked_part(part: Any, name: str) -> Any:
    if isinstance(part, Examples):
        if len(part) == 0:
            raise Refused(f"The data set's part {name!r} holds no examples.")
        return part
    if isinstance(part, list):
        part = tuple(part)
    if not isinstance(part, tuple):
        if (hasattr(part, "__getitem__") and hasattr(part, "on_epoch_end")) or hasattr(part, "element_spec"):
            return part
        raise Refused(
            f"The data function returned {type(part).__name__} for {name!r}. Accepted: (x, y) or (x, y, sample_weight), (x,) "
            "for inputs with nothing to predict, seedbed.run.data.Examples, tf.data.Dataset, keras.utils.PyDataset, or a DataSet of these."
        )
    if not 1 <= len(part) <= 3:
        raise Refused(f"The data function returned {len(part)} values for {name!r}. Accepted: (x, y), (x, y, sample_weight) or (x,).")
    part = tuple(mapped(_as_array, item) for item in part if item is not None)
    lengths = sorted({len(array) for array in flat(part)})
    if len(lengths) != 1 or lengths[0] == 0:
        raise Refused(f"The arrays of {name!r} have {lengths} examples. Accepted: the same number in each, at least one.")
    for array in flat(part):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            where = np.argwhere(~np.isfinite(array))[0].tolist()
            raise Refused(
                f"The data hold {array[tuple(where)]} in {name!r}, example {where[0]} (position {where}, {np.sum(~np.isfinite(array))} "
                "such values in all). Accepted: finite numbers. Drop these examples or fill them in in the data function."
            )
    return part


def _as_array(value: Any) -> np.ndarray:
    """`value` as an array as `model.fit` would take it: floating point in Keras's floatx, all else as it is."""
    array = value.to_numpy() if hasattr(value, "to_numpy") else np.asarray(value)
    columns: Any = np.ravel(getattr(value, "dtypes", array.dtype))  # type: ignore[arg-type]
    if array.dtype == object and all(isinstance(item, str) for item in array.flat):  # a text column of pandas's
        array = array.astype(str)
    elif array.dtype == object and {dtype.kind for dtype in columns} <= set("biuf"):
        array = value.to_numpy(dtype="float64", na_value=np.nan)  # truth values beside numbers, or pandas's own integers
    if array.dtype == object:
        example = f", for example {array.flat[0]!r}" if array.size else ""
        raise Refused(f"The data hold Python objects{example}. Accepted: numbers, or arrays of strings.")
    if array.ndim == 0:
        raise Refused(f"The data hold a single value, {array!r}, where an array with an example in each row is needed.")
    return np.ascontiguousarray(array, dtype="float32" if array.dtype.kind == "f" else None)


def take(part: Any, indices: np.ndarray) -> Any:
    """The examples of arrays or Examples at `indices`, in that order."""
    if isinstance(part, Examples):
        return replace(part, items=mapped(lambda array: np.asarray(array)[indices], part.items))
    return mapped(lambda array: array[indices], part)


def split(data: DataSet, validation: float, test: float, seed: int) -> DataSet:
    """`data` with parts held out of `train`: shares of its examples, drawn by stream `split`, kept in their order.

    A part that the data function gave already stays as it is.
    """
    wanted = {"validation": validation if data.validation is None else 0.0, "test": test if data.test is None else 0.0}
    if not any(wanted.values()):
        return data
    if is_ready_made(data.train):
        raise Refused(
            f"data.validation_split and data.test_split can't cut up a {type(data.train).__name__}: return the parts from the "
            "data function (a dict with train, validation, test), or set both to 0."
        )
    total = len(data.train) if isinstance(data.train, Examples) else len(flat(data.train)[0])
    order = streams.generator(seed).permutation(total)
    counts = {name: round(share * total) for name, share in wanted.items()}
    if any(share > 0 and counts[name] == 0 for name, share in wanted.items()) or sum(counts.values()) >= total:
        raise Refused(f"{total} examples can't be split: validation {validation:g} and test {test:g} give {counts} examples.")
    held = {"test": order[: counts["test"]], "validation": order[counts["test"] : counts["test"] + counts["validation"]]}
    parts = {name: take(data.train, np.sort(indices)) for name, indices in held.items() if len(indices)}
    return replace(data, train=take(data.train, np.sort(order[sum(counts.values()) :])), **parts)


NO_END = "The input pipeline has no end. Say how many batches are an epoch: training.steps_per_epoch=N."


def batches(part: Any, steps: int | None) -> Iterator[Any]:
    """The batches of a ready-made pipeline: all, or `steps` of one without an end; raises Refused for that without `steps`."""
    count = part.num_batches if hasattr(part, "num_batches") else int(part.cardinality())
    if count is None or count == -1:
        if steps is None:
            raise Refused(NO_END)
        count = steps
        part = part if hasattr(part, "num_batches") else part.take(steps)
    yield from (part[index] for index in range(count)) if hasattr(part, "num_batches") else part.as_numpy_iterator()


def count_classes(data: DataSet, steps: int | None) -> DataSet:
    """`data` with its number of classes, found by a pass over its batches if it is a ready-made pipeline with class numbers."""
    _, y, _ = _signature(data.train)
    integer = hasattr(y, "dtype") and _dtype(y).kind in "iu"
    if not is_ready_made(data.train) or data.outputs is not None or not (integer and data.classes is not False):
        return data
    ready = [part for part in data.parts().values() if is_ready_made(part)]
    return replace(data, outputs=1 + max(int(np.max(batch[1])) for part in ready for batch in batches(part, steps)))


def spec(data: DataSet) -> Spec:
    """What the model function is told: from the training part's arrays, or from one element of its pipeline."""
    x, y, axes = _signature(data.train)
    integer = hasattr(y, "dtype") and _dtype(y).kind in "iu"
    classes = integer if data.classes is None else data.classes
    outputs = data.outputs
    first = [targets(part)[0] for part in data.parts().values() if targets(part)]
    if outputs is None and classes and first:
        outputs = int(max(target.max() for target in first)) + 1
    if outputs is None:
        shape = tuple(y.shape)[axes:] if hasattr(y, "shape") else ()
        outputs = int(shape[-1]) if shape and shape[-1] else 1
    shapes = mapped(lambda leaf: tuple(leaf.shape)[axes:], x)
    return Spec(shapes, mapped(lambda leaf: _dtype(leaf).name, x), outputs, bool(classes), data.vocabulary)


def has_targets(data: DataSet) -> bool:
    """Whether there is something to predict, beside the inputs."""
    return _signature(data.train)[1] is not None


def _signature(part: Any) -> tuple[Any, Any, int]:
    """(x, y, number of batch axes): leaves with a shape and a dtype, arrays or tensor specs; y is None without targets."""
    axes = 1
    if is_arrays(part):
        element = part
    elif isinstance(part, Examples):
        import tensorflow as tf

        element, axes = tf.data.Dataset.from_tensor_slices(part.items).map(part.load).element_spec, 0
    elif hasattr(part, "element_spec"):
        element = part.element_spec
    else:
        element = mapped(np.asarray, part[0])
    if not isinstance(element, tuple):
        return element, None, axes
    return element[0], (element[1] if len(element) > 1 else None), axes


def _dtype(leaf: Any) -> np.dtype:
    return np.dtype(getattr(leaf.dtype, "as_numpy_dtype", leaf.dtype))
