"""The tutorial's network, 1 → 10 → 1 and linear, as its program made it; named by conf/model/tutorial/."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from example.tutorial.seeds_2017 import kernel_seeds
from seedbed.run.data import Spec


def original(spec: Spec, row: int, initializer: Callable[..., Any], lowest_seed: int, neurons: int = 10) -> Any:
    """The network of one row of a published table (1 is the first), with the initial weights that it had.

    initializer: makes a Keras initializer of a `seed`. lowest_seed: see `kernel_seeds`.
    """
    first, second = kernel_seeds(row, lowest_seed)
    return keras.Sequential([
        keras.Input(spec.inputs),
        keras.layers.Dense(neurons, kernel_initializer=initializer(seed=first)),
        keras.layers.Dense(spec.outputs, kernel_initializer=initializer(seed=second)),
    ])  # fmt: skip


def recipe(spec: Spec, numpy_seed: int = 1, tensorflow_seed: int = 2, neurons: int = 10) -> Any:
    """The same network in today's Keras after the tutorial's two seeds; conf/experiment/tutorial/recipe_2017.yaml says the rest."""
    import tensorflow as tf  # the recipe is TensorFlow's

    np.random.seed(numpy_seed)  # noqa: NPY002 (that is the recipe)
    tf.random.set_seed(tensorflow_seed)
    return keras.Sequential([keras.Input(spec.inputs), keras.layers.Dense(neurons), keras.layers.Dense(spec.outputs)])
