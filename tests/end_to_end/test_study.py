"""`seedbed repeat`, `compare` and `variance` as people call them: what fails, what is stopped, what is killed, what is found again."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE, data_config

from seedbed.run import seeds

pytestmark = pytest.mark.integration

CNN = ["experiment=digits_cnn", "training.epochs=2"]


def records(runs: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in runs.glob("[0-9a-f]*/record.json")]


def test_a_study_says_what_it_found_and_finds_it_again(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    first = seedbed("repeat", "study.n=6", "training.epochs=20")
    assert first.status == 0, first.err
    assert re.search(r"^6 seeds: train_loss \S+, 95 % interval \S+ … \S+; a single run can be off by \S+\.$", first.out, re.MULTILINE)
    folder = next((tmp_path / "runs" / "studies").iterdir())
    files = {"summary.md", "summary.csv", "runs.csv", "distribution.png", "learning_curves.png", "interval_width.png"}
    assert files <= {file.name for file in folder.iterdir()}
    for name in files:
        assert name in first.out or f"{folder}/{name}" in first.out
    before = {name: (folder / name).read_bytes() for name in files}
    again = seedbed("repeat", "study.n=6", "training.epochs=20", "--json")
    assert (again.json["trained"], again.json["finished"]) == (0, 6)
    assert {name: (folder / name).read_bytes() for name in files} == before  # the same to the last byte
    more = seedbed("repeat", "study.n=8", "training.epochs=20", "--json")
    assert (more.json["trained"], more.json["finished"], more.json["path"]) == (2, 8, str(folder))
    some = seedbed("repeat", "study.seeds=[7,3]", "training.epochs=20", "--json")
    assert (some.json["trained"], some.json["seeds"]) == (0, [7, 3])
    alone = seedbed("train", "seeds.master=5", "training.epochs=20", "--json", start=True).json
    assert alone["reused"] is True  # a run of a study is a run like any other
    assert alone["digests"]["run"] == more.json["digests"]["5"]


FAILING = """
import os, signal, sys
from pathlib import Path
import keras, numpy as np

def mended():
    return Path(FOLDER, "mended").exists()

def data(seeds):
    if HOW == "data" and seeds["master"] == 2 and not mended():
        raise ValueError("no data under seed 2")
    x = np.arange(8, dtype="float32").reshape(8, 1)
    return x, x[:, 0]

def model(spec, seed):
    made = keras.Sequential([keras.Input(spec.inputs), keras.layers.Dense(1)])
    if seed == BAD and not mended():
        if HOW == "raise":
            raise RuntimeError("this model can't be built")
        if HOW == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if HOW == "exit":
            os._exit(3)
        if HOW == "nan":
            made.layers[-1].kernel.assign([[float("nan")]])
    return made
