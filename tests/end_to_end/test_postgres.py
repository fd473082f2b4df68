"""MLflow's server on PostgreSQL as docker/compose.yaml has it: the same script, without Docker, killed in the middle of a study."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import OUTSIDE, ROOT
from end_to_end.gate import until
from end_to_end.postgres import ENV, PASSWORD, Database, free_port
from end_to_end.test_tracking_server import Server, ended, followers

from seedbed.run.record import all_records

pytestmark = pytest.mark.integration

DOCKER = ROOT / "docker"
SCRIPT = DOCKER / "tracking-server"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
GPU: dict[str, Any] = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())

RUNS, EPOCHS = 30, 20
KILLED, BACK = 5, 12  # so many runs are trained when the server dies, and when it is there again
# +training.callbacks.gate._target_=study_gate.Gate: a study that waits after so many of its runs, whichever process trained them.
GATE = """
import pathlib, time, uuid
import keras

class Gate(keras.callbacks.Callback):
    def __init__(self, folder, after):
        super().__init__()
        self.folder, self.after = folder, after

    def on_train_begin(self, logs=None):
        folder, end = pathlib.Path(self.folder), time.monotonic() + 200
        for number in self.after:
            if len(list(folder.glob("trained-*"))) >= number:
                (folder / f"at{number}").touch()
                while not (folder / f"go{number}").exists():
                    assert time.monotonic() < end, "nobody opened the gate"
                    time.sleep(0.02)

    def on_train_end(self, logs=None):
        (pathlib.Path(self.folder) / f"trained-{uuid.uuid4().hex}").touch()
"""


def variables(**more: str) -> dict[str, str]:
    """What the script is told in these tests, with PATH as the image has it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), ENV.get("PATH", os.defpath)])
    return {**ENV, "PATH": path, "PGHOST": "127.0.0.1", "PGUSER": "seedbed", "PGDATABASE": "postgres", **more}


