"""What went into a record beside what is here: variables of the environment that its run has read."""

from __future__ import annotations

from pathlib import Path

import pytest
from run import records

from seedbed import Refused
from seedbed.proof import here, promise
from seedbed.run.record import Record


def test_variables_that_a_run_has_read_are_compared_with_the_present_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNITS", "16")
    monkeypatch.delenv("DEPTH", raising=False)
    found = records.made(tmp_path, read={"UNITS": "16", "DEPTH": None})
    assert here.reads(Record.read(found.path)).reasons == []
    monkeypatch.setenv("UNITS", "64")
    monkeypatch.setenv("DEPTH", "3")
    (reason,) = here.reads(Record.read(found.path)).reasons
    assert "UNITS 64 (16 recorded), DEPTH 3 (none recorded)" in reason
    assert "set or unset them as recorded" in reason


def test_no_secret_is_shown_and_no_row_where_nothing_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "open-sesame")
    found = records.made(tmp_path, read={"API_TOKEN": "stamp " + "0" * 32})
    (reason,) = here.reads(Record.read(found.path)).reasons
    assert "API_TOKEN" in reason
    assert "open-sesame" not in reason
    assert promise.of_reads({}, {}).rows == []


def test_a_record_whose_list_is_of_another_kind_is_refused(tmp_path: Path) -> None:
    found = records.made(tmp_path, read=["HOME"])
    with pytest.raises(Refused, match=r"record\.json is not what seedbed writes: read"):
        Record.read(found.path)
