"""What an object has come to while a model was trained, as data that can be written down and put back.

For callbacks, which may be anybody's: numbers, texts, arrays and containers of them are taken as they are; the state of
objects that a callback holds (metrics, variables, generators, objects of the user's own) goes back into those objects.
Nothing is pickled, and nothing that a file says is called.
"""

from __future__ import annotations

import datetime
import functools
import io
import random
import sys
import threading
import types
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

# Attributes that Keras sets on every callback; not its state.
NOT_STATE = frozenset({"model", "_model", "params", "validation_data"})

# What an object is made of, not what it has come to; and times of day, which can't decide a result that repeats.
FIXTURES = (
    types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type, functools.partial, PurePath, io.IOBase,
    np.dtype, datetime.date, datetime.time, datetime.timedelta, type(threading.Lock()), type(threading.RLock()),
)  # fmt: skip


class CannotSave(Exception):
    """State of a kind that can't be written down; the message names it."""


class CannotRestore(Exception):
    """State that doesn't fit what is there now; the message names it."""


@dataclass(frozen=True)
class Inside:
    """State that goes back into the object that has it.

    kind: attributes (value: a dict), variables (a list of arrays), tensor (a list of one), items (a list, or a mapping's
    pairs), or the generator whose state it is: numpy, legacy, python.
    """

    kind: str
    value: Any


@dataclass(frozen=True)
class Named:
    """A function of Keras's or of the callback's own package, as `module:name`."""

    name: str


def array(value: Any) -> np.ndarray:
    """A copy of a variable, tensor or array."""
    return np.array(np.asarray(value))  # np.array alone asks for the copy in a way that Keras 3.15's variables warn about


def of(callback: Any) -> dict[str, Any]:
    """A callback's attributes that are data, and the state of the objects that it holds.

    Raises CannotSave for anything else in a callback that isn't Keras's own.
    """
    package = type(callback).__module__.partition(".")[0]
    state: dict[str, Any] = {}
    seen = {id(callback): callback}
    for name, value in vars(callback).items():
        if name in NOT_STATE:
            continue
        try:
            found = _of(value, package, seen)
        except CannotSave as error:
            if package == "keras":
                continue
            raise CannotSave(f"{type(callback).__name__}.{name} is or holds {error}") from None
        if found is not FIXTURES:
            state[name] = found
    return state


