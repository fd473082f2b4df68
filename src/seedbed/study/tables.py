"""The tables of a study's page, from what its folder says: for people, with a line under each that says how to read it.

Whatever stands in a cell may come from elsewhere; it is text, and the page's template escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seedbed import Refused
from seedbed.proof.side import Side
from seedbed.study.figures import text
from seedbed.study.folder import Kept, Run


@dataclass(frozen=True)
class Table:
    """rows: as many cells as `header`. reading: how to read it. kind: how the page sets it (numbers, words, code)."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    reading: str
    kind: str = "numbers"


# One line a statistic: what it is called, the columns of summary.csv that it is made of, and what it means.
SUMMARY = (
    ("mean", ("mean",), "the average over all seeds"),
    ("interval of the mean", ("low", "high"), "the average over all possible seeds lies in here, as far as these seeds can tell"),
    ("standard deviation", ("std",), "how far results spread: most lie within twice this of the mean"),
    ("a single run is off by", ("single",), "so far from the mean can a run with one seed be"),
    ("median", ("median",), "half of the seeds are below, half above"),
    ("interquartile mean", ("iqm",), "the average of the middle half: a few odd seeds don't move it"),
    ("lowest … highest", ("minimum", "maximum"), "of all seeds"),
    ("middle half", ("q25", "q75"), "a quarter of the seeds is below, a quarter above"),
    ("middle 90 %", ("q05", "q95"), "one seed of 20 is below, one of 20 above"),
)

# The same for pairs.csv.
PAIRS = (
    ("difference", ("difference",), "the average difference, seed by seed"),
    ("interval of the difference", ("low", "high"), "the true one lies in here, as far as these seeds can tell; 0 inside: perhaps none"),
    ("p (permutation test)", ("p_permutation",), "how often chance alone gives so large a difference; below 0.05 speaks against chance"),
    ("p (Wilcoxon)", ("p_wilcoxon",), "the same by another test, which looks at ranks alone"),
    ("probability that A is better", ("probability_of_improvement",), "the share of seeds with which A is better; 0.5 is a coin"),
    ("its interval", ("probability_low", "probability_high"), "that share over all possible seeds, as far as these can tell"),
    ("effect size d_z", ("effect_size",), "the difference in units of its own spread: 0.2 is small, 0.8 large"),
    ("seeds", ("n",), "pairs of runs, one of A and one of B with the same seed"),
)  # fmt: skip


def summary(kept: Kept) -> list[Table]:
    """What the study says in numbers."""
    if kept.verb == "compare":
        return [*_statistics(kept, "pairs", PAIRS, "What the comparison says", lambda row: _pair(kept, row)), *_seed_by_seed(kept)]
    if kept.verb == "variance":
        return _streams(kept)
    return _statistics(kept, "summary", SUMMARY, "What the seeds say", lambda row: row.get("metric", ""))


def _statistics(kept: Kept, name: str, lines: Any, title: str, head: Any) -> list[Table]:
    rows = kept.tables.get(name, [])
    if not rows:
        return []
    body = [[said, *(_cell(row, columns, name) for row in rows), meaning] for said, columns, meaning in lines]
    reading = "A line a statistic; the last column says what each means. Numbers have as many digits as their spread justifies."
    return [Table(title, ["", *(head(row) for row in rows), "how to read it"], body, reading)]


def _cell(row: Mapping[str, str], columns: Sequence[str], name: str) -> str:
    """One value or two, with the digits that the spread of the row justifies; a dash where there is none."""
    values = [_number(row, column, name) for column in columns]
    if any(value is None for value in values):
        return "–"
    if columns == ("n",):
        return f"{values[0]:.0f}"
    if columns[0].startswith(("p_", "probability", "effect")):
        return " … ".join(f"{value:.3g}" if columns[0].startswith("p_") else f"{value:.2f}" for value in values)
    low, high = _number(row, "low", name), _number(row, "high", name)
    spread = high - low if low is not None and high is not None and columns[0] in ("difference", "low") else _number(row, "std", name)
    return " … ".join(text(value or 0.0, None if columns[0] == "std" else spread or None) for value in values)


def _number(row: Mapping[str, str], column: str, name: str) -> float | None:
    said = row.get(column, "")
    if not said:
        return None
    try:
        return float(said)
    except ValueError:
        raise Refused(f"{name}.csv is not what seedbed writes: {column} is no number.") from None


def _pair(kept: Kept, row: Mapping[str, str]) -> str:
    """A pair's heading: by letters, where the page explains them."""
    a, b = row.get("a", ""), row.get("b", "")
    return f"{letter(kept, a)} − {letter(kept, b)}" if a in kept.parts and b in kept.parts else f"{a} − {b}"


def _seed_by_seed(kept: Kept) -> list[Table]:
    """A line a seed: what each configuration gave, and the differences from A."""
    metrics = {row.get("metric", "").rpartition(".")[0] for row in kept.tables.get("pairs", [])}
    values = {(run.part, run.master): (side.content.get("metrics") or {}).get(metric) for run, side in kept.sides for metric in metrics}
    if len(metrics) != 1 or not values:
        return []
    metric, rest = metrics.pop(), list(kept.parts)[1:]
    rows = []
    for master in dict.fromkeys(run.master for run in kept.runs):
        its = [values.get((part, master)) for part in kept.parts]
        differences = [None if its[0] is None or other is None else its[0] - other for other in its[1:]]
        rows.append([str(master), *(map(_digits, [*its, *differences]))])
    header = ["seed", *(letter(kept, part) for part in kept.parts), *(f"A − {letter(kept, part)}" for part in rest)]
    reading = "A line a seed, which all were trained with. Differences that mostly have one sign don't hang on the seed alone."
    return [Table(f"{metric}, seed by seed", header, rows, reading)]


