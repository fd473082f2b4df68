"""Adam as Keras 2.0.3 computed it, in Keras 3 and on each of its backends."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("example")
class Adam2017(keras.optimizers.Optimizer):
    """Kingma & Ba 2015 with the epsilon, and in the order of operations, of keras/optimizers.py in Keras 2.0.3.

    Keras 3's own Adam has an epsilon of 1e-7 and rounds elsewhere: it adds (1 - beta) times a difference to its means, where
    this one makes each from two products. Other arguments are those of any Keras optimizer.
    """

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, name: str = "adam_2017",
        **others: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate=learning_rate, name=name, **others)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables: Any) -> None:
        if not self.built:
            super().build(variables)
            self.means, self.squares = self.add_optimizer_variables(variables, ["mean", "square"])

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        kind, place = variable.dtype, self._get_variable_index(variable)
        mean, square = self.means[place], self.squares[place]
        gradient, rate, step = ops.cast(gradient, kind), ops.cast(learning_rate, kind), ops.cast(self.iterations + 1, kind)
        # the betas were variables of the backend's float: 1 - beta_2 is 0.00100004673, not 0.001
        beta_1, beta_2 = ops.cast(self.beta_1, kind), ops.cast(self.beta_2, kind)
        rate = rate * (ops.sqrt(1 - ops.power(beta_2, step)) / (1 - ops.power(beta_1, step)))
        self.assign(mean, beta_1 * mean + (1 - beta_1) * gradient)
        self.assign(square, beta_2 * square + (1 - beta_2) * ops.square(gradient))
        self.assign(variable, variable - rate * mean / (ops.sqrt(square) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
