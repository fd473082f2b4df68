"""The statistics against published tables and worked examples, and against exhaustive enumeration."""

from __future__ import annotations

import itertools
import math
import statistics as stdlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from study.samples import DARWIN, PAIRS, against_zero, normal

from seedbed.study import statistics as our

# Student 1908, from Cushny & Peebles 1905; R's `sleep`: hours gained with the second and the first drug
SLEEP = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4], [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
# Efron & Tibshirani 1993, table 14.1, test A of 26 children
SPATIAL = [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41]
# NIST StRD, univariate, lower difficulty: Michelso (the speed of light in air, 10^3 km/s)
MICHELSON = """
299.85 299.74 299.90 300.07 299.93 299.85 299.95 299.98 299.98 299.88 300.00 299.98 299.93 299.65 299.76 299.81 300.00 300.00
299.96 299.96 299.96 299.94 299.96 299.94 299.88 299.80 299.85 299.88 299.90 299.84 299.83 299.79 299.81 299.88 299.88 299.83
299.80 299.79 299.76 299.80 299.88 299.88 299.88 299.86 299.72 299.72 299.62 299.86 299.97 299.95 299.88 299.91 299.85 299.87
299.84 299.84 299.85 299.84 299.84 299.84 299.89 299.81 299.81 299.82 299.80 299.77 299.76 299.74 299.75 299.76 299.91 299.92
299.89 299.86 299.88 299.72 299.84 299.85 299.85 299.78 299.89 299.84 299.78 299.81 299.76 299.81 299.79 299.81 299.82 299.85
299.87 299.87 299.81 299.74 299.81 299.94 299.95 299.80 299.81 299.87
"""

# eighths are exact in float32 and float64, and so are sums of them: what should be equal is equal to the last bit
VALUES = st.lists(st.integers(-4000, 4000).map(lambda i: i / 8), min_size=5, max_size=12).filter(lambda x: len(set(x)) > 1)


def flips(d: list[float], statistic: Callable[[np.ndarray], float]) -> float:
    """The two-sided p of `statistic` of `d` under all sign flips, one by one."""
    found = [statistic(np.array(signs) * d) for signs in itertools.product((1, -1), repeat=len(d))]
    observed = statistic(np.array(d))
    return min(1.0, 2 * min(np.mean([x >= observed - 1e-9 for x in found]), np.mean([x <= observed + 1e-9 for x in found])))


# -------------------------------------------------------------------------------------------------------------- summary


@pytest.mark.parametrize(
    ("values", "mean", "std", "tolerance"),
    [
        pytest.param([10000001, 10000003, 10000002], 10000002, 1, 0, id="NumAcc1"),
        pytest.param([1.2, *[1.1, 1.3] * 500], 1.2, 0.1, 1e-14, id="NumAcc2"),
        pytest.param([1000000.2, *[1000000.1, 1000000.3] * 500], 1000000.2, 0.1, 1e-8, id="NumAcc3"),
        pytest.param([10000000.2, *[10000000.1, 10000000.3] * 500], 10000000.2, 0.1, 1e-7, id="NumAcc4"),
        pytest.param([float(x) for x in MICHELSON.split()], 299.8524, 0.0790105478190518, 1e-11, id="Michelso"),
    ],
)
def test_mean_and_std_are_those_certified_by_nist(values: list[float], mean: float, std: float, tolerance: float) -> None:
    """https://www.itl.nist.gov/div898/strd/univ/homepage.html; the tolerance is what the decimals lose in float64."""
    found = our.summary(values)
    assert found.mean == pytest.approx(mean, rel=1e-15)
    assert found.std == pytest.approx(std, rel=tolerance)


def test_the_mice_of_efron_and_tibshirani() -> None:
    """Table 2.1: the treatment group's mean is 86.86 with a standard error of 25.24."""
    found = our.summary([94, 197, 16, 38, 99, 141, 23])
    assert round(found.mean, 2) == 86.86
    assert found.std is not None
    assert round(found.std / math.sqrt(7), 2) == 25.24
    assert found.median == 94


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end() -> None:
    assert our.summary([1, 2, 3, 4, 5, 6, 7, 1000]).iqm == (3 + 4 + 5 + 6) / 4
    assert our.summary([3, 1, 2]).iqm == 2  # less than one value is a quarter: it's the mean


def test_quantiles_and_how_far_off_a_single_run_is() -> None:
    assert our.summary(np.arange(21)).quantiles == {0.05: 1, 0.25: 5, 0.75: 15, 0.95: 19}
    # distances 0, 1, 2, 3, 6 from the mean 4: the 95 % quantile lies at 0.8 of the way from the fourth to the fifth
    assert our.summary([1, 2, 3, 4, 10]).single == pytest.approx(5.4)


@pytest.mark.integration
def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    draw = np.random.default_rng(20)
    found = [our.summary(draw.normal(5, 2, 30)) for _ in range(300)]
    for intervals in ([s.interval for s in found], [s.iqm_interval for s in found]):
        assert 0.90 <= np.mean([interval is not None and interval[0] <= 5 <= interval[1] for interval in intervals]) <= 0.98
    # a single run is within `single` of the mean about as often
    assert 0.90 <= np.mean([abs(draw.normal(5, 2) - s.mean) <= (s.single or 0) for s in found for _ in range(10)]) <= 0.98


def test_few_values() -> None:
    one = our.summary([0.5])
    assert (one.n, one.mean, one.median, one.iqm, one.minimum, one.maximum) == (1, 0.5, 0.5, 0.5, 0.5, 0.5)
    assert (one.std, one.single, one.interval, one.iqm_interval, one.method) == (None,) * 5
    assert set(one.quantiles.values()) == {0.5}
    two = our.summary([1, 3])
    assert (two.std, two.single, two.interval) == (pytest.approx(math.sqrt(2)), 1, None)
    assert our.summary([1, 2, 4]).interval is None
    assert our.summary([1, 2, 4, 5]).interval is None
    assert our.summary([1, 2, 4, 5, 9]).interval is not None


@pytest.mark.parametrize("value", [0.1, 0.0, -3.0, 1e300])
def test_values_that_are_all_the_same(value: float) -> None:
    found = our.summary([value] * 7)
    assert (found.mean, found.std, found.single) == (value, 0, 0)
    assert found.interval == found.iqm_interval == (value, value)
    assert found.method == found.iqm_method == "constant"


def test_where_bca_is_undefined_the_percentile_interval_says_so() -> None:
    """Leaving out any one of these changes nothing about the interquartile mean, so its acceleration is 0/0."""
    found = our.summary([1.0] * 20 + [2.0] * 4)
    assert found.iqm_method == "percentile"
    assert found.iqm_interval is not None
    assert found.iqm_interval[0] == 1 < found.iqm_interval[1] < 2
    assert found.method == "BCa"


def test_values_that_arent_finite_are_named() -> None:
    with pytest.raises(ValueError, match=r"2 of 4 values are not finite: nan at position 1, -inf at position 3\."):
        our.summary([1, math.nan, 2, -math.inf])
    for wrong in ([], [[1, 2], [3, 4]], 5.0):
        with pytest.raises(ValueError, match="one value a seed"):
            our.summary(wrong)


@pytest.mark.parametrize("exponent", [-1000, -300, 300, 1010])
def test_very_large_and_very_small_values(exponent: int) -> None:
    """A power of two changes exponents and no digit, even where squares and cubes would leave float64."""
    x = [3.25, 1.5, 2.0, 7.75, 3.0, 4.5]
    plain, scaled = our.summary(x), our.summary(np.ldexp(x, exponent))
    for name, value in plain.as_row().items():
        assert scaled.as_row()[name] == (value if name == "n" else np.ldexp(value, exponent)), name
    assert scaled.method == "BCa"


def test_a_row_is_flat() -> None:
    found = our.summary(np.arange(21))
    row = found.as_row()
    assert " ".join(row) == "n mean low high std single iqm iqm_low iqm_high median minimum maximum q05 q25 q75 q95"
    assert (row["low"], row["high"]) == found.interval
    assert (row["iqm_low"], row["iqm_high"]) == found.iqm_interval
    assert row["q95"] == 19
    assert our.summary([1]).as_row()["low"] is None


@given(VALUES, st.randoms(use_true_random=False))
def test_neither_order_nor_what_was_asked_before_matters(x: list[float], random: Any) -> None:
    before = our.summary(x)
    shuffled = random.sample(x, len(x))
    np.random.random(random.randint(0, 5))
    our.summary(shuffled[:5])
    assert our.summary(shuffled) == before


@given(VALUES, st.sampled_from([0.25, 2.0, 8.0]), st.integers(-1000, 1000))
def test_another_unit_and_another_zero_change_nothing_else(x: list[float], unit: float, zero: int) -> None:
    plain, moved = our.summary(x), our.summary(np.array(x) * unit + zero)
    assume(plain.method == plain.iqm_method == "BCa")
    close = {"rel": 1e-9, "abs": 1e-9}
    assert moved.std == pytest.approx(plain.std * unit, **close)
    assert moved.single == pytest.approx(plain.single * unit, **close)
    assert moved.interval == pytest.approx([end * unit + zero for end in plain.interval], **close)
    assert moved.iqm_interval == pytest.approx([end * unit + zero for end in plain.iqm_interval], **close)


@given(VALUES)
def test_what_lies_between_what(x: list[float]) -> None:
    s = our.summary(x)
    assert s.interval is not None
    assert s.minimum <= s.interval[0] <= s.mean <= s.interval[1] <= s.maximum
    assert s.minimum <= s.quantiles[0.05] <= s.quantiles[0.25] <= s.median <= s.quantiles[0.75] <= s.quantiles[0.95] <= s.maximum
    wider = our.summary(x, 0.99).interval
    assert wider is None or (wider[0] <= s.interval[0] and s.interval[1] <= wider[1])


def test_a_summary_of_thirty_values_is_quick() -> None:
    """13 ms where it was written; what isn't vectorised takes seconds."""

    def spent() -> float:
        start = time.process_time()
        our.summary(np.sin(np.arange(30)))
        return time.process_time() - start

    assert min(spent() for _ in range(5)) < 0.06


# --------------------------------------------------------------------------------------------------------------- widths


def test_widths_go_from_the_smallest_number_of_seeds_to_all() -> None:
    x = np.random.default_rng(3).normal(size=40)
    found = our.widths(x[:12])
    assert [k for k, _, _ in found] == [5, 6, 7, 8, 9, 10, 11, 12]
    assert all((low, high) == our.summary(x[:k]).interval for k, low, high in found)
    assert our.widths(x[:4]) == []
    assert [k for k, _, _ in our.widths(x[:5])] == [5]


def test_widths_of_many_seeds_are_few_and_narrow_as_the_root_of_n() -> None:
    found = our.widths(np.random.default_rng(3).normal(size=400))
    ks = [k for k, _, _ in found]
    assert len(ks) == len(set(ks)) == 25
    assert (ks[0], ks[-1]) == (5, 400)
    width = {k: high - low for k, low, high in found}
    assert width[400] == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.15)


