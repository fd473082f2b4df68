"""A run that seedbed tracks starts no second run of MLflow, whichever way the user's code tries; real stores."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seedbed import Refused
from seedbed.run import one_tracked_run, training
from tests.conftest import data_config

MINE = """
import keras, mlflow, mlflow.keras
import numpy as np

def data():
    return np.ones((8, 1), "float32"), np.ones(8, "float32")

class Logs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        mlflow.log_metric("mine", 1.0, step=epoch)

class Clients(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        mlflow.MlflowClient().create_run("0")

class Continues(keras.callbacks.Callback):
    def __init__(self, run_id):
        super().__init__()
        self.run_id = run_id
    def on_train_begin(self, logs=None):
        with mlflow.start_run(run_id=self.run_id):
            mlflow.log_metric("mine", 1.0)

def everything():
    mlflow.autolog(silent=True)
    return data()
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: Callable[..., Path]) -> Iterator[str]:
    import mlflow

    plugin("mine", MINE)
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/own.db"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.end_run()
    mlflow.set_tracking_uri(before)


def runs_of(uri: str) -> list[Any]:
    from mlflow import MlflowClient

    return list(MlflowClient(uri).search_runs(["0"]))


def configured(config: Callable[..., Any], tmp_path: Path, callback: dict[str, Any], tracked: bool = True) -> Any:
    made = config("training.epochs=1")
    made.tracking.uri = f"sqlite:///{tmp_path}/mlflow.db" if tracked else None
    made.data.source = {"_target_": "mine.data"}
    made.data.loss = "mean_squared_error"
    made.training.callbacks = {"mine": callback}
    return made


@pytest.mark.parametrize("way", ["Logs", "Clients"])
def test_a_second_run_is_refused_with_the_line_that_starts_it(way: str, store: str, config: Callable[..., Any], tmp_path: Path) -> None:
    said = configured(config, tmp_path, {"_target_": f"mine.{way}"})
    with pytest.raises(Refused, match=r"starts a run of MLflow by itself \(.*mine\.py:\d+\)\. seedbed keeps one run") as refused:
        training.run(said)
    assert "tracking=none" in str(refused.value)
    assert runs_of(store) == []
    assert not (tmp_path / "mlruns").exists()


def test_the_callback_of_mlflow_starts_no_run(store: str, config: Callable[..., Any], tmp_path: Path) -> None:
    """MLflow turns what goes wrong in its own callback into a warning: the training goes on."""
    assert training.run(configured(config, tmp_path, {"_target_": "mlflow.keras.MlflowCallback"})).status == "finished"
    assert runs_of(store) == []
    assert not (tmp_path / "mlruns").exists()


def test_a_run_that_is_there_already_may_be_logged_to(store: str, config: Callable[..., Any], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    run = MlflowClient(store).create_run("0")
    found = training.run(configured(config, tmp_path, {"_target_": "mine.Continues", "run_id": run.info.run_id}))
    assert found.status == "finished"
    (one,) = runs_of(store)
    assert one.data.metrics == {"mine": 1.0}


def test_who_tracks_by_himself_may(store: str, config: Callable[..., Any], tmp_path: Path) -> None:
    assert training.run(configured(config, tmp_path, {"_target_": "mine.Logs"}, tracked=False)).status == "finished"
    assert len(runs_of(store)) == 1


def test_mlflow_is_closed_when_it_is_imported_later_and_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, one_tracked_run.MODULE)
    with one_tracked_run.of_mlflow(True):
        from mlflow.tracking._tracking_service.client import TrackingServiceClient

        with pytest.raises(Refused):
            TrackingServiceClient("sqlite://").create_run("0")
    assert TrackingServiceClient.create_run is not one_tracked_run._refusing


@pytest.mark.integration
def test_autolog_starts_no_second_run_and_the_training_goes_on(
    seedbed: Callable[..., Any], plugin: Callable[..., Path], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    folder = plugin("mine", MINE)
    words = data_config(folder, "mine.everything")
    done = seedbed("train", *words, "training.epochs=1", "tracking=local", "tracking.wait_seconds=240", "--json",
                   env={"PYTHONPATH": str(folder)}, start=True)  # fmt: skip
    assert done.status == 0, done.err
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow/mlflow.db")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert [run.info.run_id for run in runs] == [done.json["mlflow_run_id"]]
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.integration
def test_workers_start_no_second_run_either(seedbed: Callable[..., Any], plugin: Callable[..., Path], tmp_path: Path) -> None:
    """The user's callbacks run in processes of their own there, one for each replica."""
    folder, theirs = plugin("mine", MINE), f"sqlite:///{tmp_path}/theirs.db"
    assert runs_of(theirs) == []  # a store that is there: two workers would race to make it
    words = data_config(folder, "mine.data")
    done = seedbed("train", *words, "strategy=multi_worker", "training.epochs=1", "training.callbacks.mine={_target_: mine.Logs}",
                   "tracking=local", "tracking.wait_seconds=240",
                   env={"PYTHONPATH": str(folder), "MLFLOW_TRACKING_URI": theirs})  # fmt: skip
    assert done.status == 2, done.err
    assert re.search(r"starts a run of MLflow by itself \(.*mine\.py:\d+\)", done.err)
    assert "Traceback" not in done.err
    assert runs_of(theirs) == []
