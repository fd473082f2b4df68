"""`seedbed doctor`: what a person needs first, in a terminal of 80 columns; everything in JSON and with --all."""

from __future__ import annotations

import json

import pytest

from seedbed import cli, health


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The levels as if tried: a fresh process for each takes seconds, and tests/end_to_end has those."""
    why = {"portable": (False, ["OMP_NUM_THREADS=8 is set, OMP_NUM_THREADS=1 is needed: `unset OMP_NUM_THREADS`", "and more"])}
    monkeypatch.setattr(
        health, "_tried", lambda level, seeds: why.get(level["level"], (True, ["1 thread an operation, operations deterministic"]))
    )
    monkeypatch.setenv("COLUMNS", "80")


def test_what_a_person_needs_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["level", "kept", "here"]
    assert [line.split()[:2] for line in lines[1:6]] == [
        ["off", "yes"],
        ["portable", "NO"],
        ["and", "more"],
        ["seeded", "yes"],
        ["strict", "yes"],
    ]
    assert lines[7].startswith("GPU ")
    assert len(lines) < 20
    reason = next(line for line in lines if "unset OMP_NUM_THREADS" in line)
    long = [line for line in lines if len(line) > 80 and line != reason and not line.startswith(("GPU", "cpu", "variables"))]
    assert long == []  # what can be copied is never broken
    assert lines[-2].split()[1].startswith("tensorflow")
    assert "doctor" in lines[-1]
    assert "--all" in lines[-1]


def test_all_packages_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:1] == ["numpy"] for line in lines)
    assert any(line.split()[:1] == ["lock"] for line in lines)
    assert cli.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["levels"]["portable"]["kept"] is False
    assert {line.split()[0] for line in lines if len(line.split()) == 2} >= set(report["provenance"]["packages"])
