"""What a train step changes that no checkpoint holds, on JAX and PyTorch, which have no graphs to read it from (`looking` does).

JAX traces a step's Python code once, so what that draws from Python's or NumPy's generators would be drawn at another place by
a run that goes on. PyTorch runs it each time: what it draws and what it keeps in attributes is in the checkpoint; other parameters
and buffers are not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from seedbed.run import backend, checkpoint
from seedbed.run import data as data_sets
from seedbed.run import seeds as streams
from seedbed.run.state import CannotRestore

CHANGES = "This run keeps state that no checkpoint holds (attributes that the train step changes)"


def hidden(model: Any, batch: Any, plain: Callable[[Any], Any]) -> str | None:
    """What it is, if there is anything. plain: what Python code may have changed in a model by training it (`looking.plain`)."""
    if model.run_eagerly and backend.current() == "jax":
        return "run_eagerly: Python code in the train step"
    return _of_jax(model, batch, plain) if backend.current() == "jax" else _of_torch(model)


def _of_jax(model: Any, batch: Any, plain: Callable[[Any], Any]) -> str | None:
    """Traces a step. Raises CannotRestore where that has changed the model."""
    jax = importlib.import_module("jax")  # by name: an import statement would make it a part of every run's code
    before, states, own = streams.state_hash(), streams.generator_states(), plain(model)
    tensors = data_sets.mapped(backend.tensor, batch)
    try:
        model._symbolic_build(data_batch=tensors)
        held = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables)
        jax.eval_shape(model.train_step, tuple([variable.value for variable in variables] for variables in held), tensors)
        drawn = streams.state_hash() != before
    finally:
        streams.put_generator_states(states)
    if plain(model) != own:
        raise CannotRestore(CHANGES)
    return "numbers that Python draws while JAX traces the train step" if drawn else None


def _of_torch(model: Any) -> str | None:
    kept = [*checkpoint.model_variables(model), *checkpoint.optimizer_variables(model)]
    known = {variable.value.data_ptr() for variable in [*kept, *model.metrics_variables]}
    held = {**model.state_dict(), **dict(model.named_buffers())}  # the former leaves out buffers that are not persistent
    if outside := [name for name, tensor in held.items() if hasattr(tensor, "data_ptr") and tensor.data_ptr() not in known]:
        return f"a parameter or buffer outside of Keras's ({outside[0]})"
    return None
