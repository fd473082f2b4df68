"""A study in MLflow: one parent whatever is asked for, its runs nested, the report brought up to date."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration


def test_one_parent_for_all_that_is_asked_of_a_study(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/store/mlflow.db"
    words = ["training.epochs=3", f"tracking.uri='{uri}'", "--json"]
    alone = seedbed("train", *words, "seeds.master=2", "tracking=local")
    assert alone.status == 0, alone.err
    few = seedbed("repeat", *words, "study.n=3", "tracking=local")
    assert (few.status, few.json["trained"]) == (0, 2), few.err
    more = seedbed("repeat", *words, "study.n=5", "study.track_models=true", "tracking=local")
    assert (more.status, more.json["trained"]) == (0, 2), more.err
    assert "MLflow has not taken" not in few.err + more.err
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("seedbed").experiment_id])
    (parent,) = [run for run in runs if "seedbed.parent_of" in run.data.tags]
    nested = {run.data.params["seeds.master"]: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert sorted(nested) == ["1", "2", "3", "4", "5"]
    assert len(runs) == 6
    assert nested["2"].info.run_id == alone.json["mlflow_run_id"]  # trained before the study had it, and not sent again
    assert parent.data.tags["seedbed.finished"] == "5 of 5"
    assert parent.data.metrics["train_loss.n"] == 5
    assert parent.data.metrics["train_loss.mean"] == more.json["metrics"]["train_loss"]["mean"]
    assert more.json["sentence"] in parent.data.tags["mlflow.note.content"]
    # what a person reads: names by seed (that of the run that was there before, too), a description that leads to all else
    assert {run.info.run_name for run in nested.values()} == {f"seed {seed}" for seed in range(1, 6)}
    assert parent.info.run_name == "sequence · 5 seeds: training.epochs=3"
    note, id = parent.data.tags["mlflow.note.content"], parent.info.run_id
    assert 'make repeat ARGS="training.epochs=3 study.n=5 study.track_models=true"' in note
    assert uri not in note + parent.data.tags["seedbed.overrides"]
    view = parent.data.tags["seedbed.parent_of"][:12]
    assert f"(#/experiments/{parent.info.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={view})" in note
    assert f"/runs/{id}/artifacts/report.html?" in note
    assert f"![Results over seeds](get-artifact?path=description/distribution.png&run_uuid={id})" in note
    assert "| metric | train_loss |" in note
    files = {item.path for item in [*client.list_artifacts(id), *client.list_artifacts(id, "description")]}
    assert files >= {"report.html", "distribution.png", "description/distribution.png", "description/learning_curves.png"}
    state = json.loads(client.get_experiment(parent.info.experiment_id).tags[f"mlflow.sharedViewState.{view}"])
    assert state["selectedColumns"][:2] == ["metrics.`train_loss`", "params.`seeds.master`"]
    assert state["searchFilter"] == f"tags.mlflow.parentRunId = '{id}'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`train_loss`", True)  # the best first
    # what is sent of a nested run: everything but the picture, and the model if it is asked for
    for master, files in (("1", set()), ("4", set())):
        found = {Path(item.path).name for item in client.list_artifacts(nested[master].info.run_id, "record")}
        assert found >= {"record.json", "config.yaml", "history.jsonl"} | files
        assert "learning_curves.png" not in found
        point = client.get_metric_history(nested[master].info.run_id, "loss")
        assert [one.step for one in point] == [0, 1, 2]
    assert not nested["1"].outputs.model_outputs
    assert nested["4"].outputs.model_outputs


@pytest.mark.slow
def test_a_comparison_and_its_studies(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/store/mlflow.db"
    words = ["model.hidden=[3]", "model.hidden=[4]", "--", "training.epochs=3", "study.n=6", "tracking=local", f"tracking.uri='{uri}'"]
    done = seedbed("compare", *words, "--json")
    assert done.status == 0, done.err
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("seedbed").experiment_id])
    parents = {run.info.run_name: run for run in runs if "seedbed.parent_of" in run.data.tags}
    assert len(parents) == 3
    (name,) = [name for name in parents if name.startswith("compare")]
    assert parents[name].data.tags["seedbed.sentence"] == done.json["sentence"]
    assert {item.path for item in client.list_artifacts(parents[name].info.run_id)} >= {"differences.png", "pairs.csv"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 3 + 12
    # the two studies are nested in the comparison, and each run says which it belongs to
    whole = parents.pop(name)
    assert name == "compare model.hidden=[3] / model.hidden=[4] · 6 seeds"
    for part in parents.values():
        assert part.data.tags["mlflow.parentRunId"] == whole.info.run_id
        assert f"/runs/{part.info.run_id}?" in whole.data.tags["mlflow.note.content"]
    names = {
        run.info.run_name for run in runs if run.data.tags.get("mlflow.parentRunId") in {part.info.run_id for part in parents.values()}
    }
    assert names == {f"model.hidden=[{size}] · seed {seed}" for size in (3, 4) for seed in range(1, 7)}
    assert "differences.png" in whole.data.tags["mlflow.note.content"]
    assert "report.html" in {item.path for item in client.list_artifacts(whole.info.run_id)}
    # sent to another store later, all of it is the same
    for study in (tmp_path / "runs" / "studies").glob("*/report.html"):
        study.unlink()
    other = f"sqlite:///{tmp_path}/other/mlflow.db"
    assert seedbed("sync", "--uri", other, "--runs", str(tmp_path / "runs")).status == 0
    again = MlflowClient(other)
    found = again.search_runs([again.get_experiment_by_name("seedbed").experiment_id])
    assert sorted(run.info.run_name for run in found) == sorted(run.info.run_name for run in runs)
    (whole,) = [run for run in found if run.info.run_name == name]
    assert "report.html" in {item.path for item in again.list_artifacts(whole.info.run_id)}


def test_where_nobody_knows_which_result_is_better_the_first_seed_comes_first(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/store/mlflow.db"
    metric = "data.metrics=[{_target_: keras.metrics.MeanAbsoluteError, name: oddness}]"
    words = ["training.epochs=1", metric, "study.metric=train_oddness", "study.n=2", "tracking=local", f"tracking.uri='{uri}'"]
    assert seedbed("repeat", *words).status == 0
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("seedbed")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`seedbed.finished` = '2 of 2'")
    state = json.loads(experiment.tags[f"mlflow.sharedViewState.{parent.data.tags['seedbed.parent_of'][:12]}"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("params.`seeds.master`", True)
    assert "metrics.`train_oddness`" in state["selectedColumns"]
