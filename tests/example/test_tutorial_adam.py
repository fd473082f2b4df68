"""Adam as in Keras 2.0.3 against its equations in NumPy, and the tutorial's networks on each backend."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
from conftest import OUTSIDE

from example.tutorial.adam import Adam2017

F = np.float32


def reference(weights: np.ndarray, gradients: list[np.ndarray], rate: float, beta_1: float, beta_2: float, epsilon: float) -> np.ndarray:
    """keras/optimizers.py of Keras 2.0.3, in float32 throughout."""
    p, m, v = weights.copy(), np.zeros_like(weights), np.zeros_like(weights)
    for step, g in enumerate(gradients, start=1):
        lr_t = F(rate) * (np.sqrt(F(1) - F(beta_2) ** F(step)) / (F(1) - F(beta_1) ** F(step)))
        m = F(beta_1) * m + (F(1) - F(beta_1)) * g
        v = F(beta_2) * v + (F(1) - F(beta_2)) * np.square(g)
        p = p - lr_t * m / (np.sqrt(v) + F(epsilon))
    return p


def trained(optimizer: Any, weights: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    variable = keras.Variable(weights)
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    return keras.ops.convert_to_numpy(variable)


def problem(steps: int = 60) -> tuple[np.ndarray, list[np.ndarray]]:
    """Weights, and gradients of many sizes: where they are tiny, epsilon decides."""
    generator = np.random.default_rng(3)
    size = 10.0 ** generator.uniform(-9, 1, (4, 5))
    return generator.normal(size=(4, 5)).astype(F), [(generator.normal(size=(4, 5)) * size).astype(F) for _ in range(steps)]


@pytest.mark.parametrize(("beta_1", "beta_2", "epsilon", "rate"), [(0.9, 0.999, 1e-8, 0.001), (0.5, 0.9, 1e-4, 0.1)])
def test_the_equations(beta_1: float, beta_2: float, epsilon: float, rate: float) -> None:
    weights, gradients = problem()
    optimizer = Adam2017(rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)
    moved = trained(optimizer, weights, gradients) - weights
    expected = reference(weights, gradients, rate, beta_1, beta_2, epsilon) - weights
    assert np.abs(expected).min() > 0
    np.testing.assert_allclose(moved, expected, rtol=2e-5, atol=2e-7)


def test_one_step_to_the_last_bits() -> None:
    """The mean of squares tells 1 - beta_2 in float32 (0.00100004673) from 0.001."""
    weights, gradients = problem(1)
    optimizer = Adam2017()
    trained(optimizer, weights, gradients)
    square = keras.ops.convert_to_numpy(optimizer.squares[0])
    np.testing.assert_allclose(square, (F(1) - F(0.999)) * np.square(gradients[0]), rtol=3e-7)
    assert not np.allclose(square, F(0.001) * np.square(gradients[0]), rtol=1e-5, atol=0)


def test_keras_own_adam_goes_elsewhere() -> None:
    weights, gradients = problem()
    ours, theirs = (trained(kind, weights, gradients) for kind in (Adam2017(), keras.optimizers.Adam()))
    assert np.abs(ours - theirs).max() > 1e-3, "the tiny gradients: its epsilon is ten times as large"


def test_a_config_and_a_saved_model(tmp_path: Any) -> None:
    keras.utils.set_random_seed(1)
    optimizer = Adam2017(0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-6, clipnorm=1.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, Adam2017)
    assert again.get_config() == optimizer.get_config()
    assert (again.beta_1, again.beta_2, again.epsilon, again.clipnorm) == (0.8, 0.99, 1e-6, 1.0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer=optimizer, loss="mse")
    x, y = np.ones((4, 2), F), np.zeros((4, 1), F)
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, loaded):
        one.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


ON_A_BACKEND = """
import json, sys
from functools import partial
import keras, numpy as np
from example.data import sequence
import seedbed
sys.path.append(str(seedbed.project_root() / "tutorial"))
import tables
from example.tutorial.adam import Adam2017
from example.tutorial.initializers import Mrg31k3pGlorotUniform, PhiloxGlorotUniform
from example.tutorial.networks import original
from seedbed.run.data import Spec

x, y = (array.astype("float32") for array in sequence())
columns, found = tables.published(), {}
for name, lowest, initializer in (("theano", 1, Mrg31k3pGlorotUniform), ("race_free", 0, partial(PhiloxGlorotUniform, graph_seed=2))):
    for row in (2, 7):
        model = original(Spec((1,), "float32", 1, False, None), row, initializer, lowest)
        model.compile(optimizer=Adam2017(), loss="mean_squared_error")
        for _ in range(100):
            model.train_on_batch(x, y)
        error = float(np.mean((keras.ops.convert_to_numpy(model(x))[:, 0].astype("float64") - y) ** 2))
        found[f"{name} {row}"] = tables.agree([error], [columns[name][row - 1]])[0]
print(json.dumps({"backend": keras.backend.backend(), "found": found}))
"""


@pytest.mark.integration
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_rows_of_both_tables_on_another_backend(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run([sys.executable, "-c", ON_A_BACKEND], env={**OUTSIDE, "KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["backend"] == backend
    assert all(said["found"].values()), said
    assert len(said["found"]) == 4
