"""Save what Python code has changed in the objects of a run, and put it back into another process's, without pickle.

Numbers, text, arrays and containers of them are written down; what objects hold of each other, by its place in the graph of
objects (`object_graph`). Nothing that a file says is called.
"""

from __future__ import annotations

import sys
import types
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seedbed.run.object_contents import Array, Fixed, Ref, as_array, is_own, slots
from seedbed.run.object_graph import MODULE, Graph, Node

# Containers that can be made again where they are new; others are refused.
CREATED: Mapping[str, Callable[[], Any]] = {
    "builtins.list": list, "builtins.dict": dict, "builtins.set": set, "collections.deque": deque, "collections.Counter": Counter,
    "collections.OrderedDict": OrderedDict,
}  # fmt: skip
TRACKED = "keras.src.utils.tracking."  # what Keras makes of a list, dict or set that becomes an attribute of a layer


class CannotSave(Exception):
    """State of a kind that can't be written down; the message names it."""


class CannotRestore(Exception):
    """State that doesn't fit what is there now; the message names it."""


@dataclass(frozen=True)
class Inside:
    """A value that JSON has no kind for.

    kind: node (another object, by its place), new (one that is made), begun (what is there when training begins), scalar (of
    NumPy), tensorflow or jax (a tensor), bytes, complex.
    """

    kind: str
    value: Any


@dataclass(frozen=True)
class Named:
    """A function of Keras's or of the user's own code, as `module:name`."""

    name: str


def changes(built: Graph, begun: Graph, now: Graph) -> dict[str, Any]:
    """What has changed since the objects were built, to be written down.

    built, begun: the graphs before and after the callbacks' `on_train_begin`. Raises CannotSave for what can't be written.
    """
    return _Saving(built, begun, now).saved()


def put(built: Graph, begun: Graph, saved: Mapping[str, Any]) -> None:
    """Put back what `changes` returned in another process. Raises CannotRestore."""
    try:
        _Restoring(built, begun, saved).put()
    except (AttributeError, TypeError, ValueError) as error:  # of an object that doesn't take what it had
        raise CannotRestore(f"Python state can't be put back: {error}") from error


def undo(built: Graph, now: Graph, wanted: Callable[[Node], bool]) -> None:
    """Set nodes back to what they held when they were built, as far as that is known. Raises CannotRestore."""
    _Restoring(built, now, {"changed": {}, "new": {}}).undo(wanted)


class _Saving:
    def __init__(self, built: Graph, begun: Graph, now: Graph) -> None:
        self.built, self.begun, self.now = built, begun, now
        self.new: dict[str, Any] = {}
        self.packages = _packages(begun)

    def saved(self) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for place, node in self.now.nodes.items():
            unseen = isinstance(node.content, Fixed) and "can't be seen" in node.content.what
            if unseen and not node.root.startswith(MODULE):
                raise CannotSave(f"{place} is {node.content.what}")
            before, begun = self.built.nodes.get(place), self.begun.nodes.get(place)
            if begun is None or (before is not None and before.content == node.content):
                continue
            entry = self._entry(node, before, begun)
            if entry is not None:
                changed[place] = entry
        return {"changed": changed, "new": self.new}

    def _entry(self, node: Node, before: Node | None, begun: Node) -> Any:
        if not isinstance(node.content, dict) or node.kind == "generator":
            return {"kind": node.kind, "content": self._item(node.place, node.content, begun.content, node)}
        old, items = before.content if before is not None else {}, {}
        for name, content in node.content.items():
            if old.get(name, Inside("absent", "")) != content:
                place = node.place if node.kind == "roots" else f"{node.place}.{name}"
                items[name] = self._item(place, content, begun.content.get(name, Inside("absent", "")), node)
        gone = [name for name in old if name not in node.content]
        return {"kind": node.kind, "attributes": items, "gone": gone} if items or gone else None

    def _item(self, place: str, content: Any, begun: Any, node: Node) -> Any:
        try:
            return self._encoded(content, place)
        except CannotSave:
            if content == begun or self._is_lenient(node.place):
                return Inside("begun", None)
            raise

    def _is_lenient(self, place: str) -> bool:
        """Whether it is a callback of Keras's own: what these keep that can't be saved decides no result."""
        value = self.now.nodes[place].value if place in self.now.nodes else None
        return hasattr(value, "on_epoch_end") and type(value).__module__.partition(".")[0] == "keras"

    def _encoded(self, content: Any, place: str) -> Any:
        if isinstance(content, Array):
            return as_array(content.value) if content.kind == "array" else Inside(content.kind, as_array(content.value))
        if isinstance(content, Fixed):
            raise CannotSave(f"{place} is or holds {content.what}")
        if isinstance(content, Ref):
            return self._reference(content.place, place)
        if isinstance(content, bytes):
            return Inside("bytes", np.frombuffer(content, np.uint8))
        if isinstance(content, complex):
            return Inside("complex", [content.real, content.imag])
        if isinstance(content, tuple | list):
            return type(content)(self._encoded(item, place) for item in content)
        if isinstance(content, dict):
            return {key: self._encoded(item, place) for key, item in content.items()}
        return content

    def _reference(self, target: str, place: str) -> Any:
        if target in self.begun.nodes:
            return Inside("node", target)
        node = self.now.nodes[target]
        if node.kind == "function" and (name := _name_of(node.value, self.packages)):
            return Named(name)
        made = f"{type(node.value).__module__}.{type(node.value).__qualname__}"
        plain = node.kind == "array" and isinstance(node.content, Array)
        if plain or made in CREATED or made.startswith(TRACKED) or node.kind == "torch tensor":
            if target not in self.new:
                self.new[target] = None  # it may hold itself
                most = node.value.maxlen if isinstance(node.value, deque) else None
                content = self._encoded(node.content, target)
                self.new[target] = {"kind": node.kind, "type": made, "most": most, "content": content}
            return Inside("new", target)
        raise CannotSave(f"{place} is or holds a {type(node.value).__name__} that was put there during training")


