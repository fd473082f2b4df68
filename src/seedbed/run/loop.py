"""The fast engine: many epochs in one call, with the bits of `model.fit`.

For small models most of `fit`'s time goes into Python between steps and into a new iterator for each epoch (about 40-fold
for the tutorial's network, measured with Keras 3.15). Here Keras's own `train_step` runs inside a `tf.while_loop`, over
arrays that are in memory already. What needs Python between two batches is left to `fit`; `obstacle` says what. What needs
Python between two epochs (a callback of the user's) gets an epoch a call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.run import backend, determinism, inputs, looking
from seedbed.run import data as data_sets
from seedbed.run.data import DataSet, flat, mapped
from seedbed.run.recorder import LastEpoch, sees_batches

# A model that overrides one of these has a way of its own to train.
OWN_WAYS = ("fit", "evaluate", "predict", "make_train_function", "make_test_function", "make_predict_function")

# What a callback of the user's uses that changes the train step itself while it runs.
REMAKES = frozenset({"compile", "make_train_function", "trainable"})

# How long a call may take: signals, the progress bar and checkpoints wait for its end.
CALL_SECONDS = 0.25


def obstacle(model: Any, config: DictConfig, data: DataSet, callbacks: Sequence[Any]) -> str | None:
    """Why this run needs `model.fit`; None if the loop gives the same bits."""
    training = config.training
    if not backend.is_tensorflow():
        return "the loop is TensorFlow's"
    if config.strategy.name != "single":
        return "the loop is for one device"
    if config.data.input not in ("auto", "arrays") or not in_memory(data):
        return "the input is a pipeline"
    for name in ("class_weight", "steps_per_epoch"):
        if training[name]:
            return f"training.{name} is set"
    if training.steps_per_execution > 1 or model.run_eagerly or model.jit_compile:
        return "steps_per_execution, run_eagerly and jit_compile are fit's"
    for name in OWN_WAYS:
        if getattr(type(model), name) is not getattr(keras.Model, name):
            return f"{type(model).__name__} has its own {name}"
    for callback in callbacks:
        if sees_batches(callback):
            return f"{type(callback).__name__} wants to see each batch"
        if found := sorted(_names(callback) & REMAKES):
            return f"{type(callback).__name__} may have the train step made anew ({', '.join(found)})"
    operations, _, _ = looking.look(model, inputs.first_batch(data.train, training.batch_size))
    if found := sorted(operations & determinism.STATEFUL_RANDOM):
        # without a seed of their own they take one from their place in the graph, which is another one in a loop
        return f"the operation {', '.join(found)} draws by its place in fit's graph"
    return None


def _names(callback: Any) -> set[str]:
    """The names that the code of a callback uses, Keras's own code left out."""
    own = [kind for kind in type(callback).__mro__ if kind.__module__.partition(".")[0] != "keras"]
    return {name for kind in own for made in vars(kind).values() if hasattr(made, "__code__") for name in made.__code__.co_names}


def in_memory(data: DataSet) -> bool:
    """Whether all data that are trained with are arrays: no code makes them while a model is trained."""
    return data_sets.is_arrays(data.train) and (data.validation is None or data_sets.is_arrays(data.validation))


