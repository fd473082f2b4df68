"""The Python state that a run can reach, as nodes with places and contents.

A node is what can be changed in place: an object with attributes, a list, dict or set, an array, a variable, a generator, a
function's closure, a class or a module. Its content says what it holds: values as they are, other nodes by their places
(`Ref`), and what can only be compared (`Fixed`). Two contents of one node are equal exactly if nothing that it holds by itself
has changed, so that sharing and cycles need no special case.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import inspect
import io
import itertools
import pickle
import random
import re
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from seedbed.run import provenance

# Attributes of Keras's and TensorFlow's objects that are no state of a run, each with its reason. (Keras 3.15)
BOOKKEEPING: Mapping[str, str] = {
    "_jax_state": "the variables' values during fit on JAX",
    "_jax_state_synced": "the same",
    "_tracker": "an index of what the object holds",
    "_tracked": "names of tracked attributes",
    "_trainable_variables_indices": "an index by id",
    "_nodes": "the graph of layers, fixed once it is built",
    "_nodes_by_depth": "the same",
    "_operations_by_depth": "the same",
    "_inbound_nodes": "the same",
    "_outbound_nodes": "the same",
    "_nodes_by_id": "the same",
    "_saved_model_inputs_spec": "for saving",
    "_saved_model_arg_spec": "for saving",
    "_auto_config": "for saving",
    "_compile_config": "for saving",
    "_build_shapes_dict": "for saving",
    "_losses": "those of the last call",
    "_loss_ids": "the same",
    "_losses_override": "the same",
    "_called": "whether the layer has been called",
    "_call_signature": "of the class",
    "_parent_path": "a name",
    "_exclude_from_weight_decay_cache": "by the names of variables",
    "_flat_losses": "made from the compiled losses with the first batch",
    "_flat_metrics": "the same, of metrics",
    "_flat_weighted_metrics": "the same",
    "_resolved_output_names": "the same",
    "_y_pred_build_structure": "the same",
    "_y_true_build_structure": "the same",
    "_distribution_strategy": "fixed when the object is made",
    "_distribute_strategy": "the same",
    "_torch_params": "variables, under another name",
    "_parameters": "the same",
    "_modules": "PyTorch's registry of what the object holds; `torch_params` comes with the first batch",
    "_buffers": "the same",
}  # fmt: skip
# Those of models alone: an attribute `history` of a layer of the user's is state. (What can be fitted is a model.)
OF_MODELS: Mapping[str, str] = {
    "history": "History of the last fit; a resumed run makes it from the record's history",
    "stop_training": "in the checkpoint by itself",
    "stop_evaluating": "set by evaluate",
    "stop_predicting": "set by predict",
    "train_function": "the traced step",
    "test_function": "the traced step",
    "predict_function": "the traced step",
    "steps_per_execution": "set by seedbed before each fit",
    "unrolled_steps_per_execution": "belongs to the traced step",
    "_compiled_trainable_state": "noted by compile, and again by the traced step",
    "_eval_epoch_iterator": "fit's validation data",
    "_initial_epoch": "fit's argument",
}  # fmt: skip

# Set by the first batch on Keras's own containers of losses and metrics.
BUILT_LATE = frozenset({"CompileLoss", "CompileMetrics"})

# Attributes that Keras sets on every callback; not its state.
OF_CALLBACKS = frozenset({"model", "_model", "params", "validation_data"})

ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})

# Times of day can't decide a result that repeats.
CLOCK = (datetime.date, datetime.time, datetime.timedelta)

# Values that never change; they are compared by ==.
CONSTANT = (
    PurePath, np.dtype, enum.Enum, re.Pattern, decimal.Decimal, fractions.Fraction, range, slice, type(Ellipsis), type(NotImplemented),
    bool, int, float, str, bytes,
)  # fmt: skip

# What an object is made of, compared by identity.
IDENTITY = (
    types.ModuleType, types.BuiltinFunctionType, types.CodeType, types.MethodDescriptorType, types.WrapperDescriptorType,
    types.GetSetDescriptorType, types.MemberDescriptorType, types.MethodWrapperType, np.ufunc, threading.Thread,
    inspect.Signature,
)  # fmt: skip

# The node that holds the roots, and what the place of a root begins with that is a module.
ROOTS = "the run"
MODULE = "module "

LIBRARIES = frozenset({"keras", "tensorflow", "numpy", "jax", "jaxlib", "torch"})
UNWATCHED = frozenset({"logging", "abc", "_abc", "typing", "rich", "tqdm", "seedbed", "concurrent", "multiprocessing", "inspect"})


class Unseen(Exception):
    """Something whose state can't be looked into; the message names it."""


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


