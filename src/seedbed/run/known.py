"""Answers known beforehand: small computations whose bits every machine at the level `portable` must have (see portable.json).

One for each library and each way in which bits were seen to differ: products long enough to be cut by the cache's size,
convolutions with their gradients, the functions of Eigen's and NumPy's vector code, oneDNN's softmax, OpenBLAS.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import tensorflow as tf


def answers() -> dict[str, str]:
    """The first 16 hex digits of the sha256 of each result's bytes, by name."""
    with tf.device("/CPU:0"):
        return {name: _digest(value) for name, value in _computed()}


def _computed() -> Any:
    x, w = _numbers(12, 1200), _numbers(1200, 9)
    yield "a product over 1200", tf.matmul(x, w)
    yield "its gradient", tf.matmul(_numbers(1100, 7), _numbers(1100, 33), transpose_a=True)
    yield "products in a batch", tf.matmul(_numbers(3, 2, 17, 40), _numbers(3, 2, 19, 40), transpose_b=True)
    pictures, kernel = _numbers(4, 9, 9, 48), _numbers(3, 3, 48, 20)
    yield "a convolution", (out := tf.nn.conv2d(pictures, kernel, 1, "SAME"))
    sizes: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    yield (
        "its gradient by the kernel",
        tf.raw_ops.Conv2DBackpropFilter(input=pictures, filter_sizes=kernel.shape, out_backprop=out, **sizes),
    )
    yield "its gradient by the input", tf.raw_ops.Conv2DBackpropInput(input_sizes=pictures.shape, filter=kernel, out_backprop=out, **sizes)
    large, kernel = _numbers(1, 14, 14, 512), _numbers(3, 3, 512, 32)
    yield "a convolution that is cut by the cache's size", tf.nn.conv2d(large, kernel, 1, "SAME")
    values = _numbers(31, 67)
    for function in (tf.exp, tf.tanh, tf.sigmoid, tf.math.erf, tf.math.rsqrt, tf.math.reciprocal, tf.nn.softmax, tf.nn.gelu):
        yield function.__name__, function(tf.abs(values) + 0.01 if "r" in function.__name__[:2] else values)
    # of what the optimizer would rewrite: it is off in pipelines only where it was switched off before TensorFlow's first operation
    pipeline = tf.data.Dataset.from_tensors(tf.abs(values) + 0.01).map(lambda x: tf.constant(1.0) / tf.sqrt(x))
    yield "a root in a pipeline", next(iter(pipeline))
    yield "a mean", tf.reduce_mean(values, 0)
    array = values.numpy()
    yield "NumPy's exp", np.exp(array)
    yield "NumPy's sin", np.sin(array.astype("float64"))
    yield "NumPy's sum", array.sum()
    yield "NumPy's product", array.T @ array


def _numbers(*shape: int) -> Any:
    """float32 in [-2, 2), all exactly representable: a linear congruential sequence, since generators are among what is tested."""
    count = int(np.prod(shape))
    return tf.constant(((np.arange(count, dtype=np.int64) * 7919 + 1009) % 2003 / 512 - 2).astype("float32").reshape(shape))


def _digest(value: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(np.asarray(value)).tobytes()).hexdigest()[:16]
