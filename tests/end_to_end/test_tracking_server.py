"""A real `mlflow server` that dies in mid-run, comes back or doesn't, stays silent or isn't there: the run doesn't notice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE
from end_to_end.gate import GATE, until

from seedbed.run import training
from seedbed.run.record import Record, all_records

pytestmark = pytest.mark.integration

EPOCHS = 30


class Server:
    """`mlflow server` on loopback, which can be killed and started again on the same port and store."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.secret = f"http://someone:open-sesame@127.0.0.1:{self.port}"  # this server asks nobody, and takes it
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        stores = ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--artifacts-destination", str(self.folder / "files")]
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command = [sys.executable, "-m", "mlflow", "server", *where, *stores]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=OUTSIDE, stdout=log, stderr=log, start_new_session=True)
        until(self.answers, 120, lambda: (self.folder / "log").read_text())

    def answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5) as reply:
            return bool(reply.status == 200)
        return False

    def kill(self) -> None:
        """kill -9 for the server and its worker."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def runs(self) -> list[Any]:
        found = self.client().get_experiment_by_name("seedbed")
        return list(self.client().search_runs([found.experiment_id])) if found else []

    def points(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """metric -> sorted [(step, value)]"""
        names = self.client().get_run(run_id).data.metrics
        return {name: sorted((p.step, p.value) for p in self.client().get_metric_history(run_id, name)) for name in names}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    try:
        server.start()
        yield server
    finally:
        server.kill()


def start_training(words: list[str], runs: Path, uri: str, plugins: Path | None = None, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "seedbed", "train", *words, f"runs='{runs}'", "tracking=server", "--json"]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, [str(plugins or ""), OUTSIDE.get("PYTHONPATH")]))}
    return subprocess.Popen(
        command, env={**OUTSIDE, **paths, "MLFLOW_TRACKING_URI": uri, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str], seconds: float = 200) -> dict[str, Any]:
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def sent(runs: Path, uri: str) -> str | None:
    from seedbed import notes

    (record,) = all_records(runs)
    return notes.state(record, uri).get("status")


def followers(runs: Path, uri: str) -> list[int]:
    """The processes that still send something to `uri`."""
    mine, found = f"SEEDBED_TRACKING_URI={uri}\0".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"--follow" in (folder / "cmdline").read_bytes() and mine in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize("back", ["in mid-run", pytest.param("after the run", marks=pytest.mark.slow)])
def test_a_server_that_dies_in_mid_run_costs_nothing(
    server: Server, back: str, seedbed: Any, config: Any, plugin: Any, tmp_path: Path
) -> None:
    plugins, gate, runs = plugin("gate", GATE), tmp_path / "gate", tmp_path / "tracked"
    gate.mkdir()
    words = ["data=digits", "model=mlp", f"training.epochs={EPOCHS}", "+training.callbacks.gate._target_=gate.Gate",
             f"+training.callbacks.gate.folder={gate}", "+training.callbacks.gate.epochs=[10,20]"]  # fmt: skip
    for epoch in (10, 20):
        (gate / f"go{epoch}").touch()
    alone = training.run(config(*words))
    for file in gate.iterdir():
        file.unlink()

    process = start_training(words, runs, server.secret, plugins)
    try:
        until(lambda: (gate / "at10").exists() or process.poll() is not None, 120)
        assert process.poll() is None, process.communicate()
        until(lambda: server.runs() and len(server.points(server.runs()[0].info.run_id).get("loss", [])) == 10, 60)
        server.kill()
        (gate / "go10").touch()
        until((gate / "at20").exists, 60)
        if back == "in mid-run":
            server.start()
        (gate / "go20").touch()
    except BaseException:
        process.kill()
        raise
    result = ended(process)

    assert result["status"] == "finished"
    assert result["digests"] == alone.digests
    record = Record.read(Path(result["record"]))
    assert [row["epoch"] for row in record.rows()] == list(range(EPOCHS))
    assert record.history() == alone.history()

    if back == "in mid-run":
        until(lambda: sent(runs, server.secret) == "finished", 90)  # by itself
    else:
        assert sent(runs, server.secret) != "finished"
        until(lambda: not followers(runs, server.secret), 90)
        server.start()
        first = seedbed("sync", "--uri", server.secret, "--runs", str(runs), "--json")
        assert (first.status, first.json["sent"]) == (0, [record.key]), first.err
        assert len(first.out.splitlines()) == 1  # one JSON object, and nothing of MLflow's
    (run,) = server.runs()
    points = server.points(run.info.run_id)
    assert run.info.status == "FINISHED"
    for name in record.history()[0]:
        assert points[name] == [(epoch, row[name]) for epoch, row in enumerate(record.history())]
    assert {name: points[name][0][1] for name in record.metrics} == record.metrics
    assert {name: run.data.params[f"seeds.{name}"] for name in record.seeds} == {k: str(v) for k, v in record.seeds.items()}
    (model,) = server.client().search_logged_models([run.info.experiment_id])
    assert model.status == "READY"
    assert "record/record.json" in {file.path for file in server.client().list_artifacts(run.info.run_id, "record")}

    again = seedbed("sync", "--uri", server.secret, "--runs", str(runs), "--json")
    assert (again.status, again.json["sent"]) == (0, [])
    assert server.points(run.info.run_id) == points
    assert len(server.runs()) == 1
    files = [file for file in runs.rglob("*") if file.is_file()]
    assert not [file for file in files if b"open-sesame" in file.read_bytes()]


@pytest.mark.parametrize("server_is", ["silent", pytest.param("nowhere", marks=pytest.mark.slow)])
def test_a_server_that_never_answers_costs_no_more_than_wait_seconds(server_is: str, seedbed: Any, config: Any, tmp_path: Path) -> None:
    wait = 4
    words = ["training.epochs=5", f"tracking.wait_seconds={wait}"]
    alone = training.run(config("training.epochs=5"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if server_is == "silent":
            listener.listen(50)  # the kernel accepts; nobody ever reads or answers
        uri, runs = f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path / "tracked"
        result = ended(start_training(words, runs, uri, MLFLOW_HTTP_REQUEST_TIMEOUT="3"))
        over = time.time()
        assert result["digests"] == alone.digests
        assert result["mlflow_run_id"] is None
        record = Record.read(Path(result["record"]))
        assert len(record.rows()) == 5
        assert over - record.timing["ended"] < wait + 15  # and the end of a Python process that has loaded TensorFlow, on a busy machine

        until(lambda: not followers(runs, uri), 90)  # what was started for it does not stay for ever
        synced = seedbed(
            "sync", "--uri", uri, "--runs", str(runs), env={"MLFLOW_HTTP_REQUEST_TIMEOUT": "2", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        )
        assert synced.status == 1
        assert "Nothing is lost" in synced.err


@pytest.mark.slow
def test_sync_sends_to_where_a_run_was_to_go(server: Server, seedbed: Any, tmp_path: Path) -> None:
    """A server that was down, named on the command line of the run alone: a record doesn't decide where things are sent."""
    server.kill()
    runs = tmp_path / "tracked"
    words = ["training.epochs=2", "tracking=server", f"tracking.uri={server.uri}", "tracking.experiment=mine"]
    record = Path(seedbed("train", *words, "--json", runs=runs).json["record"])
    until(lambda: not followers(runs, server.uri), 90)
    server.start()
    asked = seedbed("sync", "--runs", str(runs))
    assert server.uri in asked.err
    assert server.client().get_experiment_by_name("mine") is None
    done = seedbed("sync", "--runs", str(runs), env={"MLFLOW_TRACKING_URI": server.uri})
    assert done.status == 0, done.err
    assert server.client().get_experiment_by_name("mine") is not None
    assert json.loads((record / "tracking.json").read_text())[server.uri]["status"] == "finished"
    assert not (runs / "mlflow").exists()
    missing = seedbed("sync", "--runs", str(tmp_path / "none"))
    assert missing.status == 2
    assert "there is no such folder" in missing.err