# --------------------------------------------------------------------------------------------------------------- paired


def test_darwins_maize_in_fishers_permutation_test() -> None:
    """Fisher 1935, section 21: of 32768 sums 863 are at least 314, and as many at most -314; section 17: t = 2.148."""
    found = against_zero(DARWIN)
    assert found.difference == 314 / 15
    assert found.permutation_p == 2 * 863 / 2**15
    assert found.effect is not None
    assert found.effect * math.sqrt(15) == pytest.approx(2.148, abs=5e-4)
    assert (found.probability, found.ties) == (13 / 15, 0)
    # T = 24, and 0.0413 of all sign flips of the ranks are as far out (Wilcoxon 1945, by enumeration)
    ranks = stats.rankdata(np.abs(DARWIN)) * np.sign(DARWIN)
    assert -ranks[ranks < 0].sum() == 24
    assert found.wilcoxon_p == pytest.approx(flips(list(ranks), np.sum), rel=1e-12)
    assert round(found.wilcoxon_p, 4) == 0.0413


def test_students_sleep_data() -> None:
    """R's documentation of `sleep`: t = 4.0621 with 9 degrees of freedom, mean of the differences 1.58."""
    found = our.paired(*SLEEP, higher_is_better=True)
    assert found.difference == pytest.approx(1.58)
    assert found.effect is not None
    assert found.effect * math.sqrt(10) == pytest.approx(4.0621, abs=5e-5)
    # nine of ten gained and one neither gained nor lost: its sign doesn't matter, so it's 2 of 2**9
    assert found.permutation_p == found.wilcoxon_p == 2 / 2**9
    assert (found.probability, found.ties) == (0.95, 1)


@pytest.mark.parametrize(
    "d",
    [[3, -1, 4, 1, -5, 9, -2, 6], [1, 1, 1, -1, 2, 2], [0, 0, 3, 5, -1, 2, 8], [0, 0, 0, 1], [7], [-2, 2], [1, 2, 3, 4, 5, 6, 7, 8, -9]],
)
def test_the_exact_tests_are_those_of_going_through_all_sign_flips(d: list[float]) -> None:
    found = against_zero(d)
    assert found.permutation_p == pytest.approx(flips(d, np.sum), rel=1e-12)
    # Pratt: zeros are ranked and then left out
    assert found.wilcoxon_p == pytest.approx(flips(d, lambda x: float((np.sign(x) * stats.rankdata(np.abs(x))).sum())), rel=1e-12)


def test_zeros_are_ranked_and_then_left_out_with_many_seeds_too() -> None:
    """Pratt's p from 20000 random flips of the ranks; it would be 0.02 more without the zeros' ranks."""
    d = [0.0] * 12 + [1, -2, 3, 4, 4, -5, 6, 7, 8, 9, -10, 11]
    ranks = np.sign(d) * stats.rankdata(np.abs(d))
    sums = (np.random.default_rng(1).choice([-1, 1], (20_000, len(d))) * ranks).sum(axis=1)
    p = np.mean(np.abs(sums) >= abs(ranks.sum()))
    assert against_zero(d).wilcoxon_p == pytest.approx(p, abs=0.012)
    assert abs(stats.wilcoxon(d, zero_method="wilcox").pvalue - p) > 0.015


