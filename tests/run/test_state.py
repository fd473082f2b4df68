"""Python state: everything that is data comes back as it was, into the objects that held it; the rest is refused by name."""

from __future__ import annotations

import enum
import random
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from seedbed.run import checkpoint
from seedbed.run import seeds as streams
from seedbed.run import state as states
from seedbed.run.object_graph import Graph


class Pair(NamedTuple):
    a: int
    b: int


class Phase(enum.Enum):
    WARM = 1
    MAIN = 2


@dataclass(frozen=True)
class Frozen:
    rate: float = 0.1
    steps: tuple[int, ...] = (1, 2)


class Schedule:
    """An object of the user's that can be called, and counts how often."""

    def __init__(self) -> None:
        self.calls, self.inner = 0, {"seen": [1]}

    def __call__(self) -> int:
        self.calls += 1
        return self.calls


def halved(x: float) -> float:
    return x / 2


class Everything:
    """A callback with state in every kind of place."""

    def __init__(self) -> None:
        import keras
        import tensorflow as tf

        self.plain: dict[Any, Any] = {"a": (1, 2.5, None, True), 3: [float("nan"), "x"]}
        self.arrays = [np.float32(0.1), np.arange(6.0).reshape(2, 3)[:, ::2], np.array(["é", "bc"]), np.array([True])]
        self.queue, self.counts = deque([1, 2], maxlen=3), Counter("aab")
        self.grouped: Any = defaultdict(list, {"a": [1]})
        self.ordered = OrderedDict([("b", 1), ("a", 2)])
        self.schedule = Schedule()
        self.metric = keras.metrics.Sum()
        self.variable, self.tensor = tf.Variable(1.0), tf.constant([1, 2])
        self.noise = keras.random.SeedGenerator(3)
        self.dice, self.modern, self.legacy = random.Random(1), np.random.default_rng(1), np.random.RandomState(1)
        self.chosen: Any = None
        # what it is made of
        self.folder, self.lock, self.function, self.since = Path(), threading.Lock(), len, datetime.now()
        self.circle = self

    def moves_on(self) -> None:
        import keras

        self.plain[3].append(1)
        self.plain["b"] = -1
        self.arrays[1] = self.arrays[1] + 1
        self.queue.append(3)
        self.queue.append(4)
        self.counts["c"] += 1
        self.grouped["z"].append(2)
        self.ordered.move_to_end("b")
        self.schedule()
        self.schedule.inner["seen"].append(2)
        self.metric.update_state(3.0)
        self.variable.assign_add(1.0)
        self.tensor = self.tensor + 1
        keras.random.normal((2,), seed=self.noise)
        self.dice.random(), self.modern.random(), self.legacy.rand()
        self.chosen = halved

    def seen(self) -> Any:
        return (
            repr(self.plain), [(array.dtype, np.asarray(array).tolist()) for array in self.arrays], list(self.queue), self.queue.maxlen,
            self.counts, self.grouped, type(self.grouped), list(self.ordered), self.schedule(), self.schedule.inner,
            float(self.metric.result()), float(self.variable), self.tensor.numpy().tolist(), np.asarray(self.noise.state).tolist(),
            self.dice.random(), self.modern.random(), self.legacy.rand(), self.chosen,
        )  # fmt: skip


def graph(holder: Any, before: Graph | None = None) -> Graph:
    return Graph({"Holder": holder}, before)


def saved(begun: Graph, holder: Any) -> dict[str, Any]:
    return states.changes(begun, begun, graph(holder, begun))


