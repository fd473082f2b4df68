"""Hashing inside of the running step: it sees every change, names every layer, and changes no bit of the result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import OUTSIDE, QUIET, ROOT, STRICT
from end_to_end.driver import MODELS
from hypothesis import given
from hypothesis import strategies as st

from seedbed.proof.hashing import hashed
from seedbed.proof.places import Seen

DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool"]


def _hash(value: Any) -> int:
    return int(hashed(tf.constant(value)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_element_that_changes_changes_the_hash(dtype: str) -> None:
    value = tf.cast(np.arange(24).reshape(2, 3, 4) % 2, dtype)
    for place in range(24):
        other = np.array(np.asarray(value)).ravel()
        other[place] = 1 - other[place] if dtype != "bool" else not other[place]
        assert int(hashed(tf.constant(other.reshape(2, 3, 4), dtype=dtype))) != int(hashed(value)), place


@given(st.integers(0, 9), st.integers(0, 9))
def test_order_counts(i: int, j: int) -> None:
    value = np.linspace(0, 1, 10, dtype="float32")
    swapped = value.copy()
    swapped[[i, j]] = swapped[[j, i]]
    assert (_hash(value) == _hash(swapped)) == (i == j)


def test_the_smallest_difference_counts() -> None:
    one = np.float32(1)
    assert _hash(one) != _hash(np.nextafter(one, np.float32(2)))
    assert _hash(np.float32(0)) != _hash(np.float32(-0.0))
    assert _hash(np.array(["a", "b"])) != _hash(np.array(["b", "a"]))


# Trains each job as it is and with each step traced: {job: [[digests, engine], [digests, engine]]}.
DRIVER = """
import json, sys, types
from pathlib import Path
from hydra import compose, initialize_config_dir
from seedbed.proof.trace import Trace
from seedbed.run import config, training
jobs, conf, folder = json.loads(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
config.register()
found = {}
with initialize_config_dir(conf, version_base="1.3"):
    for name, words in jobs.items():
        for traced in (False, True):
            composed = compose("train", [*words, "tracking=none", f"runs='{folder}/runs {traced}/{name}'"])
            place = folder / name
            place.mkdir(exist_ok=True)
            trace = Trace(place, types.SimpleNamespace(phase="", found=[]), steps_from=0, budget=10**8, predictions=True) if traced else None
            record = training.run(composed, watch=trace)
            found.setdefault(name, []).append([record.digests, record.content["engine"]])
            if trace:
                trace.ended()
print(json.dumps(found))
"""
JOBS = {
    **{f"{name} loop": ["data=digits", "training.epochs=1", *MODELS[name]] for name in ("gru", "transformer")},
    "cnn fit": ["data=digits", "training.epochs=2", *MODELS["cnn"], "training.engine=fit", "training.steps_per_execution=4"],
    "mlp XLA": ["data=digits", "training.epochs=1", *MODELS["mlp"], "training.jit_compile=true"],
}


@pytest.mark.integration
@pytest.mark.parametrize(
    "names", [("gru loop", "cnn fit"), pytest.param(("transformer loop", "mlp XLA"), marks=pytest.mark.slow)], ids=lambda names: names[0]
)
def test_tracing_changes_no_bit_and_sees_everything(names: tuple[str, ...], tmp_path: Path) -> None:
    words = [sys.executable, "-c", DRIVER, json.dumps({name: JOBS[name] for name in names}), str(ROOT / "conf"), str(tmp_path)]
    done = subprocess.run(words, env={**OUTSIDE, **STRICT, **QUIET}, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, (plain, traced) in json.loads(done.stdout.splitlines()[-1]).items():
        assert plain == traced, name
        seen = Seen(tmp_path / name)
        steps = seen.steps["epoch 0 train.rows"]
        assert len(steps) == 40, name  # 1,258 examples in batches of 32
        points = json.loads(seen.steps["epoch 0 train.names"].tobytes())[0]
        for weight, _ in seen.trace["weights"]:
            assert f"update {weight}" in points or f"state {weight}" in points, (name, weight)
        for path in seen.trace["layers"]:
            inner = "cell" in path or path.startswith("input_layer")
            assert inner or any(point.startswith(f"output {path}") for point in points), (name, path)
        kinds = {point.partition(" ")[0] for point in points}
        assert {"batch", "start", "output", "loss", "backward", "computed", "gradient", "update", "state", "logs"} <= kinds, name
        for weight in (point.removeprefix("computed ") for point in points if point.startswith("computed ")):
            assert (steps[:, 1 + points.index(f"computed {weight}")] == steps[:, 1 + points.index(f"gradient {weight}")]).all(), weight
        assert len(np.unique(steps[:, 1 + points.index("batch x")])) == 40, name  # each step has another batch
        assert "after predict.rows" in seen.steps, name
        if "XLA" not in name:
            values = seen.values("train", 3)
            kept = next(point for point in points if point.startswith("output"))
            index = 1 + points.index(kept)
            assert int(hashed(tf.constant(values[kept]))) == int(steps[3, index]), name


def test_layers_are_not_seen_outside_of_a_step() -> None:
    """What wraps Keras's calls does nothing for models that nobody traces."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert model(np.ones((1, 3), "float32")).shape == (1, 2)
