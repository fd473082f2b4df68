"""What an object is made of, as one hash: whether a model built for one seed may stand in for that of another.

The hash covers everything that can be reached from the object (attributes, containers, arrays, functions with what they
have closed over), and leaves out what a seed may change without changing the program: the values of variables, and the
seeds that Keras's own initializers and generators were given. Two models with the same hash do the same arithmetic.
Something whose insides can't be seen has no hash (`Unseen`): better to build anew than to guess.
"""

from __future__ import annotations

import contextvars
import copyreg
import enum
import functools
import hashlib
import itertools
import random
import sys
import threading
import types
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

# A seed that Keras's own objects were given or have drawn; it decides values of variables and nothing else.
SEEDS = frozenset({"seed", "_init_seed", "_initial_seed"})

# Keras's and (`_self_…`) TensorFlow's own book-keeping of what an object holds, by `id`.
BOOKS = frozenset({"_tracker", "_trainable_variables_indices", "_nodes"})

OPAQUE = (
    type(threading.Lock()), type(threading.RLock()), threading.Thread, types.GetSetDescriptorType, np.ufunc,
    types.MemberDescriptorType, types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType,
)  # fmt: skip

# What Python itself writes into a module.
OF_PYTHON = frozenset({"__builtins__", "__spec__", "__loader__", "__cached__", "__warningregistry__"})

# Classes written in C whose contents `_Walk` knows how to reach; of another one `__reduce_ex__` says what it holds.
SEEN_IN_C = frozenset({object, dict, list, tuple, set, frozenset, int, float, complex, str, bytes, BaseException, type, threading.local})
STATIC_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE, which every class written in Python has (and some written in C)
LIBRARIES = frozenset({"keras", "tensorflow", "numpy", "tree", "optree", "ml_dtypes", "builtins", "functools", "collections"})


class Unseen(Exception):
    """Something whose state can't be looked into; the message names it."""


def made_of(value: Any, place: str = "") -> str:
    """sha256 of what `value`, which is called `place` in messages, is made of; raises Unseen."""
    walk = _Walk()
    walk.take(value, place)
    return walk.digest.hexdigest()


def state(value: Any, known: Mapping[int, str]) -> str:
    """Hash all that `value` holds, values of variables too; raises Unseen. known: objects that are looked at by themselves, by id."""
    walk = _Walk(values=True, known=known)
    try:
        walk.take(value, "")
    except (Exception, RecursionError) as error:
        raise error if isinstance(error, Unseen) else Unseen(type(error).__name__) from None
    return walk.digest.hexdigest()


def state_of(modules: Iterable[str]) -> dict[str, str]:
    """Hash what the imported ones of `modules` hold, by `module.name`: global variables, and attributes of their classes.

    A run that changes it would not find, in the same process, what a fresh process has. Raises Unseen.
    """
    found = {}
    for name in modules:
        module = sys.modules.get(name)
        if module is None:
            continue
        walk = _Walk(values=True)
        found[name] = ""  # the module itself: a run that imports it is seen, too
        for key, value in list(vars(module).items()):
            if key in OF_PYTHON or _is_elsewhere(value, name):
                continue
            walk.digest = hashlib.sha256()
            try:
                (walk.body if isinstance(value, type) else walk.take)(value, f"{name}.{key}")
            except (Exception, RecursionError) as error:  # what properties and copies of the user's objects raise
                if isinstance(error, Unseen):
                    raise
                raise Unseen(f"{name}.{key} ({type(error).__name__})") from None
            found[f"{name}.{key}"] = walk.digest.hexdigest()
    return found


def _is_elsewhere(value: Any, module: str) -> bool:
    """Whether a global variable of `module` is a module, function or class that another module holds."""
    if isinstance(value, types.ModuleType):
        return True
    return isinstance(value, types.FunctionType | type) and getattr(value, "__module__", module) != module


def clear_caches(modules: Iterable[str]) -> None:
    """Empty the `functools.cache`s of these modules: what a cached function returned belongs to the seeds it was called under."""
    for name in modules:
        for value in list(vars(sys.modules[name]).values()) if name in sys.modules else ():
            if callable(getattr(value, "cache_clear", None)) and getattr(value, "__module__", None) == name:
                value.cache_clear()


