"""A command that is killed leaves no process, whichever kind of child it had, and standard output is nobody's."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import OUTSIDE, data_config
from run.test_children import MARK, left, until_none_is_left

pytestmark = pytest.mark.integration

# Says that it is there and waits, as a slow data function, hook or batch of the user's does; in a worker process, or before that.
WAITS = """
import multiprocessing, os, pathlib, time
import keras, numpy as np

def waits():
    pathlib.Path(os.environ["AT"], f"at-{os.getpid()}").touch()
    time.sleep(600)

class Slow(keras.utils.PyDataset):
    def __init__(self):
        super().__init__(workers=3, use_multiprocessing=True)
    def __len__(self):
        return 20
    def __getitem__(self, index):
        if multiprocessing.parent_process():  # the shapes are found out in the run's own process
            waits()
        x = np.ones((8, 1), "float32")
        return x, x[:, 0]

def batches():
    return Slow()

def data():
    waits()

def of_workers():
    if "TF_CONFIG" in os.environ:  # the command itself has read the data before it starts them
        waits()
    x = np.ones((8, 1), "float32")
    return x, x[:, 0]
"""


@pytest.fixture
def killed(plugin: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    """`killed("train", "waits.batches", 3)`: a command, killed once so many of its processes wait; its processes' mark."""
    folder = plugin("waits", WAITS)

    def call(verb: str, target: str, count: int, *words: str, seconds: float = 240) -> str:
        mark, at = uuid.uuid4().hex, tmp_path / "at"
        at.mkdir()
        env = {**OUTSIDE, "PYTHONPATH": str(folder), "AT": str(at), MARK: mark}
        command = [sys.executable, "-m", "seedbed", verb, *data_config(folder, target), f"runs='{tmp_path / 'runs'}'", *words]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path)
        assert process.stdout is not None
        end = time.monotonic() + seconds
        try:
            while len(list(at.iterdir())) < count:
                assert process.poll() is None, process.stdout.read().decode()[-3000:]
                assert time.monotonic() < end, left(mark)
                time.sleep(0.02)
            assert len(left(mark)) > count
        finally:
            process.kill()
            process.wait()
        process.stdout.read()  # comes to an end: nobody holds it any more
        process.stdout.close()
        return mark

    return call


@pytest.mark.parametrize(
    ("verb", "target", "count", "words"),
    [
        pytest.param("train", "waits.batches", 3, ["tracking=none"], id="PyDataset workers"),
        pytest.param("repeat", "waits.batches", 3, ["tracking=none", "study.n=2"], id="workers of a study's process", marks=pytest.mark.slow),
        pytest.param("repeat", "waits.data", 2, ["tracking=none", "study.n=2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=4"], id="joblib"),
        pytest.param("verify", "waits.data", 1, [], id="executions and load", marks=pytest.mark.slow),
        pytest.param("train", "waits.data", 1, ["tracking=local"], id="follower", marks=pytest.mark.slow),
        pytest.param("train", "waits.of_workers", 2, ["tracking=none", "strategy=multi_worker"], id="workers of a strategy", marks=pytest.mark.slow),
        pytest.param("train", "waits.data", 1, ["tracking=none", "--multirun", "seeds.master=1,2"], id="job of a sweep", marks=pytest.mark.slow),
        pytest.param("repeat", "waits.data", 1, ["tracking=none", "study.n=2", "hydra/launcher=submitit_local"], id="submitit", marks=pytest.mark.slow),
        pytest.param("repeat", "waits.data", 1, ["tracking=none", "study.n=2", "hydra/launcher=ray", "hydra.launcher.ray.init.address=null"], id="ray", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_killed_command_leaves_no_process(verb: str, target: str, count: int, words: list[str], killed: Callable[..., str]) -> None:
    until_none_is_left(killed(verb, target, count, *words), 60)
