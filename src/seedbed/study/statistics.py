"""What the numbers of many runs say: the spread over seeds, whether A is better than B, and where the spread comes from.

Plain functions over float64 arrays with one value a seed. Every method is one of SciPy's or statsmodels'; `resampling` has
those that resample, `verdict` says whether A is better in a sentence. Values are sorted first, so that a result depends on
the values alone: not on their order, nor on what was asked before.

  Agarwal et al. 2021, Deep RL at the Edge of the Statistical Precipice, NeurIPS: https://arxiv.org/abs/2108.13264
  Bouthillier et al. 2021, Accounting for Variance in Machine Learning Benchmarks, MLSys: https://arxiv.org/abs/2103.03098
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from seedbed.study import resampling
from seedbed.study.resampling import Array, Interval

QUANTILES = (0.05, 0.25, 0.75, 0.95)
WIDTHS = 25  # at how many numbers of seeds `widths` looks at most


@dataclass(frozen=True)
class Summary:
    """One metric over the seeds of a study. Everything is in the metric's unit; None: too few values to say."""

    n: int
    mean: float
    std: float | None  # with n - 1
    median: float
    iqm: float  # the interquartile mean: of the values without the lowest and the highest quarter
    minimum: float
    maximum: float
    quantiles: dict[float, float]
    interval: Interval | None  # of the mean
    method: str | None  # how `interval` was made: 'BCa', 'percentile' or 'constant'
    iqm_interval: Interval | None
    iqm_method: str | None
    single: float | None  # a single run lies within this distance of the mean, in the share `confidence` of all runs
    confidence: float

    def as_row(self) -> dict[str, float | None]:
        """The numbers alone, flat, for a table."""
        low, high = self.interval or (None, None)
        iqm_low, iqm_high = self.iqm_interval or (None, None)
        return {
            "n": self.n, "mean": self.mean, "low": low, "high": high, "std": self.std, "single": self.single,
            "iqm": self.iqm, "iqm_low": iqm_low, "iqm_high": iqm_high, "median": self.median,
            "minimum": self.minimum, "maximum": self.maximum,
            **{f"q{100 * at:02.0f}": value for at, value in self.quantiles.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class Paired:
    """A against B over the same seeds; None: too few seeds to say."""

    n: int
    difference: float  # the mean of a - b, in the metric's unit
    interval: Interval | None  # of `difference`
    method: str | None  # how `interval` was made
    permutation_p: float
    wilcoxon_p: float
    probability: float  # P(A better than B): the share of seeds on which A is better; equal ones count half
    probability_interval: Interval | None
    ties: int  # seeds on which A and B are equal
    effect: float | None  # Cohen's d_z, positive where A is better
    higher_is_better: bool
    confidence: float


@dataclass(frozen=True)
class Component:
    """How much of the spread one stream of randomness makes; None: it can't be said. `share` is of all streams' variance."""

    name: str
    n: int
    variance: float  # with n - 1
    interval: Interval | None  # of `variance`
    method: str | None
    std: float | None  # None for the interaction where its variance is estimated below zero
    share: float | None
    share_interval: Interval | None
    share_method: str | None


def summary(values: npt.ArrayLike, confidence: float = 0.95) -> Summary:
    """What `values` (n,) say, one a seed, n >= 1. ValueError names those that aren't finite.

    The intervals are BCa bootstraps (Efron & Tibshirani 1993), see `resampling.interval`. Those of few values are too narrow: with
    normal values, 95 % intervals hold the true mean in 85 % of samples of 5, 90 % of 10, 94 % of 30. The interquartile mean
    is `scipy.stats.trim_mean(x, 0.25)` (Agarwal et al. 2021); quantiles interpolate linearly, as `numpy.quantile` does by
    default. `single` is the quantile `confidence` of |x - mean|.
    """
    x = np.sort(_checked(values, "values"))
    mean = _mean(x)
    interval, method = resampling.interval([x], np.mean, confidence)
    iqm_interval, iqm_method = resampling.interval([x], _iqm, confidence)
    return Summary(
        n=x.size,
        mean=mean,
        std=_std(x) if x.size > 1 else None,
        median=resampling.scaled(np.median, x),
        iqm=resampling.scaled(_iqm, x),
        minimum=float(x[0]),
        maximum=float(x[-1]),
        quantiles={at: float(np.quantile(x, at)) for at in QUANTILES},
        interval=interval,
        method=method,
        iqm_interval=iqm_interval,
        iqm_method=iqm_method,
        single=float(np.quantile(np.abs(x - mean), confidence)) if x.size > 1 else None,
        confidence=confidence,
    )


def widths(values: npt.ArrayLike, confidence: float = 0.95) -> list[tuple[int, float, float]]:
    """(k, low, high): the interval of the mean of the first k `values`, from the smallest k that has one to all n.

    At most WIDTHS k's, evenly spread; empty where n is too small for an interval.
    """
    x = _checked(values, "values")
    first = resampling.fewest(confidence)
    if x.size < first:
        return []
    ks = np.unique(np.linspace(first, x.size, min(WIDTHS, x.size - first + 1)).round().astype(int)).tolist()
    found = [(k, resampling.interval([x[:k]], np.mean, confidence)[0]) for k in ks]
    return [(k, *interval) for k, interval in found if interval]


def paired(a: npt.ArrayLike, b: npt.ArrayLike, higher_is_better: bool, confidence: float = 0.95) -> Paired:
    """A against B: `a` and `b` (n,) hold one metric over the same n >= 1 seeds in the same order.

    ValueError: shapes differ, or a value isn't finite.

    - `interval`: BCa bootstrap of the mean of a - b.
    - `permutation_p`: two-sided, by flipping the signs of the differences (Fisher 1935, The Design of Experiments,
      section 21; `scipy.stats.permutation_test`). All 2**n flips for n <= EXACT, else RESAMPLES random ones.
    - `wilcoxon_p`: the signed-rank test, two-sided (`scipy.stats.wilcoxon`; exact for n <= 50 without ties, for n <=
      EXACT with them). Zeros are ranked and then left out (Pratt 1959, doi:10.1080/01621459.1959.10501526): leaving them out
      before, as Wilcoxon did, can make a difference significant by moving every value away from it.
    - `probability`: Bouthillier et al. 2021, with a percentile bootstrap over the pairs.
    - `effect`: the mean of the differences by their standard deviation with n - 1 (Cohen 1988, section 2.3.5). Differences
      that are all the same give 0 where they are zero and else infinity with the sign of who is better; None for n = 1.

    Differences that only rounding tells apart count as equal (`resampling.resolution`). Swapping a and b mirrors every number.
    """
    first, second = _checked(a, "a"), _checked(b, "b")
    if first.shape != second.shape:
        raise ValueError(f"a has {first.size} values and b has {second.size}: pairs need the same seeds on both sides.")
    d, resolution = _checked(first - second, "a - b"), resampling.resolution(first, second)
    d[np.abs(d) <= resolution] = 0.0
    # from here on as if the mean were positive: bootstraps and random flips are then the same for (a, b) and (b, a)
    turned = -1.0 if math.fsum(np.ldexp(d, -resampling.exponent_of(d))) < 0 else 1.0
    order = np.argsort(turned * d, kind="stable")
    d, resolution = turned * d[order], resolution[order]
    good = turned if higher_is_better else -turned
    ranked = resampling.ranked(d, resolution)
    interval, method = resampling.interval([d], np.mean, confidence)
    wins, _ = resampling.interval([np.sign(ranked)], np.mean, confidence, method="percentile")
    return Paired(
        n=d.size,
        difference=turned * _mean(d),
        interval=resampling.mirrored(interval, turned),
        method=method,
        permutation_p=resampling.permutation_p(d, float(resolution.mean())),
        wilcoxon_p=resampling.wilcoxon_p(ranked),
        probability=float(1 + good * np.sign(ranked).mean()) / 2,
        probability_interval=resampling.mirrored(((1 + good * wins[0]) / 2, (1 + good * wins[1]) / 2)) if wins else None,
        ties=int((ranked == 0).sum()),
        effect=_effect(good * d, float(resolution.max())),
        higher_is_better=higher_is_better,
        confidence=confidence,
    )


def holm(ps: Sequence[float]) -> list[float]:
    """The p values corrected for being many, in the order given: Holm 1979, https://www.jstor.org/stable/4615733.

    By `statsmodels.stats.multitest.multipletests`, which collects Python's garbage each time (0.2 s with TensorFlow loaded).
    ValueError: one isn't in 0 … 1.
    """
    from statsmodels.stats.multitest import multipletests  # half a second to import, and `repeat` has no use for it

    if not all(0 <= p <= 1 for p in ps):
        raise ValueError(f"Not all of these are p values: {list(ps)}.")
    return [float(p) for p in multipletests(ps, method="holm")[1]] if len(ps) else []


def components(groups: Mapping[str, npt.ArrayLike], together: npt.ArrayLike, confidence: float = 0.95) -> list[Component]:
    """Where the variance comes from: `groups` holds one metric (n,) from runs that vary one stream alone, `together` (m,)
    from runs that vary all of them. ValueError: fewer than 2 values in one, or a value isn't finite.

    Bouthillier et al. 2021. `share` is the variance by that of `together`, None where that is 0. The last
    component, 'interaction', is what the shares leave of 1: how far the streams' effects don't just add up, how far a
    stream's variance depends on the seeds that the other streams were held at, and sampling error, so it may be negative.

    Intervals are BCa bootstraps, each sample resampled by itself. A variance is the textbook's example of where BCa is
    needed (Efron & Tibshirani 1993, section 14.2), because its bootstrap distribution is skewed and too low: of normal
    samples of 10, 20, 50, its 95 % intervals hold the true variance in 83, 90, 93 % (percentile: 78, 85, 90 %). Still too
    narrow, but unlike the chi-squared interval it doesn't need the values to be normal.
    """
    whole = _several(together, "together")
    alone = {name: _several(values, name) for name, values in groups.items()}
    every = [*alone.values(), whole]
    streams = [_component(name, x.size, [x], _variance, [x, whole], _share, confidence) for name, x in alone.items()]
    return [*streams, _component("interaction", whole.size, every, _rest, every, _rest_share, confidence)]


def _checked(values: npt.ArrayLike, name: str) -> Array:
    """`values` as float64 (n,), n >= 1, all finite; else ValueError."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"{name} has shape {x.shape}: one value a seed is needed, and at least one seed.")
    odd = np.flatnonzero(~np.isfinite(x))
    if odd.size:
        raise ValueError(f"{odd.size} of {x.size} {name} are not finite: " + ", ".join(f"{x[i]} at position {i}" for i in odd) + ".")
    return x


def _several(values: npt.ArrayLike, name: str) -> Array:
    """`values` checked and sorted, at least 2."""
    x = np.sort(_checked(values, name))
    if x.size < 2:
        raise ValueError(f"{name} has 1 value: a variance needs at least 2.")
    return x


def _iqm(x: Array, axis: int = -1) -> Any:
    return stats.trim_mean(x, resampling.CUT, axis=axis)


def _variance(x: Array, axis: int = -1) -> Any:
    # of equal values it is 0, not what the rounding of their mean leaves
    return np.where(np.ptp(x, axis=axis) > 0, np.var(x, axis=axis, ddof=1), 0.0)


def _share(x: Array, together: Array, axis: int = -1) -> Any:
    return _variance(x, axis) / _variance(together, axis)


def _rest(*samples: Array, axis: int = -1) -> Any:
    *alone, together = samples
    return _variance(together, axis) - sum(_variance(x, axis) for x in alone)


def _rest_share(*samples: Array, axis: int = -1) -> Any:
    return _rest(*samples, axis=axis) / _variance(samples[-1], axis)


def _mean(x: Array) -> float:
    """The mean, rounded once, so that neither order nor sign matters."""
    return resampling.scaled(lambda y: math.fsum(y) / y.size, x) if np.ptp(x) > 0 else float(x[0])


def _std(x: Array) -> float:
    """The standard deviation with n - 1."""
    return resampling.scaled(lambda y: np.sqrt(_variance(y)), x)


def _effect(d: Array, resolution: float) -> float | None:
    if d.size < 2:
        return None
    if np.ptp(d) <= resolution:
        return math.copysign(math.inf, d[0]) if np.abs(d).max() > resolution else 0.0
    return _mean(d) / _std(d)


def _component(
    name: str, n: int, samples: list[Array], spread: Callable[..., Any], both: list[Array], share: Callable[..., Any], confidence: float
) -> Component:
    variance, known = float(spread(*samples)), np.ptp(both[-1]) > 0
    interval, method = resampling.interval(samples, spread, confidence, degree=2)
    share_interval, share_method = resampling.interval(both, share, confidence, degree=0) if known else (None, None)
    return Component(
        name=name,
        n=n,
        variance=variance,
        interval=interval,
        method=method,
        std=math.sqrt(variance) if variance >= 0 else None,
        share=float(share(*both)) if known else None,
        share_interval=share_interval,
        share_method=share_method,
    )
