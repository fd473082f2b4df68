"""The mark of records that were made here: a keyed hash that a record from elsewhere cannot have.

The key is 32 random bytes in the user's state folder ($XDG_STATE_HOME/seedbed/key, else
~/.local/state/seedbed/key), which only the user may read. The mark covers what a replay would run:
the run key, the record's id, the commit, config.yaml and code.diff. A copied record keeps its mark; an
edited one loses it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seedbed import Refused

FIELD = "origin"  # of record.json
LENGTH = 32  # bytes of the key
COVERED = ("config.yaml", "code.diff")
LARGEST = 20_000_000  # bytes of a file that is covered


def key_file() -> Path:
    """The path of this user's key. A relative XDG_STATE_HOME does not count, as its specification says."""
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    if not state.is_absolute():
        state = Path("~/.local/state").expanduser()
    return state / "seedbed" / "key"


def mark(content: Mapping[str, Any], folder: Path) -> str | None:
    """Compute the mark of a record that is being made here; make the key first if there is none.

    Args:
        content: what record.json is going to hold.
        folder: where config.yaml and code.diff lie.

    Returns:
        The mark in hex; None where the key cannot be read or made: the record then counts as one
        from elsewhere.
    """
    try:
        return _mark(_key(make=True), content, folder)
    except (OSError, RuntimeError, Refused):  # RuntimeError: no home directory
        return None


def doubt(content: Mapping[str, Any], folder: Path) -> str | None:
    """Say why a record counts as one from elsewhere; None if it was made here and is as it was made."""
    found = content.get(FIELD)
    if not isinstance(found, str):
        return "it has no mark of where it was made"
    try:
        expected = _mark(_key(make=False), content, folder)
    except FileNotFoundError:
        return "no record has been made here yet"
    except (OSError, RuntimeError) as error:
        return f"the key of this user's records cannot be read ({error})"
    except Refused as error:
        return str(error)
    if not hmac.compare_digest(expected.encode(), found.encode()):
        return "its mark is not one of this user's on this machine, or it was changed afterwards"
    return None


def hindrance() -> str | None:
    """Say why records that are made now will count as ones from elsewhere; None if they will not."""
    try:
        _key(make=True)
    except (OSError, RuntimeError, Refused) as error:
        return f"the key that marks them cannot be kept: {error}"
    return None


def _mark(key: bytes, content: Mapping[str, Any], folder: Path) -> str:
    found = content.get("provenance")
    git = found.get("git") if isinstance(found, Mapping) else None
    covered = {
        "key": content.get("key"),
        "id": content.get("id"),
        "commit": git.get("commit") if isinstance(git, Mapping) else None,
        "files": {name: _hash(folder / name) for name in COVERED},
    }
    return hmac.new(key, json.dumps(covered, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _hash(path: Path) -> str | None:
    content = _read(path, LARGEST)
    return None if content is None else hashlib.sha256(content).hexdigest()


def _key(make: bool) -> bytes:
    """The key; raises Refused if others may read it, FileNotFoundError if there is none and `make` is false."""
    path = key_file()
    if make and not path.exists():
        _make(path)
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Refused(f"{path} must be a plain file of this user's that no other may read: chmod 600 {path}")
    content = _read(path, LENGTH)
    if content is None or len(content) != LENGTH:
        raise Refused(f"{path} is no key: remove it, and the next run makes another one")
    return content


def _make(path: Path) -> None:
    """Write a new key; of several processes that do so at once, the first one's stays."""
    import ssl  # its generator: `verify` may play the others' draws from a tape, which is no secret

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".key.{os.getpid()}")
    fresh.unlink(missing_ok=True)  # of a process of that number that was killed
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(ssl.RAND_bytes(LENGTH))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()


def _read(path: Path, largest: int) -> bytes | None:
    """A plain file's contents; None if there is none. Raises Refused for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Refused(f"{path} is no plain file")
        content = file.read(largest + 1)
    if len(content) > largest:
        raise Refused(f"{path} is larger than {largest:,} bytes")
    return content
