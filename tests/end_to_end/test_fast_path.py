"""Runs that share a process, its data and its model have the digests of fresh processes, for every model and kind of input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import data_config
from end_to_end.driver import MODELS, trained

pytestmark = pytest.mark.integration

EARLY = "+training.callbacks.early={_target_: keras.callbacks.EarlyStopping, patience: 0, min_delta: 1, restore_best_weights: true}"
PLATEAU = "+training.callbacks.plateau={_target_: keras.callbacks.ReduceLROnPlateau, patience: 0, factor: 0.5, monitor: loss, min_delta: 9}"
JOBS = {
    **{
        f"{model} {kind}": ["data=digits", "training.epochs=2", *words, f"data.input={kind}"]
        for model, words in MODELS.items()
        for kind in ("arrays", "tf_data", "py_dataset")
    },
    "tutorial": ["experiment=tutorial", "training.epochs=30"],
    "callbacks": ["data=digits", "training.epochs=4", "model.dropout=0.2", EARLY, PLATEAU],
    "no split": ["data=digits", "training.epochs=2", "data.validation_split=0", "data.test_split=0", "training.batch_size=500"],
    "momentum": ["data=digits", "training.epochs=2", "optimizer=sgd", "model.batch_normalization=true"],
    "checkpoints": ["data=digits", "training.epochs=5", "model.dropout=0.5", "checkpoint.every_epochs=2"],
}
SEEDS = (1, 2, 3)


def digests(found: list[Any]) -> list[str]:
    return [one[0]["run"] for one in found]


# Each kind of input and what differs most from it is among these; the rest of the table is `make test-slow`.
MAIN = ("mlp arrays", "cnn tf_data")


@pytest.mark.parametrize("names", [MAIN, pytest.param(tuple(name for name in JOBS if name not in MAIN), marks=pytest.mark.slow)])
def test_shared_runs_have_the_digests_of_fresh_ones(seedbed: Callable[..., Any], tmp_path: Path, names: tuple[str, ...]) -> None:
    jobs = {name: JOBS[name] for name in names}
    shared = trained(jobs, tmp_path / "shared", "many", SEEDS)
    plain = trained(dict(reversed(jobs.items())), tmp_path / "plain", "alone", tuple(reversed(SEEDS)), TZ="Asia/Kathmandu")
    for name in jobs:
        assert digests(shared[name]) == digests(plain[name])[::-1], name
        assert len(set(digests(shared[name]))) == len(SEEDS)  # and the seeds do differ
    for name in names[:2]:  # each alone, in a process of its own
        alone = seedbed("train", *JOBS[name], "seeds.master=3", "--json", env={"PYTHONHASHSEED": "77"}, runs=tmp_path / name)
        assert alone.status == 0, alone.err
        assert alone.json["digests"] == shared[name][2][0], name


def test_what_is_shared_and_what_was_used_is_in_the_record(tmp_path: Path) -> None:
    found = trained({name: JOBS[name] for name in ("mlp arrays", "cnn tf_data", "callbacks")}, tmp_path, "many", SEEDS)
    for name, engine in (("mlp arrays", "loop"), ("cnn tf_data", "fit"), ("callbacks", "loop")):
        first, *others = found[name]
        assert set(first[2]) == {"data", "model"}  # the first of a process makes everything
        assert [(other[1], other[2]) for other in others] == [(engine, {})] * 2
        assert {one[3] for one in found[name]} == {None}


@pytest.mark.slow
def test_pictures_with_augmentation_and_tables(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b,c,y\n" + "".join(f"{i},{i * i % 7},{'red' if i % 3 else 'blue'},{i % 5}\n" for i in range(50)))
    source = ["data=images", f"data.source.path='{pictures}'", "data.source.size=[12,12]", "data.source.channels=1"]
    jobs = {
        "images": [*source, "model=cnn", "training.epochs=2"],
        "csv": ["data=csv", f"data.source.path='{tmp_path}/table.csv'", "data.source.target=y", "training.epochs=2"],
    }
    shared = trained(jobs, tmp_path / "shared", "many", SEEDS)
    for name in jobs:
        plain = {seed: trained({name: jobs[name]}, tmp_path / f"{name} {seed}", "alone", (seed,))[name][0][0] for seed in SEEDS[1:]}
        assert [one[0] for one in shared[name][1:]] == list(plain.values()), name
        assert shared[name][2][2] == {}


FOREIGN = """
import functools, itertools
import keras, numpy as np, tensorflow as tf

def flat(spec):
    return keras.Input(spec.inputs)

# --- what can't be shared, each for a reason of its own

def random_constant(spec):
    table = np.random.normal(size=(1, 4)).astype("float32")      # another one for each seed, and no variable
    x = keras.layers.Dense(4)(inputs := flat(spec))
    return keras.Model(inputs, keras.layers.Dense(1)(x * table))