class OnPostgres(Server):
    """The server that compose starts, on a database that can be killed, too."""

    def __init__(self, folder: Path, database: Database) -> None:
        super().__init__(folder)
        self.database = database

    def start(self) -> None:
        self.database.start()
        env = variables(
            PGPORT=str(self.database.port), PGPASSWORD=PASSWORD, MLFLOW_ARTIFACTS_DESTINATION=str(self.folder / "files"),
            MLFLOW_PORT=str(self.port), MLFLOW_WORKERS="1", TRACKING_HOSTS="tracking mlflow.lan",
        )  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([SCRIPT], cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True)
        until(self.answers, 120, lambda: (self.folder / "log").read_text())

    def kill(self) -> None:
        super().kill()
        self.database.kill()

    def status(self, host: str, origin: str | None = None) -> int:
        """What a browser gets that calls this server by the name `host`, from a page of `origin`."""
        headers = {"Host": host, "Content-Type": "application/json"} | ({"Origin": origin} if origin else {})
        request = urllib.request.Request(f"{self.uri}/api/2.0/mlflow/experiments/search", b'{"max_results": 1}', headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database()
    try:
        yield database
    finally:
        database.remove()


@pytest.fixture
def server(database: Database, tmp_path: Path) -> Iterator[OnPostgres]:
    server = OnPostgres(tmp_path / "server", database)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def test_a_parallel_study_is_complete_after_server_and_database_were_killed(
    server: OnPostgres, plugin: Callable[..., Path], seedbed: Any, tmp_path: Path
) -> None:
    plugins, gate, runs = plugin("study_gate", GATE), tmp_path / "gate", tmp_path / "tracked"
    gate.mkdir()
    words = ["repeat", f"study.n={RUNS}", "experiment=tutorial", f"training.epochs={EPOCHS}", "hydra/launcher=joblib",
             "hydra.launcher.n_jobs=2", "tracking=server", f"runs='{runs}'", "--json", "+training.callbacks.gate._target_=study_gate.Gate",
             f"+training.callbacks.gate.folder={gate}", f"+training.callbacks.gate.after=[{KILLED},{BACK}]"]  # fmt: skip
    paths = os.pathsep.join(filter(None, [str(plugins), OUTSIDE.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "seedbed", *words], env={**OUTSIDE, "PYTHONPATH": paths, "MLFLOW_TRACKING_URI": server.uri},
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: (gate / f"at{KILLED}").exists() or process.poll() is not None, 120)
        until(lambda: process.poll() is not None or sum(run.info.status == "FINISHED" for run in server.runs()) >= 3, 120)
        assert process.poll() is None, process.communicate()
        assert len(server.runs()) < RUNS
        server.kill()
        (gate / f"go{KILLED}").touch()
        until(lambda: (gate / f"at{BACK}").exists() or process.poll() is not None, 120)
        assert process.poll() is None, process.communicate()
        server.start()
        assert "not properly shut down" in server.database.log()
        (gate / f"go{BACK}").touch()
    except BaseException:
        process.kill()
        raise
    study = ended(process)
    assert study["finished"] == RUNS
    until(lambda: not followers(runs, server.uri), 90)
    synced = seedbed("sync", "--runs", str(runs), "--uri", server.uri)
    assert synced.status == 0, synced.err

    records = {record.seeds["master"]: record for record in all_records(runs)}
    assert sorted(records) == list(range(1, RUNS + 1))
    (parent,) = [run for run in server.runs() if "seedbed.parent_of" in run.data.tags]
    assert (parent.info.status, parent.data.tags["seedbed.finished"]) == ("FINISHED", f"{RUNS} of {RUNS}")
    assert parent.data.tags["seedbed.sentence"] == study["sentence"]
    nested = {int(run.data.params["seeds.master"]): run for run in server.runs() if run.info.run_id != parent.info.run_id}
    assert sorted(nested) == sorted(records)
    for seed, record in records.items():
        run, history, points = nested[seed], record.history(), server.points(nested[seed].info.run_id)
        assert (run.info.status, run.data.tags["mlflow.parentRunId"]) == ("FINISHED", parent.info.run_id)
        assert {name: run.data.params[f"seeds.{name}"] for name in record.seeds} == {k: str(v) for k, v in record.seeds.items()}
        assert {name: points[name] for name in history[0]} == {
            name: [(epoch, row[name]) for epoch, row in enumerate(history)] for name in history[0]
        }
        assert {name: [(EPOCHS, value)] for name, value in record.metrics.items()} == {name: points[name] for name in record.metrics}
        assert len(history) == EPOCHS
    sent = [json.loads(file.read_text())["key"] for file in (server.folder / "files").glob("*/*/artifacts/record/record.json")]
    assert sorted(sent) == sorted(record.key for record in records.values())

    # whom it answers, and what it doesn't say
    calls = {"tracking:5000": 200, "mlflow.lan": 200, "localhost": 200, "[::1]:5000": 200, "evil.example": 403, "10.evil.example": 403}
    assert {host: server.status(host) for host in calls} == calls
    assert server.status("mlflow.lan:5000", origin="http://mlflow.lan:5000") == 200
    assert server.status("mlflow.lan:5000", origin="http://evil.example") == 403
    said = [file.read_bytes() for file in (server.folder / "log", *Path("/proc").glob("[0-9]*/cmdline")) if file.exists()]
    assert not [text for text in said if PASSWORD.encode() in text]


def refused(env: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run([SCRIPT], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return done.returncode, line


def test_the_server_says_in_one_line_what_is_missing(tmp_path: Path) -> None:
    whole = variables(PGPASSWORD="x", MLFLOW_ARTIFACTS_DESTINATION=str(tmp_path / "files"), PGPORT=str(free_port()), DATABASE_WAIT="0.3")
    for name in ("PGHOST", "PGUSER", "PGDATABASE", "PGPASSWORD", "MLFLOW_ARTIFACTS_DESTINATION"):
        status, line = refused({key: value for key, value in whole.items() if key != name})
        assert status == 2
        assert name in line
    (tmp_path / "file").touch()
    assert refused({**whole, "MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "file" / "folder")})[0] == 2
    status, line = refused(whole)
    assert status == 1
    assert "the database at 127.0.0.1 can not be used" in line


def test_a_wrong_password_ends_the_server_at_once(database: Database, tmp_path: Path) -> None:
    database.start()
    env = variables(PGPORT=str(database.port), MLFLOW_ARTIFACTS_DESTINATION=str(tmp_path / "files"), PGPASSWORD=PASSWORD + "x")
    status, line = refused(env)
    assert (status, "password authentication failed" in line, PASSWORD in line) == (1, True, False)


def test_compose_agrees_with_the_rest_of_the_repository() -> None:
    db, tracking, train = (COMPOSE["services"][name] for name in ("db", "tracking", "train"))
    for name, service in COMPOSE["services"].items():
        assert "@sha256:" in service["image"] or service["build"]["context"] == "..", name  # pinned, or from this Dockerfile
        assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"]), name
    for service in (tracking, train, GPU["services"]["train"]):
        variant = service["build"]["args"]["VARIANT"]
        assert service["image"] == f"seedbed:{variant}"
        assert (ROOT / "requirements" / (variant.removeprefix("${VARIANT:-").removesuffix("}") + ".txt")).exists()
    assert re.fullmatch(r"postgres:[0-9.]+-bookworm@sha256:[0-9a-f]{64}", db["image"])
    assert "ports" not in db
    assert set(db["networks"]) & set(train["networks"]) == set()
    assert tracking["ports"] == ["${TRACKING_ADDRESS:-127.0.0.1}:${TRACKING_PORT:-5000}:5000"]

    assert tracking["entrypoint"] == [f"/seedbed/{SCRIPT.relative_to(ROOT)}"]
    assert os.access(SCRIPT, os.X_OK)
    told = set(re.findall(r"\b(?:PG|MLFLOW_|TRACKING_)[A-Z_]+", SCRIPT.read_text()))
    assert set(tracking["environment"]) <= told
    assert (tracking["environment"]["PGUSER"], tracking["environment"]["PGDATABASE"]) == (
        db["environment"]["POSTGRES_USER"], db["environment"]["POSTGRES_DB"],
    )  # fmt: skip
    assert tracking["environment"]["PGPASSWORD"] == db["environment"]["POSTGRES_PASSWORD"]
    assert db["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    assert "PASSWORD" not in str(train)
    volume = tracking["environment"]["MLFLOW_ARTIFACTS_DESTINATION"]
    assert tracking["volumes"] == [f"artifacts:{volume}"]

    example = (DOCKER / "env.example").read_text()
    asked = set(re.findall(r"\$\{([A-Z_]+)", f"{COMPOSE}{GPU}"))
    assert asked == set(re.findall(r"(?m)^#?([A-Z_]+)=", example))
    assert re.findall(r"(?m)^[A-Z_]+=.*$", example) == ["POSTGRES_PASSWORD=''"]  # no password that somebody could leave as it is
    ignored = subprocess.run(["git", "check-ignore", "docker/.env"], cwd=ROOT, capture_output=True)
    assert ignored.returncode == 0


def test_docker_compose_reads_it(tmp_path: Path) -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    files = ["-f", str(DOCKER / "compose.yaml"), "-f", str(DOCKER / "compose.gpu.yaml")]
    (tmp_path / "none").touch()
    without = subprocess.run(["docker", "compose", *files, "--env-file", tmp_path / "none", "config"], capture_output=True, text=True)
    assert without.returncode != 0
    assert "Copy docker/env.example to docker/.env" in without.stderr
    (tmp_path / "env").write_text("POSTGRES_PASSWORD='it 100% $ecret:/?#[]@&=\\ \"x'\n")
    words = ["--env-file", tmp_path / "env", "--profile", "train", "config", "--format", "json"]
    whole = json.loads(subprocess.run(["docker", "compose", *files, *words], capture_output=True, text=True, check=True).stdout)
    assert whole["services"]["tracking"]["environment"]["PGPASSWORD"].replace("$$", "$") == 'it 100% $ecret:/?#[]@&=\\ "x'
    assert whole["services"]["train"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
