"""Build, fit, evaluate, digest: what happens between an empty record and a finished one.

Imports Keras, so it is imported only when there is something to train.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from omegaconf import DictConfig, OmegaConf

from seedbed import Refused
from seedbed.run import checkpoint, digest, inputs, loop, record
from seedbed.run import data as data_sets
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet
from seedbed.run.record import Record
from seedbed.run.training import called, target

# Keras's own layers whose randomness changes inputs, not activations: governed by `augment`, not by `dropout`.
AUGMENTING = "keras.src.layers.preprocessing."


class Interrupted(Exception):
    """SIGTERM or Ctrl-C, after the checkpoint was written; the argument is the signal's number."""


class NotFinite(Exception):
    """The loss is NaN or infinite; the message names epoch and value."""


def train(
    found: Record, config: DictConfig, seeds: Mapping[str, int], data: DataSet, reload: Callable[[], DataSet],
    said: Callable[[str], None], progress: bool,
) -> None:  # fmt: skip
    """Train into the record `found`: from the beginning, or from its last whole checkpoint.

    reload: makes the data set anew, for pipelines whose state a pass over them has changed.
    Every way to end is written down: status finished, failed or interrupted.
    """
    policy = keras.config.dtype_policy()
    try:
        with streams.global_generators(seeds["python"], seeds["numpy"]):
            _train(found, config, seeds, data, reload, said, progress)
    except Interrupted as stop:
        found.fail(f"stopped by {signal.Signals(stop.args[0]).name}", status=record.INTERRUPTED)
    except NotFinite as bad:
        found.fail(str(bad))
    except tf.errors.UnimplementedError as error:
        if "determinis" not in str(error).lower():
            found.fail(traceback.format_exc())
            raise
        found.fail(str(error))
        raise Refused(_no_deterministic(error.message, config)) from error
    except RuntimeError as error:
        found.fail(traceback.format_exc())
        if "seed to be set when determinism" not in str(error):
            raise
        raise Refused(_no_deterministic(str(error), config)) from error
    except Exception:
        found.fail(traceback.format_exc())
        raise
    finally:
        keras.config.set_dtype_policy(policy)


def _train(
    found: Record, config: DictConfig, seeds: Mapping[str, int], data: DataSet, reload: Callable[[], DataSet],
    said: Callable[[str], None], progress: bool,
) -> None:  # fmt: skip
    model = build(config, seeds, data)
    callbacks = [_callback(name, node, found) for name, node in (config.training.callbacks or {}).items()]
    state = _resumable(found, model, config, data, said)
    if state is None:
        found.keep_epochs(0)
        found.update(digests={"initial_weights": digest.arrays(digest.weights(model))})
    else:
        found.keep_epochs(state.epochs)
        found.resumed_at = state.epochs
        found.update(resumed=[*found.content.get("resumed", []), state.epochs])

    if data_sets.is_ready_made(data.train):
        data = reload()  # the pass that took its fingerprint moved it on
    start = state.epochs if state else 0
    recorder = Recorder(found, config, callbacks, state, seeds, progress)
    begun = time.perf_counter()
    with _stopping(recorder):
        engine = _fit(model, config, seeds, data, [*callbacks, recorder], range(start, config.training.epochs))
    found.update(engine=engine)
    fitted = time.perf_counter()

    digests = {
        "initial_weights": found.digests["initial_weights"],
        "final_weights": digest.arrays(digest.weights(model)),
        "generators": digest.arrays(digest.generators(model)),
        "optimizer": digest.arrays(model.optimizer.variables),
        "history": digest.history(found.history()),
    }
    metrics, predictions = evaluated(model, config, data, reload)
    digests["predictions"] = digest.arrays(data_sets.flat(predictions))
    _save(model, found, said)
    times = {"fit_seconds": fitted - begun, "after_fit_seconds": time.perf_counter() - fitted}
    found.finish(metrics, digests, timing=times, epochs=len(found.history()))


