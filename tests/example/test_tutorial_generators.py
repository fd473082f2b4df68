"""The generators of 2017 against independent implementations, known answers and TensorFlow itself; the initializers made of them."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from example.tutorial import mrg31k3p, philox
from example.tutorial.glorot import limit_of
from example.tutorial.initializers import Mrg31k3pGlorotUniform, PhiloxGlorotUniform
from example.tutorial.seeds_2017 import kernel_seeds
from seedbed import Refused

M1, M2 = 2147483647, 2147462579


def mrg(state: tuple[list[int], list[int]], count: int) -> list[int]:
    """The first `count` draws from a state (x[n-1], x[n-2], x[n-3] of each recurrence): the paper's equations, one after the other."""
    (x1, x2, x3), (y1, y2, y3) = state
    drawn = []
    for _ in range(count):
        x1, x2, x3 = (4194304 * x2 + 129 * x3) % M1, x1, x2
        y1, y2, y3 = (32768 * y1 + 32769 * y3) % M2, y1, y2
        z = (x1 - y1) % M1
        drawn.append(z or M1)
    return drawn


def advanced(state: tuple[list[int], list[int]], doublings: int) -> tuple[list[int], list[int]]:
    """The state 2^doublings steps on, with matrices of Python's whole numbers."""

    def times(a: list[list[int]], b: list[list[int]], m: int) -> list[list[int]]:
        return [[sum(a[i][k] * b[k][j] for k in range(3)) % m for j in range(len(b[0]))] for i in range(3)]

    found = []
    for values, first, m in zip(state, ([0, 4194304, 129], [32768, 0, 32769]), (M1, M2), strict=True):
        step = [first, [1, 0, 0], [0, 1, 0]]
        for _ in range(doublings):
            step = times(step, step, m)
        found.append([row[0] for row in times(step, [[value] for value in values], m)])
    return found[0], found[1]


def start(seed: int) -> tuple[list[int], list[int]]:
    return [seed] * 3, [seed] * 3


# --- MRG31k3p ------------------------------------------------------------------------------------------------------


@given(seed=st.integers(1, M2 - 1), count=st.integers(0, 400))
def test_one_stream_is_the_recurrence(seed: int, count: int) -> None:
    assert mrg31k3p.draws(seed, count).tolist() == mrg(start(seed), count)


