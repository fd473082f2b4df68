"""What the process that sends could not send is said at the end, once, and its exit status is looked at."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
from tracking.made import client, runs_of

from seedbed import follower, notes, tracking
from seedbed.run.record import Record


def deleted(uri: str, tmp_path: Path) -> None:
    mlflow = client(uri)
    mlflow.delete_experiment(mlflow.create_experiment("seedbed", artifact_location=(tmp_path / "artifacts").as_uri()))


def told(path: Path) -> IO[str]:
    """What a trainer that has ended has told of this record."""
    read, write = os.pipe()
    with os.fdopen(write, "w") as pipe:
        pipe.write(json.dumps(str(path)) + "\n")
    return os.fdopen(read)


@pytest.mark.parametrize("name", ["100%", "a\nb", "%41", "#x?y"])
def test_a_folder_of_any_name_arrives(name: str, record: Record, uri: str, tmp_path: Path) -> None:
    path = tmp_path / name / record.key
    shutil.copytree(record.path, path)
    assert tracking.follow(told(path), uri, "seedbed")
    assert [run.info.status for run in runs_of(uri)] == ["FINISHED"]


def test_what_could_not_be_sent_is_no_success(record: Record, uri: str, tmp_path: Path) -> None:
    deleted(uri, tmp_path)
    assert not tracking.follow(told(record.path), uri, "seedbed")
    assert "was deleted in MLflow" in str(notes.error(record.path, uri))


@pytest.mark.slow
def test_repeat_says_once_what_was_not_sent(uri: str, tmp_path: Path) -> None:
    deleted(uri, tmp_path)
    study = tmp_path / "runs" / "studies" / "one"
    study.mkdir(parents=True)
    content = {"id": "1" * 32, "name": "x", "vary": None, "level": "strict", "overrides": [], "study": "0"}
    (study / "study.json").write_text(json.dumps(content))
    said: list[str] = []
    about = {"study": str(study), "call": "1", "models": False, "masters": [1], "fetch": False, "side": ""}
    settings = SimpleNamespace(uri=uri, experiment="seedbed", wait_seconds=300.0)
    with follower.following_studies(settings, str(tmp_path / "runs"), said.append) as tell:
        tell(about)
    (line,) = said
    assert line.startswith("MLflow has not taken everything: The experiment 'seedbed' was deleted")
