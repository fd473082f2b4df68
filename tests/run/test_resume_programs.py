"""Small programs of a user's that keep state in places of every kind, stopped and gone on with in one process.

Each ends with the digests of the run that wasn't stopped, and either goes on or says by name why it starts from the beginning.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedbed.run import record, recorder, training

STOP, EPOCHS = 2, 4

HEAD = """
import contextlib, itertools, os, random, threading
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf

@keras.saving.register_keras_serializable("programs")
class Layer(keras.layers.Layer):
    scale = 1.0
    def __init__(self, **more):
        super().__init__(**more)
        self.rate, self.table, self.mask = 1.0, {"a": [1.0]}, np.ones((4,), "float32")
        self._count = 0
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4))
        super().build(shape)
    def call(self, x):
        return keras.ops.matmul(x, self.kernel)

class Optimizer(keras.optimizers.SGD):
    pass

def model(spec):
    return keras.Sequential([keras.Input(spec.inputs), keras.layers.Flatten(), Layer(name="mine"), keras.layers.Dense(10, "softmax")])

def shrink(model, factor):
    kernel = model.get_layer("mine").kernel
    kernel.assign(kernel * factor)

class Base(keras.callbacks.Callback):
    @property
    def layer(self):
        return self.model.get_layer("mine")
"""

# What the callback of a program is, and what is expected: None where it goes on, or words of the message that names why not.
PROGRAMS: dict[str, tuple[str, str | None]] = {
    "an average on the model, made at the beginning": ("""
        def on_train_begin(self, logs=None):
            self.model.averaged = [np.array(w) for w in self.model.get_weights()]
        def on_epoch_end(self, epoch, logs=None):
            for mean, weight in zip(self.model.averaged, self.model.get_weights()):
                mean *= 0.5
                mean += 0.5 * weight
        def on_train_end(self, logs=None):
            self.model.set_weights(self.model.averaged)
    """, None),
    "an average on the model, made when it is needed": ("""
        def on_epoch_end(self, epoch, logs=None):
            now = self.model.get_weights()
            before = getattr(self.model, "averaged", now)
            self.model.averaged = [0.5 * a + 0.5 * b for a, b in zip(before, now)]
        def on_train_end(self, logs=None):
            self.model.set_weights(self.model.averaged)
    """, None),
    "an average of tensors": ("""
        def on_epoch_end(self, epoch, logs=None):
            now = [tf.identity(w) for w in self.model.trainable_variables]
            before = getattr(self.model, "averaged", now)
            self.model.averaged = [0.5 * a + 0.5 * b for a, b in zip(before, now)]
        def on_train_end(self, logs=None):
            for variable, mean in zip(self.model.trainable_variables, self.model.averaged):
                variable.assign(mean)
    """, None),
    "weights as they were at the beginning": ("""
        def on_train_begin(self, logs=None):
            self.model.anchor = self.model.get_weights()
        def on_epoch_end(self, epoch, logs=None):
            self.model.set_weights([0.9 * w + 0.1 * a for w, a in zip(self.model.get_weights(), self.model.anchor)])
    """, None),
    "a private counter of a layer": ("""
        def on_epoch_end(self, epoch, logs=None):
            self.layer._count += 1
            shrink(self.model, 1 - 0.1 * self.layer._count)
    """, None),
    "a counter of a layer that a callback with batches counts": ("""
        def on_train_batch_end(self, batch, logs=None):
            self.layer._count += 1
        def on_epoch_end(self, epoch, logs=None):
            shrink(self.model, 1 - 0.001 * self.layer._count)
    """, None),
    "a list in a dict of a layer": ("""
        def on_epoch_end(self, epoch, logs=None):
            self.layer.table["a"].append(0.9 * self.layer.table["a"][-1])
            shrink(self.model, self.layer.table["a"][-1])
    """, None),
    "a mask of a layer, changed in place": ("""
        def on_epoch_end(self, epoch, logs=None):
            self.layer.mask[np.argmin(np.abs(self.layer.kernel.numpy()).sum(0) + 9 * (1 - self.layer.mask))] = 0
            shrink(self.model, self.layer.mask)
    """, None),
    "masks by layer, found anew each time": ("""
        def on_epoch_end(self, epoch, logs=None):
            if not hasattr(self.layer, "masks"):
                self.layer.masks = {}
            w = self.layer.kernel.numpy()
            self.layer.masks[str(epoch)] = np.abs(w) > np.quantile(np.abs(w), 0.1 * (epoch + 1))
            for mask in self.layer.masks.values():
                shrink(self.model, mask.astype("float32"))
    """, None),
    "an attribute of the optimizer": ("""
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.seen = getattr(self.model.optimizer, "seen", 0) + 1
            self.model.optimizer.learning_rate = 0.1 / self.model.optimizer.seen
    """, None),
    "the optimizer's learning rate": ("""
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) * 0.5
    """, None),
    "a class attribute": ("""
        def on_epoch_end(self, epoch, logs=None):
            Layer.scale *= 0.9
            shrink(self.model, Layer.scale)
    """, None),
    "a module's number": ("""
        def on_epoch_end(self, epoch, logs=None):
            global SCALE
            SCALE *= 0.9
            shrink(self.model, SCALE)
    SCALE = 1.0
    """, None),
    "a module's array, changed in place": ("""
        def on_epoch_end(self, epoch, logs=None):
            SCALES[:] *= 0.9
            shrink(self.model, SCALES)
    SCALES = np.ones(4, "float32")
    """, None),
    "a closure": ("""
        def on_epoch_end(self, epoch, logs=None):
            shrink(self.model, SHRUNK())
    def counter():
        count, seen = 1.0, []
        def shrunk():
            nonlocal count
            count *= 0.9
            seen.append(count)
            return float(np.mean(seen))
        return shrunk
    SHRUNK = counter()
    """, None),
    "a default argument": ("""
        def on_epoch_end(self, epoch, logs=None, seen=[1.0]):
            seen.append(0.9 * seen[-1])
            shrink(self.model, seen[-1])
    """, None),
    "a thread-local": ("""
        def on_epoch_end(self, epoch, logs=None):
            LOCAL.scale = 0.9 * getattr(LOCAL, "scale", 1.0)
            shrink(self.model, LOCAL.scale)
    LOCAL = threading.local()
    """, None),
    "an environment variable": ("""
        def on_epoch_end(self, epoch, logs=None):
            os.environ["SCALE_OF_MINE"] = str(0.9 * float(os.environ.get("SCALE_OF_MINE", "1")))
            shrink(self.model, float(os.environ["SCALE_OF_MINE"]))
    """, "the environment variable SCALE_OF_MINE"),
    "an iterator": ("""
        def on_epoch_end(self, epoch, logs=None):
            shrink(self.model, next(SCALES))
    SCALES = iter([0.9, 0.8, 0.7, 0.6])
    """, "module mine.SCALES"),
    "a generator on the model": ("""
        def on_train_begin(self, logs=None):
            self.layer.scales = (0.1 * n for n in range(9, 0, -1))
        def on_epoch_end(self, epoch, logs=None):
            shrink(self.model, next(self.layer.scales))
    """, "layer mine.scales"),
    "a variable of one's own": ("""
        def __init__(self):
            super().__init__()
            self.scale = tf.Variable(1.0)
        def on_epoch_end(self, epoch, logs=None):
            self.scale.assign(self.scale * 0.9)
            shrink(self.model, self.scale)
    """, None),
    "a generator of NumPy's on a layer": ("""
        def on_train_begin(self, logs=None):
            self.layer.dice = np.random.default_rng(3)
        def on_epoch_end(self, epoch, logs=None):
            shrink(self.model, self.layer.dice.uniform(0.5, 1))
    """, None),
    "a generator of TensorFlow's": ("""
        def __init__(self):
            super().__init__()
            self.dice = tf.random.Generator.from_seed(3)
        def on_epoch_end(self, epoch, logs=None):
            shrink(self.model, self.dice.uniform((), 0.5, 1))
    """, None),
    "TensorFlow's eager draws": ("""
        def on_epoch_end(self, epoch, logs=None):
            shrink(self.model, tf.random.uniform((), 0.5, 1))
    """, None),
    "a lock that is new": ("""
        def on_epoch_end(self, epoch, logs=None):
            self.layer.lock = threading.Lock()
    """, "layer mine.lock"),
    "a file that is open": ("""
        def on_train_begin(self, logs=None):
            self.file = open(__file__)
        def on_epoch_end(self, epoch, logs=None):
            shrink(self.model, 1 - 0.01 * len(self.file.readline()))
        def on_train_end(self, logs=None):
            self.file.close()
    """, "Callback.file"),
    "a list under two names": ("""
        def on_train_begin(self, logs=None):
            self.one = self.layer.two = [1.0]
        def on_epoch_end(self, epoch, logs=None):
            self.one.append(0.9 * self.layer.two[-1])
            shrink(self.model, self.layer.two[-1])
    """, None),
    "a new list under two names": ("""
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.one = {"a": [1.0]}
                self.two = self.one["a"]
            self.one["a"].append(0.9 * self.two[-1])
            shrink(self.model, self.two[-1])
    """, None),
    "a cycle": ("""
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.ring = [1.0]
                self.ring.append(self.ring)
                self.me = self
            self.me.ring[1][0] *= 0.9
            shrink(self.model, self.ring[1][1][0])
    """, None),
    "two objects that change places": ("""
        def __init__(self):
            super().__init__()
            self.one, self.two = Held(0.9), Held(0.6)
        def on_epoch_end(self, epoch, logs=None):
            self.one, self.two = self.two, self.one
            self.one.times += 1
            shrink(self.model, self.one.scale - 0.01 * self.one.times)
    class Held:
        def __init__(self, scale):
            self.scale, self.times = scale, 0
    """, None),
    "an object that is new": ("""
        def on_epoch_end(self, epoch, logs=None):
            self.held = Held(getattr(self, "held", None))
            shrink(self.model, self.held.scale)
    class Held:
        def __init__(self, before):
            self.scale = 0.9 * (before.scale if before else 1.0)
    """, "Callback.held"),
    "what the train step reads, set before an epoch": ("""
        def on_epoch_begin(self, epoch, logs=None):
            self.layer.rate = 1 / (epoch + 1)
    class Reading(Layer):
        def call(self, x):
            return super().call(x) * self.rate
    Layer = Reading
    """, "layer mine"),
    "what no step reads, set before an epoch": ("""
        def on_epoch_begin(self, epoch, logs=None):
            self.model.epoch_now = epoch
            self.layer.rate = 1 / (epoch + 1)
    """, None),
    "what the train step reads, set after an epoch": ("""
        def on_epoch_end(self, epoch, logs=None):
            self.layer.rate = 1 / (epoch + 1)
    class Reading(Layer):
        def call(self, x):
            return super().call(x) * self.rate
    Layer = Reading
    """, "layer mine"),
    "what the train step itself counts": ("""
        pass
    class Counting(Layer):
        def call(self, x):
            self._count += 1
            return super().call(x) * self._count
    Layer = Counting
    """, "layer mine"),
    "a module's counter that the train step reads and counts": ("""
        pass
    COUNT = 0
    class Counting(Layer):
        def call(self, x):
            global COUNT
            COUNT += 1
            return super().call(x) / COUNT
    Layer = Counting
    """, "module mine"),
    "layers that are frozen": ("""
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.layer.trainable = False
    """, "frozen"),
    "a dtype policy": ("""
        def on_epoch_end(self, epoch, logs=None):
            self.layer.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    """, "layer mine"),
    "a regularizer's factor": ("""
        def on_epoch_end(self, epoch, logs=None):
            self.model.layers[-1].kernel_regularizer = keras.regularizers.L2(0.1)
    """, "layer dense"),
    "another optimizer": ("""
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer = keras.optimizers.SGD(0.5)
    """, "optimizer"),
    "a cache of a function": ("""
        def on_epoch_end(self, epoch, logs=None):
            shrink(self.model, drawn())
    import functools
    @functools.cache
    def drawn():
        return np.random.uniform(0.5, 1)
    """, "module mine.drawn"),
    "an exception to it: times of day": ("""
        def __init__(self):
            import time, datetime
            super().__init__()
            self.since, self.day, self.folder = time.time(), datetime.datetime.now(), Path()
        def on_epoch_end(self, epoch, logs=None):
            import time
            self.now = time.time()
    """, None),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_stopped_run_ends_as_one_that_was_not_stopped(
    name: str, config: Callable[..., Any], plugin: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, named = PROGRAMS[name]
    plugin("mine", HEAD + "\nclass Callback(Base):\n" + program(body))
    check(config, ["Callback"], named, tmp_path, monkeypatch)


@pytest.mark.processes
@pytest.mark.parametrize("engine", ["loop", pytest.param("fit", marks=pytest.mark.integration)])
def test_state_in_places_of_every_kind_goes_on(
    engine: str, config: Callable[..., Any], plugin: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All programs that go on, in one run; a callback for each."""
    names = [name for name, (_, named) in PROGRAMS.items() if named is None and not (engine == "loop" and "batches" in name)]
    source = "".join(f"\nclass Callback{number}(Base):\n{program(PROGRAMS[name][0])}" for number, name in enumerate(names))
    plugin("mine", HEAD + source)
    check(config, [f"Callback{number}" for number in range(len(names))], None, tmp_path, monkeypatch, f"training.engine={engine}")


