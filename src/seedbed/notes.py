"""What MLflow has of a record: the note beside it, `tracking.json`, by the store's address. Nothing of MLflow is imported.

A record is anything with a `path`, an `id` and a `status`: a study's folder has notes, too.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from seedbed.run.plain_text import harmless
from seedbed.run.record import RUNNING, write_atomically
from seedbed.run.redaction import redacted


def address(uri: str) -> str:
    """`uri` as it may be shown and kept: without account, password and query, which may hold one."""
    parts = urlsplit(uri)
    if not parts.query and "@" not in parts.netloc:
        return uri
    _, at, host = parts.netloc.rpartition("@")
    shown = urlunsplit(parts._replace(netloc=f"…@{host}" if at else host, query=""))
    return shown if "///" not in uri or parts.netloc else f"{parts.scheme}:///{parts.path.removeprefix('/')}"


def reason(error: Exception, uri: str) -> str:
    """An error in a line that may be shown and kept: MLflow's messages quote the whole address."""
    text = f"{type(error).__name__}: {error}"
    parts = urlsplit(uri)
    for secret in (parts.netloc.rpartition("@")[0], parts.password, unquote(parts.password or ""), parts.query):
        text = text.replace(secret, "…") if secret else text
    return harmless(redacted(text), 500)


def state(record: Any, uri: str) -> dict[str, Any]:
    """What has been sent of a record to `uri`: run_id, epochs, status, error."""
    found: dict[str, Any] = _all(record).get(_name(uri), {})
    return found if found.get("record") == record.id else {}  # not the note about a failed run that was here before


def is_complete(record: Any, uri: str) -> bool:
    return state(record, uri).get("status") == record.status != RUNNING


def places(record: Any, usual: str) -> list[str]:
    """The addresses to which the record was to be sent, as far as they are known (one that holds a password isn't); else `usual`."""
    noted = _all(record)
    known = [name for name in noted if "#" not in name]
    return [*known, usual] if usual not in known and (not noted or _name(usual) in noted) else known


def _all(record: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((record.path / "tracking.json").read_text())
        return found
    except (OSError, ValueError):
        return {}


def _name(uri: str) -> str:
    """A store's name in tracking.json: its address without a password, and a hash where that leaves something out."""
    shown = address(uri)
    return shown if shown == uri else f"{shown}#{hashlib.sha256(uri.encode()).hexdigest()[:12]}"


def note(record: Any, uri: str, **values: Any) -> None:
    states = _all(record)
    states[_name(uri)] = {"record": record.id, **state(record, uri), **values}
    write_atomically(record.path / "tracking.json", json.dumps(states, indent=1))
