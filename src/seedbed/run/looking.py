"""What a model does, read from the graphs of its steps: which operations, which variables, and what no checkpoint holds."""

from __future__ import annotations

import hashlib
import re
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seedbed.run import alike, backend, checkpoint, determinism, effects
from seedbed.run import seeds as streams

# What Keras 3.15 sets on a model while it is trained, evaluated and saved; a test holds the list against the real thing.
TRAINING = frozenset({
    "history", "stop_training", "stop_evaluating", "stop_predicting", "train_function", "test_function", "predict_function",
    "steps_per_execution",
})  # fmt: skip


def traced(model: Any, batch: Any, step: Callable[[Any], Any] | None = None) -> tuple[tf.Graph, bool]:
    """The graph of one train step (or another `step`) on batches like `batch`, and whether Python's or NumPy's generators were
    drawn from for it; they are put back."""
    signature = tf.nest.map_structure(lambda leaf: tf.TensorSpec((None, *leaf.shape[1:]), tf.as_dtype(leaf.dtype)), batch)
    before = streams.state_hash(), streams.generator_states()
    step, strategy = step or model.train_step, model.distribute_strategy
    on_all = step if strategy.num_replicas_in_sync == 1 else lambda batch: strategy.run(step, (batch,))
    graph = tf.function(tf.autograph.experimental.do_not_convert(on_all)).get_concrete_function(signature).graph
    drawn = streams.state_hash() != before[0]
    streams.put_generator_states(before[1])
    return graph, drawn


def signatures(model: Any, batch: Any) -> dict[str, str]:
    """A hash of the graph of each step that the model has, the same for graphs that do the same with the same values and variables."""
    found = {"train": _signature(traced(model, batch)[0])}
    for name, step in (("test", model.test_step), ("predict", model.predict_step)):
        with suppress(Exception):  # a model that is not evaluated, or not without targets
            found[name] = _signature(traced(model, batch, step)[0])
    return found


def _signature(graph: tf.Graph) -> str:
    """A hash of a graph's operations, constants and captured values; numbers at the end of functions' names count on in a process."""
    definition = graph.as_graph_def()
    inner = sorted(f"{_unnumbered(one.signature.name)} {_hash_of(one.node_def)}" for one in definition.library.function)
    found = hashlib.sha256(" ".join([_hash_of(definition.node), *inner]).encode())
    for outside, inside in graph.captures:
        values = str(id(outside)) if outside.dtype in (tf.resource, tf.variant) else repr(np.asarray(outside).tobytes())
        found.update(f"{inside.name} {values}".encode())
    return found.hexdigest()


def _hash_of(nodes: Any) -> str:
    found = hashlib.sha256()
    for node in nodes:
        found.update(repr((_unnumbered(node.name), node.op, [_unnumbered(source) for source in node.input])).encode())
        for key in sorted(node.attr):
            value = node.attr[key]
            kind = value.WhichOneof("value")
            names = [value.func.name] if kind == "func" else [one.name for one in value.list.func] if kind == "list" else []
            if kind == "s":
                names = [value.s.decode(errors="replace")]
            found.update(repr([key, *map(_unnumbered, names)]).encode() if names else value.SerializeToString(deterministic=True))
    return found.hexdigest()


def _unnumbered(name: str) -> str:
    return re.sub(r"[-_]\d+(?![a-zA-Z])", "", name)


def graphs(model: Any, batch: Any) -> list[tf.Graph]:
    """The graphs of a train step, and of evaluation and prediction where the model has them. None of a model that runs eagerly."""
    if model.run_eagerly:
        return []
    found = [traced(model, batch)[0]]
    for step in (model.test_step, model.predict_step):
        with suppress(Exception):  # a model that is not evaluated, or not without targets
            found.append(traced(model, batch, step)[0])
    return found


_LOOKS: weakref.WeakKeyDictionary[Any, tuple[set[str], set[int], bool]] = weakref.WeakKeyDictionary()


def look(model: Any, batch: Any) -> tuple[set[str], set[int], bool]:
    """Of a train step, looked at once a model: its operations, the `id`s of the resources that it uses, and whether Python
    drew numbers for it."""
    if model not in _LOOKS:
        graph, drawn = traced(model, batch)
        _LOOKS[model] = (*_inside(graph), drawn)
    return _LOOKS[model]


