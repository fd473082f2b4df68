"""Bootstrap intervals against all resamples there are. Permutation tests are in test_statistics.py, by way of `paired`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from seedbed.study import resampling


def ideal_bca(x: list[float], confidence: float) -> tuple[float, float]:
    """Efron & Tibshirani 1993, equations 14.9 to 14.15, for the mean and with all n**n resamples instead of random ones."""
    means = np.array(list(itertools.product(x, repeat=len(x)))).mean(axis=1)
    u = np.array(x) - np.mean(x)
    below = np.mean(means < np.mean(x) - 1e-12) + np.mean(abs(means - np.mean(x)) < 1e-12) / 2
    z0, a = stats.norm.ppf(below), (u**3).sum() / (6 * (u**2).sum() ** 1.5)
    z = z0 + stats.norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(means, stats.norm.cdf(z0 + z / (1 - a * z)))
    return float(low), float(high)


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0, 8.0, 16.0, 32.0], [0.11, 0.53, 0.6, 0.72, 0.9, 1.07], [-3.0, 1.0, 1.5, 2.0, 40.0]])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_is_the_bca_interval(values: list[float], confidence: float) -> None:
    found, method = resampling.interval([np.array(values)], np.mean, confidence)
    assert method == "BCa"
    low, high = ideal_bca(values, confidence)
    assert found == pytest.approx((low, high), abs=0.03 * (high - low))
    # and isn't the percentile interval, from which it differs for skewed values like these
    simple = np.quantile(
        np.array(list(itertools.product(values, repeat=len(values)))).mean(axis=1), [0.5 - confidence / 2, 0.5 + confidence / 2]
    )
    assert max(abs(np.array(found) - simple)) > 0.03 * (high - low)


def test_fewer_than_five_values_get_no_interval_because_it_would_be_minimum_and_maximum() -> None:
    def at_the_end(n: int) -> float:
        return float(
            np.mean([sorted(x)[int(n / 4) : n - int(n / 4)] == [0] * (n - 2 * int(n / 4)) for x in itertools.product(range(n), repeat=n)])
        )

    assert [at_the_end(n) > 0.025 for n in (2, 3, 4, 5, 6)] == [True, True, True, False, False]
    assert resampling.fewest(0.95) == 5
    assert at_the_end(5) > 0.005 > at_the_end(6)
    assert resampling.fewest(0.99) == 6
    for wrong in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match="no confidence"):
            resampling.fewest(wrong)
