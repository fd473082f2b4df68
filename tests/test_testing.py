"""The test class to inherit: the example models keep it, and each planted fault turns the phase red that it belongs to, by name.

What is measured in one process is measured here in the test's own, which is right for level `strict`; what needs whole runs,
and pytest's part, in fresh processes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE

from seedbed import Refused
from seedbed.contract import BROKEN, HOLDS, PHASES, SKIPPED, Finding, Limits
from seedbed.contract.asking import Asked, words_of
from seedbed.contract.work import Order, measure
from seedbed.testing import data

FAULTY = '''
import os
import string
from itertools import count

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def xy(examples=64, width=1):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(examples, 4)).astype("float32")
    return x, (2 * x[:, :1] + x[:, 1:2]).astype("float32") * np.ones((1, width), "float32")


def labels():
    x, y = xy()
    return x, (y[:, 0] > 0).astype("int64")


def pairs():
    x, y = xy()
    return {"a": x, "b": x[:, :2]}, {"u": y, "v": (y[:, 0] > 0).astype("int64")}


def alone():
    return (xy()[0],)


def net(*more, last=None):
    return keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu", name="before"), *more, last or layers.Dense(1, name="last")])


def clean():
    return net()


# --- initialisation

def fixed_seed():
    return net(layers.Dense(4, kernel_initializer=keras.initializers.GlorotUniform(seed=3), name="fixed"))


def seeds_itself():
    keras.utils.set_random_seed(42)
    return net()


def own_table(shape, dtype=None):
    return np.random.RandomState(0).normal(size=shape).astype("float32")


def own_initializer():
    return net(layers.Dense(4, kernel_initializer=own_table, name="fixed"))


def entropy_table(shape, dtype=None):
    return np.frombuffer(os.urandom(int(np.prod(shape))), "uint8").reshape(shape) / np.float32(255)


def entropy_weights():
    return net(layers.Dense(4, kernel_initializer=entropy_table, name="drawn"))


KEPT = layers.Dense(4, name="kept")


def global_layer():
    return net(KEPT)


def bad_start():
    return net(layers.Dense(4, bias_initializer=keras.initializers.Constant(float("nan")), name="bad"))


def not_to_be_had():
    raise ZeroDivisionError("in the model function")


# --- forward

class Noise(layers.Layer):
    def __init__(self, **more):
        super().__init__(**more)
        self.generator = keras.random.SeedGenerator()

    def call(self, x):
        return x + 0.1 * keras.random.normal(ops.shape(x), seed=self.generator)


class Outer(layers.Layer):
    def __init__(self, **more):
        super().__init__(**more)
        self.inner = Noise(name="noise")

    def call(self, x):
        return self.inner(x)


def noise_in_inference():
    return net(Outer(name="outer"))


class Centred(layers.Layer):
    def call(self, x):
        return x - ops.mean(x, axis=0, keepdims=True)


def mixes_rows():
    return net(Centred(name="centred"))


class Jitter(layers.Layer):
    def call(self, x, training=False):
        return x * (1 + os.urandom(1)[0] / 255) if training else x


def entropy_in_training():
    return net(Jitter(name="jitter"))


def no_batch_axis():
    x = keras.Input((4,))
    return keras.Model(x, ops.mean(layers.Dense(3)(x), axis=0))


def infinite():
    return net(layers.Lambda(lambda x: x / 0.0, name="infinite"))


# --- loss

def nan_loss(true, predicted):
    return ops.mean(ops.log(true - 100.0) + predicted, axis=-1)


def logits():
    return net(last=layers.Dense(2, name="last"))


def softmax():
    return net(last=layers.Dense(2, "softmax", name="last"))


# --- gradient

class Unused(keras.Model):
    def __init__(self, **more):
        super().__init__(**more)
        self.one, self.dead, self.out = layers.Dense(4), layers.Dense(4, name="dead"), layers.Dense(1)

    def call(self, x):
        self.dead(x)
        return self.out(self.one(x))


def cut():
    return net(layers.Dense(4, name="behind"), layers.Lambda(ops.stop_gradient), layers.Dense(4))


def one_class():
    return net(last=layers.Dense(1, "softmax", name="last"))


# --- update

class Lazy(keras.optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        pass


class PassesOver(keras.optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        if tuple(variable.shape) != (4, 8):
            super().update_step(gradient, variable, learning_rate)


class Scaled(layers.Layer):
    """Another layer in each model."""

    def __init__(self, **more):
        super().__init__(**more)
        self.factor = 0.5 + int.from_bytes(os.urandom(3), "little") / 2**24

    def call(self, x):
        return x * self.factor


def drawn_factor():
    return net(Scaled(name="scaled"))


class Thawed(layers.Layer):
    def __init__(self, **more):
        super().__init__(trainable=False, **more)

    def build(self, shape):
        self.mean = self.add_weight(name="mean", shape=shape[1:], initializer="zeros")

    def call(self, x, training=False):
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * ops.mean(x, axis=0))
        return x


def changes_frozen():
    return net(Thawed(name="thawed"))


# --- resume

MEMORY = []


class Hides(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        string.epochs_seen = getattr(string, "epochs_seen", 0) + 1  # on a module of Python's, which nobody looks at
        self.model.optimizer.learning_rate = 0.01 / (1 + string.epochs_seen)


class Remembers(keras.callbacks.Callback):
    """Keeps what it goes by in a global variable."""

    def on_epoch_end(self, epoch, logs=None):
        MEMORY.append(logs["loss"])
        self.model.optimizer.learning_rate = 0.01 / (1 + len(MEMORY))


class Counts(keras.callbacks.Callback):
    """Keeps what it goes by in the model."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.epochs_seen += 1
        self.model.optimizer.learning_rate = 0.01 / (1 + self.model.epochs_seen)


