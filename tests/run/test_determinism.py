"""Levels: what their names promise, and that a level that can't hold is an error before training."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE, ROOT, STRICT
from omegaconf import OmegaConf

from seedbed import Refused
from seedbed.run import determinism, training


def level(config: Any) -> dict[str, Any]:
    return OmegaConf.to_container(config.determinism, resolve=True)  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["off", "seeded", "strict", "portable"])
def test_the_levels_files_keep_what_their_names_promise(config: Callable[..., Any], name: str) -> None:
    composed = level(config(f"determinism={name}"))
    determinism.check(composed)
    assert composed["level"] == name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("determinism.op_determinism=false", "op_determinism=False"),
        ("determinism.threads.intra_op=null", "threads.intra_op=None"),
        ("determinism.threads.inter_op=0", "threads.inter_op=0"),
        ("determinism.environment.TF_DETERMINISTIC_OPS='0'", "TF_DETERMINISTIC_OPS=0"),
        ("determinism.level=solid", "determinism.level='solid' is not a level. Accepted: off, seeded, strict"),
    ],
)
def test_a_weakened_level_is_refused(config: Callable[..., Any], override: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        training.run(config(override))


def test_all_that_is_wrong_is_said_at_once(config: Callable[..., Any]) -> None:
    with pytest.raises(Refused) as refused:
        determinism.check(level(config("determinism.op_determinism=false", "determinism.threads.intra_op=null")))
    assert "op_determinism" in str(refused.value)
    assert "intra_op" in str(refused.value)


def test_a_process_that_is_not_right_is_refused(config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    with pytest.raises(Refused, match="needs TF_ENABLE_ONEDNN_OPTS=1"):
        determinism.apply(level(config()))


@pytest.mark.integration
def test_tensorflow_used_too_early_is_refused_with_the_number_of_threads() -> None:
    code = (
        "import tensorflow as tf; tf.constant(1) + 1\n"
        "from seedbed.run import determinism\n"
        "level = dict(level='strict', environment={}, threads=dict(intra_op=3, inter_op=1), op_determinism=True, tensor_float_32=False)\n"
        "determinism.apply(level)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**OUTSIDE, **STRICT})
    assert "seedbed.Refused: determinism=strict needs threads.intra_op=3" in done.stderr


def test_an_operation_without_a_deterministic_implementation_is_refused_by_name(seedbed: Callable[..., Any]) -> None:
    """XLA's gradient of max pooling has none, on a CPU too (TensorFlow 2.21)."""
    done = seedbed("train", "experiment=digits_cnn", "training.epochs=1", "training.jit_compile=true")
    assert done.status == 2
    assert "Traceback" not in done.err
    assert "MaxPool gradient ops do not yet have a deterministic XLA implementation" in done.err
    assert "determinism=seeded" in done.err