class _Restoring:
    def __init__(self, built: Graph, begun: Graph, saved: Mapping[str, Any]) -> None:
        self.built, self.begun, self.saved = built, begun, saved
        self.made: dict[str, Any] = {}
        self.packages = _packages(begun)

    def put(self) -> None:
        for place, new in self.saved["new"].items():
            self.made[place] = _made(place, new)
        for place, new in self.saved["new"].items():
            self._fill(self.made[place], new["kind"], new["content"], place)
        for place, entry in self.saved["changed"].items():
            node = self.begun.nodes.get(place)
            if node is None or node.kind != entry["kind"]:
                raise CannotRestore(f"{place} is no longer there, or is something else")
            if "attributes" in entry:
                self._attributes(node, entry["attributes"], entry["gone"])
            elif not _is_begun(entry["content"]):
                self._fill(node.value, node.kind, entry["content"], place)
        self.undo(lambda node: True)

    def undo(self, wanted: Callable[[Node], bool]) -> None:
        """Set back what `on_train_begin` has changed here and what was as it was built when the checkpoint was written."""
        for place, node in self.begun.nodes.items():
            before = self.built.nodes.get(place)
            if before is None or before.content == node.content or not wanted(node):
                continue
            entry = self.saved["changed"].get(place)
            try:
                if isinstance(node.content, dict) and node.kind != "generator":
                    told = set() if entry is None else {*entry["attributes"], *entry["gone"]}
                    for name in {**before.content, **node.content}:
                        old = before.content.get(name, _ABSENT)
                        if name in told or old == node.content.get(name, _ABSENT):
                            continue
                        if old is _ABSENT:
                            _delete(node, name)
                        else:
                            _set(node, name, self._plain(old), place)
                elif entry is None:
                    self._fill(node.value, node.kind, self._plain(before.content), place)
            except (CannotSave, AttributeError, TypeError) as error:
                raise CannotRestore(f"{place} was changed before the first epoch and can't be set back: {error}") from None

    def _plain(self, content: Any) -> Any:
        """A content of an earlier walk of this process as what is written down."""
        if isinstance(content, Ref):
            return Inside("node", content.place)
        if isinstance(content, Array | Fixed):
            raise CannotSave("its former value isn't known")
        if isinstance(content, tuple | list):
            return type(content)(self._plain(item) for item in content)
        return content

    def _attributes(self, node: Node, items: Mapping[str, Any], gone: Sequence[str]) -> None:
        for name in gone:
            _delete(node, name)
        for name, item in items.items():
            if not _is_begun(item):
                _set(node, name, self._value(item, f"{node.place}.{name}"), node.place)

    def _value(self, item: Any, place: str) -> Any:
        if isinstance(item, Named):
            return _function(item, place, self.packages)
        if isinstance(item, tuple | list):
            return type(item)(self._value(inner, place) for inner in item)
        if not isinstance(item, Inside):
            return item
        if item.kind == "node":
            node = self.begun.nodes.get(item.value) or self.built.nodes.get(item.value)
            if node is None:
                raise CannotRestore(f"{place} no longer holds {item.value}")
            return node.value
        if item.kind == "new":
            return self.made[item.value]
        if item.kind == "scalar":
            return item.value[()]
        if item.kind == "bytes":
            return item.value.tobytes()
        if item.kind == "complex":
            return complex(*item.value)
        if item.kind == "tensorflow":
            return sys.modules["tensorflow"].constant(item.value)
        if item.kind == "jax":
            return sys.modules["jax"].numpy.asarray(item.value)
        raise CannotRestore(f"{place} has a kind that this version doesn't know ({item.kind})")

    def _fill(self, value: Any, kind: str, content: Any, place: str) -> None:
        """Set what a container, an array, a variable or a generator holds."""
        if kind == "array" and isinstance(content, np.ndarray):
            if value is not content:
                if value.shape != content.shape or value.dtype != content.dtype or not value.flags.writeable:
                    raise CannotRestore(f"{place} is an array of another shape or type")
                np.copyto(value, content)
        elif kind == "variable":
            assign([value], [content], place)
        elif kind == "torch tensor":
            value.data.copy_(sys.modules["torch"].from_numpy(content))
        elif kind == "generator":
            _put_generator(value, content)
        elif kind == "cell":
            if content:
                value.cell_contents = self._value(content[0], place)
        elif kind == "mapping":
            _put_mapping(value, [(self._value(key, place), self._value(item, place)) for key, item in content])
        elif kind in ("list", "set", "array"):
            _put_items(value, [self._value(item, place) for item in content])
        else:
            raise CannotRestore(f"{place} can't be set")


