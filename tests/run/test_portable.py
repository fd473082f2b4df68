"""The level `portable`: what it refuses, what it fixes, and that its key holds no CPU. Emulated CPUs: tests/portable/."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conftest
import numpy as np
import pytest
import tensorflow as tf
from conftest import Done, data_config
from omegaconf import OmegaConf

from seedbed import Refused
from seedbed.proof import golden
from seedbed.run import determinism, exact, known, portable, provenance, training


def level(config: Callable[..., Any], *words: str) -> dict[str, Any]:
    return determinism.of(config("determinism=portable", *words))


@pytest.mark.parametrize("feature", portable.BASELINE)
def test_a_cpu_below_the_baseline_is_refused(feature: str, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = portable.cpu_features()
    monkeypatch.setattr(portable, "cpu_features", lambda: {**here, **dict.fromkeys(portable.BASELINE, True), feature: False})
    with pytest.raises(Refused, match=rf"lacks {feature}\. Accepted: x86-64-v3 .*\n.*determinism=strict"):
        determinism.check(level(config))


def test_a_cpu_of_the_baseline_is_accepted_and_one_that_nobody_knows_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "cpu_features", lambda: dict.fromkeys(portable.BASELINE, True))
    assert portable.missing() == []
    monkeypatch.setattr(portable, "cpu_features", dict)
    assert portable.missing() == list(portable.BASELINE)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="another architecture")
def test_numpy_has_the_names_that_the_baseline_is_asked_by() -> None:
    assert set(portable.BASELINE) <= set(portable.cpu_features())


@pytest.mark.parametrize(
    "word",
    ["environment.ONEDNN_MAX_CPU_ISA=AVX512_CORE", "environment.TF_ENABLE_ONEDNN_OPTS='0'", "environment.CUDA_VISIBLE_DEVICES='0'",
     "environment.CUDA_VISIBLE_DEVICES=null", "environment.OPENBLAS_CORETYPE=SkylakeX", "environment.NPY_DISABLE_CPU_FEATURES=null",
     "environment.TF_XLA_FLAGS='--tf_xla_auto_jit=2'", "graph_rewrites=true", "exact_operations=false", "cache_sizes=[49152,2097152,4194304]",
     "cache_sizes=null", "op_determinism=false", "threads.intra_op=null", "threads.intra_op=2"],
)  # fmt: skip
def test_what_the_name_may_not_do_without(word: str, config: Any) -> None:
    with pytest.raises(Refused, match=r"Accepted: [\s\S]*determinism=strict"):
        determinism.check(level(config, f"determinism.{word}"))


@pytest.mark.parametrize(
    ("word", "said"),
    [("backend=jax", "backend=jax"), ("backend=torch", "backend=torch"), ("training.jit_compile=true", "training.jit_compile=true"),
     ("training.mixed_precision=true", "training.mixed_precision=true"), ("strategy=mirrored", "strategy=mirrored")],
)  # fmt: skip
def test_what_has_no_portable_bits_is_refused_by_name(word: str, said: str, config: Any) -> None:
    wanted = config("determinism=portable", word)
    check = determinism.check if word.startswith("backend") else portable.check_config
    with pytest.raises(Refused, match=f"determinism=portable can't be kept: {said}.*Accepted: "):
        check(determinism.of(wanted) if word.startswith("backend") else wanted)


def test_the_switches_are_no_part_of_another_levels_key(config: Any) -> None:
    strict = determinism.of(config("determinism=strict"))
    assert not set(portable.DEFAULTS) & set(strict)
    assert set(portable.DEFAULTS) <= set(level(config))


def test_the_key_holds_no_cpu_and_the_record_does(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, strict = level(config), determinism.of(config("determinism=strict"))
    here, there = provenance.environment(ours), provenance.environment(strict)
    monkeypatch.setattr(provenance, "cpu", lambda: {"vendor": "AuthenticAMD", "model": "another", "isa": ["avx2"]})
    monkeypatch.setattr(provenance, "cores", lambda: 64)
    assert provenance.environment(ours) == here
    assert provenance.environment(strict) != there
    assert provenance.describe(ours)["cpu"]["model"] == "another"


def test_exact_operations_are_the_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tf.constant(np.random.default_rng(0).uniform(0.01, 9, 999).astype("float32"))
    before = tf.math.rsqrt, tf.math.reciprocal, tf.nn.gelu, tf.nn.batch_normalization
    theirs = [function(x) for function in before[:3]]
    exact.put()
    try:
        assert (tf.math.rsqrt, tf.nn.gelu) == (exact.rsqrt, exact.gelu)
        double = x.numpy().astype("float64")
        assert np.array_equal(tf.math.reciprocal(x), 1 / x.numpy())  # rounded once: the one right result
        assert np.array_equal(tf.math.rsqrt(x), np.float32(1) / np.sqrt(x.numpy()))
        for function, other in zip((tf.math.rsqrt, tf.math.reciprocal, tf.nn.gelu), theirs, strict=True):
            np.testing.assert_allclose(function(x), other, rtol=1e-6)
        np.testing.assert_allclose(tf.math.rsqrt(tf.constant(double)), double**-0.5, rtol=1e-15)
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = tf.math.rsqrt(x)
        np.testing.assert_allclose(tape.gradient(out, x), -0.5 * double**-1.5, rtol=1e-5)
        assert np.isinf(tf.math.rsqrt(0.0))
    finally:
        exact.take_back()
    assert (tf.math.rsqrt, tf.math.reciprocal, tf.nn.gelu, tf.nn.batch_normalization) == before


CONVOLUTION = """
import ctypes, hashlib, sys
import numpy as np, tensorflow as tf
from seedbed.run import cache_sizes
tf.config.threading.set_intra_op_parallelism_threads(1)
r = np.random.default_rng(0)
x, w = (tf.constant(r.standard_normal(shape).astype("float32")) for shape in ((1, 14, 14, 512), (3, 3, 512, 32)))
if sys.argv[1] != "fixed":
    (function,) = cache_sizes._addresses(cache_sizes.COMPUTING, cache_sizes.ONEDNN)
    cpu = ctypes.CFUNCTYPE(ctypes.c_void_p)(function)()
    (ctypes.c_uint32 * 10).from_address(cpu + cache_sizes.SIZES)[:2] = [32768, int(sys.argv[1])]
