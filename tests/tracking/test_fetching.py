"""A damaged record brought back from MLflow: a real store in SQLite, and real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run import records
from tracking import made

from seedbed import cli, tracking
from seedbed.run.record import Record

CONFIG = """
{name: made, seeds: {master: 1}, data: {name: made, source: {_target_: example.data.digits}}, training: {epochs: 3},
 determinism: {level: strict, environment: {}, threads: {}}, tracking: {experiment: mine}}
"""


@pytest.fixture
def sent(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """A record that is in the store which `fsck` looks into by itself: the one beside the records."""
    for name in ("MLFLOW_TRACKING_URI", "SEEDBED_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    runs = tmp_path / "runs"
    record = records.made(runs, config=CONFIG)
    (runs / "mlflow").mkdir()
    (runs / "mlflow" / "mlflow.db").write_bytes(empty_store.read_bytes())
    tracking.push(record, f"sqlite:///{runs}/mlflow/mlflow.db", "mine")
    return record


@pytest.mark.parametrize("name", ["history.jsonl", "record.json"])
def test_a_damaged_record_is_put_aside_and_fetched(name: str, sent: Record, capsys: pytest.CaptureFixture[str]) -> None:
    runs, path = sent.path.parent, sent.path / name
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"0.5", b"0.7"))
    assert cli.main(["fsck", "--runs", str(runs), "--json"]) == 1
    (state,) = json.loads(capsys.readouterr().out)["records"]
    assert any("fsck --fetch" in command for command in state["next"])
    assert cli.main(["fsck", "--runs", str(runs), "--fetch", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    (state,) = said["records"]
    assert state["state"] == "whole"
    assert said["put_aside"] == [str(runs / "damaged" / sent.key)]
    found = Record.read(runs / sent.key)
    assert found.damage(whole=True) == []
    assert found.history() == records.HISTORY
    assert found.metrics["test_loss"] == 0.5
    assert found.content["fetched"]["run_id"]
    assert (runs / "damaged" / sent.key / name).read_bytes() != whole
    assert len(made.runs_of(f"sqlite:///{runs}/mlflow/mlflow.db", "mine")) == 1


def test_a_copy_that_was_changed_there_is_not_brought(sent: Record, capsys: pytest.CaptureFixture[str]) -> None:
    runs = sent.path.parent
    (copy,) = runs.glob("mlflow/**/artifacts/record/history.jsonl")
    for path in (copy, sent.path / "history.jsonl"):
        path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75"))
    before = sorted(sent.path.iterdir())
    assert cli.main(["fsck", "--runs", str(runs), "--fetch", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    (state,) = said["records"]
    assert state["state"] == "damaged"
    assert any("MLflow's copy was not fetched" in why for why in state["why"])
    assert said["put_aside"] == []
    assert sorted(sent.path.iterdir()) == before
    assert not list(runs.glob(".fetch-*"))