class Counting(keras.Model):
    def __init__(self, **more):
        super().__init__(**more)
        self.out, self.epochs_seen = layers.Dense(1), 0

    def call(self, x):
        return self.out(x)


# --- save and load

class Power(layers.Layer):
    def __init__(self, power=1.0, **more):
        super().__init__(**more)
        self.power = power

    def call(self, x):
        return x * self.power

    def get_config(self):
        return super().get_config()


def forgets():
    return net(Power(power=0.5, name="forgetful"))


class Applies(layers.Layer):
    def __init__(self, function, **more):
        super().__init__(**more)
        self.function = function

    def call(self, x):
        return self.function(x)

    def get_config(self):
        return super().get_config()


def applies():
    return net(Applies(ops.tanh, name="applies"))


# --- repeat

class PerProcess(layers.Layer):
    factor = 0.5 + int.from_bytes(os.urandom(3), "little") / 2**24

    def call(self, x):
        return x * self.factor


def per_process():
    return net(PerProcess(name="per_process"))


# --- clean, and odd

class OddOnes(keras.Model):
    """A layer that begins at 0, so that nothing before it learns at first; a frozen one; a table of its own."""

    def __init__(self, **more):
        super().__init__(**more)
        self.first, self.zero = layers.Dense(8, "gelu"), layers.Dense(4, kernel_initializer="zeros", name="zero")
        self.frozen, self.table = layers.Dense(4, trainable=False), layers.Dense(4, kernel_initializer=keras.initializers.Identity())
        self.out = layers.Dense(1)

    def call(self, x):
        return self.out(self.table(x) + self.frozen(x)) + ops.sum(self.zero(self.first(x)), axis=-1, keepdims=True)


def named():
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    x = layers.LayerNormalization()(layers.Concatenate()([layers.Dense(4)(a), layers.Dropout(0.5)(b)]))
    return keras.Model({"a": a, "b": b}, {"u": layers.Dense(1, name="u")(x), "v": layers.Dense(2, "softmax", name="v")(x)})


