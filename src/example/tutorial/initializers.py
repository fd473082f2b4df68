"""Initial weights from the generators of 2017, as Keras initializers: any layer takes them, any config can name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from example.tutorial import mrg31k3p, philox


class _GlorotUniform(keras.initializers.GlorotUniform):
    """Keras's `glorot_uniform` over other numbers. They are made in NumPy, in float32 as in 2017, whatever the backend.

    seed: a whole number; None takes one as Keras's own initializers do, which is from the stream `init` at a level that seeds.
    The same seed gives the same numbers each time. ValueError for a seed that the generator doesn't take.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"seed={seed!r} is not accepted by {type(self).__name__}. Accepted: a whole number, or None.")
        self.drawn((1, 1))

    def drawn(self, shape: Sequence[int]) -> np.ndarray:
        """float32 of `shape`."""
        raise NotImplementedError

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        return keras.ops.convert_to_tensor(self.drawn(shape), dtype=dtype or keras.config.floatx())

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._init_seed}


@keras.saving.register_keras_serializable("example")
class Mrg31k3pGlorotUniform(_GlorotUniform):
    """As Keras 2.0.3 drew on Theano."""

    def drawn(self, shape: Sequence[int]) -> np.ndarray:
        return mrg31k3p.glorot_uniform(self.seed, shape)


@keras.saving.register_keras_serializable("example")
class PhiloxGlorotUniform(_GlorotUniform):
    """As Keras 2.0.3 drew on TensorFlow 1.1. graph_seed: of `tf.set_random_seed`."""

    def __init__(self, seed: int | None = None, graph_seed: int = 2) -> None:
        self.graph_seed = graph_seed
        super().__init__(seed=seed)

    def drawn(self, shape: Sequence[int]) -> np.ndarray:
        return philox.glorot_uniform(self.graph_seed, self.seed, shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "graph_seed": self.graph_seed}
