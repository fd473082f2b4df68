"""A record that something has damaged: seen wherever it would be used, put aside, and never computed with."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run.records import HISTORY, INPUTS, made

from seedbed import Refused, cli, fsck
from seedbed.proof import side
from seedbed.run import claims, digest, integrity, record, reuse, training
from seedbed.run.record import Record
from seedbed.study.plan import Study, Task

FILES = ["record.json", "config.yaml", "code.diff", "rows.npz", "history.jsonl", "model.keras", "log/mine.csv"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    path.rename(path.parent / ".moved")
    path.symlink_to(path.parent / ".moved")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: list[Callable[[Path], Any]] = [truncate, flip, empty, Path.unlink, folder, link, pipe]


def named(how: Callable[[Path], Any]) -> str:
    return how.__name__


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", DAMAGE, ids=named)
def test_each_damage_to_each_file_is_seen_by_all_who_use_a_record(name: str, how: Callable[[Path], Any], tmp_path: Path) -> None:
    found = made(tmp_path)
    assert not found.damage(whole=True)
    how(found.path / name)
    said: list[str] = []
    # train, and a study that trains: put aside, or refused where record.json can't be read
    if name == "record.json" and how is not Path.unlink and how is not flip:
        with pytest.raises(Refused, match=r"record\.json"):
            reuse.standing(found.path, tmp_path, said.append)
    elif name != "record.json":
        assert reuse.standing(found.path, tmp_path, said.append) is None
        (line,) = said
        aside = tmp_path / integrity.DAMAGED / found.key
        assert str(aside) in line
        assert not os.path.lexists(found.path)
        aside.rename(found.path)
    # a study's report, from notes of an earlier call
    task = Task(tmp_path / "study", 1)
    task.file.parent.mkdir(parents=True)
    task.note(status="finished", record=str(found.path))
    study = Study(tmp_path / "study", {"id": "x", "name": "x", "vary": None}, (1,))
    assert study.records() == {}
    assert list(study.failures()) == [1]
    # fsck
    state = fsck.examined(found.path)
    assert state.state in fsck.BAD
    assert name in " ".join(state.why)
    assert state.next
    # what went in can't be replayed, compared or sent
    if name in (*integrity.SENT, "record.json"):
        with pytest.raises(Refused):
            claims.checked(found.path)
    unreadable: dict[str, str] = {}
    if how is not Path.unlink or name != "record.json":
        assert record.all_records(tmp_path, unreadable) == []
        assert list(unreadable) == [found.key]


@pytest.mark.parametrize("name", [name for name in FILES if name != "record.json"])
def test_a_large_file_is_hashed_by_fsck_and_its_size_seen_on_each_use(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(tmp_path)
    monkeypatch.setattr(integrity, "SMALL", 0)
    flip(found.path / name)
    assert not found.damage()
    assert [one.file for one in found.damage(whole=True)] == [name]
    truncate(found.path / name)
    assert [one.file for one in found.damage()] == [name]


EDITS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("a metric", lambda c: c["metrics"].update(test_loss=0.0)),
    ("a digest", lambda c: c["digests"].update(final_weights="b" * 64)),
    ("the seeds", lambda c: c["seeds"].update(master=2)),
    ("an input", lambda c: c["inputs"]["environment"].update(python="4")),
    ("the table", lambda c: c["files"].pop("model.keras")),
    ("the level", lambda c: c.update(level="off")),
    ("a field more", lambda c: c.update(more=1)),
    ("a field less", lambda c: c.pop("provenance")),
    ("the status", lambda c: c.update(status="failed")),
]


@pytest.mark.parametrize(("what", "edit"), EDITS, ids=[what for what, _ in EDITS])
def test_an_edit_of_record_json_is_seen(what: str, edit: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    found = made(tmp_path)
    content = json.loads((found.path / "record.json").read_text())
    edit(content)
    (found.path / "record.json").write_text(json.dumps(content))
    assert "record.json" in reuse.damage(Record.read(found.path))
    with pytest.raises(Refused):
        claims.checked(found.path)
    assert side.read(found.path).damage if what != "a field less" else True


WRONG = [b"[]", b"null", b"3", b'""', b'{"status": 3}', b'{"format": 2}', b'{"format": true}', b"{", b"\xff\xfe", b"[" * 100_000,
         b'{"format": 2, "a": ' + b'{"b":' * 80 + b"1" + b"}" * 81, b"0" * 5000]  # fmt: skip


OFTEN = (b"[]", b'{"status": 3}', b"\xff\xfe")  # the others in the integration tier


@pytest.mark.parametrize(
    "content", [pytest.param(one, id=repr(one[:20]), marks=[] if one in OFTEN else [pytest.mark.integration]) for one in WRONG]
)
def test_a_record_json_of_another_shape_is_one_sentence_everywhere(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = made(tmp_path)
    (found.path / "record.json").write_bytes(content)
    for act in (lambda: Record.read(found.path), lambda: side.read(found.path), lambda: claims.checked(found.path),
                lambda: reuse.standing(found.path, tmp_path, print)):  # fmt: skip
        with pytest.raises(Refused, match=r"record\.json"):
            act()
    for command in (["fsck", "--runs", str(tmp_path)], ["diff", str(found.path), str(found.path)], ["sync", "--runs", str(tmp_path)],
                    ["fsck", str(found.path), "--json"]):  # fmt: skip
        assert cli.main(command) == (1 if command[0] == "fsck" else 2)
        assert "Traceback" not in "".join(capsys.readouterr())


def test_metrics_that_are_no_numbers_are_written_as_json_and_come_back(tmp_path: Path) -> None:
    found = made(tmp_path)
    for line in [(found.path / "record.json").read_text(), *(found.path / "history.jsonl").read_text().splitlines()]:
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    read = claims.checked(found.path)
    assert np.isnan(read.metrics["test_recall"])
    assert read.history() == HISTORY
    assert read.digests["metrics"] == digest.metrics({"test_recall": -float("nan"), "test_loss": 0.5})
    assert digest.combined(read.digests) == read.digests["run"] == digest.combined({**read.digests, "metrics": "0"})


def test_what_is_half_made_is_replaced_and_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    key = record.key_of(INPUTS)
    (tmp_path / key).mkdir()
    (tmp_path / f".{key}.123").mkdir()
    (tmp_path / f".{key}.123" / "config.yaml").touch()
    said: list[str] = []
    assert reuse.standing(tmp_path / key, tmp_path, said.append) is None
    assert not said
    found = made(tmp_path)
    (found.path / ".record.json.77").touch()
    assert reuse.standing(found.path, tmp_path, said.append) is not None
    assert not list(tmp_path.glob(".[0-9a-f]*.*"))
    assert not list(found.path.glob(".*"))
    (found.path / "record.json").unlink()
    assert reuse.standing(found.path, tmp_path, said.append) is None
    assert "half made" in said[0]
    assert (tmp_path / "damaged" / key / "model.keras").exists()
    (tmp_path / f".{key}.123").mkdir()
    assert fsck.leftovers(tmp_path) == [tmp_path / f".{key}.123"]
    made(tmp_path)
    made_again = Record.read(tmp_path / key)
    truncate(made_again.path / "model.keras")
    assert reuse.standing(made_again.path, tmp_path, said.append) is None
    assert (tmp_path / "damaged" / f"{key}.2").is_dir()


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b'{"epoch": 0}\n', b"[]\n3\n", b"\xff\n"])
def test_lines_of_a_history_that_are_none_count_as_cut_off(content: bytes, tmp_path: Path) -> None:
    found = made(tmp_path, finished=False)
    (found.path / "history.jsonl").write_bytes(content)
    assert found.rows() == []


def test_lines_of_a_history_out_of_their_place_count_as_cut_off(tmp_path: Path) -> None:
    found = made(tmp_path, finished=False)
    first, second, third = (found.path / "history.jsonl").read_text().splitlines(keepends=True)
    for lines, count in ((first + first + second, 1), (second + first + third, 0), (first + third + second, 1)):
        (found.path / "history.jsonl").write_text(lines)
        assert len(found.rows()) == count


def test_a_record_of_the_older_format_is_read_compared_and_reused(tmp_path: Path) -> None:
    found = made(tmp_path)
    content = json.loads((found.path / "record.json").read_text())
    del content["files"], content["sha256"], content["digests"]["metrics"]
    (found.path / "record.json").write_text(json.dumps({**content, "format": 1}))
    read = claims.checked(found.path)
    assert read.all_digests() == made(tmp_path / "other").digests
    assert reuse.standing(found.path, tmp_path, print) is not None
    assert fsck.examined(found.path).state == fsck.OLDER
    content["metrics"]["test_loss"] = 0.0
    (found.path / "history.jsonl").write_text("")
    assert fsck.examined(found.path).state == fsck.DAMAGED


def test_a_copy_from_a_server_may_lack_what_is_not_sent(tmp_path: Path) -> None:
    found = made(tmp_path)
    (found.path / "model.keras").unlink()
    claims.checked(found.path)
    found.update(fetched={"from": "x", "run_id": "y"})
    shutil.rmtree(found.path / "log")
    assert not Record.read(found.path).damage(whole=True)
    truncate(found.path / "rows.npz")
    assert Record.read(found.path).damage()


def test_the_table_of_a_record_names_no_file_outside_of_it(tmp_path: Path) -> None:
    found = made(tmp_path)
    for name in ("../x", "/etc/passwd", "a/../../b", ""):
        content = json.loads((found.path / "record.json").read_text())
        content["files"][name] = {"sha256": "0" * 64, "size": 1}
        (found.path / "record.json").write_text(json.dumps(content))
        with pytest.raises(Refused, match="files"):
            Record.read(found.path)
        made(tmp_path)
    (tmp_path / "out").mkdir()
    (found.path / "log").rename(tmp_path / "out" / "log")
    (found.path / "log").symlink_to(tmp_path / "out" / "log")
    assert "a folder that it lies in is a link" in reuse.damage(found)


@pytest.mark.integration
def test_train_puts_a_damaged_record_aside_and_trains_again(config: Callable[..., Any]) -> None:
    first = training.run(config("training.epochs=1"))
    assert set(first.files()) == {"record.json", "config.yaml", "history.jsonl", "model.keras", "rows.npz"} | (
        {"code.diff"} if (first.path / "code.diff").exists() else set()
    )
    flip(first.path / "model.keras")
    said: list[str] = []
    second = training.run(config("training.epochs=1"), said=said.append)
    assert (second.reused, second.digests) == (False, first.digests)
    assert "model.keras" in said[0]
    assert len(list((first.path.parent / "damaged").iterdir())) == 1
    assert training.run(config("training.epochs=1")).reused
    flip(second.path / "config.yaml")
    assert training.run(config("training.epochs=1", "force=true")).agrees is None


def test_what_lies_beside_a_record_s_files_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = made(tmp_path)
    assert found.surplus() == []
    (found.path / "id_ed25519").write_text("a private key")
    (found.path / "log" / "more.csv").touch()
    (found.path / "folder").symlink_to("/etc")
    os.mkfifo(found.path / "pipe")
    (found.path / os.fsdecode(b"\xff\x1b]0;x\x07")).touch()
    (found.path / "tracking.json").write_text("{}")
    (found.path / "checkpoints").mkdir()
    (found.path / "checkpoints" / "1.npz").touch()
    names = ["folder", "id_ed25519", "log/more.csv", "pipe", os.fsdecode(b"\xff\x1b]0;x\x07")]
    assert found.surplus() == sorted(names)
    assert cli.main(["fsck", "--runs", str(tmp_path)]) == 0  # what the record does list is whole
    said = capsys.readouterr().out
    assert "id_ed25519, log/more.csv, pipe" in said
    assert r"\xff\x1b]0;x\x07" in said
    assert cli.main(["fsck", "--runs", str(tmp_path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["records"][0]["surplus"]) == len(names)


def test_a_run_that_goes_on_has_nothing_too_much(tmp_path: Path) -> None:
    found = made(tmp_path, finished=False)
    (found.path / "mine.txt").touch()
    assert found.surplus() == []


def test_files_in_folders_are_a_callbacks_own_whatever_they_are_called(tmp_path: Path) -> None:
    found = made(tmp_path, finished=False)
    own = ["log/record.json", "log/tracking.json", "log/checkpoints/1.h5", "log/again/2.h5"]
    for name in own:
        (found.path / name).parent.mkdir(exist_ok=True)
        (found.path / name).write_text("mine")
    for name in ("checkpoints/1.npz", "again/record.json", ".hidden/x", "log/.hidden", "tracking.json"):
        (found.path / name).parent.mkdir(exist_ok=True)
        (found.path / name).write_text("not of the record")
    found.finish({}, {"history": digest.history(HISTORY)})
    assert {name for name in found.content["files"] if "/" in name} == {*own, "log/mine.csv"}
    assert found.surplus() == []
    flip(found.path / own[0])
    assert own[0] in reuse.damage(found)


def test_a_large_file_that_has_grown_is_seen_on_each_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(tmp_path)
    monkeypatch.setattr(integrity, "SMALL", 100)
    with (found.path / "model.keras").open("ab") as file:
        file.write(b"more")
    assert reuse.damage(found).startswith("model.keras: it has 1,284 bytes and had 1,280")


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(integrity, "_flush", lambda path: order.append(f"{path.name} {(tmp_path / 'model.keras').exists()}"))
    (tmp_path / "partial").touch()
    integrity.publish(tmp_path / "partial", tmp_path / "model.keras")
    assert order == ["partial False", f"{tmp_path.name} True"]


def test_a_forced_run_that_was_broken_off_goes_on_and_one_that_has_ended_is_made_anew(tmp_path: Path) -> None:
    found = made(tmp_path)
    again = found.path / "again"
    assert reuse.where(found.path, tmp_path, True, print)[0] == again
    shutil.copytree(made(tmp_path / "other", finished=False).path, again)
    place, old, before = reuse.where(found.path, tmp_path, True, print)
    assert (place, old is not None and old.status, before is not None and before.status) == (again, record.RUNNING, record.FINISHED)
    shutil.rmtree(again)
    shutil.copytree(made(tmp_path / "third").path, again)
    place, old, before = reuse.where(found.path, tmp_path, True, print)
    assert (place, old, again.exists()) == (again, None, False)
    other = made(tmp_path / "fourth", finished=False)
    place, old, before = reuse.where(other.path, tmp_path / "fourth", True, print)
    assert (place, old is not None, before) == (other.path, True, None)  # it has not ended: it goes on, forced or not
