"""A record by the name that people give it: a path, a key, or as much of a key as no other record begins with."""

from __future__ import annotations

import re
from pathlib import Path

from seedbed import Refused
from seedbed.run.record import AGAIN, KEY, Record, all_records

MOST_NAMED = 6  # records that a message lists


def found(name: str, runs: Path) -> Path:
    """The folder of the record that `name` means.

    name: a record's folder or its record.json; else a key under `runs`, whole or its beginning, in either case with `/again` for
    what force=true has left there.
    Raises Refused if no record is meant, or several.
    """
    path = Path(name).expanduser()
    if path.name == "record.json" and path.is_file():
        path = path.parent
    if (path / "record.json").is_file():
        return path.absolute()
    beginning, _, rest = name.rstrip("/").partition("/")
    if not re.fullmatch("[0-9a-f]{1,64}", beginning) or rest not in ("", AGAIN):
        raise Refused(
            f"{name}: there is no such record. Accepted: a record's folder or its record.json, "
            f"or a key under {runs} or its beginning (KEY/{AGAIN}: what force=true has left)."
        )
    fitting = sorted(folder for folder in runs.glob(f"{beginning}*") if KEY.fullmatch(folder.name) and (folder / "record.json").is_file())
    if len(fitting) > 1:
        names = [folder.name for folder in fitting]
        length = next(n for n in range(len(beginning) + 1, 65) if len({key[:n] for key in names}) == len(names))
        shown = ", ".join(key[: max(length, 12)] for key in names[:MOST_NAMED]) + (" …" if len(names) > MOST_NAMED else "")
        raise Refused(f"{len(names)} records under {runs} begin with {beginning}: {shown}. Say more of the key.")
    if not fitting:
        raise Refused(f"No record under {runs} begins with {beginning}. {_there(runs)}")
    if rest and not (fitting[0] / rest / "record.json").is_file():
        raise Refused(f"{fitting[0]} has not been trained again (no {AGAIN}/): `seedbed train … force=true` does that.")
    return (fitting[0] / rest).absolute()


def _there(runs: Path) -> str:
    records: list[Record] = all_records(runs)
    if not records:
        return "There are no records: `seedbed train` makes one."
    last = ", ".join(f"{record.key[:12]} ({record.name})" for record in reversed(records[-MOST_NAMED:]))
    return f"The last ones: {last}."


def is_mlflow_id(name: str, runs: Path) -> bool:
    """Whether `name` is an MLflow run id (32 hex digits), and neither a path nor the beginning of a key under `runs`."""
    is_id = re.fullmatch("[0-9a-f]{32}", name) is not None
    return is_id and not Path(name).exists() and not any(runs.glob(f"{name}*/record.json"))
