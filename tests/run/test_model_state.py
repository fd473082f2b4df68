"""What training changes in a model, by name: nothing where Keras alone has trained it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from seedbed.run import keras_books, model_state
from seedbed.run.object_graph import Graph

layers = keras.layers


def _plain() -> tuple[Any, Any, Any, Any]:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3, kernel_regularizer="l2"), layers.Dropout(0.1), layers.Dense(1)])
    return model, keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)), keras.losses.Huber(), None


def _functional() -> tuple[Any, Any, Any, Any]:
    inputs = keras.Input((3,))
    x = layers.BatchNormalization()(layers.Dense(4)(layers.GaussianNoise(0.1)(inputs)))
    return keras.Model(inputs, layers.Dense(1)(x)), "adamw", "mse", ["mae", keras.metrics.MeanSquaredError()]


class Subclass(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense, self.scale = layers.Dense(1), 2.0

    def call(self, x: Any) -> Any:
        return self.dense(x) * self.scale


def _subclass() -> tuple[Any, Any, Any, Any]:
    return Subclass(), keras.optimizers.Adam(use_ema=True), "mse", [["mae"]]


@pytest.mark.parametrize("make", [_plain, _functional, _subclass])
def test_what_keras_changes_by_itself_is_left_out(make: Callable[[], tuple[Any, Any, Any, Any]], tmp_path: Path) -> None:
    """This fails when a new version of Keras writes something else into a model than the tables say."""
    keras.utils.set_random_seed(1)
    model, optimizer, loss, metrics = make()
    model.compile(optimizer, loss, metrics=metrics)
    x, y = np.ones((4, 3), "float32"), np.ones((4, 1), "float32")
    model(x)
    model.optimizer.build(model.trainable_variables)
    before = model_state.of(model)
    assert not [found for found in before.values() if found.startswith("unseen")]
    stop = keras.callbacks.EarlyStopping(monitor="loss", restore_best_weights=True)
    model.fit(x, y, verbose=0, validation_data=(x, y), callbacks=[stop, keras.callbacks.ReduceLROnPlateau(monitor="loss")])
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    assert model_state.changed(before, model_state.of(model)) == []
    model.layers[-1].seen = 1
    model.optimizer._warm = 2
    assert len(model_state.changed(before, model_state.of(model))) == 2


def test_one_table_says_what_counts_as_books() -> None:
    """PyTorch's registries are books on that backend alone, and what a model alone has is state elsewhere."""

    class Plain:
        pass

    class Mine(layers.Layer):
        pass

    assert keras_books.names(Plain) == frozenset()
    assert "_nodes" in keras_books.names(Mine)
    assert "_modules" not in keras_books.names(Mine)
    assert "history" not in keras_books.names(Mine)
    assert "history" in keras_books.names(Subclass)
    layer = Mine()
    layer.history, layer._buffers, layer._nodes_by_id = [1], [2], {}
    graph = Graph({"layer": layer})
    held = graph.nodes["layer"].content
    assert {"history", "_buffers"} <= held.keys()
    assert "_nodes_by_id" not in held
