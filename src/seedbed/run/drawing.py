"""The global generators of TensorFlow and Keras, begun from a seed for as long as code of the user's draws from them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from tensorflow.python.data.experimental.ops import shuffle_ops
from tensorflow.python.data.ops import shuffle_op
from tensorflow.python.data.util import random_seed
from tensorflow.python.eager import context

from seedbed.run import seeds as streams


class Generator:
    """TensorFlow's generator of seeds for operations that have none, as one that goes on from where it was left."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.state = random.Random(seed)  # as TensorFlow 2.21 keeps it
        self.drew = False

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Let eager operations draw from this one meanwhile; `drew` says afterwards whether any did."""
        runtime: Any = context.context()  # no public way to its generator in TensorFlow 2.21
        kept = runtime._seed, getattr(runtime, "_rng", None)
        runtime._seed, runtime._rng, before = self.seed, self.state, self.state.getstate()
        try:
            yield
        finally:
            self.drew = self.drew or runtime._rng is not self.state or self.state.getstate() != before
            runtime._seed, runtime._rng = kept


@contextmanager
def shuffles(seed: int) -> Iterator[None]:
    """Seed the shuffles of `tf.data` pipelines that are made meanwhile and have no seed of their own from the stream `shuffle`.

    By themselves they take one from TensorFlow's global seed, as random operations in the pipeline do: a change of that would
    change the order as well as the numbers.
    """
    numbers = itertools.count()

    def get_seed(given: Any) -> Any:
        if given is not None:
            return random_seed.get_seed(given)
        first, second = streams.words(seed, streams.SHUFFLES, next(numbers), count=2)
        return random_seed.ops.convert_to_tensor(first, "int64"), random_seed.ops.convert_to_tensor(second, "int64")

    modules = (shuffle_op, shuffle_ops)
    for module in modules:
        module.random_seed = SimpleNamespace(get_seed=get_seed)
    try:
        yield
    finally:
        for module in modules:
            module.random_seed = random_seed


def keras_generator() -> Any:
    """Keras's global generator of this thread; Keras would make one with a draw from Python's, in each thread that asks first."""
    import keras
    from keras.src.backend.common import global_state  # no public way to these in Keras 3.15
    from keras.src.random import seed_generator

    found = global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)
    if found is None:
        found = keras.random.SeedGenerator(0)
        global_state.set_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR, found)
    return found


def begin_keras(word: int) -> Callable[[], None]:
    """Begin Keras's global generator (`keras.random` without a seed) with a 32-bit word; returns what puts the one before it back."""
    import keras
    from keras.src.backend.common import global_state  # no public way to these in Keras 3.15
    from keras.src.random import seed_generator

    name = seed_generator.GLOBAL_SEED_GENERATOR
    before = global_state.get_global_attribute(name)
    global_state.set_global_attribute(name, keras.random.SeedGenerator(word & 0x7FFFFFFF))
    return lambda: global_state.set_global_attribute(name, before) if before is not None else None
