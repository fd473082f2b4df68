"""MRG31k3p, the generator of Theano's backend, and the kernels that Keras 2.0.3 drew from it.

P. L'Ecuyer, R. Touzin: Fast combined multiple recursive generators with multipliers of the form a = ±2^q ± 2^r. Proceedings
of the 2000 Winter Simulation Conference, 683–689. Two recurrences of order three, in step:

    x[n] = (2^22 x[n-2] + (2^7 + 1) x[n-3]) mod (2^31 - 1)
    y[n] = (2^15 y[n-1] + (2^15 + 1) y[n-3]) mod (2^31 - 21069)

and each draw is x[n] - y[n], plus 2^31 - 1 where that isn't positive: a whole number in 1 … 2^31 - 1. A step is a product with
a 3 x 3 matrix, so the state any number of steps ahead is one, too; that is how many are drawn at once here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

from example.tutorial.glorot import limit_of

MODULI = 2**31 - 1, 2**31 - 21069
# What takes the last three values of a recurrence, newest first, to the next three.
STEPS = (
    ((0, 2**22, 2**7 + 1), (1, 0, 0), (0, 1, 0)),
    ((2**15, 0, 2**15 + 1), (1, 0, 0), (0, 1, 0)),
)

# From Theano 0.9 (sandbox/rng_mrg.py). The largest float32 whose product with each draw is below 1; 2^-31 would give 1.
SCALE = np.float32(4.6566126e-10)
# Streams of one seed are 2^72 draws apart, and a tensor of n elements is dealt over n // 6 of them, but not more than a GPU's.
APART, ELEMENTS_A_STREAM, MOST_STREAMS = 2**72, 6, 60 * 256


def draws(seed: int, count: int, streams: int = 1) -> np.ndarray:
    """`count` draws as int64 in 1 … 2^31 - 1, from a state of six times `seed`.

    streams: as many of the generator's streams, 2^72 draws apart, are dealt round: draw i is the (i // streams)-th of stream
    i % streams. ValueError for a seed that is none of this generator's.
    """
    if not 0 < seed < min(MODULI):
        raise ValueError(f"seed={seed} is not accepted by MRG31k3p. Accepted: a whole number from 1 to {min(MODULI) - 1}.")
    x, y = (_values(np.array(step), modulus, seed, count, streams) for step, modulus in zip(STEPS, MODULI, strict=True))
    return np.where(x > y, x - y, x - y + MODULI[0])


def streams_for(size: int) -> int:
    """Over how many streams Theano 0.9 deals a tensor of `size` elements."""
    return min(size // ELEMENTS_A_STREAM if size > ELEMENTS_A_STREAM else max(size, 1), MOST_STREAMS)


def uniform(seed: int, shape: Sequence[int]) -> np.ndarray:
    """float32 of `shape`, 0 < u < 1, equal to the bit to Theano 0.9's `MRG_RandomStreams(seed).uniform(shape)`."""
    size = math.prod(shape)
    return draws(seed, size, streams_for(size)).astype(np.float32).reshape(shape) * SCALE


def glorot_uniform(seed: int, shape: Sequence[int]) -> np.ndarray:
    """float32 of `shape`: the kernel that Keras 2.0.3 gave a layer on Theano for this seed."""
    limit = limit_of(shape)
    # the compiled code computes this line in float64 and rounds at its end
    return (uniform(seed, shape).astype(np.float64) * (limit + limit) - limit).astype(np.float32)


def _values(step: np.ndarray, modulus: int, seed: int, count: int, streams: int) -> np.ndarray:
    """`count` values of one recurrence, dealt round over its streams; int64 of shape (count,)."""
    apart = reduce(lambda power, _: _product(power, power, modulus), range(APART.bit_length() - 1), step)
    starts = _orbit(apart, np.full((3, 1), seed), modulus, streams)
    rounds = -(-count // streams)
    states = _orbit(step, _product(step, starts, modulus)[:, np.newaxis], modulus, rounds)
    return states[0].reshape(-1)[:count]


def _orbit(step: np.ndarray, states: np.ndarray, modulus: int, count: int) -> np.ndarray:
    """From (3, 1, …) to (3, count, …): a state, `step` times it, `step`² times it, ….

    k states times step^k are the next k, so a few products give all of them.
    """
    while states.shape[1] < count:
        states = np.concatenate([states, _product(step, states, modulus)], axis=1)
        step = _product(step, step, modulus)
    return states[:, :count]


def _product(matrix: np.ndarray, states: np.ndarray, modulus: int) -> np.ndarray:
    """(3, 3) times (3, …), modulo `modulus`; a product of two values has 62 bits, so each is reduced before they are added."""
    return np.stack([sum(row[i] * states[i] % modulus for i in range(3)) % modulus for row in matrix])