"""


@pytest.mark.parametrize(("how", "says"), [
    ("raise", "this model can't be built"), pytest.param("kill", "SIGKILL", marks=pytest.mark.slow), pytest.param("exit", "exit status 3", marks=pytest.mark.slow), pytest.param("nan", "loss is", marks=pytest.mark.slow),
    pytest.param("data", "no data under seed 2", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_failed_seed_neither_stops_nor_poisons_the_study(
    seedbed: Callable[..., Any], plugin: Callable[..., Path], tmp_path: Path, how: str, says: str
) -> None:
    bad = seeds.derive(2, "numpy")  # the model is told this stream's seed, so that one of the runs can fail
    folder = plugin("failing", f"HOW, BAD, FOLDER = {how!r}, {bad}, {str(tmp_path)!r}\n{FAILING}")
    env = {"PYTHONPATH": str(folder)}
    model = "+model={_target_: failing.model, seed: '${seeds.numpy}'}"
    train = [*data_config(folder, "failing.data"), "~model", model, "training.epochs=2"]
    found = seedbed("repeat", *train, "study.n=4", env=env)
    assert found.status == 1
    assert "3 of 4 seeds have finished" in found.out, found.err
    assert says in found.out
    assert "Traceback" not in found.out + found.err
    folder_of_study = next((tmp_path / "runs" / "studies").iterdir())
    noted = json.loads((folder_of_study / "seeds" / "0000000002.json").read_text())
    if how == "raise":  # the record itself has the whole traceback
        assert "Traceback" in json.loads((Path(noted["record"]) / "record.json").read_text())["error"]
    if how == "data":
        assert "Traceback" in noted["traceback"]
    (tmp_path / "mended").touch()
    mended = seedbed("repeat", *train, "study.n=4", "--json", env=env)
    assert (mended.status, mended.json["trained"], mended.json["finished"]) == (0, 1, 4), mended.err
    alone = seedbed("train", *train, "seeds.master=4", "--json", env=env, runs=tmp_path / "alone", start=True)
    assert mended.json["digests"]["4"] == alone.json["digests"]["run"]  # the failure before it has not changed it


def test_what_is_wrong_with_every_seed_is_one_message(seedbed: Callable[..., Any]) -> None:
    for words, says in (
        (["data=csv", "data.source.path=nowhere.csv", "data.source.target=y"], "there is no such file"),
        (["study.n=0"], "study.n=0"),
        (["study.seeds=[1,1]"], "each once"),
        (["study.seeds=[-1]"], "is not a seed"),
        (["study.vary=colour"], "study.vary=colour"),
        (["training.epochs=0"], "training.epochs=0"),
        (["-m", "seeds.master=1,2"], "--multirun"),
        (["force=true"], "force=true"),
        (["study.metric=f1", "study.n=2"], "study.metric=f1"),
        (["hydra/launcher=nowhere"], "nowhere"),
    ):
        found = seedbed("repeat", *words, *([] if "study.n" in str(words) else ["study.n=2"]))
        assert found.status == 2, (words, found.out, found.err)
        assert says in found.err
        assert "Traceback" not in found.err


def test_a_shell_that_contradicts_the_level_is_named(seedbed: Callable[..., Any]) -> None:
    found = seedbed("repeat", "study.n=2", env={"TF_ENABLE_ONEDNN_OPTS": "0"})
    assert found.status == 2
    assert "TF_ENABLE_ONEDNN_OPTS=0 is set" in found.err


def processes_of(runs: Path) -> list[int]:
    """Every process of a study: the command, those that train, the one that tracks."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line, opened = (folder / "cmdline").read_bytes().decode(), [os.readlink(file) for file in (folder / "fd").iterdir()]  # noqa: PTH115
        except OSError:
            continue
        if "seedbed" in line and (str(runs) in line or any(str(runs) in file for file in opened)):
            found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("what", ["everything", "the command"])
def test_killed_five_times_at_random_it_ends_in_the_same_summary(seedbed: Callable[..., Any], tmp_path: Path, what: str) -> None:
    words = [*CNN, "study.n=8"]
    store = f"tracking.uri='sqlite:///{tmp_path}/store/mlflow.db'"
    whole = seedbed("repeat", *words, "--json", runs=tmp_path / "whole").json
    runs, when = tmp_path / "killed", random.Random(what)
    command = [sys.executable, "-m", "seedbed", "repeat", *words, f"runs='{runs}'", store]
    for _ in range(5):
        study = subprocess.Popen(command, env=OUTSIDE, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(when.uniform(3, 9))
        for process in processes_of(runs) if what == "everything" else [study.pid]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        study.wait()
    last = seedbed("repeat", *words, store, "--json", runs=runs)
    assert last.status == 0, last.err
    for name in ("sentence", "metrics", "digests", "seeds"):
        assert last.json[name] == whole[name]
    for name in ("runs.csv", "summary.csv", "distribution.png"):
        assert (Path(last.json["path"]) / name).read_bytes() == (Path(whole["path"]) / name).read_bytes()
    assert [record["status"] for record in records(runs)] == ["finished"] * 8  # none lost
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/store/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("seedbed").experiment_id])
    parents = [run for run in found if "seedbed.parent_of" in run.data.tags]
    nested = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert (len(parents), len(nested), len(found)) == (1, 8, 9)  # no run twice
    assert {run.info.status for run in found} == {"FINISHED"}
    assert {run.data.tags["seedbed.key"] for run in nested} == {record["key"] for record in records(runs)}
    for run in nested:
        assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [0, 1]
    assert parents[0].data.metrics["test_accuracy.mean"] == whole["metrics"]["test_accuracy"]["mean"]


