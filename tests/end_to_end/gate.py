"""A run that waits where the test wants it to, so that what the test does falls in mid-run on any machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# For the fixture `plugin`: +training.callbacks.gate._target_=gate.Gate, with folder and epochs as arguments.
GATE = """
import pathlib, time
import keras

class Gate(keras.callbacks.Callback):
    '''Before each of `epochs`, says so with a file `at<epoch>` and waits for a file `go<epoch>`.'''

    def __init__(self, folder, epochs):
        super().__init__()
        self.folder, self.epochs = folder, epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch in self.epochs:
            folder, end = pathlib.Path(self.folder), time.monotonic() + 200
            (folder / f"at{epoch}").touch()
            while not (folder / f"go{epoch}").exists():
                assert time.monotonic() < end, "nobody opened the gate"
                time.sleep(0.02)
"""


def until(holds: Callable[[], Any], seconds: float, why: Callable[[], str] = lambda: "") -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited in vain\n{why()}"
        time.sleep(0.1)
