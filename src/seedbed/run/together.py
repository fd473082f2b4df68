"""What keeps replicas in step while Keras trains, on the devices of one process or of several (strategy=multi_worker)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seedbed.run import collective, digest
from seedbed.run.recorder import Recorder


def lifted(model: Any) -> None:
    """Let the model's steps return each value with an axis of its own: Keras 3.15 takes the mean of several workers' values over
    axis 0, and scalars have none."""

    def with_axis(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda data: tf.nest.map_structure(lambda value: tf.expand_dims(value, 0), step(data))

    model.train_step, model.test_step = with_axis(model.train_step), with_axis(model.test_step)


class Together(keras.callbacks.Callback):
    """Before held-out data are evaluated, and at the end of each epoch: the first replica's values for what isn't trained.

    Keras 3.15 lets each replica keep its own of these (a batch normalisation's averages) and saves the first one's: the others
    would evaluate another model than the one that is saved, and a resumed run would go on otherwise than one that wasn't stopped.
    With other workers, also one decision for all on whether to stop and whether to write a checkpoint. Stands before `Recorder`.
    """

    def __init__(self, recording: Recorder) -> None:
        super().__init__()
        self.recording = recording
        self.known: dict[int, str] = {}

    def on_test_begin(self, logs: Any = None) -> None:
        self.share()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.share()
        if not collective.is_worker():
            return
        self.recording.agreed = None
        signals = (signal.SIGINT, signal.SIGTERM)
        due = collective.index() == 0 and self.recording.is_due(epoch + 1)
        *stop, agreed = collective.total([*(int(self.recording.stop_signal == number) for number in signals), int(due)])
        self.recording.stop_signal = next((number for number, asked in zip(signals, stop, strict=True) if asked), None)
        self.recording.agreed = bool(agreed)

    def share(self) -> None:
        """The first replica's values, of the variables that it has changed since the last time."""
        variables = self.model.non_trainable_variables
        changed = {}
        for number, variable in enumerate(variables):
            value = np.asarray(variable)
            if self.known.get(number) != (now := digest.arrays([value])):
                self.known[number], changed[str(number)] = now, value
        for name, value in collective.broadcast_arrays(changed).items():
            variables[int(name)].assign(value)
            self.known[int(name)] = digest.arrays([value])
