"""The phases that look at what a model puts out: forward, and the loss that is made of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seedbed.contract import Broken, Skipped
from seedbed.contract.subject import TOLERANCE, Built, Subject, finite, overrides, recurring
from seedbed.run import building

# The same for outputs in 16 bits, where a sum has three digits.
TOLERANCE_16 = 1e-1

# Keras's losses that compare each value with the one in its place; a shape that doesn't fit is stretched without a word.
VALUE_BY_VALUE = frozenset({"mean_squared_error", "mean_absolute_error", "mean_squared_logarithmic_error", "huber", "log_cosh"})
PROBABILITIES = frozenset({"sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy"})


@dataclass(frozen=True)
class Call:
    """What one layer put out: its arrays, of the shape that they had."""

    name: str
    arrays: Sequence[np.ndarray]


def forward(subject: Subject) -> None:
    """Outputs are finite, one for each example, the same twice, and made of that example alone."""
    built = subject.built
    if not building.can_be_called(built.model):
        raise Skipped(f"{type(built.model).__name__} has no `call`: it can only be trained.")
    x = subject.inputs()
    examples = int(tf.nest.flatten(x)[0].shape[0])
    subject.begin(built)
    calls = called(built, x)
    if not all(map(finite, calls[-1].arrays)):  # inside of the model an infinite value can be meant: a mask before a softmax
        bad = first(calls, calls, lambda one, _: not finite(one))
        raise Broken(
            f"{bad} puts out values that are not finite, for finite inputs. Look for a division or a logarithm of 0, or an overflow."
        )
    for leaf in calls[-1].arrays:
        if leaf.shape[:1] != (examples,):
            raise Broken(
                f"The model's output has the shape {leaf.shape} for a batch of {examples} examples: the first axis must be theirs. A "
                "reshape or a reduction takes it away."
            )
    if not subject.limits.random_in_inference:
        if recurring(built.model):
            subject.begin(built)
        if place := first(calls, called(built, x), lambda one, other: not subject.alike(one, other)):
            raise Broken(
                f"{place} puts out something else each time, without training: it draws, or counts, in inference. Let it do so only `if "
                "training`; where it is meant, set random_in_inference = True."
            )
        _alone(subject, built, x, calls, examples)
    _same_while_training(subject, built, x)


def _alone(subject: Subject, built: Built, x: Any, calls: list[Call], examples: int) -> None:
    """The last example's output is what it is without the others."""
    fixed = any(leaf.shape[0] is not None for leaf in getattr(built.model, "inputs", None) or ())
    if not subject.limits.rows_independent or fixed or examples < 2:
        return
    half = any(getattr(layer, "compute_dtype", None) in ("float16", "bfloat16") for layer in built.model._flatten_layers())
    tolerance = TOLERANCE_16 if half else TOLERANCE
    subject.begin(built)

    def apart(whole: np.ndarray, alone: np.ndarray) -> bool:
        if whole.dtype.kind not in "fV" or whole.shape[:1] != (examples,) or alone.shape != (1, *whole.shape[1:]):
            return False
        whole, alone = whole.astype("float32"), alone.astype("float32")
        return float(np.max(np.abs(whole[-1:] - alone), initial=0.0)) > tolerance * (float(np.max(np.abs(whole), initial=0.0)) + 1e-6)

    alone = called(built, tf.nest.map_structure(lambda leaf: leaf[-1:], x))
    if first(calls[-1:], alone[-1:], apart):
        raise Broken(
            f"{first(calls, alone, apart)} gives an example another output without the rest of its batch: it mixes examples (an axis that "
            "is the batch's, statistics of the batch with training=True). Where it is meant, set rows_independent = False."
        )


def _same_while_training(subject: Subject, built: Built, x: Any) -> None:
    """With the generators put back, training=True gives the same twice."""
    if not subject.bits:
        return
    subject.begin(built)
    once = called(built, x, training=True)
    subject.begin(built)
    place = first(once, called(built, x, training=True), lambda one, other: not subject.alike(one, other))
    if place and not subject.hidden(built):
        raise Broken(
            f"{place} puts out something else, with training=True, from the same weights and generators: it draws or counts outside of "
            "Keras's generators. Give it a keras.random.SeedGenerator, and pass that as `seed`."
        )


