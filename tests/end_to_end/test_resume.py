"""Killed and started again: the same digests as never stopped. Fresh processes, really killed, at several points."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE, data_config

pytestmark = pytest.mark.integration

CALLBACKS = [
    "+training.callbacks.early={_target_: keras.callbacks.EarlyStopping, patience: 2, restore_best_weights: true}",
    "+training.callbacks.plateau={_target_: keras.callbacks.ReduceLROnPlateau, patience: 1, monitor: loss, min_delta: 0.05, factor: 0.7}",
]
# dropout, batch normalisation and augmentation in the model; early stopping and a schedule; a checkpoint each epoch
CNN = ["experiment=digits_cnn", "model.augment=true", "training.epochs=7", "checkpoint.every_epochs=1", *CALLBACKS]
JOBS = {
    "loop": CNN,
    "fit": [*CNN, "data.input=tf_data"],
    "workers": ["training.epochs=7", "checkpoint.every_epochs=1", "model.dropout=0.3"],
}

WORKERS = """
import keras, numpy as np

class Noisy(keras.utils.PyDataset):
    def __init__(self):
        super().__init__(workers=2, use_multiprocessing=True)
        self.rng, self.shift = np.random.default_rng(), 0.0
    def __len__(self):
        return 20
    def on_epoch_end(self):
        self.shift += np.random.random()  # state of its own that changes from epoch to epoch
    def __getitem__(self, index):
        x = self.rng.normal(size=(8, 1)) + np.random.random() + self.shift
        return x.astype("float32"), x[:, 0].astype("float32")

def data():
    return Noisy()
"""


def start(words: list[str], runs: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "seedbed", "train", *words, "tracking=none", f"runs='{runs}'", "--json"]
    return subprocess.Popen(command, env={**OUTSIDE, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def epochs_done(runs: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in runs.glob("[0-9a-f]*/history.jsonl"))


def kill_after(process: subprocess.Popen[str], runs: Path, epochs: int, how: int) -> None:
    """Send a signal as soon as the record holds so many epochs."""
    end = time.monotonic() + 240
    while epochs_done(runs) < epochs:
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(how)
    process.wait(120)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return {**json.loads(out.splitlines()[-1]), "said": err}


@pytest.mark.parametrize("job", ["loop", *(pytest.param(job, marks=pytest.mark.slow) for job in ("workers", "fit"))])
def test_killed_twice_and_gone_on(job: str, tmp_path: Path, plugin: Callable[..., Path]) -> None:
    folder = plugin("workers", WORKERS)
    env = {"PYTHONPATH": str(folder)}
    words = JOBS[job] + (data_config(folder, "workers.data") if job == "workers" else [])
    straight = finish(start(words, tmp_path / "straight", env))
    runs = tmp_path / "killed"
    for epochs in (2, 4):
        kill_after(start(words, runs, env), runs, epochs, signal.SIGKILL)
    record = next(runs.glob("[0-9a-f]*/record.json"))
    assert json.loads(record.read_text())["status"] == "running"
    ended = finish(start(words, runs, env))
    assert ended["resumed_at"] >= 3  # it did go on, and did not begin anew
    assert ended["key"] == straight["key"]
    assert ended["digests"] == straight["digests"]
    assert ended["metrics"] == straight["metrics"]
    rows = [
        [json.loads(line)[name] for name in ("epoch", "metrics")] for line in (record.parent / "history.jsonl").read_text().splitlines()
    ]
    assert [row[0] for row in rows] == list(range(len(rows)))
    assert not (record.parent / "checkpoints").exists()


STATE = """
import keras
import numpy as np

@keras.saving.register_keras_serializable("stateful")
class Layer(keras.layers.Layer):
    def __init__(self, **more):
        super().__init__(**more)
        self.mask, self.table = np.ones((4,), "float32"), {"rates": [1.0]}
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4))
        super().build(shape)
    def call(self, x):
        return keras.ops.matmul(x, self.kernel)

def model(spec):
    return keras.Sequential([keras.Input(spec.inputs), keras.layers.Flatten(), Layer(name="mine"), keras.layers.Dense(10, "softmax")])

COUNT = 0

