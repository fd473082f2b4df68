"""Many processes at once: on one store, on one key. Nothing is lost, nothing is trained twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE
from end_to_end.gate import GATE, until

from seedbed import notes, tracking
from seedbed.run import training
from seedbed.run.record import Record, all_records

pytestmark = pytest.mark.integration


class Training:
    """A `seedbed train` that goes on while the test looks at it; its output in files."""

    def __init__(self, folder: Path, *words: str, plugins: Path | None = None) -> None:
        folder.mkdir(parents=True)
        self.out, self.err = folder / "out", folder / "err"
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, [str(plugins or ""), OUTSIDE.get("PYTHONPATH")]))}
        with self.out.open("w") as out, self.err.open("w") as err:
            command = [sys.executable, "-m", "seedbed", "train", *words, "--json"]
            self.process = subprocess.Popen(command, cwd=folder, env={**OUTSIDE, **paths}, stdout=out, stderr=err)

    def end(self, timeout: float = 300) -> dict[str, Any]:
        try:
            status = self.process.wait(timeout)
        finally:
            self.process.kill()
        assert status == 0, self.err.read_text()
        found: dict[str, Any] = json.loads(self.out.read_text().splitlines()[-1])
        return found


def test_runs_at_once_on_a_new_store_lose_nothing(tmp_path: Path) -> None:
    epochs, many, runs = 12, 6, tmp_path / "runs"
    uri = f"sqlite:///{runs}/mlflow/mlflow.db"
    words = [f"runs='{runs}'", f"training.epochs={epochs}", "tracking=local"]
    trainings = [Training(tmp_path / f"at{seed}", *words, f"seeds.master={seed}") for seed in range(many)]
    results = [one.end(500) for one in trainings]
    assert [result["status"] for result in results] == ["finished"] * many
    assert len({result["digests"]["run"] for result in results}) == many
    records = {record.seeds["master"]: record for record in all_records(runs)}
    assert sorted(records) == list(range(many))

    until(lambda: all(notes.is_complete(record, uri) for record in records.values()), 120)
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("seedbed")
    found = {run.data.tags["seedbed.key"]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(found) == many
    assert sorted(run.info.run_name for run in found.values()) == [f"sequence · seed {seed}" for seed in range(many)]
    for seed, record in records.items():
        run = found[record.key]
        assert (run.info.status, run.data.params["seeds.master"]) == ("FINISHED", str(seed))
        history = sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss"))
        assert history == [(epoch, row["loss"]) for epoch, row in enumerate(record.history())]
        assert len(history) == epochs
        assert record.metrics.items() <= run.data.metrics.items()
        assert run.data.tags["digest.run"] == record.digests["run"]
    models = client.search_logged_models([experiment.experiment_id])
    assert {model.source_run_id for model in models} == {run.info.run_id for run in found.values()}
    assert [model.status for model in models] == ["READY"] * many


@pytest.fixture
def gated(plugin: Callable[..., Path], tmp_path: Path) -> tuple[Path, list[str], Path]:
    """(plug-ins, overrides, folder): a run that waits before epoch 2 of 3 until the file `go2` is in the folder."""
    folder = tmp_path / "gate"
    folder.mkdir()
    words = ["data=digits", "training.epochs=3", "checkpoint.every_epochs=1", "+training.callbacks.gate._target_=gate.Gate",
             f"+training.callbacks.gate.folder={folder}", "+training.callbacks.gate.epochs=[2]"]  # fmt: skip
    return plugin("gate", GATE), words, folder


@pytest.mark.parametrize("first_one", [pytest.param("finishes", marks=pytest.mark.slow), "is killed"])
def test_two_processes_with_one_key_train_it_once(first_one: str, gated: Any, config: Any, tmp_path: Path) -> None:
    plugins, words, gate = gated
    (gate / "go2").touch()
    alone = training.run(config(*words))
    for file in gate.iterdir():
        file.unlink()

    runs = tmp_path / "both"
    both = [f"runs='{runs}'", "tracking=none", *words]
    first = Training(tmp_path / "first", *both, plugins=plugins)
    second = None
    try:
        until((gate / "at2").exists, 120, first.err.read_text)
        second = Training(tmp_path / "second", *both, plugins=plugins)
        until(lambda: "waiting for it" in second.err.read_text(), 120, second.err.read_text)
        assert second.process.poll() is None
        if first_one == "is killed":
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
        (gate / "go2").touch()
        if first_one == "finishes":
            result = first.end()
            assert (result["reused"], result["resumed_at"]) == (False, None)
        other = second.end()
    finally:
        for one in (first, second):
            if one is not None:
                one.process.kill()
    assert (other["reused"], other["resumed_at"]) == ((True, None) if first_one == "finishes" else (False, 2))
    assert other["digests"] == alone.digests
    (record,) = all_records(runs)
    assert [row["epoch"] for row in record.rows()] == [0, 1, 2]
    assert record.history() == alone.history()
    assert not [path for path in runs.iterdir() if path.name.startswith(f".{record.key}")]


def test_a_store_is_whole_from_the_moment_that_it_is_there(tmp_path: Path) -> None:
    """A process that is killed while it makes the store must not leave half of one.

    MLflow's migrations on SQLite are no transaction: nobody can go on with a store that was left in the midst of them
    (`duplicate column name`, `table secrets already exists`). A refused command is enough: it ends what it began for tracking.
    """
    file = tmp_path / "store" / "mlflow.db"
    env = {**OUTSIDE, "SEEDBED_TRACKING_URI": f"sqlite:///{file}"}
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "seedbed", "sync", "--follow"]
        process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        until(lambda: file.exists() and file.stat().st_size, 60, (tmp_path / "log").read_text)
    finally:
        process.kill()
        process.communicate()
    with closing(sqlite3.connect(file)) as base:
        first = base.execute("select name from sqlite_master order by name").fetchall()
    tracking.warm(f"sqlite:///{file}", "seedbed")
    with closing(sqlite3.connect(file)) as base:
        assert base.execute("select name from sqlite_master order by name").fetchall() == first


def test_a_record_is_readable_at_every_moment(config: Callable[..., Any], tmp_path: Path) -> None:
    """Whoever reads while it is written (`sync`, a follower, a page) sees a whole record of one moment."""
    import threading

    seen: list[tuple[str, int]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for record in all_records(tmp_path / "runs"):
                seen.append((record.status, len(record.rows())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = training.run(config("training.epochs=50", "checkpoint.every_epochs=1"))
    finally:
        stop.set()
        watcher.join()
    assert Record.read(result.path).status == "finished"
    assert {"running"} <= {status for status, _ in seen} <= {"running", "finished"}
    assert [rows for _, rows in seen] == sorted(rows for _, rows in seen)