def test_a_variable_that_contradicts_the_level_ends_before_anything_is_written(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    done = seedbed("train", env={"TF_DETERMINISTIC_OPS": "0"})
    assert done.status == 2
    assert "TF_DETERMINISTIC_OPS=0 is set, TF_DETERMINISTIC_OPS=1 is needed" in done.err
    assert not list((tmp_path / "runs").glob("*/record.json"))


@pytest.mark.integration
def test_off_differs_each_time_and_seeds_are_recorded(seedbed: Callable[..., Any]) -> None:
    first, second = (seedbed("train", "determinism=off", "training.epochs=2", "--json", env=STRICT).json for _ in range(2))
    assert first["digests"]["initial_weights"] != second["digests"]["initial_weights"]
    assert all(first["seeds"][name] != second["seeds"][name] for name in first["seeds"])
    # what entropy drew can be asked for again
    again = seedbed("train", "determinism=seeded", f"seeds.master={first['seeds']['master']}", "training.epochs=2", "--json").json
    assert again["digests"]["initial_weights"] == first["digests"]["initial_weights"]


def test_the_levels_variables_are_known_to_decide_bits() -> None:
    from seedbed.run import process

    portable = OmegaConf.create((ROOT / "conf" / "determinism" / "portable.yaml").read_text())
    assert set(portable.environment) <= set(process.deciding("tensorflow"))
    level = OmegaConf.create((ROOT / "conf" / "determinism" / "strict.yaml").read_text())
    assert set(level.environment) <= set(process.deciding("tensorflow"))
    for name, variables in level.backends.items():
        assert set(variables) <= set(process.deciding(name))


ODD = """
import keras, numpy as np, tensorflow as tf

OPERATIONS = {
    "timestamp": lambda: tf.timestamp(),
    "state": lambda: tf.random.Generator.from_non_deterministic_state(),
    "generator": lambda: tf.random.get_global_generator(),
    "ints": lambda: tf.raw_ops.NonDeterministicInts(shape=[1], dtype=tf.int64),
    "pool": lambda: tf.nn.fractional_max_pool(tf.ones((1, 8, 8, 1)), [1, 1.4, 1.4, 1]),
    "box": lambda: tf.image.sample_distorted_bounding_box([8, 8, 3], tf.zeros((1, 1, 4))),
}

def data(place, name):
    if place == "data":
        OPERATIONS[name]()
    x = np.ones((4, 1), "float32")
    return x, x

class Odd(keras.layers.Layer):
    def __init__(self, name):
        super().__init__()
        self.operation = OPERATIONS[name]
    def call(self, x):
        return x + tf.cast(self.operation(), x.dtype)

def model(spec, place, name):
    if place == "build":
        OPERATIONS[name]()
    inputs = keras.Input(spec.inputs)
    x = keras.layers.Dense(1)(inputs)
    return keras.Model(inputs, Odd(name)(x) if place == "step" else x)
"""


@pytest.mark.parametrize(
    ("place", "name"),
    [
        *(("data", name) for name in ("timestamp", "state", "generator", "pool", "box")),
        ("build", "state"),
        ("step", "timestamp"),
        ("data", "ints"),
        ("step", "ints"),
    ],
)
def test_an_operation_without_a_deterministic_form_is_refused_wherever_it_stands(
    config: Callable[..., Any], plugin: Callable[..., Path], place: str, name: str
) -> None:
    plugin("odd", ODD)
    said = config("~model", f"+model={{_target_: odd.model, place: {place}, name: {name}}}", "training.epochs=1")
    said.data.source = {"_target_": "odd.data", "place": place, "name": name}
    said.training.loss = "mean_squared_error"
    with pytest.raises(Refused, match=r"determinism=strict can't be kept by an operation(.|\n)*determinism=seeded"):
        training.run(said)


def test_an_exception_of_the_users_own_keeps_its_traceback(config: Callable[..., Any]) -> None:
    assert determinism.cannot_keep(ValueError("this model is not deterministic"), config()) is None
    assert determinism.cannot_keep(RuntimeError('"f" cannot be called when determinism is enabled.'), config("determinism=seeded")) is None


@pytest.mark.parametrize("kind", ["intra_op", "inter_op"])
def test_each_number_of_threads_is_the_levels_or_the_run_is_refused(kind: str, config: Callable[..., Any]) -> None:
    import tensorflow as tf

    tf.constant(1) + 1  # it has started its threads
    threads = {"intra_op": 1, "inter_op": 1, kind: 7}
    with pytest.raises(Refused, match=rf"determinism=strict needs threads\.{kind}=7"):
        determinism.apply({**level(config()), "environment": STRICT, "threads": threads})
    assert (tf.config.threading.get_intra_op_parallelism_threads(), tf.config.threading.get_inter_op_parallelism_threads()) == (1, 1)


def test_a_process_that_is_deterministic_is_none_for_a_level_that_is_not(config: Callable[..., Any]) -> None:
    weaker = {**level(config()), "environment": STRICT, "level": "seeded", "op_determinism": False}
    with pytest.raises(Refused, match="determinism=seeded runs without op determinism"):
        determinism.apply(weaker)


@pytest.mark.parametrize("wanted", [True, False])
def test_the_short_mantissa_is_as_the_level_says(wanted: bool, config: Callable[..., Any]) -> None:
    import tensorflow as tf

    whole = {**level(config()), "environment": STRICT}
    assert whole["tensor_float_32"] is False
    try:
        determinism.apply({**whole, "tensor_float_32": wanted})
        assert tf.config.experimental.tensor_float_32_execution_enabled() is wanted
    finally:
        determinism.apply(whole)


def test_kerass_own_settings_are_its_defaults_whatever_keras_json_says() -> None:
    import keras

    try:
        for name, value in (("floatx", "float64"), ("epsilon", 1e-3), ("image_data_format", "channels_first")):
            getattr(keras.config, f"set_{name}")(value)
        determinism.apply_to_keras()
        assert (keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()) == ("float32", 1e-7, "channels_last")
    finally:
        determinism.apply_to_keras()


def test_a_backend_brings_variables_of_its_own_and_several_devices_count(config: Callable[..., Any]) -> None:
    said = {"level": "strict", "environment": {"A": "1", "B": "1"}, "backends": {"jax": {"B": "2"}, "tensorflow": {"C": "3"}}}
    assert determinism.merged(said, "jax") == {"level": "strict", "environment": {"A": "1", "B": "2"}}
    assert determinism.merged(said, "tensorflow")["environment"] == {"A": "1", "B": "1", "C": "3"}
    assert "replicas" not in determinism.of(config())
    assert determinism.of(config("strategy=mirrored", "strategy.replicas=2"))["replicas"] == 2
