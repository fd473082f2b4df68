"""Digests: recomputed here from their documented form alone, and sensitive to every bit."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seedbed.run import digest


def test_the_documented_form() -> None:
    values = np.array([[1.5, -0.0], [3.25, np.inf]], dtype="float32")
    expected = hashlib.sha256(b"float32 (2, 2)\n" + struct.pack("<4f", 1.5, -0.0, 3.25, float("inf")))
    assert digest.arrays([values]) == expected.hexdigest()
    assert digest.arrays([np.asfortranarray(values)]) == expected.hexdigest()
    assert digest.arrays([values.astype(">f4")]) == expected.hexdigest()


def test_history() -> None:
    expected = hashlib.sha256(b"0 accuracy\n" + struct.pack("<d", 0.5) + b"0 loss\n" + struct.pack("<d", 0.1))
    assert digest.history([{"loss": 0.1, "accuracy": 0.5}]) == expected.hexdigest()


def test_combined() -> None:
    assert digest.combined({"b": "2", "a": "1", "run": "old"}) == hashlib.sha256(b"a 1\nb 2\n").hexdigest()


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=4)), st.integers(0, 31), st.data())
def test_every_bit_counts(array: np.ndarray, bit: int, data: st.DataObject) -> None:
    changed = array.copy().view(np.uint32).reshape(-1)
    changed[data.draw(st.integers(0, changed.size - 1))] ^= np.uint32(1 << bit)
    assert digest.arrays([array]) != digest.arrays([changed.view(np.float32).reshape(array.shape)])


def test_shape_type_and_grouping_count() -> None:
    zeros = np.zeros(4, "float32")
    kinds = [[zeros], [zeros.reshape(2, 2)], [zeros.astype("float64")], [zeros[:2], zeros[:2]], [zeros.view("int32")]]
    assert len({digest.arrays(kind) for kind in kinds}) == len(kinds)


def test_the_weights_of_a_model_are_moving_averages_too_and_its_generators_are_apart() -> None:
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(3), layers.BatchNormalization(), layers.Dropout(0.5, seed=1), layers.Dense(1)]
    )
    assert [array.shape for array in digest.weights(model)] == [(2, 3), (3,), *[(3,)] * 4, (3, 1), (1,)]
    (generator,) = digest.generators(model)
    assert generator.tolist() == np.asarray(model.layers[2].seed_generator.state).tolist()


def test_final_metrics() -> None:
    other_nan = np.frombuffer(np.uint64(0x7FF8000000000001).tobytes(), "<f8")[0]
    expected = hashlib.sha256(b"a\n" + struct.pack("<d", 0.5) + b"b\n" + struct.pack("<d", float("nan")))
    assert digest.metrics({"b": float("nan"), "a": 0.5}) == expected.hexdigest()
    assert digest.metrics({"b": other_nan, "a": 0.5}) == expected.hexdigest()
    assert digest.metrics({"b": 0.0}) != digest.metrics({"b": -0.0})
