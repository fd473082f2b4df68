"""One master seed, one named stream for each source of randomness, and everything that is drawn from a stream.

A stream is one integer in 0 … 2**32-1. Each is a child of the master seed in NumPy's SeedSequence tree, so streams are
independent of one another and changing one changes what it governs and nothing else. Whatever needs many numbers (an
epoch's order, a worker's generator) is drawn from a child of its stream that is named by its place (the epoch, the
index), never from a generator that others draw from too: so it doesn't depend on what was drawn before, and a resumed
run needs no replay.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.random import bit_generator

from seedbed import Refused

# The position in this tuple is the stream's child number: append only, or every golden value changes.
STREAMS: dict[str, str] = {
    "hash": "PYTHONHASHSEED: the order of sets of strings",
    "python": "Python's global `random` while data are made and the model is fitted",
    "numpy": "NumPy's global generator, and generators without a seed, while data are made and the model is fitted",
    "split": "which examples are held out for validation and test",
    "init": "initial weights, and whatever else a model draws while it is built",
    "shuffle": "the order of the examples in each epoch, in a tf.data pipeline's own shuffles, too",
    "dropout": "dropout masks and other noise inside the model",
    "augment": "random changes of the inputs, in the model or in the input pipeline; TensorFlow's and Keras's generators there",
}
LARGEST = 2**32 - 1

# Places of `augment` and `shuffle` that no epoch, batch or generator of a model has: what TensorFlow's and Keras's global generators
# start from while data are made, a PyDataset's hooks, and the shuffles of a `tf.data` pipeline without a seed.
TENSORFLOW, KERAS, HOOKS, SHUFFLES = (LARGEST - number for number in range(4))

# `randbits` in it is what a generator without a seed starts from; not in NumPy's documentation (seen in 2.4, and tested).
_BITS: Any = bit_generator


def derive(master: int, stream: str) -> int:
    """The seed of `stream` under `master`: the first 32-bit word of child number i of SeedSequence(master).

    https://numpy.org/doc/stable/reference/random/bit_generators/generated/numpy.random.SeedSequence.html; its algorithm
    is fixed by NumPy's compatibility policy (NEP 19), and a test holds golden values.
    """
    if stream not in STREAMS:
        raise Refused(f"There is no stream {stream!r}. The streams are: {', '.join(STREAMS)}.")
    sequence = np.random.SeedSequence(checked(master, "seeds.master"), spawn_key=(list(STREAMS).index(stream),))
    return int(sequence.generate_state(1, np.uint32)[0])


def checked(value: Any, name: str) -> int:
    """`value` as a seed, or Refused. 0 is a seed like any other; True and 1.0 are none."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise Refused(f"{name}={value!r} is not a seed. Accepted: a whole number from 0 to {LARGEST} (2^32-1).")
    return value


def resolve(seeds: Mapping[str, Any]) -> dict[str, int]:
    """The integers that a run uses: `master` and one for each stream, checked."""
    return {name: checked(seeds[name], f"seeds.{name}") for name in ("master", *STREAMS)}


def from_entropy(master: int | None = None) -> dict[str, int]:
    """Seeds for the level `off`: a master from the operating system's entropy, and every stream derived from it."""
    master = int.from_bytes(os.urandom(4), "little") if master is None else master
    return {"master": master, **{stream: derive(master, stream) for stream in STREAMS}}


def sequence(seed: int, *place: int) -> np.random.SeedSequence:
    """The child of a stream's `seed` at `place`, for example (epoch, index)."""
    return np.random.SeedSequence(seed, spawn_key=place)


def generator(seed: int, *place: int) -> np.random.Generator:
    """A generator of one's own for the child of a stream at `place`."""
    return np.random.Generator(np.random.PCG64(sequence(seed, *place)))


def words(seed: int, *place: int, count: int = 1) -> list[int]:
    """`count` 32-bit integers of the child of a stream at `place`."""
    return [int(word) for word in sequence(seed, *place).generate_state(count, np.uint32)]


def permutation(shuffle: int, epoch: int, examples: int) -> np.ndarray:
    """The order of `examples` in `epoch` (0-based): int64 of shape (examples,), a function of (shuffle, epoch) alone."""
    return generator(shuffle, epoch).permutation(examples)


@contextmanager
def global_generators(python: int, numpy: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators, and put back what they were at the end.

    Also what NumPy seeds a generator with that was given no seed (`np.random.default_rng()`, `np.random.RandomState()`):
    by itself it asks the operating system, and `keras.utils.set_random_seed` doesn't reach it (keras #19322).
    """
    before, asked = generator_states(), _BITS.randbits
    random.seed(python)
    np.random.seed(numpy)
    _BITS.randbits = random.Random(words(numpy, 0)[0]).getrandbits
    try:
        yield
    finally:
        _BITS.randbits = asked
        put_generator_states(before)


def generator_states() -> tuple[Any, ...]:
    """The states of Python's and NumPy's global generators, and of the one that seeds unseeded ones (None: not ours)."""
    return random.getstate(), np.random.get_state(), _unseeded().getstate() if _unseeded() else None


def state_hash() -> int:
    """A hash of `generator_states` within this process: another one if anything was drawn."""
    python, numpy, unseeded = generator_states()
    return hash((python, numpy[1].tobytes(), numpy[2:], unseeded))


def put_generator_states(states: Sequence[Any]) -> None:
    """What `generator_states` returned, put back."""
    python, numpy, unseeded = states
    random.setstate(python)
    np.random.set_state(numpy)
    if unseeded is not None:
        _unseeded().setstate(unseeded)


def _unseeded() -> Any:
    """The generator behind unseeded ones while `global_generators` is in force, else None."""
    owner = getattr(_BITS.randbits, "__self__", None)
    return owner if type(owner) is random.Random else None  # outside it is the operating system's, a SystemRandom
