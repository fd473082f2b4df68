"""The callback that follows a training for a trace: each epoch's end as hashes, and the steps of the epochs that are wanted."""

from __future__ import annotations

import os
import signal
from typing import Any

import keras

from seedbed.run import checkpoint, digest, recorder


def state(model: Any) -> dict[str, Any]:
    """Return the hashes of a model's state: each weight by its path, the optimizer's variables, the seed generators."""
    return {
        "weights": [[weight.path, digest.arrays([weight])[:16]] for weight in model.weights],
        "optimizer": digest.arrays(checkpoint.optimizer_variables(model))[:16],
        "generators": digest.arrays(digest.generators(model))[:16],
    }


class Follower(keras.callbacks.Callback):
    def __init__(self, trace: Any, model: Any, engine: Any) -> None:
        super().__init__()
        self.trace, self.watched, self.engine = trace, model, engine
        self.steps: Any = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.trace.steps_from is not None and epoch >= self.trace.steps_from and self.steps is None:
            self._install()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        model = self.watched
        earlier = [row for row in self.trace.found["epochs"] if row["epoch"] < epoch]
        self.trace.found["epochs"] = [*earlier, {
            "epoch": epoch, **state(model),
            "logs": {name: float(value).hex() for name, value in recorder.flat_logs(logs or {}).items()},
        }]  # fmt: skip
        if self.trace.halt == epoch + 1:
            os.kill(os.getpid(), signal.SIGTERM)  # the recorder, whose turn comes next, takes a checkpoint and stops
        if self.steps is not None:
            self.trace.keep(f"epoch {epoch} train", self.steps.flush("train"))
            self.trace.keep(f"epoch {epoch} test", self.steps.flush("test"))
        if epoch == self.trace.until:
            self.trace.stop()

    def on_train_end(self, logs: Any = None) -> None:
        if self.trace.predictions and self.steps is None:
            self._install()

    def _install(self) -> None:
        from seedbed.proof.steps import Steps

        self.steps = self.trace.steps = Steps(self.watched, self.trace.folder / "values", self.trace.budget, self.trace.only)
        self.steps.install(self.engine)


class EachBatch(Follower):
    """Under XLA a step's points can be read only when it has ended."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.steps is not None:
            self.steps.after_batch("train")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.steps is not None:
            self.steps.after_batch("test")