def stored(python: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What was saved, written and read."""
    checkpoint.write(folder, checkpoint.State(1, [], [], [], python, streams.generator_states()), keep=1)
    read, damaged = checkpoint.read_newest(folder, 1)
    assert not damaged
    assert read is not None
    return read.python


def put(holder: Any, python: dict[str, Any]) -> None:
    begun = graph(holder)
    states.put(begun, begun, python)


def test_everything_comes_back(tmp_path: Path) -> None:
    before, after = Everything(), Everything()
    begun = graph(before)
    before.moves_on()
    held = {name: getattr(after, name) for name in ("queue", "schedule", "metric", "variable", "dice", "modern", "noise", "plain")}
    put(after, stored(saved(begun, before), tmp_path))
    assert all(getattr(after, name) is value for name, value in held.items())  # others may hold them, too
    assert after.seen() == before.seen()
    untouched = Everything()
    assert before.seen() != untouched.seen()


def test_what_has_not_changed_is_not_written() -> None:
    everything = Everything()
    assert saved(graph(everything), everything) == {"changed": {}, "new": {}}


def hold(value: Any) -> Any:
    class Holder:
        held = None

    holder = Holder()
    holder.held = value
    return holder


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (lambda: [1, len], "a builtin_function_or_method"),
        (lambda: [{"a": hold(1)}], "a Holder that was put there during training"),
        (lambda: iter([1]), "a list_iterator that was put there"),
        (lambda: np.array([{}], dtype=object), "a ndarray that was put there"),
        (lambda: {(1, 2): {3}}, None),
        (lambda: Pair(1, 2), "a Pair"),
        (lambda: Phase.MAIN, "a Phase"),
        (lambda: Path("b"), "a PosixPath"),
        (Schedule, "a Schedule that was put there"),
        (lambda: [Schedule()], "a Schedule that was put there"),
        (lambda: lambda: 2, "a function that was put there"),
        (lambda: defaultdict(list), "a defaultdict that was put there"),
        (threading.Lock, "a lock that was put there"),
        (lambda: (b"x", 1j, frozenset()), "a frozenset"),
        (lambda: (b"x", 1j, float("inf")), None),
    ],
)
def test_what_cannot_be_written_down_is_named(value: Callable[[], Any], named: str | None, tmp_path: Path) -> None:
    holder, other = hold(None), hold(None)
    begun = graph(holder)
    holder.held = value()
    if named is None:
        put(other, stored(saved(begun, holder), tmp_path))
        assert repr(other.held) == repr(holder.held)
        return
    with pytest.raises(states.CannotSave, match=rf"Holder\.held.* is or holds .*{named}"):
        saved(begun, holder)


@pytest.mark.parametrize(
    "change",
    [
        lambda held: next(held["iterator"]),
        lambda held: next(held["generator"]),
        lambda held: held["file"].readline(),
        lambda held: held.update(lock=threading.Lock()),
    ],
)
def test_what_is_used_up_or_replaced_is_named(change: Callable[[Any], Any]) -> None:
    with Path(__file__).open() as file:
        holder = hold({"iterator": iter([1, 2]), "generator": (n for n in (1, 2)), "file": file, "lock": threading.Lock()})
        begun = graph(holder)
        assert saved(begun, holder) == {"changed": {}, "new": {}}
        change(holder.held)
        with pytest.raises(states.CannotSave, match=r"Holder\.held"):
            saved(begun, holder)


def test_what_can_not_be_seen_is_named() -> None:
    holder = hold((n for n in (1, 2)).send)  # a method of something that has state
    assert saved(graph(holder), holder) == {"changed": {}, "new": {}}
    holder = hold(zip([1], (n for n in (1, 2)), strict=True))
    with pytest.raises(states.CannotSave, match=r"Holder\.held is a zip, whose state can't be seen"):
        saved(graph(holder), holder)


def test_what_stayed_as_it_was_is_no_obstacle(tmp_path: Path) -> None:
    import keras

    def made() -> Any:
        callback = hold(Frozen())
        callback.phase, callback.inner = Phase.WARM, keras.callbacks.EarlyStopping(monitor="loss", patience=3)
        callback.inner.set_model(keras.Sequential([keras.Input((1,))]))
        callback.number, callback.mixed = np.float64(0.5), [threading.Lock(), {1}]
        return callback

    before, after = made(), made()
    begun = graph(before)
    before.inner.wait, before.inner.best, before.number = 2, 0.25, np.float64(1.5)
    before.mixed[1].add(2)
    put(after, stored(saved(begun, before), tmp_path))
    assert (after.inner.wait, after.inner.best, after.mixed[1]) == (2, 0.25, {1, 2})
    assert (after.phase, after.held, after.number) == (Phase.WARM, Frozen(), 1.5)
    assert type(after.number) is np.float64


def test_what_is_shared_stays_shared(tmp_path: Path) -> None:
    def made() -> Any:
        holder = hold([1])
        holder.other = holder.held
        return holder

    before, after = made(), made()
    begun = graph(before)
    before.held.append(before.held)
    before.new = [{}]
    before.new.append(before.new[0])
    put(after, stored(saved(begun, before), tmp_path))
    assert after.held is after.other is after.held[1]
    assert after.new[0] is after.new[1]


def test_what_the_beginning_of_training_has_changed_is_set_back(tmp_path: Path) -> None:
    before, after = hold({"wait": 1}), hold({"wait": 1})
    begun = graph(before)
    before.seen = 3
    python = stored(saved(begun, before), tmp_path)
    built = graph(after)
    after.held["wait"], after.more = 2, 4
    states.put(built, graph(after, built), python)
    assert (after.held, after.seen, hasattr(after, "more")) == ({"wait": 1}, 3, False)


def test_what_does_not_fit_is_refused_and_nothing_is_called(tmp_path: Path) -> None:
    import keras

    schedule, array_, variable = hold(Schedule()), hold(np.zeros(3)), hold(keras.Variable(np.zeros(3)))
    python = []
    for holder, change in ((schedule, Schedule.__call__), (array_, lambda a: a.fill(1)), (variable, lambda v: v.assign(np.ones(3)))):
        begun = graph(holder)
        change(holder.held)
        python.append(stored(saved(begun, holder), tmp_path / str(len(python))))
    with pytest.raises(states.CannotRestore, match=r"Holder\.held.* is no longer there"):
        put(hold(None), python[0])
    with pytest.raises(states.CannotRestore, match="another shape"):
        put(hold(np.zeros(2)), python[1])
    with pytest.raises(states.CannotRestore, match="other shapes"):
        put(hold(keras.Variable(np.zeros(2))), python[2])
    for name in ("os:popen", "no.such.module:f", "seedbed.run.state:no_such_function", "builtins:eval"):
        entry = {"kind": "object", "attributes": {"held": states.Named(name)}, "gone": []}
        with pytest.raises(states.CannotRestore, match="there is no function"):
            put(hold(None), {"changed": {"Holder": entry}, "new": {}})
    new = {"kind": "mapping", "type": "os._Environ", "most": None, "content": []}
    with pytest.raises(states.CannotRestore, match="doesn't make"):
        put(hold(None), {"changed": {}, "new": {"Holder.held": new}})
