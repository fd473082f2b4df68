"""What happens inside a step, as hashes: the batch, each layer's output, the loss, each gradient, each update.

Hashes are computed in the graph itself, where the values are: 32-bit integer arithmetic, whose sums have the same bits in any
order and which every device and XLA can do. Nothing of the user's model is changed: Keras's own `__call__` of layers, the
optimizer's `apply` and the model's steps are wrapped while a step is being traced.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seedbed.proof.hashing import hashed
from seedbed.run import checkpoint, portable

LAYER = keras.layers.Layer
PHASES = {"train": "train_step", "test": "test_step", "predict": "predict_step"}

# Elements of a variable of the optimizer's that is looked at when a step begins, since something between steps may have changed
# it: the learning rate and the number of steps, not the moments.
SMALL = 64

# Variables are made before a step is traced: `tf.function` lets none be made in a second tracing. Points inside of loops and
# branches beyond so many are left out, and so are points of a step under XLA.
MOST_INSIDE = 200
MOST_XLA = 8000


@dataclass
class Traced:
    """One tracing of a step: the names of its points, and their hashes (and values) as tensors of its graph."""

    graph: Any
    names: list[str] = field(default_factory=list)
    hashes: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    met: set[int] = field(default_factory=set)  # tensors that are points already
    seen: dict[str, int] = field(default_factory=dict)
    held: list[Any] = field(default_factory=list)  # so that no id is used twice


class Steps:
    """Traces the steps of a model from when it is installed on.

    rows: by phase (train, test, predict), for each step the names of its points and their hashes. budget: bytes of values that
    are kept beside them, of the first steps; the files `<phase>-<step>.npz` in `folder`. only: the one training step whose
    values are kept, whatever their size.
    """

    def __init__(self, model: Any, folder: Path, budget: int = 0, only: int | None = None) -> None:
        self.model, self.folder, self.budget, self.only = model, folder, budget, only
        self.rows: dict[str, list[tuple[tuple[str, ...], np.ndarray]]] = {phase: [] for phase in PHASES}
        self.active: Traced | None = None
        self.inner: dict[str, tf.Variable] = {}  # points inside of loops: what has come by adds up in a variable
        self.free = [tf.Variable(0, dtype=tf.int32, trainable=False) for _ in range(MOST_INSIDE)]
        self.jit = bool(model.jit_compile)  # XLA calls no Python: the last step's row is in a variable
        self.xla = {phase: tf.Variable(tf.zeros(MOST_XLA, tf.int32), trainable=False) for phase in PHASES if self.jit}
        self.xla_names: dict[str, tuple[str, ...]] = {}

    def install(self, engine: Any) -> None:
        """Wrap the model's steps and its optimizers, and have whatever was traced before traced anew."""
        for phase, name in PHASES.items():
            setattr(self.model, name, functools.partial(self._step, phase, getattr(self.model, name)))
        self.model.compute_loss = functools.partial(self._loss, self.model.compute_loss)
        for optimizer in checkpoint.optimizers(self.model):
            optimizer.apply = functools.partial(self._apply, optimizer, optimizer.apply)
        _wrap_layers(self)
        _wrap_tapes(self)
        engine.made.clear()
        if self.model.train_function is not None:
            self.model.make_train_function(force=True)
        self.model.test_function = self.model.predict_function = None

    def flush(self, phase: str) -> list[tuple[tuple[str, ...], np.ndarray]]:
        found, self.rows[phase] = self.rows[phase], []
        return found

    def after_batch(self, phase: str) -> None:
        """Under XLA: the row of the step that has just ended."""
        if phase in self.xla_names:
            names = self.xla_names[phase]
            self.rows[phase].append((names, self.xla[phase].numpy()[: len(names)]))

    # --- what is wrapped -------------------------------------------------------------------------------------------------

    def _step(self, phase: str, step: Callable[[Any], Any], data: Any) -> Any:
        before, self.active = self.active, Traced(None if tf.executing_eagerly() else tf.compat.v1.get_default_graph())
        traced = self.active
        try:
            self.point("batch", _structure(data))
            watched = [*self.model.variables, *checkpoint.optimizer_variables(self.model)] if phase == "train" else []
            if phase == "train":
                self.together("start", "weights", self.model.weights)
                small = [variable for variable in checkpoint.optimizer_variables(self.model) if np.prod(variable.shape) <= SMALL]
                self.together("start", "optimizer", small)
            logs = step(data)
            if phase == "train":
                updated = {name.removeprefix("update ") for name in traced.names if name.startswith("update ")}
                self.point("state", {variable.path: variable for variable in watched if variable.path not in updated})
            self.point("logs", logs if isinstance(logs, dict) else {phase: logs})
            self._row(phase, traced)
        finally:
            self.active = before
        return logs

    def _loss(self, compute: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        loss = compute(*arguments, **named)
        self.point("loss", {"": loss})
        return loss

    def _apply(self, optimizer: Any, apply: Callable[..., Any], grads: Any, trainable_variables: Any = None) -> Any:
        if self.active is None:
            return apply(grads, trainable_variables)
        grads = list(grads)
        variables = list(trainable_variables if trainable_variables is not None else optimizer._trainable_variables)
        # as backpropagation comes by them: the layer next to the loss first
        for gradient, variable in reversed(list(zip(grads, variables, strict=True))):
            self.point("gradient", {variable.path: gradient})
        done = apply(grads, trainable_variables)
        self.point("update", {variable.path: variable for variable in variables})
        return done

    def computed(self, sources: Any, gradients: Any) -> None:
        """What a tape has computed, of the model's weights."""
        if self.active is None:
            return
        paths = {id(one): weight.path for weight in self.model.trainable_variables for one in (weight, weight.value)}
        pairs = zip(_flat(sources), _flat(gradients), strict=False)
        for source, gradient in reversed(list(pairs)):  # the layer next to the loss first
            if id(source) in paths and gradient is not None:
                self.point("computed", {paths[id(source)]: gradient})

    def called(self, layer: Any, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """A layer's (or operation's) call, with its input and its output as points."""
        if self.active is None or isinstance(layer, keras.layers.InputLayer):
            return call(layer, *arguments, **named)
        name = str(getattr(layer, "path", None) or layer.name)
        self.point("input", {name: [arguments, named]}, again=False)
        if arguments and tf.is_tensor(arguments[0]):  # the input: what comes back from it is this layer's alone
            arguments = (self._seen_backwards(name, arguments[0]), *arguments[1:])
        outputs = call(layer, *arguments, **named)
        self.point("output", {name: outputs})
        return outputs

    def _seen_backwards(self, name: str, tensor: Any) -> Any:
        """The tensor itself, whose gradient is a point."""
        if not tensor.dtype.is_floating:
            return tensor

        @tf.custom_gradient
        def through(value: Any) -> Any:
            def backwards(gradient: Any) -> Any:
                self.point("backward", {name: gradient})
                return gradient

            return tf.identity(value), backwards

        seen = through(tensor)
        if hasattr(tensor, "_keras_mask"):  # Keras hands masks on as an attribute
            seen._keras_mask = tensor._keras_mask
        if self.active is not None:
            self.active.met.add(id(seen))
            self.active.held.append(seen)
        return seen

    # --- points ----------------------------------------------------------------------------------------------------------

    def together(self, kind: str, name: str, tensors: Sequence[Any]) -> None:
        """One point for many tensors."""
        total = tf.constant(0, tf.int32)
        for tensor in tensors:
            total = total * 31 + hashed(tf.convert_to_tensor(tensor))
        self._add(f"{kind} {name}", total, None)

    def point(self, kind: str, values: dict[str, Any], again: bool = True) -> None:
        """A point for each tensor in `values`. again: also those that are a point already, under another name."""
        traced = self.active
        if traced is None:
            return
        for name, value in values.items():
            leaves = [leaf for leaf in tf.nest.flatten(_plain(value), expand_composites=True) if tf.is_tensor(leaf)]
            for number, leaf in enumerate(leaves):
                if leaf.dtype in (tf.resource, tf.variant) or (not again and id(leaf) in traced.met):
                    continue
                traced.met.add(id(leaf))
                traced.held.append(leaf)
                label = f"{kind} {name}" + (f" [{number}]" if len(leaves) > 1 else "")
                count = traced.seen[label] = traced.seen.get(label, 0) + 1
                label += f" #{count}" if count > 1 else ""
                if traced.graph is not None and tf.compat.v1.get_default_graph() is not traced.graph:
                    self._inside(label, leaf)
                elif getattr(leaf, "graph", traced.graph) is not traced.graph:
                    continue  # of a graph that this one can't use
                else:
                    self._add(label, hashed(leaf), leaf)

    def _add(self, label: str, value: Any, tensor: Any) -> None:
        assert self.active is not None
        self.active.names.append(label)
        self.active.hashes.append(value)
        self.active.values.append(tensor)

    def _inside(self, label: str, leaf: Any) -> None:
        """A point in the body of a loop or a branch, whose tensors can't leave it."""
        assert self.active is not None
        if label not in self.inner:
            if not self.free:
                return
            self.inner[label] = self.free.pop()
        variable = self.inner[label]
        variable.assign(variable * 31 + hashed(leaf))
        if label not in self.active.names:
            self._add(label, variable, None)

    def _row(self, phase: str, traced: Traced) -> None:
        names = tuple(traced.names)
        row = tf.stack([tf.convert_to_tensor(value) for value in traced.hashes])
        if self.jit:
            self.xla_names[phase] = names[:MOST_XLA]
            self.xla[phase].assign(tf.pad(row[:MOST_XLA], [[0, max(0, MOST_XLA - len(names))]]))
            return
        kept = [(name, value) for name, value in zip(names, traced.values, strict=True) if value is not None]
        wanted = kept if self.budget or self.only is not None else []

        def take(row: np.ndarray, *values: np.ndarray) -> None:
            self._take(phase, names, row, [name for name, _ in wanted], values)

        tf.numpy_function(take, [row, *(value for _, value in wanted)], [], name=portable.OURS)

    def _take(self, phase: str, names: tuple[str, ...], row: np.ndarray, kept: list[str], values: Sequence[np.ndarray]) -> None:
        number = len(self.rows[phase])
        self.rows[phase].append((names, np.array(row)))
        size = sum(value.nbytes for value in values)
        if not kept or (number != self.only if self.only is not None else size > self.budget):
            return
        file = self.folder / f"{phase}-{number:06d}.npz"
        if file.exists():
            return  # of the first epoch that was traced
        self.budget -= size
        self.folder.mkdir(exist_ok=True)
        plain: dict[str, Any] = {
            str(i): value.astype("float32") if "bfloat16" in str(value.dtype) else value
            for i, value in enumerate(values)
            if value.dtype.kind != "O"
        }
        np.savez(file, names=np.array(kept), **plain)


_INSTALLED: list[Steps] = []


def _wrap_layers(steps: Steps) -> None:
    """Have all layers' and operations' calls seen, once a process."""
    first, _INSTALLED[:] = not _INSTALLED, [steps]
    if not first:
        return
    for kind in (LAYER, keras.Operation):
        call = kind.__call__

        def seen(self: Any, *arguments: Any, _call: Any = call, _kind: Any = kind, **named: Any) -> Any:
            if _kind is keras.Operation and isinstance(self, LAYER):
                return _call(self, *arguments, **named)
            return _INSTALLED[0].called(self, _call, *arguments, **named)

        kind.__call__ = functools.wraps(call)(seen)


def _wrap_tapes(steps: Steps) -> None:
    """Have the gradients that tapes compute seen, once a process."""
    compute = tf.GradientTape.gradient
    if hasattr(compute, "__wrapped__"):
        return

    @tf.autograph.experimental.do_not_convert
    @functools.wraps(compute)
    def gradient(self: Any, target: Any, sources: Any, *arguments: Any, **named: Any) -> Any:
        found = compute(self, target, sources, *arguments, **named)
        _INSTALLED[0].computed(sources, found)
        return found

    tf.GradientTape.gradient = gradient


def _flat(value: Any) -> list[Any]:
    """The leaves of nested lists and dicts; a variable, a sparse gradient and None are leaves."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in _flat(value[key])]
    return [leaf for item in value for leaf in _flat(item)] if isinstance(value, list | tuple) else [value]


def _structure(data: Any) -> dict[str, Any]:
    """A batch as named arrays: x, y, sample_weight, and what they are made of."""
    parts = data if isinstance(data, tuple | list) else (data,)
    named: dict[str, Any] = {}
    for name, part in zip(("x", "y", "sample_weight"), parts, strict=False):
        if isinstance(part, dict):
            named |= {f"{name}.{key}": part[key] for key in sorted(part)}
        elif part is not None:
            named[name] = part
    return named


def _plain(value: Any) -> Any:
    """Variables as the tensors that they hold; KerasTensors and whatever else isn't a tensor are left alone."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return tf.convert_to_tensor(value) if isinstance(value, keras.Variable | tf.Variable) else value
