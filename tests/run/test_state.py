"""A callback's state: everything that is data comes back as it was, into the objects that held it; the rest is refused."""

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


def stored(callback: Any, folder: Path) -> dict[str, Any]:
    """The callback's state, written and read."""
    whole = checkpoint.State(1, [], [], [], [states.of(callback)], streams.generator_states())
    checkpoint.write(folder, whole, keep=1)
    read, damaged = checkpoint.read_newest(folder, 1)
    assert not damaged
    assert read is not None
    return read.callbacks[0]


def test_everything_comes_back(tmp_path: Path) -> None:
    before, after = Everything(), Everything()
    before.moves_on()
    held = {name: getattr(after, name) for name in ("queue", "schedule", "metric", "variable", "dice", "modern", "noise")}
    states.put(after, stored(before, tmp_path))
    assert all(getattr(after, name) is value for name, value in held.items())  # others may hold them, too
    assert after.seen() == before.seen()
    untouched = Everything()
    assert before.seen() != untouched.seen()


def hold(value: Any) -> Any:
    class Holder:
        held = None

    holder = Holder()
    holder.held = value
    return holder


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (lambda: {1, 2}, "a set"),
        (lambda: iter([1]), "a list_iterator"),
        (lambda: {(1, 2): 3}, "keys that are neither text nor numbers"),
        (lambda: [1, len], "a list of data and other things"),
        (lambda: np.array([{}], dtype=object), "an array of Python objects"),
        (lambda: [hold({1})], "a set"),
        (lambda: Pair(1, 2), "a Pair"),
        (lambda: b"x", "a bytes"),
    ],
)
def test_what_cannot_be_written_down_is_named(value: Callable[[], Any], named: str) -> None:
    with pytest.raises(states.CannotSave, match=f"Holder.held is or holds .*{named}"):
        states.of(hold(value()))


@pytest.mark.parametrize(
    ("first", "then", "named"),
    [
        (hold(1).__repr__, hold(2).__repr__, "a method-wrapper"),
        (Phase.WARM, Phase.MAIN, "a Phase"),
        (Path("a"), Path("b"), "a PosixPath"),
        (dict, list, "a type"),
        (len, max, "a builtin_function_or_method"),
        (Schedule(), Schedule(), "a Schedule"),
        (None, Schedule(), "a Schedule"),
        ([Schedule()], [Schedule()], "a Schedule"),
        (lambda: 1, lambda: 2, "a function"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_was_replaced_during_training_would_be_the_first_one_again(first: Any, then: Any, named: str) -> None:
    callback = hold(first)
    if named == "a method-wrapper":
        callback.held, then, named = Schedule().__call__, Schedule().__call__, "a method"
    begun = states.made_of(callback)
    states.of(callback, begun)
    callback.held = then
    with pytest.raises(states.CannotSave, match=f"{named} that was put there during training"):
        states.of(callback, begun)


def test_what_stayed_as_it_was_is_no_obstacle(tmp_path: Path) -> None:
    import keras

    def made() -> Any:
        callback = hold(Frozen())
        callback.phase, callback.inner = Phase.WARM, keras.callbacks.EarlyStopping(monitor="loss", patience=3)
        callback.inner.set_model(keras.Sequential([keras.Input((1,))]))
        callback.number = np.float64(0.5)
        return callback

    before, after = made(), made()
    before.inner.wait, before.inner.best, before.number = 2, 0.25, np.float64(1.5)
    begun = states.made_of(before)
    assert states.of(before, begun)
    states.put(after, stored(before, tmp_path))
    assert (after.inner.wait, after.inner.best) == (2, 0.25)
    assert (after.phase, after.held, after.number) == (Phase.WARM, Frozen(), 1.5)
    assert type(after.number) is np.float64
    changed = stored(hold(Frozen(rate=0.2)), tmp_path / "changed")
    with pytest.raises(states.CannotRestore, match=r"Holder\.held\.rate can't be set"):
        states.put(hold(Frozen()), changed)


def test_a_list_that_is_held_twice_is_refused() -> None:
    """It would be two lists after a restart, and what is put into one would be missing in the other."""
    both = hold([1])
    both.other = both.held
    with pytest.raises(states.CannotSave, match=r"Holder\.other is or holds a list that something else holds"):
        states.of(both)


def test_what_does_not_fit_is_refused_and_nothing_is_called(tmp_path: Path) -> None:
    import keras

    kept = stored(hold(Schedule()), tmp_path / "a")
    with pytest.raises(states.CannotRestore, match=r"Holder\.held no longer holds the object"):
        states.put(hold(None), kept)
    kept = stored(hold(keras.Variable(np.zeros(3))), tmp_path / "b")
    with pytest.raises(states.CannotRestore, match="other shapes"):
        states.put(hold(keras.Variable(np.zeros(2))), kept)
    for name in ("os:popen", "no.such.module:f", "seedbed.run.state:no_such_function", "builtins:eval"):
        with pytest.raises(states.CannotRestore, match="there is no function"):
            states.put(hold(None), {"held": states.Named(name)})
