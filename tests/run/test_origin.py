"""The mark of records that were made here: what it covers, where its key lies, and what happens where there is none."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seedbed.run import origin
from seedbed.run.record import Record


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def made(folder: Path, diff: str = "a diff") -> Record:
    content = {"key": "0" * 64, "provenance": {"git": {"commit": "1" * 40}}}
    return Record.create(folder / "record", content, "name: a\n", diff)


def doubt(record: Record) -> str | None:
    found = Record.read(record.path)
    return origin.doubt(found.content, found.path)


def test_a_record_made_here_is_known_and_so_is_a_copy(tmp_path: Path) -> None:
    record = made(tmp_path)
    assert doubt(record) is None
    record.update(status="finished", metrics={"loss": 1.0})
    assert doubt(record) is None
    record.path.rename(tmp_path / "moved")
    assert doubt(Record.read(tmp_path / "moved")) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda record: (record.path / "config.yaml").write_text("name: b\n"),
        lambda record: (record.path / "code.diff").write_text("another diff"),
        lambda record: (record.path / "code.diff").unlink(),
        lambda record: record.update(key="2" * 64),
        lambda record: record.update(id="3" * 32),
        lambda record: record.update(provenance={"git": {"commit": "4" * 40}}),
        lambda record: record.update(origin="5" * 64),
        lambda record: record.update(origin="\u00e4"),
        lambda record: record.update(origin=None),
        lambda record: record.update(origin=["6"]),
        lambda record: (record.path / "config.yaml").rename(record.path / "x") and (record.path / "config.yaml").symlink_to("x"),
    ],
)
def test_an_edited_record_counts_as_one_from_elsewhere(tmp_path: Path, change: Callable[[Record], object]) -> None:
    record = made(tmp_path)
    change(record)
    assert doubt(record)


def test_a_record_of_another_user_or_machine_counts_as_one_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = made(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert "no record has been made here" in str(doubt(record))
    made(tmp_path / "again")
    assert "not one of this user's" in str(doubt(record))


def test_the_key_is_the_user_s_alone(tmp_path: Path) -> None:
    record = made(tmp_path)
    key = origin.key_file()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == origin.LENGTH
    assert [file.name for file in key.parent.iterdir()] == ["key"]
    assert key.read_bytes().hex() not in (record.path / "record.json").read_text()
    for mode in (0o644, 0o640, 0o604, 0o620):
        key.chmod(mode)
        assert "chmod 600" in str(doubt(record)), oct(mode)
    assert made(tmp_path / "again").content[origin.FIELD] is None
    key.unlink()
    key.symlink_to(tmp_path / "elsewhere")
    assert "plain file" in str(doubt(record))
    assert "plain file" in str(origin.hindrance())


def test_a_relative_state_folder_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert origin.key_file() == tmp_path / "home" / ".local" / "state" / "seedbed" / "key"


def test_without_a_state_folder_a_record_is_made_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    record = made(tmp_path)
    assert json.loads((record.path / "record.json").read_text())[origin.FIELD] is None
    assert "no mark" in str(doubt(record))
    assert str(tmp_path / "file") in str(origin.hindrance())


def test_processes_that_begin_at_once_have_one_key(tmp_path: Path) -> None:
    program = "from seedbed.run import origin; print(origin._key(True).hex())"
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "many")}
    command = [sys.executable, "-c", program]
    processes = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE) for _ in range(8)]
    assert len({process.communicate()[0] for process in processes}) == 1
