"""How each kind of object is read: what it holds, as a content that can be compared (see `object_graph`)."""

from __future__ import annotations

import functools
import hashlib
import inspect
import io
import itertools
import pickle
import random
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seedbed.run import keras_books, provenance

if TYPE_CHECKING:
    from seedbed.run.object_graph import Graph

LIBRARIES = frozenset({"keras", "tensorflow", "numpy", "jax", "jaxlib", "torch"})
UNWATCHED = frozenset({"logging", "abc", "_abc", "typing", "rich", "tqdm", "seedbed", "concurrent", "multiprocessing", "inspect"})


@dataclass(frozen=True)
class Ref:
    """Another node, by its place."""

    place: str


@dataclass(frozen=True)
class Array:
    """The values of an array; kind: array, scalar (NumPy's), or the library whose tensor it is."""

    kind: str
    digest: str
    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and (self.kind, self.digest) == (other.kind, other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Array({self.kind}, {self.digest})"


@dataclass(frozen=True)
class Fixed:
    """Something that can be compared and not written down. token: equal for equal things, in other processes too."""

    what: str
    token: Any
    value: Any = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fixed) or (self.what, self.token) != (other.what, other.token):
            return False
        return self.value is None or self.value is other.value

    def __hash__(self) -> int:
        return hash(self.what)

    def __repr__(self) -> str:
        return f"Fixed({self.what}, {self.token!r})"


def kind_of(value: Any) -> str:
    """The kind of node that a value is: a key of CONTENTS. Raises nothing."""
    for kind, types_ in KINDS:
        if isinstance(value, types_):
            return kind
    if is_variable(value):
        return "variable"
    if package(type(value)) == "torch" and hasattr(value, "data_ptr"):
        return "torch tensor"
    if hasattr(value, "cache_info") and hasattr(value, "__wrapped__"):
        return "cache"
    if hasattr(value, "__next__") and not hasattr(value, "__dict__"):
        return "iterator"
    if hasattr(value, "__dict__") or any(True for _ in slots(type(value))):
        return "object"
    return "opaque"


def digest(array: np.ndarray) -> str:
    """A hash of an array's dtype, shape and values."""
    found = hashlib.sha256(f"{array.dtype} {array.shape} ".encode())
    found.update(np.ascontiguousarray(array).tobytes() if array.dtype.kind != "O" else repr(array).encode())
    return found.hexdigest()[:32]


def as_array(value: Any) -> np.ndarray:
    """A copy of a variable, tensor or array."""
    if package(type(value)) == "torch":
        value = value.detach().cpu()
    return np.array(np.asarray(value))  # np.array alone asks for the copy in a way that Keras 3.15's variables warn about


def tensor_of(value: Any) -> str:
    """The library of a tensor that can't be changed in place; '' for anything else."""
    library = package(type(value))
    plain = library in ("tensorflow", "jax", "jaxlib") and hasattr(value, "shape") and hasattr(value, "__array__")
    if not plain or hasattr(value, "assign") or (library == "tensorflow" and not hasattr(value, "numpy")):
        return ""
    return "tensorflow" if library == "tensorflow" else "jax"


def is_variable(value: Any) -> bool:
    """Whether it is a variable of Keras's or TensorFlow's."""
    return hasattr(value, "assign") and hasattr(value, "shape") and hasattr(value, "dtype")


@functools.cache
def is_own(module: str) -> bool:
    """Whether code in a module of that name is the user's or a helper's of theirs: no library that a lock names, nor Python."""
    top = module.partition(".")[0]
    if top in LIBRARIES | UNWATCHED or (top in sys.stdlib_module_names and top != "__main__"):
        return False
    return top == "__main__" or provenance.is_own_module(module) or provenance.is_helper(top)


