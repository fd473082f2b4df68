"""The integrity of a record: the hash of each of its files, kept in record.json, and that file's hash of itself.

record.json holds
    files     name → {sha256, size} of every file of the record: what seedbed writes, and what callbacks wrote into the folder
    sha256    of record.json's own content without this field, as `json_text.canonical` has it

This finds damage (a disk, a copy that broke off) and careless edits. It is no seal against a forger, who can compute the hashes
again. Not in the table: files that change after the run (VOLATILE), hidden ones, and the folders BESIDE it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed import Refused
from seedbed.run import plain_files
from seedbed.run.json_text import canonical

VOLATILE = frozenset({"record.json", "tracking.json"})
BESIDE = frozenset({"checkpoints", "again"})  # folders inside a record that have hashes of their own

# What MLflow has of a record besides record.json: one that was fetched from there may lack the others.
SENT = frozenset({"config.yaml", "history.jsonl", "code.diff", "rows.npz"})

SMALL = 1_000_000  # bytes; files up to this size are hashed each time that a record is used
DAMAGED = "damaged"  # the folder under the folder of records for what was put aside


@dataclass(frozen=True)
class Damage:
    """What is wrong with one file of a record. file: its name inside the folder."""

    file: str
    how: str

    def __str__(self) -> str:
        return f"{self.file}: {self.how}"


def entry(content: bytes) -> dict[str, Any]:
    """Return what the table says of a file with this content."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def table(folder: Path, known: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Return the table of a record's files.

    Args:
        folder: The record's.
        known: Entries that were made when their files were written; those files are not read again.
    """
    found = dict(known or {})
    for name in names(folder):
        if name not in found:
            path = folder / name
            found[name] = {"sha256": plain_files.sha256(path), "size": path.stat().st_size}
    return dict(sorted(found.items()))


def names(folder: Path) -> Iterator[str]:
    """Yield the names of the plain files that belong to a record, those in folders as `folder/name`."""
    for place, folders, files in os.walk(folder):
        at = os.path.relpath(place, folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not (at == "." and name in BESIDE))
        for name in sorted(files):
            if name.startswith(".") or (at == "." and name in VOLATILE):
                continue
            path = os.path.join(place, name)  # noqa: PTH118 (names that are not UTF-8 stay as they are)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield os.path.relpath(path, folder)


def surplus(folder: Path, content: Mapping[str, Any]) -> list[str]:
    """Return what lies in a finished record's folder and is not in its table: it is neither sent nor hashed.

    Args:
        folder: The record's.
        content: What its record.json holds.
    """
    if content.get("status") != "finished" or "files" not in content or "sha256" not in content:
        return []  # files are still to come, or were never listed
    found = []
    for place, folders, files in os.walk(folder):
        at = os.path.relpath(place, folder)
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]  # noqa: PTH114, PTH118 (names that are not UTF-8)
        folders[:] = [name for name in folders if not (name.startswith(".") or (at == "." and name in BESIDE))]
        for name in (*files, *links):
            path = name if at == "." else f"{at}/{name}"
            if not name.startswith(".") and path not in content["files"] and path not in VOLATILE:
                found.append(path)
    return sorted(found)


def flush(folder: Path, files: Collection[str]) -> None:
    """Bring the record's files and folders to the disk, so that record.json never says more than a power cut has left."""
    places = {folder, folder.parent}
    for name in files:
        places |= {folder / parent for parent in Path(name).parents}
        _flush(folder / name)
    for place in places:
        _flush(place)


def publish(partial: Path, path: Path) -> None:
    """Give a file that was written under another name its own, once it is on the disk."""
    _flush(partial)
    partial.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def own_hash(content: Mapping[str, Any]) -> str:
    """Return the hash of record.json's content, without the field that holds it."""
    return hashlib.sha256(canonical({name: value for name, value in content.items() if name != "sha256"}).encode()).hexdigest()


def damage(folder: Path, content: Mapping[str, Any], whole: bool = False, only: Collection[str] | None = None) -> list[Damage]:
    """Return what is damaged in a record; empty if nothing is, or if it is of a format that held no hashes.

    Args:
        folder: The record's.
        content: What its record.json holds.
        whole: Hash every file; otherwise those up to SMALL bytes, and of the others the size alone.
        only: Look at these files alone.
    """
    found: list[Damage] = []
    if "sha256" in content and content["sha256"] != own_hash(content):
        found.append(Damage("record.json", "its content does not have the hash that it holds: it was changed after it was written"))
    for name, kept in (content.get("files") or {}).items():
        if only is not None and name not in only:
            continue
        path = folder / name
        if "fetched" in content and name not in SENT and not os.path.lexists(path):
            continue  # MLflow's copy has no such file
        if how := _how(folder, path, kept, whole):
            found.append(Damage(name, how))
    return found


def _how(folder: Path, path: Path, kept: Mapping[str, Any], whole: bool) -> str | None:
    """How a file differs from what the table says of it; None if it doesn't, as far as that was looked at."""
    try:
        if any(parent.is_symlink() for parent in list(path.parents)[: len(path.relative_to(folder).parts) - 1]):
            return "a folder that it lies in is a link"
        there = path.lstat()
        if not stat.S_ISREG(there.st_mode):
            return "it is no plain file"
        if there.st_size != kept["size"]:
            return f"it has {there.st_size:,} bytes and had {kept['size']:,}"
        if (whole or there.st_size <= SMALL) and plain_files.sha256(path) != kept["sha256"]:
            return "its content is another than the one that was written"
    except (FileNotFoundError, NotADirectoryError):
        return "it is missing"
    except (OSError, ValueError, Refused) as error:  # ValueError: a name that no file can have
        return f"it can't be read ({getattr(error, 'strerror', None) or error})"
    return None


def listed(found: Collection[Damage]) -> str:
    """Return damage as part of a sentence."""
    return "; ".join(str(one) for one in found)


def put_aside(path: Path, runs: Path) -> Path:
    """Move a damaged record into `runs`/damaged, under a name that is free, and return its new place. Raises OSError."""
    folder, name = runs / DAMAGED, "-".join(path.relative_to(runs).parts)
    folder.mkdir(exist_ok=True)
    number, target = 1, folder / name
    while os.path.lexists(target):
        number += 1
        target = folder / f"{name}.{number}"
    path.rename(target)
    return target


def remove_leftovers(path: Path) -> list[Path]:
    """Remove what a process left that was killed while it made the record `path`; call it with the key's lock held.

    Returns:
        The folders and files that were removed.
    """
    removed = [*path.parent.glob(f".{path.name}.[0-9]*")]
    for name in ("record.json", "history.jsonl", "weights.npz", "model.keras"):
        removed += path.glob(f".{name}.[0-9]*")
    for left in removed:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()
    return removed
