"""Records that somebody else made to harm: what a record.json may name, and what is printed and done because of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from run.records import CONFIG, INPUTS, made

from seedbed import Refused, cli, fsck
from seedbed.proof import diff
from seedbed.run import integrity, json_text, record, record_schema, reuse, variables
from seedbed.run.record import Record

LONG = "x" * 256
FORGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a key that leads elsewhere": lambda c: c.update(key="../../elsewhere"),
    "a key from the root": lambda c: c.update(key="/tmp/elsewhere"),
    "a key in capitals": lambda c: c.update(key="A" * 64),
    "a key and a line": lambda c: c.update(key="a" * 64 + "\n"),
    "an id that ends a query": lambda c: c.update(id="x' OR tags.`seedbed.key` != '"),
    "an id that fits any": lambda c: c.update(id="%"),
    "a level of its own": lambda c: c.update(level="${oc.env:HOME}"),
    "a digest that is none": lambda c: c["digests"].update(run="x"),
    "a day after all days": lambda c: c["timing"].update(started=1e18),
    "a day that no clock has": lambda c: c["timing"].update(started=1e300),
    "a day before all days": lambda c: c["timing"].update(ended=-1.0),
    "an end without a number": lambda c: c["timing"].update(ended=1e15),
    "seconds in words": lambda c: c["timing"].update(fit_seconds="a while"),
    "half of a character": lambda c: c["files"].update({"\ud800": c["files"]["config.yaml"]}),
    "half of a character in a folder": lambda c: c["files"].update({"log/\udfff.csv": c["files"]["config.yaml"]}),
    "a name that no file has": lambda c: c["files"].update({LONG: c["files"]["config.yaml"]}),
    "a folder that none has": lambda c: c["files"].update({f"{LONG}/a": c["files"]["config.yaml"]}),
}


def forge(found: Record, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change record.json, and compute its hash again: it finds damage, and no forger."""
    content = json_text.loads((found.path / "record.json").read_text())
    change(content)
    (found.path / "record.json").write_text(json_text.dumps({**content, "sha256": integrity.own_hash(content)}))


def everywhere(path: Path) -> set[Path]:
    return {file for file in path.rglob("*") if ".locks" not in file.parts}


@pytest.mark.parametrize("how", FORGED)
def test_a_field_of_another_form_is_one_sentence(how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "a" / "b" / "runs"
    found = made(runs)
    forge(found, FORGED[how])
    before = everywhere(tmp_path)
    unreadable: dict[str, str] = {}
    assert record.all_records(runs, unreadable) == []
    assert list(unreadable) == [found.path.name]
    with pytest.raises(Refused, match="is not what seedbed writes") as refused:
        reuse.standing(found.path, runs, print)
    assert len(str(refused.value).splitlines()) == 1
    assert fsck.examined(found.path, (), runs).state == fsck.DAMAGED
    assert cli.main(["sync", "--runs", str(runs)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert everywhere(tmp_path) == before
    assert not Path("/tmp/elsewhere.lock").exists()


def test_a_name_of_many_folders_is_damage_and_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each part of it is short enough; all of it is longer than a system takes."""
    found = made(tmp_path)
    for name in ("/".join(["x" * 200] * 30), os.fsdecode(b"\xff.csv")):
        forge(found, lambda content, name=name: content["files"].update({name: content["files"]["config.yaml"]}))
        assert name in [one.file for one in Record.read(found.path).damage()]
    assert cli.main(["fsck", "--runs", str(tmp_path)]) == 1
    assert "\udcff" not in capsys.readouterr().out


def test_a_record_lies_where_its_key_says(tmp_path: Path) -> None:
    """Another one would have that key's lock, and the place that the other has in MLflow."""
    found = made(tmp_path)
    key, again = found.key, found.path / "again"
    other = tmp_path / ("b" * 64)
    found.path.rename(other)
    unreadable: dict[str, str] = {}
    assert record.all_records(tmp_path, unreadable) == []
    assert "holds the record of another key" in unreadable[other.name]
    with pytest.raises(Refused, match="of another key"):
        reuse.standing(other, tmp_path, print)
    state = fsck.examined(other, (), tmp_path)
    assert (state.state, "of another key" in state.why[0]) == (fsck.DAMAGED, True)
    other.rename(tmp_path / key)
    made(tmp_path / "more").path.rename(again)  # as force=true leaves it
    assert [one.path for one in record.all_records(tmp_path, unreadable)] == [tmp_path / key, again]
    elsewhere = tmp_path / "sent-by-a-friend"
    again.rename(elsewhere)
    assert Record.read(elsewhere).key == key  # no folder of records: a path that a person says
    assert fsck.examined(elsewhere, (), tmp_path / "runs").state == fsck.WHOLE


def test_what_real_records_hold_is_accepted(tmp_path: Path) -> None:
    for timing in ({"started": 0}, {"started": 1.7e9, "ended": 1.6e9, "seconds": -1e8, "fit_seconds": 2.0, "after_fit_seconds": 0.1}):
        content = {"format": 2, "id": "1" * 32, "status": "running", "timing": timing}
        record_schema.check(content, tmp_path / "record.json")


EVIL = CONFIG.replace("data: {}", "data: {}, optimizer: {_target_: os.system, command: touch /tmp/marker}")


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], tuple[Record, Record]]]:
    """`pair(here)`: two records that differ in their outputs alone, with a config that names a command; of this user or not."""

    def two(here: bool) -> tuple[Record, Record]:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state of the forger"))
        first, second = (made(tmp_path / name, config=EVIL) for name in ("a", "b"))
        forge(second, lambda content: content["digests"].update(predictions="c" * 64))
        if not here:
            monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        return first, second

    return two


