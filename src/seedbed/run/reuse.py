"""What there is of a key already: a record to use or to go on with, or what a crash or the disk has left of one.

Looked at with the key's lock held, before a run uses, resumes or replaces anything. A damaged record is put aside under
`<runs>/damaged/`, so that nothing is lost, and the key is trained again; one whose record.json can't be read is refused.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from seedbed import Refused
from seedbed.run import claims, integrity, record
from seedbed.run.record import FINISHED, Record


def standing(path: Path, runs: Path, said: Callable[[str], None]) -> Record | None:
    """Return the record in `path`, if it is whole; None if there is none.

    Args:
        path: The record's folder.
        runs: The folder of records that it lies in.
        said: Gets a line for people where something was put aside.

    Raises:
        Refused: record.json is not what seedbed writes, or of another key; or `path` is no folder.
    """
    integrity.remove_leftovers(path)
    if not os.path.lexists(path):
        return None
    if not path.is_dir():
        raise Refused(f"{path} is no folder, and a record is one. Next: move it away, then the same command again.")
    if not os.path.lexists(path / "record.json"):
        if any(path.iterdir()):
            _put_aside(path, runs, "is half made (no record.json)", said)
        else:
            path.rmdir()
        return None
    found = Record.kept(path)
    if why := damage(found):
        _put_aside(path, runs, f"is damaged ({why})", said)
        return None
    return found


def damage(found: Record, whole: bool = False) -> str:
    """Return what is damaged in a record, in words; empty if nothing is. whole: hash large files, too."""
    wrong = [str(one) for one in found.damage(whole)]
    if not wrong and found.status == FINISHED and found.content.get("sha256") is None:
        wrong = _of_an_older_format(found)
    return "; ".join(wrong)


def _of_an_older_format(found: Record) -> list[str]:
    """What a finished record of format 1, which holds no hashes of files, says against itself."""
    missing = [name for name in ("config.yaml", "history.jsonl") if not (found.path / name).is_file()]
    if not any((found.path / name).is_file() for name in ("model.keras", "weights.npz")) and "fetched" not in found.content:
        missing.append("model.keras")
    if missing:
        return [f"{name}: it is missing" for name in missing]
    try:
        return claims.contradictions(found.content, found.history())
    except (KeyError, TypeError, AttributeError, OverflowError):
        return ["record.json: fields are missing, or of another kind"]


def _put_aside(path: Path, runs: Path, what: str, said: Callable[[str], None]) -> None:
    try:
        aside = integrity.put_aside(path, runs)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise Refused(record.not_kept(error)) from None
    said(f"The record {path} {what}: it was moved to {aside}, and the run is trained again.")


def where(path: Path, runs: Path, force: bool, said: Callable[[str], None]) -> tuple[Path, Record | None, Record | None]:
    """Return where to train, the record that stands there, and the finished one to compare with.

    With `force`, a finished record stays as it is, and its `again/` is where to train. Arguments and errors: see `standing`.
    """
    found = standing(path, runs, said)
    if not force or found is None or found.status != FINISHED:
        return path, found, None
    again = path / record.AGAIN
    old = standing(again, runs, said)
    if old is not None and old.status == FINISHED:
        shutil.rmtree(again)
        old = None
    return again, old, found