def _streams(kept: Kept) -> list[Table]:
    rows = []
    for row in kept.tables.get("summary", []):
        names = {"interaction": "(not their sum)", "all": "all together"}
        name = names.get(row.get("metric", ""), row.get("metric", ""))
        std, low, high = (_number(row, column, "summary") for column in ("std", "variance_low", "variance_high"))
        share = [
            None if (value := _number(row, column, "summary")) is None else 100 * value for column in ("share", "share_low", "share_high")
        ]
        width = None if low is None or high is None else " … ".join(text(math.sqrt(max(value, 0.0))) for value in (low, high))
        between = "–" if share[1] is None or share[2] is None or row.get("metric") == "all" else f"{share[1]:.0f} … {share[2]:.0f} %"
        rows.append([name, "–" if std is None else text(std), width or "–", "–" if share[0] is None else f"{share[0]:.0f} %", between])
    if not rows:
        return []
    reading = (
        "A stream is one source of randomness (init: the initial weights; shuffle: the order of the examples; split: which ones are "
        "held out). A line says how far results spread when that stream alone gets other seeds, and how much of the whole spread that is. "
        "Streams can act on one another, so the shares needn't make 100 %; wide intervals mean too few seeds."
    )
    return [
        Table(
            "Where the spread comes from", ["stream", "standard deviation", "interval", "share of the variance", "interval"], rows, reading
        )
    ]


def results(kept: Kept) -> list[Table]:
    """One line a run: its metrics, its digest, its key; then its seeds, a column each; then what has no result."""
    found = []
    part = PART.get(kept.verb, [])
    if kept.sides:
        metrics = list(dict.fromkeys(name for _, side in kept.sides for name in side.content.get("metrics") or {}))
        metrics.sort(key=lambda name: (not name.startswith("test_"), not name.startswith("validation_")))
        rows = [
            [*_part(kept, run), str(run.master), *(_metric(side, name) for name in metrics), str(len(side.history)),
             side.digests.get("run", "")[:16], side.key[:12]]
            for run, side in kept.sides
        ]  # fmt: skip
        reading = (
            "One line a run. Metrics are those of the finished model. Two runs with the same digest have the same bits: weights, history "
            "and predictions. `seedbed replay` and a run's key train it again and compare."
        ) + (" Seed: what the seed of the varied stream was made from." if kept.verb == "variance" else "")
        found.append(Table("Runs", [*part, "seed", *metrics, "epochs", "digest", "key"], rows, reading))
        streams = list(dict.fromkeys(name for _, side in kept.sides for name in side.content["seeds"] if name != "master"))
        rows = [
            [*_part(kept, run), *(str(side.content["seeds"].get(name, "–")) for name in ("master", *streams))] for run, side in kept.sides
        ]
        reading = "Each source of randomness has a seed of its own, made from the master seed unless the config names it."
        found.append(Table("Seeds", [*part, "master", *streams], rows, reading))
    if missing := [[*_part(kept, run), str(run.master), run.why] for run in kept.runs if run.side is None]:
        reading = (
            "These seeds are not in the table above. Where a run has failed, the same command trains what is missing, and nothing twice."
        )
        found.append(Table("Without a record here", [*part, "seed", "why"], missing, reading, "words"))
    if doubtful := [[*_part(kept, run), str(run.master), run.why] for run, _ in kept.sides if run.why]:
        found.append(Table("Records that contradict themselves", [*part, "seed", "how"], doubtful, "Don't rely on these runs.", "words"))
    return found


PART = {"compare": ["configuration"], "variance": ["varied stream"]}


def letter(kept: Kept, part: str) -> str:
    """A configuration's letter: A is the first one."""
    at = list(kept.parts).index(part)
    return chr(ord("A") + at) if at < 26 else str(at + 1)


def _part(kept: Kept, run: Run) -> list[str]:
    return [letter(kept, run.part)] if kept.verb == "compare" else [run.part] if kept.verb == "variance" else []


def _metric(side: Side, name: str) -> str:
    return _digits((side.content.get("metrics") or {}).get(name))


def _digits(value: float | None) -> str:
    try:
        return "–" if value is None else f"{float(value):.6g}"
    except OverflowError:  # a whole number that no metric is
        return "–"


def digests(kept: Kept) -> list[Table]:
    """Key and digests of every run, whole."""
    if not kept.sides:
        return []
    rows = [[*_part(kept, run), str(run.master), side.key, str(side.digests.get("run", "–"))] for run, side in kept.sides]
    reading = "The key is a hash of all that went into a run, the digest one of all that came out. The same key must have the same digest."
    return [Table("Keys and digests", [*PART.get(kept.verb, []), "seed", "key", "digest"], rows, reading, "code")]
