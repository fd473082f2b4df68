"""A run that was broken off goes on in the right epoch, by either engine, with the bits of one that was not."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedbed.run import evaluation, fitting, recorder, training

# 6 training examples in batches of 4: the last batch is short. A generator, moving averages and an optimizer with a state.
WORDS = ["training.batch_size=4", "data.validation_split=0.3", "model.hidden=[4]", "model.dropout=0.5", "model.batch_normalization=true",
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
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(recorder.Recorder, "on_epoch_end", killed)
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
    from seedbed import Refused

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
