"""From the config to a compiled model: built under `init`, its generators governed by `dropout` and `augment`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common import global_state  # no public way to these in Keras 3.15
from keras.src.random.seed_generator import global_seed_generator
from omegaconf import DictConfig, OmegaConf

from seedbed import Refused
from seedbed.run import backend, determinism, digest, inputs, looking, strategy
from seedbed.run import data as data_sets
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet
from seedbed.run.numpy_draws import drawn_in_numpy
from seedbed.run.py_dataset import as_tuple
from seedbed.run.record import Record
from seedbed.run.targets import called, target

# Keras's own layers whose randomness changes inputs, not activations: governed by `augment`, not by `dropout`.
AUGMENTING = "keras.src.layers.preprocessing."


def build(
    config: DictConfig, seeds: Mapping[str, int], data: DataSet, came_compiled: Callable[[dict[str, Any]], None] = lambda used: None
) -> Any:  # fmt: skip
    """The compiled model with its initial weights drawn from `init`, and its generators set from `dropout` and `augment`.

    As a bare program would: `keras.utils.set_random_seed(seeds["init"])`, then the model function. A model that comes
    compiled stays as it is, and `came_compiled` gets what it is trained with; else optimizer, loss and metrics are the config's.
    """
    training = config.training
    if training.jit_compile and backend.current() == "torch":
        raise Refused("training.jit_compile=true has not been shown to work with backend=torch. Accepted: false.")
    determinism.apply_to_keras()
    keras.utils.clear_session(free_memory=False)  # names count on within a process, and metrics can be named after layers
    if training.mixed_precision:
        half = "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
        keras.config.set_dtype_policy(half)
    function = target(config.model, "model")
    numpy = drawn_in_numpy(config.seeds.generator == "numpy")
    with streams.global_generators(seeds["init"], seeds["init"]), numpy, strategy.scope(config):
        keras.utils.set_random_seed(seeds["init"])
        model = called(function, "model", spec=data_sets.spec(data))
        if not isinstance(model, keras.Model):
            raise Refused(f"model: {config.model._target_} returned {type(model).__name__}. Accepted: a keras.Model.")
        if model.compiled:
            came_compiled(_compiled_with(model))
        else:
            _compile(model, config, data)
        if not model.built or not model.optimizer.built:
            batch = inputs.first_batch(data.train, training.batch_size)
            if can_be_called(model):
                model(data_sets.mapped(backend.tensor, as_tuple(batch)[0]), training=False)
            elif backend.is_tensorflow():
                looking.traced(model, batch)
                model.built = True
            else:
                raise Refused(f"{type(model).__name__} has no `call`: such a model can be trained with backend=tensorflow alone.")
        model.optimizer.build(model.trainable_variables)
        if config.strategy.name != "single":
            strategy.prepare(model, data_sets.mapped(backend.tensor, inputs.first_batch(data.train, training.batch_size)))
        if config.strategy.name == "multi_worker":
            from seedbed.run.together import lifted

            lifted(model)
    if training.jit_compile and backend.is_tensorflow():
        _jit(model, config)
    if training.steps_per_execution > 1:
        model.steps_per_execution = training.steps_per_execution
    govern(model, seeds)
    return model


def imported(config: DictConfig) -> None:
    """Import what holds the model function and the callbacks, in the order in which a run does."""
    target(config.model, "model")
    for name, node in (config.training.callbacks or {}).items():
        if isinstance(node, DictConfig):
            target(node, f"training.callbacks.{name}")


def global_generator() -> Any:
    """Keras's global seed generator, from which layers draw that have none of their own; a new one for each build."""
    return global_seed_generator()


def put_global_generator(generator: Any) -> None:
    global_state.set_global_attribute("global_seed_generator", generator)


def can_be_called(model: Any) -> bool:
    """Whether the model has a `call`; one with a `train_step` alone (a GAN, a VAE) trains, and can't be evaluated."""
    return type(model).call is not keras.Model.call


