"""After the last epoch: the weights are kept first, and what can't be evaluated is named."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from seedbed.run import digest, evaluation, training
from seedbed.run.data import DataSet
from seedbed.run.recorder import NotFinite

OWN = """
import keras, numpy as np, tensorflow as tf

def data():
    return (np.arange(24, dtype="float32").reshape(12, 2) / 24,)

class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(1)

    def call(self, x):
        return self.inner(x)

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(batch[0] if isinstance(batch, tuple) else batch) - 1.0) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}

class Failing(Own):
    def test_step(self, batch):
        raise KeyError("no such score")

def model(spec, kind="Own"):
    return globals()[kind]()

class Fails(keras.callbacks.Callback):
    def __init__(self, hook, epoch=1):
        setattr(self, hook, self.fail)
        self.at = epoch

    def fail(self, epoch=None, logs=None):
        if epoch in (None, {}, self.at) or isinstance(epoch, dict):
            raise KeyError("no such place")

class Ruin(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        first = self.model.weights[0]
        first.assign(first * float("nan"))
"""
WORDS = ["~model", "+model={_target_: own_step.model}", "training.epochs=2", "~data", "+data={name: mine, source: {_target_: own_step.data}, batch_size: 4, test_split: 0.25}",
         "training.loss=null", "training.metrics=null"]  # fmt: skip


@pytest.mark.parametrize("words", [[], ["+model.kind=Failing"]], ids=["no loss", "an error in test_step"])
def test_what_cannot_be_evaluated_is_named_and_the_weights_are_kept(
    words: list[str], config: Callable[..., Any], plugin: Callable[..., Path]
) -> None:
    plugin("own_step", OWN)
    said: list[str] = []
    found = training.run(config(*WORDS, *words), said=said.append)
    assert (found.status, found.exit_status()) == ("finished", 0)
    assert found.metrics == {"train_loss": found.history()[-1]["loss"]}
    assert "metrics of the part" in found.content["evaluation"]
    assert any("could not be evaluated" in line for line in said)
    assert (found.path / "model.keras").exists() or (found.path / "weights.npz").exists()
    assert not found.damage(whole=True)
    assert training.run(config(*WORDS, *words)).reused


@pytest.mark.parametrize(
    ("hook", "engine", "epoch"), [("on_epoch_end", "loop", 1), ("on_train_end", "fit", 1), ("on_epoch_end", "fit", 0)], ids=str
)
def test_weights_are_kept_where_a_callback_fails_after_the_last_epoch(
    hook: str, engine: str, epoch: int, config: Callable[..., Any], plugin: Callable[..., Path]
) -> None:
    plugin("own_step", OWN)
    said: list[str] = []
    words = ["model=mlp", "optimizer=sgd", "training.epochs=2", f"training.engine={engine}"]
    fails = f"+training.callbacks.fails={{_target_: own_step.Fails, hook: {hook}, epoch: {epoch}}}"
    with pytest.raises(KeyError, match="no such place"):
        training.run(config(*words, fails), said=said.append)
    (path,) = (file.parent for file in Path(config().runs).glob("*/record.json"))
    if epoch == 0:
        assert said == []
        assert not (path / "model.keras").exists()
        return
    assert said == [f"The last epoch was over when the run failed: its weights are in {path} until the same command is run again."]
    whole = training.run(config(*words, f"runs={path.parent / 'whole'}"))
    assert digest.arrays(keras.saving.load_model(path / "model.keras").get_weights()) == whole.digests["final_weights"]


def test_weights_that_the_last_update_made_nan_are_a_failed_run(config: Callable[..., Any], plugin: Callable[..., Path]) -> None:
    plugin("own_step", OWN)
    found = training.run(config("training.epochs=2", "+training.callbacks.ruin._target_=own_step.Ruin"))
    assert (found.status, found.exit_status()) == ("failed", 1)
    assert "are NaN after the last epoch" in found.content["error"]
    assert found.content["error"].count("\n") == 0
    json.loads((found.path / "record.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert NotFinite.__doc__


@pytest.mark.integration
def test_a_history_that_was_edited_before_a_resume_is_gone_on_with_from_an_older_checkpoint(
    config: Callable[..., Any], plugin: Callable[..., Path]
) -> None:
    plugin("stopping", STOPPING)
    words = ["training.epochs=4", "checkpoint.every_epochs=1", "checkpoint.keep=3", "+training.callbacks.stop._target_=stopping.Stop"]
    stopped = training.run(config(*words))
    assert stopped.status == "interrupted"
    file = stopped.path / "history.jsonl"
    first, second, third = file.read_text().splitlines()
    row = json.loads(second)
    row["metrics"]["loss"] *= 2
    file.write_text("\n".join([first, json.dumps(row), third]) + "\n")
    said: list[str] = []
    ended = training.run(config(*words), said=said.append)
    assert ended.status == "finished"
    assert ended.resumed_at == 1
    (line,) = [line for line in said if "another history" in line]
    assert "goes on after epoch 1" in line
    again = training.run(config(*words, "force=true"))
    assert again.agrees is True


STOPPING = """
import os, signal
import keras

class Stop(keras.callbacks.Callback):
    stopped = []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2 and not self.stopped:
            self.stopped.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
"""


def evaluated(outcomes: dict[str, Any], engine: str, composed: Any) -> tuple[Any, Any, list[str]]:
    """What is evaluated of made-up parts; outcomes: what a metric of each part is, or the error that it raises."""
    parts = {name: (np.full((2, 1), number, "float32"), np.zeros(2, "float32")) for number, name in enumerate(outcomes)}
    names = dict(enumerate(outcomes))

    def metrics(part: Any, batch: int) -> Any:
        outcome = outcomes[names[int(part[0][0, 0])]]
        if isinstance(outcome, Exception):
            raise outcome
        return {"loss": outcome, "f1": [0.25, 0.5]}

    shared: Any = SimpleNamespace(engine=SimpleNamespace(evaluate=metrics, predict=lambda part, batch: part[0]))
    found, predictions, failures = evaluation.evaluated(shared, engine, composed, DataSet(**parts), lambda: pytest.fail("not ready-made"))
    return found, None if not len(predictions) else names[int(predictions[0, 0])], [what for what, _ in failures]


def test_each_held_out_part_is_evaluated_and_the_last_one_predicted(config: Callable[..., Any]) -> None:
    found, predicted, failures = evaluated({"train": 1.0, "validation": 2.0, "test": 3.0}, "loop", config())
    assert found == {"validation_loss": 2.0, "validation_f1_0": 0.25, "validation_f1_1": 0.5,
                     "test_loss": 3.0, "test_f1_0": 0.25, "test_f1_1": 0.5}  # fmt: skip
    assert (predicted, failures) == ("test", [])
    found, predicted, _ = evaluated({"train": 1.0, "validation": 2.0}, "loop", config())
    assert ({name.split("_")[0] for name in found}, predicted) == ({"validation"}, "validation")
    found, predicted, _ = evaluated({"train": 1.0}, "loop", config())
    assert ({name.split("_")[0] for name in found}, predicted) == ({"train"}, "train")


def test_metrics_of_some_parts_beside_an_epochs_are_none(config: Callable[..., Any]) -> None:
    found, predicted, failures = evaluated({"train": 1.0, "validation": KeyError("no"), "test": 3.0}, "loop", config())
    assert (found, predicted, failures) == ({}, "test", ["metrics of the part validation"])
    assert evaluation.of_the_last_epoch({"loss": 1.0, "val_loss": 2.0}) == {"train_loss": 1.0, "validation_loss": 2.0}


def test_a_full_disk_while_a_part_is_evaluated_concerns_the_run(config: Callable[..., Any]) -> None:
    with pytest.raises(OSError, match="full"):
        evaluated({"train": 1.0, "test": OSError(errno.ENOSPC, "full")}, "loop", config())
    several = config()
    several.strategy.name = "multi_worker"
    with pytest.raises(KeyError):  # the other workers would wait for this one
        evaluated({"train": 1.0, "test": KeyError("no")}, "loop", several)
