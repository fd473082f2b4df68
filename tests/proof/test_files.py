"""What one execution leaves in files for the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seedbed.proof.execution import Execution
from seedbed.proof.files import Carried, carried


def execution(folder: Path, **accesses: dict[str, str]) -> Execution:
    folder.mkdir()
    (folder / "files.json").write_text(json.dumps({"read_first": {}, "written": {}, **accesses}))
    return Execution("as it is", folder, "finished", None, None, 1.0)


def test_files_that_are_carried_over(tmp_path: Path) -> None:
    first = execution(
        tmp_path / "1", read_first={"/a": "m.py:1", "/data": "m.py:9"}, written={"/a": "m.py:2", "/b": "m.py:3", "/c": "m.py:4"}
    )
    second = execution(tmp_path / "2", read_first={"/b": "m.py:5"}, written={"/c": "m.py:4"})
    gone: Any = Execution("ended", tmp_path / "3", "stopped", None, None, 1.0)
    found = carried([first, second, gone])
    assert found == [Carried("/a", "m.py:1", "m.py:2"), Carried("/b", "m.py:5", "m.py:3")]
    assert found[1].said == "/b: a run reads what an earlier one has written there (read at m.py:5, written at m.py:3)"
    assert carried([second, first]) == [Carried("/a", "m.py:1", "m.py:2")]
