"""`seedbed train` as people meet it: several runs in one command, odd places to call it from, and what it says at the end."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE, data_config

pytestmark = pytest.mark.integration

SLOW = """
import os, signal, time
import keras, numpy as np

class Slow(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        time.sleep(0.3)

def killed(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.arange(8.0)[:, None], np.arange(8.0)
"""
FOREVER = ["training.epochs=500", "+training.callbacks.slow={_target_: slow.Slow}"]


def records(runs: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(runs.glob("[0-9a-f]*/record.json"))]


@pytest.mark.slow
def test_a_job_that_is_killed_is_no_success(seedbed: Callable[..., Any], plugin: Callable[..., Path]) -> None:
    folder = plugin("slow", SLOW)
    (folder / "conf" / "data").mkdir(parents=True)
    (folder / "conf" / "data" / "mine.yaml").write_text(
        "name: mine\nsource: {_target_: slow.killed, number: 1}\nbatch_size: 4\nepochs: 1\n"
    )
    words = ["-m", "--config-dir", str(folder / "conf"), "data=mine", "data.source.number=1,2,3"]
    done = seedbed("train", *words, env={"PYTHONPATH": str(folder)})
    assert done.status == 128 + signal.SIGKILL
    assert done.out.count("finished") == 2  # the others were trained all the same


@pytest.mark.parametrize(("number", "status"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)])
def test_a_multirun_that_is_stopped_waits_for_its_checkpoint(
    number: signal.Signals, status: int, tmp_path: Path, plugin: Callable[..., Path]
) -> None:
    folder = plugin("slow", SLOW)
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "seedbed", "train", "-m", "seeds.master=1,2", *FOREVER, "tracking=none", f"runs='{runs}'"]
    env = {**OUTSIDE, "PYTHONPATH": str(folder)}
    process = subprocess.Popen(
        command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 120
    while not any(file.read_text() for file in runs.glob("[0-9a-f]*/history.jsonl")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)  # as `docker stop` and `kill` do
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    (record,) = records(runs)  # the second run was not begun
    assert record["status"] == "interrupted"
    assert len(list(runs.glob("*/checkpoints/*.npz"))) == 1
    assert "goes on from the last checkpoint" in out


def test_the_working_directory_is_no_place_for_modules(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text("raise SystemExit('a file that lies about')\n")
    (tmp_path / "numpy.py").write_text("raise SystemExit('another one')\n")
    command = [str(Path(sys.executable).parent / "seedbed"), "train", "training.epochs=1", "tracking=none", "runs=runs"]
    done = subprocess.run(command, env=OUTSIDE, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_relative_place_counts_from_where_one_stands(seedbed: Callable[..., Any], tmp_path: Path, plugin: Callable[..., Path]) -> None:
    """Also where Hydra changes the working directory."""
    folder = plugin("slow", SLOW)
    data_config(folder, "slow.killed")
    (folder / "conf" / "data" / "mine.yaml").write_text(
        "name: mine\nsource: {_target_: slow.killed, number: 1}\nbatch_size: 4\nepochs: 1\n"
    )
    words = ["--config-dir", "conf", "data=mine", "hydra.job.chdir=true"]
    done = seedbed("train", *words, cwd=folder, env={"PYTHONPATH": str(folder)})
    assert done.status == 0, done.err


@pytest.mark.slow
def test_keras_own_settings_of_a_machine_decide_nothing(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(
        json.dumps({"floatx": "float64", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first"})
    )
    words = ["train", "experiment=digits_cnn", "training.epochs=1", "--json"]
    plain = seedbed(*words, runs=tmp_path / "a").json
    other = seedbed(*words, runs=tmp_path / "b", env={"KERAS_HOME": str(tmp_path)}).json
    assert (other["key"], other["digests"]) == (plain["key"], plain["digests"])


@pytest.mark.parametrize(
    ("words", "env", "named"),
    [
        ([], {"KERAS_BACKEND": "jax"}, "KERAS_BACKEND=jax is set"),
        (["runs=/proc/none"], {}, "Records can't be kept"),
        (["hydra.run.dir=hydra", "runs=/proc/none"], {}, "Records can't be kept"),
    ],
)
def test_refused(words: list[str], env: dict[str, str], named: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "seedbed", "train", "tracking=none", f"runs='{tmp_path}/runs'", *words]
    done = subprocess.run(command, env={**OUTSIDE, **env}, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture_that_is_cut_off_is_named(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    import numpy as np
    import tensorflow as tf

    noise = np.random.default_rng(1).integers(0, 255, (12, 12, 1), dtype="uint8")
    pictures = tmp_path / "pictures"
    for name in ("cat/1", "cat/2", "cat/3", "dog/1", "dog/2", "dog/3"):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / f"{name}.png").write_bytes(tf.io.encode_png(noise).numpy())
    whole = (pictures / "dog" / "2.png").read_bytes()
    (pictures / "dog" / "2.png").write_bytes(whole[: len(whole) // 2])
    words = [
        "data=images",
        f"data.source.path='{pictures}'",
        "data.source.size=[8,8]",
        "model=cnn",
        "data.validation_split=0",
        "data.test_split=0",
    ]
    done = seedbed("train", *words)
    assert done.status == 2
    assert "dog/2.png" in done.err
    assert "Traceback" not in done.err


CLASSES = """
import numpy as np, tensorflow as tf

def data():
    x = np.random.default_rng(1).normal(size=(40, 4)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, np.arange(40) % 5)).batch(8)
"""


def test_the_classes_of_a_pipeline_are_counted(seedbed: Callable[..., Any], plugin: Callable[..., Path]) -> None:
    folder = plugin("classes", CLASSES)
    words = data_config(folder, "classes.data")
    done = seedbed("train", *words, "data.loss=null", "training.epochs=1", "--json", env={"PYTHONPATH": str(folder)})
    assert done.status == 0, done.err
    assert "train_accuracy" in done.json["metrics"]


def test_the_next_command_is_one_that_can_be_typed(seedbed: Callable[..., Any]) -> None:
    done = seedbed("train", "training.epochs=1", "seeds.master=3", "seeds.init=4")
    line = next(line for line in done.out.splitlines() if line.startswith("next"))
    other, again = (shlex.split(words) for words in re.findall(r"seedbed'? train (.*?)  \(", line))
    assert "seeds.init=4" in other
    assert "seeds.master=4" in other
    assert "seeds.master=3" in again
    command = [sys.executable, "-m", "seedbed", "train", *again]
    forced = subprocess.run(command, env=OUTSIDE, capture_output=True, text=True)
    assert "the same bits as the record that was there" in forced.stdout


def test_relative_records_are_found_again_wherever_hydra_goes(tmp_path: Path) -> None:
    words = ["train", "training.epochs=1", "tracking=none", "runs=rel", "hydra.job.chdir=true", "--json"]
    command = [sys.executable, "-m", "seedbed", *words]
    runs = [json.loads(subprocess.run(command, env=OUTSIDE, cwd=tmp_path, capture_output=True, text=True).stdout) for _ in range(2)]
    assert [run["reused"] for run in runs] == [False, True]
    assert Path(runs[0]["record"]).parent == tmp_path / "rel"
