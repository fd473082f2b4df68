"""Temporary folders that are gone afterwards, also those of a process that was killed: the next one removes them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TRIES = 3
NAME = ".seedbed-"  # below a folder of the user's; without the point in the system's own


@contextmanager
def folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a folder below `parent` (the system's for temporary files) and remove it at the end.

    Its process holds a lock on it, which ends with the process: so the next one knows which of them are abandoned, also on a
    file system that several machines share. Where there are no locks, nothing of another process is removed.
    """
    place = parent or Path(tempfile.gettempdir())
    prefix = f"{NAME if parent else NAME[1:]}{purpose}-"
    remove_abandoned(place, prefix)
    for left in reversed(range(TRIES)):
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        if (lock := _locked(made)) is not None and made.is_dir():
            break
        if lock is not None:  # before it was held here, another process took it for an abandoned one
            os.close(lock)
            lock = None
        if left:
            shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700, exist_ok=True)  # where there are no locks
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_abandoned(place: Path, prefix: str) -> None:
    """Remove this user's folders in `place` whose names begin with `prefix` and which no process holds."""
    for left in place.glob(f"{prefix}*"):
        with suppress(OSError):
            if left.is_symlink() or left.stat().st_uid != os.getuid():
                continue
            if (lock := _locked(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of a folder; None if another process has it, or there are no locks here."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
