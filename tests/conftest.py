"""What the tests share: fresh `seedbed` processes, composed configs, and a process that is right for level `strict`.

Tests that compare bits do it across fresh processes (`seedbed`); tests of one module's logic run in the test process, whose
environment is set here, before pytest-xdist starts its workers, to what `conf/determinism/strict.yaml` needs.
"""

from __future__ import annotations

import copy
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import tiers
from hypothesis import settings

# derandomized: a test suite about repeatable results shouldn't have a verdict that depends on the day
settings.register_profile("repeatable", deadline=None, max_examples=60, derandomize=True, database=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]

STRICT = {
    "PYTHONHASHSEED": "0", "TF_DETERMINISTIC_OPS": "1", "TF_CUDNN_USE_AUTOTUNE": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "TF_CUDNN_RNN_USE_AUTOTUNE": "0", "NCCL_ALGO": "Ring",
    "TF_ENABLE_ONEDNN_OPTS": "1", "KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "MLFLOW_DISABLE_TELEMETRY": "true"}

# the key that marks records as made here is the session's own, and not that of who runs the tests
if "PYTEST_XDIST_WORKER" not in os.environ:
    _state = tempfile.TemporaryDirectory(prefix="seedbed-tests-")  # removed when the session ends
    os.environ["XDG_STATE_HOME"] = _state.name

# the user's own environment, as a fresh process of his would have it (`make test` adds variables of its own, by which a make says more)
NOT_OUTSIDE = ("MLFLOW_", "SEEDBED_", "MAKE", "MFLAGS", "ARGS")
OUTSIDE = {name: value for name, value in os.environ.items() if name not in STRICT and not name.startswith(NOT_OUTSIDE)}
os.environ.update(STRICT | QUIET)


def pytest_configure(config: pytest.Config) -> None:
    """Have the suite's own rules kept."""
    config.pluginmanager.register(tiers)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(tiers.Session(ROOT))


@pytest.fixture(scope="session", autouse=True)
def strict_process() -> None:
    """TensorFlow takes its number of threads before its first operation, or never. What most tests import is imported here, once."""
    from omegaconf import OmegaConf

    from seedbed import cli, proofs, studies  # noqa: F401
    from seedbed.run import determinism, fitting, training  # noqa: F401

    level: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "determinism" / "strict.yaml"))
    determinism.apply({**level, "environment": STRICT})


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process knows its secrets for as long as it lives; what one test took for one is a plain word in the next."""
    from seedbed.run import redaction

    monkeypatch.setattr(redaction, "_known", {})


# Words that may ask for another environment than that of `strict`, which a fork has as if a shell had set it.
OTHER_ENVIRONMENT = ("backend", "determinism", "strategy")

# The commands that a fork will do for; `verify`, `replay` and `diagnose` are about fresh processes.
FORKED = ("train", "repeat", "variance", "compare", "diff", "report", "sync", "audit")


class Done:
    """A finished `seedbed` process: its exit status, what it printed, and the JSON object if it printed one."""

    def __init__(self, process: subprocess.CompletedProcess[str]) -> None:
        self.status, self.out, self.err = process.returncode, process.stdout, process.stderr

    @property
    def json(self) -> dict[str, Any]:
        assert self.out.strip(), f"nothing on standard output; standard error:\n{self.err}"
        return json.loads(self.out.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def forks() -> Iterator[forked.Parent]:
    """Where `seedbed` has its processes from: see `forked`."""
    parent = forked.Parent(OUTSIDE | STRICT | QUIET)
    yield parent
    parent.end()


@pytest.fixture
def seedbed(tmp_path: Path, forks: forked.Parent, request: pytest.FixtureRequest) -> Callable[..., Done]:
    """`seedbed("train", "seeds.master=2", env=…, cwd=…)` in a process of its own, with records of its own and no tracking.

    start: from a new interpreter, where a fork of one that has imported everything won't do; so for all calls of a test that is
    marked `fresh`.
    """
    fresh = request.node.get_closest_marker("fresh") is not None

    def call(
        *words: str, env: dict[str, str] | None = None, cwd: Path | None = None, runs: Path | None = None, timeout: float = 300,
        start: bool = False,
    ) -> Done:  # fmt: skip
        extra = [f"runs='{runs or tmp_path / 'runs'}'"] if words[0] in ("train", "repeat", "variance", "compare") else []
        if extra and not any(word.startswith("tracking") for word in words):
            extra.append("tracking=none")
        elif extra and not any(word.startswith("tracking.wait_seconds") for word in words):
            extra.append("tracking.wait_seconds=240")  # what a busy machine needs
        elsewhere = any(part in word for word in words for part in OTHER_ENVIRONMENT)
        if not (start or fresh or elsewhere) and words[0] in FORKED and forks.can(env or {}):
            return Done(forks.run([*words, *extra], OUTSIDE | STRICT | (env or {}), cwd or tmp_path, timeout))
        command = [sys.executable, "-m", "seedbed", *words, *extra]
        done = subprocess.run(command, env={**OUTSIDE, **(env or {})}, cwd=cwd or tmp_path, capture_output=True, text=True, timeout=timeout)
        return Done(done)

    return call


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Any]:
    """`config("data=digits", "model=cnn")`: the composed config, with records under the test's own folder."""

    def composed(*overrides: str) -> Any:
        found = copy.deepcopy(_composed(overrides))
        if not any(word.startswith("runs=") for word in overrides):
            found.runs = str(tmp_path / "runs")
        return found

    return composed


@functools.cache
def _composed(overrides: tuple[str, ...]) -> Any:
    """A composed config, made once a session: composing costs a third of a second."""
    from hydra import compose, initialize_config_dir

    from seedbed.run import config as configs

    configs.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", ["tracking=none", *overrides])


def data_config(folder: Path, target: str) -> list[str]:
    """A config file of the user's own for a data function outside the repository, and the words that choose it."""
    (folder / "conf" / "data").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "data" / "mine.yaml").write_text(
        f"name: mine\nsource: {{_target_: {target}}}\nloss: mean_squared_error\nbatch_size: 4\n"
    )
    return ["--config-dir", str(folder / "conf"), "data=mine"]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`plugin("mine", source)`: a module outside the repository, importable here and, by PYTHONPATH, in fresh processes."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def write(name: str, source: str) -> Path:
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.delitem(sys.modules, name, raising=False)  # another test's module of that name
        importlib.invalidate_caches()
        return folder

    return write


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of pictures by class, written from scikit-learn's digits."""
    import tensorflow as tf
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i in range(60):
        folder = tmp_path / "pictures" / f"class {digits.target[i] % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        image = tf.constant(digits.images[i][..., None] * 15, tf.uint8)
        (folder / f"{i:03d}.png").write_bytes(tf.io.encode_png(image).numpy())
    return tmp_path / "pictures"


def batches_of(*values: float) -> Any:
    """A ready-made pipeline of (value, value), two a batch."""
    import tensorflow as tf

    array = np.array(values, dtype="float32")
    return tf.data.Dataset.from_tensor_slices((array, array)).batch(2)
