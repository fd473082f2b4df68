"""Canonical digests of a run's outputs: sha256 over bits, so that another program can compute them again.

An array is hashed as the ASCII line `<dtype> <shape>\\n` (NumPy's names: `float32 (3, 3, 1, 16)`; bfloat16 likewise),
followed by its elements in C order, little-endian. A list of arrays is hashed one after the other, in the order named
below. Names play no part: Keras counts layer names on within a process, and backends name variables differently.

initial_weights, final_weights
    `model.weights` in Keras's order: trainable ones, then the others (moving averages and the like).
generators
    The state of every seed generator of the model (dropout and the like) after the last epoch.
optimizer
    `model.optimizer.variables` after the last epoch (iteration count, learning rate, moments); then those of other
    optimizers among the model's attributes (a GAN's), in the order in which they were set.
history
    For each epoch, for each metric in the order of sorted names: the line `<epoch> <name>\\n`, then the value as a
    little-endian float64.
predictions
    The outputs of `model.predict` on the test part, else the validation part, else the training part, in the part's own
    order; nothing for a model that can only be trained.
run
    The digests above (those that say which bits a training has given): lines `<name> <hex>\\n` in the order of sorted names.
metrics
    What the run says of itself, compared beside `run` and no part of it: for each metric in the order of sorted names the line
    `<name>\\n`, then the value as a little-endian float64 (every NaN as the one that Python writes).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def arrays(values: Iterable[Any]) -> str:
    """The digest of a list of arrays (anything that NumPy can read)."""
    digest = hashlib.sha256()
    for value in values:
        array = np.asarray(value)
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        digest.update(f"{array.dtype.name} {array.shape}\n".encode())
        digest.update(array.tobytes(order="C"))
    return digest.hexdigest()


def history(epochs: Sequence[Mapping[str, float]]) -> str:
    """The digest of a history: one mapping of metric names to values for each epoch."""
    digest = hashlib.sha256()
    for number, logs in enumerate(epochs):
        for name in sorted(logs):
            digest.update(f"{number} {name}\n".encode() + struct.pack("<d", logs[name]))
    return digest.hexdigest()


def metrics(values: Mapping[str, float]) -> str:
    """The digest of a run's final metrics."""
    digest = hashlib.sha256()
    for name in sorted(values):
        value = float(values[name])
        digest.update(f"{name}\n".encode(errors="surrogatepass") + struct.pack("<d", math.nan if math.isnan(value) else value))
    return digest.hexdigest()


def completed(digests: Mapping[str, str], final: Mapping[str, float]) -> dict[str, str]:
    """The digests of a record with that of its final metrics, which a finished one of format 1 doesn't hold."""
    return {**digests, "metrics": metrics(final)} if "run" in digests and "metrics" not in digests else dict(digests)


def combined(digests: Mapping[str, str]) -> str:
    """One digest for all: what `run` holds."""
    lines = "".join(f"{name} {value}\n" for name, value in sorted(digests.items()) if name not in ("run", "metrics"))
    return hashlib.sha256(lines.encode()).hexdigest()


def is_generator(variable: Any) -> bool:
    """Whether a Keras variable is a seed generator's state."""
    return variable.name == "seed_generator_state"


def weights(model: Any) -> list[np.ndarray]:
    """The model's weights in Keras's order; Keras leaves seed generators and metrics out of `weights`."""
    return [np.asarray(variable) for variable in model.weights]


def generators(model: Any) -> list[np.ndarray]:
    """The states of the model's seed generators, in Keras's order."""
    return [np.asarray(variable) for variable in model.variables if is_generator(variable)]
