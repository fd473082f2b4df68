"""A tensor's bits as one integer, computed where the tensor is: in the graph, on its device, under XLA."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def bits(tensor: Any) -> Any:
    """An int32 vector of a tensor's bits."""
    if tensor.dtype == tf.string:
        return tf.cast(tf.reshape(tf.strings.to_hash_bucket_fast(tensor, 2**31 - 1), [-1]), tf.int32)
    if tensor.dtype.size >= 4:
        return tf.reshape(tf.bitcast(tensor, tf.int32), [-1])
    if tensor.dtype.is_floating:
        tensor = tf.bitcast(tensor, tf.int16)
    return tf.reshape(tf.cast(tensor, tf.int32), [-1])


def hashed(tensor: Any) -> Any:
    """One int32: the sum of the tensor's bits, each times an odd number that its place has, modulo 2**32.

    Any one element that changes changes it; several that change leave it as it is with a probability of 2**-32.
    """
    words = bits(tensor)
    return tf.reduce_sum(words * (2 * tf.range(tf.size(words)) + 1))