_ABSENT = Inside("absent", "")


def _packages(graph: Graph) -> set[str]:
    """The packages whose functions a file may name: Keras, and those of the user's classes."""
    names = [node.value.__module__ for node in graph.nodes.values() if node.kind == "class"]
    return {"keras", *(name.partition(".")[0] for name in names if is_own(name))}


def _is_begun(item: Any) -> bool:
    return isinstance(item, Inside) and item.kind == "begun"


def _made(place: str, new: Mapping[str, Any]) -> Any:
    if new["kind"] == "array" and isinstance(new["content"], np.ndarray):
        return new["content"]
    if new["kind"] == "torch tensor":
        return sys.modules["torch"].from_numpy(new["content"])
    if new["type"] == "collections.deque":
        return deque(maxlen=new["most"])
    if new["type"].startswith(TRACKED):
        kind = getattr(sys.modules[TRACKED[:-1]], new["type"].removeprefix(TRACKED), None)
        if isinstance(kind, type):
            return kind()
    if new["type"] not in CREATED:
        raise CannotRestore(f"{place} is a {new['type']}, which this version doesn't make")
    return CREATED[new["type"]]()


def _set(node: Node, name: str, value: Any, place: str) -> None:
    """Set an attribute as the object has it in its memory, past properties and trackers: it is what was read from there."""
    owner = node.value
    if node.kind == "roots":
        if owner.get(name) is not value:
            raise CannotRestore(f"{name} is another object than it was")
        return
    if node.kind == "class":
        type.__setattr__(owner, name, value)
    elif node.kind == "function" and " " in name:
        raise CannotRestore(f"{place} has another {name} than it had")
    elif hasattr(owner, "__dict__") and name not in set(slots(type(owner))):
        vars(owner)[name] = value
    else:
        try:
            object.__setattr__(owner, name, value)
        except Exception as error:  # an object of a compiled type
            raise CannotRestore(f"{place}.{name} can't be set: {error}") from None


def _delete(node: Node, name: str) -> None:
    if node.kind == "class":
        if name in vars(node.value):
            type.__delattr__(node.value, name)
    elif name in getattr(node.value, "__dict__", {}):
        del vars(node.value)[name]


def _put_items(value: Any, items: list[Any]) -> None:
    if isinstance(value, np.ndarray):
        value.flat[:] = items
    elif isinstance(value, set):
        set.clear(value)
        set.update(value, items)
    elif list in type(value).__mro__:
        list.__setitem__(value, slice(None), items)  # past Keras's tracked lists, which would track again
    else:
        value.clear()
        value.extend(items)


def _put_mapping(value: Any, items: Sequence[tuple[Any, Any]]) -> None:
    kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict if dict in type(value).__mro__ else type(value)
    kind.clear(value)
    for key, item in items:  # not `update`: a Counter's adds
        kind.__setitem__(value, key, item)


def _put_generator(value: Any, state: Any) -> None:
    if isinstance(value, np.random.Generator):
        value.bit_generator.state = state
    elif isinstance(value, np.random.BitGenerator):
        value.state = state
    elif isinstance(value, np.random.RandomState):
        value.set_state(state)
    else:
        value.setstate(state)


def _name_of(function: Any, packages: set[str]) -> str:
    """`module:name` of a function that stands there under its name; '' for any other."""
    name = f"{function.__module__}:{function.__qualname__}"
    try:
        found = _function(Named(name), "", packages)
    except CannotRestore:
        return ""
    return name if found is function else ""


def _function(saved: Named, place: str, packages: set[str]) -> Any:
    module, _, name = saved.name.partition(":")
    found: Any = sys.modules.get(module) if module.partition(".")[0] in packages else None
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, types.FunctionType):
        raise CannotRestore(f"{place}: there is no function {saved.name}")
    return found


def array(value: Any) -> np.ndarray:
    """A copy of a variable, tensor or array."""
    return as_array(value)


def fits(held: Sequence[Any], saved: Sequence[np.ndarray], what: str) -> None:
    """Raises CannotRestore if these variables aren't the ones that were saved."""
    if [tuple(variable.shape) for variable in held] != [value.shape for value in saved]:
        raise CannotRestore(f"{what} has variables of other shapes than those that were saved")


def assign(held: Sequence[Any], saved: Sequence[np.ndarray], what: str) -> None:
    """Set variables; raises CannotRestore, before any is set, if they aren't the ones that were saved."""
    fits(held, saved, what)
    for variable, value in zip(held, saved, strict=True):
        variable.assign(value)
