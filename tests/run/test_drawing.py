"""Code of the user's that draws from every global generator, wherever it runs: which stream governs what, pair by pair."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from seedbed.run import config as configs
from seedbed.run import determinism, digest, inputs, training
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet, Examples

ALL = {"python", "numpy", "tensorflow", "keras"}


def draws() -> dict[str, Any]:
    """A number from each global generator."""
    return {
        "python": random.random(), "numpy": np.random.rand(), "unseeded": np.random.default_rng().random(),
        "tensorflow": float(tf.random.uniform(())), "keras": float(np.asarray(keras.random.uniform(()))),
    }  # fmt: skip


class Drawing(keras.utils.PyDataset):
    """Notes what it draws in a batch and in its hooks."""

    def __init__(self, noted: dict[str, list[Any]]) -> None:
        super().__init__()
        self.noted = noted

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        self.noted.setdefault(f"batch {index}", []).append(draws())
        return np.full((2, 1), index, "float32"), np.zeros((2, 1), "float32")

    def on_epoch_end(self) -> None:
        self.noted.setdefault("hook", []).append(draws())


def pipeline() -> tf.data.Dataset:
    """Numbers in an order that TensorFlow draws, beside others that it draws in a map."""
    numbers = tf.data.Dataset.range(16).shuffle(16)
    return numbers.map(lambda x: (tf.cast(x, tf.float32), tf.random.uniform(()) + keras.random.uniform(()))).batch(4)


def load(x: tf.Tensor) -> Any:
    return x, tf.random.uniform(())


def observed(config: Any, seeds: dict[str, int]) -> dict[str, Any]:
    """What every place draws under these seeds."""
    level = determinism.of(config)
    level["environment"]["PYTHONHASHSEED"] = "0"
    found: dict[str, Any] = {}
    noted: dict[str, list[Any]] = {}

    def source() -> DataSet:
        found.update({f"data function, {name}": number for name, number in draws().items()})
        return DataSet(train=Drawing(noted), validation=pipeline(), test=Examples(np.arange(6.0), load))

    data = training.prepared(config, source, seeds, level)
    with streams.global_generators(seeds["python"], seeds["numpy"]):
        tf.random.set_seed(seeds["dropout"])  # as before a model is fitted
        noted.clear()
        batches = [int(x[0, 0]) for x, _ in inputs.training(data.train, seeds, range(2), None, True, None, "auto").x]
        first = {name: made[-1] for name, made in noted.items()}
        found.update({f"PyDataset {place}, {name}": number for place, made in first.items() for name, number in made.items()})
        found["PyDataset order"] = batches
        piped = [(x.numpy(), y.numpy()) for x, y in data.validation]
        found["tf.data order"] = np.concatenate([x for x, _ in piped]).tolist()
        found["tf.data map"] = np.concatenate([y for _, y in piped]).tolist()
        found["held-out example"] = digest.arrays([y for _, y in inputs.held_out(data.test, 2)])
        made = inputs.training(data.test, seeds, range(1), 2, False, None, "auto")
        found["example"] = digest.arrays([y for _, y in made.x])
    return found


def governed(place: str) -> str:
    """The stream that docs/determinism.md names for it."""
    if place.endswith(" order"):
        return "shuffle"
    if place.startswith("data function, "):
        return {"python": "python", "numpy": "numpy", "unseeded": "numpy"}.get(place.rpartition(" ")[2], "augment")
    return "augment"


SEEDS = {"master": 1, **{name: streams.derive(1, name) for name in streams.STREAMS}}


@functools.cache
def composed() -> Any:
    return configs.composed("tracking=none")


@functools.cache
def base() -> dict[str, Any]:
    return observed(composed(), SEEDS)


@pytest.mark.parametrize("changed", streams.STREAMS)
def test_a_stream_changes_what_code_draws_under_it_and_nothing_else(changed: str) -> None:
    first, other = base(), observed(composed(), {**SEEDS, changed: 5})
    differs = {place for place in first if first[place] != other[place]}
    assert differs == {place for place in first if governed(place) == changed}


def test_the_same_seeds_draw_the_same_again() -> None:
    keras.random.uniform(()), tf.random.uniform(()), random.random()
    assert observed(composed(), SEEDS) == base()


CALLBACK = """
import random, keras, numpy as np, tensorflow as tf

NOTED = {}

def note(place):
    NOTED[place] = (random.random(), np.random.rand()), (float(tf.random.uniform(())), float(keras.random.uniform(())))

def data():
    x = np.arange(8, dtype="float32").reshape(8, 1)
    return x, x

def model(spec):
    note("build")
    return keras.Sequential([keras.Input(spec.inputs), keras.layers.Dense(1, kernel_initializer="zeros")])

class Drawing(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        note("callback")
"""


@pytest.mark.integration
def test_a_model_function_and_a_callback(config: Callable[..., Any], plugin: Callable[..., Path]) -> None:
    """While a model is built, all is `init`; in callbacks `python`, `numpy`, and `dropout` for TensorFlow's and Keras's."""
    plugin("drawn", CALLBACK)
    import drawn

    words = ["~model", "+model={_target_: drawn.model}", "training.epochs=1", "force=true", "training.loss=mean_squared_error",
             "++training.callbacks.one={_target_: drawn.Drawing}"]  # fmt: skip

    def noted(*more: str) -> dict[str, Any]:
        said = config(*words, *more)
        said.data.source = {"_target_": "drawn.data"}
        training.run(said)
        return {f"{place}, {name}": drawn.NOTED[place][i][j] for place in ("build", "callback")
                for name, (i, j) in {"python": (0, 0), "numpy": (0, 1), "tensorflow": (1, 0), "keras": (1, 1)}.items()}  # fmt: skip

    first = noted()
    for changed in ("init", "numpy", "shuffle", "dropout"):
        other = noted(f"seeds.{changed}=5")
        callback = {"numpy": {"callback, numpy"}, "dropout": {"callback, tensorflow", "callback, keras"}}
        expected = {f"build, {name}" for name in ALL} if changed == "init" else callback.get(changed, set())
        assert {place for place in first if first[place] != other[place]} == expected, changed