def loss(subject: Subject) -> None:
    """The loss of the first step is a finite number, and compares what can be compared."""
    built = subject.built
    subject.trainable(built)
    _comparable(subject, built)
    logs = subject.train(built, subject.batches[:1])[0]
    for name, value in logs.items():
        if name.endswith("loss") and not math.isfinite(value):
            subject.begin(built)
            calls = called(built, subject.inputs(), training=True) if building.can_be_called(built.model) else []
            place = first(calls, calls, lambda one, _: not finite(one))
            where = f"with training=True {place} puts out values that are not finite" if place else (
                "the outputs are finite, so it is the loss itself (a logarithm or division of 0, targets it isn't made for)")  # fmt: skip
            raise Broken(f"{name} is {value} in the first step: {where}.")


def _comparable(subject: Subject, built: Built) -> None:
    """What Keras's own losses take without a word, and what can't be meant."""
    model, batch = built.model, subject.batches[0]
    if not isinstance(batch, tuple | list) or len(batch) < 2 or not building.can_be_called(model):
        return
    if overrides(model, "train_step", "compute_loss") or not isinstance(model.loss, str | keras.losses.Loss | Callable):
        return
    chosen = keras.losses.get(model.loss)
    name, options = getattr(getattr(chosen, "fn", chosen), "__name__", ""), getattr(chosen, "_fn_kwargs", {})
    subject.begin(built)
    outputs, targets = called(built, subject.inputs())[-1].arrays, tf.nest.flatten(batch[1])
    if len(outputs) != 1 or len(targets) != 1 or not str(getattr(chosen, "__module__", "")).startswith("keras."):
        return
    output, shape = outputs[0].astype("float32"), tuple(targets[0].shape)
    if name in VALUE_BY_VALUE and math.prod(output.shape[1:]) != math.prod(shape[1:]):
        raise Broken(
            f"The model's output has the shape {output.shape} and the targets {shape}: {name} compares them value by value, and stretches "
            "one over the other. Give the last layer as many units as there are targets."
        )
    if name not in PROBABILITIES:
        return
    inside = bool(np.all((output >= 0) & (output <= 1 + 1e-3)))
    if not options.get("from_logits", False) and not inside:
        raise Broken(
            f"{name} expects probabilities, and the model's outputs reach from {output.min():.3g} to {output.max():.3g}. Give the last "
            "layer a softmax (or sigmoid), or the loss from_logits=True."
        )
    sums = np.abs(output.sum(axis=-1) - 1)
    if options.get("from_logits", False) and name != "binary_crossentropy" and inside and output.shape[-1] > 1 and np.all(sums < 1e-3):
        raise Broken(f"{name} with from_logits=True takes a softmax of what is a softmax already. Leave one of them out.")


def called(built: Built, x: Any, training: bool = False, model: Any = None) -> list[Call]:
    """What each layer puts out, inner ones first; the model itself last. model: another one than that of `built`."""
    building.put_global_generator(built.generator)
    with _seen() as calls:
        (model or built.model)(x, training=training)
    return calls


def first(one: Sequence[Call], other: Sequence[Call], differs: Callable[[np.ndarray, np.ndarray], bool]) -> str | None:
    """The first layer of which an array `differs`; the last (the model), if another number of layers was called."""
    for a, b in zip(one, other, strict=False):
        if len(a.arrays) != len(b.arrays) or any(differs(*pair) for pair in zip(a.arrays, b.arrays, strict=True)):
            return a.name
    return one[-1].name if len(one) != len(other) else None


@contextmanager
def _seen() -> Iterator[list[Call]]:
    """Note what layers put out meanwhile."""
    calls: list[Call] = []
    layer_call = keras.layers.Layer.__call__

    @functools.wraps(layer_call)
    def noting(layer: Any, *arguments: Any, **named: Any) -> Any:
        outputs = layer_call(layer, *arguments, **named)
        leaves = [leaf for leaf in tf.nest.flatten(outputs) if tf.is_tensor(leaf) and hasattr(leaf, "numpy")]
        calls.append(Call(f"{getattr(layer, 'path', layer.name)} ({type(layer).__name__})", [np.asarray(leaf) for leaf in leaves]))
        return outputs

    keras.layers.Layer.__call__ = noting
    try:
        yield calls
    finally:
        keras.layers.Layer.__call__ = layer_call