def test_a_study_on_another_machine_computes_only_what_no_machine_has(server: Server, seedbed: Any, tmp_path: Path) -> None:
    """Two folders of records are two machines; what they have in common is the server."""
    words = ["repeat", "training.epochs=4", "tracking=server", f"tracking.uri={server.uri}", "--json"]
    first = seedbed(*words, "study.n=4", runs=tmp_path / "one")
    assert (first.status, first.json["trained"]) == (0, 4), first.err
    trained_alone = seedbed(
        "train", "training.epochs=4", "seeds.master=6", "tracking=server", f"tracking.uri={server.uri}", runs=tmp_path / "one"
    )
    assert trained_alone.status == 0
    second = seedbed(*words, "study.n=6", runs=tmp_path / "another place")
    assert second.status == 0, second.err
    assert (second.json["trained"], second.json["finished"]) == (1, 6), second.err  # seed 5 alone
    assert "5 finished runs found" in second.err
    assert {seed: second.json["digests"][seed] for seed in "1234"} == first.json["digests"]
    brought = Record.read(next(path for path in (tmp_path / "another place").glob("[0-9a-f]*/") if Record.read(path).seeds["master"] == 1))
    assert brought.content["fetched"]["from"] == server.uri
    runs = server.runs()
    parents = [run for run in runs if "seedbed.parent_of" in run.data.tags]
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert (len(parents), len(nested), len(runs)) == (1, 6, 7)  # one study, no run twice
    assert parents[0].data.tags["seedbed.finished"] == "6 of 6"
    assert parents[0].data.tags["seedbed.sentence"] == second.json["sentence"]
    assert {item.path for item in server.client().list_artifacts(parents[0].info.run_id)} >= {"distribution.png", "runs.csv", "summary.md"}

    # a record on the server that isn't what its key says is left there, and its seed is trained
    run = next(run for run in nested if run.data.params["seeds.master"] == "2")
    forged = tmp_path / "record.json"
    content = json.loads((Path(first.json["path"]).parents[1] / run.data.tags["seedbed.key"] / "record.json").read_text())
    forged.write_text(json.dumps({**content, "metrics": {"train_loss": 0.0}, "inputs": {**content["inputs"], "data": "0" * 64}}))
    server.client().log_artifact(run.info.run_id, str(forged), "record")
    third = seedbed(*words, "study.n=4", runs=tmp_path / "third")
    assert (third.json["trained"], third.json["digests"]) == (1, first.json["digests"])


@pytest.mark.slow
def test_a_study_whose_server_is_down_is_complete_and_sync_sends_it(server: Server, seedbed: Any, tmp_path: Path) -> None:
    server.kill()
    words = [
        "repeat",
        "training.epochs=3",
        "study.n=3",
        "tracking=server",
        f"tracking.uri={server.uri}",
        "tracking.wait_seconds=3",
        "--json",
    ]
    study = seedbed(*words, runs=tmp_path / "runs")
    assert (study.status, study.json["finished"]) == (0, 3), study.err
    server.start()
    until(lambda: not followers(tmp_path / "runs", server.uri), 120)
    done = seedbed("sync", "--runs", str(tmp_path / "runs"), "--uri", server.uri)
    assert done.status == 0, done.err
    again = seedbed("sync", "--runs", str(tmp_path / "runs"), "--uri", server.uri, "--json")
    assert (again.status, again.json["sent"]) == (0, [])
    runs = server.runs()
    parents = [run for run in runs if "seedbed.parent_of" in run.data.tags]
    assert len(parents) == 1
    assert len([run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]) == 3
    assert parents[0].info.status == "FINISHED"