class _Walk:
    def __init__(self, values: bool = False, known: Mapping[int, str] | None = None) -> None:
        self.values = values  # whether variables count with their values and generators with their seeds
        self.known = known or {}  # objects that are looked at by themselves, by id, each with what stands for it
        self.library = True  # whether what is being looked at belongs to an object of Keras's own
        self.digest = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.held: list[Any] = []  # so that no id is used twice

    def step(self, *words: Any) -> None:
        self.digest.update("\0".join(map(str, words)).encode(errors="surrogatepass") + b"\1")

    def take(self, value: Any, place: str) -> None:
        kind = type(value)
        if value is None or kind in (bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented), slice, range):
            return self.step(kind.__name__, repr(value))
        if isinstance(value, enum.Enum | np.dtype):
            return self.step(kind.__qualname__, repr(value))
        if isinstance(value, types.ModuleType):
            return self.step("module", value.__name__)
        if id(value) in self.known:
            return self.step("known", self.known[id(value)])
        if id(value) in self.seen:
            return self.step("again", self.seen[id(value)])
        self.seen[id(value)] = len(self.seen)
        self.held.append(value)
        if isinstance(value, type):
            self.step("class", value.__module__, value.__qualname__)
            return self.body(value, place) if "<locals>" in value.__qualname__ else None
        if isinstance(value, np.ndarray | np.generic):
            return self._array(np.asarray(value), place)
        if isinstance(value, Mapping):
            self.step("mapping", kind.__qualname__, len(value))
            for key, item in list(value.items()):
                self.take(key, place)
                self.take(item, f"{place}[{key!r}]")
            return None
        if isinstance(value, set | frozenset):
            return self.step("set", *sorted(f"{type(item).__name__} {made_of(item, place)}" for item in value))
        if isinstance(value, list | tuple) or kind.__name__ == "deque":
            self.step("items", kind.__qualname__, len(value))
            for number, item in enumerate(list(value)):
                self.take(item, f"{place}[{number}]")
            return None
        return self._object(value, kind, place)

    def _array(self, array: np.ndarray, place: str) -> None:
        self.step("array", array.dtype, array.shape)
        if array.dtype.kind == "O":
            for item in array.flat:
                self.take(item, place)
        else:
            self.digest.update(np.ascontiguousarray(array).tobytes())

    def _object(self, value: Any, kind: type, place: str) -> None:
        package = kind.__module__.partition(".")[0]
        if isinstance(value, types.FunctionType):
            return self._function(value, place)
        if isinstance(value, types.MethodType):
            self.take(value.__func__, place)
            return self.take(value.__self__, place)
        if isinstance(value, weakref.ref):
            return self.take(value(), place)
        if isinstance(value, property | staticmethod | classmethod):
            for inner in ("fget", "fset", "__func__"):
                self.take(getattr(value, inner, None), place)
            return None
        if isinstance(value, OPAQUE) or package in ("logging", "abc", "typing"):
            return self.step("opaque", kind.__qualname__)
        if package == "_io":
            return self._file(value, place)
        if isinstance(value, contextvars.ContextVar):
            return self.take((value.name, value.get(None)), place)
        if isinstance(value, np.random.Generator):
            return self.take(value.bit_generator.state, place)
        if isinstance(value, np.random.RandomState):
            return self.take(value.get_state(legacy=False), place)
        if isinstance(value, random.Random):
            return self.step("random", hash(value.getstate()))
        if isinstance(value, itertools.count):
            return self.step("count", repr(value))
        if package in ("keras", "tensorflow") and hasattr(value, "shape") and hasattr(value, "dtype"):
            if hasattr(value, "assign"):  # a variable: its value is what a seed decides
                self.step("variable", kind.__qualname__, value.shape, value.dtype, value.trainable)
                return self._array(np.asarray(value), place) if self.values else None
            if hasattr(value, "numpy"):
                return self._array(np.asarray(value), place)
        if package == "tensorflow" and not hasattr(value, "__dict__"):
            return self.step(kind.__qualname__, repr(value))
        if hasattr(kind, "cache_info"):
            self.step(repr(value.cache_info()))
            return self.take(value.__wrapped__, place)
        if hasattr(kind, "__next__"):
            raise Unseen(f"{place}, a {kind.__name__}")
        if kind is object:
            return self.step("object")
        if package == "pandas" and hasattr(value, "to_numpy"):  # without the look-up tables that it makes as it is asked
            return self._table(value, place)
        if _is_in_c(kind):
            return self._in_c(value, kind, place)
        of_keras = package == "keras" or _is_initializer(value)
        return self.attributes(value, SEEDS if of_keras and self._only_starts(value) else frozenset(), place)

    def _file(self, value: Any, place: str) -> None:
        """An open file: its name and where it is read or written next; of one in memory its contents."""
        self.step("file", type(value).__qualname__, getattr(value, "name", ""), value.closed)
        if hasattr(value, "getvalue") and not value.closed:
            self.take(value.getvalue(), place)
        elif not value.closed and value.seekable():
            try:
                self.step(value.tell())
            except OSError:  # it is being iterated over
                raise Unseen(f"{place}, a file that is being read line by line") from None

    def _table(self, value: Any, place: str) -> None:
        """A DataFrame, Series, Index or array of pandas."""
        self.step("table", type(value).__qualname__, getattr(value, "name", ""))
        if hasattr(value, "index"):
            self._table(value.index, place)
        if not hasattr(value, "columns"):
            return self.take(value.to_numpy(), place)
        self._table(value.columns, place)
        for number in range(len(value.columns)):
            self.take(value.iloc[:, number].to_numpy(), place)
        return None

    def _in_c(self, value: Any, kind: type, place: str) -> None:
        """An object of a class written in C (ctypes, a DataFrame's blocks): what it says of itself to be copied."""
        self.step("in C", kind.__module__, kind.__qualname__)
        try:
            reduced = copyreg.dispatch_table.get(kind)  # as `copy` and `pickle` ask
            parts: Any = reduced(value) if reduced else value.__reduce_ex__(4)
        except Exception:  # the class may raise anything
            raise Unseen(f"{place}, a {kind.__name__}") from None
        for part in (parts,) if isinstance(parts, str) else parts:
            if hasattr(part, "__next__"):
                part = list(part)
            self.take(part, place)

    def _only_starts(self, value: Any) -> bool:
        """Whether a seed of this object decides values of variables and nothing else: Keras's seed generators, and its
        initializers where a layer of Keras's own holds them (one of the user's may call an initializer in its `call`)."""
        if self.values:
            return False
        initializer = hasattr(value, "seed") and not hasattr(value, "weights") and self.library
        return initializer or type(value).__name__ == "SeedGenerator"

    def attributes(self, value: Any, without: frozenset[str], place: str) -> None:
        kind = type(value)
        self.seen.setdefault(id(value), len(self.seen))
        self.step("object", kind.__module__, kind.__qualname__)
        if "<locals>" in kind.__qualname__ and id(kind) not in self.seen:
            self.take(kind, place)
        slots = [name for base in kind.__mro__ for name in _names(base.__dict__.get("__slots__", ())) if not name.startswith("__")]
        if not hasattr(value, "__dict__") and not slots:
            if repr(value) == object.__repr__(value) or " at 0x" in repr(value):
                raise Unseen(f"{place}, a {kind.__name__}")
            return self.step(repr(value))
        held = {name: getattr(value, name) for name in slots if hasattr(value, name)} | dict(getattr(value, "__dict__", {}))
        outer, self.library = self.library, kind.__module__.partition(".")[0] in LIBRARIES
        for name in sorted(held):
            if name not in without and name not in BOOKS and not name.startswith("_self_"):
                self.step(name)
                self.take(held[name], f"{place}.{name}" if place else name)
        self.library = outer
        wrapped = held.get("func"), held.get("args"), held.get("keywords")
        if kind.__name__ == "partial" and wrapped == (None, None, None):
            self.take((value.func, value.args, value.keywords), place)
        return None

    def _function(self, function: types.FunctionType, place: str) -> None:
        self.step("function", function.__module__, function.__qualname__)
        if function.__closure__ is None and str(function.__module__).partition(".")[0] in LIBRARIES:
            return
        self._code(function.__code__, place)
        for cell in function.__closure__ or ():
            try:
                self.take(cell.cell_contents, f"{place}()")
            except ValueError:  # an empty cell
                self.step("empty")
        for part in (function.__defaults__, function.__kwdefaults__, function.__dict__ or None):
            self.take(part, f"{place}()")
        if function.__globals__ is not getattr(sys.modules.get(str(function.__module__)), "__dict__", None):  # made by `exec`
            for name in function.__code__.co_names:
                self.take(function.__globals__.get(name), f"{place}() {name}")

    def _code(self, code: types.CodeType, place: str) -> None:
        """What a function does. Not by `marshal`, whose bytes depend on how often an object is referred to."""
        self.step(code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags)
        self.digest.update(code.co_code)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant, place)
            else:
                self.take(constant, place)

    def body(self, kind: type, place: str) -> None:
        """What a class itself holds: its methods (with their closures) and its attributes."""
        for name, item in sorted(kind.__dict__.items()):
            if name not in ("__dict__", "__weakref__", "__doc__", "__module__", "__abstractmethods__", "_abc_impl", "__annotations__"):
                self.step(name)
                self.take(item, f"{place}.{name}")


@functools.cache
def _is_in_c(kind: type) -> bool:
    """Whether a class, or one that it is derived from, is written in C and may keep something out of sight."""
    methods = (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType)
    for base in kind.__mro__:
        if base in SEEN_IN_C:
            continue
        held = vars(base)
        fields = {name for name, item in held.items() if isinstance(item, types.GetSetDescriptorType)} - {"__dict__", "__weakref__"}
        file = str(getattr(sys.modules.get(base.__module__), "__file__", ""))
        if not base.__flags__ & STATIC_TYPE or fields or file.endswith((".so", ".pyd")):
            return True
        if any(isinstance(item, methods) for item in held.values()):
            return True
    return False


def _is_initializer(value: Any) -> bool:
    """Whether it is an initializer, one of the user's own too; `_only_starts` asks whether a layer of Keras's own holds it."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.initializers.Initializer)


def _names(slots: Any) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots
