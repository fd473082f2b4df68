"""Which source of randomness makes results differ? Runs that vary one stream alone, the others held, beside runs that vary all.

X. Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks, MLSys 2021.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.command_line import changed, in_project
from seedbed.printed import telling
from seedbed.run import json_text
from seedbed.run.record import write_atomically
from seedbed.study import statistics
from seedbed.study.figures import text
from seedbed.study.plan import written
from seedbed.study.repeat import Result, metric_of
from seedbed.study.statistics import Component


@dataclass(frozen=True)
class Split:
    """The variance of one metric, by stream. together: the runs that vary all streams."""

    path: Path
    metric: str
    master: int  # what the held streams are held at
    parts: list[Component]
    together: Component
    sentence: str
    words: list[str]
    complete: bool


def streams(config: DictConfig) -> list[str]:
    """The streams to vary, one after the other; raises Refused."""
    if config.determinism.level == "off":
        raise Refused("determinism=off can't hold a stream while another varies. Accepted: determinism=seeded, strict.")
    wanted = [str(name) for name in config.study.streams]
    if not wanted or len(set(wanted)) != len(wanted):
        raise Refused(f"study.streams={wanted} is not accepted. Accepted: at least one stream, each once.")
    if config.study.n < 2 and config.study.seeds is None:
        raise Refused(f"study.n={config.study.n} has no variance. Accepted: 2 or more (30 tells something).")
    return wanted


@written()
def split(results: Mapping[str | None, Result], config: DictConfig, words: Sequence[str]) -> Split:
    """The variance by stream, from the results of the runs that vary one each (None: all of them); raises Refused."""
    whole = results[None]
    short = [name or "all" for name, result in results.items() if len(result.records) < 2]
    if short:
        raise Refused(f"Fewer than two runs have finished for {', '.join(short)}: there is no variance to speak of.")
    metric = metric_of(whole, config.study.metric)
    values = {name: result.values(metric) for name, result in results.items()}
    if not all(np.isfinite(column).all() for column in values.values()):
        raise Refused(f"{metric} is not a finite number in some run: it has no variance. Say another: study.metric=…")
    groups = {name: column for name, column in values.items() if name is not None}
    parts = statistics.components(groups, values[None], config.study.confidence)
    together = statistics.components({"all": values[None]}, values[None], config.study.confidence)[0]
    identity = "\n".join([*(result.study.id for result in results.values()), metric])
    id = hashlib.sha256(identity.encode()).hexdigest()
    path = whole.study.path.parent / f"variance-{whole.study.name}-{id[:12]}"
    (path / "seeds").mkdir(parents=True, exist_ok=True)
    complete = all(result.complete for result in results.values())
    found = Split(
        path,
        metric,
        int(config.seeds.master),
        parts,
        together,
        _sentence(parts, together, metric, len(values[None])),
        list(words),
        complete,
    )
    content = {"format": 1, "id": id, "study": id, "name": f"variance {whole.study.name}", "vary": "one by one", "overrides": list(words),
               "level": str(config.determinism.level), "verb": "variance",
               "parts": {name or "all": result.study.path.name for name, result in results.items()}}  # fmt: skip
    write_atomically(path / "study.json", json_text.dumps(content, indent=1))
    finished, asked = (sum(len(getattr(r, "records" if name == "f" else "failures")) for r in results.values()) for name in "fa")
    facts = {"sentence": found.sentence, "finished": finished, "asked": finished + asked, "experiment": config.tracking.experiment,
             "seeds": list(whole.study.masters), "metric": metric}  # fmt: skip
    write_atomically(path / "report.json", json_text.dumps(facts))
    return found


def _sentence(parts: Sequence[Component], together: Component, metric: str, n: int) -> str:
    """Who makes the spread, as far as the intervals allow to say so."""
    streams = sorted((part for part in parts if part.name != "interaction"), key=lambda part: -part.variance)
    if not together.variance:
        return f"{n} seeds each: {metric} is the same with all of them; no stream of randomness changes it."
    moving = [part for part in streams if part.variance]
    still = [part.name for part in streams if not part.variance]
    said = f"{n} seeds each: all streams together spread {metric} with a standard deviation of {text(together.std or 0.0)}. "
    if not moving:
        return said + "None of the streams that were varied alone changes it."
    first = moving[0]
    apart = len(moving) < 2 or (first.interval is not None and moving[1].interval is not None and first.interval[0] > moving[1].interval[1])
    if apart:
        said += f"Most of it comes from {first.name} ({_share(first)})."
    else:
        alike = [part for part in moving if first.interval and part.interval and part.interval[1] >= first.interval[0]]
        listed = ", ".join(f"{part.name} ({_share(part)})" for part in alike)
        said += f"Too few seeds to say which stream makes most of it; those that may: {listed}."
    if still:
        said += f" No effect: {', '.join(still)}."
    return said


def _share(part: Component) -> str:
    if part.share is None:
        return "share unknown"
    interval = f", {100 * part.share_interval[0]:.0f} … {100 * part.share_interval[1]:.0f} %" if part.share_interval else ""
    return f"{100 * part.share:.0f} % of the variance{interval}"


HEADER = ("standard deviation", "interval", "share of the variance", "interval")


def table(found: Split) -> list[list[str]]:
    """One row a stream, then what they leave, then all together."""
    from seedbed.study.show import between

    rows = []
    for part in [*found.parts, found.together]:
        alone = part is not found.together
        share = "–" if part.share is None else f"{100 * part.share:.0f} %"
        interval = (
            "–"
            if part.share_interval is None or not alone
            else f"{100 * part.share_interval[0]:.0f} … {100 * part.share_interval[1]:.0f} %"
        )
        root = None if part.std is None or part.interval is None else (max(part.interval[0], 0.0) ** 0.5, max(part.interval[1], 0.0) ** 0.5)
        name = {"interaction": "(not their sum)", "all": "all together"}.get(part.name, part.name)
        rows.append([name, "–" if part.std is None else text(part.std), between(root), share, interval])
    return rows


def numbers(found: Split) -> list[dict[str, Any]]:
    """One row a stream, for a table."""
    return [
        {
            "metric": part.name, "n": part.n, "variance": part.variance, "variance_low": (part.interval or (None, None))[0],
            "variance_high": (part.interval or (None, None))[1], "std": part.std, "share": part.share,
            "share_low": (part.share_interval or (None, None))[0], "share_high": (part.share_interval or (None, None))[1],
        }
        for part in [*found.parts, found.together]
    ]  # fmt: skip


@written()
def write(found: Split) -> None:
    """Table, page and picture into the folder."""
    from seedbed.study import plots, report

    write_atomically(found.path / "summary.csv", report.as_csv(numbers(found)))
    alone = [part for part in found.parts if part.name != "interaction"]
    plots.components(
        [part.name for part in alone], [part.variance for part in alone], [part.interval for part in alone],
        (found.together.variance, found.together.interval), found.metric, "Which stream of randomness makes results differ?",
        found.path / "components.png",
    )  # fmt: skip
    lines = ["# Sources of variance", "", found.sentence, "", "| stream | " + " | ".join(HEADER) + " |", "|---" * (len(HEADER) + 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in table(found)]
    lines += [
        "",
        f"The other streams are those of seeds.master={found.master}. Again: `{in_project('variance', changed(telling(found.words)))}`",
        "",
    ]
    write_atomically(found.path / "summary.md", "\n".join(lines))


def as_json(found: Split) -> dict[str, Any]:
    """What `--json` prints."""
    rows = [{("stream" if name == "metric" else name): value for name, value in row.items()} for row in numbers(found)]
    return {"metric": found.metric, "sentence": found.sentence, "path": str(found.path), "master": found.master, "streams": rows}
