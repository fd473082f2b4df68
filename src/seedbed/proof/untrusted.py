"""A record's config.yaml, read as data: plain values, of which nothing is resolved.

What it may ask for is judged by `config_policy`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seedbed import Refused
from seedbed.run import yaml_files
from seedbed.run.config import BACKENDS
from seedbed.run.plain_text import harmless

LONGEST_KEY = 1_000  # letters; YAML's own limit, but for keys that are marked by `?`

# Parts that every config has, with values of their own.
PARTS = ("data", "training", "seeds", "determinism", "determinism.environment", "determinism.threads")

# Parts that a config may have.
OTHERS = ("backend", "strategy", "determinism.backends", *(f"determinism.backends.{name}" for name in BACKENDS))


def config_of(folder: Path) -> dict[str, Any]:
    """config.yaml of a record: plain values, nothing resolved. Raises Refused for any other thing that YAML can say."""
    found = yaml_files.load(folder / "config.yaml", of_record=True)
    if _has_long_keys(found):  # each value has a dotted name below, with all that it lies in
        raise Refused(f"{folder / 'config.yaml'} is no config: it has a key of more than {LONGEST_KEY:,} letters.")
    strange = [where for where, value in leaves(found) if not isinstance(value, str | int | float | None)]
    strange += [where for where in PARTS if not isinstance(_at(found, where), dict)]
    strange += [where for where in OTHERS if not isinstance(_at(found, where) or {}, dict)]
    if not isinstance(found, dict) or strange:
        raise Refused(
            f"{folder / 'config.yaml'} is no config of plain values{': ' + ', '.join(map(harmless, strange)) if strange else ''}."
        )
    return found


def _has_long_keys(node: Any) -> bool:
    if isinstance(node, dict):
        return any(len(str(key)) > LONGEST_KEY or _has_long_keys(value) for key, value in node.items())
    return isinstance(node, list) and any(map(_has_long_keys, node))


def count(node: Any) -> int:
    """How many values a config has, mappings and lists among them."""
    children = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    return 1 + sum(map(count, children))


def leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping or list, with its dotted name."""
    children = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else None
    if children is None:
        yield where, node
        return
    for key, value in children:
        yield from leaves(value, f"{where}.{key}" if where else str(key))


def _at(node: Any, where: str) -> Any:
    for part in where.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node
