"""A data set's parts, checks and split."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import batches_of, data_config
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seedbed import Refused
from seedbed.run import data as data_sets
from seedbed.run import fingerprint
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet, Examples

SEEDS = {"master": 1, **{stream: streams.derive(1, stream) for stream in streams.STREAMS}}
X, Y = np.arange(12, dtype="float32").reshape(6, 2), np.arange(6, dtype="int64")


def loaded(result: Any, **seeds: int) -> DataSet:
    """What `load` makes of a data function that returns `result`."""
    return data_sets.load(lambda: result() if callable(result) else result, {**SEEDS, **seeds}, lambda: None)


def print_of(*part: Any) -> str:
    return fingerprint.of(DataSet(part))


# --- what a data function may return -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "words"),
    [
        pytest.param((np.array([[1.0], [np.nan]]), Y[:2]), "hold nan in 'train', example 1", id="NaN in x"),
        pytest.param((X, np.array([0, 1, 2, np.inf, 4, np.inf])), "hold inf in 'train', example 3 .*2 such values", id="inf in y"),
        pytest.param((X, Y, np.full(6, -np.inf)), "hold -inf in 'train', example 0", id="weights"),
        pytest.param({"train": (X, Y), "test": (X * np.nan, Y)}, "hold nan in 'test'", id="NaN in another part"),
        pytest.param(({"a": X, "b": X * np.nan}, Y), "hold nan in 'train', example 0", id="NaN in one input"),
        pytest.param((X, Y[:5]), r"have \[5, 6\] examples", id="lengths differ"),
        pytest.param(({"a": X, "b": X[1:]}, Y), r"have \[5, 6\] examples", id="lengths of inputs differ"),
        pytest.param((X[:0], Y[:0]), "at least one", id="no examples"),
        pytest.param((np.array([[1, 2], [3]], dtype=object), Y[:2]), "Python objects", id="ragged"),
        pytest.param((pd.DataFrame({"a": [[1], [2, 3]]}), Y[:2]), "Python objects", id="lists in a frame"),
        pytest.param((np.array([None, None]), Y[:2]), "Python objects, for example None", id="None"),
        pytest.param((np.array([], dtype=object), np.array([])), "Accepted", id="empty objects"),
        pytest.param((pd.DataFrame(), pd.Series(dtype="float64")), "Accepted", id="empty frame"),
        pytest.param((X, 3), "single value", id="a number for y"),
        pytest.param(([[1.0], [2.0]], Y[:2]), "single value", id="lists of numbers are structure, not arrays"),
        pytest.param((X, Y, Y, Y), "returned 4 values", id="four values"),
        pytest.param((), "returned 0 values", id="nothing"),
        pytest.param(None, "no training part", id="None returned"),
        pytest.param({"train": None, "test": (X, Y)}, "no training part", id="no training part"),
        pytest.param("data.csv", "returned str", id="a path"),
        pytest.param(X, r"\(x,\) for inputs with nothing to predict", id="x alone"),
        pytest.param({"x": X, "y": Y}, "returned dict", id="a dict of other keys"),
        pytest.param({"train": (X, Y), "valid": (X, Y)}, "returned dict", id="a part of another name"),
        pytest.param(Examples(np.array([], dtype=str), load=lambda name: name), "no examples", id="no items"),
    ],
)
def test_refused(result: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        loaded(result)


@given(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4), st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_one_bad_number_is_found_wherever_it_is(shape: tuple[int, ...], bad: float, data: st.DataObject) -> None:
    x = np.zeros(shape, dtype="float32")
    place = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    x[place] = bad
    with pytest.raises(Refused) as refused:
        loaded((x, np.zeros(shape[0])))
    assert f"example {place[0]} (position {list(place)}, 1 such" in str(refused.value)


def test_arrays_are_taken_as_keras_would() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    part = loaded(({"frame": frame, "flags": np.array([True, False]), "words": np.array(["a", "b"])}, pd.Series([1, 2]))).train
    assert {name: array.dtype.kind for name, array in part[0].items()} == {"frame": "f", "flags": "b", "words": "U"}
    assert part[0]["frame"].dtype == "float32"
    assert part[0]["frame"].flags.c_contiguous
    assert part[1].dtype == "int64"
    np.testing.assert_array_equal(part[0]["frame"], [[1, 3], [2, 4]])


@pytest.mark.parametrize("kind", ["float16", "float64", ">f8"])
def test_floating_point_numbers_become_float32(kind: str) -> None:
    assert loaded((X.astype(kind), Y)).train[0].dtype == np.dtype("float32")


@pytest.mark.parametrize("result", [[X, Y], (X, Y), (X, Y, None), {"train": (X, Y)}, {"train": [X, Y], "test": None}, DataSet((X, Y))])
def test_ways_to_say_the_same(result: Any) -> None:
    data = loaded(result)
    assert list(data.parts()) == ["train"]
    assert fingerprint.of(data) == print_of(X, Y)


def test_parts_by_name() -> None:
    data = loaded({"train": (X, Y), "validation": (X[:2], Y[:2]), "test": batches_of(1, 2)})
    assert list(data.parts()) == ["train", "validation", "test"]
    assert len(data.validation[0]) == 2
    assert data_sets.is_ready_made(data.test)
    assert not data_sets.is_ready_made(data.train)


def test_leaves_come_in_the_order_of_keras() -> None:
    import keras

    structure = {"b": (1, [2, 3]), "a": {"d": 4, "c": 5}, "": 6}
    assert data_sets.flat(structure) == list(keras.tree.flatten(structure))
    assert data_sets.mapped(lambda leaf: -leaf, structure) == {"b": (-1, (-2, -3)), "a": {"d": -4, "c": -5}, "": -6}


# --- randomness in a data function ---------------------------------------------------------------------------------


def noise() -> Any:
    return np.random.rand(4).astype("float32"), np.array([random.random() for _ in range(4)])


def test_a_data_function_draws_from_its_own_streams() -> None:
    first = loaded(noise).train
    assert fingerprint.of(loaded(noise)) == print_of(*first)
    by_numpy, by_python = loaded(noise, numpy=5).train, loaded(noise, python=5).train
    assert not np.array_equal(by_numpy[0], first[0])
    np.testing.assert_array_equal(by_numpy[1], first[1])
    np.testing.assert_array_equal(by_python[0], first[0])
    assert not np.array_equal(by_python[1], first[1])


@pytest.mark.parametrize("stream", ["split", "init", "dropout", "hash"])
def test_other_streams_leave_it_alone(stream: str) -> None:
    assert fingerprint.of(loaded(noise, **{stream: 5})) == fingerprint.of(loaded(noise))


def test_the_callers_generators_go_on_as_if_nothing_had_happened() -> None:
    random.seed(7), np.random.seed(7)
    expected = random.random(), np.random.rand()
    random.seed(7), np.random.seed(7)
    loaded(noise)
    assert (random.random(), np.random.rand()) == expected

    def broken() -> Any:
        noise()
        raise OSError

    random.seed(7), np.random.seed(7)
    with pytest.raises(OSError):  # noqa: PT011
        loaded(broken)
    assert (random.random(), np.random.rand()) == expected


def tensorflow_noise() -> Any:
    import tensorflow as tf

    return tf.random.uniform((4, 1)).numpy(), np.zeros(4)


def test_tensorflow_draws_from_augment_alone() -> None:
    import tensorflow as tf

    tf.random.set_seed(99)
    first = fingerprint.of(loaded(tensorflow_noise))
    tf.random.set_seed(98)
    tf.random.uniform(())
    assert fingerprint.of(loaded(tensorflow_noise)) == first
    found = {name: fingerprint.of(loaded(tensorflow_noise, **{name: 5})) for name in streams.STREAMS}
    assert {name for name, other in found.items() if other != first} == {"augment"}


LAZY = """
import random, sys
import numpy as np
calls = []

