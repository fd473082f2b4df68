"""The model that is tested, as training sees it: built as often as wanted, its batches, its whole state, its train step."""

from __future__ import annotations

import copy
import fnmatch
import functools
import itertools
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.contract import ENTROPY, Limits, Skipped
from seedbed.run import building, checkpoint, determinism, digest, inputs, looking, recorder, state, training
from seedbed.run import config as configs
from seedbed.run import seeds as streams
from seedbed.run.targets import target

# How far outputs may be from one another where bits aren't promised, in parts of them: sums are split otherwise.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Made:
    """A variable at its creation: what filled it, and its bits."""

    initializer: Any
    bits: str


@dataclass
class Built:
    """A model, and all that it was when it was built.

    weights: name (path and layer class), and value, of each of `model.weights`. made: by `id` of the variable.
    generator: Keras's global one, from which layers draw that have none of their own. held: what a checkpoint holds of the
    model and its optimizers. start: the values of that.
    """

    model: Any
    weights: list[tuple[str, np.ndarray]]
    made: dict[int, Made]
    generator: Any
    held: list[Any]
    start: list[np.ndarray]

    @property
    def names(self) -> dict[int, str]:
        """The name of each weight by its `id`."""
        return {id(weight): name for weight, (name, _) in zip(self.model.weights, self.weights, strict=False)}


class Subject:
    """A config's model and the first batches of its first epoch."""

    def __init__(self, config: DictConfig, limits: Limits) -> None:
        configs.check(config)
        if limits.batches < 1:
            raise Refused(f"batches = {limits.batches} is not accepted. Accepted: 1 or more.")
        self.config, self.limits = config, limits
        level = determinism.of(config)
        determinism.check(level)
        self.bits = level["level"] not in ("off", "seeded")  # whether the level promises them
        self.seeds = training.resolved_seeds(config, ENTROPY)
        level["environment"]["PYTHONHASHSEED"] = str(self.seeds["hash"])
        determinism.apply(level)
        self.data = training.prepared(config, target(config.data.source, "data.source"), self.seeds, level)
        part = config.training
        feed = inputs.training(
            self.data.train, self.seeds, range(1), part.batch_size, part.shuffle, part.steps_per_epoch, config.data.input
        )  # fmt: skip
        self.steps = min(limits.batches, feed.steps)  # of an epoch of the runs
        self.batches = list(feed.x.take(self.steps))

    @functools.cached_property
    def built(self) -> Built:
        """The model that all phases look at."""
        return self.build()

    def build(self, **seeds: int) -> Built:
        """A new model, as a run builds it; `seeds` are other values of streams."""
        config = copy.deepcopy(self.config)
        for name, value in seeds.items():
            config.seeds[name] = value
        with _creations() as made:
            model = building.build(config, {**self.seeds, **seeds}, self.data)
        held = [*checkpoint.model_variables(model), *checkpoint.optimizer_variables(model)]
        kinds = {id(variable): type(layer).__name__ for layer in model._flatten_layers() for variable in layer.variables}
        weights = [(f"{weight.path} ({kinds.get(id(weight), 'Model')})", state.array(weight)) for weight in model.weights]
        noted, start = {id(variable): what for variable, what in made}, [state.array(variable) for variable in held]
        return Built(model, weights, noted, building.global_generator(), held, start)

    def begin(self, built: Built) -> None:
        """Put `built` back to where it began, with its generators, and the global ones to where training begins."""
        building.put_global_generator(built.generator)
        for variable, value in zip(built.held, built.start, strict=True):
            variable.assign(value)
        for layer in recurring(built.model):
            layer.reset_states()
        streams.put_generator_states(self.generators)
        tf.random.set_seed(self.seeds["dropout"])  # as a run does, for models that use TensorFlow's own random operations

    @functools.cached_property
    def generators(self) -> Any:
        with streams.global_generators(self.seeds["python"], self.seeds["numpy"]):
            return streams.generator_states()

    def train(self, built: Built, batches: Sequence[Any]) -> list[dict[str, float]]:
        """The logs of a train step on each of `batches`, from the start, by the train function that `fit` would call."""
        self.begin(built)
        model = built.model
        if model.train_function is None:
            model.steps_per_execution = 1
            model.make_train_function()
        rows = []
        for batch in batches:
            model.reset_metrics()
            logs = model._get_metrics_result_or_logs(model.train_function(iter(tf.data.Dataset.from_tensors(batch))))
            rows.append({name: float(value) for name, value in recorder.flat_logs(logs).items()})
        return rows

    def cycled(self, count: int) -> list[Any]:
        return list(itertools.islice(itertools.cycle(self.batches), count))

    def inputs(self) -> Any:
        """The inputs of the first batch."""
        batch = self.batches[0]
        return batch[0] if isinstance(batch, tuple | list) else batch

    def hidden(self, built: Built) -> str | None:
        """State of the model's that nothing can put back: without it no two train steps need be alike."""
        building.put_global_generator(built.generator)
        return looking.hidden_state(built.model, self.batches[0])

    def alike(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two outputs are the same: to the bit, where the level promises that."""
        if self.bits or a.dtype.kind not in "fV" or a.shape != b.shape:
            return same(a, b)
        return bool(np.allclose(a.astype("float32"), b.astype("float32"), rtol=TOLERANCE, atol=1e-6))

    def judged(self, name: str) -> bool:
        """Whether a weight is to be judged, or one of `exempt`: patterns of a path or of its end."""
        path = name.partition(" ")[0]
        return not any(fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path, f"*/{pattern}") for pattern in self.limits.exempt)

    def trainable(self, built: Built) -> list[tuple[str, Any]]:
        """Name and variable of each trainable weight that is judged; Skipped if there is none, or none that a step trains."""
        if overrides(built.model, "fit"):
            raise Skipped(f"{type(built.model).__name__} trains by a `fit` of its own.")
        found = [(built.names.get(id(weight), weight.path), weight) for weight in built.model.trainable_weights]
        if not found:
            raise Skipped("The model has no trainable weights.")
        return [(name, weight) for name, weight in found if self.judged(name)]


def overrides(model: Any, *names: str) -> set[str]:
    """Those of `names` that the model's class has a way of its own for."""
    return {name for name in names if getattr(type(model), name) is not getattr(keras.Model, name)}


def recurring(model: Any) -> list[Any]:
    """Recurrent layers that go on from batch to batch."""
    return [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False) and hasattr(layer, "reset_states")]


