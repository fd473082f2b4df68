"""The fast engine has the bits of `model.fit`, for every example model, and leaves to `fit` what it can't do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from seedbed.run import building, inputs, looking, loop, targets, training
from seedbed.run.data import DataSet

MODELS = {
    "mlp": ["model=mlp", "model.dropout=0.2", "model.batch_normalization=true", "model.activation=relu"],
    "cnn": ["model=cnn", "model.augment=true"],
    "gru": ["model=gru"],
    "transformer": ["model=transformer"],
}
EARLY = "+training.callbacks.early={_target_: keras.callbacks.EarlyStopping, patience: 1, restore_best_weights: true}"
PLATEAU = "+training.callbacks.plateau={_target_: keras.callbacks.ReduceLROnPlateau, patience: 0, factor: 0.5, monitor: loss, min_delta: 9}"


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=pytest.mark.integration if name in ("mlp", "cnn") else pytest.mark.slow) for name in MODELS]
)
def test_the_loop_and_fit_and_every_kind_of_input_have_the_same_bits(config: Callable[..., Any], model: str, tmp_path: Any) -> None:
    ways = {
        "loop": "training.engine=loop",
        "fit": "training.engine=fit",
        "tf_data": "data.input=tf_data",
        "py_dataset": "data.input=py_dataset",
    }
    digests = {}
    for name, way in ways.items():
        found = training.run(config("data=digits", "training.epochs=2", *MODELS[model], way, f"runs='{tmp_path / name}'"))
        assert found.content["engine"] == ("loop" if name == "loop" else "fit")
        digests[name] = found.digests
    assert len({d["run"] for d in digests.values()}) == 1, digests


@pytest.mark.integration
def test_a_train_step_of_ones_own_gets_inputs_alone_as_fit_would_hand_them_over(
    config: Callable[..., Any], plugin: Callable[..., Any], tmp_path: Any
) -> None:
    """Keras's `fit(x)` calls `train_step(x)`, not `train_step((x,))`: what a variational autoencoder is written for."""
    plugin(
        "alone",
        """
        import keras, numpy
        import tensorflow as tf
        def data():
            return (numpy.linspace(0, 1, 40, dtype="float32").reshape(10, 4),)
        class Model(keras.Model):
            def __init__(self):
                super().__init__()
                self.inner = keras.layers.Dense(4)
                self.tracker = keras.metrics.Mean(name="loss")
            @property
            def metrics(self):
                return [self.tracker]
            def train_step(self, data):
                assert not isinstance(data, tuple)
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean((self.inner(data) - data) ** 2)
                self.optimizer.apply_gradients(zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights))
                self.tracker.update_state(loss)
                return {"loss": self.tracker.result()}
        def model():
            return Model()
        """,
    )
    words = ["~data.source.length", "data.source._target_=alone.data", "~model", "+model={_target_: alone.model}", "training.epochs=2", "training.batch_size=4",
             "training.loss=null", "training.metrics=null", "data.validation_split=0", "data.test_split=0"]  # fmt: skip
    ways = ["training.engine=loop", "training.engine=fit", "data.input=tf_data", "data.input=py_dataset"]
    runs = [training.run(config(*words, way, f"runs='{tmp_path / way}'")) for way in ways]
    assert len({found.digests["run"] for found in runs}) == 1
    assert runs[0].content["metrics"]["train_loss"] > 0


OTHERS = [pytest.param(size, marks=pytest.mark.integration) for size in ("null", "1437", "1258", "2000")]


@pytest.mark.parametrize("batch", ["629", *OTHERS])
def test_whole_and_broken_batches(config: Callable[..., Any], batch: str, tmp_path: Any) -> None:
    """1258 training examples: one batch, two equal ones, a short last one, a batch larger than the data."""
    runs = [
        training.run(
            config(
                "data=digits",
                "training.epochs=2",
                f"training.batch_size={batch}",
                f"training.engine={engine}",
                f"runs='{tmp_path / engine}'",
            )
        )
        for engine in ("loop", "fit")
    ]
    assert runs[0].digests == runs[1].digests