class Engine:
    """The traced functions of one model, kept for all runs on it: an epoch or many in a call, evaluation, prediction.

    Arrays are arguments and no constants, so that another run's data (another split) go through the same functions.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.made: dict[Any, Any] = {}  # by what it does and the shapes that it was made for
        self.seconds = 0.0  # what an epoch takes, once that is known

    def fit(
        self, data: DataSet, seeds: Mapping[str, int], epochs: range, batch_size: int | None, shuffle: bool, callbacks: Sequence[Any],
        recording: Any,
    ) -> None:  # fmt: skip
        """Train on arrays for `epochs`, as `model.fit` with the same order of examples would, callbacks included.

        callbacks: the user's; each sees the model after each epoch. Where there are none, many epochs go into one call.
        recording: the `recorder.Recorder`, which hears of every epoch, and says how many it can wait for.
        """
        model, examples = self.model, len(flat(data.train)[0])
        steps = math.ceil(examples / (batch_size or examples))
        everybody = [LastEpoch(recording, epochs.stop), *callbacks, recording.past, recording]
        called = keras.callbacks.CallbackList(everybody, model=model, epochs=epochs.stop, steps=steps, verbose=0, add_history=True)
        train, held = mapped(tf.constant, data.train), None if data.validation is None else mapped(tf.constant, data.validation)
        model.stop_training, model.train_function = False, None
        called.on_train_begin()
        logs: dict[str, Any] = {}
        alone = not callbacks and _resets_itself(model)
        epoch = epochs.start
        while epoch < epochs.stop and not model.stop_training:
            most = min(recording.together(epoch), epochs.stop - epoch) if alone else 1
            if most == 1:
                called.on_epoch_begin(epoch)
                logs = self._epoch(train, held, inputs.order_of(seeds, epoch, examples, shuffle), batch_size, called)
                called.on_epoch_end(epoch, logs)
                epoch += 1
                continue
            traced = len(self.made)
            count = min(most, max(1, int(CALL_SECONDS / self.seconds))) if self.seconds else 1
            orders = np.stack([inputs.order_of(seeds, number, examples, shuffle) for number in range(epoch, epoch + count)])
            begun = time.perf_counter()
            rows = self._epochs(train, held, orders, batch_size)
            if len(self.made) == traced:  # else most of the time went into making the functions
                self.seconds = (time.perf_counter() - begun) / count
            recording.last = epoch + count - 1
            for logs in rows:
                called.on_epoch_begin(epoch)
                called.on_epoch_end(epoch, logs)
                epoch += 1
        model.optimizer.finalize_variable_values(model.trainable_weights)
        called.on_train_end(logs)

    def evaluate(self, part: Any, batch_size: int | None) -> dict[str, Any]:
        """What `model.evaluate` gives for arrays in their own order."""
        self.model.reset_metrics()
        tensors = mapped(tf.constant, part)
        logs = self._over("test", self.model.test_step, tensors, batch_size)(tensors, _in_order(tensors))
        return dict(self.model._get_metrics_result_or_logs(logs))

    def predict(self, part: Any, batch_size: int | None) -> Any:
        """What `model.predict` gives for arrays in their own order."""
        tensors, examples = mapped(tf.constant, part), len(flat(part)[0])
        batch = batch_size or examples
        order, outputs = _in_order(tensors), []
        for start in range(0, examples, batch):
            outputs.append(self._one("predict", self.model.predict_step, tensors, batch)(tensors, order[start : start + batch]))
        return tf.nest.map_structure(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves]), *outputs)

    def _epoch(self, train: Any, held: Any, order: np.ndarray, batch_size: int | None, called: Any) -> dict[str, Any]:
        """One epoch, then the validation part, with everything between them where a callback expects it."""
        model = self.model
        model.reset_metrics()
        if model.train_function is not None:
            raise Refused("A callback has the train step made anew (layers are frozen, say). Train this with training.engine=fit.")
        logs = dict(model._get_metrics_result_or_logs(self._over("train", model.train_step, train, batch_size)(train, order)))
        if held is not None:
            called.on_test_begin()
            values = self.evaluate(held, batch_size)
            called.on_test_end(values)
            logs |= {f"val_{name}": value for name, value in values.items()}
        return logs

    def _epochs(self, train: Any, held: Any, orders: np.ndarray, batch_size: int | None) -> list[dict[str, Any]]:
        """As many epochs as `orders` has rows, in one call; the logs of each."""
        model = self.model
        train_epoch = self._over("train", model.train_step, train, batch_size)
        test_epoch = None if held is None else self._over("test", model.test_step, held, batch_size)

        def one(order: tf.Tensor, train: Any, held: Any) -> Any:
            model.reset_metrics()
            logs = dict(model._get_metrics_result_or_logs(train_epoch(train, order)))
            if test_epoch is not None:
                model.reset_metrics()
                values = model._get_metrics_result_or_logs(test_epoch(held, _in_order(held)))
                logs |= {f"val_{name}": value for name, value in values.items()}
            return logs

        def make() -> Any:
            specs = [mapped(_spec, train), None if held is None else mapped(_spec, held)]

            @tf.function(input_signature=[tf.TensorSpec((None, orders.shape[1]), tf.int64), *(spec for spec in specs if spec is not None)])
            @tf.autograph.experimental.do_not_convert
            def epochs(orders: tf.Tensor, train: Any, held: Any = None) -> Any:
                count = tf.shape(orders)[0]
                first = one(orders[0], train, held)
                leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(first)]
                rows = [tf.TensorArray(leaf.dtype, count, element_shape=leaf.shape).write(0, leaf) for leaf in leaves]

                def body(number: tf.Tensor, rows: Any) -> Any:
                    logs = tf.nest.flatten(one(orders[number], train, held))
                    return number + 1, [row.write(number, leaf) for row, leaf in zip(rows, logs, strict=True)]

                rows = tf.while_loop(lambda number, rows: number < count, body, (tf.constant(1), rows), parallel_iterations=1)[1]
                return tf.nest.pack_sequence_as(first, [row.stack() for row in rows])

            return epochs

        function = self._kept(("epochs", batch_size, _shapes(train), _shapes(held)), make)
        model.reset_metrics()
        logs = tf.nest.map_structure(np.asarray, function(orders, train, *(() if held is None else (held,))))
        return [tf.nest.map_structure(lambda values, number=number: values[number], logs) for number in range(len(orders))]

    def _over(self, name: str, step: Callable[[Any], Any], tensors: Any, batch_size: int | None) -> Any:
        """(tensors, order: int64 of shape (examples,)) -> the last step's logs: `step` over the batches of one epoch."""
        examples = int(flat(tensors)[0].shape[0])
        batch = batch_size or examples
        steps = math.ceil(examples / batch)
        one = self._one(name, step, tensors, batch)

        def make() -> Any:
            @tf.function(input_signature=[mapped(_spec, tensors), tf.TensorSpec((examples,), tf.int64)])
            @tf.autograph.experimental.do_not_convert
            def epoch(tensors: Any, order: tf.Tensor) -> Any:
                def at(number: tf.Tensor) -> Any:
                    return one(tensors, order[number * batch : (number + 1) * batch])

                def body(number: tf.Tensor) -> list[tf.Tensor]:
                    at(number)
                    return [number + 1]

                last = tf.while_loop(lambda number: number < steps - 1, body, [tf.constant(0)], parallel_iterations=1)[0]
                return at(last)

            return epoch

        return self._kept((name, batch, _shapes(tensors)), make)

    def _one(self, name: str, step: Callable[[Any], Any], tensors: Any, batch: int) -> Any:
        """(tensors, indices) -> `step` on the batch of these examples."""
        whole = int(flat(tensors)[0].shape[0]) % batch == 0

        def make() -> Any:
            @tf.function(input_signature=[mapped(_spec, tensors), tf.TensorSpec((None,), tf.int64)])
            @tf.autograph.experimental.do_not_convert
            def one(tensors: Any, indices: tf.Tensor) -> Any:
                indices.set_shape([batch if whole else None])  # as `fit` sees it: unknown where the last batch is short
                return step(data_sets.as_fit(mapped(lambda tensor: tf.gather(tensor, indices), tensors)))

            return one

        return self._kept((name, "one", batch, _shapes(tensors)), make)

    def _kept(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]


def _resets_itself(model: Any) -> bool:
    """Whether the metrics can be reset inside a graph: Keras's own; a metric of the user's may do it in Python."""
    own = all(type(metric).__module__.partition(".")[0] == "keras" for metric in looking.metrics_of(model))
    return own and type(model).reset_metrics is keras.Model.reset_metrics


def _spec(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _shapes(tensors: Any) -> str:
    return "" if tensors is None else repr(mapped(_spec, tensors))


def _in_order(tensors: Any) -> tf.Tensor:
    return tf.range(int(flat(tensors)[0].shape[0]), dtype=tf.int64)
