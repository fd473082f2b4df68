"""Models, input pipelines and callbacks that the project has never seen, plugged in by config files and `_target_` alone.

Each case is trained twice here, in records of their own, and once in another process that has another time zone, locale,
working directory and place of the plug-in, while this one keeps the machine busy: one digest. Cases that can go on are cut
off after their second checkpoint and started again: the same digest once more.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from seedbed import Refused

ROOT = Path(__file__).resolve().parents[2]

FOREIGN = '''
import random

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import foreign_helper


def xy(examples=24):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(examples, 4)).astype("float32")
    return x, (2 * x[:, :1] + x[:, 1:2]).astype("float32")


def weighted():
    return *xy(), np.linspace(0, 1, 24)


def dicts():
    x, y = xy()
    return {"a": x, "b": x[:, :2]}, {"u": y, "v": (y[:, 0] > 0).astype("int32")}


def tuples():
    x, y = xy()
    return (x, x[:, :2]), (y, (y[:, 0] > 0).astype("int32"))


def inputs_alone():
    return (xy()[0],)


def rows():
    x, y = xy()
    return x[:, :, None], y


def texts():
    return np.array(["red cat", "blue dog", "cat"] * 8), xy()[1]


def frame(kind):
    import pandas as pd

    x, y = xy()
    if kind == "text":
        return pd.DataFrame({"t": ["red cat", "blue dog", "cat"] * 8})["t"], y
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1] > 0, "c": range(24), "d": x[:, 2]}), y


def of_dtype(dtype):
    x, y = xy()
    return (10 * x).astype(dtype), y


def words():
    vocabulary = {word: number for number, word in enumerate({"cat", "dog", "red", "blue", "mat"})}
    sentences = [("cat", "red", "mat"), ("dog", "blue", "mat")] * 12
    return np.array([[vocabulary[word] for word in sentence] for sentence in sentences]), xy()[1]


def careless():
    """scikit-learn without random_state, global generators, and much to say."""
    from sklearn.model_selection import train_test_split

    print("loading ... " * 50)
    x, y = xy()
    x = x + np.random.normal(size=x.shape) + random.random()
    a, b, c, d = train_test_split(x, y, test_size=0.25)
    return {"train": (a, c), "validation": (b, d)}


def behind_password(password):
    assert password == "open sesame"
    return xy()


def names_as_targets():
    x, y = xy()
    return x, np.where(y[:, 0] > 0, "yes", "no")


def stream(kind, seed=None):
    data = tf.data.Dataset.from_tensor_slices(xy())
    if kind == "generator":

        def examples():
            x, y = xy()
            for i in np.random.permutation(24):
                yield x[i] + np.random.normal(size=4), y[i] + random.random()

        data = tf.data.Dataset.from_generator(examples, output_signature=(tf.TensorSpec((4,)), tf.TensorSpec((1,))))
        return data.apply(tf.data.experimental.assert_cardinality(24)).batch(8).prefetch(2)
    data = data.shuffle(24, seed=seed)
    if kind == "augmented":
        data = data.map(lambda x, y: (x + tf.random.normal(tf.shape(x)), y), num_parallel_calls=4)
    if kind == "filtered":
        data = data.filter(lambda x, y: x[0] > -0.8)
    if kind == "endless":
        data = data.repeat()
    return data.batch(8).prefetch(2)


def streams():
    return {"train": stream("augmented"), "validation": stream("shuffled")}


class Inner:
    def __init__(self):
        self.rng = np.random.default_rng()


class Batches(keras.utils.PyDataset):
    def __init__(self, draw, reshuffles=False, **options):
        super().__init__(**options)
        (self.x, self.y), self.draw, self.reshuffles = xy(), draw, reshuffles
        self.calls = 0
        self.rng, self.nested, self.order = np.random.default_rng(), [{"inner": Inner()}], np.arange(24)

    def __len__(self):
        return 6

    def __getitem__(self, index):
        chosen = self.order[4 * index : 4 * index + 4]
        x = self.x[chosen]
        noise = {
            "numpy": lambda: np.random.normal(size=x.shape),
            "python": lambda: random.random(),
            "own": lambda: self.rng.normal(size=x.shape),
            "nested": lambda: self.nested[0]["inner"].rng.normal(size=x.shape),
            "tensorflow": lambda: tf.random.normal(x.shape).numpy(),
            "keras": lambda: np.asarray(keras.random.normal(x.shape)),
            "counted": lambda: self.count(),
        }[self.draw]()
        return (x + noise).astype("float32"), self.y[chosen]

    def count(self):
        self.calls += 1
        return 1 / self.calls

    def on_epoch_end(self):
        if self.reshuffles:
            np.random.shuffle(self.order)


def dense():
    return keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(1)])


def functional():
    inputs = keras.Input((4,))
    x = layers.Dropout(0.3)(layers.GaussianNoise(0.1)(layers.Dense(8)(inputs)))
    return keras.Model(inputs, layers.Dense(1)(layers.BatchNormalization()(x)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks, self.more, self.out = [layers.Dense(8), layers.Dense(4)], {"drop": layers.Dropout(0.4)}, layers.Dense(1)

    def call(self, x, training=False):
        for block in self.blocks:
            x = ops.relu(block(x))
        return self.out(self.more["drop"](x, training=training))


def named():
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    x = layers.Concatenate()([layers.Dense(4)(a), layers.Dense(4)(b)])
    return keras.Model({"a": a, "b": b}, {"u": layers.Dense(1, name="u")(x), "v": layers.Dense(2, "softmax", name="v")(x)})


def compiled():
    a, b = keras.Input((4,)), keras.Input((2,))
    x = layers.Concatenate()([layers.Dense(4)(a), layers.Dense(4)(b)])
    model = keras.Model([a, b], [layers.Dense(1)(x), layers.Dense(2, "softmax")(x)])
    model.compile("adam", loss=["mse", "sparse_categorical_crossentropy"], metrics=[["mae"], ["accuracy"]])
    return model


class OwnStep(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner, self.tracker = dense(), keras.metrics.Mean(name="loss")
        self.steps = self.add_weight(name="steps", shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        return self.inner(x)

    @property
    def metrics(self):
        return [self.tracker]

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(x, training=True) - y) ** 2) * (1 + 0.1 * self.steps)
        self.optimizer.apply_gradients(zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights))
        self.steps.assign_add(1.0)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}

    def test_step(self, data):
        x, y = data
        self.tracker.update_state(tf.reduce_mean((self(x) - y) ** 2))
        return {"loss": self.tracker.result()}


class VAE(keras.Model):
    """As in keras.io/examples/generative/vae: neither `call` nor `test_step`."""

    def __init__(self):
        super().__init__()
        x, z = keras.Input((4,)), keras.Input((2,))
        self.encoder = keras.Model(x, [layers.Dense(2)(x), layers.Dense(2)(x)])
        self.decoder = keras.Model(z, layers.Dense(4)(z))
        self.noise, self.tracker = keras.random.SeedGenerator(1), keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def train_step(self, data):
        x = data[0] if isinstance(data, tuple) else data
        with tf.GradientTape() as tape:
            mean, log_var = self.encoder(x)
            z = mean + tf.exp(0.5 * log_var) * keras.random.normal(tf.shape(mean), seed=self.noise)
            loss = tf.reduce_mean((self.decoder(z) - x) ** 2) - 0.5 * tf.reduce_mean(1 + log_var - mean**2 - tf.exp(log_var))
        self.optimizer.apply_gradients(zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights))
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


class GAN(keras.Model):
    """As in keras.io/examples/generative/conditional_gan: a `compile` of its own with two optimizers, and no `call`."""

    def __init__(self):
        super().__init__()
        self.maker = keras.Sequential([keras.Input((2,)), layers.Dense(4)])
        self.judge = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
        self.noise = keras.random.SeedGenerator(1)

    def compile(self, judge_optimizer, maker_optimizer, loss_fn):
        super().compile()
        self.judge_optimizer, self.maker_optimizer, self.loss_fn = judge_optimizer, maker_optimizer, loss_fn

    def train_step(self, data):
        x = data[0] if isinstance(data, tuple) else data
        count = tf.shape(x)[0]
        z = keras.random.normal((count, 2), seed=self.noise)
        with tf.GradientTape() as tape:
            labels = tf.concat([tf.ones((count, 1)), tf.zeros((count, 1))], 0)
            judged = self.loss_fn(labels, self.judge(tf.concat([self.maker(z), x], 0)))
        self.judge_optimizer.apply_gradients(zip(tape.gradient(judged, self.judge.trainable_weights), self.judge.trainable_weights))
        with tf.GradientTape() as tape:
            made = self.loss_fn(tf.zeros((count, 1)), self.judge(self.maker(z)))
        self.maker_optimizer.apply_gradients(zip(tape.gradient(made, self.maker.trainable_weights), self.maker.trainable_weights))
        return {"judge_loss": judged, "maker_loss": made}


def gan():
    model = GAN()
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.Adam(0.01), keras.losses.BinaryCrossentropy(from_logits=True))
    return model


class AutoEncoder(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner, self.out = layers.Dense(2), layers.Dense(4)

    def call(self, x):
        made = self.out(self.inner(x))
        self.add_loss(ops.mean((made - x) ** 2))
        return made


class Loss(keras.losses.Loss):
    def call(self, true, predicted):
        return ops.mean(ops.abs(true - predicted) ** 1.5, axis=-1)


class Metric(keras.metrics.Metric):
    """A metric with three values."""

    def __init__(self, name="mine"):
        super().__init__(name=name)
        self.sums = self.add_variable((3,), "zeros", name="sums")

    def update_state(self, true, predicted, sample_weight=None):
        self.sums.assign(self.sums + ops.sum(predicted - true))

    def result(self):
        return self.sums


class Noise(layers.Layer):
    """Noise from every generator that there is; `odd` ones are variables of TensorFlow's, or have no variable at all."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.keras_generator = keras.random.SeedGenerator()
        self.tensorflow_generator = tf.random.Generator.from_seed(3) if kind == "generator" else None
        self.count = tf.Variable(0.0) if kind == "variable" else None

    def call(self, x, training=False):
        if self.kind == "variable":
            if training:
                self.count.assign_add(1.0)
            return x * (1 + 0.1 * self.count)
        if self.kind == "numpy":
            noise = tf.numpy_function(lambda a: np.random.normal(size=a.shape).astype("float32"), [x], tf.float32)
            noise.set_shape(x.shape)
            return x + tf.stop_gradient(noise)
        shape = ops.shape(x)
        return x + {
            "seed_generator": lambda: keras.random.normal(shape, seed=self.keras_generator),
            "global": lambda: keras.random.normal(shape),
            "operation": lambda: tf.random.normal(shape),
            "generator": lambda: self.tensorflow_generator.normal(shape),
            "traced": lambda: np.random.normal(size=x.shape[1:]).astype("float32"),
        }[self.kind]()


