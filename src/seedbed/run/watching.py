"""What a run shows of itself while it happens, for whoever wants to compare two executions of it step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seedbed.run.data import DataSet


class Watch:
    """Sees nothing; the wing `proof` overrides what it wants to see. What it is shown it must not change.

    The methods are called in this order, `batch` for each batch of a ready-made pipeline while it is read for its fingerprint.
    """

    def begun(self) -> None:
        """The run begins: its process is set up, nothing of the user's has been called."""

    def batch(self, part: str, batch: Any) -> None:
        """A batch (nested arrays) of the ready-made pipeline of this part."""

    def loaded(self, data: DataSet) -> None:
        """The whole data set as the data function made it, before anything is held out."""

    def split(self, data: DataSet) -> None:
        """The data set in its parts, as it is trained on. The model is built next."""

    def built(self, model: Any, engine: Any) -> Sequence[Any]:
        """The compiled model, its generators set (and what a checkpoint held put back); returns callbacks that are to see
        the training, after the user's. engine: the `loop.Engine` that may train it."""
        return ()

    def fitted(self, model: Any, history: Sequence[Mapping[str, float]]) -> None:
        """The trained model. It is evaluated next."""

    def evaluated(self, metrics: Mapping[str, float], predictions: Any) -> None:
        """The end: metrics, and predictions as nested arrays."""
