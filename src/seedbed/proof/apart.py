"""How far two arrays are apart: which elements, by how much, and in units in the last place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# Units in the last place; what is farther apart has another cause than the order of a sum.
ROUNDING = 1_000_000


@dataclass(frozen=True)
class Apart:
    """differing of `elements` elements; the largest difference, absolute and in units in the last place (None where one side is
    not finite, or for numbers that aren't floating point); the first place that differs, with both values."""

    differing: int
    elements: int
    largest: float | None
    ulps: int | None
    place: tuple[int, ...]
    first: tuple[Any, Any]

    @property
    def said(self) -> str:
        where = f"at {list(self.place)}: " if self.place else ""
        size = "" if self.largest is None else f", by up to {self.largest:.3g}"
        if self.ulps is not None:
            size += f" ({self.ulps:,} ulp{'' if self.ulps == 1 else 's'})" if self.ulps <= ROUNDING else " (more than rounding)"
        return f"{self.differing:,} of {self.elements:,} values differ{size}; the first {where}{self.first[0]!r} and {self.first[1]!r}"


def apart(a: np.ndarray, b: np.ndarray) -> Apart | None:
    """How two arrays of the same shape differ, bit by bit; None if they don't. Raises ValueError for other shapes or dtypes."""
    if a.shape != b.shape or a.dtype != b.dtype:
        raise ValueError(f"{a.dtype} {a.shape} and {b.dtype} {b.shape}")
    if a.dtype.kind in "OSU":
        other = np.ravel(a != b)
    else:
        width = max(a.dtype.itemsize, 1)
        other = (_bytes(a).reshape(-1, width) != _bytes(b).reshape(-1, width)).any(axis=1)
    if not other.any():
        return None
    index = int(np.argmax(other))
    place = tuple(int(i) for i in np.unravel_index(index, a.shape)) if a.ndim else ()
    first = a.ravel()[index].item(), b.ravel()[index].item()
    largest = ulps = None
    if a.dtype.kind in "fiu":
        x, y = a.ravel()[other].astype("float64"), b.ravel()[other].astype("float64")
        if np.isfinite(x).all() and np.isfinite(y).all():
            largest = float(np.abs(x - y).max())
            if a.dtype.kind == "f":
                ulps = int(np.abs(_ordered(a.ravel()[other]) - _ordered(b.ravel()[other])).max())
    return Apart(int(other.sum()), a.size, largest, ulps, place, first)


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)


def _ordered(values: np.ndarray) -> np.ndarray:
    """Floating point numbers as integers whose differences are numbers of units in the last place (object: any size).

    B. Dawson, Comparing floating point numbers, 2012: the bits of IEEE numbers are ordered as the numbers are, sign apart.
    """
    width = 8 * values.dtype.itemsize
    words = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").astype(object)
    sign = 1 << (width - 1)
    return np.where(words >= sign, sign - words, words)
