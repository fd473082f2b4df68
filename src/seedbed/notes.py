"""What MLflow has of a record: the note beside it, `tracking.json`, by the store's address. Nothing of MLflow is imported.

A record is anything with a `path`, an `id` and a `status`: a study's folder has notes, too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from seedbed import Refused
from seedbed.run import json_text, plain_files
from seedbed.run.plain_text import harmless
from seedbed.run.record import RUNNING, write_atomically
from seedbed.run.redaction import redacted

LARGEST = 1_000_000  # bytes of a note
DEEPEST = 20  # errors around an error
KINDS: dict[str, Any] = {
    "record": str, "run_id": str | None, "epochs": int, "most": int, "resumed": int, "status": str | None, "error": str | None,
    "parent": str | None,
}  # fmt: skip


def address(uri: str) -> str:
    """`uri` as it may be shown and kept: without account, password and query, which may hold one."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # brackets that hold no IPv6 address
        return "…"
    if not parts.query and "@" not in parts.netloc:
        return uri
    _, at, host = parts.netloc.rpartition("@")
    shown = urlunsplit(parts._replace(netloc=f"…@{host}" if at else host, query=""))
    return shown if "///" not in uri or parts.netloc else f"{parts.scheme}:///{parts.path.removeprefix('/')}"


def reason(error: BaseException, uri: str) -> str:
    """An error in a line that may be shown and kept: MLflow's messages quote the whole address, and a server's its own words."""
    text = _said(error)
    parts = urlsplit(uri)
    for secret in (parts.netloc.rpartition("@")[0], parts.password, unquote(parts.password or ""), parts.query):
        text = text.replace(secret, "…") if secret else text
    return harmless(redacted(" ".join(text.split())), 500)


def _said(error: BaseException) -> str:
    at: BaseException | None = error
    for _ in range(DEEPEST):  # MLflow puts errors of its own around others
        if isinstance(at, Refused):
            return str(at)
        at = at and (at.__cause__ or at.__context__)
    if (type(error).__module__ == "builtins" and not isinstance(error, OSError)) or type(error).__name__ == "ParseError":
        return f"its answer, or the record, is not what it has to be ({type(error).__name__}: {error})"
    return f"{type(error).__name__}: {error}"


def state(record: Any, uri: str) -> dict[str, Any]:
    """What has been sent of a record to `uri`: run_id, epochs, status, error."""
    found = _all(record.path).get(_name(uri), {})
    return found if found.get("record") == record.id else {}  # not the note about a failed run that was here before


def error(folder: Path, uri: str) -> str | None:
    """Why something of the record or study in `folder` could not be sent to `uri`; None if nothing is noted."""
    found: str | None = _all(folder).get(_name(uri), {}).get("error")
    return harmless(found, 500) if found else None


def is_complete(record: Any, uri: str) -> bool:
    return bool(state(record, uri).get("status") == record.status != RUNNING)


def places(record: Any, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """(addresses to send a record to, addresses that the record names and that are not asked).

    A record may come from elsewhere: what stands beside it sends nothing, and no account's password, to an address that the
    project's configuration or the environment doesn't name.

    Args:
        known: the addresses that they name. Nothing is noted: the first.
    """
    noted = _all(record.path)
    if not noted:
        return list(known[:1]), []
    names = {_name(uri): uri for uri in known}
    strange = [name for name, found in noted.items() if name not in names and found.get("status") != record.status]
    return [names[name] for name in noted if name in names], [harmless(name.partition("#")[0]) for name in strange]


def _all(folder: Path) -> dict[str, dict[str, Any]]:
    """What the note says, by the store's name; of a note of another shape, what is of the right one."""
    try:
        found = json_text.loads(plain_files.read(folder / "tracking.json", LARGEST, optional=True) or b"{}")
    except (Refused, OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: {key: value for key, value in states.items() if isinstance(value, KINDS.get(key, object))}
            for name, states in found.items() if isinstance(states, dict)}  # fmt: skip


def _name(uri: str) -> str:
    """A store's name in tracking.json: its address without a password, and a hash where that leaves something out."""
    shown = address(uri)
    return shown if shown == uri else f"{shown}#{hashlib.sha256(os.fsencode(uri)).hexdigest()[:12]}"


def note(record: Any, uri: str, **values: Any) -> None:
    states = _all(record.path)
    states[_name(uri)] = {"record": record.id, **state(record, uri), **values}
    write_atomically(record.path / "tracking.json", json_text.dumps(states, indent=1))
