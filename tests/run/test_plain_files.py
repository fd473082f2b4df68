"""What is no plain file in a folder from elsewhere: never waited at, never followed, and named in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from run import records

from seedbed import Refused, cli
from seedbed.proof import side, untrusted
from seedbed.run import checkpoint, claims, plain_files, variables
from seedbed.run.record import Record
from seedbed.study import check, plan

# What /dev/zero stands for: a device that never ends (only root can make one of its own).
KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
}
READ = ("record.json", "config.yaml", "history.jsonl", "rows.npz", "code.diff")
COMMANDS = ("diff", "replay", "fsck", "sync", "report")


@pytest.fixture(autouse=True)
def within() -> Iterator[None]:
    """A test that waits for ever fails instead; how long is no matter of this machine's speed."""

    def late(*_: Any) -> None:
        raise TimeoutError("it waits at a file")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of records with one record and a study of it, to be copied."""
    runs = tmp_path_factory.mktemp("whole") / "runs"
    key = records.made(runs).key
    study = runs / "studies" / f"made-{'a' * 12}"
    (study / "seeds").mkdir(parents=True)
    (study / "study.json").write_text(json.dumps({"id": "a" * 64, "name": "made", "overrides": [], "level": "strict"}))
    (study / "report.json").write_text(json.dumps({"sentence": "1 seed", "finished": 1, "asked": 1, "seeds": [1]}))
    (study / "seeds" / "0000000001.json").write_text(json.dumps({"status": "finished", "master": 1, "key": key}))
    return runs


@pytest.fixture
def runs(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "runs")


def spoiled(path: Path, kind: str) -> Path:
    path.unlink(missing_ok=True)
    KINDS[kind](path)
    return path


def only_record(runs: Path) -> Path:
    return next(path for path in runs.iterdir() if len(path.name) == 64)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_in_a_record_holds_no_command(command: str, name: str, runs: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, other = only_record(runs), only_record(whole)
    spoiled(record / name, "pipe")
    words = {
        "diff": [str(other), str(record)],
        "replay": [str(record)],
        "fsck": [str(record), "--runs", str(runs)],
        "sync": ["--runs", str(runs), "--uri", f"sqlite:///{runs}/mlflow.db", "--json"],
        "report": ["made", "--runs", str(runs)],
    }[command]
    status = cli.main([command, *words])
    said = capsys.readouterr()
    text = " ".join((said.out + said.err).split())
    assert "Traceback" not in text
    if command == "report":  # the page says why the run is missing, and shows the rest
        text = next((runs / "studies").iterdir()).joinpath("report.html").read_text()
    assert status == {"fsck": 1, "report": 0}.get(command, 2)
    assert name in text or name == "record.json"  # without it, a folder is no record


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READ)
def test_nor_do_other_kinds_hold_who_reads_a_record(kind: str, name: str, runs: Path) -> None:
    record = only_record(runs)
    spoiled(record / name, kind)
    for read in (side.read, claims.checked):
        with pytest.raises(Refused, match=name.replace(".", r"\.")):
            read(record)


@pytest.mark.parametrize("kind", KINDS)
def test_nor_who_reads_a_config_alone(kind: str, runs: Path) -> None:
    record = Record.read(only_record(runs))
    spoiled(record.path / "config.yaml", kind)
    for read in (untrusted.config_of, lambda folder: Record(folder).config()):
        with pytest.raises(Refused, match=r"config\.yaml"):
            read(record.path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["study.json", "report.json", "summary.csv", "distribution.png"])
def test_nor_who_makes_a_study_s_page(name: str, kind: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoiled(next((runs / "studies").iterdir()) / name, kind)
    assert cli.main(["report", "made", "--runs", str(runs)]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_nor_who_reads_a_study_s_notes(kind: str, runs: Path) -> None:
    study = next((runs / "studies").iterdir())
    task = plan.Task(study, 1)
    spoiled(task.file, kind)
    spoiled(study / check.NAME, kind)
    assert task.noted() == {}
    assert check.read(study) is None
    assert cli.main(["report", "made", "--runs", str(runs)]) == 0  # without that run, and it says why
    assert "0000000001.json" in (study / "report.html").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_nor_a_run_that_would_use_a_record_or_go_on_from_a_checkpoint(kind: str, runs: Path) -> None:
    record = only_record(runs)
    spoiled(record / "record.json", kind)
    assert variables._other(record, {}) is None
    folder = record / "checkpoints"
    folder.mkdir()
    spoiled(folder / f"000001.{'0' * 64}.npz", kind)
    state, wrong = checkpoint.read_newest(folder, 1)
    assert state is None
    assert "plain file" in wrong[0]


def test_a_pipe_whose_writer_waits_is_not_read_either(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.write(writer, b"a: 1\n")
    with pytest.raises(Refused, match="no plain file"):
        plain_files.read(path, 100)
    assert os.read(writer, 100) == b"a: 1\n"
    os.close(writer)
