"""Where scikit-learn, SciPy, TensorFlow and Keras ask for entropy: replaced as soon as somebody imports them, which is nobody here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from seedbed.proof.draws import Draws
from seedbed.proof.replaced import Replaced

# What asks for numbers in a seed's place when it was given none; the packages whose lines are not the ones to be shown.
WITHOUT_STATE = ("sklearn", "scipy", "joblib")


def _check_random_state(module: Any, put: Replaced, draws: Draws) -> None:
    """scikit-learn's and SciPy's: without a `random_state` they use NumPy's global generator."""
    real = module.check_random_state

    def check_random_state(seed: Any = None) -> Any:
        if draws.on and (seed is None or seed is np.random):
            what = "{} without random_state"
            if draws.is_seeded("numpy.random"):
                draws.note("random_state=None", what, governed=True, through=WITHOUT_STATE)
            else:
                draws.unseeded("numpy.random", "random_state=None", what, np.random.seed, WITHOUT_STATE)
        return real(seed)

    put.function(real, check_random_state, module.__name__)


def _non_deterministic(module: Any, put: Replaced, draws: Draws) -> None:
    real = module.non_deterministic_ints

    def non_deterministic_ints(*arguments: Any, **named: Any) -> Any:
        draws.note("tf.random.Generator.from_non_deterministic_state", held=False)
        return real(*arguments, **named)

    put.function(real, non_deterministic_ints, module.__name__)


def _raw_non_deterministic(module: Any, put: Replaced, draws: Draws) -> None:
    real = module.NonDeterministicInts

    def NonDeterministicInts(*arguments: Any, **named: Any) -> Any:
        draws.note("tf.raw_ops.NonDeterministicInts", held=False)
        return real(*arguments, **named)

    put.function(real, NonDeterministicInts, module.__name__)


def _operation_seed(module: Any, put: Replaced, draws: Draws) -> None:
    real = module.get_seed

    def get_seed(op_seed: Any) -> Any:
        found = real(draws.seed("TensorFlow operation", op_seed))
        if found == (None, None):
            what = "{} without a seed, and none set for all"
            draws.note("tf.random without a seed", what, through=("tensorflow",), held=False)
        return found

    put.function(real, get_seed, module.__name__)


def _seed_argument(owner: str, method: str, known_as: str) -> Callable[[Any, Replaced, Draws], None]:
    """A method whose first argument is a seed."""

    def later(module: Any, put: Replaced, draws: Draws) -> None:
        kind = getattr(module, owner)
        real = getattr(kind, method)

        @functools.wraps(real)
        def seeded(self: Any, seed: Any = None, *arguments: Any, **named: Any) -> Any:
            if seed is None or not draws.listening:
                return real(self, seed, *arguments, **named)
            seed = draws.seed(known_as, seed)
            with draws.alone():  # it hands the seed on
                return real(self, seed, *arguments, **named)

        put.attribute(kind, method, seeded)

    return later


# What is replaced in modules that may be imported later, by somebody else: right after, before their functions are handed on.
LATER: dict[str, Callable[[Any, Replaced, Draws], None]] = {
    "sklearn.utils.validation": _check_random_state,
    "scipy._lib._util": _check_random_state,
    "tensorflow.python.ops.stateful_random_ops": _non_deterministic,
    "tensorflow.python.ops.gen_stateful_random_ops": _raw_non_deterministic,
    "tensorflow.python.framework.random_seed": _operation_seed,
    "tensorflow.python.eager.context": _seed_argument("Context", "_set_global_seed", "tf.random.set_seed"),
    "keras.src.random.seed_generator": _seed_argument("SeedGenerator", "__init__", "keras.random.SeedGenerator"),
    "keras.src.initializers.random_initializers": _seed_argument("RandomInitializer", "__init__", "keras.initializers"),
}
