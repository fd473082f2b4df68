"""Plain files, read and hashed without following a link or waiting at a pipe.

A folder that comes from elsewhere may hold a link to a private file, a pipe that never ends, or a device. Each file is opened
without following links and looked at before a byte of it is read.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from seedbed import Refused
from seedbed.run.plain_text import harmless


@contextmanager
def opened(path: Path, links: bool = False) -> Iterator[BufferedReader]:
    """Open a plain file for reading.

    Args:
        path: The file.
        links: Whether a link to one will do, as in the user's own configuration.

    Raises:
        Refused: It is anything else.
        FileNotFoundError: There is none.
    """
    only = "" if links else " A record holds plain files alone."
    try:
        handle = os.open(path, os.O_RDONLY | (0 if links else os.O_NOFOLLOW) | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Refused(f"{harmless(path, None)} can't be read: {os.strerror(error.errno or 0)}.{only}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # fdopen itself refuses a folder
        os.close(handle)
        raise Refused(f"{harmless(path, None)} is no plain file.{only}")
    with os.fdopen(handle, "rb") as file:
        yield file


def read(path: Path, largest: int, optional: bool = False) -> bytes | None:
    """Return a plain file's contents.

    Args:
        path: The file; nothing else is opened in its place.
        largest: The most bytes that it may have.
        optional: Whether there may be none; None is returned then.

    Raises:
        Refused: It is missing, is no plain file, or is larger.
    """
    try:
        with opened(path) as file:
            content = file.read(largest + 1)
    except FileNotFoundError:
        if optional:
            return None
        raise Refused(f"{harmless(path.parent, None)} is not a whole record: {harmless(path.name, None)} is missing.") from None
    except OSError as error:
        raise Refused(f"{harmless(path, None)} can't be read: {os.strerror(error.errno or 0)}.") from None
    if len(content) > largest:
        raise Refused(f"{harmless(path, None)} is larger than a record's: more than {largest:,} bytes.")
    return content


def sha256(path: Path) -> str:
    """Return the SHA-256 of a plain file. Raises Refused and OSError."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy(path: Path, target: Path) -> None:
    """Copy a plain file's contents to `target`. Raises Refused and OSError."""
    with opened(path) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
