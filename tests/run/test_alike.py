"""What counts as another model, and what doesn't; what a module holds."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from seedbed.run import alike, looking


class Constant(keras.layers.Layer):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def call(self, x: Any) -> Any:
        return x


def built(seed: int, *layers: Any) -> Any:
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((3,)), *(layer() if callable(layer) and not isinstance(layer, keras.layers.Layer) else layer for layer in layers)]
    )
    model.compile("adam", "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_variables)
    return model


def made_of(model: Any) -> str:
    return alike.made_of(model)


def test_weights_and_seeds_are_not_what_a_model_is_made_of() -> None:
    layers = [lambda: keras.layers.Dense(4), lambda: keras.layers.Dropout(0.5), lambda: keras.layers.BatchNormalization()]
    assert made_of(built(1, *layers)) == made_of(built(2, *layers))


def scaled(factor: float) -> Callable[[Any], Any]:
    return lambda x: x * factor


@pytest.mark.parametrize(("one", "other"), [
    (lambda: keras.layers.Dense(4), lambda: keras.layers.Dense(5)),
    (lambda: keras.layers.Dense(4), lambda: keras.layers.Dense(4, activation="relu")),
    (lambda: keras.layers.Dropout(0.5), lambda: keras.layers.Dropout(0.4)),
    (lambda: keras.layers.Dropout(0.5, seed=1), lambda: keras.layers.Dropout(0.5, seed=2)),
    (lambda: keras.layers.Lambda(scaled(1.0)), lambda: keras.layers.Lambda(scaled(2.0))),
    (lambda: Constant(np.zeros(2)), lambda: Constant(np.ones(2))),
    (lambda: Constant(tf.constant([1.0])), lambda: Constant(tf.constant([1.5]))),
    (lambda: Constant({"a": [1, (2, 3)]}), lambda: Constant({"a": [1, (2, 4)]})),
    (lambda: Constant(np.random.default_rng(1)), lambda: Constant(np.random.default_rng(2))),
    (lambda: Constant(functools.partial(scaled, 1)), lambda: Constant(functools.partial(scaled, 2))),
    (lambda: Constant({1, 2}), lambda: Constant({1, 3})),
    (lambda: Constant(itertools.count(1)), lambda: Constant(itertools.count(2))),
    (lambda: Constant(0.0), lambda: Constant(-0.0)),
    (lambda: Constant(1), lambda: Constant(True)),
])  # fmt: skip
def test_whatever_else_differs_makes_another_model(one: Any, other: Any) -> None:
    assert made_of(built(1, one)) == made_of(built(2, one))
    assert made_of(built(1, one)) != made_of(built(1, other))


def test_what_can_not_be_seen_has_no_hash() -> None:
    with pytest.raises(alike.Unseen, match="value"):
        made_of(built(1, lambda: Constant(value=(number for number in range(3)))))


def test_training_leaves_what_a_model_is_made_of_only_where_it_is_said() -> None:
    """TRAINING names what Keras sets on a model; this fails when a new version sets something else that a model begins without."""
    model, fresh = built(1, lambda: keras.layers.Dense(1)), built(1, lambda: keras.layers.Dense(1))
    model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    model.evaluate(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    model.predict(np.ones((4, 3)), verbose=0)
    new = {name for name in vars(model) if name not in vars(fresh)}
    assert {name for name in new if not name.startswith("_")} <= looking.TRAINING, new


MODULE = """
import functools, itertools
import numpy as np
ITEMS, RNG, COUNT, TABLE = [1], np.random.default_rng(1), itertools.count(), np.zeros(3)
class Kept:
    number = 0
def grow(to=[]):
    to.append(1)
@functools.cache
def cached(value):
    return value
"""


@pytest.mark.parametrize("change", [
    "module.ITEMS.append(2)", "module.RNG.random()", "next(module.COUNT)", "module.TABLE.fill(1)", "setattr(module.Kept, 'number', 1)",
    "module.grow()", "module.cached(1)", "setattr(module, 'new', 1)", "setattr(module.grow, 'calls', 1)",
])  # fmt: skip
def test_a_module_that_was_changed_is_seen(plugin: Callable[..., Any], change: str) -> None:
    plugin("holding", MODULE)
    import holding as module  # type: ignore[import-not-found]

    assert module is sys.modules["holding"]
    before = alike.state_of(["holding", "not imported"])
    assert alike.state_of(["holding"]) == before
    eval(change)
    assert alike.state_of(["holding"]) != before
    if "cached" in change:
        alike.clear_caches(["holding"])
        assert alike.state_of(["holding"]) == before