def build(config: DictConfig, seeds: Mapping[str, int], data: DataSet) -> Any:
    """The compiled model with its initial weights drawn from `init`, and its generators set from `dropout` and `augment`.

    As a bare program would: `keras.utils.set_random_seed(seeds["init"])`, then the model function. A model that comes
    compiled stays as it is; else optimizer, loss and metrics are the config's.
    """
    training = config.training
    keras.utils.clear_session(free_memory=False)  # names count on within a process, and metrics can be named after layers
    if training.mixed_precision:
        half = "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
        keras.config.set_dtype_policy(half)
    function = target(config.model, "model")
    with streams.global_generators(seeds["init"], seeds["init"]):
        keras.utils.set_random_seed(seeds["init"])
        model = called(function, "model", spec=data_sets.spec(data))
        if not isinstance(model, keras.Model):
            raise Refused(f"model: {config.model._target_} returned {type(model).__name__}. Accepted: a keras.Model.")
        if not model.compiled:
            _compile(model, config, data)
        if not model.built or not model.optimizer.built:
            batch = inputs.first_batch(data.train, training.batch_size)
            with suppress(NotImplementedError):  # a model with a train_step alone, and no call
                model(data_sets.mapped(tf.convert_to_tensor, batch[0]), training=False)
        model.optimizer.build(model.trainable_variables)
    if training.jit_compile:
        _jit(model, config)
    if training.steps_per_execution > 1:
        model.steps_per_execution = training.steps_per_execution
    govern(model, seeds)
    tf.random.set_seed(seeds["dropout"])  # for models that use TensorFlow's own random operations
    return model


def _compile(model: Any, config: DictConfig, data: DataSet) -> None:
    training = config.training
    classes = data_sets.spec(data).classes
    loss = _named(training.loss, "training.loss") or ("sparse_categorical_crossentropy" if classes else "mean_squared_error")
    metrics = _named(training.metrics, "training.metrics")
    if metrics is None and training.loss is None:
        metrics = ["accuracy"] if classes else ["mean_absolute_error"]
    optimizer = called(target(config.optimizer, "optimizer"), "optimizer")
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise Refused(f"optimizer: {config.optimizer._target_} gave a {type(optimizer).__name__}. Accepted: a keras.optimizers.Optimizer.")
    for name, get in (("loss", keras.losses.get), ("metrics", keras.metrics.get)):
        for word in data_sets.flat(loss if name == "loss" else metrics):
            try:
                get(word)
            except (TypeError, ValueError) as error:
                raise Refused(f"training.{name}={word}: {error}") from error
    try:
        model.compile(
            optimizer=optimizer, loss=loss, metrics=metrics, steps_per_execution=training.steps_per_execution,
            jit_compile=training.jit_compile and not config.determinism.op_determinism,
        )  # fmt: skip
    except ValueError as error:
        raise Refused(f"training.loss={training.loss} or training.metrics={training.metrics}: {error}") from error


def _jit(model: Any, config: DictConfig) -> None:
    """Compile the model's steps with XLA, also where Keras would leave it out with a warning."""
    if config.determinism.op_determinism and tf.config.list_physical_devices("GPU"):
        raise Refused(
            "training.jit_compile=true at this level has not been shown to repeat on a GPU. Accepted: determinism=seeded, or false."
        )
    # Keras 3.15 (model_supports_jit) switches XLA off under op determinism. On a CPU its results repeat: a test compares
    # fresh processes.
    model._jit_compile = True


def _named(node: Any, name: str) -> Any:
    """A loss or metrics from the config: Keras names stay, `_target_`s are called, lists and dicts (one an output) mapped."""
    if isinstance(node, DictConfig) and "_target_" in node:
        return called(target(node, name), name)
    if isinstance(node, DictConfig):
        return {str(key): _named(value, f"{name}.{key!s}") for key, value in node.items()}
    if OmegaConf.is_list(node):
        return [_named(value, name) for value in node]
    return node


def govern(model: Any, seeds: Mapping[str, int]) -> None:
    """Set every seed generator of the model: generator number i of its kind from child i of `dropout` or `augment`.

    Also those that were given a `seed` of their own in code: else a study over seeds would repeat the same masks.
    """
    counts = {"dropout": 0, "augment": 0}
    done: set[int] = set()
    for layer in model._flatten_layers():
        kind = "augment" if any(base.__module__.startswith(AUGMENTING) for base in type(layer).__mro__) else "dropout"
        for variable in layer.variables:
            owned = digest.is_generator(variable) and not any(variable is v for inner in layer._layers for v in inner.variables)
            if owned and id(variable) not in done:
                done.add(id(variable))
                variable.assign([streams.words(seeds[kind], counts[kind])[0], 0])
                counts[kind] += 1