def test_ctrl_c_and_sigterm_stop_it_and_the_same_command_goes_on(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    words = ["experiment=digits_cnn", "training.epochs=400", "study.n=2", "tracking=none", f"runs='{tmp_path}/runs'"]
    command = [sys.executable, "-m", "seedbed", "repeat", *words]

    def epochs() -> int:
        return sum(len(file.read_text().splitlines()) for file in tmp_path.glob("runs/[0-9a-f]*/history.jsonl"))

    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        study = subprocess.Popen(command, env=OUTSIDE, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline, before = time.monotonic() + 120, epochs()
        while epochs() < before + 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        study.send_signal(number)
        out, err = study.communicate(timeout=60)
        assert study.returncode == status, (out, err)
        assert "the same command again" in out
        assert [record["status"] for record in records(tmp_path / "runs")] == ["interrupted"]
    assert processes_of(tmp_path / "runs") == []


def test_compare_says_who_is_better_and_exits_by_it(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    """A network that can learn the task against one whose learning rate keeps it from it; then the other way round, and a tie."""
    good, bad = "optimizer.learning_rate=0.05", "optimizer.learning_rate=0.00001"
    words = ["--", "study.n=8", "training.epochs=12", "--json"]
    won = seedbed("compare", good, bad, "--assert-better", *words)
    assert won.status == 0, won.err
    pair = won.json["pairs"][0]
    assert (pair["better"], pair["claims"], won.json["better"]) == (good, True, "lower")
    assert pair["difference"] < 0
    assert pair["high"] < 0
    assert pair["probability_of_improvement"] == 1.0
    assert pair["p_permutation"] == pytest.approx(2 / 2**8)  # every sign flip counted
    assert f"{good} is better than {bad}" in won.json["sentence"]
    lost = seedbed("compare", bad, good, "--assert-better", *words)
    assert lost.status == 1
    assert seedbed("compare", bad, good, *words).status == 0  # not asked to be better
    same = seedbed("compare", "training.batch_size=9", "training.batch_size=null", "--assert-better", *words)
    assert (same.status, same.json["pairs"][0]["claims"]) == (1, False)
    assert "No difference" in same.json["sentence"]
    folder = Path(won.json["path"])
    assert {"summary.md", "pairs.csv", "summary.csv", "differences.png"} <= {file.name for file in folder.iterdir()}
    shown = seedbed("compare", good, bad, "optimizer.learning_rate=0.01", *words[:-1])
    assert shown.status == 0
    assert "after correction" in shown.out or "p (permutation)" in shown.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "usage"),
        (["model=mlp"], "at least two"),
        (["model=mlp", "model=mlp"], "named twice"),
        (["nowhere", "tutorial"], "nowhere"),
        (["model=mlp", "determinism=off", "--", "study.n=2"], "determinism=off"),
        (["model=mlp", "model=mlp study.metric=x", "--", "study.n=2"], "study.metric is no part of a configuration"),
        (["model=mlp", "model=cnn ++tracking.uri=x"], "++tracking.uri is no part of a configuration"),
    ],
)
def test_compare_refuses_with_a_message(words: list[str], says: str, tmp_path: Path) -> None:
    records = [f"runs='{tmp_path}'"] if "--" in words else []  # else nothing is composed
    command = [sys.executable, "-m", "seedbed", "compare", *words, *records]
    done = subprocess.run(command, env=OUTSIDE, capture_output=True, text=True)
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_variance_names_the_stream_that_matters(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    """The tutorial's task has one batch and no dropout: the initial weights alone can matter, and the order of nine summands."""
    found = seedbed("variance", "study.n=6", "training.epochs=20", "--json")
    assert found.status == 0, found.err
    streams = {row["stream"]: row for row in found.json["streams"]}
    assert set(streams) == {"init", "shuffle", "dropout", "augment", "split", "interaction", "all"}
    assert streams["init"]["variance"] > 0
    assert [streams[name]["variance"] for name in ("dropout", "augment", "split")] == [0, 0, 0]
    assert streams["shuffle"]["share"] < 1e-6
    assert "init" in found.json["sentence"]
    assert (Path(found.json["path"]) / "components.png").exists()
    one = seedbed("train", "seeds.master=1", "training.epochs=20", "--json")
    assert one.json["reused"] is True  # what the held streams are held at is a run of its own


@pytest.mark.slow
def test_off_shows_how_results_vary(seedbed: Callable[..., Any]) -> None:
    first = seedbed("repeat", "determinism=off", "study.n=2", "training.epochs=3", "--json")
    second = seedbed("repeat", "determinism=off", "study.n=2", "training.epochs=3", "--json")
    assert (first.status, second.status) == (0, 0), first.err
    digests = [*first.json["digests"].values(), *second.json["digests"].values()]
    assert len(set(digests)) == 4


@pytest.mark.slow
def test_a_hash_seed_of_its_own_for_each_run(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    words = ["seeds.hash='${stream:${seeds.master},hash}'", "training.epochs=3"]
    study = seedbed("repeat", *words, "study.n=2", "--json")
    assert study.status == 0, study.err
    alone = seedbed("train", *words, "seeds.master=2", "--json", runs=tmp_path / "alone")
    assert alone.json["digests"]["run"] == study.json["digests"]["2"]
