"""Between two epochs: when a checkpoint is due, what is written before it, and how a run ends."""

from __future__ import annotations

import math
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from run import records

from seedbed.run import checkpoint, digest, recorder
from seedbed.run import seeds as streams
from seedbed.run.record import Record
from seedbed.run.recorder import Interrupted, NotFinite, Recorder

NEVER = 1e9  # seconds


@pytest.fixture
def recording(config: Callable[..., Any], tmp_path: Path) -> Callable[..., Recorder]:
    """`recording("training.epochs=4", state=…)`: a Recorder of a made-up run that has three epochs, with a model that is none."""

    def made(*words: str, state: Any = None) -> Recorder:
        reached: Any = SimpleNamespace(callbacks=[], begin=lambda: None, put=lambda saved: None, unlike_first=list)
        found = records.made(tmp_path / "runs", finished=False)
        one = Recorder(found, config(f"checkpoint.every_seconds={NEVER}", *words), reached, state, progress=False)
        one._model = SimpleNamespace(stop_training=False)
        return one

    return made


def saved(one: Recorder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs after which checkpoints are written from here on."""
    epochs: list[int] = []
    monkeypatch.setattr(one, "_checkpoint", epochs.append)
    return epochs


def test_a_checkpoint_is_due_after_so_many_epochs(recording: Callable[..., Recorder]) -> None:
    one = recording("checkpoint.every_epochs=3", "training.epochs=10")
    assert [epochs for epochs in range(1, 11) if one.is_due(epochs)] == [3, 6, 9]
    assert [one.together(epoch) for epoch in (0, 1, 2, 3, 8, 9)] == [3, 2, 1, 3, 1, 1]


def test_a_checkpoint_is_due_after_so_many_seconds(recording: Callable[..., Recorder]) -> None:
    one = recording("checkpoint.every_seconds=60", "training.epochs=10")
    one.saved_at = time.monotonic() - 50
    assert not one.is_due(1)
    one.saved_at = time.monotonic() - 61
    assert one.is_due(1)
    assert one.together(4) == 6
    assert recording("checkpoint.every_seconds=0", "training.epochs=10").together(4) == 1


def test_before_a_checkpoint_the_history_is_on_the_disk_and_its_digest_goes_with_it(
    recording: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, order = recording("checkpoint.every_epochs=1", "checkpoint.keep=7"), []
    state = checkpoint.State(2, [], [], [], {}, streams.generator_states())
    monkeypatch.setattr(checkpoint, "take", lambda model, epochs, reached: state)
    monkeypatch.setattr(Record, "flush", lambda self: order.append("flush"))
    monkeypatch.setattr(checkpoint, "write", lambda folder, state, keep: order.append((folder.name, state.history, keep)))
    one.saved_at = 0.0
    one._checkpoint(2)
    assert order == ["flush", ("checkpoints", digest.history(records.HISTORY[:2]), 7)]
    assert time.monotonic() - one.saved_at < 60  # the next one is due so many seconds after this one


def test_a_state_that_cannot_be_saved_is_noted_and_training_goes_on(
    recording: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = recording("checkpoint.every_epochs=1")

    def cannot(*unused: Any) -> Any:
        raise recorder.CannotSave("a socket of the callback")

    monkeypatch.setattr(checkpoint, "take", cannot)
    one._checkpoint(2)
    assert Record.read(one.record.path).content["not_resumable"] == "a socket of the callback"
    assert not (one.record.path / "checkpoints").exists()


@pytest.mark.parametrize("name", ["loss", "val_loss", "dense_loss"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_run(name: str, value: float, recording: Callable[..., Recorder]) -> None:
    one = recording("training.epochs=10")
    with pytest.raises(NotFinite, match=f"^{name} is {value} in epoch 4: the run has failed"):
        one.on_epoch_end(3, {"accuracy": 0.5, name: value})
    assert [*one.record.history()[3]] == ["accuracy", name]  # its epoch is in the record


def test_another_metric_may_be_infinite(recording: Callable[..., Recorder]) -> None:
    recording("training.epochs=10").on_epoch_end(3, {"loss": 0.5, "perplexity": math.inf, "losses_seen": math.nan})


def test_a_signal_stops_a_run_after_the_epoch_with_a_checkpoint(
    recording: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = recording("training.epochs=5")
    epochs, one.stop_signal = saved(one, monkeypatch), signal.SIGTERM
    with pytest.raises(Interrupted):
        one.on_epoch_end(3, {"loss": 0.5})
    assert epochs == [4]


@pytest.mark.parametrize("early", [False, True], ids=["the last epoch", "early stopping"])
@pytest.mark.parametrize("plain", [False, True])
def test_a_signal_after_the_last_step_stops_nothing(
    early: bool, plain: bool, recording: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is evaluation. Where nothing of the user's follows, the last epoch is saved, in case that it takes long."""
    one = recording(f"training.epochs={40 if early else 4}")
    epochs, one.stop_signal, one.ends_plainly = saved(one, monkeypatch), signal.SIGTERM, plain
    one.model.stop_training = early
    one.on_epoch_end(3, {"loss": 0.5})
    assert epochs == ([4] if plain else [])


def test_of_epochs_that_are_trained_in_one_call_the_last_one_is_saved(
    recording: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = recording("training.epochs=50", "checkpoint.every_epochs=1")
    epochs, one.last = saved(one, monkeypatch), 5
    for epoch in (3, 4, 5):
        one.on_epoch_end(epoch, {"loss": 0.5})
    assert epochs == [6]


def test_a_resumed_run_has_the_history_of_its_beginning_and_the_generators_of_its_checkpoint(recording: Callable[..., Recorder]) -> None:
    with streams.global_generators(1, 2):
        random.random()
        state = checkpoint.State(3, [], [], [], {}, [*streams.generator_states(), None])
        expected = random.random(), np.random.random(), np.random.default_rng().random()
    one, order = recording("training.epochs=50", state=state), []
    one.reached.begin, one.reached.put = (lambda: order.append("begin")), (lambda saved: order.append(saved.epochs))
    one.past.on_train_begin()
    with streams.global_generators(5, 6):
        one.on_train_begin()
        assert (random.random(), np.random.random(), np.random.default_rng().random()) == expected
    assert order == ["begin", 3]
    assert one.past.epoch == [0, 1, 2]
    assert one.past.history == {"loss": [0.5, 0.25, math.inf]}
    assert one.model.history is one.past


def test_a_second_ctrl_c_stops_at_once_and_a_second_sigterm_does_not(recording: Callable[..., Recorder]) -> None:
    one = recording()
    with recorder.stopping(one):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert one.stop_signal == signal.SIGTERM
        signal.raise_signal(signal.SIGINT)
        assert one.stop_signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