def state_names(value: Any) -> Iterator[str]:
    """The attributes of an object that are its state."""
    left_out: set[str] = set()
    if hasattr(value, "on_epoch_end"):  # Keras keeps no books on callbacks
        left_out |= keras_books.OF_CALLBACKS
    else:
        left_out |= keras_books.names(type(value))
    if package(type(value)) == "keras":
        left_out.add("tracker")  # of a tracked container: an index of what it holds
    if type(value).__name__ in keras_books.BUILT_LATE and package(type(value)) == "keras":
        left_out |= {"built", "_metrics", "output_names"}
    for name in (*getattr(value, "__dict__", {}), *slots(type(value))):
        if name not in left_out and not name.startswith(("__", "_self_")) and hasattr(value, name):
            yield name


def slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (name for name in ((slots,) if isinstance(slots, str) else slots) if name not in ("__dict__", "__weakref__"))


def package(kind: type) -> str:
    return str(kind.__module__).partition(".")[0]


# The contents of each kind of node.


def _list(graph: Graph, value: Any, place: str) -> Any:
    return [graph.content(item, f"{place}[{number}]") for number, item in enumerate(list(value))]


def _mapping(graph: Graph, value: Any, place: str) -> Any:
    return [(graph.content(key, f"{place} key"), graph.content(item, f"{place}[{key!r:.40}]")) for key, item in list(value.items())]


def _set(graph: Graph, value: Any, place: str) -> Any:
    return sorted((graph.content(item, f"{place} item") for item in list(value)), key=repr)


def _array(graph: Graph, value: Any, place: str) -> Any:
    if value.dtype.kind == "O":
        return [graph.content(item, f"{place}[{number}]") for number, item in enumerate(value.ravel().tolist())]
    return Array("array", digest(value), value)


def _variable(graph: Graph, value: Any, place: str) -> Any:
    try:
        return Array("array", digest(as_array(value)), value)
    except Exception as error:  # one of several replicas' own
        return Fixed("a variable", type(error).__name__, value)


def _generator(graph: Graph, value: Any, place: str) -> Any:
    if isinstance(value, np.random.Generator):
        state: Any = value.bit_generator.state
    elif isinstance(value, np.random.BitGenerator):
        state = value.state
    elif isinstance(value, np.random.RandomState):
        state = value.get_state()
    else:
        state = value.getstate()
    return _plain(state)


