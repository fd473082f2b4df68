"""A folder for what a proof trains, below the records, which is gone afterwards however the command ends."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from seedbed import Refused
from seedbed.run import process

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
    for left in parent.glob("*-*"):
        number = left.name.split("-")[0]
        if number.isdigit() and not _lives(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent)).absolute()
    try:
        with process.signals_to(_stop):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
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


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
