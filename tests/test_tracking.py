"""Records into MLflow: all of it, once, whatever happened before; and the note beside the record gives nothing away."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from seedbed import cli, notes, tracking
from seedbed.run import targets, training
from seedbed.run.record import FINISHED, RUNNING, Record
from seedbed.tracking import descriptions, views

EPOCHS = 4


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Any]:
    """A finished record and the config it was trained from; tests push copies of it."""
    from hydra import compose, initialize_config_dir

    from seedbed import project_root
    from seedbed.run import config as configs

    runs = tmp_path_factory.mktemp("trained")
    configs.register()
    with initialize_config_dir(str(project_root() / "conf"), version_base="1.3"):
        words = ["data=digits", f"training.epochs={EPOCHS}", "seeds.master=7", "seeds.shuffle=5", f"runs='{runs}'", "tracking=none"]
        config = compose("train", words)
    return training.run(config), config


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated store without runs: the migration takes longer than a test."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little patience; and what a push sets for MLflow is this test's alone."""
    for name in [*tracking.PATIENCE, "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"]:
        monkeypatch.setenv(name, "1")


@pytest.fixture
def record(original: tuple[Record, Any], tmp_path: Path) -> Record:
    path = tmp_path / "runs" / original[0].key
    shutil.copytree(original[0].path, path)
    return Record.read(path)


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    (tmp_path / "store").mkdir()
    shutil.copy(empty_store, tmp_path / "store" / "mlflow.db")
    return f"sqlite:///{tmp_path}/store/mlflow.db"


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def rows(uri: str, table: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as base:
        return sorted(base.execute(f"select * from {table}").fetchall(), key=repr)


def runs_of(uri: str, experiment: str = "seedbed") -> list[Any]:
    found = client(uri).get_experiment_by_name(experiment)
    return list(client(uri).search_runs([found.experiment_id])) if found else []


def steps(uri: str, run_id: str, metric: str) -> list[int]:
    return sorted(point.step for point in client(uri).get_metric_history(run_id, metric))


def grown(record: Record, epochs: int) -> list[dict[str, Any]]:
    """Make `record` one that is being trained and has `epochs` epochs; returns all its epochs as they were."""
    whole = record.rows()
    record.keep_epochs(epochs)
    begun = {name: entry for name, entry in record.content["files"].items() if name in ("config.yaml", "code.diff", "rows.npz")}
    record.update(status=RUNNING, metrics={}, files=begun, digests={"initial_weights": record.digests["initial_weights"]})
    return whole


# --- what is there ------------------------------------------------------------------------------------------------


def test_everything_of_a_record_is_in_mlflow(record: Record, uri: str) -> None:
    run = client(uri).get_run(tracking.push(record, uri, "seedbed"))

    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == tuple(int(record.timing[name] * 1000) for name in ("started", "ended"))
    for stream, seed in record.seeds.items():
        assert run.data.params[f"seeds.{stream}"] == str(seed)
    assert run.data.params["seeds.shuffle"] == "5"
    assert run.data.params["training.epochs"] == str(EPOCHS)
    assert run.data.params["model._target_"] == "example.models.mlp"
    assert not [name for name in run.data.params if name.startswith(("tracking", "runs"))]

    assert (run.data.tags["seedbed.key"], run.data.tags["seedbed.level"]) == (record.key, "strict")
    for name, value in record.digests.items():
        assert run.data.tags[f"digest.{name}"] == value

    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        history = sorted(client(uri).get_metric_history(run.info.run_id, name), key=lambda point: point.step)
        assert [(point.step, point.value) for point in history] == [(i, row[name]) for i, row in enumerate(record.history())]
        assert [point.timestamp for point in history] == [int(row["time"] * 1000) for row in record.rows()]
    for name, value in record.metrics.items():
        assert run.data.metrics[name] == value

    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", record.inputs["data"][:32])
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]


