"""What `verify` and `diagnose` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seedbed.command_line import command
from seedbed.printed import lines
from seedbed.proof.golden import Compared
from seedbed.proof.perturbing import PARTS
from seedbed.proof.plan import chance
from seedbed.proof.verify import Verdict

MOST_CAUSES = 5
MORE = (5, 8, 15)  # executions that are offered after fewer


def verdict(found: Verdict, golden: Compared | None, written: Any, argv: Sequence[str], verb: str = "verify") -> None:
    """The executions, whether they agree, and if not where they part and why."""
    rows = []
    for number, (side, differs) in enumerate(zip(found.sides, found.differs, strict=True), 1):
        done = side.execution
        digest = done.digests.get("run", "")[:16] or "no digest"
        other = ", OTHER bits than execution 1" if differs else ""
        rows.append((f"execution {number}", f"{done.name}: {done.status}, {digest}, {done.seconds:.1f} s{other}"))
    if cpus := [side.way.cpu for side in found.sides if side.way.cpu]:
        rows.append(("emulated", f"{', '.join(cpus)}, by QEMU"))
    if changed := {part for side in found.sides for part in side.way.parts}:
        rows.append(("perturbed", ", ".join(words for part, words in PARTS.items() if part in changed)))
    for number, (part, why) in enumerate(found.left_out.items()):
        rows.append(("left out" if number == 0 else "", f"{PARTS[part]}: {why}"))
    for side in found.sides:
        if side.execution.apart:
            rows.append(("not shared", f"{side.execution.name}, and trained in a process of its own: {side.execution.apart}"))
    if found.record is not None:
        rows.append(("record", f"{found.record.path}: {'the same bits' if found.holds else 'other bits'}"))
    status = found.sides[0].execution.status
    if found.holds and status == "finished":
        rows.append(("holds", f"yes: {len(found.sides)} executions{' and the record' if found.record else ''}, the same bits"))
    elif found.holds:
        rows.append(("holds", f"yes, as far as it goes: each execution {status} in the same way: {_last(found.sides[0].execution.error)}"))
    else:
        rows.append(("holds", f"NO: {', '.join(name.replace('_', ' ') for name in found.differing)} differ"))
    if found.holds:
        count = len(found.sides)
        rows.append(("chance", f"a fault that shows in every second execution is seen by {count} with a chance of {chance(count):.0%}"))
    if golden is not None:
        rows.append(("golden", _golden(golden)))
    if written is not None:
        rows.append(("golden", f"written to {written}"))
    if found.diagnosis is not None:
        rows += _diagnosis(found.diagnosis)
    rows.append(("next", _next(found, argv, verb)))
    lines(rows)


def _diagnosis(found: Any) -> list[tuple[str, str]]:
    rows = [("process", "; ".join(f"{name} {a} and {b}" for name, (a, b) in found.process.items()))] if found.process else []
    rows.append(("they part", found.place.said))
    if found.vanished:
        rows.append(("", "looked into step by step the two agreed: timing decides, or operations that are fused otherwise then"))
    if found.control:
        rows.append(("control", found.control.said))
    if found.surrounding:
        rows.append(("enough is", f"a change of {PARTS[found.surrounding]}"))
    for number, cause in enumerate(found.causes[:MOST_CAUSES], 1):
        rows.append((f"cause {number}" if len(found.causes) > 1 else "cause", cause.what))
        rows.append(("", f"mend: {cause.remedy}"))
    return rows


def _golden(golden: Compared) -> str:
    if golden.agrees is None:
        return f"not comparable: {golden.file} is from another environment: {'; '.join(golden.why[:6])}"
    elsewhere = (
        f", which was written on another CPU ({golden.elsewhere}): at portable that is to have the same bits" if golden.elsewhere else ""
    )
    if golden.agrees:
        return f"the same bits as {golden.file}{elsewhere}"
    changed = f"; changed since: {', '.join(golden.inputs)}" if golden.inputs else "; no input has changed since"
    return f"OTHER bits than {golden.file}: {', '.join(golden.differing)}{changed}{elsewhere}"


def _next(found: Verdict, argv: Sequence[str], verb: str) -> str:
    if found.diagnosis is not None:
        return "mend it, then the same command again; `make audit` reads your code for more of the kind"
    if not found.holds:
        return command("diagnose", argv)
    times = next(times for times in MORE if times > len(found.sides) or times == MORE[-1])
    return f"{command(verb, ['--times', f'{times}', *argv])}   (more executions: a chance of {chance(times):.1%})"


def _last(error: str | None) -> str:
    return (error or "no error was kept").strip().splitlines()[-1]
