"""The schema of record.json: which fields a record has and of what kind, checked before anything is done with them.

A record may come from elsewhere, and the disk may have damaged it: what is read here is data, and whatever is missing, of
another kind, too large or nested too deep is refused with its name.
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, StringConstraints, ValidationError

from seedbed import Refused
from seedbed.run import json_text, plain_files

FORMAT = 2  # 1: no hashes of files, no digest of the metrics
READABLE = (1, 2)
LARGEST = 20_000_000  # bytes of record.json
MOST_NAMED = 5  # fields that a message names
LONGEST_NAME = 255  # bytes of each part of a file's name: more than that no file system has
LAST = 250_000_000_000  # seconds since 1970: a day of the year 9892, which Python and MLflow still take

FINISHED, FAILED, INTERRUPTED, RUNNING = "finished", "failed", "interrupted", "running"


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name:
        raise ValueError("a name that leads out of the record's folder")
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):  # a ValueError, too, for half of a character
        raise ValueError("a name that no file has")
    return name


def _float(value: int | float) -> int | float:
    try:
        float(value)
    except OverflowError:
        raise ValueError("a number that no metric is") from None
    return value


Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Key = Annotated[str, StringConstraints(pattern="^([0-9a-f]{64})?$")]  # "": it has not come so far
Id = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
Level = Literal["", "off", "seeded", "strict", "portable"]
Time = Annotated[FiniteFloat, Field(ge=0, le=LAST)]
Seconds = Annotated[FiniteFloat, Field(ge=-LAST, le=LAST)]  # clocks are set back
Name = Annotated[str, AfterValidator(_inside)]
Number = Annotated[int | float, AfterValidator(_float)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class File(_Part):
    sha256: Sha256
    size: NonNegativeInt


class Environment(_Part):
    packages: dict[str, str] = {}


class Inputs(_Part):
    code: dict[str, str] = {}
    config: dict[str, Any] = {}
    data: str = ""
    determinism: dict[str, Any] = {}
    environment: Environment = Environment()
    seeds: dict[str, int] = {}


class Timing(_Part):
    started: Time
    ended: Time | None = None
    seconds: Seconds | None = None
    fit_seconds: Seconds | None = None
    after_fit_seconds: Seconds | None = None


class Content(_Part):
    """record.json. Fields that have a default are missing in records that have not come so far, or are of an older version."""

    format: int
    id: Id
    status: Literal["finished", "failed", "interrupted", "running"]
    timing: Timing
    key: Key = ""
    name: str = ""
    level: Level = ""
    seeds: dict[str, int] = {}
    inputs: Inputs = Inputs()
    provenance: dict[str, Any] = {}
    metrics: dict[str, Number] = {}
    digests: dict[str, Sha256] = {}
    error: str | None = None
    evaluation: str | None = None
    resumed: list[int] = []
    not_resumable: str | None = None
    not_resumed: str | None = None
    files: dict[Name, File] = {}
    read: dict[str, str | None] = {}
    sha256: Sha256 | None = None


def read(path: Path) -> dict[str, Any]:
    """Return what the record.json `path` holds.

    Raises:
        Refused: It is not readable, or not what seedbed writes.
    """
    content = plain_files.read(path, LARGEST) or b""
    try:
        found = json_text.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} can't be read: {_first_line(error)}. {NEXT.format(path=path.parent)}") from None
    if not isinstance(found, dict) or found.get("format") not in READABLE or isinstance(found["format"], bool):
        have = json.dumps(found.get("format") if isinstance(found, dict) else None, default=str)[:40]
        accepted = " and ".join(map(str, READABLE))
        raise Refused(f"{path} has the format {have}; this version reads {accepted}. {NEXT.format(path=path.parent)}")
    check(found, path)
    return found


NEXT = "Next: move {path} away; the command that made it trains it again."


def check(content: dict[str, Any], path: Path) -> None:
    """Raise Refused, naming the fields, unless `content` is what a record.json holds. path: the file, for the message."""
    try:
        Content.model_validate(content)
    except (ValidationError, RecursionError) as error:
        raise Refused(
            f"{path} is not what seedbed writes: {_fields(error)} missing, or of another kind. {NEXT.format(path=path.parent)}"
        ) from None


def _fields(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "values"
    # names may come from elsewhere: in ASCII, so that no terminal obeys them
    names = [".".join(str(part) for part in one["loc"] if part not in ("int", "float")) for one in error.errors(include_url=False)]
    shown = [ascii(name)[1:-1][:80] for name in dict.fromkeys(names)]
    return ", ".join(shown[:MOST_NAMED]) + (f" and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else "")


def _first_line(error: Exception) -> str:
    return ascii(str(error).splitlines()[0] if str(error) else type(error).__name__)[1:-1][:200]