def test_artifacts_are_the_record_s_files(record: Record, uri: str, tmp_path: Path) -> None:
    run_id = tracking.push(record, uri, "seedbed")
    folder = Path(client(uri).download_artifacts(run_id, "record", str(tmp_path)))
    for name in ("record.json", "config.yaml", "history.jsonl"):
        assert (folder / name).read_bytes() == (record.path / name).read_bytes()
    assert (folder / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("address", ["models:/{model_id}", "runs:/{run_id}/model"])
def test_the_model_loads_and_predicts_the_same_bits(
    original: tuple[Record, Any], record: Record, uri: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from seedbed.run import data as data_sets
    from seedbed.run import digest, inputs

    run_id = tracking.push(record, uri, "seedbed")
    (output,) = client(uri).get_run(run_id).outputs.model_outputs
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    model = mlflow.keras.load_model(address.format(run_id=run_id, model_id=output.model_id))
    config = original[1]
    call = targets.target(config.data.source, "data.source")
    data = training.prepared(config, call, record.seeds, record.inputs["determinism"])
    predictions = model.predict(inputs.held_out(data.test, config.training.batch_size), verbose=0)
    assert digest.arrays(data_sets.flat(predictions)) == record.digests["predictions"]


def test_a_study_can_be_read_in_mlflow(record: Record, uri: str) -> None:
    for seed in range(10):
        path = record.path.with_name(f"{seed:064x}")
        shutil.copytree(record.path, path)
        copy = Record.read(path)
        copy.update(id=f"{seed:032x}", key=path.name, seeds={**copy.seeds, "master": seed})
        tracking.push(copy, uri, "study")
    found = runs_of(uri, "study")
    assert sorted(run.info.run_name for run in found) == [f"digits · seed {seed}" for seed in range(10)]
    assert sorted(run.data.params["seeds.master"] for run in found) == [str(seed) for seed in range(10)]
    (one,) = client(uri).search_runs([found[0].info.experiment_id], "params.`seeds.master` = '3'")
    assert one.data.tags["seedbed.key"] == f"{3:064x}"


def test_a_run_s_description_says_what_it_is_and_how_it_is_replayed(record: Record, uri: str) -> None:
    run = client(uri).get_run(tracking.push(record, uri, "seedbed"))
    note = run.data.tags["mlflow.note.content"]
    assert run.info.run_name == "digits · seed 7"
    assert f'make replay ARGS="{run.info.run_id}"' in note
    assert f'make replay ARGS="{record.key[:12]}"' in note
    for word in (record.key, record.digests["run"], "shuffle 5", f"test_accuracy {record.metrics['test_accuracy']:.6g}"):
        assert word in note
    # every kind of run has columns for its seeds and its results in the table that `make ui` leads to
    (experiment,) = [one for one in client(uri).search_experiments() if one.name == "seedbed"]
    shown = json.loads(experiment.tags["mlflow.sharedViewState.seeds"])["selectedColumns"]
    assert {"params.`seeds.master`", "params.`seeds.init`", "metrics.`test_accuracy`"} <= set(shown)
    assert tracking.pages(uri)[0][1].endswith(f"/{experiment.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=seeds")


def test_a_run_that_cannot_be_replayed_does_not_say_so(record: Record, uri: str) -> None:
    record.update(level="seeded")
    note = client(uri).get_run(tracking.push(record, uri, "seedbed")).data.tags["mlflow.note.content"]
    assert "replay" not in note
    assert "not necessarily with the same bits" in note


def test_what_a_person_has_written_in_mlflow_stays(record: Record, uri: str) -> None:
    final = dict(record.content)
    grown(record, 1)
    run_id = tracking.push(record, uri, "seedbed")
    client(uri).set_tag(run_id, "mlflow.note.content", "the one for the paper")
    record.update(**final)
    for _ in range(2):
        tracking.push(record, uri, "seedbed")
        run = client(uri).get_run(run_id)
        assert run.data.tags["mlflow.note.content"] == "the one for the paper"
        assert run.info.run_name == "digits · seed 7"
    client(uri).update_run(run_id, name="mine")
    tracking.push(record, uri, "seedbed")
    assert client(uri).get_run(run_id).info.run_name == "mine"


def test_names_and_errors_mean_nothing_to_markdown(record: Record, uri: str) -> None:
    record.update(metrics={"test_<lambda>|x": 0.5}, status="failed", error="ValueError: <script>alert(1)</script> `x`")
    note = client(uri).get_run(tracking.push(record, uri, "seedbed")).data.tags["mlflow.note.content"]
    assert "&lt;lambda>&#124;x 0.5" in note
    assert "    ValueError: <script>" in note  # in a block of code


def test_no_cell_of_a_run_s_table_means_anything_to_markdown(record: Record) -> None:
    """A record from elsewhere may hold any text in any of them."""
    evil = "x|y <b> [a](https://evil.invalid) `z`\n| more | rows |"
    record.content.update(level=evil, key=evil, digests={"run": evil}, provenance={"git": {"commit": evil}}, seeds={"master": evil, evil: 1},
                          metrics={evil: 0.5}, status="failed", error=None)  # fmt: skip
    note = descriptions.of_run(record, "0" * 32)
    table = [line for line in note.splitlines() if line.startswith("|")]
    assert [line.count("|") for line in table] == [3] * 9
    assert all(mark not in note for mark in ("<b>", "[a]", "`z`", "| more"))


# --- once ---------------------------------------------------------------------------------------------------------


def test_pushing_twice_changes_nothing(record: Record, uri: str) -> None:
    tables = ("metrics", "latest_metrics", "params", "tags", "runs", "inputs", "datasets", "logged_models")
    first = tracking.push(record, uri, "seedbed")
    before = {table: rows(uri, table) for table in tables}
    assert len(before["runs"]) == len(before["logged_models"]) == 1
    assert len(before["metrics"]) == EPOCHS * 4 + len(record.metrics)

    assert tracking.push(record, uri, "seedbed") == first
    (record.path / "tracking.json").unlink()  # as on another machine, or after a crash before it was written
    assert tracking.push(record, uri, "seedbed") == first
    assert {table: rows(uri, table) for table in tables} == before


def test_a_run_that_grows_has_each_epoch_once(record: Record, uri: str) -> None:
    final = dict(record.content)
    whole = grown(record, 0)
    for row in whole:
        run_id = tracking.push(record, uri, "seedbed")
        assert client(uri).get_run(run_id).info.status == "RUNNING"
        record.append_epoch(row["epoch"], row["metrics"])
    record.update(**final)
    assert not notes.is_complete(record, uri)
    assert tracking.push(record, uri, "seedbed") == run_id
    assert notes.is_complete(record, uri)
    assert steps(uri, run_id, "loss") == list(range(EPOCHS))
    assert len(runs_of(uri)) == 1


def test_a_killed_run_that_goes_on_has_each_epoch_once(record: Record, uri: str) -> None:
    """Killed after epoch 3 of 4, with a checkpoint after epoch 1: epochs 2 and 3 are trained twice, with the same values."""
    final = dict(record.content)
    whole = grown(record, 3)
    run_id = tracking.push(record, uri, "seedbed")
    tracking.push(record, uri, "seedbed", gone=True)
    assert client(uri).get_run(run_id).info.status == "KILLED"

    record.update(status=RUNNING)  # the next start: known to be running first, then from where
    tracking.push(record, uri, "seedbed")
    assert client(uri).get_run(run_id).info.status == "RUNNING"
    record.keep_epochs(1)
    record.update(resumed=[1])
    for row in whole[1:]:
        time.sleep(0.002)  # another time stamp than the first time
        record.append_epoch(row["epoch"], row["metrics"])
        tracking.push(record, uri, "seedbed")
    record.update(**final, resumed=[1])
    assert tracking.push(record, uri, "seedbed") == run_id
    assert client(uri).get_run(run_id).info.status == "FINISHED"
    assert steps(uri, run_id, "loss") == list(range(EPOCHS))


def test_a_crash_right_after_the_run_was_made_loses_no_params(record: Record, uri: str, tmp_path: Path) -> None:
    """The server died between `create_run` and the rest: the run is found by its tag, and gets what it lacks."""
    mlflow = client(uri)
    experiment_id = mlflow.create_experiment("seedbed", artifact_location=(tmp_path / "artifacts").as_uri())
    made = mlflow.create_run(experiment_id, tags={"seedbed.record": record.id, "seedbed.key": record.key})
    assert tracking.push(record, uri, "seedbed") == made.info.run_id
    run = mlflow.get_run(made.info.run_id)
    assert run.data.params["seeds.init"] == str(record.seeds["init"])
    assert len(run.inputs.dataset_inputs) == 1


def test_a_crash_while_the_model_is_sent_leaves_one_model(record: Record, uri: str) -> None:
    in_the_way = Path(uri.removeprefix("sqlite:///")).with_name("artifacts") / "models"
    in_the_way.parent.mkdir()
    in_the_way.touch()  # a file where the folder of models should be: the upload fails
    with pytest.raises(Exception, match=r"models|directory|File"):
        tracking.push(record, uri, "seedbed")
    assert not notes.is_complete(record, uri)
    in_the_way.unlink()
    tracking.push(record, uri, "seedbed")
    found = client(uri).search_logged_models([client(uri).get_experiment_by_name("seedbed").experiment_id])
    assert [model.status for model in found] == ["READY"]


def test_an_old_reading_of_a_record_takes_nothing_back(record: Record, uri: str) -> None:
    """`seedbed sync` lists records first and sends them one by one: by then, a run may have finished."""
    final = dict(record.content)
    whole = grown(record, 2)
    old = Record.read(record.path)
    for row in whole[2:]:
        record.append_epoch(row["epoch"], row["metrics"])
    record.update(**final)
    run_id = tracking.push(record, uri, "seedbed")
    for gone in (False, True):
        tracking.push(old, uri, "seedbed", gone=gone)
        assert client(uri).get_run(run_id).info.status == "FINISHED"
        assert notes.is_complete(Record.read(record.path), uri)


def test_a_note_about_a_former_record_is_not_believed(record: Record, uri: str) -> None:
    """A failed run is trained again in the same folder, while what followed the first one still writes its note there."""
    first = tracking.push(record, uri, "seedbed")
    record.update(id="0" * 32)
    assert not notes.is_complete(record, uri)
    assert tracking.push(record, uri, "seedbed") != first


# --- how runs end -------------------------------------------------------------------------------------------------


def test_a_failed_run_is_failed_in_mlflow(config: Callable[..., Any], uri: str) -> None:
    record = training.run(
        config("data=digits", "model.activation=relu", "optimizer=sgd", "optimizer.learning_rate=1e30", "training.epochs=3")
    )
    assert record.status == "failed"
    run = client(uri).get_run(tracking.push(record, uri, "seedbed"))
    assert run.info.status == "FAILED"
    assert "learning rate" in run.data.tags["seedbed.error"]
    assert steps(uri, run.info.run_id, "loss") == list(range(len(record.history())))
    assert notes.is_complete(record, uri)


@pytest.mark.integration
def test_an_interrupted_run_that_goes_on_is_one_run(
    config: Callable[..., Any], plugin: Callable[..., Path], uri: str, tmp_path: Path
) -> None:
    plugin(
        "stopper",
        """
        import os, pathlib, signal
        import keras

        class Stop(keras.callbacks.Callback):
            def __init__(self, once):
                super().__init__()
                self.once = once

            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 2 and not pathlib.Path(self.once).exists():
                    pathlib.Path(self.once).touch()
                    os.kill(os.getpid(), signal.SIGTERM)
        """,
    )
    words = (
        "data=digits",
        "training.epochs=5",
        "+training.callbacks.stop._target_=stopper.Stop",
        f"+training.callbacks.stop.once={tmp_path}/once",
    )
    stopped = training.run(config(*words))
    assert stopped.status == "interrupted"
    run_id = tracking.push(stopped, uri, "seedbed")
    run = client(uri).get_run(run_id)
    assert run.info.status == "KILLED"
    assert "SIGTERM" in run.data.tags["seedbed.error"]

    finished = training.run(config(*words))
    assert (finished.status, finished.resumed_at) == ("finished", 3)
    assert tracking.push(finished, uri, "seedbed") == run_id
    run = client(uri).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["seedbed.status"] == "finished"
    assert "seedbed.error" not in run.data.tags
    assert steps(uri, run_id, "loss") == list(range(5))


def test_names_that_mlflow_refuses_are_written_otherwise(record: Record, uri: str) -> None:
    """Keras calls a metric after its function (`<lambda>`), and a config's keys are the user's own words."""
    record.update(metrics={"test_<lambda>": 0.5})
    record.keep_epochs(0)
    record.append_epoch(0, {"loss": 1.0, "<lambda>": 0.5})
    (record.path / "config.yaml").write_text((record.path / "config.yaml").read_text() + "\nextra:\n  size (cm²): 3\n")
    run = client(uri).get_run(tracking.push(record, uri, "seedbed"))
    assert sorted(value for name, value in run.data.metrics.items() if "lambda" in name) == [0.5, 0.5]
    assert [value for name, value in run.data.params.items() if "cm" in name] == ["3"]


# --- following ----------------------------------------------------------------------------------------------------


class Following:
    """`tracking.follow` in a thread, with the pipe that a trainer would hold."""

    def __init__(self, uri: str) -> None:
        read, write = os.pipe()
        self.pipe = os.fdopen(write, "w")
        self.lines = os.fdopen(read)
        self.raised: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(uri,), daemon=True)
        self.thread.start()

    def _run(self, uri: str) -> None:
        try:
            tracking.follow(self.lines, uri, "seedbed", every=0.2)
        except BaseException as error:
            self.raised = error

    def tell(self, record: Record) -> None:
        self.pipe.write(f"{json.dumps(str(record.path))}\n")
        self.pipe.flush()

    def end(self, timeout: float = 60) -> None:
        self.pipe.close()
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "follow does not end when its trainer is gone"
        assert self.raised is None, self.raised


def until(holds: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_follow_sends_epochs_as_they_happen(record: Record, uri: str) -> None:
    final = dict(record.content)
    whole = grown(record, 1)
    following = Following(uri)
    following.tell(record)
    until(lambda: notes.state(record, uri).get("epochs") == 1)
    record.append_epoch(1, whole[1]["metrics"])
    until(lambda: notes.state(record, uri).get("epochs") == 2)
    (run,) = runs_of(uri)
    assert run.info.status == "RUNNING"
    assert steps(uri, run.info.run_id, "loss") == [0, 1]
    for row in whole[2:]:
        record.append_epoch(row["epoch"], row["metrics"])
    record.update(**final)
    following.end()
    assert notes.is_complete(record, uri)
    assert steps(uri, run.info.run_id, "loss") == list(range(EPOCHS))


def test_follow_says_so_when_its_trainer_was_killed(record: Record, uri: str) -> None:
    grown(record, 2)
    following = Following(uri)
    following.tell(record)
    until(lambda: notes.state(record, uri).get("epochs") == 2)
    following.end()
    (run,) = runs_of(uri)
    assert run.info.status == "KILLED"

    # nobody trains it now either: `sync` doesn't bring it back to life, and is harmless any number of times
    for _ in range(2):
        assert cli.main(["sync", "--uri", uri, "--runs", str(record.path.parent)]) == 0
        (run,) = runs_of(uri)
        assert run.info.status == "KILLED"
        assert steps(uri, run.info.run_id, "loss") == [0, 1]


def test_follow_without_a_run_just_ends(uri: str) -> None:
    Following(uri).end()
    assert runs_of(uri) == []


def test_a_store_that_cannot_be_opened_is_noted(record: Record, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and longer than a header of a hundred bytes would be: " + "x" * 200)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    following = Following(uri)
    following.tell(record)
    following.end()
    assert "not a database" in notes.state(record, uri)["error"]
    assert not notes.is_complete(record, uri)


# --- secrets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////a b/mlflow.db", "sqlite:////a b/mlflow.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://me:word@host.example:5000/x", "https://…@host.example:5000/x"),
        ("https://token@host.example", "https://…@host.example"),
        ("postgresql://host.example/db?user=me&password=word", "postgresql://host.example/db"),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str, shown: str) -> None:
    assert notes.address(uri) == shown


def test_no_password_is_written_or_printed(record: Record, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing listens there, and MLflow's message about that quotes the whole address."""
    uri = "http://someone:open-sesame@127.0.0.1:9"
    following = Following(uri)
    following.tell(record)
    following.end()
    assert notes.state(record, uri)["error"]
    assert cli.main(["sync", "--uri", uri, "--runs", str(record.path.parent)]) == 1
    printed = capfd.readouterr()
    assert "was not taken" in printed.err
    everywhere = [printed.out, printed.err, *(file.read_text(errors="replace") for file in record.path.rglob("*") if file.is_file())]
    assert not [text for text in everywhere if "open-sesame" in text]


def test_two_accounts_at_one_server_are_two_stores(record: Record) -> None:
    kept = {}
    for account in ("a:1", "b:2"):
        uri = f"http://{account}@127.0.0.1:9"
        notes.note(record, uri, run_id=account)
        kept[account] = notes.state(record, uri)["run_id"]
    assert kept == {"a:1": "a:1", "b:2": "b:2"}
    assert len(json.loads((record.path / "tracking.json").read_text())) == 2


# --- sync ---------------------------------------------------------------------------------------------------------


def synced(uri: str, runs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = cli.main(["sync", "--uri", uri, "--runs", str(runs), "--json", *words])
    return status, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_sync_sends_what_is_missing_and_then_nothing(record: Record, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = synced(uri, record.path.parent, capsys)
    assert (status, said) == (0, {"records": 1, "sent": [record.key], "failed": {}, "damaged": {}, "not_asked": {}, "surplus": {}})
    before = rows(uri, "metrics")
    assert synced(uri, record.path.parent, capsys) == (
        0,
        {"records": 1, "sent": [], "failed": {}, "damaged": {}, "not_asked": {}, "surplus": {}},
    )
    assert rows(uri, "metrics") == before


def test_sync_sends_the_named_records_alone(record: Record, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert synced(uri, record.path.parent, capsys, record.key[:10])[1]["sent"] == [record.key]
    assert cli.main(["sync", "--uri", uri, "--runs", str(record.path.parent), "0123456789"]) == 2


def test_a_study_in_another_folder_goes_to_the_store_beside_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tracking=local keeps its store under `runs`, and another folder of runs has one of its own."""
    asked: list[str] = []
    monkeypatch.setattr("seedbed.tracking.send_studies", lambda runs, uri, experiment: asked.append(uri) or {})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert cli.main(["sync", "--runs", str(tmp_path)]) == 0
    assert asked == [f"sqlite:///{tmp_path}/mlflow/mlflow.db"]


def test_sync_goes_on_after_a_record_that_can_not_be_sent(record: Record, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One damaged record is its own trouble: the server answers, so the others are sent."""
    damaged = record.path.with_name("0" * 64)
    shutil.copytree(record.path, damaged)
    first = Record.read(damaged)
    first.update(id="0" * 32, key="0" * 64, timing={**first.timing, "started": first.timing["started"] - 1})
    (damaged / "config.yaml").unlink()
    status, said = synced(uri, record.path.parent, capsys)
    assert status == 1
    assert said["sent"] == [record.key]
    assert list(said["damaged"]) == ["0" * 64]


def test_sync_sends_again_what_the_store_has_lost(record: Record, uri: str, empty_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracking.push(record, uri, "seedbed")
    other = record.path.parents[1] / "other" / "mlflow.db"
    other.parent.mkdir()
    shutil.copy(empty_store, other)
    # the same address, another store behind it; a fresh file name, as MLflow keeps a connection open in this process
    states = (record.path / "tracking.json").read_text()
    (record.path / "tracking.json").write_text(states.replace(uri, f"sqlite:///{other}"))
    status, said = synced(f"sqlite:///{other}", record.path.parent, capsys)
    assert (status, said["sent"]) == (0, [record.key])
    assert len(runs_of(f"sqlite:///{other}")) == 1


def test_status_words_cover_every_status() -> None:
    """A status that MLflow doesn't know would stop a push at its last line."""
    from mlflow.entities import RunStatus

    records = importlib.import_module("seedbed.run.record")
    statuses = {getattr(records, name) for name in ("RUNNING", "FINISHED", "FAILED", "INTERRUPTED")}
    assert set(tracking.STATUS) == statuses
    assert {RunStatus.from_string(word) for word in tracking.STATUS.values()}
    assert tracking.STATUS[FINISHED] == "FINISHED"
    assert Counter(tracking.STATUS.values())["FINISHED"] == 1


def test_the_places_that_a_record_was_to_be_sent_to(record: Record) -> None:
    usual, server = "sqlite:////x/mlflow.db", "http://127.0.0.1:9"
    assert notes.places(record, [usual, server]) == ([usual], [])  # nothing is known
    notes.note(record, server, error="refused")
    assert notes.places(record, [usual, server]) == ([server], [])
    assert notes.places(record, [usual]) == ([], [server])  # nobody but the record names it
    secret = "http://me:secret@127.0.0.1:9"
    notes.note(record, secret, error="refused")  # kept without its password
    assert notes.places(record, [usual]) == ([], [server, "http://…@127.0.0.1:9"])
    assert notes.places(record, [secret]) == ([secret], [server])
    notes.note(record, server, status=record.status)  # all of it is there: nobody has to be asked
    assert notes.places(record, [usual, secret]) == ([secret], [])


def test_results_have_their_columns_between_the_master_seed_and_the_seeds_that_follow_from_it() -> None:
    """A browser draws the first five or six columns only; a study may vary any stream."""
    master, init, first, second = "params.`seeds.master`", "params.`seeds.init`", "metrics.`loss`", "metrics.`accuracy`"
    assert views.columns(["master", "init"], ["loss"]) == [master, first, init]
    assert views.in_order([master, first, init, second]) == [master, first, second, init]
    assert views.columns(["numpy"], ["loss"]) == [first, "params.`seeds.numpy`"]
    assert len(views.columns(["master"], map(str, range(100)))) == views.MOST