def test_random_flips_come_near_the_exact_p() -> None:
    """For a normal sample that is the t test's."""
    for mean in (0.1, 0.3, 0.45):
        d = normal(30, mean)
        t = mean * math.sqrt(30)
        assert against_zero(d).permutation_p == pytest.approx(2 * stats.t.sf(t, 29), abs=0.012)
        assert against_zero(d).effect == pytest.approx(mean)


def test_equal_differences_of_float32_metrics_are_ties() -> None:
    """One of 360 images is 1/360 each time, but in float32 no two of these differences are the same.

    Seven seeds with one more right and one with one less: 2 * (1 + 8) of 2**8 flips are as far out, and with the noise taken
    for an order it would be as few as 2 * 2.
    """
    right = np.array([331, 349, 340, 352, 337, 345, 329, 358])
    b = (right / 360).astype(np.float32).astype(float)
    a = ((right + np.array([1, 1, 1, 1, 1, 1, 1, -1])) / 360).astype(np.float32).astype(float)
    assert len({*np.abs(a - b)}) > 1
    naive = stats.permutation_test((a - b,), np.mean, permutation_type="samples", n_resamples=256, vectorized=True).pvalue
    assert naive < 18 / 256
    found = our.paired(a, b, True)
    assert found.permutation_p == found.wilcoxon_p == 18 / 256
    assert our.paired(b, a, True).permutation_p == 18 / 256