def compiled():
    model = net(layers.BatchNormalization())
    model.compile(keras.optimizers.Adam(0.01), "mae", metrics=["mse"])
    return model


class TrainsAlone(keras.Model):
    """Neither `call` nor a loss that Keras knows."""

    def __init__(self):
        super().__init__()
        self.inner, self.noise = layers.Dense(4), keras.random.SeedGenerator(1)

    def train_step(self, data):
        x = data  # inputs alone, as `fit(x)` hands them over
        with tf.GradientTape() as tape:
            loss = ops.mean((self.inner(x + keras.random.normal(ops.shape(x), seed=self.noise)) - x) ** 2)
        self.optimizer.apply_gradients(zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights))
        return {"loss": loss}


def pretrained():
    """Weights that are the same whatever the seeds are, by intention."""
    model = net()
    for number, weight in enumerate(model.weights):
        weight.assign(np.random.RandomState(number).normal(size=weight.shape))
    return model

'''


def words(folder: Path, model: str, data: str = "xy", optimizer: str = "keras.optimizers.Adam", **more: Any) -> list[str]:
    """Config files of one case, written below `folder`, and the words that choose them."""
    loss = more.pop("loss", "null")
    parts = {
        "model": f"_target_: faulty.{model}\n",
        "data": f"name: {model}\nsource: {{_target_: faulty.{data}}}\nloss: {loss}\nbatch_size: 8\n",
        "optimizer": f"_target_: {optimizer}\nlearning_rate: {more.pop('rate', 0.01)}\n",
    }
    for group, text in parts.items():
        (folder / "conf" / group).mkdir(parents=True, exist_ok=True)
        (folder / "conf" / group / "case.yaml").write_text(text)
    chosen = [f"{group}=case" for group in parts] + [f"{key.replace('__', '.')}={value}" for key, value in more.items()]
    return ["--config-dir", str(folder / "conf"), *chosen]


def found_of(config: list[str], folder: Path, phases: tuple[str, ...] = PHASES, limits: Limits | None = None) -> dict[str, Finding]:
    """What the process that measures would find, phase by phase."""
    asked = Asked(config, folder, limits or Limits(), phases, 100)
    measured = measure(Order(asked.settings, folder / "measured", asked.limits, phases))
    return {finding.phase: finding for finding in measured.findings}


BUILT = ("initialisation", "forward", "loss", "gradient", "update", "save and load")

FAULTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "fixed_seed": ("initialisation", r"fixed/kernel \(Dense\).*seed=3", {}),
    "seeds_itself": ("initialisation", r"before/kernel \(Dense\).*seeds the generators itself", {}),
    "own_initializer": ("initialisation", r"fixed/kernel \(Dense\).*own_table", {}),
    "entropy_weights": ("initialisation", r"drawn/kernel \(Dense\) is not the same in two models", {}),
    "global_layer": ("initialisation", r"kept/kernel \(Dense\) is one variable in two models", {}),
    "bad_start": ("initialisation", r"bad/bias \(Dense\) begins with values that are not finite", {}),
    "not_to_be_had": ("initialisation", "ZeroDivisionError: in the model function", {}),
    "noise_in_inference": ("forward", r"outer/noise \(Noise\) puts out something else each time", {}),
    "mixes_rows": ("forward", r"centred \(Centred\) gives an example another output", {}),
    "entropy_in_training": ("forward", r"jitter \(Jitter\).*with training=True", {}),
    "no_batch_axis": ("forward", r"shape \(3,\) for a batch of 8", {}),
    "infinite": ("forward", r"infinite \(Lambda\) puts out values that are not finite", {}),
    "clean": ("loss", r"loss is nan.*the loss itself", {"loss": "{_target_: hydra.utils.get_method, path: faulty.nan_loss}"}),
    "logits": ("loss", "sparse_categorical_crossentropy expects probabilities", {"data": "labels"}),
    "softmax": ("loss", "softmax of what is a softmax already", {
        "data": "labels", "loss": "{_target_: keras.losses.SparseCategoricalCrossentropy, from_logits: true}"}),
    "named_wrongly": ("initialisation", "can't be imported", {}),
    "Unused": ("gradient", r"dead/kernel \(Dense\) gets no gradient", {}),
    "cut": ("gradient", r"before/kernel \(Dense\) gets no gradient", {}),
    "one_class": ("gradient", r"before/kernel \(Dense\) is 0 everywhere", {}),
    "drawn_factor": ("update", r"before/kernel \(Dense\) is another one after 4 train steps if the model is built anew", {}),
    "changes_frozen": ("update", r"thawed/mean \(Thawed\) is frozen", {}),
    "forgets": ("save and load", r"forgetful \(Power\) puts out something else", {}),
    "applies": ("save and load", r"applies \(Applies\) is saved, and can't be loaded.*: function\.", {}),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_placed(fault: str, tmp_path: Path, plugin: Callable[..., Path]) -> None:
    plugin("faulty", FAULTY)
    phase, message, config = FAULTS[fault]
    found = found_of(words(tmp_path, fault, **config), tmp_path, BUILT)
    assert [one for one in BUILT if one in found and found[one].status == BROKEN] == [phase]
    assert all(found[one].status == HOLDS for one in BUILT[: BUILT.index(phase)])
    assert re.search(message, found[phase].message), found[phase].message


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"optimizer": "faulty.Lazy"}, r"No weight changes.*\(Lazy\) updates nothing"),
        ({"optimizer": "keras.optimizers.SGD", "rate": 0.0}, "its learning rate is 0"),
        ({"optimizer": "faulty.PassesOver"}, r"before/kernel \(Dense\) gets a gradient, and 4 train steps leave it"),
        ({"optimizer": "keras.optimizers.SGD", "rate": -0.01}, "never less than at the beginning"),
    ],
    ids=["updates nothing", "rate 0", "passes over", "uphill"],
)
def test_an_optimizer_that_does_not_train_is_named(
    config: dict[str, Any], message: str, tmp_path: Path, plugin: Callable[..., Path]
) -> None:  # fmt: skip
    plugin("faulty", FAULTY)
    found = found_of(words(tmp_path, "clean", **config), tmp_path, BUILT[:5])
    assert [one for one in found if found[one].status != HOLDS] == ["update"]
    assert re.search(message, found["update"].message), found["update"].message


CLEAN = {
    "odd ones": ({"model": "OddOnes"}, {}),
    "dicts": ({"model": "named", "data": "pairs", "loss": "{u: mean_squared_error, v: sparse_categorical_crossentropy}"}, {}),
    "compiled": ({"model": "compiled"}, {}),
    "trains alone": ({"model": "TrainsAlone", "data": "alone"}, {"forward": "no `call`", "save and load": "no `call`"}),
    "pretrained": ({"model": "pretrained"}, {}),
    "accumulates": ({"model": "clean", "+optimizer__gradient_accumulation_steps": 5}, {}),
    "mixed precision": ({"model": "compiled", "training__mixed_precision": "true"}, {}),
}


@pytest.mark.integration
@pytest.mark.parametrize("case", CLEAN)
def test_no_false_alarm(case: str, tmp_path: Path, plugin: Callable[..., Path]) -> None:
    plugin("faulty", FAULTY)
    config, skipped = CLEAN[case]
    found = found_of(words(tmp_path, **config), tmp_path, BUILT)
    assert {one.phase: one.message for one in found.values() if one.status == BROKEN} == {}
    assert {one.phase for one in found.values() if one.status == SKIPPED} == set(skipped)
    assert all(text in found[phase].message for phase, text in skipped.items())


@pytest.mark.integration
def test_what_is_meant_can_be_said(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    plugin("faulty", FAULTY)
    for model, phase, limits in (
        ("noise_in_inference", "forward", Limits(random_in_inference=True)),
        ("mixes_rows", "forward", Limits(rows_independent=False)),
        ("fixed_seed", "initialisation", Limits(exempt=("fixed/*",))),
        ("cut", "gradient", Limits(exempt=("before/*", "behind/*"))),
    ):
        config = words(tmp_path, model)
        assert found_of(config, tmp_path, (phase,))[phase].status == BROKEN
        assert found_of(config, tmp_path, (phase,), limits)[phase].status == HOLDS
    uphill = words(tmp_path, "clean", optimizer="keras.optimizers.SGD", rate=-0.01)
    assert found_of(uphill, tmp_path, ("update",), Limits(overfit_steps=0))["update"].status == HOLDS


def of_runs(config: list[str], folder: Path, phase: str) -> Finding:
    return Asked(config, folder / "asked", Limits(), (phase,), 200).finding(phase)


@pytest.mark.slow
def test_state_of_ones_own_survives_a_stop_and_what_does_not_is_broken(
    tmp_path: Path, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(plugin("faulty", FAULTY)))
    callbacks = {"+training__callbacks__one": "{_target_: faulty.Remembers}", "+training__callbacks__two": "{_target_: faulty.Counts}"}
    assert of_runs(words(tmp_path, "Counting", **callbacks), tmp_path, "resume").status == HOLDS
    callbacks = {"+training__callbacks__one": "{_target_: faulty.Hides}"}
    found = of_runs(words(tmp_path, "Counting", **callbacks), tmp_path / "hidden", "resume")
    assert found.status == BROKEN
    assert "in epoch 3" in found.message  # the second epoch's rate was set before the stop


@pytest.mark.integration
def test_what_differs_from_process_to_process_is_a_broken_repeat(
    tmp_path: Path, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(plugin("faulty", FAULTY)))
    config = words(tmp_path, "per_process")
    assert {one.status for one in found_of(config, tmp_path, BUILT).values()} == {HOLDS}  # nothing shows it in one process
    found = of_runs(config, tmp_path, "repeat")
    assert found.status == BROKEN
    assert "in epoch 1, where loss is" in found.message
    assert f'make diagnose ARGS="{" ".join(config)}"' in found.message


def by_pytest(folder: Path, *classes: str) -> dict[str, str]:
    """Test → its outcome and what is said of it, from a fresh pytest that has no more than a user's."""
    (folder / "test_mine.py").write_text("import seedbed.testing\nfrom seedbed.testing import ModelContract\n\n\n" + "\n\n\n".join(classes))
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-v", "-rA", "--tb=short", "-W", "error::DeprecationWarning"]
    command = [sys.executable, "-m", "pytest", *options, "-W", "error::pytest.PytestWarning", "test_mine.py"]
    done = subprocess.run(command, cwd=folder, env={**OUTSIDE, "COLUMNS": "300"}, capture_output=True, text=True, timeout=400)
    outcomes = {}
    for line in done.stdout.splitlines():
        outcome, _, rest = line.partition(" ")
        if outcome in ("PASSED", "FAILED", "SKIPPED"):
            name = rest.split("::")[-1].split(" - ")[0] if "::" in rest else rest
            outcomes[name] = f"{outcome} {rest}"
    assert outcomes, done.stdout + done.stderr
    outcomes["out"] = done.stdout
    return outcomes


METHODS = [f"test_{phase.replace(' ', '_')}" for phase in PHASES]


@pytest.mark.integration
def test_an_example_model_keeps_the_contract(tmp_path: Path) -> None:
    done = by_pytest(tmp_path, 'class TestMine(ModelContract):\n    config = "data=digits model=cnn model.augment=true"\n')
    assert {name: done.get(name, "").split(" ")[0] for name in METHODS} == dict.fromkeys(METHODS, "PASSED"), done["out"]
    assert sorted(re.findall(r"::TestMine::(test_\w+) PASSED", done["out"])) == sorted(METHODS)  # in whatever order


@pytest.mark.integration
@pytest.mark.parametrize(
    "model",
    [
        "mlp model.dropout=0.2 model.batch_normalization=true",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("transformer", "gru")),
    ],
)
def test_and_so_do_the_others_in_one_process(model: str, tmp_path: Path) -> None:
    found = found_of(["data=digits", *f"model={model}".split()], tmp_path)
    assert {name: one.status for name, one in found.items()} == dict.fromkeys((*BUILT, "resume"), HOLDS), found


@pytest.mark.integration
def test_the_first_red_test_names_the_phase_and_the_rest_follows(tmp_path: Path) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "own.yaml").write_text("_target_: example.models.mlp\nactivation: tanh\n")
    done = by_pytest(
        tmp_path,
        'class TestUphill(ModelContract):\n    config = ("--config-dir", "conf", "model=own", "data=digits", "optimizer.learning_rate=0.0")\n    batches = 2\n',
        'class TestNoSuch(seedbed.testing.ModelContract):\n    config = "model=no_such"\n',
        "class TestSwitchedOff(TestNoSuch):\n    test_initialisation = test_forward = test_loss = test_repeat = None\n",
        "class TestSaysNothing(ModelContract):\n    pass\n",
    )
    out = done["out"]
    lines = out.splitlines()
    failed = [line.split(" - ")[0].removeprefix("FAILED test_mine.py::") for line in lines if line.startswith("FAILED")]
    first = {"TestUphill": "update", "TestNoSuch": "initialisation", "TestSwitchedOff": "gradient", "TestSaysNothing": "initialisation"}
    assert sorted(failed) == sorted(f"{name}::test_{phase}" for name, phase in first.items())
    assert "update: No weight changes in 2 train steps" in out
    assert "Could not find 'model/no_such'" in out
    assert "The test class says no config" in out
    assert sum(line.startswith("SKIPPED") and line.endswith("follows from `update`, which is broken") for line in lines) == 3
    assert re.search("4 failed, 4 passed, 20 skipped", lines[-1])


@pytest.mark.integration
def test_where_no_bits_are_promised_none_are_asked_for(tmp_path: Path) -> None:
    asked = Asked("data=digits model=cnn determinism=seeded", tmp_path / "asked", Limits(batches=2), PHASES, 200)
    assert {phase: asked.finding(phase).status for phase in PHASES} == {
        phase: SKIPPED if phase in ("resume", "repeat") else HOLDS for phase in PHASES
    }
    assert "determinism=seeded doesn't promise" in asked.finding("repeat").message


def test_data_are_those_of_a_run_checked_as_it_would() -> None:
    x, y = data("data=digits").train
    assert (x.shape, x.dtype.name, y.shape) == ((1797, 8, 8, 1), "float32", (1797,))
    assert data(["data=sequence", "data.source.length=5"]).train[0].shape == (4, 1)
    with pytest.raises(Refused, match=r"Values are missing: say data\.source\.path="):
        data("data=csv")


def test_words() -> None:
    assert words_of("digits_cnn") == ["experiment=digits_cnn"]
    assert words_of("model=cnn 'name=a b'") == ["model=cnn", "name=a b"]
    assert words_of(("--config-dir", "conf", "data=mine")) == ["--config-dir", "conf", "data=mine"]


def test_a_process_that_dies_or_hangs_is_the_broken_phase(
    tmp_path: Path, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import os, signal, time\n\ndef model(spec):\n    {}\n"
    for what, timeout, message in (("os.kill(os.getpid(), signal.SIGKILL)", 100, "SIGKILL"), ("time.sleep(60)", 2, "longer than 2 s")):
        folder = plugin("dying", source.format(what))
        monkeypatch.setenv("PYTHONPATH", str(folder))
        config = ["data=digits", "~model", "+model={_target_: dying.model}"]
        found = Asked(config, tmp_path / message, Limits(), PHASES, timeout).finding("initialisation")
        assert found.status == BROKEN
        assert message in found.message
