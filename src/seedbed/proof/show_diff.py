"""What `diff` prints: inputs, outputs, and the sentence that says what explains what. Values come from records: they are made harmless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seedbed.printed import lines
from seedbed.proof.diff import Difference
from seedbed.proof.inputs import ABSENT, Changed
from seedbed.proof.outputs import Apart, Outputs, is_same
from seedbed.proof.rows import Data
from seedbed.proof.side import Side
from seedbed.proof.trees import Code
from seedbed.run import json_text
from seedbed.run.plain_text import harmless

MOST = 8  # entries of a list that are shown
MOST_LINES = 40  # lines of code
WIDEST = 120  # characters of a value

Lines = list[tuple[str, str]]


def show(found: Difference) -> None:
    rows: Lines = [*_side("A", found.a), *_side("B", found.b)]
    inputs = found.inputs
    if not found.inputs_differ:
        rows.append(("inputs", "none differs"))
    if inputs.seeds:
        rows.append(("seeds", "  ".join(f"{harmless(change.name)} {_pair(change)}" for change in inputs.seeds)))
    rows += _changes("config", inputs.config) + _code(found.code)
    rows += _data(found.data)
    rows += _changes("level", inputs.determinism) + _changes("packages", inputs.packages) + _changes("environment", inputs.environment)
    rows += _changes("not counted", inputs.also)
    rows += _outputs(found.outputs)
    rows.append(("so", harmless(found.verdict.said, 1000)))
    if found.next:
        rows.append(("next", harmless(found.next, 2000)))
    elif not found.differs:
        rows.append(("next", "verify, with the words that trained them: whether it holds in fresh processes, too"))
    lines(rows)


def _side(name: str, side: Side) -> Lines:
    rows = [(name, f"{side.path}"), ("", f"{harmless(side.content['name'])}, {harmless(side.status)}, level {harmless(side.level)}")]
    if side.content.get("error"):
        rows.append(("", harmless(str(side.content["error"]).strip().splitlines()[-1])))
    if side.doubts:
        rows.append(("", f"DOUBTFUL: {'; '.join(side.doubts)}: it was changed after it was written"))
    return rows


def _changes(name: str, changed: Sequence[Changed]) -> Lines:
    return _headed(name, _cut([f"{harmless(change.name)}  {_pair(change)}" for change in changed]))


def _pair(change: Changed) -> str:
    if change.a is ABSENT or change.b is ABSENT:
        side, value = ("B", change.b) if change.a is ABSENT else ("A", change.a)
        return f"{_value(value)} in {side} alone"
    return f"{_value(change.a)} → {_value(change.b)}"


def _value(value: Any) -> str:
    return harmless(value if isinstance(value, str) and value else json_text.dumps(value, ensure_ascii=False), WIDEST)


def _code(code: Code) -> Lines:
    rows = [f"{harmless(name)} differs" for name in code.changed]
    rows += [f"{harmless(name)} in {side} alone" for side, names in (("A", code.only_a), ("B", code.only_b)) for name in names]
    shown = _cut(rows)
    diff = [f"  {harmless(line.expandtabs(4), 200)}" for line in code.diff.splitlines()]
    if code.why_not:
        shown.append(harmless(code.why_not))
    shown += diff[:MOST_LINES]
    if len(diff) > MOST_LINES:
        shown.append(f"… {len(diff) - MOST_LINES} more lines: --json has them")
    if code.also:
        shown.append(f"also changed, and not reached by these runs: {', '.join(_cut([harmless(path) for path in code.also]))}")
    return _headed("code", shown)


def _data(data: Data) -> Lines:
    if data.same:
        return []
    rows = [harmless(line) for line in data.said]
    for part in data.parts:
        places = part.differ or part.only_a or part.only_b
        if len(places) > 1 and not part.moved:
            rows.append(f"rows of {harmless(part.name)}, from 0: {', '.join(_cut([str(place) for place in places]))}")
    return _headed("data", rows)


def _outputs(outputs: Outputs) -> Lines:
    rows: Lines = _headed("metrics", _cut([_metric(metric) for metric in outputs.metrics]))
    if outputs.parting:
        rows += _headed("history", _parting(outputs))
    elif outputs.epochs != (0, 0):
        rows.append(("history", f"the same {outputs.epochs[0]} epochs"))
    pairs = [("agree", outputs.agree), ("differ", outputs.differ), ("in A alone", outputs.only["a"]), ("in B alone", outputs.only["b"])]
    words = [f"{word}: {', '.join(harmless(name) for name in names if name != 'run')}" for word, names in pairs if set(names) - {"run"}]
    return rows + _headed("digests", words)


def _metric(metric: Apart) -> str:
    name = harmless(metric.name)
    if is_same(metric):
        return f"{name}  {metric.a:.6g}, the same bits"
    return f"{name}  {_number(metric.a)} → {_number(metric.b)}{_how_far(metric)}"


def _number(value: float | None) -> str:
    return "none" if value is None else repr(float(value))


def _how_far(metric: Apart) -> str:
    if metric.absolute is None:
        return ""
    ulps = metric.ulps64 if metric.ulps32 is None else metric.ulps32
    kind = "float64" if metric.ulps32 is None else "float32"
    relative = "" if metric.relative is None else f", relative {metric.relative:.2g}"
    return f"  (absolute {metric.absolute:.2g}{relative}, {ulps:,} {kind} ulp{'' if ulps == 1 else 's'})"


def _parting(outputs: Outputs) -> list[str]:
    parting = outputs.parting
    assert parting is not None
    of = f"{outputs.epochs[0]} epochs in A, {outputs.epochs[1]} in B"
    if not parting.metrics:
        return [f"the same for {parting.epoch} epochs; {of}"]
    return [f"they part in epoch {parting.epoch + 1} ({of}):", *_cut([f"  {_metric(metric)}" for metric in parting.metrics])]


def _cut(entries: Sequence[str]) -> list[str]:
    more = len(entries) - MOST
    return list(entries) if more <= 1 else [*entries[:MOST], f"… {more} more: --json has them"]


def _headed(name: str, entries: Sequence[str]) -> Lines:
    return [(name if number == 0 else "", entry) for number, entry in enumerate(entries)]
