"""Operations of TensorFlow whose results are the CPU maker's choice, made of others that IEEE 754 rounds exactly.

TensorFlow's `rsqrt` and `reciprocal` start from RSQRTPS and RCPPS, which Intel and AMD approximate differently (the Intel SDM
promises a relative error below 1.5 / 4096, and no bits), and a Newton step keeps a trace of it. Division and square root have one
right result. Keras's normalisations and TensorFlow's gradients call the functions that are replaced here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import gen_math_ops, math_ops, nn_impl, nn_ops

_BEFORE: list[tuple[Any, str, Any]] = []  # what was replaced: (module, name, function)


def reciprocal(x: Any, name: str | None = None) -> Any:
    """1 / x. x: a tensor of any shape and a floating dtype."""
    with tf.name_scope(name or "reciprocal"):
        x = tf.convert_to_tensor(x)
        return tf.math.divide(tf.constant(1, x.dtype), x)


def rsqrt(x: Any, name: str | None = None) -> Any:
    """1 / sqrt(x). x: a tensor of any shape and a floating dtype."""
    with tf.name_scope(name or "rsqrt"):
        x = tf.convert_to_tensor(x)
        return tf.math.divide(tf.constant(1, x.dtype), tf.math.sqrt(x))


def batch_normalization(x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: float, name: str | None = None) -> Any:
    """`tf.nn.batch_normalization`: scale / sqrt(variance + epsilon) * (x - mean) + offset, two passes over x and no approximation."""
    with tf.name_scope(name or "batchnorm"):
        factor = tf.math.divide(tf.constant(1, variance.dtype) if scale is None else scale, tf.math.sqrt(variance + variance_epsilon))
        shift = -mean * factor if offset is None else offset - mean * factor
        return x * tf.cast(factor, x.dtype) + tf.cast(shift, x.dtype)


def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Any:
    """`tf.nn.gelu` by erf (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415), where TensorFlow takes erfc."""
    with tf.name_scope(name or "Gelu"):
        x = tf.convert_to_tensor(features)
        if approximate:
            return 0.5 * x * (1.0 + tf.math.tanh(0.7978845608028654 * (x + tf.cast(0.044715, x.dtype) * (x * x * x))))
        return 0.5 * x * (1.0 + tf.math.erf(x * tf.cast(0.7071067811865476, x.dtype)))


# Where a function is replaced: every module through which TensorFlow, its gradients and Keras call it.
REPLACED: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "reciprocal": (reciprocal, (tf.math, math_ops, gen_math_ops)),
    "rsqrt": (rsqrt, (tf.math, math_ops, gen_math_ops)),
    "batch_normalization": (batch_normalization, (tf.nn, nn_impl)),
    "gelu": (gelu, (tf.nn, nn_ops)),
}


def put() -> None:
    """Replace them, for this process; harmless to repeat."""
    if not _BEFORE:
        for name, (function, modules) in REPLACED.items():
            for module in modules:
                _BEFORE.append((module, name, getattr(module, name)))
                setattr(module, name, function)


def take_back() -> None:
    while _BEFORE:
        setattr(*_BEFORE.pop())
