"""Names that MLflow doesn't take, and experiments that it doesn't have any more."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tracking.made import client, runs_of, synced

from seedbed import tracking
from seedbed.run.record import Record
from seedbed.tracking import names

# --- names --------------------------------------------------------------------------------------------------------

PAIRS = [("hits@1", "hits_1"), ("a" * 251, "a" * 252), ("a" * 250, "a" * 251), ("<lambda>", "_lambda_"), ("a//b", "a/b"), ("a/../b", "b"), ("x\n", "x"),
         ("..", "__"), ("/a", "_a"), (".", "_"), ("é", "e\u0301"), ("", "_"), ("hits@1", names.allowed("hits@1")), ("a\udc80", "a\ufffd")]  # fmt: skip


def test_two_names_never_become_one() -> None:
    for pair in PAIRS:
        assert len({names.allowed(name) for name in pair}) == 2, pair
    everything = {name for pair in PAIRS for name in pair}
    assert len({names.allowed(name) for name in everything}) == len(everything)
    for name in ("loss", "val_loss", "hits_1", "top-5 accuracy", "a/b:c", "é", "a" * 250):
        assert names.allowed(name) == name
    for tag in names.tags(everything):
        assert len(tag) <= names.LONGEST


def test_every_name_arrives_with_its_own_history_and_the_way_back(record: Record, uri: str) -> None:
    meant = [name for pair in PAIRS for name in pair if "\udc80" not in name]
    meant = sorted(set(meant))
    record.keep_epochs(0)
    for epoch in range(2):
        record.append_epoch(epoch, {name: float(100 * number + epoch) for number, name in enumerate(meant)})
    record.update(metrics={f"test_{name}": float(number) for number, name in enumerate(meant)})
    run = client(uri).get_run(tracking.push(record, uri, "seedbed"))
    back = {name: run.data.tags.get(names.TAG + name, name) for name in run.data.metrics}
    for number, name in enumerate(meant):
        (mlflows,) = [one for one, meaning in back.items() if meaning == name]
        points = client(uri).get_metric_history(run.info.run_id, mlflows)
        assert [point.value for point in points] == [100 * number, 100 * number + 1]
        (mlflows,) = [one for one, meaning in back.items() if meaning == f"test_{name}"]
        assert run.data.metrics[mlflows] == number


def test_every_parameter_arrives(record: Record, uri: str) -> None:
    """A key may hold a dot, and be called as seedbed calls one of its own."""
    text = (record.path / "config.yaml").read_text()
    (record.path / "config.yaml").write_text(f"{text}\nextra:\n  a.b: 1\n  a:\n    b: 2\n  x@1: 3\n  x_1: 4\nlevel: mine\n")
    run = client(uri).get_run(tracking.push(record, uri, "seedbed"))
    back = {run.data.tags.get(names.TAG + name, name): value for name, value in run.data.params.items()}
    assert {back["extra.a.b"], back["'extra'.'a'.'b'"]} == {"1", "2"}
    assert (back["extra.x@1"], back["extra.x_1"], back["level"], back["'level'"]) == ("3", "4", "strict", "mine")


# --- an experiment that was deleted -------------------------------------------------------------------------------


def test_a_deleted_experiment_is_named_with_what_to_do(record: Record, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    mlflow = client(uri)
    mlflow.delete_experiment(mlflow.create_experiment("seedbed", artifact_location=(record.path.parents[1] / "artifacts").as_uri()))
    status, said = synced(uri, record.path.parent, capsys)
    assert status == 1
    why = said["failed"][record.key]
    assert why.startswith(f"The experiment 'seedbed' was deleted in MLflow at {uri}. Restore it: `")
    assert "tracking.experiment=NAME" in why
    assert "Nothing is lost" in why
    # the other way, as it says
    assert synced(uri, record.path.parent, capsys, "--experiment", "other")[0] == 0
    assert [run.info.status for run in runs_of(uri, "other")] == ["FINISHED"]
    # and the command that it prints
    command = why.split("`")[1].replace(".venv/bin/mlflow", shlex.quote(str(Path(sys.executable).with_name("mlflow"))))
    subprocess.run(command, shell=True, check=True, capture_output=True)
    (record.path / "tracking.json").unlink()
    assert synced(uri, record.path.parent, capsys)[0] == 0
    assert [run.info.status for run in runs_of(uri)] == ["FINISHED"]
