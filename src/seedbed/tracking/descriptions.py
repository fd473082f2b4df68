"""What MLflow's page says of a run and of a study, in Markdown: what it is, what came out, and the command that makes it again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seedbed import printed
from seedbed.command_line import in_project
from seedbed.run import plain_files
from seedbed.run.plain_text import harmless, markdown
from seedbed.run.record import FAILED, FINISHED, INTERRUPTED, RUNNING, Record
from seedbed.tracking import views

LARGEST_SUMMARY = 10_000_000  # bytes of a study's summary.md

LONGEST = 5000  # letters of a tag; a database may take no more
OF_BITS = ("strict", "portable")  # levels at which a run can be replayed
NAME, NOTE, OURS = "mlflow.runName", "mlflow.note.content", "seedbed.labels"
STATES = {RUNNING: "is running", FINISHED: "has finished", FAILED: "has failed", INTERRUPTED: "was stopped"}
NO_REPLAY = {
    "off": "Level off: the seeds were drawn from the system, and nothing makes this run again.",
    "seeded": "Level seeded: the same seeds can be used again, but not necessarily with the same bits.",
}
PICTURES = {
    "distribution.png": "Results over seeds", "differences.png": "Differences, seed by seed", "components.png": "Sources of the spread",
    "learning_curves.png": "Learning curves", "interval_width.png": "What more seeds would buy",
}  # fmt: skip


def labels(tags: Mapping[str, str], name: str, note: str) -> dict[str, str]:
    """The tags that give a run this name and description. What a person has written over one of seedbed's stays.

    tags: those that the run has. A hash of what seedbed wrote last, in a tag of its own, tells the two apart.
    """
    wanted = {NAME: name, NOTE: note[:LONGEST]}
    written = dict(zip(wanted, tags.get(OURS, "").split(), strict=False))
    mine = {key: value for key, value in wanted.items() if key not in tags or written.get(key) in (None, _hash(tags[key]))}
    kept = {key: _hash(mine[key]) if key in mine else written[key] for key in wanted}
    return {**mine, OURS: " ".join(kept.values())}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_name(record: Record) -> str:
    """How a run is called that belongs to no study."""
    return f"{record.name} · seed {record.seeds['master']}"


def of_run(record: Record, run_id: str) -> str:
    """One run: its result, how to replay it, what it was made from."""
    values = sorted((record.metrics or {}).items(), key=lambda metric: not metric[0].startswith("test_"))
    metrics = [(markdown(name), f"{value:.6g}") for name, value in values]
    result = f": {', '.join(f'{name} {value}' for name, value in metrics[:4])}" if metrics else ""
    lines = [f"**{markdown(record.name)}, seed {markdown(record.seeds['master'])}, {STATES[record.status]}{result}.**", ""]
    if error := str(record.content.get("error") or "").strip():
        lines += [f"    {harmless(error.splitlines()[-1], 500)}", ""]
    if record.level not in OF_BITS:
        lines += [NO_REPLAY.get(record.level, f"Level {markdown(record.level)}: this version has none of that name."), ""]
    elif record.status == FINISHED:
        lines += [f"{_code(in_project('replay', [run_id]))} trains it again and compares every bit.", ""]
        lines += [f"Without MLflow, where its record is on the disk: {_code(in_project('replay', [record.key[:12]]))}", ""]
    commit = (record.provenance["git"] or {}).get("commit")
    rows = [
        *metrics, ("epochs", str(len(record.rows()))), ("level", markdown(record.level)), ("key", _cell(record.key)),
        ("digest", _cell((record.digests or {}).get("run"))), ("commit", _cell(commit)),
        ("seeds", markdown(", ".join(f"{name} {seed}" for name, seed in record.seeds.items()))),
    ]  # fmt: skip
    return "\n".join([*lines, *_table([("", ""), *(row for row in rows if row[1])])])


def study_name(content: Mapping[str, Any], seeds: int, words: Sequence[str]) -> str:
    """How a study is called: what it is, how many seeds, and the words that tell it from others of the same data."""
    name, vary = str(content["name"]), content.get("vary")
    if content.get("verb", "repeat") == "repeat" and vary:
        name = f"{name.removesuffix(f'-{vary}')}, {vary} alone"
    return f"{name} · {seeds} seed{'s' if seeds != 1 else ''}" + (f": {' '.join(words)}"[:200] if words else "")


def begun(content: Mapping[str, Any], seeds: int) -> str:
    """A study that has no report yet."""
    return f"A study of {seeds} seeds, which has no report yet.\n\n{_again(content)} trains what is missing, and nothing twice.\n"


def of_study(
    study: Path, content: Mapping[str, Any], sentence: str, place: tuple[str, str], view: str | None, page: bool, parts: Mapping[str, str],
    pictures: Sequence[str],
) -> str:  # fmt: skip
    """A study: its sentence, the command that makes it again, where its runs and its report are, pictures and table.

    study: its folder. place: MLflow's ids of the experiment and of the run. view: the key of the table of its runs. page: whether
    report.html is among its files. parts: MLflow's run ids of the studies that it compares, by their names. pictures: those of
    its files that are to be seen at once.
    """
    experiment_id, run_id = place
    links = [f"[Its runs, with seeds as columns]({views.of_table(experiment_id, view)})"] if view else []
    links += [f"[{markdown(name)}]({views.of_run(experiment_id, part)})" for name, part in parts.items()]
    links += [f"[The report, with how to read it]({views.of_run(experiment_id, run_id, 'report.html')})"] if page else []
    lines = [f"**{markdown(sentence)}**", "", f"{_again(content)} makes it again; what is there is not trained twice.", ""]
    lines += [" · ".join(links), ""] if links else []
    if not parts and content["level"] in OF_BITS:
        lines += ["Each run's own description has the command that replays it.", ""]
    lines += [f"![{PICTURES[Path(file).name]}](get-artifact?path={file}&run_uuid={run_id})" + "\n" for file in pictures]
    tables, rest = _summary((plain_files.read(study / "summary.md", LARGEST_SUMMARY) or b"").decode("utf-8", "replace"))
    return "\n".join([*lines, *tables, "", *rest]).rstrip() + "\n"


def _again(content: Mapping[str, Any]) -> str:
    return _code(in_project(content.get("verb", "repeat"), printed.telling(content["overrides"])))


def _summary(text: str) -> tuple[list[str], list[str]]:
    """The table of summary.md, on its side where that is narrower, and which runs have no result."""
    lines = text.splitlines()
    of_table = [line for line in lines if line.startswith("|") and not line.startswith("|---")]
    rows = [[markdown(cell) for cell in line.strip("|").split("|")] for line in of_table]
    if rows and len(rows[0]) > len(rows) and len({len(row) for row in rows}) == 1:
        rows = [list(row) for row in zip(*rows, strict=True)]
    at = next((number for number, line in enumerate(lines) if line.startswith("## ")), None)
    failed = [] if at is None else [line for line in lines[at:] if line.startswith(("## ", "- "))]
    return _table(rows), [markdown(line) for line in failed]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def _cell(text: object) -> str:
    """A table's cell that is shown as code; "" for nothing. A record from elsewhere may hold any text."""
    return f"`{markdown(text)}`" if text else ""


def _code(text: str) -> str:
    text = harmless(text, None)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"