def names_used(thing: Any) -> set[str]:
    """The names that the code of a function, or of an object's class and its bases, uses; Keras's own code left out."""
    kinds = [kind for kind in type(thing).__mro__ if kind.__module__.partition(".")[0] not in ("keras", "builtins")]
    made = [thing, *(one for kind in kinds for one in vars(kind).values())]
    codes, names = [one.__code__ for one in made if isinstance(one, types.FunctionType)], set[str]()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return names


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same bits."""
    return digest.arrays([a]) == digest.arrays([b])


def finite(array: np.ndarray) -> bool:
    """Whether floating-point numbers are finite; anything else is."""
    return array.dtype.kind not in "fV" or bool(np.isfinite(array.astype("float32")).all())


@contextmanager
def _creations() -> Iterator[list[tuple[Any, Made]]]:
    """Note each variable that an initializer fills meanwhile."""
    found: list[tuple[Any, Made]] = []
    fill = keras.Variable._initialize_with_initializer  # no public way in Keras 3.15

    def noting(variable: Any, initializer: Any) -> None:
        fill(variable, initializer)
        if variable._value is not None and tf.executing_eagerly():
            found.append((variable, Made(initializer, digest.arrays([state.array(variable)]))))

    keras.Variable._initialize_with_initializer = noting
    try:
        yield found
    finally:
        keras.Variable._initialize_with_initializer = fill
