"""All Python state that one run can reach: model, optimizers, losses, metrics, callbacks, and the user's modules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from seedbed.run import checkpoint, looking, process_state, provenance, state
from seedbed.run import seeds as streams
from seedbed.run.object_contents import is_own
from seedbed.run.object_graph import MODULE, Graph

# Beginnings of the names of roots whose objects a train step may read: all but callbacks.
PARTS = ("layer ", "model", "optimizer", "loss", "metric ", MODULE)

# What of `process_state.look` changes while a model is trained and decides no bit of it: logs grow, threads come and go.
OF_THE_PROCESS = (
    "the open file", "threads", "warnings.filters", "context variables", "signal handlers", "functions called at exit", "sys.",
    "the tracing function", "the garbage collector's settings",
)  # fmt: skip


class Reached:
    """The objects as they were built, as they were when training began, and as they are.

    names: of the modules whose variables count: the user's, and helpers' that no lock names. pipeline: whether Python code makes
    the batches, which may change modules.
    """

    def __init__(self, model: Any, callbacks: Sequence[Any], names: Iterable[str], pipeline: bool) -> None:
        self.model, self.callbacks = model, callbacks
        self.names = sorted(name for name in names if name.partition(".")[0] != "seedbed")
        self.built = self.begun = self._walk(None)
        self.idle = not pipeline and not callbacks and not self._has_own_code()
        self.outside = {} if self.idle else surroundings()
        self.built_tokens = {} if self.idle else {
            place: node.token() for place, node in self.built.nodes.items() if _is_part(node.root) and not node.root.startswith(MODULE)
        }  # fmt: skip
        self.first_tokens: dict[str, str] = {}  # before the first step of a run that wasn't stopped: what differs from `built`

    def begin(self) -> None:
        """Note what the callbacks' `on_train_begin` has done."""
        if not self.idle:
            self.begun, self.outside = self._walk(self.built), surroundings()

    def first(self) -> None:
        """Note what code that is traced with the first step finds."""
        if not self.idle:
            self.first_tokens = self._since_built()

    def unlike_first(self) -> list[str]:
        """The places where code that is traced now finds something else than in the run that was stopped."""
        now = {} if self.idle else self._since_built()
        return [place for place in {**self.first_tokens, **now} if self.first_tokens.get(place) != now.get(place)]

    def changes(self) -> dict[str, Any]:
        """What has changed since the objects were built, to be written down. Raises CannotSave for what can't be."""
        if self.idle:
            return {}
        outside = surroundings()
        if changed := [name for name in {**self.outside, **outside} if self.outside.get(name) != outside.get(name)]:
            raise state.CannotSave(f"{', '.join(changed[:3])}, changed during training")
        return state.changes(self.built, self.begun, self._walk(self.begun))

    def check(self, saved: checkpoint.State) -> None:
        """Raise CannotRestore if the objects weren't built as they were in the run that was stopped."""
        if bool(saved.python) == self.idle:
            raise state.CannotRestore("The run that was stopped had other objects")
        told = saved.python.get("changed", {})
        differing = [place for place in {**saved.built, **self.built_tokens}
                     if place not in told and saved.built.get(place) != self.built_tokens.get(place)]  # fmt: skip
        if differing:
            raise state.CannotRestore(f"{listed(differing)} isn't what it was when this run was begun")
        self.first_tokens = saved.first

    def put(self, saved: checkpoint.State) -> None:
        """Put back what `changes` returned; to be called after `begin`. Raises CannotRestore."""
        if not self.idle:
            state.put(self.built, self.begun, saved.python)

    def changed(self) -> list[str]:
        """The places of what has changed since the objects were built."""
        return [] if self.idle else list(self._since_built())

    def _since_built(self) -> dict[str, str]:
        now = {place: node for place, node in self._walk(self.begun).nodes.items() if _is_part(node.root)}
        before = self.built.nodes
        return {place: node.token() for place, node in now.items() if place not in before or before[place].content != node.content}

    def _walk(self, before: Graph | None) -> Graph:
        return Graph(self._roots(), before, self._variables())

    def _variables(self) -> list[Any]:
        model = self.model
        held = [*checkpoint.model_variables(model), *checkpoint.optimizer_variables(model), *model.metrics_variables]
        held += [variable for metric in looking.metrics_of(model) for variable in metric.variables]
        return [*held, *(variable.value for variable in held if hasattr(variable, "value"))]

    def _roots(self) -> dict[str, Any]:
        roots: dict[str, Any] = {}

        def add(name: str, value: Any) -> None:
            if not any(value is other for other in roots.values()):
                number = sum(other == name or other.startswith(f"{name} #") for other in roots)
                roots[f"{name} #{number + 1}" if number else name] = value

        for layer in self.model._flatten_layers(include_self=False):
            add(f"layer {layer.name}", layer)
        add("model", self.model)
        for optimizer in checkpoint.optimizers(self.model):
            add("optimizer", optimizer)
        if getattr(self.model, "loss", None) is not None:
            add("loss", self.model.loss)
        for metric in looking.compiled_metrics(self.model):
            add(f"metric {getattr(metric, 'name', None) or getattr(metric, '__name__', '')}", metric)
        for name, module in _modules(self.names).items():
            add(name, module)
        for callback in self.callbacks:
            add(type(callback).__name__, callback)
        if generator := _eager_generator():
            add("TensorFlow's global generator", generator)
        return roots

    def _has_own_code(self) -> bool:
        for node in self.built.nodes.values():
            if node.kind != "roots" and not node.root.startswith(MODULE):
                code = node.value if node.kind in ("function", "class") else type(node.value)
                if is_own(str(code.__module__)):
                    return True
        return False


class Modules:
    """The user's modules before a model is built, to see whether another one may be built in the same process.

    names: of the modules; bring: imports those that are going to be used, in the order of a run.
    """

    def __init__(self, names: Iterable[str], bring: Callable[[], object]) -> None:
        before = streams.state_hash()
        bring()
        self.drew = streams.state_hash() != before  # a second build would not draw that
        self.names = [name for name in names if name.partition(".")[0] != "seedbed"]
        self.graph, self.outside = Graph(_modules(self.names)), surroundings()

    def is_fresh_again(self) -> bool:
        """Set the modules back to what they held, as far as that can be done, and say whether they are as they were."""
        with suppress(state.CannotRestore):
            state.undo(self.graph, Graph(_modules(self.names), self.graph), lambda node: True)
        before = self.graph.nodes
        now = Graph(_modules(self.names), self.graph).nodes
        same = all(place in before and before[place].content == node.content for place, node in now.items())
        return same and not self.drew and surroundings() == self.outside


def _modules(names: Iterable[str]) -> dict[str, Any]:
    """The imported modules of these names, and all of an installed helper's package."""
    found = {}
    for name in names:
        own = provenance.is_own_module(name)
        if not own and not provenance.is_helper(name.partition(".")[0]):
            continue
        for imported, module in list(sys.modules.items()):
            if imported == name or (imported.startswith(f"{name}.") and not own):
                found[f"{MODULE}{imported}"] = module
    return found


def surroundings() -> dict[str, str]:
    """What of the process and of libraries' settings a run may change, as `process_state` reads it."""
    return {name: value for name, value in process_state.look().items() if not name.startswith(OF_THE_PROCESS)}


def _eager_generator() -> Any:
    """The generator of seeds for TensorFlow's eager operations."""
    from tensorflow.python.eager import context  # no public way to it in TensorFlow 2.21

    return getattr(context.context(), "_rng", None)


def _is_part(root: str) -> bool:
    return root.startswith(PARTS)


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
