"""JSON without NaN: values that JSON has no number for are written as strings, and read back exactly.

`NaN`, `Infinity` and `-Infinity` are no JSON; many programs refuse a file that holds them. They are written as the strings of
these names, and the list `non_finite` of the object says where they stand (JSON pointers, RFC 6901), so that a string `NaN` of a
config stays a string. `dumps` is the one way in which seedbed writes JSON, and `loads` the one in which it reads its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

NON_FINITE = "non_finite"  # the field that lists where such values stand
NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
DEEPEST = 60  # levels; nothing that seedbed writes has as many


def dumps(value: Any, **options: Any) -> str:
    """Return `value` as JSON that every program can read. options: those of `json.dumps`."""
    where: list[str] = []
    plain = _written(value, "", where)
    if where and isinstance(plain, dict):
        plain = {**plain, NON_FINITE: where}
    return json.dumps(plain, allow_nan=False, **options)


def loads(text: str | bytes) -> Any:
    """Return what `dumps` was given. Raises ValueError and RecursionError for text that is no JSON, or too deep."""
    found = json.loads(text)
    if is_deep(found):
        raise ValueError(f"values inside of values, more than {DEEPEST} deep")
    if isinstance(found, dict) and isinstance(where := found.pop(NON_FINITE, []), list):
        for pointer in where:
            _put(found, str(pointer))
    return found


def canonical(value: Any) -> str:
    """Return JSON that is hashed and never written: sorted keys, no spaces, ASCII; NaN is a name of its own in it.

    The same for a value and for what is read back of it: numbers as keys are text before they are sorted.
    """
    return json.dumps(json.loads(json.dumps(value)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def is_deep(node: Any) -> bool:
    """Whether values are nested deeper than DEEPEST."""
    level = [node]
    for _ in range(DEEPEST):
        inner = [one for one in level if isinstance(one, dict | list)]
        level = [child for one in inner for child in (one.values() if isinstance(one, dict) else one)]
    return any(isinstance(one, dict | list) for one in level)


def _written(node: Any, at: str, where: list[str]) -> Any:
    if isinstance(node, float) and not math.isfinite(node):
        where.append(at)
        return "NaN" if math.isnan(node) else "Infinity" if node > 0 else "-Infinity"
    if isinstance(node, Mapping):
        return {name: _written(value, f"{at}/{_escaped(name)}", where) for name, value in node.items()}
    if isinstance(node, Sequence) and not isinstance(node, str | bytes | bytearray):
        return [_written(value, f"{at}/{number}", where) for number, value in enumerate(node)]
    return node


def _escaped(name: Any) -> str:
    # as json.dumps writes keys that are no strings: None as null, True as true
    text = name if isinstance(name, str) else json.dumps(name)
    return text.replace("~", "~0").replace("/", "~1")


def _put(found: Any, pointer: str) -> None:
    """Turn the string at `pointer` into the value that it names; a pointer that leads nowhere changes nothing."""
    *parts, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]] or [""]
    for part in parts:
        found = _inside(found, part)
    value = _inside(found, last)
    if not isinstance(value, str) or value not in NAMES:
        return
    if isinstance(found, dict):
        found[last] = NAMES[value]
    else:
        found[int(last)] = NAMES[value]


def _inside(node: Any, part: str) -> Any:
    if isinstance(node, dict):
        return node.get(part)
    if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
        return node[int(part)]
    return None
