"""A run that was broken off goes on in the right epoch, by either engine, with the bits of one that was not."""

from __future__ import annotations

import errno
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from run import records

from seedbed import Refused
from seedbed.run import evaluation, fitting, recorder, training
from seedbed.run.record import Record

# 6 training examples in batches of 4: the last batch is short. A generator, and an optimizer with a state.
WORDS = ["training.batch_size=4", "data.validation_split=0.3", "model.hidden=[4]", "model.dropout=0.5",
         "checkpoint.every_epochs=2"]  # fmt: skip
EARLY = "+training.callbacks.early={_target_: keras.callbacks.EarlyStopping, patience: 1, restore_best_weights: true, monitor: val_loss, min_delta: 9}"


class Killed(BaseException):
    """As a kill: nothing of seedbed's sees it coming, and the record goes on saying that the run is running."""


def test_a_killed_run_goes_on_after_its_last_checkpoint(
    config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained by `fit` at one go; and many epochs a call, killed in the fourth epoch, after the checkpoint of the second."""
    straight = training.run(config(*WORDS, "training.epochs=5", "training.engine=fit", f"runs='{tmp_path / 'straight'}'"))
    plain = recorder.Recorder.on_epoch_end

    def killed(self: Any, epoch: int, logs: Any = None) -> None:
        if epoch == 3:
            self.record.append_epoch(epoch, {"loss": 1.0, "val_loss": 1.0})
            raise Killed
        plain(self, epoch, logs)

    words = [*WORDS, "training.epochs=5", "training.engine=loop", f"runs='{tmp_path / 'killed'}'"]
    with monkeypatch.context() as patch:
        patch.setattr(recorder.Recorder, "on_epoch_end", killed)
        with pytest.raises(Killed):
            training.run(config(*words))
    said: list[str] = []
    ended = training.run(config(*words), said=said.append)
    assert (ended.status, ended.resumed_at, said) == ("finished", 2, [])
    assert ended.key == straight.key
    assert ended.history() == straight.history()
    assert ended.digests == straight.digests
    assert ended.metrics == straight.metrics
    assert not (ended.path / "checkpoints").exists()


def test_a_run_that_stopped_early_is_evaluated_and_not_trained_any_further(
    config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its best weights are put back at the end of training, by either engine, and when the disk was full after that."""
    straight = training.run(config(*WORDS, EARLY, "training.epochs=9", "training.engine=fit", f"runs='{tmp_path / 'straight'}'"))
    assert len(straight.history()) == 2

    def full(*unused: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    words = [*WORDS, EARLY, "training.epochs=9", "training.engine=loop", f"runs='{tmp_path / 'full'}'"]
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluated", full)
        assert training.run(config(*words)).status == "interrupted"
    ended = training.run(config(*words))
    assert (ended.status, ended.resumed_at) == ("finished", 2)
    assert ended.history() == straight.history()
    assert ended.digests == straight.digests


def test_an_execution_never_reaches_into_the_next_epoch() -> None:
    assert [fitting._divisor(6, most) for most in (0, 1, 2, 3, 4, 5, 6, 100)] == [1, 1, 2, 3, 3, 3, 6, 6]
    assert fitting._divisor(7, 6) == 1


@pytest.mark.parametrize("weights", ["{0: 2.0}", "{0: 1, 1: 1, 2: 1}", "{0: 1, 1: x}"])
def test_class_weights_are_one_for_each_class(weights: str, config: Callable[..., Any], plugin: Callable[..., Path]) -> None:
    plugin("two_classes", "import numpy as np\ndef data():\n    return np.arange(8.0).reshape(4, 2), np.arange(4) % 2\n")
    words = ["~data.source.length", "data.source._target_=two_classes.data", "training.loss=sparse_categorical_crossentropy"]
    with pytest.raises(Refused, match=r"class_weight=.* Accepted: a number for each of the classes 0 … 1\."):
        training.run(config(*words, f"training.class_weight={weights}"))


def test_class_weights_count(config: Callable[..., Any], plugin: Callable[..., Path]) -> None:
    plugin("two_classes", "import numpy as np\ndef data():\n    return np.arange(8.0).reshape(4, 2), np.arange(4) % 2\n")
    words = [
        "~data.source.length",
        "data.source._target_=two_classes.data",
        "training.loss=sparse_categorical_crossentropy",
        "training.epochs=1",
    ]
    equal, other = (training.run(config(*words, f"training.class_weight={{0: 1, 1: {weight}}}")) for weight in (1, 5))
    assert equal.digests["initial_weights"] == other.digests["initial_weights"]
    assert equal.digests["final_weights"] != other.digests["final_weights"]


@pytest.mark.parametrize(("error", "status", "said"), [
    (recorder.Interrupted(signal.SIGTERM), "interrupted", "stopped by SIGTERM"), (recorder.NotFinite("loss is nan"), "failed", "loss is nan"),
    (Refused("not like this"), "failed", "not like this"), (KeyError("mine"), "failed", "KeyError: 'mine'"),
    (OSError(errno.ENOSPC, "full", "/x"), "interrupted", "The run was broken off after epoch 3 of 3"),
])  # fmt: skip
def test_how_a_training_ended_is_written_down_and_what_it_has_set_is_put_back(
    error: Exception, status: str, said: str, config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    def broken(*unused: Any) -> None:
        keras.config.set_dtype_policy("mixed_float16")
        random.random()
        raise error

    monkeypatch.setattr(fitting, "_train", broken)
    found, before = records.made(tmp_path, finished=False), random.getstate()
    with suppress(Refused, KeyError):
        fitting.train(found, config("training.epochs=3"), {"python": 1, "numpy": 2}, *[None] * 2, print, False, *[None] * 2)  # type: ignore[arg-type]
    kept = Record.read(found.path)
    assert kept.status == status
    assert said in kept.content["error"]
    assert keras.config.dtype_policy().name == "float32"
    assert random.getstate() == before


@pytest.mark.parametrize(("layer", "weight", "value", "words"), [
    ("dense", 0, "nan", "are NaN"), ("dense", 1, "inf", "are infinite"), ("average", 2, "nan", "are NaN"), ("average", 2, "inf", None),
])  # fmt: skip
def test_weights_are_no_nan_and_those_that_are_trained_are_finite(layer: str, weight: int, value: str, words: str | None) -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="dense"), keras.layers.BatchNormalization(name="average")])
    fitting._check_finite(model)
    held = model.get_layer(layer).weights[weight]
    held.assign(held * float(value) if value == "nan" else held + float(value))
    if words is None:  # a mask, say
        fitting._check_finite(model)
        return
    with pytest.raises(recorder.NotFinite, match=words):
        fitting._check_finite(model)
