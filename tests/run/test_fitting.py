"""What each stream governs, to the bit; and how runs end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from seedbed.run import building, digest, inputs, training
from seedbed.run import data as data_sets
from seedbed.run import seeds as streams

# What can be seen of a run, and the stream that governs it.
GOVERNS = {
    "python draws": "python",
    "numpy draws": "numpy",
    "held-out examples": "split",
    "initial weights": "init",
    "order of epoch 0": "shuffle",
    "order of epoch 5": "shuffle",
    "dropout masks": "dropout",
    "augmentation in the model": "augment",
    "augmentation in the pipeline": "augment",
}
CHANGED = [name for name in streams.STREAMS if name != "hash"]  # the hash seed belongs to a process; see end_to_end


def observed(config: Any) -> dict[str, str]:
    """A digest of each thing in GOVERNS, under `config`."""
    import keras
    import tensorflow as tf

    seeds = training.resolved_seeds(config, None)
    level: Any = OmegaConf.to_container(config.determinism, resolve=True)
    drawn: dict[str, Any] = {}

    def source() -> Any:
        import random

        drawn["python"], drawn["numpy"] = random.random(), np.random.random()
        return np.arange(80.0 * 8 * 8).reshape(80, 8, 8, 1) / 5120, np.arange(80) % 10

    data = training.prepared(config, source, seeds, level)
    model = building.build(config, seeds, data)
    one = np.ones((64, 64), "float32")
    dropout = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))
    shift = next(layer for layer in model.layers if isinstance(layer, keras.layers.RandomTranslation))
    examples = data_sets.Examples(
        np.arange(8.0), load=lambda x: (x, x), augment=lambda x, y, seed: (tf.random.stateless_uniform((), seed), y)
    )
    feed = inputs.training(examples, {**seeds, "shuffle": 0}, range(2), 4, True, None, "auto")
    return {
        "python draws": str(drawn["python"]),
        "numpy draws": str(drawn["numpy"]),
        "held-out examples": digest.arrays([data.test[0], data.validation[0]]),
        "initial weights": digest.arrays(digest.weights(model)),
        "order of epoch 0": digest.arrays([inputs.order_of(seeds, 0, 80, True)]),
        "order of epoch 5": digest.arrays([inputs.order_of(seeds, 5, 80, True)]),
        "dropout masks": digest.arrays([dropout(one, training=True)]),
        "augmentation in the model": digest.arrays([shift(np.arange(256, dtype="float32").reshape(4, 8, 8, 1), training=True)]),
        "augmentation in the pipeline": digest.arrays([batch[0] for batch in feed.x]),
    }


@functools.cache
def _observed(compose: Callable[..., Any], *overrides: str) -> dict[str, str]:
    # the test looks at streams, so the data's own split must not follow from anything else
    return observed(compose("data=digits", "model=cnn", "model.augment=true", *overrides))


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    from conftest import ROOT
    from hydra import compose, initialize_config_dir

    from seedbed.run import config as configs

    def made(*overrides: str) -> Any:
        configs.register()
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose("train", [*overrides, "tracking=none"])

    return made


@pytest.mark.parametrize("changed", CHANGED)
def test_a_stream_changes_what_it_governs_and_nothing_else(composed: Callable[..., Any], changed: str) -> None:
    base, other = _observed(composed), _observed(composed, f"seeds.{changed}=5")
    differs = {thing for thing in GOVERNS if base[thing] != other[thing]}
    assert differs == {thing for thing, stream in GOVERNS.items() if stream == changed}


def test_the_master_seed_changes_everything(composed: Callable[..., Any]) -> None:
    base, other = _observed(composed), _observed(composed, "seeds.master=0")
    assert all(base[thing] != other[thing] for thing in GOVERNS)


@pytest.mark.integration
def test_a_shuffle_seed_keeps_weights_and_masks_in_a_real_run(config: Callable[..., Any]) -> None:
    runs = [training.run(config("experiment=digits_cnn", "training.epochs=1", *more)) for more in ([], ["seeds.shuffle=5"])]
    a, b = (run.digests for run in runs)
    assert a["initial_weights"] == b["initial_weights"]
    assert a["generators"] == b["generators"]  # as many masks drawn, from the same place
    assert a["final_weights"] != b["final_weights"]


def test_seeds_that_a_layer_was_given_in_code_are_governed_too(config: Callable[..., Any], plugin: Callable[..., Any]) -> None:
    """Else a study over seeds would repeat the same masks and call the spread zero."""
    plugin(
        "fixed",
        """
        import keras
        def model(spec):
            return keras.Sequential([keras.Input(spec.inputs), keras.layers.Dropout(0.5, seed=3), keras.layers.Dense(1)])
        """,
    )
    runs = [training.run(config("~model", "+model={_target_: fixed.model}", "training.epochs=2", f"seeds.dropout={n}")) for n in (1, 2)]
    assert runs[0].digests["generators"] != runs[1].digests["generators"]
    assert runs[0].history()[0] != runs[1].history()[0]


def test_a_loss_that_turns_nan_fails_and_keeps_its_record(config: Callable[..., Any]) -> None:
    failed = training.run(config("optimizer.learning_rate=1e30"))
    assert failed.status == "failed"
    assert "loss is nan in epoch" in failed.content["error"]
    assert 0 < len(failed.history()) < 100
    assert "final_weights" not in failed.digests
    assert training.run(config("optimizer.learning_rate=1e30")).reused is False


def test_an_error_in_the_users_code_keeps_its_record_and_its_traceback(
    config: Callable[..., Any], plugin: Callable[..., Any], tmp_path: Any
) -> None:
    plugin("broken", "def model():\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        training.run(config("~model", "+model={_target_: broken.model}"))
    (file,) = (tmp_path / "runs").glob("*/record.json")
    assert "ZeroDivisionError" in file.read_text()


@pytest.mark.integration
def test_metrics_are_taken_on_what_was_held_out(config: Callable[..., Any]) -> None:
    metrics = training.run(config("experiment=digits_cnn", "training.epochs=1")).metrics
    assert set(metrics) == {"validation_loss", "validation_accuracy", "test_loss", "test_accuracy"}
    assert set(training.run(config("training.epochs=1")).metrics) == {"train_loss"}


def test_the_tutorials_error_is_the_one_of_its_own_network(config: Callable[..., Any]) -> None:
    """Recomputed with NumPy from the model that the record keeps."""
    import keras

    found = training.run(config())
    model = keras.saving.load_model(found.path / "model.keras")
    (w1, b1), (w2, b2) = (layer.get_weights() for layer in model.layers if layer.get_weights())
    x = np.arange(9, dtype="float32")[:, None] / 10
    error = float(np.mean(((x @ w1 + b1) @ w2 + b2 - (x + 0.1)) ** 2))
    assert found.metrics["train_loss"] == pytest.approx(error, rel=1e-4)


@pytest.mark.integration
def test_mixed_precision_is_switched_on_and_off_again(config: Callable[..., Any]) -> None:
    import keras

    plain = training.run(config("data=digits", "training.epochs=1"))
    mixed = training.run(config("data=digits", "training.epochs=1", "training.mixed_precision=true"))
    assert mixed.digests["initial_weights"] == plain.digests["initial_weights"]
    assert mixed.digests["final_weights"] != plain.digests["final_weights"]
    assert keras.config.dtype_policy().name == "float32"


def test_a_model_that_comes_compiled_says_what_it_is_trained_with(config: Callable[..., Any], plugin: Callable[..., Any]) -> None:
    plugin(
        "ready",
        """
        import keras

        def net(spec):
            model = keras.Sequential([keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(0.125), loss="huber", metrics=["mae"])
            return model
        """,
    )
    said: list[str] = []
    record = training.run(config("~model", "+model={_target_: ready.net}", "training.epochs=1"), said=said.append)
    used = record.content["compiled"]
    assert (used["optimizer"]["class"], used["optimizer"]["learning_rate"]) == ("SGD", 0.125)
    assert (used["loss"], used["metrics"]) == ("huber", ["mae"])
    assert [line for line in said if "own optimizer (SGD)" in line]
    assert "compiled" not in training.run(config("training.epochs=1")).content  # the config's are used