def _fit(model: Any, config: DictConfig, seeds: Mapping[str, int], data: DataSet, callbacks: list[Any], epochs: range) -> str:
    """Fit by the engine that the config names, or by the fastest that can do it; returns its name."""
    training = config.training
    why_not = loop.obstacle(model, config, data, callbacks)
    if training.engine == "loop" and why_not:
        raise Refused(f"training.engine=loop can't train this: {why_not}. Accepted: auto, fit.")
    if training.engine != "fit" and not why_not:
        loop.fit(model, data, seeds, epochs, training.batch_size, training.shuffle, callbacks)
        return "loop"
    feed = inputs.training(data.train, seeds, epochs, training.batch_size, training.shuffle, training.steps_per_epoch, config.data.input)
    weights = dict(training.class_weight or {})
    outputs = data_sets.spec(data).outputs
    if weights and (set(weights) != set(range(outputs)) or not all(isinstance(value, int | float) for value in weights.values())):
        raise Refused(f"training.class_weight={weights} is not accepted. Accepted: a number for each of the classes 0 … {outputs - 1}.")
    validation = None if data.validation is None else inputs.held_out(data.validation, training.batch_size)
    model.fit(
        feed.x, epochs=epochs.stop, initial_epoch=epochs.start, steps_per_epoch=feed.steps, callbacks=callbacks, shuffle=False,
        class_weight=weights or None, verbose=0, validation_data=validation,
    )  # fmt: skip
    return "fit"


def evaluated(model: Any, config: DictConfig, data: DataSet, reload: Callable[[], DataSet]) -> tuple[dict[str, float], Any]:
    """(metrics, predictions): metrics on the held-out parts, `test_loss` and so on, or on the training part if there is
    none; predictions on the test part, else the validation part, else the training part."""
    parts = {name: part for name, part in data.parts().items() if name != "train"}
    if not parts:
        parts = {"train": reload().train if data_sets.is_ready_made(data.train) else data.train}
    metrics: dict[str, float] = {}
    predictions = None
    for name, part in parts.items():
        steps = config.training.steps_per_epoch if name == "train" and data_sets.is_ready_made(part) else None
        values = model.evaluate(inputs.held_out(part, config.training.batch_size, steps), verbose=0, return_dict=True)
        if name == "train" and data_sets.is_ready_made(part):
            part = reload().train  # evaluating moved it on
        predictions = model.predict(inputs.held_out(part, config.training.batch_size, steps), verbose=0)
        metrics.update({f"{name}_{metric}": float(value) for metric, value in _flat_logs(values).items()})
    return metrics, predictions