class Keeps(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        if not hasattr(self.model, "averaged"):
            self.model.averaged = [np.array(weight) for weight in self.model.get_weights()]
    def on_epoch_end(self, epoch, logs=None):
        global COUNT
        COUNT += 1
        for mean, weight in zip(self.model.averaged, self.model.get_weights()):
            mean *= 0.5
            mean += 0.5 * weight
        layer = self.model.get_layer("mine")
        layer.table["rates"].append(0.9 * layer.table["rates"][-1])
        layer.mask[COUNT % 4] *= 0.5
        layer.set_weights([layer.get_weights()[0] * layer.mask * layer.table["rates"][-1]])
    def on_train_end(self, logs=None):
        self.model.set_weights(self.model.averaged)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["backend=jax"],
        ["backend=torch", "determinism=strict"],
        pytest.param(["strategy=mirrored", "strategy.replicas=2"], marks=pytest.mark.slow),
    ],
    ids=["jax", "torch", "mirrored"],
)
def test_state_in_python_objects_goes_on_elsewhere_too(words: list[str], tmp_path: Path, plugin: Callable[..., Path]) -> None:
    """An average on the model, a mask and a list of a layer, a module's counter: on other backends, and with replicas.

    On JAX the traces of two steps are not compared: a run starts from the beginning, and says why, where the step could have read what has
    changed.
    """
    env = {"PYTHONPATH": str(plugin("stateful", STATE))}
    words = ["data=digits", "~model", "+model={_target_: stateful.model}", "training.epochs=5", "checkpoint.every_epochs=1",
             "+training.callbacks.keeps={_target_: stateful.Keeps}", *words]  # fmt: skip
    straight = finish(start(words, tmp_path / "straight", env))
    runs = tmp_path / "killed"
    kill_after(start(words, runs, env), runs, 2, signal.SIGKILL)
    ended = finish(start(words, runs, env))
    if "backend=jax" in words:
        assert "another model.averaged" in ended["said"]
        assert "from the beginning" in ended["said"]
    else:
        assert ended["resumed_at"], ended["said"]
    assert ended["digests"] == straight["digests"]
    assert ended["metrics"] == straight["metrics"]


@pytest.mark.slow
def test_sigterm_stops_with_a_checkpoint_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    words = [*CNN[:3], "checkpoint.every_epochs=1", "training.epochs=6"]
    straight = finish(start(words, tmp_path / "straight", {}))
    runs = tmp_path / "stopped"
    process = start(words, runs, {})
    kill_after(process, runs, 2, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    (record,) = runs.glob("[0-9a-f]*/record.json")
    assert json.loads(record.read_text())["status"] == "interrupted"
    newest = sorted((record.parent / "checkpoints").glob("*.npz"))[-1]
    content = bytearray(newest.read_bytes())
    content[1000] ^= 255
    newest.write_bytes(bytes(content))
    ended = finish(start(words, runs, {}))
    assert f"{newest} is damaged" in ended["said"]
    assert ended["resumed_at"] == int(newest.name[:6]) - 1
    assert ended["digests"] == straight["digests"]


HIDDEN = """
import keras, tensorflow as tf

@keras.saving.register_keras_serializable()
class Noise(keras.layers.Layer):
    def call(self, x, training=False):
        return x + tf.random.normal(tf.shape(x)) if training else x

def model(spec):
    return keras.Sequential([keras.Input(spec.inputs), keras.layers.Flatten(), Noise(), keras.layers.Dense(10, activation="softmax")])
"""


@pytest.mark.slow
def test_state_that_no_checkpoint_holds_means_from_the_beginning(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    """TensorFlow's own random operations keep their state inside the runtime: going on would be a silent lie."""
    env = {"PYTHONPATH": str(plugin("hidden_noise", HIDDEN))}
    words = ["data=digits", "~model", "+model={_target_: hidden_noise.model}", "training.epochs=30", "checkpoint.every_epochs=1"]
    straight = finish(start(words, tmp_path / "straight", env))
    runs = tmp_path / "killed"
    kill_after(start(words, runs, env), runs, 3, signal.SIGKILL)
    ended = finish(start(words, runs, env))
    assert "training starts from the beginning" in ended["said"]
    assert ended["resumed_at"] is None
    assert ended["digests"] == straight["digests"]
