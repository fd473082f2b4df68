"""What `replay` prints: what went in, beside what is here; what came out, digest by digest; and what that means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from seedbed import printed
from seedbed.command_line import command
from seedbed.printed import lines
from seedbed.proof.promise import Row
from seedbed.proof.replay import Replay
from seedbed.run.plain_text import harmless

SHOWN = 16  # letters of a digest


def replay(found: Replay, name: str, source: str | None, words: Sequence[str]) -> None:
    """name: what the user calls the record. source: the address of the MLflow server that it came from. words: all that
    was said, for the next command."""
    record = found.record
    started = (record.timing or {}).get("started")
    day = datetime.fromtimestamp(started).strftime("%Y-%m-%d %H:%M") if isinstance(started, int | float) else "once"
    where = f"MLflow run {name} in {source}" if source else str(record.path)
    lines([("record", f"{harmless(record.name)}, trained {day}"), ("", f"{where}"), ("key", record.key)])
    print()
    _table(["input", "recorded", f"at commit {found.commit[:12]}" if found.commit else "here", ""], found.inputs)
    if found.digests:
        print()
        _table(
            ["digest", "recorded", "here", ""], [Row(row.what, row.recorded[:SHOWN], row.here[:SHOWN], row.same) for row in found.digests]
        )
    print()
    lines([(word, text) for word, text in _verdict(found, words) if text])


def _table(head: list[str], rows: Any) -> None:
    table = Table(*head, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        word = "" if row.same is None else "same" if row.same else "OTHER"
        here = "the same" if row.same and row.here == row.recorded and len(row.here) > SHOWN else row.here
        table.add_row(Text(row.what), Text(row.recorded), Text(here), Text(word, style="" if row.same in (None, True) else "bold"))
    printed.table(table)


def _verdict(found: Replay, words: Sequence[str]) -> list[tuple[str, str]]:
    why = [("because" if number == 0 else "", reason) for number, reason in enumerate(found.reasons)]
    if not found.trained:
        differing = {row.what for row in found.inputs if row.same is False}
        back = (
            [f"{command('replay', [*words, '--checkout'])}  (at the recorded commit)"]
            if differing & {"code", "packages"} and not found.commit
            else []
        )
        return [("refused", "not trained: with other inputs neither other bits nor the same would prove anything"), *why,
                ("next", "   ".join([*back, f"{command('replay', [*words, '--anyway'])}  (which is no replay)"]))]  # fmt: skip
    agree = sum(bool(row.same) for row in found.digests)
    if found.error:
        result = f"it was trained again and ended otherwise: {harmless(found.error.splitlines()[-1])}"
    elif found.agrees:
        result = f"the same bits: {agree} of {len(found.digests)} digests agree ({found.seconds:.1f} s)"
    else:
        other = ", ".join(row.what for row in found.digests if not row.same)
        result = f"OTHER bits: {agree} of {len(found.digests)} digests agree, not {other} ({found.seconds:.1f} s)"
    kind = "NOT a replay: other things went in than were recorded, or nothing was promised" if why else "all that went in is as recorded"
    following = "" if found.agrees or why else "verify, with the words that trained it: does it repeat here at all?"
    return [("result", result), ("replay", kind), *why, ("next", following)]


def as_json(found: Replay, name: str, source: str | None) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "run": name, "key": found.record.key, "record": None if source else str(found.record.path), "from": source,
        "replay": found.is_replay, "why_not": list(found.reasons),
        "trained": found.trained, "agrees": found.agrees if found.trained else None,
        "commit": found.commit, "error": found.error,
        "inputs": {row.what: {"recorded": row.recorded, "here": row.here, "same": row.same} for row in found.inputs},
        "digests": {row.what: {"recorded": row.recorded, "here": row.here, "same": row.same} for row in found.digests},
    }  # fmt: skip
