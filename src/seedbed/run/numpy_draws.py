"""`seeds.generator=numpy`: what a model draws while it is built comes from NumPy, so that all backends start from the same bits.

With the same seed, TensorFlow, JAX and PyTorch draw other numbers: each has a generator of its own. Keras's initializers call
the backend's random functions (and `qr`, for orthogonal matrices); these are replaced for the time of building. Keras gives each
initializer its seed from Python's generator, on all backends the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.src import backend as computing  # no public way to what the initializers call in Keras 3.15
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.random.seed_generator import draw_seed

from seedbed.run import seeds as streams


@contextmanager
def drawn_in_numpy(wanted: bool = True) -> Iterator[None]:
    """Meanwhile Keras's random functions draw in NumPy. What is asked for symbolically is left to the backend: it draws nothing."""
    if not wanted:
        yield
        return
    places = [(computing.random, name, _in_numpy) for name in DRAWS] + [(computing.linalg, "qr", _qr)]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    try:
        for (module, name, real), (_, _, wrap) in zip(before, places, strict=True):
            setattr(module, name, wrap(name, real))
        yield
    finally:
        for module, name, real in before:
            setattr(module, name, real)


def _normal(source: np.random.Generator, shape: Sequence[int], mean: float = 0.0, stddev: float = 1.0) -> np.ndarray:
    return np.float32(mean) + np.float32(stddev) * source.standard_normal(shape, np.float32)


def _truncated_normal(source: np.random.Generator, shape: Sequence[int], mean: float = 0.0, stddev: float = 1.0) -> np.ndarray:
    """Normal, without what is two standard deviations from the mean or more (drawn again, as Keras documents it)."""
    values = source.standard_normal(math.prod(shape), np.float32)
    while len(outside := np.flatnonzero(np.abs(values) >= 2)):
        values[outside] = source.standard_normal(len(outside), np.float32)
    return np.float32(mean) + np.float32(stddev) * values.reshape(shape)


def _uniform(source: np.random.Generator, shape: Sequence[int], minval: float = 0.0, maxval: float = 1.0) -> np.ndarray:
    return np.float32(minval) + np.float32(maxval - minval) * source.random(shape, np.float32)


def _randint(source: np.random.Generator, shape: Sequence[int], minval: int, maxval: int) -> np.ndarray:
    return source.integers(minval, maxval, shape)


# Keras's random functions, each by (generator, shape, its own two arguments).
DRAWS: dict[str, Callable[..., np.ndarray]] = {
    "normal": _normal, "truncated_normal": _truncated_normal, "uniform": _uniform, "randint": _randint,
}  # fmt: skip


def _in_numpy(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def draw(shape: Any, *arguments: Any, dtype: Any = None, seed: Any = None, **named: Any) -> Any:
        plain = isinstance(shape, list | tuple) and all(isinstance(size, int) for size in shape)
        if in_symbolic_scope() or not plain or len(arguments) > 2:
            return real(shape, *arguments, dtype=dtype, seed=seed, **named)
        words = [int(word) for word in keras.ops.convert_to_numpy(draw_seed(seed))]
        made = DRAWS[name](streams.generator(*words), tuple(shape), *arguments, **named)
        return keras.ops.convert_to_tensor(made, dtype=dtype or ("int32" if name == "randint" else keras.config.floatx()))

    return draw


def _qr(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """LAPACK's, as NumPy calls it: the backends' have other bits."""

    def qr(x: Any, mode: Any = "reduced") -> Any:
        if isinstance(x, keras.KerasTensor) or mode not in ("reduced", "complete"):
            return real(x, mode=mode)
        return tuple(keras.ops.convert_to_tensor(part) for part in np.linalg.qr(keras.ops.convert_to_numpy(x), mode))

    return qr
