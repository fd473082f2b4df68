"""Which rows of the data differ, by the hashes that two records keep of them.

Rows are counted from 0, as the data function gave them, before anything was held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seedbed.proof.side import Rows, Side


@dataclass(frozen=True)
class Part:
    """One part of the data. rows: how many A and B have.

    differ: rows that aren't the same in A and B at that place. moved: whether the rows are the same ones in another order.
    only_a, only_b: rows that the other one has nowhere. unknown: why it can't be said.
    """

    name: str
    said: str
    rows: tuple[int | None, int | None] = (None, None)
    differ: tuple[int, ...] = ()
    only_a: tuple[int, ...] = ()
    only_b: tuple[int, ...] = ()
    moved: bool = False
    unknown: bool = False


@dataclass(frozen=True)
class Data:
    """fingerprints: of A and B. parts: those that differ, or of which it can't be said. told: what else the data function said."""

    same: bool
    fingerprints: tuple[str, str]
    parts: tuple[Part, ...] = ()
    told: tuple[str, ...] = ()

    @property
    def said(self) -> list[str]:
        """A line for each thing that differs; none if the data are the same."""
        if self.same:
            return []
        lines = [*(part.said for part in self.parts), *self.told]
        return lines or ["the fingerprints differ, and no row does: files beside the rows, or batches of a pipeline"]

    def as_json(self) -> dict[str, Any]:
        return {
            "same": self.same, "fingerprints": list(self.fingerprints), "said": self.said,
            "parts": [{"part": part.name, "said": part.said, "rows": list(part.rows), "differ": list(part.differ), "moved": part.moved,
                       "only_a": list(part.only_a), "only_b": list(part.only_b)} for part in self.parts],
        }  # fmt: skip


def compared(a: Side, b: Side) -> Data:
    prints = a.inputs["data"], b.inputs["data"]
    if prints[0] == prints[1]:
        return Data(True, prints)
    if a.rows is None or b.rows is None:
        which = " and ".join(name for name, side in (("A", a), ("B", b)) if side.rows is None)
        why = f"the fingerprints differ; which rows can't be said: {which} {'have' if ' ' in which else 'has'} no rows.npz"
        return Data(False, prints, (Part("", why, unknown=True),))
    names = list(dict.fromkeys([*a.rows.parts, *b.rows.parts]))
    parts = [part for part in (_part(name, a.rows, b.rows) for name in names) if part is not None]
    return Data(False, prints, tuple(parts), tuple(_told(a.rows, b.rows, names)))


def _told(a: Rows, b: Rows, names: list[str]) -> list[str]:
    found = [f"{name}: {a.about.get(name)} in A, {b.about.get(name)} in B" for name in a.about if a.about.get(name) != b.about.get(name)]
    for name in names:
        arrays = [_arrays(rows, name) for rows in (a, b)]
        if name in a.parts and name in b.parts and arrays[0] != arrays[1]:
            found.append(f"a row of {name} is {arrays[0]} in A, {arrays[1]} in B")
    return found


def _arrays(rows: Rows, name: str) -> str:
    """`float32 (8, 8, 1), int64`: a row of each array of a part. A text is a text, however long the longest one is."""
    described = []
    for pair in rows.parts[name]["arrays"] if name in rows.parts else ():
        try:
            dtype = np.dtype(str(pair[0]))
            shape = f" ({', '.join(str(int(side)) for side in pair[1])})" if pair[1] else ""
        except (TypeError, ValueError, IndexError, SyntaxError):
            return "unreadable"
        described.append(("text" if dtype.kind in "OSU" else dtype.name) + shape)
    return ", ".join(described) or "a batch"


def _part(name: str, a: Rows, b: Rows) -> Part | None:
    """What differs in a part; None if nothing does."""
    if name not in a.parts or name not in b.parts:
        return Part(name, f"only {'A' if name in a.parts else 'B'} has a part {name}")
    for side, rows in (("A", a), ("B", b)):
        if why := rows.parts[name]["left_out"]:
            return Part(name, f"{name}: which rows differ can't be said: {side}'s are left out ({why})", unknown=True)
    return compare(name, a.hashes[name], b.hashes[name])


def compare(name: str, a: np.ndarray, b: np.ndarray) -> Part | None:
    """What differs between two parts' row hashes, uint64 (rows,); None if nothing does."""
    counts, common = (len(a), len(b)), min(len(a), len(b))
    places = np.flatnonzero(a[:common] != b[:common])
    if not len(places) and counts[0] == counts[1]:
        return None
    only_a, only_b = _alone(a, b), _alone(b, a)
    said, moved = _said(name, counts, places, (len(only_a), len(only_b)), _same_end(a, b))
    return Part(name, said, counts, tuple(places.tolist()), tuple(only_a.tolist()), tuple(only_b.tolist()), moved)


def _said(name: str, counts: tuple[int, int], places: np.ndarray, alone: tuple[int, int], end: int) -> tuple[str, bool]:
    """(one sentence, whether the rows are the same in another order).

    places: rows that differ. alone: how many rows each side has that the other hasn't. end: how many are the same at the end.
    """
    common, extra = min(counts), abs(counts[0] - counts[1])
    first = int(places[0]) if len(places) else common
    if not extra and not any(alone):
        return f"{name}: the same rows in another order; the first that moved is row {first}", True
    more = f"{extra} {_rows(extra)} more in {'A' if counts[0] > counts[1] else 'B'}"
    if extra and first == common:
        return f"{name}: {more}, from row {common} on", False
    if extra and first + end >= common:  # all of the shorter one, and a piece of the longer one within
        return f"{name}: {more}, {f'rows {first} … {first + extra - 1}' if extra > 1 else f'row {first}'}", False
    verb = "differs" if len(places) == 1 else "differ"
    if min(alone) == len(places):  # changed where they stand
        of = f"{len(places)} of {'the first ' if extra else ''}{common} rows of {name} {verb}; the first is row {first}"
        return of + (f"; {more}, from row {common} on" if extra else ""), False
    words = [f"{count} {_rows(count)} only {side} has" for side, count in zip("AB", alone, strict=True) if count]
    return f"{name}: {' and '.join(words)}, and others lie in another place; the first place that differs is row {first}", False


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _alone(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rows of `a` that `b` hasn't, as often as `a` has them: the later ones of several that are alike."""
    order = np.argsort(a, kind="stable")
    values, starts, counts = np.unique(a[order], return_index=True, return_counts=True)
    there, thereof = np.unique(b, return_counts=True)
    at = np.searchsorted(there, values)
    at[at == len(there)] = 0
    matched = np.where(there[at] == values, thereof[at], 0) if len(there) else np.zeros(len(values), int)
    rank = np.arange(len(a)) - np.repeat(starts, counts)  # 0 for the first of those that are alike
    return np.sort(order[rank >= np.repeat(matched, counts)])


def _same_end(a: np.ndarray, b: np.ndarray) -> int:
    """How many rows at the end are the same."""
    common = min(len(a), len(b))
    other = np.flatnonzero(a[len(a) - common :][::-1] != b[len(b) - common :][::-1])
    return int(other[0]) if len(other) else common
