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
import hashlib
import inspect
import re
import threading
import types
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from seedbed.run.object_contents import CONTENTS, UNWATCHED, Array, Fixed, Ref, as_array, digest, kind_of, package, tensor_of

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
            return CONTENTS[kind](self, node, place)
        except Exception as error:  # reading may raise anything: OmegaConf's `???`, a property of the user's
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
        if (isinstance(value, IDENTITY) and not module) or id(value) in self._skip or package(kind) in UNWATCHED:
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


def _owner(value: Any) -> Any:
    owner = getattr(value, "__self__", None)
    return None if owner is None or isinstance(owner, types.ModuleType | type) else owner