def noisy(kind):
    return keras.Sequential([Noise(kind), layers.Dense(4), layers.Dense(1)])


class Careless(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return np.random.default_rng().normal(size=shape).astype("float32")


def careless_weights():
    return keras.Sequential([keras.Input((4,)), layers.Dense(1, kernel_initializer=Careless())])


def stateful():
    inputs = keras.Input(batch_shape=(8, 4, 1))
    return keras.Model(inputs, layers.Dense(1)(layers.GRU(4, stateful=True)(inputs)))


def recurrent():
    return keras.Sequential([layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2), layers.Dense(1)])


def vectorized():
    text = layers.TextVectorization(output_sequence_length=3)
    text.adapt(["red cat", "blue dog", "cat"])
    return keras.Sequential([text, layers.Embedding(8, 4), layers.Flatten(), layers.Dense(1)])


def normalized():
    normalization = layers.Normalization()
    normalization.adapt(xy()[0])
    return keras.Sequential([normalization, layers.Dropout(0.2), layers.Dense(1)])


def embedded():
    return keras.Sequential([layers.Embedding(20, 4), layers.Flatten(), layers.Dense(1)])


def cast():
    return keras.Sequential([foreign_helper.ToFloat(), layers.Dense(1)])


def quotes(password):
    raise RuntimeError(f"the password is {password}")


