"""What Python code has changed in a model by training it, by name: every attribute of its parts that is no variable of Keras's.

A model that is to be used again for another seed has to be as it was built, but for what is set back (its variables) and for
what Keras itself writes into its objects. The same holds for a train step that has been traced: an attribute that Python code
changes was a constant while the graph was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from seedbed.run import alike, checkpoint, keras_books


def of(model: Any) -> dict[str, str]:
    """Hash each attribute of the model, its layers, losses, metrics and optimizers; by what the attribute is called.

    An attribute whose insides can't be seen has the error's text for a hash: it counts as unchanged as long as that is so.
    """
    parts = list(_parts(model))
    known = {id(part): str(number) for number, part in enumerate(parts)}
    compiled = [variable for metric in _metrics(model) for variable in getattr(metric, "variables", ())]
    held = (*checkpoint.model_variables(model), *checkpoint.optimizer_variables(model), *model.metrics_variables, *compiled)
    known |= {id(variable): "a variable that is set back" for variable in held}
    found = {}
    for number, part in enumerate(parts):
        where = f"{type(part).__name__} {getattr(part, 'name', '') or number}".strip()
        found[f"{where}.trainable"] = str(getattr(part, "trainable", None))
        for name, value in list(vars(part).items()):
            if not _is_keras_own(part, name):
                found[f"{number} attribute {name!r} of {where}"] = _hash(value, known)
    return found


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Name the attributes in which two states of a model differ."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [name.partition(" ")[2] if name[:1].isdigit() else name for name in names]


def _parts(model: Any) -> Iterator[Any]:
    """The objects that are looked at one by one: layers (the model is the first), optimizers, losses, metrics."""
    done: set[int] = set()
    losses = getattr(model, "loss", None), getattr(getattr(model, "_compile_loss", None), "_user_loss", None)
    for part in (*model._flatten_layers(), *checkpoint.optimizers(model), *_leaves(list(losses)), *_metrics(model)):
        if id(part) not in done and hasattr(part, "__dict__") and not isinstance(part, type):
            done.add(id(part))
            yield part


def _metrics(model: Any) -> list[Any]:
    """The metrics as they were given to `compile`; Keras makes others of those that are names when the first batch comes."""
    compiled = getattr(model, "_compile_metrics", None)
    return list(_leaves([getattr(compiled, "_user_metrics", None), getattr(compiled, "_user_weighted_metrics", None)]))


def _leaves(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _leaves(item)
    elif node is not None:
        yield node


def _is_keras_own(part: Any, name: str) -> bool:
    compiled = name in keras_books.OF_COMPILED and hasattr(part, "fit")
    return compiled or name.startswith("_self_") or name in keras_books.names(type(part))


def _hash(value: Any, known: Mapping[int, str]) -> str:
    try:
        return alike.state(value, known)
    except alike.Unseen as error:
        return f"unseen: {error}"
