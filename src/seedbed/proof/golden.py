"""Digests that were written down, for a project's CI to guard its numbers: one file a job, an entry for each level and environment.

A golden from another environment (another CPU, other packages) has other bits by right, so it is not compared with but said to be
not comparable, and why. At the level `portable` the environment holds no CPU, so one from another machine is comparable. Code is no
part of what an entry is found by: that the numbers stay when code changes is what it is for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed import Refused
from seedbed.proof.verify import OUTPUTS
from seedbed.run import json_text
from seedbed.run.record import Record, write_atomically

FORMAT = 1


@dataclass(frozen=True)
class Compared:
    """agrees: None if there is no entry for this level and environment; `why` says how the nearest one is another. differing: the
    outputs that aren't the golden's; inputs: what has changed since it was written, and may be why. elsewhere: the CPU that it was
    written on, where that is another one (at `portable`, whose bits don't depend on it)."""

    file: Path
    agrees: bool | None
    why: list[str]
    differing: list[str]
    inputs: list[str]
    elsewhere: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"file": str(self.file), "agrees": self.agrees, "why": self.why, "differing": self.differing, "inputs": self.inputs,
                "elsewhere": self.elsewhere}  # fmt: skip


def compared(file: Path, record: Record) -> Compared:
    """A finished record against the golden in `file`; raises Refused if there is none or it can't be read."""
    entries = _read(file)
    mine = next((entry for entry in entries if _matches(entry, record)), None)
    if mine is None:
        why = min((_environments(entry, record) for entry in entries), key=len, default=["it holds no entry"])
        return Compared(file, None, why, [], [])
    differing = [name for name in OUTPUTS if name in mine["digests"] and mine["digests"][name] != record.digests.get(name)]
    inputs = [name for name, value in _inputs(record).items() if mine["inputs"].get(name) != value]
    there, here = mine.get("cpu"), _cpu(record)
    return Compared(file, not differing, [], differing, inputs, str(there) if there and there != here else None)


def write(file: Path, record: Record) -> None:
    """Put a finished record's digests into `file`, in the place of an entry for the same level and environment."""
    others = [entry for entry in _read(file) if not _matches(entry, record)] if file.exists() else []
    entry = {
        "name": record.name, "level": record.level, "environment": record.inputs["environment"], "inputs": _inputs(record),
        "cpu": _cpu(record), "metrics": record.metrics, "digests": record.digests,
    }  # fmt: skip
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json_text.dumps({"format": FORMAT, "goldens": [*others, entry]}, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise Refused(f"--write-golden {file}: it can't be written: {error}.") from None


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(file.read_text())
        entries: list[dict[str, Any]] = content["goldens"]
        whole = content["format"] == FORMAT and all(
            isinstance(entry[name], kind) for entry in entries for name, kind in
            (("level", str), ("environment", dict), ("inputs", dict), ("digests", dict))
        )  # fmt: skip
    except FileNotFoundError:
        raise Refused(f"--golden {file}: there is no such file. Next: the same command with --write-golden {file}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"--golden {file}: no golden can be read from it ({type(error).__name__}: {error}). Write it anew: --write-golden"
        ) from None
    if not whole:
        raise Refused(f"--golden {file}: it isn't a golden of format {FORMAT}. Write it anew: --write-golden {file}")
    return entries


def _matches(entry: dict[str, Any], record: Record) -> bool:
    return bool(entry["level"] == record.level and entry["environment"] == record.inputs["environment"])


def _inputs(record: Record) -> dict[str, Any]:
    """What a golden remembers of the inputs, by name, to say what has changed."""
    inputs = record.inputs
    named = {f"seeds.{name}": value for name, value in inputs["seeds"].items()}
    named |= {f"config.{name}": value for name, value in inputs["config"].items()}
    named |= {f"code {name}": value for name, value in inputs["code"].items()}
    return {**named, "data": inputs["data"], "determinism": inputs["determinism"]}


def _cpu(record: Record) -> str | None:
    """The name of the CPU that a record was trained on."""
    found = (record.provenance.get("cpu") or {}).get("model")
    return None if found is None else str(found)


def _environments(entry: dict[str, Any], record: Record) -> list[str]:
    """How an entry's level and environment differ from the record's, in words."""
    found = [] if entry["level"] == record.level else [f"level {entry['level']}, here {record.level}"]
    there, here = entry["environment"], record.inputs["environment"]
    for name in dict.fromkeys([*there, *here]):
        a, b = there.get(name), here.get(name)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            found += [f"{name} {key}: {a.get(key)}, here {b.get(key)}" for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
        else:
            found.append(f"{name}: {a}, here {b}")
    return found