def data():
    calls.append(1)
    assert len(calls) == 1 and "tensorflow" not in sys.modules
    first = random.random()
    import tensorflow as tf
    x = tf.random.uniform((8, 1)).numpy() + np.random.rand() + random.random()
    return x, x[:, 0] * first

def early():
    import tensorflow as tf
    first = random.random()
    x = tf.random.uniform((8, 1)).numpy() + np.random.rand() + random.random()
    return x, x[:, 0] * first
"""


@pytest.mark.slow
def test_a_data_function_that_imports_tensorflow_itself(seedbed: Callable[..., Any], plugin: Callable[..., Path]) -> None:
    """The level is there before its first operation, and the bits are those of a function that had imported it before."""
    folder = plugin("lazy", LAZY)
    digests = []
    for name in ("data", "early"):
        words = data_config(folder, f"lazy.{name}")
        done = seedbed("train", *words, "training.epochs=1", "--json", env={"PYTHONPATH": str(folder)})
        assert done.status == 0, done.err
        digests.append(done.json["digests"])
    assert digests[0] == digests[1]


# --- split ---------------------------------------------------------------------------------------------------------


def numbered(count: int) -> DataSet:
    return DataSet((np.arange(count), np.arange(count) * 10, np.arange(count) * 100.0))


shares = st.floats(0, 0.45)
seeds = st.integers(0, streams.LARGEST)


@given(st.integers(10, 200), shares, shares, seeds)
def test_a_split_is_a_partition(count: int, validation: float, test: float, seed: int) -> None:
    assume(all(share == 0 or round(share * count) for share in (validation, test)))
    data = data_sets.split(numbered(count), validation, test, seed)
    parts = data.parts()
    assert sorted(np.concatenate([part[0] for part in parts.values()])) == list(range(count))
    for x, y, weight in parts.values():
        assert (np.diff(x) > 0).all(), "the order of the examples is kept"
        np.testing.assert_array_equal(y, x * 10)
        np.testing.assert_array_equal(weight, x * 100)
    sizes = {name: len(part[0]) for name, part in parts.items()}
    assert sizes.get("validation", 0) == round(validation * count)
    assert sizes.get("test", 0) == round(test * count)


@given(st.integers(10, 200), shares, seeds)
def test_a_split_depends_on_its_seed_alone(count: int, test: float, seed: int) -> None:
    assume(round(test * count) > 0)
    once, again = (data_sets.split(numbered(count), 0.0, test, seed) for _ in range(2))
    assert fingerprint.of(once) == fingerprint.of(again)


def test_another_seed_holds_out_others() -> None:
    held = {tuple(data_sets.split(numbered(100), 0.0, 0.2, seed).test[0]) for seed in range(20)}
    assert len(held) == 20
    # about a fifth each, not always the same ones
    assert len(set().union(*held)) > 90


@given(st.integers(20, 200), st.floats(0.1, 0.3), st.floats(0.1, 0.3), seeds)
def test_the_test_part_is_the_same_for_every_validation_share(count: int, one: float, other: float, seed: int) -> None:
    held = [data_sets.split(numbered(count), share, 0.2, seed) for share in (0.0, one, other)]
    assert len({tuple(data.test[0]) for data in held}) == 1
    smaller, larger = sorted((held[1].validation[0], held[2].validation[0]), key=len)
    assert set(smaller) <= set(larger)


def test_split_keeps_structures_together() -> None:
    data = loaded(({"a": X, "b": X[:, :1]}, (Y, Y * 2)))
    for part in data_sets.split(data, 0.2, 0.4, 3).parts().values():
        np.testing.assert_array_equal(part[0]["a"][:, :1], part[0]["b"])
        np.testing.assert_array_equal(part[0]["a"][:, 0], part[1][0] * 2)
        np.testing.assert_array_equal(part[1][1], part[1][0] * 2)


def test_examples_are_split_by_their_items() -> None:
    items = {"name": np.array([f"{i}.png" for i in range(10)]), "label": np.arange(10)}
    data = data_sets.split(DataSet(Examples(items, load=lambda item: item)), 0.0, 0.3, 1)
    assert (len(data.train), len(data.test)) == (7, 3)
    for part in data.parts().values():
        assert [f"{label}.png" for label in part.items["label"]] == part.items["name"].tolist()


def test_parts_that_are_there_stay() -> None:
    data = DataSet((X, Y), test=(X[:1], Y[:1]))
    cut = data_sets.split(data, 0.5, 0.5, 1)
    assert cut.test is data.test
    assert (len(cut.train[0]), len(cut.validation[0])) == (3, 3)
    whole = DataSet(batches_of(1), validation=batches_of(1), test=batches_of(1))
    assert data_sets.split(whole, 0.1, 0.1, 1) is whole
    assert data_sets.split(data, 0.0, 0.3, 1) is data


@pytest.mark.parametrize(("count", "validation", "test"), [(1, 0.1, 0.0), (4, 0.1, 0.0), (4, 0.5, 0.4), (2, 0.5, 0.5), (3, 0.0, 0.1)])
def test_too_few_examples_to_split(count: int, validation: float, test: float) -> None:
    with pytest.raises(Refused, match=f"{count} examples can't be split"):
        data_sets.split(numbered(count), validation, test, 1)


def test_a_pipeline_cannot_be_cut() -> None:
    with pytest.raises(Refused, match=r"validation_split.*can't cut up.*or set both to 0"):
        data_sets.split(DataSet(batches_of(1, 2)), 0.1, 0.0, 1)


# --- spec ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "outputs", "classes"),
    [
        pytest.param(DataSet((X, Y)), 6, True, id="class numbers"),
        pytest.param(DataSet((X, Y[:, None])), 6, True, id="class numbers in a column"),
        pytest.param(DataSet((X, Y.astype("float32"))), 1, False, id="a quantity"),
        pytest.param(DataSet((X, X)), 2, False, id="two quantities"),
        pytest.param(DataSet((X, Y), classes=False), 1, False, id="whole numbers that are quantities"),
        pytest.param(DataSet((X, Y), outputs=10), 10, True, id="more classes than are seen"),
        pytest.param(DataSet((X, Y), test=(X, Y + 3)), 9, True, id="a class that only the test part has"),
        pytest.param(DataSet((X,)), 1, False, id="no targets"),
    ],
)
def test_what_a_model_is_told(data: DataSet, outputs: int, classes: bool) -> None:
    spec = data_sets.spec(data)
    assert (spec.inputs, spec.dtypes, spec.outputs, spec.classes) == ((2,), "float32", outputs, classes)


def test_a_spec_has_the_structure_of_the_inputs() -> None:
    spec = data_sets.spec(loaded(({"picture": np.zeros((6, 4, 4, 1)), "tokens": np.zeros((6, 7), "int32")}, Y)))
    assert spec.inputs == {"picture": (4, 4, 1), "tokens": (7,)}
    assert spec.dtypes == {"picture": "float32", "tokens": "int32"}


def test_arrays_pipelines_and_examples_give_the_same_spec() -> None:
    import tensorflow as tf

    pipeline = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    examples = Examples((X, Y), load=lambda x, y: (x, y))
    told = [data_sets.spec(DataSet(part, outputs=6)) for part in ((X, Y), pipeline, examples)]
    assert told[0] == told[1] == told[2]


def test_load_of_examples_counts_not_their_items() -> None:
    """The model is told of what `load` makes, not of the file names that it starts from."""
    import tensorflow as tf

    def load(name: Any, label: Any) -> Any:
        return tf.zeros((3, 5)), label

    spec = data_sets.spec(DataSet(Examples((np.array(["a", "b"]), np.arange(2)), load), outputs=2))
    assert (spec.inputs, spec.dtypes, spec.outputs, spec.classes) == ((3, 5), "float32", 2, True)


def test_take_keeps_order_and_structure() -> None:
    taken = data_sets.take(({"a": X}, Y), np.array([4, 1]))
    np.testing.assert_array_equal(taken[1], [4, 1])
    np.testing.assert_array_equal(taken[0]["a"], X[[4, 1]])