def no_model():
    return [1, 2]


class Rate(keras.callbacks.Callback):
    """Lowers the learning rate by a state that it keeps in one `kind` of place."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.history, self.array, self.mapping, self.numbers = kind, [], np.zeros(3, "float16"), {"a": (1, 2.5)}, {}
        if kind == "callable":
            self.schedule = Schedule()
        if kind == "metric":
            self.sum = keras.metrics.Sum()
        if kind == "variable":
            self.variable = tf.Variable(0.0)

    def on_epoch_end(self, epoch, logs=None):
        self.history.append(logs["loss"])
        self.array[0] += 1
        self.mapping["a"] = (self.mapping["a"][0] + 1, 0.1)
        if self.kind == "plain":
            divisor = len(self.history) + float(self.array[0]) + self.mapping["a"][0]
        if self.kind == "numbers":
            self.numbers[epoch] = logs["loss"]
            divisor = len(self.numbers)
        if self.kind == "callable":
            divisor = self.schedule()
        if self.kind == "metric":
            self.sum.update_state(1.0)
            divisor = float(self.sum.result())
        if self.kind == "variable":
            self.variable.assign_add(1.0)
            divisor = float(self.variable.numpy())
        if self.kind == "global":
            divisor = 1 + np.random.rand() + random.random()
        self.model.optimizer.learning_rate = 0.01 / divisor


class Memory(keras.callbacks.Callback):
    """Goes by what Keras keeps of all epochs."""

    def on_epoch_end(self, epoch, logs=None):
        past = getattr(self.model, "history", None)
        losses = past.history.get("loss", []) if past else []
        self.model.optimizer.learning_rate = 0.01 / (1 + len(losses) + sum(losses))


class Wrapped(keras.callbacks.Callback):
    """A callback that hands on to one of Keras's."""

    def __init__(self):
        super().__init__()
        self.inner = keras.callbacks.EarlyStopping(monitor="loss", patience=2, min_delta=100.0)

    def on_train_begin(self, logs=None):
        self.inner.set_model(self.model)
        self.inner.on_train_begin(logs)

    def on_epoch_end(self, epoch, logs=None):
        self.inner.on_epoch_end(epoch, logs)


