"""The promise of `strict` on JAX and PyTorch, in fresh processes; and the same start on all three backends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE, data_config
from end_to_end.driver import MODELS, trained
from end_to_end.test_resume import finish, kill_after, start
from end_to_end.test_same_bits import load

from seedbed import Refused
from seedbed.run import backend, determinism
from seedbed.run import config as configs

pytestmark = pytest.mark.integration

OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} can't be had here: `make {name}` says why"))
    for name in ("jax", "torch")
]

# Shows in its history which examples an epoch took, in numbers that no backend computes otherwise: a model that answers 0.
ORDER = """
import keras, numpy as np

def data():
    x = np.arange(12, dtype="float32").reshape(12, 1)
    return x, x * x

def zero(spec, **unused):
    inputs = keras.Input(spec.inputs)
    return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(inputs))
"""
FEW = ["optimizer=sgd", "optimizer.learning_rate=0.0", "training.epochs=4", "training.steps_per_epoch=2", "training.batch_size=2"]
EPOCH = ["data=digits", "training.epochs=1", "training.steps_per_epoch=12"]


@cache
def environment(name: str) -> dict[str, str]:
    found = determinism.of(configs.composed(f"backend={name}"))["environment"]
    return {variable: value for variable, value in found.items() if value is not None} | {"PYTHONHASHSEED": "0"}


@contextmanager
def one_core() -> Iterator[None]:
    """What is started meanwhile sees a single core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@cache
def jobs(folder: Path) -> dict[str, list[str]]:
    """Every example model, and one that shows the order; all from NumPy's weights."""
    found = {name: [*EPOCH, *words, "seeds.generator=numpy"] for name, words in MODELS.items()}
    return found | {"order": [f"hydra.searchpath=[{folder / 'conf'}]", "data=mine", "model={_target_: ordered.zero}", *FEW]}


@pytest.fixture
def ordered(plugin: Callable[..., Path]) -> Path:
    folder = plugin("ordered", ORDER)
    data_config(folder, "ordered.data")
    return folder


def on(name: str, where: Path, folder: Path, only: tuple[str, ...] = (), **env: str) -> dict[str, Any]:
    wanted = {job: [*words, f"backend={name}"] for job, words in jobs(folder).items() if not only or job in only}
    if env.pop("REVERSED", None):
        wanted = dict(reversed(wanted.items()))
    found = trained(wanted, where, "alone", PYTHONPATH=str(folder), **environment(name), **env)
    return {job: rows[0][0] for job, rows in found.items()}


