"""Files that a run writes and reads again, outside of its record: what one run leaves there is found by the next, in any process.

Seen is what Python opens (the audit event `open`); what a library opens in C (HDF5, TensorFlow's own files) is not.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from seedbed.run import provenance

EVENTS = frozenset({"open", "os.rename", "sqlite3.connect"})

# Folders and names in which what is written concerns no result.
ASIDE = ("/dev/", "/proc/", "/sys/")
CACHES = frozenset({"__pycache__", ".locks", ".proof", ".hydra", "studies"})


@dataclass
class Accesses:
    """The files that one run has opened, each with the line of the user's that did so first, as `file:line` ("": none did)."""

    read_first: dict[str, str] = field(default_factory=dict)  # that were there before the run wrote them
    written: dict[str, str] = field(default_factory=dict)

    def rewritten(self) -> list[str]:
        """The files that the run read and then wrote: a counter, a cache that grows. The next run finds other contents."""
        return [path for path in self.read_first if path in self.written]

    def found(self, written: Iterable[str]) -> list[str]:
        """The files that the run read before it wrote them, of those that earlier runs have written."""
        return sorted(set(self.read_first) & set(written))


class Watch:
    """Notes what is opened in this process; there is one, since an audit hook stays for ever."""

    def __init__(self) -> None:
        self.now: Accesses | None = None
        self.own: tuple[str, ...] = ()
        self._aside = (*ASIDE, *({str(Path(path).resolve()) for path in sysconfig.get_paths().values()} | {sys.base_prefix}) - {"/"})
        sys.addaudithook(self._event)

    def begin(self, own: Iterable[str] = ()) -> None:
        """A run begins. own: folders of seedbed's own, of records."""
        self.now, self.own = Accesses(), tuple(own)

    def end(self) -> Accesses:
        found, self.now = self.now or Accesses(), None
        return found

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.now is None or event not in EVENTS:
            return
        now, self.now = self.now, None  # what is done here opens nothing that counts
        try:
            if event == "open":
                self._opened(now, arguments[0], arguments[2] or 0)
            elif event == "os.rename":  # a file that is written beside its place
                self._opened(now, arguments[1], os.O_WRONLY)
            else:
                self._opened(now, arguments[0], os.O_RDWR)
        finally:
            self.now = now

    def _opened(self, now: Accesses, name: Any, flags: int) -> None:
        if not isinstance(name, str | bytes | os.PathLike):
            return  # the number of an open file
        path = os.path.abspath(os.fsdecode(name))  # noqa: PTH100
        if path.startswith((*self._aside, *self.own)) or CACHES & set(path.split("/")):
            return
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))
        reads = not flags & (os.O_WRONLY | os.O_TRUNC)
        known = path in now.written or path in now.read_first
        if reads and not known and os.path.isfile(path):  # noqa: PTH113
            now.read_first[path] = _line()
        if writes and path not in now.written:
            now.written[path] = _line()


def _line() -> str:
    """The nearest line of the call that is the user's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if not name.startswith("seedbed.") and provenance.is_own_module(name):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


_WATCH: Watch | None = None


def watch() -> Watch:
    """This process's watch."""
    global _WATCH
    _WATCH = _WATCH or Watch()
    return _WATCH