def _plain(value: Any) -> Any:
    """Nested tuples, lists, dicts and arrays as a content."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, np.ndarray):
        return Array("array", digest(value), value.copy())
    return value


def _function(graph: Graph, value: Any, place: str) -> Any:
    if not is_own(str(value.__module__)) and not value.__closure__:
        return {"name": f"{value.__module__}:{value.__qualname__}"}
    names = value.__code__.co_freevars
    cells = {name: graph.content(cell, f"{place}.{name}") for name, cell in zip(names, value.__closure__ or (), strict=True)}
    arguments = value.__code__.co_varnames[: value.__code__.co_argcount]
    defaults = dict(zip(arguments[::-1], (value.__defaults__ or ())[::-1], strict=False)) | (value.__kwdefaults__ or {})
    return {
        "name": f"{value.__module__}:{value.__qualname__}",
        **{f"closure {name}": item for name, item in cells.items()},
        **{f"default {name}": graph.content(item, f"{place}({name}=)") for name, item in defaults.items()},
        **{name: graph.content(item, f"{place}.{name}") for name, item in vars(value).items() if not name.startswith("__")},
    }


def _cell(graph: Graph, value: Any, place: str) -> Any:
    try:
        return (graph.content(value.cell_contents, place),)
    except ValueError:
        return ()


def _class(graph: Graph, value: Any, place: str) -> Any:
    found = {"name": f"{value.__module__}:{value.__qualname__}"}
    if not is_own(value.__module__):
        return found
    for name, item in vars(value).items():
        if name.startswith("__") or name.startswith("_abc_") or name == "_keras_api_names":
            continue
        while isinstance(item, property | staticmethod | classmethod):
            item = item.fget if isinstance(item, property) else item.__func__
        found[name] = graph.content(item, f"{place}.{name}")
    return found | {
        f"base {number}": graph.content(base, base.__name__) for number, base in enumerate(value.__bases__) if is_own(base.__module__)
    }


def _module(graph: Graph, value: Any, place: str) -> Any:
    name, found = value.__name__, {}
    for key, item in list(vars(value).items()):
        if key.startswith("__") or isinstance(item, types.ModuleType):
            continue
        if isinstance(item, type | types.FunctionType) and item.__module__ != name:
            continue
        found[key] = graph.content(item, f"{place}.{key}")
    return found


def _object(graph: Graph, value: Any, place: str) -> Any:
    found: dict[str, Any] = {}
    kind = type(value)
    if kind is functools.partial:
        found |= {"func": graph.content(value.func, f"{place}.func"), "args": graph.content(value.args, f"{place}.args"),
                  "keywords": graph.content(value.keywords, f"{place}.keywords")}  # fmt: skip
    if package(kind) == "tensorflow":
        inner = getattr(value, "_python_function", None)  # of a tf.function
        state = getattr(value, "state", None)  # of a tf.random.Generator
        found |= {"_python_function": graph.content(inner, place)} if inner is not None else {}
        return found | ({"state": graph.content(state, f"{place}.state")} if is_variable(state) else {})
    for name in state_names(value):
        held = vars(value)[name] if name in getattr(value, "__dict__", {}) else getattr(value, name)
        found[name] = graph.content(held, f"{place}.{name}")
    if isinstance(value, threading.local):
        found = {name: graph.content(item, f"{place}.{name}") for name, item in vars(value).items()}
    if is_own(kind.__module__):
        found["class"] = graph.content(kind, kind.__name__)
    return found


def _lock(graph: Graph, value: Any, place: str) -> Any:
    return Fixed("a lock", "", value)


def _file(graph: Graph, value: Any, place: str) -> Any:
    try:
        where = value.tell() if not value.closed and value.readable() else None
    except (OSError, ValueError):
        where = None
    return Fixed("an open file", (bool(value.closed), where))


def _iterator(graph: Graph, value: Any, place: str) -> Any:
    if isinstance(value, types.GeneratorType):
        state = inspect.getgeneratorstate(value)
        held = {} if value.gi_frame is None else dict(value.gi_frame.f_locals)
        inner = [(name, graph.content(item, f"{place}.{name}")) for name, item in held.items()]
        return Fixed("a generator", (state, value.gi_frame.f_lasti if value.gi_frame else None, tuple(inner)))
    if isinstance(value, itertools.count):
        return Fixed("a count", repr(value))
    return _opaque(graph, value, place)


def _cache(graph: Graph, value: Any, place: str) -> Any:
    return Fixed("a cache of a function", value.cache_info().currsize)


def _opaque(graph: Graph, value: Any, place: str) -> Any:
    what = f"a {type(value).__name__}"
    if type(value).__module__ in LIBRARIES or type(value).__module__.partition(".")[0] in LIBRARIES or type(value) is object:
        return Fixed(what, "", value)
    try:
        return Fixed(what, hashlib.sha256(pickle.dumps(value, 4)).hexdigest()[:32])
    except Exception:  # anything that a type does there
        return Fixed(f"{what}, whose state can't be seen", "")


KINDS: tuple[tuple[str, Any], ...] = (
    ("module", types.ModuleType), ("class", type), ("function", types.FunctionType), ("cell", types.CellType),
    ("lock", (type(threading.Lock()), type(threading.RLock()))), ("file", io.IOBase),
    ("generator", (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)),
    ("array", np.ndarray), ("mapping", Mapping), ("set", set), ("list", (list, deque)),
    ("iterator", (types.GeneratorType, itertools.count)),
)  # fmt: skip
CONTENTS: Mapping[str, Callable[[Graph, Any, str], Any]] = {
    "module": _module, "class": _class, "function": _function, "cell": _cell, "lock": _lock, "file": _file, "generator": _generator,
    "array": _array, "mapping": _mapping, "set": _set, "list": _list, "iterator": _iterator, "variable": _variable,
    "torch tensor": _variable, "cache": _cache, "object": _object, "opaque": _opaque,
}  # fmt: skip
