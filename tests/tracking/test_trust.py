"""What a record, or its note, may have `sync` do: nothing that this project doesn't name."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest
from tracking import hostile, made
from tracking.made import client, runs_of, synced

from seedbed import Refused, cli, notes, show, tracking
from seedbed.run import integrity
from seedbed.run.record import Record
from seedbed.study import report
from seedbed.tracking import parents, runs


@pytest.mark.parametrize("text", ["[]", "null", '"x"', "3", '{"x": []}', '{"URI": null}', '{"URI": {"record": 3}}', "{", "\\xff", '{"URI": {"record": "ID", '
                                  '"run_id": [], "epochs": "9", "most": {}, "resumed": null, "status": 3, "parent": 1}}'])  # fmt: skip
def test_a_note_of_another_shape_is_no_note(text: str, record: Record, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    (record.path / "tracking.json").write_text(text.replace("URI", uri).replace("ID", record.id))
    assert show.tracked(record, uri).get("run_id") is None
    assert synced(uri, record.path.parent, capsys) == (
        0,
        {"records": 1, "sent": [record.key], "failed": {}, "damaged": {}, "not_asked": {}, "surplus": {}},
    )
    assert len(runs_of(uri)) == 1


def test_a_note_that_is_no_file_is_no_note(record: Record, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(json.dumps({"x": {"record": record.id, "status": "finished"}}))
    note = record.path / "tracking.json"
    note.symlink_to(tmp_path / "elsewhere")
    assert notes.state(record, "x") == {}
    note.unlink()
    os.mkfifo(note)
    assert notes.state(record, "x") == {}


def test_a_note_about_another_record_s_run_is_not_believed(record: Record, uri: str) -> None:
    """It came with the record; what it says would have a run of somebody else's changed."""
    mlflow = client(uri)
    other = mlflow.create_run(
        mlflow.create_experiment("mine", artifact_location=(record.path.parents[1] / "artifacts").as_uri()),
        tags={"seedbed.record": "1" * 32},
    )
    notes.note(record, uri, run_id=other.info.run_id, epochs=0, status=None)
    assert tracking.push(record, uri, "seedbed") != other.info.run_id
    assert not mlflow.get_run(other.info.run_id).data.metrics


def test_a_record_with_the_id_of_another_one_gets_a_run_of_its_own(record: Record, uri: str, tmp_path: Path) -> None:
    """Its epochs and its end would be written into the other's run, by the id or by a note that came with it."""
    first = tracking.push(record, uri, "seedbed")
    forged = made.record(tmp_path / "runs" / ("b" * 64))
    forged.update(id=record.id)
    (forged.path / "tracking.json").write_bytes((record.path / "tracking.json").read_bytes())
    assert tracking.push(forged, uri, "seedbed") != first
    assert len(runs_of(uri)) == 2


