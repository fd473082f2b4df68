"""Temporary folders that are gone afterwards, also those of a process that was killed: the next one removes them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "seedbed-"


@contextmanager
def folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a folder below `parent` (the system's for temporary files) and remove it at the end.

    It is called after its purpose and this process, so that a later process knows which of them nobody uses any more.
    """
    place = parent or Path(tempfile.gettempdir())
    prefix = f".{NAME}{purpose}-" if parent else f"{NAME}{purpose}-"
    remove_abandoned(place, prefix)
    made = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=place))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def remove_abandoned(place: Path, prefix: str) -> None:
    """Remove the folders `<prefix><process id>-…` in `place` whose process has ended, if they are this user's."""
    for left in place.glob(f"{prefix}*-*"):
        number = left.name.removeprefix(prefix).split("-")[0]
        if number.isdigit() and not lives(int(number)) and not left.is_symlink() and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)


def lives(number: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
