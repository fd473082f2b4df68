"""What an object has come to while a model was trained, as data that can be written down and put back.

For callbacks, which may be anybody's: numbers, texts, arrays and containers of them are taken as they are; the state of
objects that a callback holds (metrics, variables, generators, objects of the user's own) goes back into those objects.
Nothing is pickled, and nothing that a file says is called.
"""

from __future__ import annotations

import datetime
import enum
import functools
import io
import random
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

# Attributes that Keras sets on every callback; not its state.
NOT_STATE = frozenset({"model", "_model", "params", "validation_data"})

# What an object is made of, not what it has come to.
FIXTURES = (
    types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type, functools.partial, PurePath, io.IOBase,
    np.dtype, np.ufunc, enum.Enum, type(threading.Lock()), type(threading.RLock()),
)  # fmt: skip

# Times of day can't decide a result that repeats.
CLOCK = (datetime.date, datetime.time, datetime.timedelta)


class CannotSave(Exception):
    """State of a kind that can't be written down; the message names it."""


class CannotRestore(Exception):
    """State that doesn't fit what is there now; the message names it."""


@dataclass(frozen=True)
class Inside:
    """State that goes back into the object that has it.

    kind: attributes (value: a dict), variables (a list of arrays), items (a list, or a mapping's pairs), or the generator
    whose state it is: numpy, legacy, python. A NumPy scalar (an array) and a tensor (a list of one) are made anew.
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


def made_of(callback: Any) -> dict[str, Any]:
    """What a callback holds that isn't data, by place; taken when training begins, so that `of` sees what has been replaced."""
    walk = _Walk(callback)
    for name, value in vars(callback).items():
        with suppress(CannotSave):
            walk.state(value, name)
    return walk.made