def program(body: str) -> str:
    """The body of the callback, then what belongs to the module: it stands one step to the left."""
    lines = body.strip("\n").splitlines()
    return "\n".join(line.removeprefix("    ") for line in lines) + "\n"


def check(
    config: Callable[..., Any], callbacks: list[str], named: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str
) -> None:  # fmt: skip
    words = ["data=digits", "~model", "+model={_target_: mine.model}", f"training.epochs={EPOCHS}", "training.batch_size=512",
             "optimizer=sgd", "data.validation_split=0", "data.test_split=0.1", *more,
             *(f"+training.callbacks.{name.lower()}={{_target_: mine.{name}}}" for name in callbacks)]  # fmt: skip

    def trained(where: str, stop: int | None) -> tuple[Any, list[str]]:
        said: list[str] = []
        fresh()
        with monkeypatch.context() as patch:
            patch.setattr(recorder.Recorder, "on_epoch_end", stopping(stop))
            composed = config(*words, f"runs='{folder / where}'")
            return training.run(composed, said=said.append), said

    straight, _ = trained("straight", None)
    assert straight.status == record.FINISHED
    stopped, _ = trained("stopped", STOP)
    assert stopped.status == record.INTERRUPTED
    ended, said = trained("stopped", None)
    if ended.status == record.INTERRUPTED:  # what it would need is a fresh process
        again, more = trained("stopped", None)
        ended, said = again, [*said, *more]
    assert ended.key == straight.key
    assert ended.digests == straight.digests
    if named is None:
        assert " ".join(said) == ""
        assert ended.resumed_at == STOP
    else:
        assert ended.resumed_at is None
        assert named in " ".join(said)
        assert "from the beginning" in " ".join(said)


def fresh() -> None:
    """What a fresh process would have, of what the programs change."""
    import os

    sys.modules.pop("mine", None)
    importlib.invalidate_caches()
    os.environ.pop("SCALE_OF_MINE", None)


def stopping(epochs: int | None) -> Callable[..., None]:
    """A Recorder's `on_epoch_end` where a signal has come after so many epochs."""
    plain = recorder.Recorder.on_epoch_end

    def on_epoch_end(self: recorder.Recorder, epoch: int, logs: Any = None) -> None:
        self.stop_signal = signal.SIGTERM if epoch + 1 == epochs else None
        plain(self, epoch, logs)

    return on_epoch_end
