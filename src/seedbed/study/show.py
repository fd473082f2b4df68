"""What people read at the end of a study: the sentence and the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rich.table import Table

from seedbed import printed
from seedbed.command_line import changed, command
from seedbed.printed import lines, sentence
from seedbed.study.figures import text
from seedbed.study.repeat import Result
from seedbed.study.statistics import Summary


def repeat(result: Result, said: str, found: Mapping[str, Summary], words: Sequence[str]) -> None:
    if result.check is not None and not result.check.agrees:
        sentence(result.check.said)
    sentence(said)
    if found:
        print()
        printed.table(table(found), 40 + 40 * len(found))
        print()
    reused = len(result.records) - result.trained
    rows = [("runs", f"{len(result.records)} of {len(result.study.masters)} finished; trained now {result.trained}, there before {reused}")]
    rows += [(f"seed {master}", error.strip().splitlines()[-1]) for master, error in list(result.failures.items())[:10]]
    if result.check is not None and result.check.agrees:
        rows.append(("checked", f"seed {result.check.seed}, trained a second time in a fresh process: the same bits"))
    if result.check is not None and result.check.agrees is False:
        why = [word for word in words if not word.startswith(("study.", "hydra"))]
        rows.append(("why", command("diagnose", ["--study", *why, f"seeds.master={result.check.seed}"])))
    if files := result.files():
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        rows.append(("files", f"runs read what earlier runs wrote, so that their order may decide bits: {', '.join(files[:3])}{more}"))
    if len(result.failures) > 10:
        rows.append(("…", f"{len(result.failures) - 10} more; all of them are in {result.study.path}/summary.md"))
    if any(result.failures.values()) and (where := _where(result)):
        rows.append(("errors", where))
    report = result.study.path / "summary.md"
    if report.exists():  # a full disk had no room for it
        rows.append(("report", str(report)))
    if found and report.exists():
        rows += [("pictures", f"{result.study.path}/distribution.png, learning_curves.png, interval_width.png")]
        rows += [("tables", f"{result.study.path}/runs.csv, summary.csv")]
    rows.append(("next", _next(result, words)))
    lines(rows)


def table(found: Mapping[str, Summary]) -> Table:
    """One column a metric, one row a statistic."""
    grid = Table(box=None, padding=(0, 3, 0, 0))
    for name in ("", *found):
        grid.add_column(name, no_wrap=True)
    confidence = f"{100 * next(iter(found.values())).confidence:g} %"

    def row(name: str, cell: Callable[[Summary], str]) -> None:
        grid.add_row(name, *(cell(summary) for summary in found.values()))

    row("mean", lambda s: text(s.mean, s.std))
    row(f"  {confidence} interval", lambda s: between(s.interval))
    row("standard deviation", lambda s: "–" if s.std is None else text(s.std))
    row("a single run is off by", lambda s: "–" if s.single is None else text(s.single, s.single))
    row("median", lambda s: text(s.median, s.std))
    row("interquartile mean", lambda s: text(s.iqm, s.std))
    row(f"  {confidence} interval", lambda s: between(s.iqm_interval))
    row("min … max", lambda s: f"{text(s.minimum, s.std)} … {text(s.maximum, s.std)}")
    for low, high in ((0.25, 0.75), (0.05, 0.95)):
        row(f"{100 * low:g} % … {100 * high:g} %", partial(_quantiles, low, high))
    return grid


def _quantiles(low: float, high: float, summary: Summary) -> str:
    return f"{text(summary.quantiles[low], summary.std)} … {text(summary.quantiles[high], summary.std)}"


def between(interval: tuple[float, float] | None) -> str:
    """An interval for people, with the digits that its width justifies."""
    if interval is None:
        return "–"
    low, high = interval
    return f"{text(low, high - low or None)} … {text(high, high - low or None)}"


def _where(result: Result) -> str:
    """Where the traceback of the first failure is."""
    for task in result.study.tasks():
        noted = task.noted()
        if noted.get("status") != "finished":
            return str(noted.get("record") or task.file)
    return ""


def _next(result: Result, words: Sequence[str]) -> str:
    if result.stopped or not result.complete:
        return "the same command again: it trains what is missing, and nothing twice"
    more = changed(words, ("study.n=", "study.seeds="), [f"study.n={2 * len(result.study.masters)}"])
    rest = changed(words, ("study.n=",))
    return f"{command('repeat', more)}  (twice the seeds; these are not trained again)   {command('variance', rest)}"


def pairs(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> None:
    """A plain table."""
    grid = Table(box=None, padding=(0, 2, 0, 0))
    for name in header:
        grid.add_column(name, no_wrap=True)
    for row in rows:
        grid.add_row(*map(str, row))
    wide = 1 + sum(2 + max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header)))
    printed.table(grid, wide)


def compare(found: Any) -> None:
    """The verdict, then the table that it comes from."""
    from seedbed.study.compare import HEADER
    from seedbed.study.compare import table as rows_of

    sentence(found.sentence)
    print()
    if len(found.pairs) > 1:
        pairs(rows_of(found), ["A / B", *HEADER])
    else:
        lines([(name, value) for name, value in zip(HEADER, rows_of(found)[0][1:], strict=True)])
    print()
    rows = [(name, f"{text(mean)} on average") for name, mean in found.means.items()]
    rows += [("report", f"{found.path}/summary.md"), ("picture", f"{found.path}/differences.png"), ("table", f"{found.path}/pairs.csv")]
    lines(rows)


def variance(found: Any) -> None:
    from seedbed.study.variance import HEADER
    from seedbed.study.variance import table as rows_of

    sentence(found.sentence)
    print()
    pairs(rows_of(found), [found.metric, *HEADER])
    print()
    lines([("report", f"{found.path}/summary.md"), ("picture", f"{found.path}/components.png"), ("table", f"{found.path}/summary.csv")])