def test_differences_that_only_rounding_makes_are_none() -> None:
    a = np.array([0.1 + 0.2, 0.7 + 0.1, 0.3, 0.5, 0.6, 1.1 + 2.2])
    b = np.array([0.3, 0.8, 0.3, 0.5, 0.6, 3.3])
    assert (a != b).any()
    found = our.paired(a, b, True)
    assert (found.difference, found.ties, found.permutation_p, found.wilcoxon_p, found.effect) == (0, 6, 1, 1, 0)
    # whole numbers are exact, so a difference of 1 in 2**24 counts although float32 could hold both
    assert our.paired([2**24 - 1.0] * 6, [2**24 - 2.0] * 6, True).ties == 0


@pytest.mark.parametrize("diverged", [1e30, float(np.float32(1e30))])
def test_one_run_that_diverged_hides_none_of_the_others(diverged: float) -> None:
    b = np.array([0.5, 0.75, 0.25, 1.5, 2.5, 1.25, 0.625])
    found = our.paired([*(b + 0.125), 1.0], [*b, diverged], higher_is_better=False)
    assert (found.ties, found.probability) == (0, 1 / 8)
    assert found.wilcoxon_p == flips([1.0] * 7 + [-2.0], lambda x: float((np.sign(x) * stats.rankdata(np.abs(x))).sum()))


def test_a_against_itself() -> None:
    a = np.random.default_rng(0).normal(size=30)
    found = our.paired(a, a, True)
    assert (found.difference, found.interval, found.permutation_p, found.wilcoxon_p) == (0, (0, 0), 1, 1)
    assert (found.probability, found.probability_interval, found.effect, found.ties) == (0.5, (0.5, 0.5), 0, 30)


def test_a_difference_that_is_always_the_same() -> None:
    b = np.array([0.11, 0.52, 0.73, 0.94, 0.25, 0.36])
    found = our.paired(b + 0.01, b, True)
    assert found.interval == pytest.approx((0.01, 0.01))
    assert found.permutation_p == found.wilcoxon_p == 2 / 2**6
    assert found.effect == math.inf
    assert our.paired(b + 0.01, b, False).effect == -math.inf


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_pairs(n: int) -> None:
    found = against_zero([1.0, 2.0, 3.0, 4.0][:n])
    assert (found.interval, found.probability_interval, found.method) == (None, None, None)
    assert found.permutation_p == found.wilcoxon_p == 2 / 2**n
    assert (found.effect is None) == (n == 1)
    assert found.probability == 1


def test_pairs_need_the_same_seeds_and_finite_values() -> None:
    with pytest.raises(ValueError, match="a has 3 values and b has 2"):
        our.paired([1, 2, 3], [1, 2], True)
    with pytest.raises(ValueError, match="1 of 2 b are not finite: nan at position 0"):
        our.paired([1, 2], [math.nan, 2], True)


def test_the_pairs_are_what_counts() -> None:
    """Seeds differ far more than A and B do; taken apart, nothing would be seen."""
    seeds = normal(12)[::-1] * 100
    a = seeds + np.tile([0.9, 1.1, 1.0], 4)
    found = our.paired(a, seeds, True)
    assert found.interval is not None
    assert 0.9 < found.interval[0] < 1 < found.interval[1] < 1.1
    assert found.permutation_p == 2 / 2**12