@dataclass
class Node:
    """place: what people would call it. value: the object itself, held so that no id is used twice. root: where its place begins."""

    place: str
    value: Any
    kind: str
    content: Any
    root: str

    def token(self) -> str:
        """A hash of the content, the same in another process."""
        return hashlib.sha256(repr(self.content).encode(errors="surrogatepass")).hexdigest()[:16]


class Graph:
    """All nodes that can be reached from `roots`, by place.

    roots: by name, in the order in which they are walked; a node's place is the shortest way from the first root that leads to
    it. before: an earlier graph of the same roots, whose nodes keep their places. skip: objects that are looked after
    elsewhere (the model's variables).
    """

    def __init__(self, roots: Mapping[str, Any], before: Graph | None = None, skip: Iterable[Any] = ()) -> None:
        self.nodes: dict[str, Node] = {}
        self.places: dict[int, str] = dict(before.places) if before else {}
        self.held: list[Any] = list(before.held) if before else []  # of nodes that are gone: their places stay theirs
        self._taken = set(self.places.values())
        self._skip = {id(value): value for value in skip}
        self._waiting: deque[tuple[str, Any]] = deque()
        self._done: set[int] = set()
        for name, value in roots.items():  # all of them first: each keeps its own name
            if self._is_node(value):
                self._place(value, name)
        content = {}
        for name, value in roots.items():
            content[name] = self.content(value, name)
            while self._waiting:
                place, node = self._waiting.popleft()
                kind = kind_of(node)
                self.nodes[place] = Node(place, node, kind, self._content_of(node, kind, place), name)
        self.nodes[ROOTS] = Node(ROOTS, roots, "roots", content, ROOTS)

    def _is_node(self, value: Any) -> bool:
        constant = isinstance(value, (*CONSTANT, *CLOCK, *IDENTITY, np.generic, tuple, frozenset, types.MethodType, weakref.ref))
        return not (constant and not isinstance(value, types.ModuleType)) and type(value) not in ATOMS and not tensor_of(value)

    def _content_of(self, node: Any, kind: str, place: str) -> Any:
        try:
            return _CONTENTS[kind](self, node, place)
        except Exception as error:  # whatever a type of somebody's does when it is read: OmegaConf's `???`, a property that raises
            return Fixed(f"a {type(node).__name__}, whose state can't be seen", type(error).__name__, node)

    def _place(self, value: Any, place: str) -> str:
        if id(value) not in self.places:
            self.places[id(value)] = self._free(place)
            self.held.append(value)
        return self.places[id(value)]

    def content(self, value: Any, place: str) -> Any:
        """What stands for `value` in the content of what holds it."""
        kind = type(value)
        if kind in ATOMS:
            return value
        if kind is tuple:
            return tuple(self.content(item, f"{place}[{number}]") for number, item in enumerate(value))
        if isinstance(value, CLOCK):
            return Fixed("a time", "")
        if isinstance(value, np.generic) and kind.__module__ == "numpy":
            return Array("scalar", digest(np.asarray(value)), np.asarray(value))
        if isinstance(value, CONSTANT):
            return Fixed(f"a {kind.__name__}", repr(value))
        if isinstance(value, tuple | frozenset):
            items = value if isinstance(value, tuple) else sorted(value, key=repr)
            return Fixed(f"a {kind.__name__}", tuple(self.content(item, f"{place}[{number}]") for number, item in enumerate(items)))
        if isinstance(value, types.MethodType) or (isinstance(value, types.BuiltinFunctionType) and _owner(value) is not None):
            return Fixed(f"a {kind.__name__}", (self.content(value.__self__, f"{place}.__self__"), value.__name__))
        module = isinstance(value, types.ModuleType) and place.startswith(MODULE)
        if (isinstance(value, IDENTITY) and not module) or id(value) in self._skip or _package(kind) in UNWATCHED:
            return Fixed(f"a {kind.__name__}", getattr(value, "__name__", ""), value)
        if isinstance(value, weakref.ref):
            return Fixed("a weak reference", self.content(value(), place))
        if library := tensor_of(value):
            return Array(library, digest(as_array(value)), value)
        if id(value) not in self._done:
            self._done.add(id(value))
            self._waiting.append((self._place(value, place), value))
        return Ref(self.places[id(value)])

    def _free(self, place: str) -> str:
        number, free = 1, place
        while free in self._taken:
            number += 1
            free = f"{place} #{number}"
        self._taken.add(free)
        return free


