"""Philox4x32-10, the generator of TensorFlow's random operations, and the kernels that Keras 2.0.3 drew from it.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011 (Random123). A counter
of four 32-bit words is mixed with a key of two in ten rounds; each counter gives four words by itself, so all of a tensor's are
computed at once. In NumPy, so that it is the same on each backend of Keras and in any version of TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from example.tutorial.glorot import limit_of

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
# Added to the key after each round: the golden ratio and sqrt(3) - 1, times 2^32.
WEYL = 0x9E3779B9, 0xBB67AE85

WORD = 2**32
LOW = np.uint64(WORD - 1)
HALF = np.uint64(32)


def philox(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """uint32 of shape (n, 4): what each row of `counters`, (n, 4) of whole numbers below 2^32, becomes under `key`."""
    a, b, c, d = np.asarray(counters, dtype=np.uint64).T
    for number in range(ROUNDS):
        first, second = (np.uint64((word + number * weyl) % WORD) for word, weyl in zip(key, WEYL, strict=True))
        left, right = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = (right >> HALF) ^ b ^ first, right & LOW, (left >> HALF) ^ d ^ second, left & LOW
    return np.stack([a, b, c, d], axis=1).astype(np.uint32)


def uniform(seed: int, seed2: int, shape: Sequence[int]) -> np.ndarray:
    """float32 of `shape`, 0 <= u < 1, equal to the bit to `tf.raw_ops.RandomUniform(shape, float32, seed, seed2)`.

    seed: the graph's (`tf.set_random_seed`), seed2: the operation's. ValueError for (0, 0), which TensorFlow takes for 'none',
    and for what isn't in 0 … 2^63 - 1. tensorflow/core/lib/random/random_distributions.h: 23 bits make a float in 1 … 2.
    """
    if not (0 <= seed < 2**63 and 0 <= seed2 < 2**63) or seed == seed2 == 0:
        raise ValueError(f"seeds ({seed}, {seed2}) are not accepted by Philox. Accepted: from 0 to 2^63 - 1, and not both 0.")
    size = math.prod(shape)
    position = np.arange(-(-size // 4), dtype=np.uint64)
    fixed = [np.full_like(position, word) for word in (seed2 % WORD, seed2 // WORD)]
    words = philox(np.stack([position & LOW, position >> HALF, *fixed], axis=1), (seed % WORD, seed // WORD))
    mantissas = words.reshape(-1)[:size] & np.uint32(0x7FFFFF)
    return (mantissas | np.uint32(0x3F800000)).view(np.float32).reshape(shape) - np.float32(1)


def glorot_uniform(graph_seed: int, seed: int, shape: Sequence[int]) -> np.ndarray:
    """float32 of `shape`: the kernel that Keras 2.0.3 gave a layer on TensorFlow 1.1 after `tf.set_random_seed(graph_seed)`."""
    low, high = (np.float32(sign * limit_of(shape)) for sign in (-1, 1))
    return uniform(graph_seed, seed, shape) * (high - low) + low