class Recompiles(keras.callbacks.Callback):
    """Changes the optimizer on the way, so that no checkpoint of the second half fits the model of the first."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.model.compile(keras.optimizers.SGD(0.01), "mse")
            self.model.make_train_function(force=True)


class Freezes(keras.callbacks.Callback):
    """As in fine-tuning: from the second epoch on, the first layer stays as it is."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.model.layers[1].trainable = False
            self.model.make_train_function(force=True)


class RateOfBatch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.optimizer.learning_rate = 0.01 * (np.random.rand() + random.random())


class Schedule:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.calls


def halved(epoch, rate):
    return 0.01 * 0.5**epoch
'''

HELPER = """
from keras import layers, ops


class ToFloat(layers.Layer):
    def call(self, x):
        return ops.cast(x, "float32")
"""


def _node(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"_target_": name if "." in name else f"foreign.{name}", **arguments}


def case(model: str = "functional", data: str = "xy", m: Any = (), d: Any = (), callback: Any = None, **config: Any) -> Any:
    """Config files for one case; `config` names further keys, with __ for dots."""
    values = {"checkpoint.every_epochs": 1, **{key.replace("__", "."): value for key, value in config.items()}}
    if callback:
        values["+training.callbacks.one"] = _node(*callback)
    return {"model": _node(model, dict(m)), "data": _node(data, dict(d)), "values": values}


ADAM = {"_target_": "keras.optimizers.Adam", "learning_rate": 0.01}
COSINE = {"_target_": "keras.optimizers.schedules.CosineDecay", "initial_learning_rate": 0.01, "decay_steps": 20}
STOP = {"monitor": "loss", "patience": 1, "min_delta": 100.0, "restore_best_weights": True, "start_from_epoch": 1}

NOISES = ("seed_generator", "global", "operation", "generator", "variable", "numpy", "traced")
DRAWS = ("numpy", "python", "own", "nested", "tensorflow", "keras", "counted")
KEPT = ("plain", "numbers", "callable", "metric", "variable", "global")

CASES: dict[str, Any] = {
    # models
    "built by its first batch": case("dense"),
    "functional": case(),
    "subclassed": case("Subclassed"),
    "dicts": case(
        "named", "dicts",
        data__loss={"u": _node("Loss", {}), "v": "sparse_categorical_crossentropy"},
        data__metrics={"u": [_node("Metric", {})], "v": ["accuracy"]},
    ),
    "comes compiled": case("compiled", "tuples"),
    "train_step": case("OwnStep"),
    "VAE": case("VAE", "inputs_alone"),
    "GAN": case("gan", "inputs_alone"),
    "add_loss": case("AutoEncoder", "inputs_alone"),
    "loss and metric objects": case(data__loss=_node("Loss", {}), data__metrics=[_node("Metric", {}), "mae"]),
    **{f"noise: {kind}": case("noisy", m={"kind": kind}) for kind in NOISES},
    "unseeded initializer": case("careless_weights"),
    "stateful RNN": case("stateful", "rows"),
    "LSTM": case("recurrent", "rows"),
    "TextVectorization": case("vectorized", "texts"),
    "Normalization": case("normalized"),
    # arrays
    "sample_weight": case(data="weighted"),
    "text in a DataFrame": case("vectorized", "frame", d={"kind": "text"}),
    "mixed DataFrame": case("dense", "frame", d={"kind": "mixed"}),
    **{dtype: case("cast", "of_dtype", d={"dtype": dtype}) for dtype in ("float64", "uint8", "bool")},
    "vocabulary from a set": case("embedded", "words"),
    "careless": case("dense", "careless"),
    "one example": case(d={"examples": 1}),
    "one batch": case(data__batch_size=1000),
    # pipelines
    "tf.data": case(data="stream", d={"kind": "shuffled", "seed": 7}),
    "tf.data, no seed": case(data="stream", d={"kind": "augmented"}),
    "tf.data, filtered": case(data="stream", d={"kind": "filtered"}),
    "tf.data, endless": case(data="stream", d={"kind": "endless"}, training__steps_per_epoch=3),
    "tf.data for validation": case(data="streams"),
    "from_generator": case(data="stream", d={"kind": "generator"}),
    **{f"PyDataset: {draw}": case(data="Batches", d={"draw": draw, "workers": 3}) for draw in DRAWS},
    "PyDataset in processes": case(data="Batches", d={"draw": "numpy", "workers": 2, "use_multiprocessing": True}),
    "PyDataset that reshuffles": case(data="Batches", d={"draw": "own", "reshuffles": True}),
    "PyDataset and a callback that draws": case(data="Batches", d={"draw": "numpy", "workers": 3}, callback=("RateOfBatch", {})),
    # how it is trained
    **{f"callback: {kind}": case(callback=("Rate", {"kind": kind})) for kind in KEPT},
    "callback: model.history": case(callback=("Memory", {})),
    "callback: wraps": case(callback=("Wrapped", {}), data__epochs=5),
    "callback: recompiles": case(callback=("Recompiles", {})),
    "callback: freezes": case(callback=("Freezes", {})),
    "early stopping": case(callback=("keras.callbacks.EarlyStopping", STOP), data__epochs=5),
    "plateau": case(callback=("keras.callbacks.ReduceLROnPlateau", {"monitor": "loss", "patience": 1, "min_delta": 100.0}), data__epochs=5),
    "schedule": case(
        callback=("keras.callbacks.LearningRateScheduler", {"schedule": {"_target_": "hydra.utils.get_method", "path": "foreign.halved"}})
    ),
    "TensorBoard": case(callback=("keras.callbacks.TensorBoard", {"log_dir": "{record}/tensorboard"})),
    "mixed precision": case(training__mixed_precision=True),
    "jit_compile": case(training__jit_compile=True),
    "steps_per_execution": case(training__steps_per_execution=4),
    "steps_per_epoch": case(training__steps_per_epoch=2),
    "steps_per_epoch, tf_data": case(training__steps_per_epoch=2, data__input="tf_data"),
    "steps_per_epoch, py_dataset": case(training__steps_per_epoch=2, data__input="py_dataset"),
    "EMA": case(optimizer={**ADAM, "use_ema": True, "ema_overwrite_frequency": 2}),
    "Lion, cosine, clipnorm": case(optimizer={"_target_": "keras.optimizers.Lion", "clipnorm": 0.5, "learning_rate": COSINE}),
}  # fmt: skip


def chosen(folder: Path, name: str) -> list[str]:
    """The case's config files, written under `folder`, and the words that choose them on a command line."""
    wanted, file = CASES[name], "".join(letter if letter.isalnum() else "_" for letter in name)
    values = dict(wanted["values"])
    data = {"name": "foreign", "source": wanted["data"], "epochs": 4, "batch_size": 8}
    data |= {key.removeprefix("data."): values.pop(key) for key in list(values) if key.startswith("data.")}
    parts = {"model": wanted["model"], "data": data, "optimizer": values.pop("optimizer", ADAM)}
    for group, content in parts.items():
        (folder / group).mkdir(parents=True, exist_ok=True)
        (folder / group / f"{file}.yaml").write_text(json.dumps(content))  # JSON is YAML
    searched = f"hydra.searchpath=['file://{folder}']"
    return [searched, *(f"{group}={file}" for group in parts), *(f"{key}={_word(value)}" for key, value in values.items())]


def _word(value: Any) -> str:
    """A value in Hydra's override grammar."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_word(item)}" for key, item in value.items()) + "}"
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)


def trained(name: str, folder: Path, runs: str = "runs") -> Any:
    """The case's record, its config and records under `folder`."""
    from hydra import compose, initialize_config_dir

    from seedbed.run import config as configs
    from seedbed.run import training

    configs.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [f"runs='{folder / runs}'", "tracking=none", *chosen(folder / "conf", name)])
    return training.run(config)


def train_all(folder: Path, names: list[str]) -> None:
    """What the other process does: each case's key and digests, or what went wrong, in a file of its own."""
    for name in names:
        try:
            record = trained(name, folder)
            result = {"key": record.key, "digests": record.digests}
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        shutil.rmtree(folder / "runs", ignore_errors=True)
        path = folder / f"{names.index(name)}.json"
        path.with_suffix(".part").write_text(json.dumps(result))
        path.with_suffix(".part").rename(path)


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    """`elsewhere(name)`: what one other process, shared by all of pytest's workers, found for a case."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if session else base) / f"elsewhere {session}"
    items = [item for item in request.session.items if item.originalname == test_same_bits_everywhere.__name__]
    names = [item.callspec.params["name"] for item in items]
    process = None
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            (folder / "moved").mkdir(parents=True)
            write_plugin(folder / "moved")
            program = "import json, pathlib, sys, test_foreign; test_foreign.train_all(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]))"
            paths = os.pathsep.join(str(path) for path in (folder / "moved", Path(__file__).parent))
            env = {**os.environ, "PYTHONPATH": paths, "TZ": "Pacific/Apia", "LC_ALL": "C", "HOME": str(folder)}
            with (folder / "log").open("w") as log:
                command = [sys.executable, "-c", program, str(folder), json.dumps(names)]
                process = subprocess.Popen(command, env=env, cwd="/", stdout=log, stderr=log)

    def result(name: str) -> Any:
        path, until = folder / f"{names.index(name)}.json", time.monotonic() + 400
        while not path.exists():
            over = time.monotonic() > until or (process is not None and process.poll() is not None and not path.exists())
            assert not over, f"no result from the other process:\n{(folder / 'log').read_text()[-3000:]}"
            time.sleep(0.1)
        return json.loads(path.read_text())

    yield result
    if process is not None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(300)  # other workers may still need it
        process.kill()


def write_plugin(folder: Path) -> None:
    (folder / "foreign.py").write_text(FOREIGN)
    (folder / "foreign_helper.py").write_text(HELPER)


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plug-in on the path, and the global generators as no test left them."""
    (tmp_path / "plugins").mkdir()
    write_plugin(tmp_path / "plugins")
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    before = set(sys.modules)
    random.seed()
    np.random.seed()
    yield tmp_path
    for name in {"foreign", "foreign_helper"} & (set(sys.modules) - before):
        del sys.modules[name]


class PowerCut(BaseException):
    """Nothing catches it, so that it leaves the record as a killed process does."""


def cut_off(after: int) -> Callable[..., Path]:
    """checkpoint.write that pulls the plug after so many."""
    from seedbed.run import checkpoint

    whole, written = checkpoint.write, 0

    def write(*arguments: Any) -> Path:
        nonlocal written
        written += 1
        path = whole(*arguments)
        if written == after:
            raise PowerCut
        return path

    return write


# Variants of a case that stays; `make test-slow` has them.
VARIANTS = {
    "uint8", "bool", "float64", "steps_per_epoch, tf_data", "steps_per_epoch, py_dataset", "functional", "LSTM", "VAE", "EMA",
    "noise: seed_generator", "noise: global", "noise: numpy", "noise: generator", "sample_weight", "one example", "one batch",
    "built by its first batch", "comes compiled", "loss and metric objects", "noise: traced", "noise: operation", "Normalization",
    "callback: numbers", "plateau", "schedule", "TensorBoard", "jit_compile", "Lion, cosine, clipnorm", "tf.data", "text in a DataFrame", "tf.data, no seed", "tf.data, endless", "from_generator", "PyDataset that reshuffles",
    "PyDataset and a callback that draws", "callback: recompiles", "callback: model.history", "subclassed", "tf.data for validation",
    "callback: plain", "PyDataset: numpy", "tf.data, filtered", "noise: variable", "careless", "mixed DataFrame", "unseeded initializer", "add_loss",
    *[f"PyDataset: {draw}" for draw in list(DRAWS)[1:]], *[f"callback: {kind}" for kind in list(KEPT)[2:]],
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in VARIANTS else []) for name in CASES])
def test_same_bits_everywhere(
    name: str, foreign: Path, elsewhere: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    from seedbed.run import checkpoint

    first = trained(name, foreign)
    assert first.status == "finished"
    assert len(first.history()) == (3 if name in ("early stopping", "callback: wraps") else CASES[name]["values"].get("data.epochs", 4))

    with monkeypatch.context() as patch, suppress(PowerCut):
        patch.setattr(checkpoint, "write", cut_off(after=2))
        trained(name, foreign, runs="cut off")
    again = trained(name, foreign, runs="cut off")
    assert again.key == first.key
    differing = [name for name, digest in first.digests.items() if again.digests[name] != digest]
    assert not differing, f"went on from epoch {again.resumed_at}"

    other = elsewhere(name)
    assert "error" not in other, other["error"]
    assert (other["key"], other["digests"]) == (first.key, first.digests)


ENGINES = ["stateful RNN", "train_step", "callback: freezes"]
MORE = [
    "noise: generator",
    "VAE",
    "noise: operation",
    "noise: seed_generator",
    "noise: global",
    "add_loss",
    "EMA",
    "GAN",
    "callback: model.history",
]


@pytest.mark.integration
@pytest.mark.parametrize("name", [*ENGINES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_both_engines_give_the_same_bits(name: str, foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_itself = trained(name, foreign)
    monkeypatch.setitem(CASES[name]["values"], "training.engine", "fit")
    by_fit = trained(name, foreign, runs="fit")
    assert by_fit.content["engine"] == "fit"
    assert by_fit.digests == by_itself.digests


@pytest.mark.parametrize("name", ["steps_per_execution", "stateful RNN", "tf.data, filtered"])
def test_an_epoch_has_all_its_batches(name: str, foreign: Path) -> None:
    record = trained(name, foreign)
    assert all(row["loss"] > 0 for row in record.history())


def test_a_change_in_a_helper_is_another_run_and_a_move_is_not(foreign: Path) -> None:
    from seedbed.run import provenance

    target = ["foreign.dense"]
    before = provenance.code(target)
    assert {"foreign", "foreign_helper"} <= set(before)
    moved = foreign / "moved elsewhere"
    (foreign / "plugins").rename(moved)
    sys.path.insert(0, str(moved))
    try:
        assert provenance.code(target) == before
        (moved / "foreign_helper.py").write_text(HELPER + "\n# changed\n")
        changed = provenance.code(target)
    finally:
        sys.path.remove(str(moved))
    assert {module for module in before if changed[module] != before[module]} == {"foreign_helper"}


def test_a_secret_of_the_environment_is_in_no_file_of_the_record(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREIGN_PASSWORD", "open sesame")
    monkeypatch.setitem(CASES, "secret", case(data="behind_password", d={"password": "${oc.env:FOREIGN_PASSWORD}"}))
    record = trained("secret", foreign)
    assert not [path for path in record.path.rglob("*") if path.is_file() and b"open sesame" in path.read_bytes()]


def test_a_secret_that_an_error_quotes_is_not_in_the_record(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREIGN_PASSWORD", "open sesame")
    values = {"data__epochs": 1, "name": "${oc.env:FOREIGN_PASSWORD}"}
    monkeypatch.setitem(CASES, "secret", case("quotes", m={"password": "${oc.env:FOREIGN_PASSWORD}"}, **values))
    with pytest.raises(RuntimeError, match="open sesame"):  # on the terminal, by all means
        trained("secret", foreign)
    (record,) = (foreign / "runs").glob("[0-9a-f]*")
    text = (record / "record.json").read_text()
    assert "the password is ${oc.env:FOREIGN_PASSWORD}" in text
    assert not [path for path in record.rglob("*") if path.is_file() and b"open sesame" in path.read_bytes()]


@pytest.mark.integration
def test_every_kind_of_input_takes_the_first_batches_of_an_epochs_order(foreign: Path) -> None:
    kinds = ["steps_per_epoch", "steps_per_epoch, tf_data", "steps_per_epoch, py_dataset"]
    assert len({trained(kind, foreign, runs=kind).digests["run"] for kind in kinds}) == 1


@pytest.mark.integration
def test_the_dropout_stream_governs_noise_without_a_generator(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "plain", case("noisy", m={"kind": "global"}))
    monkeypatch.setitem(CASES, "other", case("noisy", m={"kind": "global"}, seeds__dropout=5))
    plain, other = trained("plain", foreign), trained("other", foreign)
    assert plain.digests["initial_weights"] == other.digests["initial_weights"]
    assert plain.history()[0] != other.history()[0]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (case(data="names_as_targets"), "yes"),
        (case("no_model"), "returned list. Accepted: a keras.Model"),
        (case(callback=("keras.callbacks.BackupAndRestore", {"backup_dir": "x"})), "seedbed does this itself"),
        (case(training__steps_per_epoch=4), "is more than the data have: 3 batches of 8 examples"),
        (case(data="inputs_alone", data__loss="mse"), "the data function returned inputs alone"),
        (case("dense", "stream", d={"kind": "endless"}, data__files=["tests/run/test_foreign.py"]), "has no end"),
    ],
    ids=["strings as targets", "no model", "BackupAndRestore", "too many steps", "loss without targets", "endless"],
)
def test_refused(wanted: Any, message: str, foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "refused", wanted)
    with pytest.raises(Refused, match=message):
        trained("refused", foreign)