def test_the_interval_of_the_probability_is_that_of_a_share() -> None:
    """24 of 32: the percentile bootstrap's share is binomial, so the interval's ends are its quantiles."""
    d = np.where(np.arange(32) < 24, 1.0, -1.0) * (1 + np.arange(32))
    assert against_zero(d).probability_interval == tuple(stats.binom.ppf([0.025, 0.975], 32, 0.75) / 32)


@given(PAIRS, st.booleans())
def test_swapping_a_and_b_mirrors_everything(pair: tuple[np.ndarray, np.ndarray], higher: bool) -> None:
    a, b = pair
    one, other = our.paired(a, b, higher), our.paired(b, a, higher)
    assume(one.difference != 0 or one.ties == one.n)
    assert other.difference == -one.difference
    assert other.interval == (one.interval and (-one.interval[1], -one.interval[0]))
    assert (other.permutation_p, other.wilcoxon_p, other.ties) == (one.permutation_p, one.wilcoxon_p, one.ties)
    assert other.probability == pytest.approx(1 - one.probability, abs=1e-12)
    if one.probability_interval and other.probability_interval:
        assert other.probability_interval == pytest.approx([1 - end for end in one.probability_interval[::-1]])
    if one.effect is not None:
        assert other.effect == -one.effect


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_the_seeds_does_not_matter_nor_what_is_better(pair: tuple[np.ndarray, np.ndarray], random: Any) -> None:
    a, b = pair
    order = random.sample(range(a.size), a.size)
    one = our.paired(a, b, True)
    assert our.paired(a[order], b[order], True) == one
    low = our.paired(-a, -b, False)
    assert (low.probability, low.effect, low.probability_interval) == (one.probability, one.effect, one.probability_interval)
    assert low.difference == -one.difference


# ----------------------------------------------------------------------------------------------------------------- holm


def test_holms_correction() -> None:
    """4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04 no smaller than that (the example of Wikipedia's article)."""
    assert our.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert our.holm([0.9, 0.6]) == [1.0, 1.0]
    assert our.holm([0.2]) == [0.2]
    assert our.holm([]) == []
    for wrong in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="p values"):
            our.holm([0.5, wrong])


