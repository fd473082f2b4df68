"""The verdict: what is claimed and what isn't, the sentence word by word, and how many seeds a claim would need."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from study.samples import DARWIN, PAIRS, against_zero, normal

from seedbed.study import statistics, verdict


def said(paired: statistics.Paired, p: float | None = None, **options: Any) -> verdict.Verdict:
    return verdict.verdict(paired, paired.permutation_p if p is None else p, "A", "B", "accuracy", **options)


def test_a_claim() -> None:
    found = said(statistics.paired(normal(30, 0.0123, 0.02) + 0.9, np.full(30, 0.9), True), 0.003)
    assert (found.claims, found.better) == (True, "a")
    assert found.sentence.startswith("A is better than B: accuracy higher by 0.0123 (95 % interval 0.0")
    assert "p = 0.003 after correction, 30 seeds); " in found.sentence


def test_a_claim_that_holds_on_single_runs_too() -> None:
    paired = against_zero(normal(30, 1.5))
    assert said(paired).meaningful
    assert said(paired).sentence.endswith("p < 0.001, 30 seeds); A wins on 93.3 % of the seeds.")
    assert "hardly" not in said(paired).sentence


def test_lower_is_better_and_b_wins() -> None:
    found = verdict.verdict(statistics.paired(normal(20, 3.0), np.zeros(20), False), 0.001, "wide", "narrow", "loss")
    assert (found.claims, found.better, found.meaningful) == (True, "b", True)
    assert found.sentence.startswith("narrow is better than wide: loss lower by 3.0")
    assert found.sentence.endswith("narrow wins on 100 % of the seeds.")
    interval = found.sentence.split("interval ")[1].split(",")[0].split(" … ")
    assert 2 < float(interval[0]) < 3 < float(interval[1]) < 4


def test_a_claim_that_nobody_would_notice_on_a_single_run() -> None:
    found = said(against_zero(normal(100, 0.35)))
    assert (found.claims, found.meaningful) == (True, False)
    assert found.sentence.endswith("; but A wins on only 64 % of the seeds, so on a single run the difference would hardly be noticed.")


def test_a_claim_whose_share_of_wins_is_uncertain() -> None:
    paired = against_zero([9, 8, 7, 6, 5, 4, -0.1, -0.2])
    assert paired.probability == 0.75
    found = said(paired)
    assert (found.claims, found.meaningful) == (True, False)
    assert "A wins on 75 % of the seeds, but that share is uncertain (95 % interval " in found.sentence
    assert found.sentence.endswith(" … 100 %).")
    # the same the other way round
    mirrored = said(against_zero([-9, -8, -7, -6, -5, -4, 0.1, 0.2]))
    assert mirrored.sentence.split("share")[1] == found.sentence.split("share")[1]


def test_no_claim_says_how_many_more_seeds_it_would_take() -> None:
    paired = against_zero(normal(30, 0.18))
    assert paired.effect == pytest.approx(0.18)
    found = said(paired)
    assert (found.claims, found.better, found.meaningful) == (False, None, False)
    assert found.sentence.startswith(
        "No difference shown between A and B: accuracy differs by 0.18 (A − B; 95 % interval -0.17 … 0.53, p = 0."
    )
    needed = verdict.seeds_needed(0.18)
    assert needed == 245
    assert found.sentence.endswith("30 seeds); a difference of this size would need about 220 more seeds.")


def test_a_correction_needs_more_seeds() -> None:
    """Holm multiplied p with 3, so the test is held at a third of alpha."""
    paired = against_zero(normal(12, 0.5))
    needed, corrected = verdict.seeds_needed(0.5), verdict.seeds_needed(0.5, alpha=0.05 / 3)
    assert needed is not None
    assert corrected is not None
    assert corrected > needed
    assert f"about {needed - 12} more seeds" in said(paired).sentence
    assert f"about {corrected - 12} more seeds" in said(paired, 3 * paired.permutation_p).sentence


def test_too_few_seeds_for_any_claim() -> None:
    """All five are better, clearly so; but 2 of 2**5 flips are as far out, and 0.0625 isn't below 0.05."""
    found = said(against_zero([5.0, 5.1, 5.2, 5.3, 5.4]))
    assert not found.claims
    assert not found.meaningful
    assert "no claim is possible with fewer than 6 seeds, and a difference of this size would need about 1 more seed." in found.sentence
    assert said(against_zero([5.0, 5.1, 5.2, 5.3, 5.4, 5.5])).claims
    assert "no claim is possible" not in said(against_zero([5.0, 5.1, 5.2, 5.3, 5.4, -5.5])).sentence
    one = said(against_zero([5.0]))
    assert (
        one.sentence
        == "No difference shown between A and B: accuracy differs by 5.000 (A − B; p = 1, 1 seed); no claim is possible with fewer than 6 seeds."
    )
    # with three comparisons 6 are too few as well: 3 * 2 / 2**6 = 0.094, 3 * 2 / 2**7 = 0.047
    assert "fewer than 7 seeds" in said(against_zero([5.0, 5.1, 5.2, 5.3, 5.4, 5.5]), 6 / 64).sentence
    # alpha 0.01: 2 / 2**7 = 0.016, 2 / 2**8 = 0.0078
    assert "fewer than 8 seeds" in said(against_zero([5.0, 5.1, 5.2, 5.3, 5.4, 5.5]), alpha=0.01).sentence
    # alpha 1/16 is missed by 5 seeds, whose p isn't below it
    assert "fewer than 6 seeds" in said(against_zero([5.0, 5.1, 5.2, 5.3, 5.4]), alpha=1 / 16).sentence