def _inside(graph: tf.Graph) -> tuple[set[str], set[int]]:
    """A graph's operations, and the `id`s of the resources that it uses."""
    definition = graph.as_graph_def()
    inner = {node.op for function in definition.library.function for node in function.node_def}
    # a collective operation of several replicas has a token that keeps it in its order, and holds nothing
    own = [(outside, inside) for outside, inside in graph.captures if "/ordering_token" not in inside.name]
    resources = {id(outside) for outside, _ in own if outside.dtype == tf.resource}
    return {node.op for node in definition.node} | inner, resources


def hidden_state(model: Any, batch: Any) -> str | None:
    """What the model changes while it trains that is no variable of Keras's; None if a checkpoint holds everything.

    Looks at the graphs of a train step, and of evaluation and prediction: random operations with a state inside the runtime,
    variables that Keras doesn't know (a `tf.random.Generator`, a `tf.Variable` of one's own), Python code called from the
    graph. And at metrics of the user's: a checkpoint doesn't hold them, since they are reset before each epoch.
    """
    if not backend.is_tensorflow():
        return effects.hidden(model, batch, plain) or _going_on(model)
    if model.run_eagerly:
        return "run_eagerly: Python code in the train step"
    operations, resources, drawn = look(model, batch)
    if drawn:
        return "numbers that Python draws while TensorFlow makes the graph"
    for step in (model.test_step, model.predict_step):
        with suppress(Exception):  # a model that is not evaluated, or not without targets
            more, others = _inside(traced(model, batch, step)[0])
            operations, resources = operations | more, resources | others
    if found := sorted(operations & (determinism.STATEFUL_RANDOM | determinism.PYTHON_INSIDE)):
        return f"the operation {', '.join(found)}"
    kept = (*checkpoint.model_variables(model), *checkpoint.optimizer_variables(model), *model.metrics_variables)
    known = {id(one.handle) for variable in kept for one in getattr(variable.value, "values", [variable.value])}  # one a replica
    if resources - known:
        return "a variable or table outside of Keras's"
    return _going_on(model)


def _going_on(model: Any) -> str | None:
    going_on = [metric.name for metric in metrics_of(model) if not _is_reset(metric)]
    return f"the metric {going_on[0]}, which reset_state doesn't set back" if going_on else None


def metrics_of(model: Any) -> list[Any]:
    """The model's metrics one by one: Keras keeps those that were compiled in one of its own."""
    return [inner for metric in model.metrics for inner in (getattr(metric, "metrics", None) or [metric])]


def compiled_metrics(model: Any) -> list[Any]:
    """The metrics that `compile` was given as objects or functions; Keras makes those that are names with the first batch."""
    compiled = getattr(model, "_compile_metrics", None)
    given = [getattr(compiled, name, None) for name in ("_user_metrics", "_user_weighted_metrics")]
    return [metric for metric in keras.tree.flatten(given) if callable(metric)]


def _is_reset(metric: Any) -> bool:
    """Whether `reset_state` gives a metric the same values whatever it held; Keras's own do."""
    if type(metric).__module__.partition(".")[0] == "keras":
        return True
    before = [np.array(np.asarray(variable)) for variable in metric.variables]
    try:
        metric.reset_state()
        once = [np.array(np.asarray(variable)) for variable in metric.variables]
        for variable, value in zip(metric.variables, once, strict=True):
            variable.assign(value + np.ones_like(value))
        metric.reset_state()
        return all(np.array_equal(np.asarray(variable), value) for variable, value in zip(metric.variables, once, strict=True))
    except Exception:  # whatever a user's metric does
        return False
    finally:
        for variable, value in zip(metric.variables, before, strict=True):
            variable.assign(value)


def plain(model: Any) -> dict[str, str]:
    """What Python code may have changed in a model by training it: the plain attributes of its layers, and whether they train."""
    found = {}
    for number, layer in enumerate(model._flatten_layers()):
        for name, value in vars(layer).items():
            if name in TRAINING or name.startswith("_"):
                continue
            if isinstance(value, bool | int | float | str | None):
                found[f"{number}.{name}"] = repr(value)
            elif type(layer).__module__.partition(".")[0] != "keras" and isinstance(value, list | dict | set | tuple):
                found[f"{number}.{name}"] = alike.made_of(value, name)
        found[f"{number}.trainable"] = str(layer.trainable)
    return found