@settings(max_examples=10)  # multipletests collects garbage each time
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_holm_step_by_step(ps: list[float]) -> None:
    found, largest = our.holm(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        assert found[i] == pytest.approx(largest, abs=1e-12)


# ----------------------------------------------------------------------------------------------------------- components


def test_the_variance_of_the_spatial_test_data() -> None:
    """Efron & Tibshirani 1993, table 14.2: the variance with n is 171.5, and its 90 % BCa interval (115.8, 259.6).

    Theirs has 2000 resamples, so its ends are known to about 2. The percentile interval is (100.8, 233.9).
    """
    found = our.components({"A": SPATIAL}, SPATIAL, confidence=0.9)[0]
    with_n = 25 / 26
    assert round(found.variance * with_n, 1) == 171.5
    assert found.interval is not None
    assert (found.interval[0] * with_n, found.interval[1] * with_n) == pytest.approx((115.8, 259.6), abs=4)
    assert (found.name, found.n, found.method) == ("A", 26, "BCa")


def test_intervals_of_many_normal_values_are_the_classical_ones() -> None:
    """Chi-squared for a variance, F for a ratio of two."""
    x, y = normal(150, std=2), normal(100, std=4)
    stream, _ = our.components({"init": x}, y)
    assert (stream.variance, stream.std, stream.share) == pytest.approx((4, 2, 0.25))
    assert stream.interval == pytest.approx((149 * 4 / stats.chi2.ppf([0.975, 0.025], 149)).tolist(), rel=0.06)
    assert stream.share_interval == pytest.approx((0.25 / stats.f.ppf([0.975, 0.025], 149, 99)).tolist(), rel=0.06)


def test_shares_and_what_they_leave() -> None:
    groups = {"init": [1.0, 2.5, 3.0, 4.0, 4.5, 7.0], "shuffle": [2.0, 2.5, 2.0, 3.0, 2.5], "dropout": [5.0] * 8}
    together = [1.0, 9.0, 2.0, 8.0, 5.0, 4.0, 7.0]
    found = our.components(groups, together)
    assert [c.name for c in found] == ["init", "shuffle", "dropout", "interaction"]
    assert [c.n for c in found] == [6, 5, 8, 7]
    total = stdlib.variance(together)
    for component, values in zip(found, groups.values(), strict=False):
        assert component.variance == pytest.approx(stdlib.variance(values))
        assert component.share == pytest.approx(stdlib.variance(values) / total)
        assert component.std == pytest.approx(stdlib.stdev(values))
    dropout, rest = found[2:]
    assert (dropout.variance, dropout.interval, dropout.share, dropout.share_interval) == (0, (0, 0), 0, (0, 0))
    assert rest.share == pytest.approx(1 - sum(c.share or 0 for c in found[:3]))
    assert rest.variance == pytest.approx(total - sum(c.variance for c in found[:3]))
    assert rest.share_interval is not None
    assert rest.share_interval[0] < rest.share < rest.share_interval[1] <= 1


def test_shares_may_be_more_than_one_and_the_interaction_less_than_none() -> None:
    stream, rest = our.components({"init": normal(20, std=3)}, normal(20))
    assert stream.share == pytest.approx(9)
    assert (rest.share, rest.std) == (pytest.approx(-8), None)


def test_runs_that_vary_all_streams_and_do_not_differ() -> None:
    stream, rest = our.components({"init": normal(10)}, [0.1] * 10)
    assert (stream.share, stream.share_interval, rest.share, rest.share_interval) == (None,) * 4
    assert stream.variance == pytest.approx(1)
    assert rest.variance == pytest.approx(-1)


def test_a_share_of_a_variance_that_mostly_vanishes_has_no_interval() -> None:
    """A third of the resamples of these leave out the only value that differs: the ratio's upper end is infinite."""
    stream, _ = our.components({"init": normal(10)}, [0.0] * 29 + [1.0])
    assert stream.share is not None
    assert (stream.share_interval, stream.share_method) == (None, None)


def test_a_variance_needs_two_values() -> None:
    with pytest.raises(ValueError, match="init has 1 value: a variance needs at least 2"):
        our.components({"init": [1.0]}, [1.0, 2.0])
    few, _ = our.components({"init": [1.0, 2.0]}, [1.0, 3.0])
    assert (few.variance, few.share, few.interval, few.share_interval) == (0.5, 0.25, None, None)


@pytest.mark.integration
@given(VALUES, VALUES, st.sampled_from([0.125, 4.0, 2.0**400]))
def test_shares_have_no_unit(x: list[float], y: list[float], unit: float) -> None:
    plain, scaled = our.components({"s": x}, y)[0], our.components({"s": np.array(x) * unit}, np.array(y) * unit)[0]
    assert (scaled.share, scaled.share_interval) == (plain.share, plain.share_interval)
    assert plain.interval is not None
    assert scaled.interval == (plain.interval[0] * unit**2, plain.interval[1] * unit**2)
    assert our.components({"s": x[::-1]}, y[::-1])[0] == plain


def test_a_difference_that_is_rounding_alone_counts_as_a_tie() -> None:
    """Of float32 values, and one that is far smaller than the others' resolution."""
    a = np.array([0.5, 0.25, 0.75, 0.5, 0.125], "float32").astype("float64")
    b = a.copy()
    b[0] = np.nextafter(np.float32(0.5), np.float32(1))
    b[1:3] -= 0.125
    found = our.paired(a, b, True)
    assert (found.n, found.ties, found.probability) == (5, 3, 0.7)


def test_how_far_off_a_single_run_is_follows_the_confidence() -> None:
    values = np.arange(21.0)
    assert [our.summary(values, confidence).single for confidence in (0.5, 0.95)] == [5.0, 10.0]