def test_when_interval_and_test_disagree_nothing_is_claimed() -> None:
    paired = against_zero(DARWIN)  # Wilcoxon's p is 0.041, but p = 0.053 and the interval includes 0
    assert "disagree" not in said(paired).sentence
    for interval, p in [((-1.4, 36.2), 0.04), ((0.4, 36.2), 0.0527)]:
        found = said(dataclasses.replace(paired, interval=interval), p)
        assert not found.claims
        assert "the interval and the test disagree, and a difference of this size would need about" in found.sentence


def test_equal_on_all_seeds() -> None:
    same = "No difference shown between A and B: accuracy is the same on"
    assert said(against_zero([0.0] * 30)).sentence == f"{same} all 30 seeds."
    assert said(against_zero([0.0])).sentence == f"{same} 1 seed."


def test_a_difference_that_no_number_of_seeds_would_show() -> None:
    found = said(against_zero([1.0, -1.0] * 5))
    assert found.sentence.endswith("p = 1, 10 seeds); no number of seeds would show a difference this small.")
    assert "more than a million more seeds" in said(against_zero([1.0, -1.0] * 5 + [1e-3])).sentence


def test_the_sentence_does_not_round_evidence_away() -> None:
    paired = dataclasses.replace(against_zero(normal(30, 1.0)), interval=(0.00003, 2.0))
    assert "interval 0.00003 … 2.00000" in said(paired, 0.0496).sentence  # not 0.0 … 2.0
    assert "p = 0.0499 " in said(paired, 0.0499).sentence
    assert "p = 0.04999 " in said(paired, 0.04999).sentence  # 0.05 would belie the claim
    assert said(paired, 0.04999).claims
    assert "p = 0.05 " in said(paired, 0.05).sentence
    assert not said(paired, 0.05).claims


def test_without_a_difference_claims_are_as_rare_as_alpha_says() -> None:
    draw = np.random.default_rng(7)
    for n in (6, 9):
        claims = [said(against_zero(draw.standard_t(3, n))).claims for _ in range(300)]
        assert np.mean(claims) < 0.08