@pytest.mark.parametrize("here", [True, False])
def test_no_printed_command_says_what_a_foreign_config_says(
    here: bool, pair: Callable[[bool], tuple[Record, Record]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed as `next` is meant to be typed; the config of one's own records may stand in it."""
    from seedbed.proof import overrides

    monkeypatch.setattr(overrides, "overrides", lambda side: ["+optimizer._target_=os.system"])
    first, second = pair(here)
    (first.path / "model.keras").write_bytes(b"damaged")
    state = fsck.examined(first.path, (), first.path.parent)
    assert state.state == fsck.DAMAGED
    trained_again, replayed = " ".join(state.next), str(diff._next(diff.side.read(second.path)))
    assert all(("os.system" in words) is here for words in (trained_again, replayed))
    assert "replay" not in trained_again  # it takes no damaged record
    assert ("replay" in replayed) is not here
    (first.path / "record.json").write_text("{")  # whose it was can't be known any more
    assert "os.system" not in " ".join(fsck.examined(first.path, (), first.path.parent).next)


# --- variables of the environment ------------------------------------------------------------------------------------------


def next_key(runs: Path, **read: str | None) -> tuple[str, dict[str, Any]]:
    """The key that a run of `INPUTS` gets, and its inputs, where this process has seen the user's code read these variables."""
    with variables.watched(dict(read)), variables.settled(runs, dict(INPUTS), lambda key: None) as found:
        return found


def test_a_foreign_record_has_no_variable_of_its_choice_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its list would bring the values, or their stamps, into the next key and record, and so to MLflow."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state of the forger"))
    monkeypatch.setenv("MY_PIN_CODE", "1234")
    monkeypatch.setenv("UNITS", "8")
    runs = tmp_path / "runs"
    found = made(runs)
    forge(found, lambda content: content.update(read={"MY_PIN_CODE": "1", "UNITS": "16", "*": "stamp 0"}))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    key, inputs = next_key(runs)
    assert key != found.key  # it is not used: what it says that it has read is other here
    assert inputs["environment"] == {**INPUTS["environment"], variables.BESIDE: 1}
    assert next_key(runs) == (key, inputs)
    # what the user's code asks for, as it has been seen, is named as ever
    read = next_key(runs, UNITS="8")[1]["environment"]["read"]
    assert read == {"UNITS": "8"}
    # the same where the key names it already: another key, and an end
    forge(found, lambda content: content.update(read={"UNITS": "16"}))
    named = {**INPUTS, "environment": {**INPUTS["environment"], "read": {"UNITS": "8"}}}
    found.path.rename(runs / record.key_of(named))
    with variables.watched({"UNITS": "8"}), variables.settled(runs, named, lambda key: None) as (_, settled):
        assert settled["environment"][variables.BESIDE] == 1


def test_a_foreign_record_whose_variables_are_the_same_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("UNITS", "16")
    found = made(tmp_path)
    forge(found, lambda content: content.update(read={"UNITS": "16"}))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another state"))
    assert next_key(tmp_path)[0] == found.key


def test_a_record_of_one_s_own_names_what_it_has_read_unless_it_was_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark doesn't cover the list, and whoever can write to the server can change it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("UNITS", "8")
    runs = tmp_path / "runs"
    found = made(runs)
    forge(found, lambda content: content.update(read={"UNITS": "16"}))
    assert next_key(runs)[1]["environment"]["read"] == {"UNITS": "8"}
    forge(found, lambda content: content.update(fetched={"from": "a server", "run_id": "1"}))
    assert "read" not in next_key(runs)[1]["environment"]