@pytest.mark.integration
def test_callbacks_see_what_fit_would_show_them(config: Callable[..., Any], tmp_path: Any) -> None:
    words = ["data=digits", "training.epochs=8", "optimizer.learning_rate=0.1", EARLY, PLATEAU]
    runs = [training.run(config(*words, f"training.engine={engine}", f"runs='{tmp_path / engine}'")) for engine in ("loop", "fit")]
    assert [run.content["engine"] for run in runs] == ["loop", "fit"]
    assert runs[0].history() == runs[1].history()
    assert len(runs[0].history()) < 8
    assert runs[0].digests == runs[1].digests


def test_equal_to_a_bare_fit_with_the_same_order(config: Callable[..., Any]) -> None:
    """A program without seedbed: `set_random_seed`, the model, `model.fit` an epoch at a time on the permuted arrays."""
    import keras

    composed = config("data=digits", "training.epochs=3", "data.validation_split=0", "training.batch_size=null")
    found = training.run(composed)
    seeds = found.seeds
    data = training.prepared(composed, targets.target(composed.data.source, "data.source"), seeds, found.inputs["determinism"])
    keras.utils.set_random_seed(seeds["init"])
    x, y = data.train
    inputs_ = keras.Input((8, 8, 1))
    hidden = keras.layers.Dense(10)(keras.layers.Flatten()(inputs_))
    outputs = keras.layers.Dense(10, activation="softmax")(hidden)
    model = keras.Model(inputs_, outputs)
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy")
    losses = []
    for epoch in range(3):
        order = inputs.order_of(seeds, epoch, len(x), True)
        losses += model.fit(x[order], y[order], batch_size=len(x), shuffle=False, verbose=0).history["loss"]
    assert losses == [row["loss"] for row in found.history()]


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (
            ["+training.callbacks.log={_target_: keras.callbacks.TensorBoard, log_dir: '{record}/tb'}"],
            "TensorBoard wants to see each batch",
        ),
        (["training.steps_per_execution=2"], "steps_per_execution"),
        (["data.input=tf_data"], "the input is a pipeline"),
        (["training.class_weight={0: 2.0, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1}"], "class_weight is set"),
    ],
)
def test_what_the_loop_cannot_do_is_fits_and_asking_for_it_is_refused(config: Callable[..., Any], overrides: list[str], why: str) -> None:
    from seedbed import Refused

    words = ["data=digits", "training.epochs=1", "data.validation_split=0", *overrides]
    assert training.run(config(*words)).content["engine"] == "fit"
    with pytest.raises(Refused, match=why):
        training.run(config(*words, "training.engine=loop", "force=true"))


def test_a_hook_that_is_no_method_is_seen(config: Callable[..., Any]) -> None:
    import keras

    composed = config()
    seeds = training.resolved_seeds(composed, None)
    level: Any = OmegaConf.to_container(composed.determinism, resolve=True)
    data = training.prepared(composed, targets.target(composed.data.source, "data.source"), seeds, level)
    model = building.build(composed, seeds, data)
    assert loop.obstacle(model, composed, data, []) is None
    for hooks, wanted in (({"on_epoch_end": print}, None), ({"on_train_batch_end": print}, "LambdaCallback wants to see each batch")):
        assert loop.obstacle(model, composed, data, [keras.callbacks.LambdaCallback(**hooks)]) == wanted


def model_with(layer: str, config: Callable[..., Any], plugin: Callable[..., Any]) -> tuple[Any, Any]:
    plugin(
        "hidden",
        f"""
        import keras, numpy, tensorflow as tf
        @keras.saving.register_keras_serializable()
        class Layer(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.generator = tf.random.Generator.from_seed(1)
                self.count = tf.Variable(0.0)
                self.own = keras.random.SeedGenerator(1)
            def call(self, x, training=False):
                return {layer}
        def model(spec):
            return keras.Sequential([keras.Input(spec.inputs), Layer(), keras.layers.Dense(1)])
        """,
    )
    composed = config("~model", "+model={_target_: hidden.model}")
    seeds = training.resolved_seeds(composed, None)
    data = training.prepared(
        composed, targets.target(composed.data.source, "data.source"), seeds, OmegaConf.to_container(composed.determinism, resolve=True)
    )
    return building.build(composed, seeds, data), inputs.first_batch(data.train, 4)