if "fixed" in sys.argv:
    cache_sizes.fix((32768, 262144, 2097152))
print(hashlib.sha256(tf.nn.conv2d(x, w, 1, "SAME").numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_onednn_cuts_its_sums_by_the_sizes_of_caches_unless_it_knows_none() -> None:
    """As below: CPUs with L2 caches of 2 MiB, of 128 KiB a core, of 128 with the sizes fixed, and this one with the sizes fixed."""
    env = {**conftest.OUTSIDE, "TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2", "TF_CPP_MIN_LOG_LEVEL": "3"}
    found = [
        subprocess.run([sys.executable, "-c", CONVOLUTION, *words], env=env, capture_output=True, text=True, check=True).stdout
        for words in (("2097152",), ("131072",), ("131072", "fixed"), ("fixed",))
    ]
    assert found[0] != found[1]
    assert found[2] == found[3]


PRODUCT = """
import hashlib, sys
import numpy as np, tensorflow as tf
from seedbed.run import cache_sizes
tf.config.threading.set_intra_op_parallelism_threads(1)
x = tf.constant(np.random.default_rng(0).standard_normal((64, 1200)).astype(sys.argv[1]))
for sizes in ((32768, 262144, 2097152), (49152, 2097152, 33554432), (32768, 262144, 2097152)):
    cache_sizes.fix(sizes)
    print(hashlib.sha256(tf.matmul(x, x, transpose_b=True).numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("onednn", ["0", "1"])
def test_eigen_cuts_its_sums_by_the_sizes_of_caches_that_it_is_told(onednn: str) -> None:
    """The day on which this fails, TensorFlow has another product, and the setting may not be needed."""
    env = {**conftest.OUTSIDE, "TF_ENABLE_ONEDNN_OPTS": onednn, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", PRODUCT, "float64"], env=env, capture_output=True, text=True, check=True)
    first, other, again = done.stdout.split()
    assert first == again != other


def test_a_known_answer_that_is_another_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {**portable.table(), "known": {"a mean": "0" * 16}}
    monkeypatch.setattr(portable, "table", lambda: table)
    monkeypatch.setattr(known, "answers", lambda: {"a mean": "f" * 16})
    with pytest.raises(Refused, match="a mean give other bits here"):
        portable._check_known(table["tensorflow"])
    with pytest.raises(Refused, match=r"measured with TensorFlow .*, and this is 3\.0"):
        portable._check_known("3.0")


def test_the_table_knows_what_training_is_made_of_and_refuses_what_differs() -> None:
    table = portable.table()
    assert {"MatMul", "Conv2D", "Conv2DBackpropFilter", "Softmax", "Exp", "Tanh", "RealDiv", "Sqrt", "Mean"} <= set(table["operations"])
    assert len(table["cpus"]) >= 2
    for name in ("Rsqrt", "Reciprocal", "Atan2"):  # what this level was made for
        assert "float32" in table["refused"].get(name, {}), name
        assert "float32" not in table["operations"].get(name, ())
    assert portable.unproven([("Rsqrt", "float32"), ("MatMul", "float32"), ("Gather", ""), ("NeverHeardOf", "float32"), ("MatMul", "half")]) == [
        "MatMul (half: not measured)", "NeverHeardOf (float32: not measured)", f"Rsqrt (float32: {table['refused']['Rsqrt']['float32']})",
    ]  # fmt: skip


MODEL = """
    import keras, tensorflow as tf

    class Turned(keras.layers.Layer):
        def call(self, x):
            return {expression}

    def model(spec):
        inputs = keras.Input(spec.inputs)
        return keras.Model(inputs, keras.layers.Dense(1)(Turned()(inputs)))
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("expression", "name"), [("tf.math.atan2(x, x + 1)", "Atan2"), ("tf.raw_ops.Rsqrt(x=x + 9)", "Rsqrt"), ("tf.cast(tf.cast(x, 'bfloat16'), x.dtype)", "Cast")]
)  # fmt: skip
def test_an_operation_without_portable_bits_is_refused_by_name_before_training(
    expression: str, name: str, seedbed: Callable[..., Done], plugin: Any, tmp_path: Path
) -> None:
    folder = plugin("turning", MODEL.format(expression=expression))
    words = ["~model.hidden", "~model.activation", "~model.dropout", "~model.batch_normalization", "model._target_=turning.model"]
    done = seedbed("train", "determinism=portable", *words, env={"PYTHONPATH": str(folder)})
    assert done.status == 2, done.err
    assert f"{name} (" in done.err
    assert "determinism=strict" in done.err
    (record,) = (tmp_path / "runs").glob("*/record.json")
    assert json.loads(record.read_text())["status"] == "failed"
    assert not (record.parent / "history.jsonl").exists() or not (record.parent / "history.jsonl").read_text()


@pytest.mark.integration
def test_an_operation_of_the_data_function_is_refused_too(seedbed: Callable[..., Done], plugin: Any, tmp_path: Path) -> None:
    folder = plugin("turned", """
        import numpy as np, tensorflow as tf
        from seedbed.run.data import DataSet

        def load():
            x = tf.random.stateless_uniform((8, 1), [1, 2])
            return DataSet(train=(np.asarray(tf.math.atan2(x, x)), np.ones((8, 1), "float32")))
    """)  # fmt: skip
    done = seedbed("train", "determinism=portable", *data_config(tmp_path, "turned.load"), env={"PYTHONPATH": str(folder)})
    assert done.status == 2, done.err
    assert "Atan2 (float32" in done.err


EARLY = """
import json, sys
import tensorflow as tf
from seedbed import Refused
from seedbed.run import determinism
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
if sys.argv[2] == "early":
    tf.constant(1.0) + 1.0
try:
    determinism.apply(json.loads(sys.argv[1]))
except Refused as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["early", "not at all"])
def test_a_pipeline_that_is_still_rewritten_is_refused(when: str, config: Any) -> None:
    """TensorFlow hands the optimizer's switch on to pipelines when it starts, and not later (2.21)."""
    wanted = level(config)
    env = {**conftest.OUTSIDE, **{name: value for name, value in wanted["environment"].items() if value is not None}}
    done = subprocess.run([sys.executable, "-c", EARLY, json.dumps(wanted), when], env=env, capture_output=True, text=True, check=True)
    assert ("a root in a pipeline give other bits" in done.stdout) == (when == "early"), done.stdout + done.stderr


@pytest.mark.integration
def test_the_same_bits_by_fit_and_by_the_loop(seedbed: Callable[..., Done], tmp_path: Path) -> None:
    words = ["determinism=portable", "data=digits", "model=gru", "training.epochs=1"]
    one = seedbed("train", *words, "--json", runs=tmp_path / "a").json
    other = seedbed("train", *words, "training.engine=fit", "force=true", "--json", runs=tmp_path / "a").json
    assert one["status"] == other["status"] == "finished"
    assert one["digests"] == other["digests"]
    record = json.loads((tmp_path / "a" / one["key"] / "record.json").read_text())
    assert record["inputs"]["environment"]["cpu"] == {"baseline": "x86-64-v3"}


@pytest.mark.integration
def test_a_golden_from_another_machine_is_comparable_and_says_so(seedbed: Callable[..., Done], tmp_path: Path) -> None:
    file = tmp_path / "golden.json"
    assert seedbed("train", "determinism=portable", "training.epochs=2", runs=tmp_path / "runs").status == 0
    from seedbed.run.record import Record

    (path,) = (tmp_path / "runs").glob("[0-9a-f]*/")
    record = Record.read(path)
    golden.write(file, record)
    content = json.loads(file.read_text())
    content["goldens"][0]["cpu"] = "AMD EPYC 7B12"
    file.write_text(json.dumps(content))
    found = golden.compared(file, record)
    assert found.agrees is True
    assert found.elsewhere == "AMD EPYC 7B12"
    content["goldens"][0]["digests"]["history"] = hashlib.sha256(b"").hexdigest()
    file.write_text(json.dumps(content))
    assert golden.compared(file, record).agrees is False


def test_the_config_file_says_what_the_code_needs(config: Any) -> None:
    """Each value that the level's name may not do without stands in the file, with its reason beside it."""
    lines = (Path(training.__file__).parents[3] / "conf" / "determinism" / "portable.yaml").read_text().splitlines()
    plain: Any = OmegaConf.to_container(config("determinism=portable").determinism, resolve=True)
    for path in determinism.NEEDS["portable"]:
        group, _, key = path.rpartition(".")
        assert key in (plain[group] if group else plain)
        (line,) = [line for line in lines if line.strip().startswith(f"{key}:")]
        assert "#" in line or key in ("op_determinism", "inter_op"), line
