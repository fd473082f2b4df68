"""A folder for what a proof trains, below the records, which is gone afterwards however the command ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seedbed import Refused
from seedbed.run import process, scratch

FOLDER = ".proof"  # below `runs`

_STOPPED: list[int] = []


@contextmanager
def workspace(runs: Path) -> Iterator[Path]:
    """A folder below `runs` that is gone afterwards, also after SIGTERM; those of processes that were killed go first."""
    parent = runs / FOLDER
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"Nothing can be kept in {runs}, not even for a while: {error}. Say a folder that can be written to.") from None
    try:
        with scratch.folder("proof", parent) as folder, process.signals_to(_stop):
            yield folder.absolute()
    finally:
        with suppress(OSError):
            parent.rmdir()


def raise_if_stopped() -> None:
    """For loops that wait: a signal may come when its exception is lost, since Python drops those that a hook of `os.fork` raises."""
    if _STOPPED and _STOPPED[-1] == signal.SIGTERM:
        raise SystemExit(128 + signal.SIGTERM)
    if _STOPPED:
        raise KeyboardInterrupt


def _stop(number: int, frame: Any) -> None:
    _STOPPED.append(number)
    raise_if_stopped()
