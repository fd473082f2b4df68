"""A damaged record brought back from MLflow: a real store in SQLite, and real files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from run import records
from tracking import made

from seedbed import cli, tracking
from seedbed.run import config as configs
from seedbed.run.record import Record
from seedbed.tracking import fetching

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
    assert not list(runs.glob(".*fetch-*"))


def damaged_and_fetched(path: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (path / "history.jsonl").write_bytes((path / "history.jsonl").read_bytes().replace(b"0.5", b"0.7"))
    capsys.readouterr()
    cli.main(["fsck", *words, "--fetch", "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_record_elsewhere_is_fetched_into_its_own_folder_of_records(
    sent: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "others").mkdir()
    said = damaged_and_fetched(sent.path, str(sent.path), "--runs", str(tmp_path / "others"), capsys=capsys)
    assert [state["state"] for state in said["records"]] == ["whole"]
    assert said["put_aside"] == [str(sent.path.parent / "damaged" / sent.key)]
    assert list((tmp_path / "others").iterdir()) == []


def test_a_record_of_a_run_that_was_trained_again_is_fetched(sent: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records.made(tmp_path / "other", config=CONFIG).path.rename(sent.path / "again")
    again = Record.read(sent.path / "again")
    tracking.push(again, f"sqlite:///{sent.path.parent}/mlflow/mlflow.db", "mine")
    said = damaged_and_fetched(again.path, "--runs", str(sent.path.parent), capsys=capsys)
    assert [state["state"] for state in said["records"]] == ["whole", "whole"]
    assert said["put_aside"] == [str(sent.path.parent / "damaged" / f"{sent.key}-again")]
    assert Record.read(again.path).id == again.id != sent.id


def test_a_folder_that_no_key_names_is_left_with_a_word_on_where_it_belongs(
    sent: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = sent.path.rename(tmp_path / "kept")
    (state,) = damaged_and_fetched(kept, str(kept), capsys=capsys)["records"]
    assert (state["state"], [why for why in state["why"] if "RUNS/KEY/again" in why]) == ("damaged", state["why"][-1:])
    assert kept.is_dir()


def test_a_copy_is_fetched_from_a_server_that_the_project_names(
    tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "SEEDBED_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    record = records.made(tmp_path / "runs", config=CONFIG)
    tracking.push(record, uri, "mine")
    monkeypatch.setattr(configs, "trackers", lambda runs: [uri])
    (state,) = damaged_and_fetched(record.path, "--runs", str(record.path.parent), capsys=capsys)["records"]
    assert state["state"] == "whole"


def test_two_machines_that_sync_change_nothing_of_a_record_that_one_has_from_the_other(
    tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The copy's record.json says that it was fetched; MLflow keeps its origin's, also where the copy's note is lost."""
    first = records.made(tmp_path / "first", config=CONFIG)
    tracking.push(first, uri, "mine")
    study = tmp_path / "second" / "studies" / "one"
    study.mkdir(parents=True)
    (study / "study.json").write_text(json.dumps({"study": str(first.content.get("study")), "vary": "init"}))
    assert fetching.fetch(study, [], uri, "mine") == [first.key]
    copy = Record.read(tmp_path / "second" / first.key)
    assert copy.content["fetched"]
    whole = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file() and path.name != "mlflow.db"}
    for _ in range(2):
        for record in (copy, first):
            assert made.synced(uri, record.path.parent, capsys)[1]["sent"] == []
    (copy.path / "tracking.json").unlink()
    assert made.synced(uri, copy.path.parent, capsys)[1]["sent"] == [first.key]  # whatever is missing there: nothing
    assert made.synced(uri, first.path.parent, capsys)[1]["sent"] == []
    assert {path: path.read_bytes() for path in whole} == whole
    assert len(made.runs_of(uri, "mine")) == 1


def test_a_copy_is_replaced_by_its_origin_s_where_it_was_first(tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At another store than the one that it was fetched from, too, two machines come to rest."""
    first = records.made(tmp_path / "first", config=CONFIG)
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    copy = Record.read(tmp_path / "second" / first.key)
    copy.update(fetched={"from": "http://elsewhere.invalid", "run_id": "0" * 32})
    sent = [made.synced(uri, record.path.parent, capsys, "--experiment", "mine")[1]["sent"] for record in (copy, first, copy, first, copy)]
    assert sent == [[first.key], [first.key], [], [], []]
    (there,) = (tmp_path / "store").rglob("record/record.json")
    assert there.read_bytes() == (first.path / "record.json").read_bytes()