@given(seed=st.integers(1, M2 - 1), count=st.integers(1, 60), streams=st.integers(1, 9))
def test_streams_are_dealt_round(seed: int, count: int, streams: int) -> None:
    states = [start(seed)]
    for _ in range(streams - 1):
        states.append(advanced(states[-1], 72))
    columns = [mrg(state, count) for state in states]
    assert mrg31k3p.draws(seed, count, streams).tolist() == [columns[i % streams][i // streams] for i in range(count)]


def test_the_reference_can_jump() -> None:
    """Five doublings are 32 steps."""
    assert mrg(advanced(start(7), 5), 10) == mrg(start(7), 42)[32:]


@pytest.mark.parametrize("seed", [1, 2, 4686060, M2 - 1])
def test_the_ends_of_the_range(seed: int) -> None:
    drawn = mrg31k3p.draws(seed, 20_000)
    assert drawn.dtype == np.int64
    assert 1 <= drawn.min() <= drawn.max() <= M1
    u = mrg31k3p.uniform(seed, (20_000,))
    assert u.dtype == np.float32
    assert 0 < u.min() <= u.max() < 1


def test_the_largest_draw_stays_below_one() -> None:
    assert np.float32(M1) * mrg31k3p.SCALE < 1
    assert np.float32(M1) * np.nextafter(mrg31k3p.SCALE, np.float32(1)) == 1


def test_two_equal_values_are_the_largest_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """It happens once in 2^31 draws, and 0 is none of them."""
    monkeypatch.setattr(mrg31k3p, "_values", lambda step, modulus, *rest: np.array([5, 6, 5 + (modulus < M1)]))
    assert mrg31k3p.draws(1, 3).tolist() == [M1, M1, M1 - 1]


@pytest.mark.parametrize("seed", [0, -1, M2, 2**40])
def test_no_seed_of_mrg(seed: int) -> None:
    with pytest.raises(ValueError, match=f"seed={seed} is not accepted by MRG31k3p.*from 1 to 2147462578"):
        mrg31k3p.draws(seed, 1)


@pytest.mark.parametrize(
    ("size", "streams"), [(1, 1), (2, 2), (6, 6), (7, 1), (10, 1), (12, 2), (500, 83), (92_160, 15_360), (10**6, 15_360)]
)
def test_streams_as_theano_dealt_them(size: int, streams: int) -> None:
    assert mrg31k3p.streams_for(size) == streams


@pytest.mark.parametrize("streams", [1, 15_360])
def test_a_large_tensor_is_drawn_by_a_few_products(streams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by a loop over its elements."""
    calls, product = [], mrg31k3p._product
    monkeypatch.setattr(mrg31k3p, "_product", lambda *operands: calls.append(1) or product(*operands))
    drawn = mrg31k3p.draws(5, 10**6, streams)
    assert drawn.shape == (10**6,)
    assert abs(drawn.mean() / M1 - 0.5) < 0.002
    assert len(calls) < 300


def test_the_first_kernel_of_the_theano_table() -> None:
    limit = math.sqrt(3 / 5.5)
    expected = [np.float32(float(np.float32(z) * np.float32(4.6566126e-10)) * (2 * limit) - limit) for z in mrg(start(4686060), 10)]
    assert mrg31k3p.glorot_uniform(4686060, (1, 10)).tolist() == [expected]


# --- Philox --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # kat_vectors of Random123, philox4x32 with 10 rounds
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers_of_random123(counter: str, key: str, words: str) -> None:
    def numbers(text: str) -> list[int]:
        return [int(word, 16) for word in text.split()]

    first, second = numbers(key)
    assert philox.philox(np.array([numbers(counter)] * 2), (first, second)).tolist() == [numbers(words)] * 2


def tensorflows(seed: int, seed2: int, shape: tuple[int, ...]) -> np.ndarray:
    tf.random.set_seed(0)  # else the operation goes on from where it was
    return tf.raw_ops.RandomUniform(shape=np.array(shape, "int64"), dtype=tf.float32, seed=seed, seed2=seed2).numpy()


seeds = st.one_of(st.integers(0, 20), st.integers(0, 2**63 - 1))


@given(seed=seeds, seed2=seeds, shape=st.lists(st.integers(1, 12), max_size=3).map(tuple))
def test_philox_is_tensorflows(seed: int, seed2: int, shape: tuple[int, ...]) -> None:
    if seed == seed2 == 0:
        return
    np.testing.assert_array_equal(philox.uniform(seed, seed2, shape), tensorflows(seed, seed2, shape))


def test_philox_is_tensorflows_for_a_large_tensor() -> None:
    np.testing.assert_array_equal(philox.uniform(2, 6762380, (300, 1001)), tensorflows(2, 6762380, (300, 1001)))


@pytest.mark.parametrize("pair", [(0, 0), (-1, 2), (2, 2**63)])
def test_no_seeds_of_philox(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not accepted by Philox"):
        philox.uniform(*pair, (1,))


def test_kernels_as_a_graph_of_tensorflow_draws_them() -> None:
    """What Keras 2.0.3 called: tf.random_uniform(shape, -limit, limit, seed=…) under a graph's seed of 2."""
    for shape, seed in (((1, 10), 4686059), ((10, 1), 6762380), ((3, 3, 4, 8), 5)):
        limit = limit_of(shape)
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            tf.compat.v1.set_random_seed(2)
            drawn = session.run(tf.random.uniform(shape, -limit, limit, dtype=tf.float32, seed=seed))
        np.testing.assert_array_equal(philox.glorot_uniform(2, seed, shape), drawn)


# --- seeds of the kernels ------------------------------------------------------------------------------------------


def test_the_first_seeds() -> None:
    assert kernel_seeds(1, 1) == (4686060, 6762381)
    assert kernel_seeds(1, 0) == (4686059, 6762380)


@pytest.mark.parametrize("lowest", [0, 1])
def test_seeds_of_later_rows_are_those_of_the_whole_program(lowest: int) -> None:
    """The program with NumPy's global generator, from its beginning."""
    before = np.random.get_state()
    try:
        np.random.seed(1)
        for row in range(1, 11):
            drawn = [np.random.randint(lowest, 10_000_000) if lowest else np.random.randint(10e6) for _ in range(2)]
            assert kernel_seeds(row, lowest) == tuple(drawn)
            for _ in range(100):
                order = np.arange(9)
                np.random.shuffle(order)
    finally:
        np.random.set_state(before)


@pytest.mark.parametrize("row", [0, -1, 1001])
def test_no_row(row: int) -> None:
    with pytest.raises(Refused, match=rf"model\.row={row} is not accepted.*1 … 10"):
        kernel_seeds(row, 0)


# --- initializers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 10), (10, 1), (7, 5), (3, 3, 2, 8), (1, 1)])
def test_the_limit_is_keras_own(shape: tuple[int, ...]) -> None:
    many = keras.ops.convert_to_numpy(keras.initializers.GlorotUniform(seed=1)((*shape[:-2], 100 * shape[-2], 100 * shape[-1])))
    assert limit_of(shape) == pytest.approx(np.abs(many).max() * 10, rel=1e-3)


def test_the_limit_of_what_is_no_kernel_is_that_of_keras_2() -> None:
    assert limit_of((16,)) == math.sqrt(3 / 4)
    assert limit_of(()) == math.sqrt(3)


@pytest.mark.parametrize("kind", [Mrg31k3pGlorotUniform, PhiloxGlorotUniform])
def test_an_initializer_is_one_of_keras(kind: Any) -> None:
    layer = keras.layers.Dense(4, kernel_initializer=kind(seed=7))
    layer.build((None, 3))
    np.testing.assert_array_equal(layer.kernel.numpy(), kind(seed=7).drawn((3, 4)))
    np.testing.assert_array_equal(kind(seed=7)((3, 4)).numpy(), layer.kernel.numpy())
    assert not np.array_equal(kind(seed=8)((3, 4)).numpy(), layer.kernel.numpy())
    again = keras.layers.Dense.from_config(layer.get_config())
    np.testing.assert_array_equal(again.kernel_initializer.drawn((3, 4)), layer.kernel.numpy())
    assert type(again.kernel_initializer) is kind
    assert kind(seed=7)((3, 4), dtype="float16").dtype == "float16"


@pytest.mark.parametrize("kind", [Mrg31k3pGlorotUniform, PhiloxGlorotUniform])
@pytest.mark.parametrize("seed", [0.5, True, "1", -1])
def test_no_seed_of_an_initializer(kind: Any, seed: Any) -> None:
    with pytest.raises(ValueError, match="seed"):
        kind(seed=seed)


def test_an_initializer_without_a_seed_follows_keras_seed() -> None:
    keras.utils.set_random_seed(5)
    first = Mrg31k3pGlorotUniform()((3, 4)).numpy()
    second = Mrg31k3pGlorotUniform()((3, 4)).numpy()
    keras.utils.set_random_seed(5)
    np.testing.assert_array_equal(Mrg31k3pGlorotUniform()((3, 4)).numpy(), first)
    assert not np.array_equal(first, second)


def test_the_graph_seed_counts_and_is_kept() -> None:
    one, other = PhiloxGlorotUniform(7), PhiloxGlorotUniform(7, graph_seed=3)
    assert not np.array_equal(one.drawn((3, 4)), other.drawn((3, 4)))
    assert PhiloxGlorotUniform.from_config(other.get_config()).graph_seed == 3