@pytest.mark.parametrize(
    ("layer", "hidden"),
    [
        ("x * 2", None),
        ("x + keras.random.normal((1,), seed=self.own)", None),
        ("x + tf.random.normal((1,))", "RandomStandardNormal"),
        ("x + self.generator.normal((1,))", "outside of Keras"),
        ("x + self.count.assign_add(1.0)", "outside of Keras"),
        ("x + tf.ensure_shape(tf.numpy_function(lambda: numpy.float32(numpy.random.random()), [], 'float32'), ())", "PyFunc"),
    ],
)
def test_state_that_no_checkpoint_holds_is_found(
    config: Callable[..., Any], plugin: Callable[..., Any], layer: str, hidden: str | None
) -> None:
    model, batch = model_with(layer, config, plugin)
    found = looking.hidden_state(model, batch)
    assert (found is None) == (hidden is None), found
    assert hidden is None or hidden in found


def test_an_epochs_batches_are_those_of_its_order() -> None:
    seeds = {"shuffle": 3, "augment": 4}
    x, y = np.arange(10, dtype="float32"), np.arange(10)
    feed = inputs.training((x, y), seeds, range(1, 3), 4, True, None, "auto")
    batches = [batch[1].numpy().tolist() for batch in feed.x]
    assert feed.steps == 3
    assert [len(batch) for batch in batches] == [4, 4, 2] * 2
    assert np.concatenate(batches[:3]).tolist() == inputs.order_of(seeds, 1, 10, True).tolist()
    assert np.concatenate(batches[3:]).tolist() == inputs.order_of(seeds, 2, 10, True).tolist()


REGRESSION = ["R2Score", "MeanAbsoluteError", "RootMeanSquaredError", "CosineSimilarity", "LogCoshError", "MeanAbsolutePercentageError"]
BINARY = [
    "AUC",
    "Precision",
    "Recall",
    "F1Score",
    "FBetaScore",
    "BinaryAccuracy",
    "SensitivityAtSpecificity",
    "BinaryIoU",
    "Hinge",
]
BINARY_ARGUMENTS = {"SensitivityAtSpecificity": ", specificity: 0.5", "F1Score": ", threshold: 0.5", "FBetaScore": ", threshold: 0.5",
                    "Precision": ", thresholds: [0.3, 0.7]"}  # fmt: skip

BINARY_DATA = """
import numpy as np
def data():
    x = np.random.default_rng(1).normal(size=(60, 3)).astype("float32")
    return x, (x[:, :1] + 0.3 * x[:, 1:2] > 0).astype("float32")
"""


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["regression", "binary"])
def test_every_metric_is_what_fit_shows_when_many_epochs_go_into_a_call(
    config: Callable[..., Any], plugin: Callable[..., Any], kind: str, tmp_path: Any
) -> None:
    """Metrics are reset and read inside the graph there; with a batch that is cut short, and a validation part."""
    plugin("binary", BINARY_DATA)
    names = REGRESSION if kind == "regression" else BINARY
    metrics = ", ".join(f"{{_target_: keras.metrics.{name}{BINARY_ARGUMENTS.get(name, '')}}}" for name in names)
    words = ["training.epochs=7", "training.batch_size=4", f"training.metrics=[{metrics}]"]
    if kind == "binary":
        words += [
            "data.source._target_=binary.data",
            "~data.source.length",
            "training.loss=binary_crossentropy",
            "data.validation_split=0.3",
        ]
    runs = [training.run(config(*words, f"training.engine={engine}", f"runs='{tmp_path / engine}'")) for engine in ("loop", "fit")]
    assert runs[0].history() == runs[1].history()
    assert runs[0].metrics == runs[1].metrics
    assert runs[0].digests == runs[1].digests
    assert len(runs[0].history()[0]) > len(names)