def _flat_logs(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Logs with a metric that has several values (`f1_0`, `f1_1`) or names (nested dicts) written out one by one."""
    flat: dict[str, Any] = {}
    for name, value in logs.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}_{inner}": leaf for inner, leaf in _flat_logs(value).items()}
        elif np.ndim(value):
            flat |= {f"{name}_{i}": leaf for i, leaf in enumerate(np.ravel(value))}
        else:
            flat[name] = value
    return flat


class Recorder(keras.callbacks.Callback):
    """Writes each epoch into the record, checkpoints when it is due, stops on NaN, on SIGTERM and on Ctrl-C.

    The last callback of the list: what the others do at an epoch's end is in the checkpoint.
    """

    def __init__(
        self,
        found: Record,
        config: DictConfig,
        callbacks: list[Any],
        state: checkpoint.State | None,
        seeds: Mapping[str, int],
        progress: bool,
    ) -> None:
        super().__init__()
        self.record, self.config, self.others, self.state, self.seeds = found, config, callbacks, state, seeds
        self.stop_signal: int | None = None
        self.saved_at = time.monotonic()
        self.cannot_save: str | None = None
        self.bar = _Bar(config.training.epochs) if progress else None

    def on_train_begin(self, logs: Any = None) -> None:
        if self.state is not None:  # after the other callbacks' on_train_begin, which resets them
            checkpoint.put_callbacks(self.others, self.state)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        metrics = {name: float(value) for name, value in _flat_logs(logs or {}).items()}
        self.record.append_epoch(epoch, metrics)
        for name in ("loss", "val_loss"):
            if name in metrics and not math.isfinite(metrics[name]):
                raise NotFinite(f"{name} is {metrics[name]} in epoch {epoch + 1}: the run has failed. Try a smaller learning rate "
                                "(optimizer.learning_rate=…) or look at the data.")  # fmt: skip
        if self.bar:
            self.bar.show(epoch, metrics)
        if self.stop_signal is not None or self._due(epoch + 1):
            self._checkpoint(epoch + 1)
        if self.stop_signal is not None and not self.model.stop_training and epoch + 1 < self.config.training.epochs:
            raise Interrupted(self.stop_signal)

    def on_train_end(self, logs: Any = None) -> None:
        if self.bar:
            self.bar.close()

    def _due(self, epochs: int) -> bool:
        rule = self.config.checkpoint
        if epochs == self.config.training.epochs or self.model.stop_training:
            return False  # the record itself follows at once
        return bool(rule.every_epochs and epochs % rule.every_epochs == 0) or time.monotonic() - self.saved_at >= rule.every_seconds

    def _checkpoint(self, epochs: int) -> None:
        self.saved_at = time.monotonic()
        try:
            state = checkpoint.take(self.model, self.others, epochs)
        except checkpoint.CannotSave as error:
            if self.cannot_save is None:
                self.cannot_save = str(error)
                self.record.update(not_resumable=self.cannot_save)
            return
        checkpoint.write(self.record.path / "checkpoints", state, self.config.checkpoint.keep)


def _resumable(found: Record, model: Any, config: DictConfig, data: DataSet, said: Callable[[str], None]) -> checkpoint.State | None:
    """The checkpoint to go on from, its variables put into the model; None: from the beginning, and why, if it is news."""
    folder = found.path / "checkpoints"
    if not folder.exists():
        return None
    state, damaged = checkpoint.read_newest(folder)
    for line in damaged:
        said(f"{line}; the one before it is used." if state else f"{line}; training starts from the beginning.")
    if state is None:
        return None
    if hidden := loop.hidden_state(model, inputs.first_batch(data.train, config.training.batch_size)):
        said(f"This model keeps state that no checkpoint holds ({hidden}): training starts from the beginning.")
        return None
    checkpoint.put_variables(model, state)
    return state


@contextmanager
def _stopping(recorder: Recorder) -> Iterator[None]:
    """SIGTERM and the first Ctrl-C stop at the end of the epoch, with a checkpoint; a second Ctrl-C at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        if recorder.stop_signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        recorder.stop_signal = number

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bar:
    """A progress bar on standard error, from two seconds on: short runs stay quiet."""

    def __init__(self, epochs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self.progress = Progress(*columns, console=Console(file=sys.stderr), transient=True)
        self.task = self.progress.add_task("", total=epochs)
        self.since, self.started = time.monotonic(), False

    def show(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if not self.started and time.monotonic() - self.since > 2:
            self.progress.start()
            self.started = True
        if self.started:
            text = "  ".join(f"{name} {value:.4g}" for name, value in list(metrics.items())[:4])
            self.progress.update(self.task, completed=epoch + 1, description=text)

    def close(self) -> None:
        self.progress.stop()


def _callback(name: str, node: Any, found: Record) -> Any:
    """A callback from the config; `{record}` in its arguments stands for the record's folder."""
    where = f"training.callbacks.{name}"
    if not isinstance(node, DictConfig):
        raise Refused(f"{where}={node} is not accepted. Accepted: a _target_ and its arguments, for example "
                      f"{where}={{_target_: keras.callbacks.EarlyStopping, patience: 3}}.")  # fmt: skip
    copy = OmegaConf.create(OmegaConf.to_yaml(node, resolve=True).replace("{record}", str(found.path)))
    callback = called(target(copy, where), where)
    if not isinstance(callback, keras.callbacks.Callback):
        raise Refused(f"{where}: {type(callback).__name__} is no keras.callbacks.Callback.")
    return callback


def _save(model: Any, found: Record, said: Callable[[str], None]) -> None:
    """The trained model as Keras saves it; as arrays where a custom class can't be saved."""
    try:
        model.save(found.path / "model.keras")
    except Exception as error:  # whatever a user's get_config raises
        (found.path / "model.keras").unlink(missing_ok=True)
        np.savez(
            found.path / "weights.npz", *[np.asarray(v, dtype="float32" if "bfloat16" in str(v.dtype) else None) for v in model.weights]
        )
        said(f"Keras can't save this model as a whole ({type(error).__name__}: {error}); its weights are in weights.npz.")


def _no_deterministic(message: str, config: DictConfig) -> str:
    return (
        f"determinism={config.determinism.level} can't be kept by an operation of this model or its data:\n  {message.strip()}\n"
        "Use another operation, or a weaker level: determinism=seeded."
    )
