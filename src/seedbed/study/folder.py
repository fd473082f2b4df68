"""A study's folder, found by its name and read as data from anywhere: nothing of it is run, and no path in it is followed.

What the folder holds: `seedbed.study.plan`. Records are looked for beside it, in the folder of records that it lies in.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed import Refused
from seedbed.proof import side
from seedbed.proof.side import Side
from seedbed.run import plain_files
from seedbed.run.claims import SHA256
from seedbed.run.plain_text import harmless
from seedbed.run.record import FINISHED

LARGEST = 20_000_000  # bytes of a file in a study's folder
PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = ("distribution", "learning_curves", "interval_width", "differences", "components")
TABLES = ("summary", "pairs")

# What study.json and report.json must say, each of its kind.
STUDY = {"id": str, "name": str, "overrides": list, "level": str}
REPORT = {"sentence": str, "finished": int, "asked": int}

FOLDER = re.compile(r"[^/\\\0]*-[0-9a-f]{12}")  # `<name>-<id>`; a part of a study is named so
MOST = 40  # studies that a message lists


@dataclass(frozen=True)
class Run:
    """One run of a study. part: the configuration, or the stream that was varied; "" where there is one alone.

    side: its record; None if that isn't to be had, and `why` says why.
    """

    part: str
    master: int
    side: Side | None
    why: str


@dataclass(frozen=True)
class Kept:
    """What a study's folder says. words: the overrides that it was asked for with. tables: by name, a row a mapping.

    parts: the names of the configurations or streams, the first one first; empty for one configuration over many seeds.
    """

    path: Path
    verb: str  # repeat, compare or variance
    name: str
    level: str
    words: Sequence[str]
    facts: Mapping[str, Any]
    tables: Mapping[str, list[dict[str, str]]]
    pictures: Mapping[str, bytes]
    parts: Sequence[str]
    runs: Sequence[Run]

    @property
    def sides(self) -> list[tuple[Run, Side]]:
        """The runs whose records are here."""
        return [(run, run.side) for run in self.runs if run.side is not None]


def found(study: str | None, runs: Path) -> Path:
    """The folder that `study` means: a path, the name of a folder under `runs`/studies, or its beginning. Raises Refused."""
    if study and os.path.isfile(Path(study) / "study.json"):  # noqa: PTH113 (any text: pathlib raises for a name that is too long)
        return Path(study).resolve()
    folder = runs / "studies"
    there = sorted(file.parent for file in folder.glob("*/study.json"))
    if study:
        exact = [path for path in there if path.name == study]
        if len(mine := exact or [path for path in there if path.name.startswith(study)]) == 1:
            return mine[0].resolve()
        said = f"More than one study begins with {harmless(study)}." if mine else f"There is no study {harmless(study)}."
    else:
        mine, said = [], "Which study?"
    if not there:
        raise Refused(f"{said} {folder} holds none; `seedbed repeat`, `compare` and `variance` make them.")
    shown = mine or there
    lines = [f"  {harmless(path.name)}  {_first_words(path)}".rstrip() for path in shown[:MOST]]
    if len(shown) > MOST:
        lines.append(f"  … and {len(shown) - MOST} more")
    raise Refused("\n".join([f"{said} Accepted: a folder, its name, or a beginning that only one has. Under {folder}:", *lines]))


def _first_words(path: Path) -> str:
    try:
        return harmless(_json(path / "report.json", REPORT)["sentence"], 90)
    except Refused:
        return "(no report yet)"


def read(path: Path, runs: Path | None = None) -> Kept:
    """The study in the folder `path`. runs: where its records are, if not two folders above. Raises Refused, naming the file."""
    content = _json(path / "study.json", STUDY)
    if not (path / "report.json").exists():
        raise Refused(f"{path} has no report yet: the study was stopped. The same command again: it trains what is missing.")
    facts = _json(path / "report.json", REPORT)
    verb = content.get("verb", "repeat")
    if verb not in ("repeat", "compare", "variance") or not all(isinstance(word, str) for word in content["overrides"]):
        raise Refused(f"{path / 'study.json'} is not what seedbed writes: verb or overrides of another kind.")
    parts = _parts(content, path)
    masters = facts.get("seeds")
    if masters is not None and not (isinstance(masters, list) and all(type(one) is int and 0 <= one < 2**32 for one in masters)):
        raise Refused(f"{path / 'report.json'} is not what seedbed writes: seeds of another kind.")
    records = runs or path.parent.parent
    folders = {part: path.parent / name for part, name in parts.items()} or ({"": path} if verb == "repeat" else {})
    return Kept(
        path, verb, content["name"], content["level"], content["overrides"], facts,
        {name: _table(path / f"{name}.csv") for name in TABLES if (path / f"{name}.csv").exists()},
        {name: _picture(path / f"{name}.png") for name in PICTURES if (path / f"{name}.png").exists()},
        list(parts), [run for part, folder in folders.items() for run in _runs(part, folder, masters, records)],
    )  # fmt: skip


def _json(path: Path, shape: Mapping[str, type]) -> dict[str, Any]:
    try:
        content = json.loads((plain_files.read(path, LARGEST) or b"").decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} can't be read: {harmless(error)}.") from None
    wrong = [name for name, kind in shape.items() if not isinstance(content, dict) or not isinstance(content.get(name), kind)]
    if wrong or not isinstance(content, dict):
        raise Refused(f"{path} is not what seedbed writes: {', '.join(wrong)} missing, or of another kind.")
    return content


def _parts(content: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The folder's name of each part of a comparison or of a split of the variance; none in one that an older version made."""
    parts = content.get("parts", {})
    if not isinstance(parts, dict) or not all(isinstance(name, str) and FOLDER.fullmatch(name) for name in parts.values()):
        raise Refused(f"{path / 'study.json'} is not what seedbed writes: parts of another kind.")
    return parts


