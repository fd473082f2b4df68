"""The phases that look at weights: initialisation, and the gradients that reach them."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from seedbed.contract import Broken, Skipped
from seedbed.contract.subject import Built, Subject, finite, names_used, overrides, same
from seedbed.run import checkpoint
from seedbed.run import seeds as streams

# Names that the code of an initializer uses which draws.
DRAWS = frozenset({
    "random", "default_rng", "RandomState", "Generator", "SeedSequence", "normal", "uniform", "randn", "rand", "standard_normal",
    "truncated_normal", "stateless_normal", "stateless_uniform", "integers", "randint",
})  # fmt: skip


def initialisation(subject: Subject) -> None:
    """The same seeds give the same weights, another `init` gives others, and none of them is NaN or infinite."""
    first = subject.built
    trained = {id(weight) for weight in first.model.trainable_weights}
    for weight, (name, value) in zip(first.model.weights, first.weights, strict=True):
        if id(weight) in trained and not finite(value):
            raise Broken(f"{name} begins with values that are not finite. Look at its initializer and at what is loaded into it.")
    random.random(), np.random.random(), keras.random.normal((3,)), tf.random.set_seed(5)  # noqa: NPY002  (as others may leave them)
    same_again(first, subject.build(), "the same seeds")
    _others(subject, first, subject.build(init=streams.words(subject.seeds["init"], 1)[0]))


def same_again(first: Built, again: Built, what: str) -> None:
    """The weights of two models, built from the same seeds, are alike; else Broken, which names the first that isn't."""
    ours, theirs = ([(value.shape, value.dtype.name) for _, value in built.weights] for built in (first, again))
    if ours != theirs:
        at = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), min(len(ours), len(theirs)))
        name = max(first.weights, again.weights, key=len)[at][0]
        raise Broken(
            f"Two models built from {what} have other weights, from {name} on: the model function keeps something between its calls. "
            "Make every layer anew inside of it."
        )
    for (name, value), (_, other) in zip(first.weights, again.weights, strict=True):
        if not same(value, other):
            raise Broken(
                f"{name} is not the same in two models built from {what}: it is filled from something else than the stream `init` (the "
                "system's entropy, the time, a generator that was made when the module was imported), or kept from the model before. "
                "Use a Keras initializer without a seed, or draw inside of the model function."
            )


def _others(subject: Subject, first: Built, other: Built) -> None:
    """Weights that are drawn follow the stream `init`."""
    pairs = list(zip(first.model.weights, other.model.weights, first.weights, strict=False))
    for one, two, (name, value) in pairs:
        if not one.trainable or not subject.judged(name):
            continue
        if one is two:
            raise Broken(
                f"{name} is one variable in two models: its layer lives outside of the model function, and what one run trains the next "
                "one begins with. Make the layer inside of it."
            )
        made, remade = first.made.get(id(one)), other.made.get(id(two))
        if made is None or remade is None or made.bits != remade.bits or np.all(value == value.flat[:1]):
            continue  # filled in another way; another value; or zeros, or ones
        initializer = made.initializer
        if isinstance(initializer, _RANDOM):
            given = initializer._init_seed is not None
            why = f"its initializer was given a seed in code (seed={initializer._init_seed!r})" if given else (
                "the model function seeds the generators itself (set_random_seed, random.seed)")  # fmt: skip
        elif type(initializer).__module__.startswith("keras.") or not _draws(initializer):
            continue  # Identity, a forget gate's bias, a table of the user's: the same by intention
        else:
            why = f"its initializer ({getattr(initializer, '__name__', type(initializer).__name__)}) draws with a seed of its own"
        raise Broken(
            f"{name} is the same for another `seeds.init`: {why}, so a study over seeds would repeat it. Leave the seed out; the stream "
            "`init` governs it."
        )


_RANDOM = keras.initializers.RandomNormal.__mro__[1]  # no public name in Keras 3.15: what its random initializers inherit


def _draws(initializer: Any) -> bool:
    """Whether the code of an initializer of the user's uses names of generators."""
    return bool(names_used(getattr(initializer, "func", initializer)) & DRAWS)


def gradient(subject: Subject) -> None:
    """Each trainable weight gets a gradient in one of the first steps: finite, not all zero, the same bits twice."""
    built = subject.built
    wanted = subject.trainable(built)
    # several steps: with a last layer that begins as zeros, nothing before it gets a gradient in the first one
    rounds = _gradients(subject, built, max(2, subject.limits.batches))
    if not any(rounds):
        raise Skipped(f"{type(built.model).__name__} trains without a Keras optimizer.")
    scaled = any(isinstance(optimizer, keras.optimizers.LossScaleOptimizer) for optimizer in checkpoint.optimizers(built.model))
    own = bool(overrides(built.model, "train_step"))
    for name, weight in wanted:
        found = [one[id(weight)] for one in rounds if id(weight) in one]
        if own and not found:
            continue  # a train step of the user's own may leave weights to something else, as a moving average
        if all(value is None for value in found):
            raise Broken(
                f"{name} gets no gradient: nothing that the loss is made of depends on it. Its layer's output isn't used, or what lies "
                "between can't be differentiated (a cast to integers, stop_gradient, NumPy). Use it, or leave it out."
            )
        values = [value for value in found if value is not None]
        if not scaled and not all(map(finite, values)):
            raise Broken(
                f"The gradient of {name} is not finite. Look for a division, a logarithm or a square root of 0 between this weight and the "
                "loss."
            )
        if all(not np.any(value) for value in values):
            raise Broken(
                f"The gradient of {name} is 0 everywhere in {len(values)} steps: what comes after it lets nothing through (a ReLU that is "
                "never active, a softmax over one value, a factor of 0). Look at the layer after it, and at the scale of the inputs."
            )
    again = _gradients(subject, built, 1)[0]
    for name, weight in wanted:
        pair = rounds[0].get(id(weight)), again.get(id(weight))
        if subject.bits and pair[0] is not None and (pair[1] is None or not same(pair[0], pair[1])) and not subject.hidden(built):
            raise Broken(
                f"The gradient of {name} is not the same twice, from the same weights, batch and generators: something between it and the "
                "loss draws from outside of Keras's generators. Give the layer a keras.random.SeedGenerator."
            )


def _gradients(subject: Subject, built: Built, steps: int) -> list[dict[int, np.ndarray | None]]:
    """For each of the first train steps the gradients by `id` of their weight, taken from what the optimizers are handed."""
    subject.begin(built)
    rounds = []
    for batch in subject.cycled(steps):
        with _handed(built.model) as found:
            built.model.train_step(batch)
        rounds.append(found)
    return rounds


@contextmanager
def _handed(model: Any) -> Iterator[dict[int, np.ndarray | None]]:
    """What the model's optimizers are handed meanwhile."""
    found: dict[int, np.ndarray | None] = {}

    def see(apply: Any, optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
        grads = list(grads)
        variables = optimizer._trainable_variables if trainable_variables is None else list(trainable_variables)
        for weight, value in zip(variables, grads, strict=True):
            if value is not None or id(weight) not in found:
                found[id(weight)] = None if value is None else np.array(np.asarray(tf.convert_to_tensor(value)))
        return apply(grads, variables)

    optimizers = checkpoint.optimizers(model)
    for optimizer in optimizers:
        optimizer.apply = functools.partial(see, optimizer.apply, optimizer)
    try:
        yield found
    finally:
        for optimizer in optimizers:
            del optimizer.apply
