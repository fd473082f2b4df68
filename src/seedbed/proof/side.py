"""One of the two records that are compared: read as data from anywhere, of which nothing is run and no path is followed.

A record may be of a run that goes on, has failed or was stopped: it has no metrics and few digests then. Whatever else is missing, of
another kind or too large is refused.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seedbed import Refused
from seedbed.proof import untrusted
from seedbed.run import claims, digest, integrity, json_text, plain_files, record_schema
from seedbed.run.fingerprint import LARGEST_ROWS
from seedbed.run.plain_text import harmless
from seedbed.run.record import FINISHED

ABOUT = 1_000_000  # bytes of `about` in rows.npz

# What record.json must have, and of what kind; dotted names lead into it.
SHAPE: dict[str, type] = {
    "key": str, "status": str, "level": str, "name": str, "seeds": dict, "metrics": dict, "digests": dict, "timing": dict,
    "provenance": dict, "inputs": dict, "inputs.code": dict, "inputs.config": dict, "inputs.data": str, "inputs.determinism": dict,
    "inputs.environment": dict, "inputs.environment.packages": dict, "inputs.seeds": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """What rows.npz says of the data. hashes: by part, uint64 (rows,). parts: by part, kind, rows, arrays, left_out."""

    hashes: Mapping[str, np.ndarray]
    parts: Mapping[str, Mapping[str, Any]]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """A record. history: one mapping of metrics an epoch. doubts: where it contradicts itself. damage: its files that are
    not what was written."""

    path: Path
    content: Mapping[str, Any]
    config: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    diff: bytes
    rows: Rows | None
    doubts: Sequence[str] = field(default=())
    damage: Sequence[str] = field(default=())

    @property
    def key(self) -> str:
        return str(self.content["key"])

    @property
    def status(self) -> str:
        return str(self.content["status"])

    @property
    def level(self) -> str:
        return str(self.content["level"])

    @property
    def finished(self) -> bool:
        return self.status == FINISHED

    @property
    def inputs(self) -> Mapping[str, Any]:
        return self.content["inputs"]  # type: ignore[no-any-return]

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.content["provenance"]  # type: ignore[no-any-return]

    @property
    def digests(self) -> Mapping[str, str]:
        return digest.completed(self.content["digests"], self.content["metrics"])


def read(folder: Path) -> Side:
    """The record in `folder`; raises Refused, naming the file, if it is broken, partial or not what seedbed writes."""
    content = _content(folder / "record.json")
    _bytes(folder / "config.yaml")
    config, history = untrusted.config_of(folder), _history(folder / "history.jsonl", str(content["status"]))
    diff = _bytes(folder / "code.diff", optional=True)
    damage = [str(one) for one in integrity.damage(folder, content)]
    doubts = [*damage, *claims.contradictions(content, history)]
    return Side(folder, content, config, history, diff or b"", _rows(folder / "rows.npz"), doubts, damage)


def _bytes(path: Path, optional: bool = False) -> bytes | None:
    return plain_files.read(path, claims.FILES[path.name], optional)


def _content(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        raise Refused(f"{path.parent} is not a whole record: {path.name} is missing.")
    found = record_schema.read(path)
    wrong = [name for name, kind in SHAPE.items() if not isinstance(claims.at(found, name), kind)]
    if wrong:
        raise Refused(f"{path} is not what seedbed writes: {', '.join(wrong)} missing, or of another kind.")
    return found


def _history(path: Path, status: str) -> list[dict[str, float]]:
    """The metrics of each epoch; of a run that isn't finished, a last line that was cut off doesn't count."""
    lines = (_bytes(path) or b"").splitlines()
    found: list[dict[str, float]] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json_text.loads(line)
            metrics = row["metrics"]
            if row["epoch"] != len(found) or not all(type(value) in (int, float) for value in metrics.values()):
                raise ValueError("not an epoch and its metrics")
            found.append({name: float(value) for name, value in metrics.items()})
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            if number == len(lines) and status != FINISHED:
                break
            raise Refused(f"{path}, line {number}, can't be read: {harmless(error)}.") from None
    return found


def _rows(path: Path) -> Rows | None:
    """rows.npz, if there is one: what `fingerprint.rows` writes, and nothing else that NumPy can read."""
    content = _bytes(path, optional=True)
    if content is None:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
            if any(info.file_size > (ABOUT if name == "about" else LARGEST_ROWS) + 1000 for name, info in members.items()):
                raise ValueError("larger than what a record keeps")
            arrays = {name: _array(file.read(info)) for name, info in members.items()}
        about = json.loads(arrays.pop("about").tobytes())
        parts = about["parts"]
        for name, part in parts.items():
            known = arrays[name].shape == (part["rows"],) if part["left_out"] is None else name not in arrays
            if not known or not isinstance(part["kind"], str) or not all(isinstance(pair, list) for pair in part["arrays"]):
                raise ValueError(f"part {name}")
        if any(array.dtype != np.dtype("<u8") for array in arrays.values()) or not set(arrays) <= set(parts):
            raise ValueError("not row hashes")
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, MemoryError, RecursionError, NotImplementedError,
            RuntimeError, zipfile.BadZipFile, zlib.error, SyntaxError) as error:  # fmt: skip
        why = harmless(error) or type(error).__name__
        raise Refused(f"{path} can't be read: {why}. Without that file records can be compared, too, but for the rows.") from None
    return Rows(arrays, parts, {name: about.get(name) for name in ("outputs", "classes", "vocabulary")})


def _array(content: bytes) -> np.ndarray:
    """A one-dimensional .npy file of uint8 or uint64; its header is believed only as far as there are bytes."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):  # type: ignore[no-untyped-call]
        raise ValueError("not what seedbed writes")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
    rest = content[file.tell() :]
    if len(shape) != 1 or dtype not in (np.dtype("<u8"), np.dtype("u1")) or len(rest) != shape[0] * dtype.itemsize:
        raise ValueError("not what seedbed writes")
    return np.frombuffer(rest, dtype)
