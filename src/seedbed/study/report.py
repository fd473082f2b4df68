"""What a study has to say, as a sentence, tables and pictures; the same runs give the same files, to the last byte."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import numpy as np
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.command_line import changed, in_project
from seedbed.printed import telling
from seedbed.run import json_text
from seedbed.run.record import BrokenOff, write_atomically
from seedbed.study import statistics
from seedbed.study.figures import text
from seedbed.study.plan import written
from seedbed.study.repeat import Result, is_higher_better, metric_of
from seedbed.study.statistics import Summary

# How the columns of the summary are called for people, in this order; `Summary.as_row` names them.
COLUMNS = {"mean": "mean", "std": "std", "median": "median", "iqm": "IQM", "minimum": "min", "maximum": "max", "q05": "5 %", "q25": "25 %",
           "q75": "75 %", "q95": "95 %"}  # fmt: skip


def summaries(result: Result, confidence: float) -> dict[str, Summary]:
    """The summary of each metric over its finite values (`not_finite` counts the others); metrics without any are left out."""
    found = {}
    for name in result.names():
        values = result.values(name)
        if np.isfinite(values).any():
            found[name] = statistics.summary(values[np.isfinite(values)], confidence)
    return found


def not_finite(result: Result) -> dict[str, int]:
    """How many runs ended with NaN or infinity, by metric; those without are left out."""
    counts = {name: int((~np.isfinite(result.values(name))).sum()) for name in result.names()}
    return {name: count for name, count in counts.items() if count}


def sentence(result: Result, metric: str, summary: Summary) -> str:
    """What the numbers mean, for somebody who reads nothing else."""
    seeds = f"{summary.n} seed{'s' if summary.n != 1 else ''}"
    if summary.std is None:
        return f"1 seed: {metric} {text(summary.mean)}. How far another seed would differ can't be said: it takes at least two."
    if summary.std == 0:
        return f"{seeds}: {metric} {text(summary.mean)} with every one of them; the seeds don't change it."
    spread = summary.interval[1] - summary.interval[0] if summary.interval else summary.std
    said = f"{seeds}: {metric} {text(summary.mean, spread)}"
    if summary.interval is None:
        return (
            f"{said} on average (too few seeds for an interval); a single run can be off by {text(summary.single or 0.0, summary.single)}."
        )
    low, high = (text(bound, spread) for bound in summary.interval)
    return (
        f"{said}, {100 * summary.confidence:g} % interval {low} … {high}; a single run can be off by "
        f"{text(summary.single or 0.0, summary.single)}."
    )


def verdict(result: Result, metric: str | None, found: Mapping[str, Summary]) -> str:
    """The study's sentence: how many runs there are, if not all, and what they say."""
    if not result.records:
        return f"0 of {len(result.study.masters)} seeds have finished."
    chosen = metric_of(result, metric)
    said = sentence(result, chosen, found[chosen]) if chosen in found else f"{chosen} is not finite in any run."
    missing = (
        "" if result.complete else f"{len(result.records)} of {len(result.study.masters)} seeds have finished, so this is about them: "
    )
    if count := not_finite(result).get(chosen):
        missing += f"{count} run{'s' if count > 1 else ''} ended with a {chosen} that is not a finite number, and the rest are "
    return missing + said


def table(found: Mapping[str, Summary]) -> list[dict[str, Any]]:
    """One row a metric, one column a statistic."""
    return [{"metric": name, **summary.as_row(), "interval": summary.method} for name, summary in found.items()]