def _compiled_with(model: Any) -> dict[str, Any]:
    """Optimizer, loss and metrics of a compiled model, as JSON: numbers and texts as they are, other things by name."""
    optimizer, config = model.optimizer, getattr(model, "_compile_config", None)  # no public way to it in Keras 3.15
    said = dict(config.config or {}) if config is not None else {}
    settings = optimizer.get_config() if hasattr(optimizer, "get_config") else {}
    plain = {name: value if isinstance(value, bool | int | float | str | None) else str(value) for name, value in settings.items()}
    return {"optimizer": {"class": type(optimizer).__name__, **plain}, **{part: _name(said.get(part)) for part in ("loss", "metrics")}}


def _name(part: Any) -> Any:
    """A loss or metric, or a list or mapping of them, by name."""
    if isinstance(part, Mapping):
        return {str(key): _name(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_name(value) for value in part]
    return part if part is None or isinstance(part, str) else str(getattr(part, "name", None) or getattr(part, "__name__", part))


def _compile(model: Any, config: DictConfig, data: DataSet) -> None:
    training = config.training
    classes, supervised = data_sets.spec(data).classes, data_sets.has_targets(data)
    for array in data_sets.targets(data.train):
        if array.dtype.kind in "SU":
            raise Refused(f"The targets are text, for example {array.flat[0]!r}. Accepted: numbers. For classes, the position of each name "
                          "in a sorted list of them, as integers (data=csv does it for a target column of text).")  # fmt: skip
    loss, metrics = _named(training.loss, "training.loss"), _named(training.metrics, "training.metrics")
    if loss and not supervised:
        raise Refused(f"training.loss={training.loss} compares with targets, and the data function returned inputs alone. "
                      "Accepted: null (the model's own loss: add_loss, or a train_step of its own), or data with targets.")  # fmt: skip
    if metrics is None and loss is None and supervised:
        metrics = ["accuracy"] if classes else ["mean_absolute_error"]
    if loss is None and supervised:
        loss = "sparse_categorical_crossentropy" if classes else "mean_squared_error"
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
            jit_compile=backend.current() == "jax" or (training.jit_compile and not config.determinism.op_determinism),
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
    # for layers that draw without a generator of their own (`keras.random.normal(shape)`)
    backend.set_generator(global_seed_generator().state, streams.words(seeds["dropout"], 0, 0)[0])
    for layer in model._flatten_layers():
        kind = "augment" if any(base.__module__.startswith(AUGMENTING) for base in type(layer).__mro__) else "dropout"
        for variable in layer.variables:
            owned = digest.is_generator(variable) and not any(variable is v for inner in layer._layers for v in inner.variables)
            if owned and id(variable) not in done:
                done.add(id(variable))
                backend.set_generator(variable, streams.words(seeds[kind], counts[kind])[0])
                counts[kind] += 1


def callback(name: str, node: Any, found: Record) -> Any:
    """A callback from the config; `{record}` in its arguments stands for the record's folder."""
    where = f"training.callbacks.{name}"
    if not isinstance(node, DictConfig):
        raise Refused(f"{where}={node} is not accepted. Accepted: a _target_ and its arguments, for example "
                      f"{where}={{_target_: keras.callbacks.EarlyStopping, patience: 3}}.")  # fmt: skip
    plain = OmegaConf.to_container(node, resolve=True)
    placed = data_sets.mapped(lambda leaf: leaf.replace("{record}", str(found.path)) if isinstance(leaf, str) else leaf, plain)
    found_callback = called(target(OmegaConf.create(placed), where), where)
    if isinstance(found_callback, keras.callbacks.BackupAndRestore):
        raise Refused(f"{where}: seedbed does this itself, and exactly (checkpoint.every_seconds, checkpoint.every_epochs): leave it out.")
    if not isinstance(found_callback, keras.callbacks.Callback):
        raise Refused(f"{where}: {type(found_callback).__name__} is no keras.callbacks.Callback.")
    return found_callback
