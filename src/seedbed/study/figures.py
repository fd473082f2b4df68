"""Numbers as people read them: with as many digits as their spread justifies, and no more."""

from __future__ import annotations

import math


def text(value: float, spread: float | None = None) -> str:
    """`value` for people: to the second significant digit of its `spread`, or to 4 significant digits without one."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 and not spread:
        return "0"
    last = _place(spread, 2) if spread and math.isfinite(spread) else _place(value, 4)
    first = max(_place(value, 1), last) if value else last
    if -6 < first < 8:
        return f"{round(value, -last):z.{max(0, -last)}f}"
    return f"{value:.{first - last}e}" if value else "0"


def _place(value: float, digits: int) -> int:
    """The power of ten of the last of `value`'s `digits` significant digits, after rounding: 0.0996 with 2 is 0.10."""
    return int(f"{value:.{digits - 1}e}".split("e")[1]) - digits + 1