def random_closure(spec):
    factor = np.random.normal()
    return keras.Sequential([flat(spec), keras.layers.Lambda(lambda x: x * factor, output_shape=lambda s: s), keras.layers.Dense(1)])

def random_width(spec):
    return keras.Sequential([flat(spec), keras.layers.Dense(int(np.random.randint(2, 30))), keras.layers.Dense(1)])

class Noisy(keras.layers.Layer):
    def call(self, x):
        return x + tf.random.normal((1,))

def stateful(spec):
    return keras.Sequential([flat(spec), Noisy(), keras.layers.Dense(1)])

class Counting(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.count = tf.Variable(0.0, trainable=False)
    def call(self, x):
        return x * (1.0 + self.count.assign_add(0.01))

def counting(spec):
    return keras.Sequential([flat(spec), Counting(), keras.layers.Dense(1)])

class Raw(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return tf.raw_ops.RandomUniform(shape=shape, dtype=tf.float32, seed=2, seed2=3)

def raw(spec):
    return keras.Sequential([flat(spec), keras.layers.Dense(1, kernel_initializer=Raw())])

NUMBER = itertools.count(1)

def numbered(spec):
    return keras.Sequential([flat(spec), keras.layers.Dense(next(NUMBER)), keras.layers.Dense(1)])

CALLS = []

def growing(spec):
    CALLS.append(1)
    return keras.Sequential([flat(spec), keras.layers.Dense(len(CALLS)), keras.layers.Dense(1)])

@functools.cache
def drawn_once():
    return np.random.normal()

def cached(spec):
    factor = drawn_once()
    return keras.Sequential([flat(spec), keras.layers.Rescaling(factor), keras.layers.Dense(1)])

class Growing(keras.callbacks.Callback):
    grown = 0
    def on_epoch_end(self, epoch, logs=None):
        type(self).grown += 1
        self.model.layers[-1].bias.assign_add([0.1 * type(self).grown])

class Freezing(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        self.model.layers[0].trainable = False

GEN = keras.random.SeedGenerator(7)

def module_seed_generator(spec):
    def start(shape, dtype=None):
        return keras.random.normal(shape, seed=GEN)
    return keras.Sequential([flat(spec), keras.layers.Dense(3, kernel_initializer=start), keras.layers.Dense(1)])

BETA = keras.Variable(1.0, trainable=False)

class Weighted(keras.layers.Layer):
    def call(self, x):
        return x * BETA

class Anneal(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        BETA.assign(BETA + 0.1)

def annealed(spec):
    return keras.Sequential([flat(spec), Weighted(), keras.layers.Dense(1)])

class Projection(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.start = keras.initializers.RandomNormal()
    def call(self, x):
        return x @ self.start((x.shape[-1], 3))

def projected(spec):
    return keras.Sequential([flat(spec), Projection(), keras.layers.Dense(1)])

class Shake(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        bias = self.model.layers[-1].bias
        bias.assign(bias + tf.random.normal((1,)))

class Seen(keras.metrics.Metric):
    def __init__(self):
        super().__init__(name="seen")
        self.count = self.add_variable((), "zeros", name="count")
    def update_state(self, y_true, y_pred, sample_weight=None):
        self.count.assign(self.count + 1)
    def result(self):
        return self.count
    def reset_state(self):
        pass

class AtInference(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.shift = tf.Variable(np.random.normal(size=(1,)).astype("float32"), trainable=False)
    def call(self, x, training=False):
        return x if training else x + self.shift

def at_inference(spec):
    return keras.Sequential([flat(spec), AtInference(), keras.layers.Dense(1)])

class Scale(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="random_normal")
    def call(self, x):
        return keras.ops.tanh(x * self.scale)

class Worst(keras.metrics.Metric):
    def __init__(self):
        super().__init__(name="worst")
        self.worst = self.add_variable((), "zeros", name="worst")
    def update_state(self, y_true, y_pred, sample_weight=None):
        self.worst.assign(keras.ops.maximum(self.worst, keras.ops.max(keras.ops.abs(y_true - keras.ops.squeeze(y_pred, -1)))))
    def result(self):
        return self.worst
    def reset_state(self):
        self.worst.assign(0.0)

class Watching(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.last = float(logs["loss"])

def scaled(spec):
    return keras.Sequential([flat(spec), Scale(), keras.layers.Dropout(0.3), keras.layers.Dense(1)])

def plain(spec):
    return keras.Sequential([flat(spec), keras.layers.Dense(3), keras.layers.Dense(1)])

# --- data

RNG = np.random.default_rng(5)

def module_generator():
    x = RNG.normal(size=(12, 2)).astype("float32")
    return x, x[:, 0]

def by_seed(seeds):
    x = np.random.default_rng(seeds["split"]).normal(size=(12, 2)).astype("float32")
    return x, x[:, 0]

def by_global():
    x = np.random.normal(size=(12, 2)).astype("float32")
    return x, x[:, 0]

def fixed():
    x = np.random.default_rng(5).normal(size=(12, 2)).astype("float32")
    return x, x[:, 0]

@functools.cache
def cached_data():
    return by_global()

def pipeline():
    x, y = fixed()
    return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(12).batch(4)

def tf_random():
    x = tf.random.normal((12, 2)).numpy()
    return x, x[:, 0]

def tf_seeded():
    x = tf.random.normal((12, 2), seed=4).numpy()
    return x, x[:, 0]
"""
CASES: dict[str, tuple[str, str, list[str]]] = {
    **{name: (name, "fixed", []) for name in (
        "random_constant", "random_closure", "random_width", "stateful", "counting", "raw", "numbered", "growing", "cached", "plain",
        "module_seed_generator", "projected", "at_inference")},
    "annealed": ("annealed", "fixed", ["+training.callbacks.own={_target_: foreign.Anneal}"]),
    "metric that goes on": ("plain", "fixed", ["training.metrics=[{_target_: foreign.Seen}]"]),
    "callback with a class's state": ("plain", "fixed", ["+training.callbacks.own={_target_: foreign.Growing}"]),
    "callback that freezes": ("plain", "fixed", ["+training.callbacks.own={_target_: foreign.Freezing}"]),
    **{f"data {name}": ("plain", name, []) for name in (
        "module_generator", "by_seed", "by_global", "cached_data", "pipeline", "tf_random", "tf_seeded")},
}  # fmt: skip


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """A user's module outside the repository, and the words for each case: what trains it."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "foreign.py").write_text(FOREIGN)
    words = {}
    for name, (model, data, more) in CASES.items():
        place = folder / name.replace(" ", "-")
        place.mkdir()
        more = [*more, "~model", f"+model={{_target_: foreign.{model}}}", "training.epochs=2"]
        words[name] = [*data_config(place, f"foreign.{data}"), *more]
    return folder, words


# One of each way in which foreign code keeps something; the others are `make test-slow`.
FIRST = ("module_seed_generator", "data by_global")


@pytest.mark.parametrize("name", [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in CASES])
def test_a_study_of_foreign_code_has_the_digests_of_fresh_processes(
    seedbed: Callable[..., Any], tmp_path: Path, foreign: tuple[Path, dict[str, list[str]]], name: str
) -> None:
    """Whatever a model, its data or its callbacks keep somewhere: what can't be shared is made anew, if need be in a new process."""
    folder, words = foreign
    env = {"PYTHONPATH": str(folder)}
    study = seedbed("repeat", *words[name], "study.n=3", "study.check=0", "--json", env=env, runs=tmp_path / "study")
    assert study.status == 0, study.err
    alone = seedbed("train", *words[name], "seeds.master=3", "--json", env=env, runs=tmp_path / "alone", start=True)
    assert alone.json["digests"]["run"] == study.json["digests"]["3"], study.json
    assert len(set(study.json["digests"].values())) == 3


def test_ordinary_code_of_the_users_is_shared(
    seedbed: Callable[..., Any], tmp_path: Path, foreign: tuple[Path, dict[str, list[str]]]
) -> None:
    """A layer with weights, a metric, a callback of his own: nothing that a seed leaves behind."""
    folder, words = foreign
    env = {"PYTHONPATH": str(folder)}
    more = [
        "model._target_=foreign.scaled",
        "training.metrics=[{_target_: foreign.Worst}]",
        "+training.callbacks.own={_target_: foreign.Watching}",
    ]
    study = seedbed("repeat", *words["plain"], *more, "study.n=3", "study.check=0", "--json", env=env, runs=tmp_path / "study")
    assert study.status == 0, study.err
    records = {}
    for file in (tmp_path / "study").glob("[0-9a-f]*/record.json"):
        record = json.loads(file.read_text())
        records[record["seeds"]["master"]] = record
    assert [records[seed]["not_shared"] for seed in (2, 3)] == [{}, {}]
    alone = seedbed("train", *words["plain"], *more, "seeds.master=3", "--json", env=env, runs=tmp_path / "alone")
    assert alone.json["digests"] == records[3]["digests"]


def test_a_callback_that_draws_has_the_same_numbers_where_its_stream_is_held(
    seedbed: Callable[..., Any], tmp_path: Path, foreign: tuple[Path, dict[str, list[str]]]
) -> None:
    """`variance` holds `dropout`, and with it TensorFlow's global seed: a kernel that goes on would give other numbers."""
    from seedbed.run import seeds

    folder, words = foreign
    env = {"PYTHONPATH": str(folder)}
    shake = [*words["plain"], "+training.callbacks.own={_target_: foreign.Shake}"]
    study = seedbed("repeat", *shake, "study.n=3", "study.vary=init", "--json", env=env, runs=tmp_path / "study")
    assert study.status == 0, study.err
    alone = seedbed("train", *shake, f"seeds.init={seeds.derive(3, 'init')}", "--json", env=env, runs=tmp_path / "alone")
    assert alone.json["digests"]["run"] == study.json["digests"]["3"]