def _table(path: Path) -> list[dict[str, str]]:
    try:
        text = (plain_files.read(path, LARGEST) or b"").decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise Refused(f"{path} is no table: {harmless(error)}.") from None
    if any(None in row or None in row.values() for row in rows):
        raise Refused(f"{path} is no table: a line has more or fewer values than the header.")
    return rows


def _picture(path: Path) -> bytes:
    content = plain_files.read(path, LARGEST) or b""
    if not content.startswith(PNG):
        raise Refused(f"{path} is no PNG picture, whatever its name says.")
    return content


def _runs(part: str, folder: Path, masters: Sequence[int] | None, records: Path) -> list[Run]:
    """The runs of these master seeds (None: of all that are noted), whose notes are in `folder`/seeds."""
    if masters is None:
        masters = sorted(int(file.stem) for file in (folder / "seeds").glob("[0-9]*.json") if file.stem.isdecimal())
    return [_run(part, folder / "seeds" / f"{master:010d}.json", master, records) for master in masters]


def _run(part: str, note: Path, master: int, records: Path) -> Run:
    if not note.exists():
        return Run(part, master, None, "it was not begun")
    try:
        noted = _json(note, {"status": str})
        if noted["status"] != FINISHED:
            error = str(noted.get("error") or "it was broken off").strip()
            return Run(part, master, None, error.splitlines()[-1])
        key = str(noted.get("key"))
        if not SHA256.fullmatch(key):
            return Run(part, master, None, "its note names no key")
        if not (records / key).is_dir():
            return Run(part, master, None, f"it has finished, but its record {key[:12]} is not under the folder of records any more")
        record = side.read(records / key)
    except Refused as error:
        return Run(part, master, None, str(error).replace(str(records), "…"))
    if record.key != key or not record.finished:
        return Run(part, master, None, f"the record {key[:12]} is not finished, or of another key")
    if record.damage:
        return Run(part, master, None, f"the record {key[:12]} is damaged ({'; '.join(record.damage)})")
    return Run(part, master, record, "; ".join(record.doubts))