def kind_of(value: Any) -> str:
    """The kind of node that a value is: a key of _CONTENTS. Raises nothing."""
    for kind, types_ in _KINDS:
        if isinstance(value, types_):
            return kind
    if is_variable(value):
        return "variable"
    if _package(type(value)) == "torch" and hasattr(value, "data_ptr"):
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
    if _package(type(value)) == "torch":
        value = value.detach().cpu()
    return np.array(np.asarray(value))  # np.array alone asks for the copy in a way that Keras 3.15's variables warn about


def tensor_of(value: Any) -> str:
    """The library of a tensor that can't be changed in place; '' for anything else."""
    library = _package(type(value))
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
        left_out |= OF_CALLBACKS
    elif _is_keras(value):
        left_out |= BOOKKEEPING.keys() | (OF_MODELS.keys() if hasattr(value, "fit") else set())
    if _package(type(value)) == "keras":
        left_out.add("tracker")  # of a tracked container: an index of what it holds
    if type(value).__name__ in BUILT_LATE and _package(type(value)) == "keras":
        left_out |= {"built", "_metrics", "output_names"}
    for name in (*getattr(value, "__dict__", {}), *slots(type(value))):
        if name not in left_out and not name.startswith(("__", "_self_")) and hasattr(value, name):
            yield name


def _is_keras(value: Any) -> bool:
    return any(base.__module__.partition(".")[0] in ("keras", "tensorflow", "torch") for base in type(value).__mro__)


def slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (name for name in ((slots,) if isinstance(slots, str) else slots) if name not in ("__dict__", "__weakref__"))


def _package(kind: type) -> str:
    return str(kind.__module__).partition(".")[0]


def _owner(value: Any) -> Any:
    owner = getattr(value, "__self__", None)
    return None if owner is None or isinstance(owner, types.ModuleType | type) else owner


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
    if _package(kind) == "tensorflow":
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


_KINDS: tuple[tuple[str, Any], ...] = (
    ("module", types.ModuleType), ("class", type), ("function", types.FunctionType), ("cell", types.CellType),
    ("lock", (type(threading.Lock()), type(threading.RLock()))), ("file", io.IOBase),
    ("generator", (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)),
    ("array", np.ndarray), ("mapping", Mapping), ("set", set), ("list", (list, deque)),
    ("iterator", (types.GeneratorType, itertools.count)),
)  # fmt: skip
_CONTENTS: Mapping[str, Callable[[Graph, Any, str], Any]] = {
    "module": _module, "class": _class, "function": _function, "cell": _cell, "lock": _lock, "file": _file, "generator": _generator,
    "array": _array, "mapping": _mapping, "set": _set, "list": _list, "iterator": _iterator, "variable": _variable,
    "torch tensor": _variable, "cache": _cache, "object": _object, "opaque": _opaque,
}  # fmt: skip
