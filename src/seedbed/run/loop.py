"""The fast engine: an epoch as one call, with the bits of `model.fit`.

For small models most of `fit`'s time goes into Python between steps and into a new iterator for each epoch (FACTS 4:
about 40-fold for the tutorial's network). Here Keras's own `train_step` runs inside one `tf.while_loop` an epoch, over
arrays that are in memory already. What needs Python between two batches is left to `fit`; `obstacle` says what.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.run import checkpoint, inputs
from seedbed.run import data as data_sets
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet, flat, mapped

# A callback that overrides one of these wants to be called between batches.
BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end", "on_test_batch_begin", "on_test_batch_end")

# A model that overrides one of these has a way of its own to train.
OWN_WAYS = ("fit", "evaluate", "make_train_function", "make_test_function")

# What a callback of the user's uses that changes the train step itself while it runs.
REMAKES = frozenset({"compile", "make_train_function", "trainable"})

# TensorFlow operations with a random state of their own, inside the runtime, that nothing can save or restore.
STATEFUL_RANDOM = frozenset({
    "Multinomial", "ParameterizedTruncatedNormal", "RandomGamma", "RandomPoisson", "RandomPoissonV2", "RandomShuffle",
    "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "TruncatedNormal",
})  # fmt: skip


def obstacle(model: Any, config: DictConfig, data: DataSet, callbacks: Sequence[Any]) -> str | None:
    """Why this run needs `model.fit`; None if the loop gives the same bits."""
    training = config.training
    if config.data.input not in ("auto", "arrays") or not _in_memory(data):
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
        for name in BATCH_HOOKS:
            # an attribute of its own: keras.callbacks.LambdaCallback
            if name in vars(callback) or getattr(type(callback), name) is not getattr(keras.callbacks.Callback, name):
                return f"{type(callback).__name__} wants to see each batch"
        if found := sorted(_names(callback) & REMAKES):
            return f"{type(callback).__name__} may have the train step made anew ({', '.join(found)})"
    graph, _ = traced(model, inputs.first_batch(data.train, training.batch_size))
    if found := sorted(_operations(graph) & STATEFUL_RANDOM):
        # without a seed of their own they take one from their place in the graph, which is another one in a loop
        return f"the operation {', '.join(found)} draws by its place in fit's graph"
    return None


def _names(callback: Any) -> set[str]:
    """The names that the code of a callback uses, Keras's own code left out."""
    own = [kind for kind in type(callback).__mro__ if kind.__module__.partition(".")[0] != "keras"]
    return {name for kind in own for made in vars(kind).values() if hasattr(made, "__code__") for name in made.__code__.co_names}


def _in_memory(data: DataSet) -> bool:
    return data_sets.is_arrays(data.train) and (data.validation is None or data_sets.is_arrays(data.validation))


def fit(
    model: Any, data: DataSet, seeds: Mapping[str, int], epochs: range, batch_size: int | None, shuffle: bool, callbacks: Sequence[Any]
) -> None:
    """Train on arrays for `epochs`, as `model.fit` with the same order of examples would, callbacks included."""
    examples = len(flat(data.train)[0])
    train_epoch = _epoch_function(model.train_step, data.train, batch_size or examples)
    test_epoch = None
    if data.validation is not None:
        test_epoch = _epoch_function(model.test_step, data.validation, batch_size or len(flat(data.validation)[0]))
    steps = math.ceil(examples / (batch_size or examples))
    called = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs.stop, steps=steps, verbose=0, add_history=True)
    model.stop_training, model.train_function = False, None
    called.on_train_begin()
    logs: dict[str, Any] = {}
    for epoch in epochs:
        model.reset_metrics()
        called.on_epoch_begin(epoch)
        if model.train_function is not None:
            raise Refused("A callback has the train step made anew (layers are frozen, say). Train this with training.engine=fit.")
        logs = dict(model._get_metrics_result_or_logs(train_epoch(inputs.order_of(seeds, epoch, examples, shuffle))))
        if test_epoch is not None:
            model.reset_metrics()
            called.on_test_begin()
            values = model._get_metrics_result_or_logs(test_epoch(tf.range(len(flat(data.validation)[0]), dtype=tf.int64)))
            called.on_test_end(values)
            logs |= {f"val_{name}": value for name, value in values.items()}
        called.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    model.optimizer.finalize_variable_values(model.trainable_weights)
    called.on_train_end(logs)


def _epoch_function(step: Callable[[Any], Any], part: Any, batch: int) -> Callable[[Any], Any]:
    """order (int64, shape (examples,)) -> the last step's logs: `step` over the batches of one epoch."""
    tensors = mapped(tf.constant, part)
    examples = len(flat(part)[0])
    steps = math.ceil(examples / batch)
    one = tf.function(tf.autograph.experimental.do_not_convert(step))

    def at(order: tf.Tensor, number: tf.Tensor) -> Any:
        indices = order[number * batch : (number + 1) * batch]
        indices.set_shape([None if examples % batch else batch])  # as `fit` sees it: unknown where the last batch is short
        return mapped(lambda tensor: tf.gather(tensor, indices), tensors)

    @tf.function(input_signature=[tf.TensorSpec((examples,), tf.int64)])
    @tf.autograph.experimental.do_not_convert
    def epoch(order: tf.Tensor) -> Any:
        def body(number: tf.Tensor) -> list[tf.Tensor]:
            one(at(order, number))
            return [number + 1]

        last = tf.while_loop(lambda number: number < steps - 1, body, [tf.constant(0)], parallel_iterations=1)[0]
        return one(at(order, last))

    return epoch  # type: ignore[no-any-return]


def traced(model: Any, batch: Any) -> tuple[tf.Graph, bool]:
    """The graph of one train step on batches like `batch`, and whether Python's or NumPy's generators were drawn from for it.

    They are put back.
    """
    signature = tf.nest.map_structure(lambda leaf: tf.TensorSpec((None, *leaf.shape[1:]), tf.as_dtype(leaf.dtype)), batch)
    before = repr(streams.generator_states()), streams.generator_states()
    graph = tf.function(tf.autograph.experimental.do_not_convert(model.train_step)).get_concrete_function(signature).graph
    drawn = repr(streams.generator_states()) != before[0]
    streams.put_generator_states(before[1])
    return graph, drawn


def _operations(graph: tf.Graph) -> set[str]:
    definition = graph.as_graph_def()
    inner = {node.op for function in definition.library.function for node in function.node_def}
    return {node.op for node in definition.node} | inner


def hidden_state(model: Any, batch: Any) -> str | None:
    """What the model changes while it trains that is no variable of Keras's; None if a checkpoint holds everything.

    Looks at the graph of a train step: random operations with a state inside the runtime, variables that Keras doesn't
    know (a `tf.random.Generator`, a `tf.Variable` of one's own), Python code called from the graph.
    """
    if model.run_eagerly:
        return "run_eagerly: Python code in the train step"
    graph, drawn = traced(model, batch)
    if drawn:
        return "numbers that Python draws while TensorFlow makes the graph"
    if found := sorted(_operations(graph) & (STATEFUL_RANDOM | inputs.PYTHON_INSIDE)):
        return f"the operation {', '.join(found)}"
    kept = (*checkpoint.model_variables(model), *checkpoint.optimizer_variables(model), *model.metrics_variables)
    known = {id(variable.value.handle) for variable in kept}
    for outside, _ in graph.captures:
        if outside.dtype == tf.resource and id(outside) not in known:
            return "a variable or table outside of Keras's"
    return None
