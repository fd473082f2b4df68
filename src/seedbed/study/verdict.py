"""Whether A is better than B, in a sentence: what is claimed and how sure it is, or what it would take to claim something.

The numbers come from `statistics.paired`. A sentence never says more than they do: it rounds no evidence away, and without a
claim it tells how many more seeds would show a difference of the size observed.

  Bouthillier et al. 2021, Accounting for Variance in Machine Learning Benchmarks, MLSys: https://arxiv.org/abs/2103.03098
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from seedbed.study.figures import text
from seedbed.study.resampling import fewest, mirrored
from seedbed.study.statistics import Paired

# A better than B on three seeds of four: where Bouthillier et al. 2021 recommend to let a difference matter. They hold the
# upper end of the interval of P(A > B) against it; we hold the estimate, which is stricter.
THRESHOLD = 0.75
POWER = 0.8  # the convention since Cohen 1988, Statistical Power Analysis for the Behavioral Sciences
LARGEST_EFFECT = 1e3  # as good as infinite; far beyond, the noncentral t distribution overflows


@dataclass(frozen=True)
class Verdict:
    """What `verdict` concludes from a Paired."""

    claims: bool
    better: str | None  # 'a', 'b', or None without a claim
    meaningful: bool
    sentence: str


def verdict(paired: Paired, p: float, name_a: str, name_b: str, metric: str, alpha: float = 0.05) -> Verdict:
    """Whether A or B is better, from `paired` and its permutation test's `p` (Holm's, where several were compared).

    A difference is claimed only where the interval excludes 0 and p < alpha. It is `meaningful` where it is claimed, the
    better one wins on at least THRESHOLD of the seeds, and the interval of that share excludes 1/2.

    Without a claim the sentence says how many more seeds would show a difference of the size observed (`seeds_needed`, with
    alpha divided by what the correction multiplied p with), and where n is so small that no result whatever could have
    been a claim: 2 of 2**n sign flips are at least as far from 0 as any difference, so p is never below 2 / 2**n.
    """
    outside = paired.interval is not None and (paired.interval[0] > 0 or paired.interval[1] < 0)
    if not (outside and p < alpha):
        return Verdict(False, None, False, _nothing(paired, p, outside, name_a, name_b, metric, alpha))
    a_better = (paired.difference > 0) == paired.higher_is_better
    winner, loser = (name_a, name_b) if a_better else (name_b, name_a)
    wins = paired.probability if a_better else 1 - paired.probability
    low, high = paired.probability_interval or (0.0, 1.0)
    certain = not low <= 0.5 <= high
    share = f"{100 * wins:.3g} % of the seeds"
    if wins < THRESHOLD:
        remark = f"but {winner} wins on only {share}, so on a single run the difference would hardly be noticed"
    elif not certain:
        low, high = (low, high) if a_better else (1 - high, 1 - low)
        remark = f"{winner} wins on {share}, but that share is uncertain ({_percent(paired)} interval {100 * low:.3g} … {100 * high:.3g} %)"
    else:
        remark = f"{winner} wins on {share}"
    sign = 1.0 if paired.difference > 0 else -1.0
    direction = "higher" if paired.higher_is_better else "lower"
    size, evidence = _evidence(paired, sign, p, alpha)
    sentence = f"{winner} is better than {loser}: {metric} {direction} by {size} ({evidence}); {remark}."
    return Verdict(True, "a" if a_better else "b", wins >= THRESHOLD and certain, sentence)


def seeds_needed(effect: float, power: float = POWER, alpha: float = 0.05) -> int | None:
    """How many pairs a two-sided paired t test needs to see |effect| (Cohen's d_z) with `power`; at least 2.

    None: there is nothing to see (0, not finite, or so small that the number is too large for a float). We count up from the
    normal approximation n = ((z(1-alpha/2) + z(power)) / effect)**2, which is a few short at most, until
    `statsmodels.stats.power.TTestPower().power` is reached: its `solve_power` fails for effects above 10 or so. Being
    significant on the wrong side isn't counted as seeing the effect, and leaves out a term that is NaN for large ones
    (statsmodels 0.15); at a power of 0.8 it's below 1e-5.
    """
    from statsmodels.stats.power import TTestPower

    if not math.isfinite(effect) or effect == 0:
        return None
    size = min(abs(effect), LARGEST_EFFECT)
    with np.errstate(over="ignore"):
        approximate = float(np.square((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) / size))
    if not math.isfinite(approximate):
        return None
    n = max(2, math.floor(approximate))
    if n > 1_000_000:  # Student's t is as good as normal there
        return math.ceil(approximate)
    while not TTestPower().power(size, n, alpha / 2, alternative="larger") >= power:  # so that NaN counts as not reached
        n += 1
    return n


def _nothing(paired: Paired, p: float, outside: bool, name_a: str, name_b: str, metric: str, alpha: float) -> str:
    """The sentence of a verdict that claims nothing."""
    start = f"No difference shown between {name_a} and {name_b}: {metric}"
    if paired.ties == paired.n:
        return f"{start} is the same on {'all ' if paired.n > 1 else ''}{_seeds(paired.n)}."
    level = alpha * min(1.0, paired.permutation_p / p)
    least = max(math.floor(1 - math.log2(level)) + 1, fewest(paired.confidence))  # the smallest n with 2 / 2**n < level
    needed = seeds_needed(paired.effect, POWER, level) if paired.effect else None
    size, evidence = _evidence(paired, 1.0, p, alpha)
    remarks = []
    if paired.n < least:
        remarks.append(f"no claim is possible with fewer than {least} seeds")
    elif outside != (p < alpha):
        remarks.append("the interval and the test disagree")
    if needed is not None and max(needed, least) > paired.n:
        remarks.append(f"a difference of this size would need {_more(max(needed, least) - paired.n)}")
    elif needed is None and paired.effect is not None and math.isfinite(paired.effect):
        remarks.append("no number of seeds would show a difference this small")
    elif paired.n >= least:
        remarks.append("more seeds would decide")
    return f"{start} differs by {size} ({name_a} − {name_b}; {evidence}); {', and '.join(remarks)}."


def _evidence(paired: Paired, sign: float, p: float, alpha: float) -> tuple[str, str]:
    """The difference times `sign`, and its interval, p and n."""
    interval = mirrored(paired.interval, sign)
    spread = None
    if interval and interval[1] > interval[0]:
        nearest = min(abs(interval[0]), abs(interval[1]))
        # an end next to 0 keeps a digit of its own
        spread = min((interval[1] - interval[0]) / 2, 10 * nearest or math.inf)
    ends = [f"{_percent(paired)} interval {text(interval[0], spread)} … {text(interval[1], spread)}"] if interval else []
    corrected = "" if p == paired.permutation_p else " after correction"
    return text(sign * paired.difference, spread), ", ".join([*ends, f"p {_p(p, alpha)}{corrected}", _seeds(paired.n)])


def _percent(paired: Paired) -> str:
    return f"{100 * paired.confidence:g} %"


def _p(p: float, alpha: float) -> str:
    """'= 0.43', with as many digits as tell it from alpha; '< 0.001' below that."""
    if p < 0.001 < alpha:
        return "< 0.001"
    shown = [f"{p:.{digits}g}" for digits in range(2, 18)]
    return "= " + next((number for number in shown if (float(number) < alpha) == (p < alpha)), shown[-1])


def _seeds(n: int) -> str:
    return f"{n} seeds" if n != 1 else "1 seed"


def _more(count: int) -> str:
    if count > 1_000_000:
        return "more than a million more seeds"
    about = int(float(f"{count:.2g}")) if count >= 100 else count  # what is guessed from an effect's estimate isn't known better
    return f"about {about} more seed{'s' if about != 1 else ''}"