def _of(value: Any, package: str, seen: dict[int, Any]) -> Any:
    """What is to be written down of `value`; FIXTURES for nothing."""
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, types.FunctionType) and value.__module__.partition(".")[0] in ("keras", package):
        return FIXTURES if "<" in value.__qualname__ else Named(f"{value.__module__}:{value.__qualname__}")
    if isinstance(value, FIXTURES):
        return FIXTURES
    if isinstance(value, np.generic):
        return array(value)
    library = type(value).__module__.partition(".")[0] in ("keras", "tensorflow")
    if library and hasattr(value, "shape") and hasattr(value, "__array__"):
        return Inside("variables" if hasattr(value, "assign") else "tensor", [array(value)])
    if isinstance(value, tuple):
        return tuple(_all(value, package, seen, "a tuple"))
    if id(value) in seen:
        if isinstance(value, list | dict | np.ndarray):  # two attributes would be two lists after a restart
            raise CannotSave(f"a {type(value).__name__} that something else holds, too")
        return FIXTURES  # written down where it was met first
    seen[id(value)] = value
    what = f"a {type(value).__name__}"
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            raise CannotSave("an array of Python objects")
        return array(value)
    if isinstance(value, np.random.Generator):
        return Inside("numpy", value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return Inside("legacy", value.get_state())
    if isinstance(value, random.Random):
        return Inside("python", value.getstate())
    if isinstance(value, list | deque):
        items = _all(value, package, seen, what)
        return items if items is FIXTURES or type(value) is list else Inside("items", items)
    if isinstance(value, Mapping):
        items = _all(value.values(), package, seen, what)
        if items is FIXTURES:
            return FIXTURES
        if not all(isinstance(key, str | int | float | None) for key in value):
            raise CannotSave(f"{what} with keys that are neither text nor numbers")
        return dict(zip(value, items, strict=True)) if type(value) is dict else Inside("items", list(zip(value, items, strict=True)))
    if library:
        held = variables(value)
        return Inside("variables", [array(variable) for variable in held]) if held else FIXTURES
    if not hasattr(value, "__dict__"):
        raise CannotSave(what)
    attributes = {name: _of(item, package, seen) for name, item in vars(value).items()}
    return Inside("attributes", {name: item for name, item in attributes.items() if item is not FIXTURES})


def _all(values: Iterable[Any], package: str, seen: dict[int, Any], what: str) -> Any:
    """What is to be written down of each; FIXTURES if all of them are."""
    items = [_of(value, package, seen) for value in values]
    fixtures = sum(item is FIXTURES for item in items)
    if 0 < fixtures < len(items):
        raise CannotSave(f"{what} of data and other things")
    return FIXTURES if fixtures else items


def variables(value: Any) -> Sequence[Any]:
    """The variables of an object of Keras's or TensorFlow's: a metric's, a layer's, a seed generator's."""
    found = getattr(value, "variables", None) or [getattr(value, "state", None)]
    return [variable for variable in found if hasattr(variable, "assign")]


def assign(held: Sequence[Any], saved: Sequence[np.ndarray], what: str) -> None:
    """Set variables; raises CannotRestore, before any is set, if they aren't the ones that were saved."""
    if [tuple(variable.shape) for variable in held] != [value.shape for value in saved]:
        raise CannotRestore(f"{what} has variables of other shapes than those that were saved")
    for variable, value in zip(held, saved, strict=True):
        variable.assign(value)


def put(callback: Any, saved: Mapping[str, Any]) -> None:
    """Put back what `of` returned; raises CannotRestore where the callback lacks what held some of it."""
    _put(callback, Inside("attributes", saved), type(callback).__name__, type(callback).__module__.partition(".")[0])


def _put(current: Any, saved: Any, what: str, package: str) -> Any:
    """What is to stand where `current` stands."""
    if isinstance(saved, Named):
        return _function(saved, what, package)
    if isinstance(saved, list | tuple):
        there = current if type(current) is type(saved) and len(current) == len(saved) else [None] * len(saved)
        return type(saved)([_put(*pair, what, package) for pair in zip(there, saved, strict=True)])
    if isinstance(saved, dict):
        return {key: _put(current.get(key) if isinstance(current, dict) else None, item, what, package) for key, item in saved.items()}
    if not isinstance(saved, Inside):
        return saved
    if saved.kind == "tensor":
        return sys.modules["tensorflow"].constant(saved.value[0])
    if current is None:
        raise CannotRestore(f"{what} no longer holds the object that had this state")
    if saved.kind == "attributes":
        for name, value in saved.value.items():
            setattr(current, name, _put(getattr(current, name, None), value, f"{what}.{name}", package))
    elif saved.kind == "variables":
        assign([current] if hasattr(current, "assign") and hasattr(current, "shape") else variables(current), saved.value, what)
    elif saved.kind == "items":
        items = _put(None, saved.value, what, package)
        current.clear()
        if isinstance(current, Mapping):
            for key, value in items:  # not `update`: a Counter's adds
                current[key] = value  # type: ignore[index]
        else:
            current.extend(items)
    elif saved.kind == "numpy":
        current.bit_generator.state = saved.value
    else:
        (current.set_state if saved.kind == "legacy" else current.setstate)(saved.value)
    return current


def _function(saved: Named, what: str, package: str) -> Any:
    module, _, name = saved.name.partition(":")
    found: Any = sys.modules.get(module) if module.partition(".")[0] in ("keras", package) else None
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, types.FunctionType):
        raise CannotRestore(f"{what}: there is no function {saved.name}")
    return found
