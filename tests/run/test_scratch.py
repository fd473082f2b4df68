"""Temporary folders: gone at the end, and those of killed processes with the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OUTSIDE

from seedbed.run import scratch

LEAVES = """
import os, pathlib, sys
from seedbed.run import scratch
with scratch.folder("x", pathlib.Path(sys.argv[1])) as made:
    (made / "file").write_text("half")
    print(made.name, flush=True)
    sys.stdin.read()
    os._exit(9)
"""


def test_a_killed_process_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", LEAVES, str(tmp_path)], env=OUTSIDE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdin is not None
    assert first.stdout is not None
    name = first.stdout.readline().decode().strip()
    (tmp_path / ".seedbed-x-link").symlink_to(tmp_path)
    with scratch.folder("x", tmp_path) as mine:
        assert (tmp_path / name / "file").exists()  # it lives
        first.stdin.close()
        first.wait()
        first.stdout.close()
        with scratch.folder("y", tmp_path):
            assert (tmp_path / name).exists()  # of another purpose
        with scratch.folder("x", tmp_path):
            assert not (tmp_path / name).exists()
            assert mine.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".seedbed-x-link"]


def test_where_there_are_no_locks_nothing_of_others_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".seedbed-x-other").mkdir()

    def flock(handle: int, how: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(scratch.fcntl, "flock", flock)
    with scratch.folder("x", tmp_path) as made:
        (made / "file").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".seedbed-x-other"]