def test_a_difference_is_found_with_the_power_that_was_asked_for() -> None:
    draw = np.random.default_rng(8)
    n = verdict.seeds_needed(1.0)
    assert n == 10
    found = [said(against_zero(draw.normal(1, 1, n))) for _ in range(300)]
    assert 0.72 < np.mean([v.claims for v in found]) < 0.88
    assert not any(v.better == "b" for v in found)


@given(PAIRS)
def test_a_sentence_is_one_and_says_what_the_fields_say(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = said(statistics.paired(*pair, higher_is_better=True))
    assert found.sentence.count(". ") == 0
    assert found.sentence.endswith(".")
    assert (
        found.claims == ("is better than" in found.sentence) == ("No difference shown" not in found.sentence) == (found.better is not None)
    )
    assert not (found.meaningful and not found.claims)
    if found.better:
        better, worse = pair if found.better == "a" else pair[::-1]
        assert better.mean() > worse.mean()


@given(PAIRS, st.booleans())
def test_swapping_a_and_b_swaps_the_verdict(pair: tuple[np.ndarray, np.ndarray], higher: bool) -> None:
    a, b = pair
    one, other = statistics.paired(a, b, higher), statistics.paired(b, a, higher)
    assume(one.difference != 0 or one.ties == one.n)
    here, there = said(one), said(other)
    assert (here.claims, here.meaningful) == (there.claims, there.meaningful)
    assert {here.better, there.better} in ({None}, {"a", "b"})


@pytest.mark.parametrize("diverged", [1e30, float(np.float32(1e30))])
def test_one_run_that_diverged_claims_nothing(diverged: float) -> None:
    b = np.array([0.5, 0.75, 0.25, 1.5, 2.5, 1.25, 0.625])
    assert not said(statistics.paired([*(b + 0.125), 1.0], [*b, diverged], higher_is_better=False)).claims


@pytest.mark.parametrize(
    ("effect", "power", "n"),
    [(0.2, 0.8, 199), (0.3, 0.8, 90), (0.5, 0.8, 34), (0.8, 0.8, 15), (1.0, 0.8, 10), (0.5, 0.9, 44), (0.5, 0.95, 54)],
)
def test_seeds_needed_are_those_of_the_power_tables(effect: float, power: float, n: int) -> None:
    """G*Power 3.1, difference between two dependent means, two tails, alpha 0.05."""
    assert verdict.seeds_needed(effect, power) == n
    assert verdict.seeds_needed(-effect, power) == n


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-6])
@pytest.mark.parametrize("effect", [0.4, 1.1, 3.0, 7.0, 12.0, 50.0, 900.0])
def test_seeds_needed_by_integrating_over_the_standard_deviation(effect: float, alpha: float) -> None:
    """statsmodels' solver fails for large effects, and its power is NaN for some."""

    def power(n: int) -> float:
        std = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, n - 1) / (n - 1))
        return float(np.mean(stats.norm.sf(stats.t.isf(alpha / 2, n - 1) * std - effect * math.sqrt(n))))

    n = verdict.seeds_needed(effect, alpha=alpha)
    assert n is not None
    assert power(n) >= 0.8
    assert n == 2 or power(n - 1) < 0.8


def test_seeds_needed_at_the_ends() -> None:
    for nothing in (0.0, math.inf, -math.inf, math.nan, 1e-200):
        assert verdict.seeds_needed(nothing) is None
    assert verdict.seeds_needed(1e200) == verdict.seeds_needed(1e3) == 2
    # (1.95996 + 0.84162)**2 = 7.8489
    assert verdict.seeds_needed(1e-9) == pytest.approx(7.8489e18, rel=1e-4)
    across = [verdict.seeds_needed(effect) for effect in (0.0028, 0.00281, 0.0027)]  # at the change of method, near 10**6
    assert across[1] < across[0] < across[2]
    assert across[0] == pytest.approx(7.8489 / 0.0028**2, rel=1e-4)
