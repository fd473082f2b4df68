"""What happens between two epochs: the record grows, checkpoints are written, NaN and signals stop the run."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from omegaconf import DictConfig

from seedbed.run import backend, checkpoint, digest, process, variables
from seedbed.run.reached import Reached, listed
from seedbed.run.record import Record
from seedbed.run.state import CannotRestore, CannotSave

# A callback that overrides one of these wants to be called between batches.
BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end", "on_test_batch_begin", "on_test_batch_end")

# Checkpoints that are to be nearer to one another than this (seconds) are taken after each epoch.
SHORT = 1.0


class Interrupted(Exception):
    """SIGTERM or Ctrl-C, after the checkpoint was written; the argument is the signal's number."""


class NotFinite(Exception):
    """The loss is NaN or infinite; the message names epoch and value."""


class Recorder(keras.callbacks.Callback):
    """Writes each epoch into the record, checkpoints when it is due, stops on NaN, on SIGTERM and on Ctrl-C.

    The last callback of the list: what the others do at an epoch's end is in the checkpoint.
    """

    def __init__(
        self,
        found: Record,
        config: DictConfig,
        reached: Reached,
        state: checkpoint.State | None,
        progress: bool,
        ends_plainly: bool = False,
    ) -> None:
        """ends_plainly: whether nothing of the user's follows the last epoch, so that a run can go on right after it."""
        super().__init__()
        self.record, self.config, self.reached, self.state = found, config, reached, state
        self.ends_plainly = ends_plainly
        self.before_first: Callable[[], None] | None = self._first  # to be called once, before the first step is traced
        self.same_steps: Callable[[], bool] = lambda: False
        self.stop_signal: int | None = None
        self.trained = False  # whether the last epoch's steps are over
        self.agreed: bool | None = None  # with other workers: whether this epoch ends with a checkpoint
        self.last = 0  # of epochs that are trained in one call: the model is that of this one
        self.saved_at = time.monotonic()
        self.cannot_save: str | None = None
        self.bar = _Bar(config.training.epochs) if progress else None
        self.past = keras.callbacks.History()  # Keras makes one by itself, but then it begins where a resumed run goes on

    def on_train_begin(self, logs: Any = None) -> None:
        if self.bar:
            self.bar.start_soon()
        # after the other callbacks' on_train_begin, which resets them
        self.reached.begin()
        if self.state is None:
            return
        checkpoint.put_python(self.reached, self.state)
        for epoch, metrics in enumerate(self.record.history()):
            self.model.history = self.past  # as Keras does at the end of each epoch
            self.past.epoch.append(epoch)
            for name, value in metrics.items():
                self.past.history.setdefault(name, []).append(value)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.before_first and not any(sees_batches(callback) for callback in self.reached.callbacks):
            self.before_first()

    def on_test_begin(self, logs: Any = None) -> None:
        if self.state is not None:
            self.check_traced()

    def _first(self) -> None:
        """Before the first step: what code that is traced finds has to be what it found in the run that was stopped."""
        self.before_first = None
        if self.state is None:
            self.reached.first()
        else:
            self.check_traced()

    def check_traced(self) -> None:
        """Raise CannotRestore where the steps would be traced otherwise than they were in the run that was stopped."""
        if backend.current() == "torch" or self.state is None:  # which makes its steps each time
            return
        if (unlike := self.reached.unlike_first()) and not self.same_steps():
            raise CannotRestore(f"The train step was made with another {listed(unlike)}, which has changed since then")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        metrics = {name: float(value) for name, value in flat_logs(logs or {}).items()}
        self.record.append_epoch(epoch, metrics)
        for name in metrics:
            if name.endswith("loss") and not math.isfinite(metrics[name]):
                raise NotFinite(f"{name} is {metrics[name]} in epoch {epoch + 1}: the run has failed. Try a smaller learning rate "
                                "(optimizer.learning_rate=…) or look at the data.")  # fmt: skip
        if self.bar:
            self.bar.show(epoch, metrics)
        if epoch < self.last:
            return
        over = self.model.stop_training or epoch + 1 == self.config.training.epochs
        # after the last epoch, too: what follows may take long, and a full disk may let nothing be saved
        if (self.stop_signal is not None or self.is_due(epoch + 1)) and (self.ends_plainly or not over):
            self._checkpoint(epoch + 1)
        if self.stop_signal is not None and not over:
            raise Interrupted(self.stop_signal)

    def together(self, epoch: int) -> int:
        """How many epochs, beginning with `epoch`, may be trained in one call: up to the next that is to be checkpointed."""
        rule, rest = self.config.checkpoint, self.config.training.epochs - epoch
        if rule.every_seconds < SHORT:
            return 1
        return min(rest, rule.every_epochs - epoch % rule.every_epochs) if rule.every_epochs else rest

    def is_due(self, epochs: int) -> bool:
        """Whether a checkpoint is to be written after so many epochs."""
        if self.agreed is not None:
            return self.agreed
        rule = self.config.checkpoint
        return bool(rule.every_epochs and epochs % rule.every_epochs == 0) or time.monotonic() - self.saved_at >= rule.every_seconds

    def _checkpoint(self, epochs: int) -> None:
        self.saved_at = time.monotonic()
        try:
            state = checkpoint.take(self.model, epochs, self.reached)
        except CannotSave as error:
            if self.cannot_save is None:
                self.cannot_save = str(error)
                self.record.update(not_resumable=self.cannot_save)
            return
        if (read := variables.late(self.record.inputs)) != self.record.content.get("read"):
            self.record.update(read=read)  # a run goes on only where these are as they were
        self.record.flush()
        state.history = digest.history(self.record.history()[:epochs])
        checkpoint.write(self.record.path / "checkpoints", state, self.config.checkpoint.keep)


