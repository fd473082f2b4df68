"""The phase that trains: what a few steps change, and whether they do the same again."""

from __future__ import annotations

from typing import Any

import numpy as np

from seedbed.contract import Broken
from seedbed.contract.subject import Built, Subject, overrides, same
from seedbed.contract.weights import same_again
from seedbed.run import checkpoint, state

# A loss that is as small as this at the beginning has nowhere to go.
NOTHING_TO_LEARN = 1e-6


def update(subject: Subject) -> None:
    """A few steps change each trainable weight and no frozen one, the same way each time, and a batch can be learned."""
    built = subject.built
    wanted = subject.trainable(built)
    gathered = [getattr(optimizer, "gradient_accumulation_steps", None) or 0 for optimizer in checkpoint.optimizers(built.model)]
    steps = max([2, subject.limits.batches, *(2 * count for count in gathered)])
    subject.train(built, subject.cycled(steps))
    after = [state.array(variable) for variable in built.held]
    before = {id(variable): value for variable, value in zip(built.held, built.start, strict=True)}
    own = bool(overrides(built.model, "train_step"))
    still = [name for name, weight in wanted if same(before[id(weight)], state.array(weight))]
    if still and not own:
        raise Broken(_still(built, still, len(wanted), steps))
    for name, weight in _frozen(built.model):
        if not own and not same(before[id(weight)], state.array(weight)):
            raise Broken(
                f"{name} is frozen (trainable = False), and {steps} train steps have changed it. Something else than the optimizer assigns "
                "to it: a callback, or a layer's `call`."
            )
    if subject.bits:
        _same_steps(subject, built, after, steps)
    _overfit(subject, built, own)


def _still(built: Built, still: list[str], wanted: int, steps: int) -> str:
    rate = getattr(built.model.optimizer, "learning_rate", None)
    if len(still) == wanted:
        zero = rate is not None and not callable(rate) and float(np.asarray(rate)) == 0
        why = "its learning rate is 0" if zero else "look at its `update_step`, its learning rate (a schedule that begins at 0?)"
        name = type(built.model.optimizer).__name__
        return f"No weight changes in {steps} train steps, {still[0]} the first of them: the optimizer ({name}) updates nothing; {why}."
    more = f" (and {len(still) - 1} more)" if len(still) > 1 else ""
    return (
        f"{still[0]}{more} gets a gradient, and {steps} train steps leave it as it was: the optimizer passes it over. Look at what the "
        "optimizer excludes, at a constraint of that weight, and whether it was frozen after the model was compiled."
    )


def _frozen(model: Any) -> list[tuple[str, Any]]:
    """Name and variable of weights that are to be trained but for `trainable = False`; not moving averages and the like."""
    return [
        (f"{weight.path} ({type(layer).__name__})", weight)
        for layer in model._flatten_layers()
        for weight in layer._trainable_variables
        if not weight.trainable
    ]


def _same_steps(subject: Subject, built: Built, after: list[np.ndarray], steps: int) -> None:
    """The same steps again: on this model put back, and on one that is built anew."""
    subject.train(built, subject.cycled(steps))
    if (place := _apart(built, built.held, after)) and not subject.hidden(built):
        raise Broken(
            f"{place} is another one after the same {steps} train steps from the same state: something in the train step draws or counts "
            "outside of Keras's variables and generators. Give it a keras.random.SeedGenerator, or keep its state in a weight."
        )
    anew = subject.build()
    same_again(built, anew, "the same seeds, one before and one after training,")
    subject.train(anew, subject.cycled(steps))
    if (place := _apart(built, anew.held, after)) and not subject.hidden(built):
        raise Broken(
            f"{place} is another one after {steps} train steps if the model is built anew: it begins with the same weights, and computes "
            "something else. Look for a number that its function or a layer's __init__ draws or counts by itself."
        )


def _apart(built: Built, held: list[Any], after: list[np.ndarray]) -> str | None:
    """The name of the first variable with other values than `after`."""
    for mine, variable, value in zip(built.held, held, after, strict=False):
        if not same(state.array(variable), value):
            return built.names.get(id(mine), f"{mine.path} (a variable)")
    return None


def _overfit(subject: Subject, built: Built, own: bool) -> None:
    """On one batch, over and over, the loss gets below where it began."""
    steps = subject.limits.overfit_steps
    if not steps or own:
        return
    losses = [row["loss"] for row in subject.train(built, subject.batches[:1] * (steps + 1)) if "loss" in row]
    if losses and not min(losses[1:]) < losses[0] and abs(losses[0]) > NOTHING_TO_LEARN:
        raise Broken(
            f"The loss of one batch was {losses[0]:.4g} at the beginning, {losses[-1]:.4g} after {steps} steps on this batch, and never "
            "less than at the beginning: a learning rate that is too large or far too small, a loss of the wrong sign, or targets that "
            "have nothing to do with the output. More steps: overfit_steps; 0 leaves this out."
        )
