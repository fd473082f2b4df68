"""A record's claims about itself, checked: one that comes from elsewhere is data, and may be wrong or lie.

Nothing in it is run or resolved here, and nothing is read but the files named in FILES.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seedbed import Refused
from seedbed.run import digest, integrity, record_schema
from seedbed.run.record import FINISHED, LARGEST_HISTORY, Record, key_of

# The files that a record is taken from, each with its largest size in bytes.
FILES = {"record.json": record_schema.LARGEST, "config.yaml": 1_000_000, "history.jsonl": LARGEST_HISTORY, "code.diff": 20_000_000,
         "rows.npz": 400_000_000}  # fmt: skip
OPTIONAL = ("code.diff", "rows.npz")

# What is where, by dotted name.
SHAPE = {
    "key": str, "name": str, "level": str, "seeds": dict, "digests": dict, "timing": dict, "provenance": dict, "provenance.git": dict,
    "inputs": dict, "inputs.code": dict, "inputs.config": dict, "inputs.data": str, "inputs.seeds": dict,
    "inputs.determinism": dict, "inputs.determinism.environment": dict, "inputs.determinism.threads": dict,
    "inputs.environment": dict, "inputs.environment.packages": dict, "inputs.environment.variables": dict,
}  # fmt: skip
DIGESTS = ("initial_weights", "final_weights", "history", "run")  # that every finished run has
SHA256 = re.compile("[0-9a-f]{64}")


def checked(folder: Path) -> Record:
    """The record in `folder`, if it is finished, whole and agrees with itself: key with inputs, digests with one another.

    Raises Refused, which says what is wrong.
    """
    for name, largest in FILES.items():
        _check_file(folder / name, largest)
    try:
        record = Record.read(folder)
        _check(record)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError, struct.error) as error:
        raise Refused(f"The record {folder} is not what seedbed writes: {type(error).__name__}: {error}.") from None
    return record


def _check_file(path: Path, largest: int) -> None:
    try:
        found = path.lstat()
    except OSError:
        if path.name in OPTIONAL:
            return
        raise Refused(f"{path.parent} is not a whole record: {path.name} is missing.") from None
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path} is no plain file, and a record holds plain files alone.")
    if found.st_size > largest:
        raise Refused(f"{path} has {found.st_size:,} bytes; a record's has {largest:,} at most.")


def _check(record: Record) -> None:
    content = record.content
    if content.get("status") != FINISHED:
        raise Refused(f"The record {record.path} has the status {content.get('status')!r}. Accepted: {FINISHED}.")
    wrong = [name for name, kind in SHAPE.items() if not isinstance(at(content, name), kind)]
    wrong += [f"digests.{name}" for name in DIGESTS if not wrong and name not in record.digests]
    wrong += [f"digests.{name}" for name, value in (record.digests or {}).items() if not wrong and not _is_sha256(value)]
    if wrong:
        raise Refused(f"The record {record.path} is not what seedbed writes: {', '.join(wrong)} missing, or of another kind.")
    if damage := integrity.damage(record.path, content, whole=True, only=integrity.SENT):
        raise Refused(f"The record {record.path} is damaged: {integrity.listed(damage)}.")
    if lies := contradictions(content, record.history()):
        raise Refused(f"The record {record.path} contradicts itself: {'; '.join(lies)}. It was changed after it was written.")


def contradictions(content: Mapping[str, Any], history: Sequence[Mapping[str, float]]) -> list[str]:
    """Where a record contradicts itself: it was changed after it was written, or is made up. content: what record.json holds."""
    digests, inputs = content["digests"], content["inputs"]
    claims = {
        "its key is not that of its inputs": content["key"] == key_of(inputs),
        "its level is not the one in its inputs": content["level"] == inputs["determinism"].get("level"),
        "its seeds are not those in its inputs": content["seeds"] == inputs["seeds"],
    }
    if content["status"] == FINISHED:
        claims["its digests don't belong to one another"] = digest.combined(digests) == digests.get("run")
        kept = digests.get("metrics")
        claims["its metrics are not those of their digest"] = kept is None or digest.metrics(content.get("metrics") or {}) == kept
        claims["its history is not the one of its digest"] = digest.history(history) == digests.get("history")
    return [words for words, holds in claims.items() if not holds]


def at(content: Any, name: str) -> Any:
    """What stands at a dotted name; None if nothing does."""
    for part in name.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None
