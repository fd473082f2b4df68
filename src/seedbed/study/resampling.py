"""Drawing again from the values there are: bootstrap intervals, and permutation tests by flipping signs.

SciPy does both; this module chooses among its methods and handles the cases in which they give NaN, overflow, or take the
rounding of float32 for an order. All randomness comes from generators that are made anew from SEED for each question, so that
an answer doesn't depend on what was asked before.

  Efron & Tibshirani 1993, An Introduction to the Bootstrap, Chapman & Hall, chapter 14
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
Interval = tuple[float, float]
SEED = 2021  # any number would do; another one moves every interval's end within its Monte Carlo error
RESAMPLES = 9999  # SciPy's default; an interval's end is then within 2 % of its width of where endless resampling would put it
EXACT = 15  # a permutation test of up to this many pairs goes through all 2**n sign flips (n = 15: 32768, in 0.1 s)
CUT = 0.25  # what the interquartile mean leaves out at either end


def fewest(confidence: float = 0.95) -> int:
    """The fewest values that get an interval: 5 at 95 %, 6 at 99 %.

    With fewer, more than (1 - confidence) / 2 of the resamples have the smallest value itself as their interquartile mean
    (5 % with 4 values; of the mean, 4 % with 3), so the interval would run from the minimum to the maximum and say nothing.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"{confidence} is no confidence: it lies between 0 and 1, and is usually 0.95.")
    n = 1
    while stats.binom.sf(n - int(CUT * n) - 1, n, 1 / n) >= (1 - confidence) / 2:
        n += 1
    return n


def interval(
    samples: Sequence[Array], statistic: Callable[..., Any], confidence: float, *, degree: int = 1, method: str = "BCa"
) -> tuple[Interval | None, str | None]:
    """The bootstrap interval of `statistic` (homogeneous of `degree`) of independent `samples`, and how it was made.

    `scipy.stats.bootstrap`: https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.bootstrap.html. BCa is NaN
    where leaving out any one value changes nothing; then it is the percentile interval, and 'percentile' says so. Values
    that are all equal give (v, v) and 'constant'. (None, None): a sample is smaller than `fewest`, or resamples are
    degenerate so often that no finite interval can be said.
    """
    if min(x.size for x in samples) < fewest(confidence):
        return None, None
    exponent = exponent_of(*samples)
    data = [np.ldexp(np.sort(x), -exponent) for x in samples]
    if all(x[0] == x[-1] for x in data):
        value = float(np.ldexp(data[0][0] if degree == 1 else statistic(*data, axis=-1), degree * exponent))
        return (value, value), "constant"
    batch = max(1, min(RESAMPLES, 4_000_000 // max(x.size for x in data)))  # 32 MB at a time
    for way in dict.fromkeys((method, "percentile")):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            ends = stats.bootstrap(
                data, statistic, n_resamples=RESAMPLES, batch=batch, vectorized=True, confidence_level=confidence, method=way,
                rng=np.random.Generator(np.random.PCG64(SEED)),
            ).confidence_interval  # fmt: skip
            low, high = (float(np.ldexp(end, degree * exponent)) for end in ends)
        if math.isfinite(low) and math.isfinite(high) and low <= high:
            return (low, high), way
    return None, None


def mirrored(interval: Interval | None, sign: float = 1.0) -> Interval | None:
    """`interval` times `sign`, with its ends in order."""
    return (min(sign * interval[0], sign * interval[1]), max(sign * interval[0], sign * interval[1])) if interval else None


def permutation_p(d: Array, resolution: float) -> float:
    """Two-sided p of the mean of `d` (n,) under random signs; exact for n <= EXACT."""
    if d.size == 1 or not d.any():
        return 1.0
    observed = d.mean()

    def steps(x: Array, axis: int) -> Any:
        with np.errstate(over="ignore"):
            return np.rint((x.mean(axis=axis) - observed) / resolution)

    # SciPy goes through all flips if it is allowed as many as there are
    resamples = 2**d.size if d.size <= EXACT else RESAMPLES
    result = stats.permutation_test(
        (d,), steps, permutation_type="samples", n_resamples=resamples, batch=max(1, 4_000_000 // d.size), vectorized=True,
        alternative="two-sided", rng=np.random.Generator(np.random.PCG64(SEED)),
    )  # fmt: skip
    return min(1.0, float(result.pvalue))


def wilcoxon_p(ranked: Array) -> float:
    """Two-sided p of the signed-rank test of what `ranked` gives."""
    if not ranked.any():
        return 1.0
    tied = np.unique(np.abs(ranked[ranked != 0])).size < ranked.size
    if tied and ranked.size <= EXACT:  # what scipy.stats.wilcoxon does for n <= 13, in a thirtieth of the time
        return permutation_p(np.sign(ranked) * stats.rankdata(np.abs(ranked)), resolution=0.1)
    return float(stats.wilcoxon(ranked, zero_method="pratt").pvalue)


def resolution(a: Array, b: Array) -> Array:
    """For each pair the difference that may be rounding alone; differences that are closer than that are equal.

    Keras computes metrics in float32. Of 360 test images one more right is a difference of 1/360 each time, but these
    aren't the same bits, and tests that count ties would take the noise for an order. Whole numbers are exact.
    """
    x = np.stack([a, b])
    with np.errstate(over="ignore", under="ignore"):
        single = np.array_equal(x, x.astype(np.float32)) and not np.array_equal(x, np.rint(x))
    digits = 4 * np.finfo(np.float32).eps if single else 64 * np.finfo(np.float64).eps
    return np.maximum(digits * np.abs(x).max(axis=0), np.finfo(np.float64).smallest_subnormal)


def ranked(d: Array, resolution: Array) -> Array:
    """For each difference the rank of its size (1, 2, …, the same for equal ones; 0 for none) with its sign."""
    order = np.argsort(np.abs(d), kind="stable")
    rank = np.empty_like(d)
    rank[order] = np.cumsum(np.diff(np.abs(d)[order], prepend=0) > resolution[order])
    return np.asarray(np.sign(d) * rank)


def scaled(statistic: Callable[[Array], Any], x: Array) -> float:
    """`statistic` of `x`, as homogeneous as a mean, by way of values below 1 (`exponent_of`)."""
    exponent = exponent_of(x)
    return float(np.ldexp(statistic(np.ldexp(x, -exponent)), exponent))


def exponent_of(*samples: Array) -> int:
    """Powers of two by which values are brought below 1, so that neither their squares nor their cubes leave float64."""
    return int(np.frexp(max(float(np.abs(x).max()) for x in samples))[1])