@pytest.mark.parametrize("only", [("mlp", "order"), pytest.param((), marks=pytest.mark.slow)], ids=["mlp", "all models"])
@pytest.mark.parametrize("name", [OTHERS[0], pytest.param("torch", marks=[*OTHERS[1].marks, pytest.mark.slow])])
def test_fresh_processes_have_the_same_bits_and_all_backends_the_same_start(
    name: str, only: tuple[str, ...], ordered: Path, tmp_path: Path
) -> None:
    """A second process trains in the reverse order, elsewhere, under load, with fewer cores. TensorFlow starts from the same weights,
    and takes the same examples in the same order."""
    first = on(name, tmp_path / "one", ordered, only)
    with load(), one_core():
        second = on(name, tmp_path / "another folder", ordered, only, TZ="Asia/Kathmandu", TMPDIR=str(tmp_path), REVERSED="yes")
    assert first == second
    theirs = on("tensorflow", tmp_path / "tensorflow", ordered, only)
    for job in first:
        assert first[job]["initial_weights"] == theirs[job]["initial_weights"], job
        assert (first[job]["final_weights"] == theirs[job]["final_weights"]) == (job == "order"), job
    assert first["order"]["history"] == theirs["order"]["history"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_killed_and_gone_on(name: str, tmp_path: Path) -> None:
    """Dropout, augmentation, batch normalisation, a schedule: killed in the middle, then the digests of a run that wasn't."""
    words = ["experiment=digits_cnn", "model.augment=true", f"backend={name}", "training.epochs=4", "training.steps_per_epoch=10",
             "checkpoint.every_epochs=1",
             "+training.callbacks.plateau={_target_: keras.callbacks.ReduceLROnPlateau, patience: 1, monitor: loss, min_delta: 5.0}"]  # fmt: skip
    straight = finish(start(words, tmp_path / "straight", {}))
    process = start(words, tmp_path / "killed", {"PYTHONHASHSEED": "9"})
    kill_after(process, tmp_path / "killed", 2, signal.SIGKILL)
    went_on = finish(start(words, tmp_path / "killed", {}))
    assert went_on["digests"] == straight["digests"]
    record = json.loads((Path(went_on["record"]) / "record.json").read_text())
    assert record["resumed"], "it began anew"
    assert record["engine"] == "fit"


OUT_OF_SIGHT = """
import keras, numpy as np

class Counting(keras.layers.Layer):
    '''Keeps a number in an attribute (PyTorch runs this each time) and draws one from NumPy (JAX: once, while it traces).'''
    def call(self, x):
        self.count = getattr(self, "count", 0) + 1
        return x * (1.0 + 0.01 * (self.count % 7) + 0.001 * float(np.random.random()))

def model(spec, **unused):
    inputs = keras.Input(spec.inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(Counting()(inputs)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_state_that_no_checkpoint_holds_means_a_start_from_the_beginning(name: str, tmp_path: Path, plugin: Callable[..., Path]) -> None:
    env = {"PYTHONPATH": str(plugin("out_of_sight", OUT_OF_SIGHT))}
    words = ["model={_target_: out_of_sight.model}", f"backend={name}", "training.epochs=40", "checkpoint.every_epochs=1"]
    straight = finish(start(words, tmp_path / "straight", env))
    process = start(words, tmp_path / "killed", env)
    kill_after(process, tmp_path / "killed", 20, signal.SIGKILL)
    again = finish(start(words, tmp_path / "killed", env))
    assert "This run keeps state that no checkpoint holds" in again["said"]
    assert again["digests"] == straight["digests"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_study_has_the_digests_of_its_runs_alone(name: str, seedbed: Callable[..., Any], tmp_path: Path) -> None:
    words = [f"backend={name}", "training.epochs=3", "model.dropout=0.2"]
    study = seedbed("repeat", *words, "study.n=3", "--json", runs=tmp_path / "study")
    assert study.status == 0, study.err
    alone = seedbed("train", *words, "seeds.master=3", "--json", runs=tmp_path / "alone").json
    kept = json.loads((tmp_path / "study" / alone["key"] / "record.json").read_text())
    assert kept["digests"] == alone["digests"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_verify_replay_diff_and_diagnose(name: str, seedbed: Callable[..., Any], tmp_path: Path) -> None:
    words = [f"backend={name}", "experiment=digits_cnn", "training.epochs=2", "seeds.generator=numpy"]
    assert seedbed("verify", *words).status == 0
    record = seedbed("train", *words, "--json").json["record"]
    assert seedbed("replay", record).status == 0
    other = seedbed("train", *words, "seeds.shuffle=5", "--json").json["record"]
    assert "seeds.shuffle can explain it" in seedbed("diff", record, other).out
    found = seedbed("diagnose", *words, "--against", "seeds.shuffle=5")
    assert found.status == 1
    assert "on TensorFlow alone" in found.err
    assert "epoch 1" in found.out


def test_what_a_backend_cannot_do_is_said_before_training(seedbed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = seedbed("train", "backend.name=theano")
    assert unknown.status == 2
    assert "backend.name=theano is not accepted. Accepted: tensorflow, jax, torch." in unknown.err
    for name in ("mxnet", "jax"):  # the switches that go with the name would not be set
        other = seedbed("train", f"determinism.environment.KERAS_BACKEND={name}")
        assert other.status == 2
        assert f"KERAS_BACKEND={name} is not accepted" in other.err
        assert "Traceback" not in other.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    with pytest.raises(Refused, match="`make jax`"):
        backend.of({"environment": {"KERAS_BACKEND": "jax"}})


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_a_shell_that_contradicts_a_backends_switches_is_named(name: str, seedbed: Callable[..., Any]) -> None:
    variable, value = {"jax": ("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true"), "torch": ("MKL_NUM_THREADS", "2")}[name]
    said = seedbed("train", f"backend={name}", env={variable: value})
    assert said.status == 2
    assert f"{variable}={value} is set" in said.err
    loop = seedbed("train", f"backend={name}", "training.engine=loop")
    assert loop.status == 2
    assert "the loop is TensorFlow's" in loop.err
    assert "Traceback" not in loop.err


UNFIT = """
import keras, torch

class Put(keras.layers.Layer):
    def call(self, x):
        return x.clone().put_(torch.tensor([0]), torch.zeros(1))

def model(spec, **unused):
    inputs = keras.Input(spec.inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(Put()(inputs)))
"""


@pytest.mark.skipif(find_spec("torch") is None, reason="torch can't be had here")
def test_pytorchs_switches_are_set_and_an_operation_without_determinism_is_refused(
    seedbed: Callable[..., Any], plugin: Callable[..., Path]
) -> None:
    env = {"PYTHONPATH": str(plugin("unfit", UNFIT))}
    refused = seedbed("train", "backend=torch", "model={_target_: unfit.model}", env=env)
    assert refused.status == 2, refused.err[-2000:]
    assert "determinism=strict can't be kept by an operation of this model" in refused.err
    assert "determinism=seeded" in refused.err
    level = determinism.of(configs.composed("backend=torch", "determinism.threads.intra_op=3"))
    level["environment"]["PYTHONHASHSEED"] = "0"
    asked = (
        "import json, sys; from seedbed.run import determinism; determinism.apply(json.loads(sys.argv[1])); import torch; "
        "print(torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.get_num_interop_threads(), "
        "torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32)"
    )
    env = OUTSIDE | {key: value for key, value in level["environment"].items() if value is not None}
    done = subprocess.run([sys.executable, "-c", asked, json.dumps(level)], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "3", "1", "True", "False", "False"], done.stderr[-2000:]