def test_a_record_of_another_folder_s_key_is_not_sent(record: Record, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = record.path.with_name("b" * 64)
    record.path.rename(other)
    status, said = synced(uri, other.parent, capsys)
    assert (status, said["sent"], list(said["damaged"])) == (2, [], [other.name])
    with pytest.raises(Refused, match="of another key"):
        tracking.push(Record.read(other), uri, "seedbed")
    assert runs_of(uri) == []


def test_an_address_that_only_a_record_names_is_not_asked(
    record: Record, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record from elsewhere would have the account's password sent wherever it wants."""
    for name in ("MLFLOW_TRACKING_URI", "SEEDBED_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "someone")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "open-sesame")
    with hostile.serving(hostile.constant({})) as server:
        notes.note(record, server.uri, error="refused")
        assert cli.main(["sync", "--runs", str(record.path.parent)]) == 1
        said = capsys.readouterr().err
        assert not server.asked
        assert f"name {server.uri}, which neither" in said
        (command,) = re.findall(r"If you trust it: (.+)", said)
        assert command == f'make sync ARGS="--uri {server.uri} --runs {record.path.parent}"'
        assert cli.main(["sync", *shlex.split(command.split('"')[1])]) == 1  # it is asked now, and gives no answer of MLflow's
        assert server.asked


@pytest.mark.parametrize(("name", "kind"), [("rows.npz", "link"), ("model.keras", "fifo"), ("weights.npz", "folder")])
def test_what_is_no_plain_file_is_not_sent(name: str, kind: str, record: Record, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    secret = record.path.parents[1] / "id_ed25519"
    secret.write_text("a private key")
    path = record.path / name
    path.unlink(missing_ok=True)
    {"link": lambda: path.symlink_to(secret), "fifo": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    status, said = synced(uri, record.path.parent, capsys)
    assert status == 1
    assert f"{name} is no plain file" in said["failed"][record.key]
    store = secret.parent / "store"
    assert not [file for file in store.rglob("*") if file.is_file() and b"a private key" in file.read_bytes()]


def test_surplus_files_are_not_sent(record: Record, uri: str) -> None:
    (record.path / "id_ed25519").write_text("a private key")
    run_id = tracking.push(record, uri, "seedbed")
    assert "record/id_ed25519" not in {item.path for item in client(uri).list_artifacts(run_id, "record")}


def test_surplus_files_are_named_and_not_sent_even_by_a_name_of_ours(
    record: Record, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {**record.content, "format": 2, "files": integrity.table(record.path)}
    (record.path / "record.json").write_text(json.dumps({**content, "sha256": integrity.own_hash(content)}))
    for name in ("id_ed25519", "weights.npz"):
        (record.path / name).write_text("a private key")
    status, said = synced(uri, record.path.parent, capsys)
    assert (status, said["sent"], said["surplus"]) == (0, [record.key], {record.key: ["id_ed25519", "weights.npz"]})
    assert not [file for file in (tmp_path / "store").rglob("*") if file.is_file() and b"a private key" in file.read_bytes()]


@pytest.mark.parametrize("name", ["record.json", "history.jsonl", "config.yaml"])
@pytest.mark.parametrize("how", ["edited", "missing"])
def test_a_copy_that_was_changed_there_is_sent_again(
    name: str, how: str, record: Record, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synced(uri, record.path.parent, capsys)[1]["sent"] == [record.key]
    assert synced(uri, record.path.parent, capsys)[1]["sent"] == []  # compared, and the same
    (copy,) = record.path.parents[1].glob(f"**/artifacts/record/{name}")
    whole = copy.read_bytes()
    copy.write_bytes(b"#" + whole[1:]) if how == "edited" else copy.unlink()
    assert synced(uri, record.path.parent, capsys)[1]["sent"] == [record.key]
    assert copy.read_bytes() == whole


@pytest.mark.parametrize("name", ["model.keras", "weights.npz"])
@pytest.mark.parametrize("how", ["edited", "missing"])
def test_a_damaged_model_is_sent_again(name: str, how: str, record: Record, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    for kept in ("model.keras", "weights.npz"):
        (record.path / kept).write_bytes(kept.encode() * 9)
    assert synced(uri, record.path.parent, capsys)[1]["sent"] == [record.key]
    assert synced(uri, record.path.parent, capsys)[1]["sent"] == []
    (copy,) = record.path.parents[1].glob(f"**/artifacts/**/{name}")
    whole = copy.read_bytes()
    copy.write_bytes(b"#" + whole[1:]) if how == "edited" else copy.unlink()
    assert synced(uri, record.path.parent, capsys)[1]["sent"] == [record.key]
    assert copy.read_bytes() == whole
    assert synced(uri, record.path.parent, capsys)[1]["sent"] == []
    experiment = client(uri).get_experiment_by_name("seedbed").experiment_id
    assert [model.status for model in client(uri).search_logged_models([experiment])] == ["READY"]


def test_a_model_that_was_deleted_in_mlflow_or_belongs_to_a_study_is_not_missing(
    record: Record, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (record.path / "model.keras").write_bytes(b"a model")
    assert synced(uri, record.path.parent, capsys)[1]["sent"] == [record.key]
    run_id = notes.state(record, uri)["run_id"]
    client(uri).delete_logged_model(client(uri).get_run(run_id).outputs.model_outputs[0].model_id)
    assert synced(uri, record.path.parent, capsys)[1]["sent"] == []
    other = made.record(record.path.parent / ("b" * 64))
    (other.path / "model.keras").write_bytes(b"a model")
    tracking.push(other, uri, "seedbed", nested=runs.Nested(run_id, model=False, name="seed 7"))
    assert synced(uri, record.path.parent, capsys)[1]["sent"] == []


def study_with(runs: Path, *names: str) -> Path:
    """A study's folder with a report, and with these files besides."""
    folder = runs / "studies" / "digits-0123456789ab"
    (folder / "seeds").mkdir(parents=True)
    content = {"id": "5" * 64, "name": "digits", "vary": None, "level": "strict", "overrides": []}
    report = {"sentence": "test_loss 0.5", "finished": 1, "asked": 1, "experiment": "seedbed", "metric": "test_loss", "better": "lower"}
    (folder / "study.json").write_text(json.dumps(content))
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.html").write_text("<p>the page</p>")
    (folder / "summary.md").write_text("| metric | mean |\n|---|---|\n| test_loss | 0.5 |\n")
    (folder / "summary.csv").write_text("metric,mean\ntest_loss,0.5\n")
    for name in names:
        (folder / name).write_text("a private note")
    return folder


def test_surplus_files_of_a_study_are_named_and_not_sent(tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    runs_folder = tmp_path / "runs"
    folder = study_with(runs_folder, "notes.md", "salaries.csv", "me.png")
    status, said = synced(uri, runs_folder, capsys)
    assert (status, said["failed"], said["surplus"]) == (0, {}, {folder.name: ["me.png", "notes.md", "salaries.csv"]})
    (parent,) = runs_of(uri)
    assert {item.path for item in client(uri).list_artifacts(parent.info.run_id)} == {
        "description",
        "report.html",
        "summary.csv",
        "summary.md",
    }
    assert cli.main(["sync", "--uri", uri, "--runs", str(runs_folder)]) == 0
    assert "no study writes them: me.png, notes.md, salaries.csv" in capsys.readouterr().err


def test_a_study_s_file_that_is_no_plain_file_is_not_sent(tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study_with(tmp_path / "runs")
    (tmp_path / "id_ed25519").write_text("a private key")
    (folder / "runs.csv").symlink_to(tmp_path / "id_ed25519")
    status, said = synced(uri, tmp_path / "runs", capsys)
    assert (status, "runs.csv" in said["failed"][folder.name]) == (1, True)
    assert not [file for file in (tmp_path / "store").rglob("*") if file.is_file() and b"a private key" in file.read_bytes()]


def test_mlflow_gets_what_studies_write() -> None:
    source = "".join(file.read_text() for file in Path(report.__file__).parent.glob("*.py"))
    assert {*re.findall(r'/ "(\w+\.(?:md|csv|png))"', source)} == {*parents.REPORT}
