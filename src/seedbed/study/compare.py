"""Is A better than B? Both over the same seeds, so that what a seed does to both cancels out (a paired comparison)."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.command_line import in_project
from seedbed.printed import about, telling
from seedbed.run import json_text
from seedbed.run.record import write_atomically
from seedbed.study import statistics
from seedbed.study.figures import text
from seedbed.study.plan import written
from seedbed.study.repeat import Result, is_higher_better, metric_of
from seedbed.study.statistics import Paired
from seedbed.study.verdict import Verdict, verdict

USAGE = """\
usage: seedbed compare A B [C …] [-- KEY=VALUE …] [--assert-better] [--json]

Each of A, B, … is a configuration: an experiment's name (conf/experiment), or overrides in one word:
  seedbed compare "model.hidden=[10]" "model.hidden=[50]" -- data=digits study.n=30
  seedbed compare digits_mlp digits_cnn
What follows `--` holds for all of them. Words about the study itself (study.…, runs=…, tracking…, hydra…) may stand anywhere.
Each pair is compared over the same master seeds; with more than two, A is compared with each other one (Holm's correction).
--assert-better: exit status 1 unless A is shown to be better than every other one."""

# Words that belong to the whole comparison, wherever they stand.
COMMON = ("study.", "runs=", "tracking", "hydra", "checkpoint.")


@dataclass(frozen=True)
class Pair:
    """A against one other configuration."""

    a: str
    b: str
    paired: Paired
    p: float  # of the permutation test, Holm's where there are several pairs
    wilcoxon_p: float  # likewise
    verdict: Verdict
    differences: np.ndarray  # a - b, float64 of shape (seeds,)


@dataclass(frozen=True)
class Comparison:
    path: Path
    metric: str
    higher: bool
    names: list[str]
    masters: list[int]  # the seeds that all of them have finished
    missing: int  # seeds that some of them lack
    pairs: list[Pair]
    means: dict[str, float]
    words: list[str]

    @property
    def best_is_first(self) -> bool:
        """Whether A is shown to be better than each of the others."""
        return all(pair.verdict.better == "a" for pair in self.pairs)

    @property
    def sentence(self) -> str:
        missing = f" ({self.missing} seeds are left out: they have not finished everywhere.)" if self.missing else ""
        return " ".join(pair.verdict.sentence for pair in self.pairs) + missing


def sides_of(argv: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """(name → overrides of each configuration, overrides that hold for all); raises Refused."""
    words, common = list(argv), []
    if "--" in words:
        at = words.index("--")
        words, common = words[:at], words[at + 1 :]
    if flags := [word for word in words if word.startswith("-")]:
        raise Refused(f"{flags[0]} is no option.\n{USAGE}")
    common = [word for word in words if about(word, COMMON)] + common
    sides: dict[str, list[str]] = {}
    for word in words:
        if about(word, COMMON):
            continue
        try:
            overrides = shlex.split(word) if "=" in word else [f"experiment={word}"]
        except ValueError as error:
            raise Refused(f"{word!r} can't be read: {error}. Accepted: overrides as in a shell, quotes closed.") from None
        if whole := [one for one in overrides if about(one, COMMON)]:
            raise Refused(f"{whole[0].partition('=')[0]} is no part of a configuration: it holds for the whole comparison. "
                          "Accepted: a word of its own, or after `--`.")  # fmt: skip
        if word in sides:
            raise Refused(f"{word!r} is named twice. Two configurations that differ are needed.")
        sides[word] = overrides
    if len(sides) < 2:
        raise Refused(f"at least two configurations are needed; given {len(sides)}: {', '.join(sides) or 'none'}.\n{USAGE}")
    return sides, common


def check(configs: Mapping[str, DictConfig]) -> None:
    """Raise Refused if the configurations can't be compared seed by seed."""
    first_name, first = next(iter(configs.items()))
    for name, config in configs.items():
        for key in ("n", "seeds", "vary", "metric", "better", "confidence", "alpha", "power"):
            if config.study[key] != first.study[key]:
                raise Refused(
                    f"study.{key} is {first.study[key]} for {first_name} and {config.study[key]} for {name}. Accepted: one for all."
                )
        if config.determinism.level == "off":
            raise Refused("determinism=off draws other seeds for each run, so there are no pairs. Accepted: seeded, strict.")
        if config.runs != first.runs:
            raise Refused(f"runs is {first.runs} for {first_name} and {config.runs} for {name}. Accepted: one folder for all.")


@written()
def compared(results: Mapping[str, Result], config: DictConfig, words: Sequence[str]) -> Comparison:
    """The first configuration against each other one, over the seeds that all have finished; raises Refused without any."""
    names = list(results)
    common = [master for master in results[names[0]].records if all(master in result.records for result in results.values())]
    if not common:
        raise Refused(
            "No seed has finished with every configuration, so there is nothing to compare. `seedbed repeat` shows what went wrong."
        )
    metric = metric_of(results[names[0]], config.study.metric)
    if lacking := [name for name in names if metric not in results[name].names()]:
        raise Refused(f"{metric} is a metric of {names[0]} and not of {', '.join(lacking)}. Say one that all have: study.metric=…")
    higher = is_higher_better(metric, config.study.better)
    values = {name: np.array([results[name].records[master].metrics[metric] for master in common]) for name in names}
    if bad := [name for name in names if not np.isfinite(values[name]).all()]:
        raise Refused(f"{metric} is not a finite number in some run of {', '.join(bad)}: there is no mean to compare. Say another metric.")
    first, others = names[0], names[1:]
    found = {name: statistics.paired(values[first], values[name], higher, config.study.confidence) for name in others}
    ps = statistics.holm([paired.permutation_p for paired in found.values()])
    wilcoxon = statistics.holm([paired.wilcoxon_p for paired in found.values()])
    pairs = [
        Pair(first, name, found[name], p, w, verdict(found[name], p, first, name, metric, config.study.alpha), values[first] - values[name])
        for name, p, w in zip(others, ps, wilcoxon, strict=True)
    ]  # fmt: skip
    identity = "\n".join([*(result.study.id for result in results.values()), metric])
    id = hashlib.sha256(identity.encode()).hexdigest()
    path = results[first].study.path.parent / f"compare-{id[:12]}"
    missing = max(len(result.study.masters) for result in results.values()) - len(common)
    means = {name: float(column.mean()) for name, column in values.items()}
    comparison = Comparison(path, metric, higher, names, common, missing, pairs, means, list(words))
    (path / "seeds").mkdir(parents=True, exist_ok=True)
    level = str(config.determinism.level)
    content = {"format": 1, "id": id, "study": id, "name": f"compare {' / '.join(names)}", "vary": None, "overrides": list(words),
               "level": level, "verb": "compare",
               "parts": {name: result.study.path.name for name, result in results.items()}}  # fmt: skip
    write_atomically(path / "study.json", json_text.dumps(content, indent=1))
    facts = {
        "sentence": comparison.sentence,
        "finished": len(common),
        "asked": len(common) + missing,
        "experiment": config.tracking.experiment,
        "seeds": common,
    }
    write_atomically(path / "report.json", json_text.dumps(facts))
    return comparison


def rows(found: Comparison) -> list[dict[str, Any]]:
    """One row a pair, for a table."""
    result: list[dict[str, Any]] = []
    for pair in found.pairs:
        low, high = pair.paired.interval or (None, None)
        poi_low, poi_high = pair.paired.probability_interval or (None, None)
        result.append({
            "metric": f"{found.metric}.{len(result) + 1}", "a": pair.a, "b": pair.b, "n": pair.paired.n,
            "difference": pair.paired.difference, "low": low, "high": high, "p_permutation": pair.p, "p_wilcoxon": pair.wilcoxon_p,
            "p_permutation_uncorrected": pair.paired.permutation_p, "p_wilcoxon_uncorrected": pair.paired.wilcoxon_p,
            "probability_of_improvement": pair.paired.probability,
            "probability_low": poi_low, "probability_high": poi_high, "effect_size": pair.paired.effect,
        })  # fmt: skip
    return result


@written()
def write(found: Comparison) -> None:
    """Table, page and picture into the comparison's folder."""
    from seedbed.study import plots, report

    numbers = rows(found)
    write_atomically(found.path / "pairs.csv", report.as_csv(numbers))
    write_atomically(found.path / "summary.csv", report.as_csv([{n: v for n, v in row.items() if n not in ("a", "b")} for row in numbers]))
    labels = {f"{pair.a} / {pair.b}": pair for pair in found.pairs}
    better = "higher" if found.higher else "lower"
    plots.differences(
        {label: pair.differences for label, pair in labels.items()},
        {label: pair.paired.interval for label, pair in labels.items()}, dict.fromkeys(labels, better),
        f"{found.metric} ({better} is better): A is {found.names[0]}", found.path / "differences.png",
        {label: pair.verdict.claims for label, pair in labels.items()},
    )  # fmt: skip
    lines = [f"# {' / '.join(found.names)}", "", found.sentence, "", "| | " + " | ".join(HEADER) + " |", "|---" * (len(HEADER) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, *cells in table(found)]
    lines += ["", f"{len(found.masters)} seeds: {_seeds(found.masters)}. Again: `{in_project('compare', telling(found.words))}`", ""]
    write_atomically(found.path / "summary.md", "\n".join(lines))


HEADER = ("A − B", "interval", "p (permutation)", "p (Wilcoxon)", "P(A better)", "interval", "effect size d_z", "verdict")


def table(found: Comparison) -> list[list[str]]:
    """One row a pair, in words."""
    from seedbed.study.show import between

    result = []
    for pair in found.pairs:
        one, spread = pair.paired, abs((pair.paired.interval or (0, 0))[1] - (pair.paired.interval or (0, 0))[0])
        verdict = f"{pair.a if pair.verdict.better == 'a' else pair.b} better" if pair.verdict.claims else "no difference shown"
        result.append([
            f"{pair.a} / {pair.b}", text(one.difference, spread or None), between(one.interval), f"{pair.p:.3g}", f"{pair.wilcoxon_p:.3g}",
            f"{one.probability:.2f}", between(one.probability_interval), "–" if one.effect is None else f"{one.effect:.2f}", verdict,
        ])  # fmt: skip
    return result


def as_json(found: Comparison) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "metric": found.metric, "better": "higher" if found.higher else "lower", "sentence": found.sentence, "path": str(found.path),
        "seeds": found.masters, "missing": found.missing, "means": found.means, "first_is_best": found.best_is_first,
        "pairs": [
            {**{name: _plain(value) for name, value in row.items() if name != "metric"}, "claims": pair.verdict.claims,
             "better": {"a": pair.a, "b": pair.b}.get(str(pair.verdict.better)), "meaningful": pair.verdict.meaningful,
             "sentence": pair.verdict.sentence}
            for row, pair in zip(rows(found), found.pairs, strict=True)
        ],
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """Infinity is no JSON."""
    return value if not isinstance(value, float) or np.isfinite(value) else str(value)


def _seeds(masters: Sequence[int]) -> str:
    whole = list(masters) == list(range(masters[0], masters[-1] + 1))
    return f"{masters[0]} … {masters[-1]}" if whole and len(masters) > 2 else ", ".join(map(str, masters))
