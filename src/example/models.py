"""Example models. Each function returns a Keras model, not compiled: optimizer, loss and metrics come from the config.

`spec` (see `seedbed.run.data.Spec`) is passed in: shapes and dtypes of the inputs, the number of outputs, and whether they
are classes. Everything else comes from `conf/model/*.yaml`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from seedbed import Refused
from seedbed.run.data import Spec


def mlp(
    spec: Spec, hidden: Sequence[int] = (10,), activation: str = "linear", dropout: float = 0.0, batch_normalization: bool = False
) -> Any:
    """Dense layers one after the other."""
    inputs = _input(spec)
    x = layers.Flatten()(inputs) if len(spec.inputs) != 1 else inputs
    for units in hidden:
        x = layers.Dense(units)(x)
        if batch_normalization:
            x = layers.BatchNormalization()(x)
        x = layers.Activation(activation)(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, _output(spec, x))


def cnn(spec: Spec, filters: Sequence[int] = (16, 32), dense: int = 64, dropout: float = 0.25, augment: bool = False) -> Any:
    """Convolution, batch normalisation, ReLU and pooling for each entry of `filters`, then a dense layer."""
    if len(spec.inputs) != 3:
        raise Refused(
            f"model=cnn needs pictures (height, width, channels); these data have examples of shape {spec.inputs}. Try model=mlp."
        )
    inputs = x = _input(spec)
    if augment:
        x = layers.RandomTranslation(0.1, 0.1)(x)
        x = layers.RandomRotation(0.05)(x)
        x = layers.RandomContrast(0.1)(x)
    for count in filters:
        x = layers.Conv2D(count, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(dense, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, _output(spec, x))


def gru(spec: Spec, units: int = 32, embedding: int = 32, dropout: float = 0.1) -> Any:
    """A gated recurrent unit (Cho et al. 2014) over a sequence."""
    inputs, x = _sequence(spec, embedding)
    x = layers.GRU(units, dropout=dropout)(x)
    return keras.Model(inputs, _output(spec, x))


def transformer(spec: Spec, width: int = 32, heads: int = 4, dropout: float = 0.1) -> Any:
    """One encoder block (Vaswani et al. 2017) with learned positions, averaged over the sequence."""
    inputs, x = _sequence(spec, width)
    if spec.vocabulary is None:
        x = layers.Dense(width)(x)
    # from the input, not `arange`: called on a constant the embedding would be a constant, too, and learn nothing
    steps = keras.ops.cumsum(keras.ops.ones_like(x[..., 0], dtype="int32"), axis=1) - 1
    x = x + layers.Embedding(x.shape[1], width)(steps)
    attended = layers.MultiHeadAttention(heads, width // heads, dropout=dropout)(x, x)
    x = layers.LayerNormalization()(x + layers.Dropout(dropout)(attended))
    dense = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(x))
    x = layers.LayerNormalization()(x + layers.Dropout(dropout)(dense))
    return keras.Model(inputs, _output(spec, layers.GlobalAveragePooling1D()(x)))


def _input(spec: Spec) -> Any:
    return keras.Input(spec.inputs, dtype=spec.dtypes)


def _sequence(spec: Spec, embedding: int) -> tuple[Any, Any]:
    """(input, a tensor of shape (batch, steps, features)): embedded tokens, a picture's rows, or numbers one by one."""
    inputs = _input(spec)
    if spec.vocabulary is not None:
        return inputs, layers.Embedding(spec.vocabulary, embedding)(inputs)
    steps = spec.inputs[0]
    return inputs, layers.Reshape((steps, -1))(inputs)


def _output(spec: Spec, x: Any) -> Any:
    # float32 also under mixed precision: a softmax in 16 bits loses what the loss needs
    return layers.Dense(spec.outputs, activation="softmax" if spec.classes else None, dtype="float32")(x)
