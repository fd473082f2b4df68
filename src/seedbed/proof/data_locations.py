"""Which files of this machine a record from elsewhere may name: the data that this project declares.

Declared is what stands in `conf/` at the same place, what lies in the project's folder `data/`, and what
the user names (`replay --data PATH`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed.proof.conf_targets import Declared, nodes
from seedbed.proof.untrusted import leaves
from seedbed.run.training import LOCATIONS

FOLDER = "data"  # of the project, for the user's own data
SECRET_DEVICES = re.compile(r"/(proc|sys|dev)(/|$)")


@dataclass(frozen=True)
class Locations:
    """Where data lie. folders: files and folders that are declared. texts: addresses that the user has named."""

    folders: tuple[Path, ...]
    texts: tuple[str, ...] = ()


def of(root: Path, named: Sequence[str]) -> Locations:
    """The locations of the project in `root`, and those that the user has named."""
    folders = [root / FOLDER, *(Path(text).expanduser() for text in named if "://" not in text)]
    return Locations(tuple(folder.resolve() for folder in folders), tuple(named))


def complaints(config: Mapping[str, Any], declared: Declared, locations: Locations) -> Iterator[tuple[str, str]]:
    """Yield each place of the config that names a file or an address which is not declared, with the reason."""
    for where, value in leaves(config):
        if where != "data.name" and (why := _complaint(where, value, declared, locations)):
            yield where, why


def of_keys(config: Mapping[str, Any], declared: Declared, locations: Locations) -> Iterator[tuple[str, Any, str]]:
    """Yield each key that names a file or an address which is not declared: the mapping's dotted name, the key and the reason.

    A function gets the keys of a mapping as it gets values. Those beside a `_target_` are names of its arguments.
    """
    inner = [node for node in nodes(config) if node.position is not None and node.position.nested and "_target_" not in node.content]
    known = {".".join(where.split(".")[:count]) for where in declared.values for count in range(where.count(".") + 2)} if inner else set()
    for node in inner:
        for key in node.content:
            if f"{node.where}.{key}" not in known and (why := _complaint(node.where, key, declared, locations)):
                yield node.where, key, why


def links(config: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield the relative places of data, and those in the user's home, each with the file or folder that it means.

    A process that has another working directory and another home finds them there by links.
    """
    for where, value in leaves(config):
        relative = isinstance(value, str) and _is_data(where) and not os.path.isabs(value)  # noqa: PTH117
        if relative and _exists(value) and ".." not in Path(value).parts:
            yield value, Path(value).expanduser().absolute()


def _complaint(where: str, value: Any, declared: Declared, locations: Locations) -> str | None:
    data = _is_data(where)
    if not isinstance(value, str):
        number = data and type(value) in (int, float) and _is_location(where) and not declared.has(where, value)
        return "is a number where a file is named" if number else None
    if declared.has(where, value) and not _is_device(value):
        return None
    if not (_looks_like_a_place(value) or _exists(value)) or _is_one_sign(where, value, declared):
        return None
    if not data and not _looks_like_a_place(value) and not _is_file(value):
        return None
    if "://" in value or value in locations.texts:
        return None if value in locations.texts and not _is_device(value) else "is an address that this project does not name"
    if _is_device(value):
        return "is no file and no folder"
    if not _exists(value):
        return "is not here, and lies outside of the data that this project declares"
    if ".." in Path(value).parts:
        return "leads upwards; a place without `..` is accepted"
    found = Path(value).expanduser().resolve()
    if any(found.is_relative_to(folder) for folder in locations.folders):
        return None
    known = any(
        found.is_relative_to(Path(text).expanduser().resolve())
        for text in declared.values.get(where, ())
        if _looks_like_a_place(text) and "://" not in text
    )
    return None if known else "is a place outside of the record and of the data that this project declares"


def _is_data(where: str) -> bool:
    return where.startswith(("data.source.", "data.files."))


def _is_location(where: str) -> bool:
    name = where.rpartition(".")[2]
    return name in LOCATIONS or name.endswith(tuple(f"_{one}" for one in LOCATIONS)) or where.startswith("data.files.")


def _looks_like_a_place(value: str) -> bool:
    return value.startswith("~") or bool(re.search(r"[/\\\0]", value)) or ".." in value.split("/")


def _is_one_sign(where: str, value: str, declared: Declared) -> bool:
    """Whether the value is one character where `conf/` has one, too: a separator, say."""
    return len(value) == 1 and value != "~" and any(len(text) == 1 for text in declared.values.get(where, ()))


def _exists(value: str) -> bool:
    return _mode(value) is not None


def _is_file(value: str) -> bool:
    mode = _mode(value)
    return mode is not None and not stat.S_ISDIR(mode)


def _is_device(value: str) -> bool:
    """Whether it names something that is neither a file nor a folder, or lies among the system's own."""
    mode = _mode(value)
    if mode is None:
        return False
    plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return not plain or SECRET_DEVICES.match(str(Path(value).expanduser().resolve())) is not None


def _mode(value: str) -> int | None:
    try:
        return os.stat(os.path.expanduser(value)).st_mode  # noqa: PTH111, PTH116 (any text)
    except (OSError, ValueError):
        return None
