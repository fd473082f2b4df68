"""Files and caches outside of a run that it writes and reads again: what an earlier run has left there may decide its result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedbed.proof.execution import Execution
from seedbed.run.file_access import Accesses


@dataclass(frozen=True)
class Carried:
    """A file that one run leaves for the next. read, written: the user's lines that do so, as `file:line`; "": none is known."""

    path: str
    read: str
    written: str

    @property
    def said(self) -> str:
        places = [f"{verb} at {place}" for verb, place in (("read", self.read), ("written", self.written)) if place]
        return f"{self.path}: a run reads what an earlier one has written there{' (' + ', '.join(places) + ')' if places else ''}"


def carried(executions: Sequence[Execution]) -> list[Carried]:
    """The files that an execution has read and then written, or read after an earlier one had written them."""
    found: dict[str, Carried] = {}
    written: dict[str, str] = {}
    for one in _accesses(execution.folder for execution in executions):
        for path in [*one.rewritten(), *one.found(written)]:
            found.setdefault(path, Carried(path, one.read_first[path], one.written.get(path) or written.get(path, "")))
        written |= one.written
    return list(found.values())


def _accesses(folders: Iterator[Path]) -> Iterator[Accesses]:
    for folder in folders:
        try:
            yield Accesses(**json.loads((folder / "files.json").read_text()))
        except (OSError, ValueError, TypeError):
            continue  # an execution that was ended