@pytest.mark.integration
def test_many_epochs_go_into_a_call_and_one_where_somebody_looks(config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    many = loop.Engine._epochs
    monkeypatch.setattr(
        loop.Engine, "_epochs", lambda self, train, held, orders, batch: calls.append(len(orders)) or many(self, train, held, orders, batch)
    )
    training.run(config("training.epochs=50"))
    assert sum(calls) == 50
    assert len(calls) < 10
    calls.clear()
    training.run(config("training.epochs=50", "checkpoint.every_epochs=20", "seeds.master=2"))
    assert sum(calls) == 50
    assert {20, 40} <= {sum(calls[: i + 1]) for i in range(len(calls))}  # a call ends where a checkpoint is due
    calls.clear()
    training.run(config("training.epochs=5", "data=digits", EARLY))
    assert calls == []


def test_a_loss_that_is_not_finite_ends_the_history_in_its_epoch(config: Callable[..., Any]) -> None:
    runs = [
        training.run(
            config("training.epochs=60", "optimizer=sgd", "optimizer.learning_rate=30.0", f"training.engine={engine}", "force=true")
        )
        for engine in ("loop", "fit")
    ]
    assert [run.status for run in runs] == ["failed", "failed"]
    assert 1 < len(runs[0].history()) < 60
    assert repr(runs[0].history()) == repr(runs[1].history())


def test_many_epochs_in_a_call_and_what_is_called_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of three epochs; after each the model is that of the last one. What Keras's `fit` does at the end is done, too."""
    import keras

    ended: list[Any] = []

    class Recording(keras.callbacks.Callback):
        past, last = keras.callbacks.History(), 0

        def together(self, epoch: int) -> int:
            return 3

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            ended.append((epoch, self.last, logs["loss"]))

        def on_train_end(self, logs: Any = None) -> None:
            ended.append(("train", logs["loss"]))

    model: Any = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mean_squared_error")
    monkeypatch.setattr(model.optimizer, "finalize_variable_values", lambda weights: ended.append(("finalized", len(weights))))
    engine, orders = loop.Engine(model), []
    engine.seconds = 1e-9

    def epochs(train: Any, held: Any, some: np.ndarray, batch: Any) -> list[dict[str, float]]:
        orders.extend(some.tolist())
        return [{"loss": float(len(orders))}] * len(some)

    monkeypatch.setattr(engine, "_epochs", epochs)
    x, seeds = np.ones((4, 1), "float32"), {"shuffle": 3}
    engine.fit(DataSet((x, x)), seeds, range(1, 7), 2, True, [], Recording())
    assert orders == [inputs.order_of(seeds, epoch, 4, True).tolist() for epoch in range(1, 7)]
    assert ended[:3] == [(1, 3, 3.0), (2, 3, 3.0), (3, 3, 3.0)]
    assert ended[-2:] == [("finalized", 2), ("train", 6.0)]
    assert ended[3:-2] == [(4, 6, 6.0), (5, 6, 6.0), (6, 6, 6.0)]


@pytest.mark.parametrize("name", ["fit", "evaluate", "predict", "make_train_function", "make_test_function", "make_predict_function"])
def test_a_model_with_a_way_of_its_own_is_fits(name: str, config: Callable[..., Any]) -> None:
    import keras

    model = type("Own", (keras.Model,), {name: lambda self, *unused, **named: None})()
    x = np.ones((4, 1), "float32")
    assert loop.obstacle(model, config(), DataSet((x, x)), []) == f"Own has its own {name}"


@pytest.mark.parametrize(
    "line", ["self.model.layers[0].trainable = False", "self.model.compile('sgd')", "self.model.make_train_function()"]
)
def test_a_callback_that_may_have_the_step_made_anew_is_fits(line: str, config: Callable[..., Any]) -> None:
    import keras

    space: dict[str, Any] = {"keras": keras}
    exec(f"class Own(keras.callbacks.Callback):\n    def on_epoch_end(self, epoch, logs=None):\n        {line}\n", space)
    x = np.ones((4, 1), "float32")
    assert str(loop.obstacle(keras.Model(), config(), DataSet((x, x)), [space["Own"]()])).startswith(
        "Own may have the train step made anew"
    )
