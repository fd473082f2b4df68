"""When a seed is trained a second time, which one, and what is made of the two."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedbed import Refused
from seedbed.run import config as configs
from seedbed.study import check
from seedbed.study.check import Verdict
from seedbed.study.plan import Task

A, B = "a" * 64, "b" * 64  # digests


@pytest.mark.parametrize(("source", "why"), [
    ("import keras\ndef model(spec):\n    return keras.Sequential()\n", None),
    ("import keras\nclass Mine(keras.layers.Layer):\n    pass\ndef model(spec):\n    return keras.Sequential()\n", "plain_or_not.py:2 has the class Mine"),
    ("import ctypes\ndef model(spec):\n    return None\n", "plain_or_not.py:1 imports ctypes"),
    ("def model(spec):\n    import helping\n    return None\n", "plain_or_not.py:2 imports helping"),
    ("import re\ndef model(spec):\n    re.calls = getattr(re, 'calls', 0) + 1\n", "plain_or_not.py:3 changes re.calls"),
    ("import numpy.linalg as la\ndef model(spec):\n    la.__dict__['n'] = 1\n", "plain_or_not.py:3 changes la.__dict__['n']"),
    ("import keras\ndef model(spec):\n    setattr(keras.utils, 'n', 1)\n", "plain_or_not.py:3 uses setattr"),
    ("import keras\ndef model(spec):\n    made = {}\n    made['units'] = 3\n    return keras.Sequential()\n", None),
])  # fmt: skip
def test_code_that_is_more_than_plain_functions(
    config: Callable[..., Any], plugin: Callable[..., Path], source: str, why: str | None
) -> None:
    plugin("plain_or_not", source)
    composed = config("data=digits", "~model", "+model={_target_: plain_or_not.model}")
    assert check.beyond_plain(composed) == why
    assert check.number(composed) == (0 if why is None else 1)
    composed.study.check = 3
    assert check.number(composed) == 3


def test_the_examples_of_this_repository_are_plain(config: Callable[..., Any]) -> None:
    assert [check.number(config(*words)) for words in (["experiment=tutorial"], ["experiment=digits_cnn"])] == [0, 0]


def test_what_is_no_number_of_seeds_is_refused(config: Callable[..., Any]) -> None:
    for said in ("some", "-1", "true", "1.5"):
        with pytest.raises(Refused, match=r"study\.check"):
            configs.check(config(f"study.check={said}"))
    with pytest.raises(Refused, match="does not promise"):
        check.refuse(config("study.check=1", "determinism=seeded"))
    assert check.number(config("data=digits", "optimizer=adam_2017", "determinism=seeded")) == 0


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    """Four seeds of a study, all finished: the third is the first of its process."""
    found = []
    for master in (1, 2, 3, 4):
        _record(tmp_path / f"{master:064x}", A, earlier_runs=master - 1 if master != 3 else 0)
        task = Task(tmp_path / "studies" / "study", master)
        task.file.parent.mkdir(parents=True, exist_ok=True)
        task.note(status="finished", record=str(tmp_path / f"{master:064x}"))
        found.append(task)
    return found


def _record(folder: Path, digest: str, status: str = "finished", **more: Any) -> None:
    folder.mkdir(parents=True)
    content = {
        "format": 1,
        "id": "1" * 32,
        "timing": {"started": 1.0},
        "key": folder.name,
        "status": status,
        "digests": {"history": digest, "run": digest},
        **more,
    }
    (folder / "record.json").write_text(json.dumps(content))


def test_which_seeds_are_trained_twice(tasks: list[Task]) -> None:
    assert [task.master for task in check.candidates(tasks, 1)] == [4]
    assert [task.master for task in check.candidates(tasks, 9)] == [4, 2]  # not those that were the first of their process
    check.write(tasks[0].folder, Verdict(True, 4, [4]))
    assert [task.master for task in check.candidates(tasks, 1)] == [2]
    tasks[2].file.unlink()  # not trained yet
    assert [task.master for task in check.candidates(tasks, 1)] == [3]


@pytest.mark.parametrize(("digest", "status", "code", "agrees", "differing"), [
    (A, "finished", 0, True, []), (B, "finished", 0, False, ["history"]), (A, "failed", 1, False, ["status"]),
    (A, "running", 1, None, []), (A, "finished", -9, None, []),
])  # fmt: skip
def test_what_is_made_of_the_two(
    tasks: list[Task], tmp_path: Path, digest: str, status: str, code: int, agrees: bool | None, differing: list[str]
) -> None:
    _record(tmp_path / "scratch" / ("4" * 64), digest, status)
    verdict = check.judged(tasks[3], tmp_path / "scratch", code, tasks, "call")
    assert verdict is not None
    assert (verdict.agrees, list(verdict.differing)) == (agrees, differing)
    check.write(tasks[0].folder, verdict)
    assert vars(check.read(tasks[0].folder) or verdict) == vars(verdict)
    assert (check.differs(tasks[0].folder) is not None) == (agrees is False)


def test_only_runs_that_came_after_others_are_forgotten(tasks: list[Task], tmp_path: Path) -> None:
    assert check.forget(tasks) == 2
    assert [task.master for task in tasks if task.noted()] == [1, 3]
    assert sorted(int(folder.name, 16) for folder in tmp_path.glob("0*")) == [1, 3]
    verdict = Verdict(False, 3, alone={"history": A, "run": A})
    assert check.confirmed(verdict, tasks).repeats is True
    assert check.confirmed(Verdict(False, 3, alone={"history": B}), tasks).repeats is False
    assert "other bits there each time" in check.confirmed(Verdict(False, 3, alone={"history": B}), tasks).said


def test_a_record_outside_of_the_folder_of_records_is_never_removed(tasks: list[Task], tmp_path: Path) -> None:
    """A study's notes may come from elsewhere, and a folder of records may hold links."""
    elsewhere, link = tmp_path / "elsewhere" / ("b" * 64), tmp_path / ("c" * 64)
    _record(elsewhere, A, earlier_runs=1)
    _record(tmp_path / "elsewhere" / link.name, A, earlier_runs=1)
    link.symlink_to(tmp_path / "elsewhere" / link.name)
    tasks[1].note(status="finished", record=str(elsewhere))
    tasks[3].note(status="finished", record=str(link))
    assert check.forget(tasks) == 2
    assert elsewhere.is_dir()
    assert (link / "record.json").is_file()
    assert [task.master for task in tasks if task.noted()] == [1, 3]  # both are trained again


def test_an_output_that_one_of_the_two_lacks_differs(tasks: list[Task], tmp_path: Path) -> None:
    _record(tmp_path / "scratch" / ("4" * 64), A, digests={"history": A, "predictions": B, "run": A})
    verdict = check.judged(tasks[3], tmp_path / "scratch", 0, tasks, "call")
    assert verdict is not None
    assert (verdict.agrees, list(verdict.differing)) == (False, ["predictions"])


def test_levels_that_promise_the_same_bits_are_checked_and_an_older_record_says_less(
    config: Callable[..., Any], plugin: Callable[..., Path], tmp_path: Path
) -> None:
    plugin("plain_or_not", "import ctypes\ndef model(spec):\n    return None\n")
    words = ["data=digits", "~model", "+model={_target_: plain_or_not.model}"]
    assert [check.number(config(*words, f"determinism={level}")) for level in ("strict", "portable", "seeded")] == [1, 1, 0]
    for name, more, shared in (("a", {}, False), ("b", {"not_shared": {}}, True), ("c", {"earlier_runs": 0, "not_shared": {}}, False)):
        _record(tmp_path / (name * 64), "a" * 64, **more)
        assert check.shared(check.Record.read(tmp_path / (name * 64))) is shared, name
