"""What runs that differ in seeds alone share in one process: provenance, data, the model with its traced functions.

A run's digests are those of a fresh process, whatever is shared. So nothing is shared on trust: data are, if the data
function gave the same ones under two different seeds and drew no random numbers; a model is, if the one that was built
for the new seed is made of the same parts, in which case its values (weights, optimizer, generators) are put into the one
that has been traced already. Building draws what a fresh process would draw. What can't be shown to be equal is made anew,
and where the user's own modules have changed by a run, the process is worn (`Session.worn`) and the next run needs another.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from seedbed.run import alike, determinism, file_access, process_state
from seedbed.run import data as data_sets
from seedbed.run import seeds as streams
from seedbed.run.data import DataSet

MOST_NAMED = 5  # of what a run has changed
DRAWS = "a module draws random numbers when it is imported"


@dataclass
class Shared:
    """A model that has been traced, and what it was like when it was built."""

    model: Any
    engine: Any
    made_of: str = ""
    values: list[Any] = field(default_factory=list)
    plain: dict[str, str] = field(default_factory=dict)
    generator: Any = None  # Keras's global one, which its functions use
    obstacle: str | None = None  # why it can't be used again
    judged: bool = False  # whether `obstacle` has been looked for


class Session:
    """Shares between the runs of one process if `many`; else every run makes everything for itself.

    known: what `once` would have made, by name, from the process that started this one.
    """

    def __init__(self, many: bool = False, known: Mapping[str, Any] | None = None, apart: str | None = None,
                 written: Iterable[str] = ()) -> None:  # fmt: skip
        self.many = many
        self.apart = apart  # why this process was started, if another one couldn't go on
        self.runs = 0  # that this process has trained
        self.written = set(written)  # files that earlier runs wrote, of this process or of another one of the study
        self.files: list[str] = []  # those of them that the last run read before it wrote them
        self.worn: str | None = None  # why the next run needs a fresh process
        self.read: dict[str, str | None] = {}  # variables of the environment that its runs have read; see `variables`
        self.why: dict[str, str] = {}  # what the last run didn't share, and why
        self.facts: dict[str, Any] = dict(known or {})
        self._before = set(sys.modules)
        self._names: list[str] = []
        self._state: dict[str, str] | None = None
        self._process: dict[str, str] = {}
        self._functions: process_state.Functions | None = None
        self._watched: process_state.Watched | None = None
        self._spoilt: str | None = None  # why the model that was here is none to go on with
        self._imported = False
        self._first: tuple[dict[str, int], DataSet] | None = None
        self._stateless = False  # whether making the data leaves no state in TensorFlow's kernels
        self._fixed: bool | None = None  # whether the data are the same for all seeds; None: not known yet
        self._shared: Shared | None = None
        self.kernels = False  # whether a new global seed may leave TensorFlow's kernels alone

    def once(self, name: str, make: Callable[[], Any], follows: bool = False) -> Any:
        """`make()`, called once in a session, since it is the same for all seeds; each time, if it follows them."""
        if not self.many or follows:
            return make()
        if name not in self.facts:
            self.facts[name] = make()
        return self.facts[name]

    def imported(self, drew: bool) -> None:
        """A run has imported the module of its data function. drew: whether that drew random numbers, as the next run's would."""
        if drew and self.many:
            self.worn = DRAWS

    def begin(
        self, names: Callable[[], Iterable[str]], locked: Callable[[], frozenset[str]] = frozenset, own: Iterable[str] = ()
    ) -> None:  # fmt: skip
        """Before a run's first step: note what it can change that outlives it, so that `end` sees whether it has.

        names: those of all modules that the run's source reaches. locked: the modules that the lock's packages bring.
        own: folders in which seedbed itself writes.
        """
        if self.many or self.apart:
            file_access.watch().begin(own)
        self.files = []
        self.why = {"process": self.apart} if self.apart and self.runs == 0 else {}
        if self.many and self._state is None:
            self._names = [name for name in names() if not name.startswith("seedbed.")]
            self._watched = process_state.Watched(self._names, self._before, locked())
            self._state, self._process = self._look(), process_state.look()

    def before_training(self, targets: Callable[[], Iterable[str]]) -> None:
        """Import the modules of all `_target_`s, so that what they hold is known before they are used. Raises Worn."""
        if not self.many or self._imported:
            return
        self._imported = True
        self._compare(surroundings=False)  # with what the data function has left
        before = streams.state_hash()
        for name in targets():
            _import(name)
        if streams.state_hash() != before:
            self.worn = DRAWS
            raise Worn(self.worn)
        self._state = {**self._look(), **(self._state or {})}
        self._process, self._functions = process_state.look(), process_state.Functions()

    def end(self, finished: bool) -> None:
        """After a run: is what the next one will find here what a fresh process has?"""
        if self.many or self.apart:
            self.left()
            self.written |= set(file_access.watch().end().written)
        if not self.many:
            return
        self.runs += 1
        if (shared := self._shared) is not None:
            from seedbed.run import model_state

            changed = model_state.changed(shared.plain, model_state.of(shared.model))
            if not finished or changed:
                self._shared = None  # it may have been left in any state
                self._spoilt = f"{_listed(changed)} changed while it was trained" if changed else "the run before this one didn't finish"
        alike.clear_caches(self._own())
        if self._state is not None:  # else it was refused before it came to the user's functions: there is nothing to compare with
            self._compare()

    def left(self) -> dict[str, str]:
        """What this run did not share, or found of earlier runs, and why."""
        if (seen := file_access.watch().now) is not None:
            self.files = sorted({*seen.rewritten(), *seen.found(self.written)})
        if self.files:
            self.why["files"] = f"it read what earlier runs, or others, have written: {_listed(self.files)}"
        return self.why

    def _compare(self, surroundings: bool = True) -> None:
        """Note why the next run needs a fresh process, if it does.

        surroundings: whether the process's count, too. After the first run's data function they don't, since libraries that it imports
        set variables of their own; what it changes each time is seen when it is called again.
        """
        before, now = self._state or {}, self._look()
        changed = [name for name, state in now.items() if before.get(name) != state]
        changed += [name for name in before if name not in now]
        around = process_state.changed(self._process, process_state.look()) if surroundings else []
        patched = self._functions.changed() if self._functions is not None else []
        said = [f"what the modules hold: {_listed(changed)}"] if changed else []
        said += [_listed(around)] if around else []
        said += [f"functions of libraries: {_listed(patched)}"] if patched else []
        if said:
            self.worn = self.worn or f"the run has changed {'; '.join(said)}"

    def _own(self) -> list[str]:
        return self._watched.names() if self._watched is not None else []

    def _look(self) -> dict[str, str]:
        try:
            return alike.state_of(self._own())
        except alike.Unseen as error:
            self.worn = f"what {error}, holds can't be seen"
            return self._state or {}

    def data(self, load: Callable[[Mapping[str, int]], DataSet], seeds: Mapping[str, int], takes_seeds: bool) -> DataSet:
        """The whole data set for `seeds`, from `load`; loaded once, if it is the same for all seeds."""
        if not self.many:
            return load(seeds)
        if self._first is None:
            met: set[str] = set()
            imported = "tensorflow" in sys.modules
            with determinism.stateful_operations(met) if imported else nullcontext():
                found = load(seeds)
            self._first = dict(seeds), found
            self._stateless = not met and ("tensorflow" in sys.modules) == imported
            self.why["data"] = "this process's first run"
            return found
        with determinism.keeping_kernels(self._stateless):
            return self._again(load, seeds, takes_seeds)

    def _again(self, load: Callable[[Mapping[str, int]], DataSet], seeds: Mapping[str, int], takes_seeds: bool) -> DataSet:
        """The data of a run that isn't the first."""
        assert self._first is not None
        first_seeds, first = self._first
        if self._fixed is None:
            again = load(first_seeds)
            if again.fingerprint != first.fingerprint:
                self.worn = "the data function gives other data when it is called again with the same seeds"
                raise Worn(self.worn)
            ready_made = any(data_sets.is_ready_made(part) for part in first.parts().values())
            found = load(seeds)
            self._fixed = not (ready_made or takes_seeds or again.drawn or found.fingerprint != first.fingerprint)
            if not self._fixed:
                self._first = first_seeds, DataSet(train=None)  # not needed any more
        elif not self._fixed:
            found = load(seeds)
        if self._imported:
            self._compare()
            if self.worn:
                raise Worn(self.worn)
        if self._fixed:
            return first
        self.why["data"] = "they depend on the seeds, or are a pipeline that is used up"
        return found

    def model(self, build: Callable[[], Any], batch: Callable[[], Any], shareable: bool = True) -> Shared:
        """The model for this run: the one that `build` makes, or one that was traced before, with that one's values.

        batch: makes a batch, to look at a train step with. shareable: whether it is for TensorFlow and one device.
        """
        from seedbed.run import building, loop, model_state

        if not self.many or not shareable:
            fresh = build()
            self.why["model"] = "models are shared on TensorFlow and one device alone"
            return Shared(fresh, loop.Engine(fresh))
        old, self._shared, self.kernels = self._shared, None, False
        why, self._spoilt = (self._spoilt or "no run before this one has left one here") if old is None else self._judged(old, batch), None
        if old is not None and why is None:
            with determinism.keeping_kernels():
                fresh = build()
            made_of, values = self._made_of(fresh), _values(fresh)
            if made_of == old.made_of:
                building.put_global_generator(old.generator)
                for held, value in zip(old.values, values, strict=True):
                    held.assign(value)
                self._shared, self.kernels = old, True
                return old
            why = "it is made of other parts for these seeds"
        met: set[str] = set()
        with determinism.stateful_operations(met):
            fresh = build()
        new = Shared(fresh, loop.Engine(fresh), self._made_of(fresh), _values(fresh), model_state.of(fresh), building.global_generator())
        if met:
            new.obstacle = f"it is built with TensorFlow's own random operations ({', '.join(sorted(met))})"
        self.why["model"] = str(why)
        self._shared = new
        return new

    def _judged(self, old: Shared, batch: Callable[[], Any]) -> str | None:
        """Why a model can't be used again; None if it can."""
        from seedbed.run import looking, model_state

        if not old.judged:
            old.judged = True
            if len(_values(old.model)) != len(old.values):
                old.obstacle = old.obstacle or "training has added variables to it"
            if hidden := looking.hidden_state(old.model, batch()):
                old.obstacle = old.obstacle or f"it keeps state that can't be set back ({hidden})"
            if changed := model_state.changed(old.plain, model_state.of(old.model)):  # by making these graphs
                old.obstacle = old.obstacle or f"{_listed(changed)} changes while TensorFlow makes a graph"
        return old.obstacle

    def _made_of(self, fresh: Any) -> str:
        try:
            return alike.made_of(fresh)
        except alike.Unseen as error:
            return f"{id(fresh)}: what {error}, holds can't be seen"  # like no other


def _listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many there are more."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _values(model: Any) -> list[Any]:
    from seedbed.run import checkpoint

    return [*checkpoint.model_variables(model), *checkpoint.optimizer_variables(model)]


def _import(target: str) -> None:
    """Import the module of a dotted name; one that can't be imported is an error where it is used."""
    name = target.rpartition(".")[0]
    while name and name not in sys.modules:
        with suppress(ImportError):
            importlib.import_module(name)
            return
        name = name.rpartition(".")[0]


class Worn(Exception):
    """This process can't give what a fresh one would; nothing has been written. The message says why."""