def of(callback: Any, begun: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A callback's attributes that are data, and the state of the objects that it holds.

    begun: what it was made of when training began; an object that is new since then wouldn't be there after a restart.
    Raises CannotSave for that, and for whatever else can't be written down, in a callback that isn't Keras's own.
    """
    walk = _Walk(callback)
    state: dict[str, Any] = {}
    for name, value in vars(callback).items():
        if name in NOT_STATE:
            continue
        try:
            found = walk.state(value, name)
        except CannotSave as error:
            if walk.package == "keras":
                continue
            raise CannotSave(f"{type(callback).__name__}.{name} is or holds {error}") from None
        if found is not FIXTURES:
            state[name] = found
    before = walk.made if begun is None or walk.package == "keras" else begun
    for place, held in walk.made.items():
        if not _same(before.get(place), held):
            raise CannotSave(f"{type(callback).__name__}.{place} is a {type(held).__name__} that was put there during training")
    return state


def _same(before: Any, now: Any) -> bool:
    return before is now or (type(before) is type(now) and isinstance(now, PurePath | np.dtype | types.MethodType) and bool(before == now))


class _Walk:
    """One reading of a callback: what has been met, and by place what it is made of."""

    def __init__(self, callback: Any) -> None:
        self.package = type(callback).__module__.partition(".")[0]
        self.seen: dict[int, Any] = {id(callback): callback}
        self.made: dict[str, Any] = {}

    def state(self, value: Any, place: str) -> Any:
        """What is to be written down of `value`; FIXTURES for nothing. Raises CannotSave."""
        kind, what = type(value), f"a {type(value).__name__}"
        if value is None or kind in (bool, int, float, str):
            return value
        if isinstance(value, CLOCK):
            return FIXTURES
        if kind is types.FunctionType and value.__module__.partition(".")[0] in ("keras", self.package) and "<" not in value.__qualname__:
            return Named(f"{value.__module__}:{value.__qualname__}")
        if isinstance(value, FIXTURES):
            self.made[place] = value
            return FIXTURES
        if isinstance(value, np.generic):
            return Inside("scalar", array(value))
        library = kind.__module__.partition(".")[0] in ("keras", "tensorflow")
        if library and hasattr(value, "shape") and hasattr(value, "__array__") and not hasattr(value, "assign"):
            return Inside("tensor", [array(value)])
        if kind is tuple:
            return self._all(value, place, what, tuple)
        if isinstance(value, bool | int | float | str | bytes | tuple) or hasattr(value, "__next__"):
            raise CannotSave(what)  # a kind of its own that would come back as another; something that is used up
        if id(value) in self.seen:
            if isinstance(value, list | dict | np.ndarray):  # two attributes would be two lists after a restart
                raise CannotSave(f"{what} that something else holds, too")
            return FIXTURES  # written down where it was met first
        self.seen[id(value)] = value
        if kind is np.ndarray:
            if value.dtype.kind == "O":
                raise CannotSave("an array of Python objects")
            return array(value)
        if kind is list:
            return self._all(value, place, what, list)
        if kind is dict:
            items = self._all(value.values(), place, what, list)
            if not all(isinstance(key, str | int | float | None) for key in value):
                raise CannotSave(f"{what} with keys that are neither text nor numbers")
            return items if items is FIXTURES else dict(zip(value, items, strict=True))
        self.made[place] = value
        return self._inside(value, place, what, library)

    def _inside(self, value: Any, place: str, what: str, library: bool) -> Any:
        """The state of an object, to be put back into it."""
        if isinstance(value, np.random.Generator):
            return Inside("numpy", value.bit_generator.state)
        if isinstance(value, np.random.RandomState):
            return Inside("legacy", value.get_state())
        if isinstance(value, random.Random):
            return Inside("python", value.getstate())
        if isinstance(value, list | deque):
            return Inside("items", self._all(value, place, what, list))
        if isinstance(value, Mapping):
            return Inside("items", list(zip(value, self._all(value.values(), place, what, list), strict=True)))
        if library and (held := variables(value)):
            return Inside("variables", [array(variable) for variable in held])
        wrapped = hasattr(value, "on_epoch_end")  # a callback in a callback
        if library and not wrapped:
            return FIXTURES
        if not hasattr(value, "__dict__"):
            raise CannotSave(what)
        taken = {name: item for name, item in vars(value).items() if not (wrapped and name in NOT_STATE)}
        attributes = {name: self.state(item, f"{place}.{name}") for name, item in taken.items()}
        return Inside("attributes", {name: item for name, item in attributes.items() if item is not FIXTURES})

    def _all(self, values: Iterable[Any], place: str, what: str, kind: Callable[[Any], Any]) -> Any:
        """What is to be written down of each; FIXTURES if all of them are."""
        items = [self.state(value, f"{place}[{number}]") for number, value in enumerate(values)]
        fixtures = sum(item is FIXTURES for item in items)
        if 0 < fixtures < len(items):
            raise CannotSave(f"{what} of data and other things")
        return FIXTURES if fixtures else kind(items)


def variables(value: Any) -> Sequence[Any]:
    """The variables of an object of Keras's or TensorFlow's: a metric's, a layer's, a seed generator's."""
    if hasattr(value, "assign") and hasattr(value, "shape"):
        return [value]
    found = getattr(value, "variables", None) or [getattr(value, "state", None)]
    return [variable for variable in found if hasattr(variable, "assign")]


def fits(held: Sequence[Any], saved: Sequence[np.ndarray], what: str) -> None:
    """Raises CannotRestore if these variables aren't the ones that were saved."""
    if [tuple(variable.shape) for variable in held] != [value.shape for value in saved]:
        raise CannotRestore(f"{what} has variables of other shapes than those that were saved")


def assign(held: Sequence[Any], saved: Sequence[np.ndarray], what: str) -> None:
    """Set variables; raises CannotRestore, before any is set, if they aren't the ones that were saved."""
    fits(held, saved, what)
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
        inner: Any = current if type(current) is type(saved) and len(current) == len(saved) else [None] * len(saved)
        return type(saved)([_put(*pair, what, package) for pair in zip(inner, saved, strict=True)])
    if isinstance(saved, dict):
        return {key: _put(current.get(key) if isinstance(current, dict) else None, item, what, package) for key, item in saved.items()}
    if not isinstance(saved, Inside):
        return saved
    if saved.kind == "scalar":
        return saved.value[()]
    if saved.kind == "tensor":
        return sys.modules["tensorflow"].constant(saved.value[0])
    if current is None:
        raise CannotRestore(f"{what} no longer holds the object that had this state")
    if saved.kind == "attributes":
        for name, value in saved.value.items():
            there = getattr(current, name, None)
            new = _put(there, value, f"{what}.{name}", package)
            if new is there or (type(new) in (bool, int, float, str, tuple) and repr(new) == repr(there)):
                continue  # what is as it was need not be set, and perhaps can't be
            try:
                setattr(current, name, new)
            except Exception as error:  # a frozen data class, a property
                raise CannotRestore(f"{what}.{name} can't be set: {error}") from None
    elif saved.kind == "variables":
        assign(variables(current), saved.value, what)
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