def runs(result: Result) -> list[dict[str, Any]]:
    """One row a finished run: its seeds, metrics, epochs, key and digest."""
    return [
        {"master": master, **{f"seeds.{name}": seed for name, seed in record.seeds.items() if name != "master"}, **record.metrics,
         "epochs": len(record.history()), "key": record.key, "digest": record.digests["run"]}
        for master, record in result.records.items()
    ]  # fmt: skip


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with a column for each key that any row has; floats to the last bit, nothing where there is nothing."""
    file = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(file, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def markdown(result: Result, said: str, found: Mapping[str, Summary]) -> str:
    """The report as a page for people."""
    lines = [f"# {result.study.name}", "", *([result.check.said, ""] if result.check else []), said, ""]
    header = ["metric", *COLUMNS.values(), "mean's interval"]
    lines += [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for name, summary in found.items():
        row: dict[str, Any] = summary.as_row()
        cells = [text(row[column], summary.std) if row[column] is not None else "–" for column in COLUMNS]
        low, high = row["low"], row["high"]
        interval = "–" if low is None else f"{text(low, high - low or None)} … {text(high, high - low or None)}"
        lines.append(f"| {name} | {' | '.join(cells)} | {interval} |")
    if files := result.files():
        lines += ["", "Files that runs read after earlier runs had written them; the order of runs may decide their bits:", ""]
        lines += [f"- `{path}`" for path in files]
    if result.failures:
        lines += ["", f"## {len(result.failures)} without a result", ""]
        lines += [f"- seed {master}: {error.splitlines()[-1]}" for master, error in result.failures.items()]
    again = in_project("repeat", changed(telling(result.study.content["overrides"])))
    lines += ["", f"Level {result.study.content['level']}. Again: `{again}`", ""]
    return "\n".join(lines)


def write(result: Result, said: str, found: Mapping[str, Summary], config: DictConfig) -> None:
    """Write tables and pictures into the study's folder.

    Raises BrokenOff where the disk says no; of a study that was stopped by it, what there is to say comes first.
    """
    with suppress(BrokenOff) if result.stopped else nullcontext(), written():
        _write(result, said, found, config)


def _about(result: Result, study: DictConfig) -> dict[str, str]:
    """The metric that the sentence is about, and whether a higher or a lower one is better, as far as that can be said."""
    about: dict[str, str] = {}
    with suppress(Refused):
        if result.records:
            about["metric"] = metric_of(result, study.metric)
            about["better"] = "higher" if is_higher_better(about["metric"], study.better) else "lower"
    return about


def _write(result: Result, said: str, found: Mapping[str, Summary], config: DictConfig) -> None:
    folder = result.study.path
    facts = {"sentence": said, "finished": len(result.records), "asked": len(result.study.masters),
             "experiment": config.tracking.experiment, "seeds": list(result.study.masters),
             "check": vars(result.check) if result.check else None, **_about(result, config.study)}  # fmt: skip
    write_atomically(folder / "report.json", json_text.dumps(facts))
    write_atomically(folder / "summary.md", markdown(result, said, found))
    if not found:
        return
    from seedbed.study import plots

    write_atomically(folder / "summary.csv", as_csv(table(found)))
    write_atomically(folder / "runs.csv", as_csv(runs(result)))
    values = {name: result.values(name) for name in found}
    name, number = result.study.name, len(result.records)
    seeds = f"{number} seed{'s' if number != 1 else ''}"
    plots.distribution(values, {m: s.interval for m, s in found.items()}, f"{name}: what {seeds} give", folder / "distribution.png")
    plots.learning_curves(result.curves(), f"{name}: learning curves of {seeds}", folder / "learning_curves.png")
    confidence = next(iter(found.values())).confidence
    points = {m: statistics.widths(values[m][np.isfinite(values[m])], confidence) for m in found}
    if any(points.values()):
        points = {m: some for m, some in points.items() if some}
        plots.widths(points, f"{name}: what more seeds would buy", folder / "interval_width.png")


def as_json(result: Result, said: str, found: Mapping[str, Summary]) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "study": result.study.id, "path": str(result.study.path), "name": result.study.name, "sentence": said,
        "asked": len(result.study.masters), "finished": len(result.records), "trained": result.trained,
        "seeds": list(result.records), "failed": {str(master): error for master, error in result.failures.items()},
        "metrics": {name: summary.as_row() for name, summary in found.items()},
        "digests": {str(master): record.digests["run"] for master, record in result.records.items()},
        "not_finite": not_finite(result), "check": vars(result.check) if result.check else None, "files": result.files(),
    }  # fmt: skip