class LastEpoch(keras.callbacks.Callback):
    """Notes that the last epoch's steps are over. The first callback of the list: any other may fail at an epoch's end."""

    def __init__(self, recording: Recorder, epochs: int) -> None:
        super().__init__()
        self.recording, self.epochs = recording, epochs

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.recording.trained = epoch + 1 == self.epochs

    def on_train_end(self, logs: Any = None) -> None:
        self.recording.trained = True  # a callback may have stopped it earlier


class Resumed(keras.callbacks.Callback):
    """Puts PyTorch's global generator back before a resumed run's first batch: Keras's input draws from it when it begins."""

    def __init__(self, state: checkpoint.State) -> None:
        super().__init__()
        self.saved = state.generators[-1]

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        backend.put_generator_state(self.saved)
        self.saved = None


class BeforeFirst(keras.callbacks.Callback):
    """Looks at what the first step is traced with, after what the user's callbacks do before a batch."""

    def __init__(self, recording: Recorder) -> None:
        super().__init__()
        self.recording = recording

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.recording.before_first:
            self.recording.before_first()


def sees_batches(callback: Any) -> bool:
    """Whether a callback wants to be called between batches, by a method or (LambdaCallback) an attribute of its own."""
    base = keras.callbacks.Callback
    return any(name in vars(callback) or getattr(type(callback), name) is not getattr(base, name) for name in BATCH_HOOKS)


def flat_logs(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Logs with a metric that has several values (`f1_0`, `f1_1`) or names (nested dicts) written out one by one."""
    flat: dict[str, Any] = {}
    for name, value in logs.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}_{inner}": leaf for inner, leaf in flat_logs(value).items()}
        elif np.ndim(value):
            flat |= {f"{name}_{i}": leaf for i, leaf in enumerate(np.ravel(value))}
        else:
            flat[name] = value
    return flat


@contextmanager
def stopping(recorder: Recorder) -> Iterator[None]:
    """SIGTERM and the first Ctrl-C stop at the end of the epoch, with a checkpoint; a second Ctrl-C at once."""

    def stop(number: int, frame: Any) -> None:
        if recorder.stop_signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        recorder.stop_signal = number

    try:
        with process.signals_to(stop):
            yield
    finally:
        if recorder.bar:
            recorder.bar.close()


class _Bar:
    """A progress bar on standard error, from two seconds on: short runs stay quiet."""

    def __init__(self, epochs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=Console(file=sys.stderr), transient=True)
        self.task = self.progress.add_task("", total=epochs)
        self.timer = threading.Timer(2, self.progress.start)  # also when the first epoch takes longer than that
        self.timer.daemon = True

    def start_soon(self) -> None:
        self.timer.start()

    def show(self, epoch: int, metrics: Mapping[str, float]) -> None:
        text = "  ".join(f"{name} {value:.4g}" for name, value in list(metrics.items())[:4])
        self.progress.update(self.task, completed=epoch + 1, description=text)

    def close(self) -> None:
        self.timer.cancel()
        self.progress.stop()
