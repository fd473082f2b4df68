"""What pictures are drawn with: numbers, ticks, words and dots by themselves. What comes of it is in test_plots.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from seedbed.study import drawing


def test_the_callers_matplotlib_settings_come_back(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 23}):
        before = dict(matplotlib.rcParams)
        with drawing.style():
            assert matplotlib.rcParams["font.size"] == 10
            drawing.save(drawing.blank(4, 3, "A title"), tmp_path / "x.png")
        assert dict(matplotlib.rcParams) == before


def test_the_conclusion_is_drawn_from_the_interval() -> None:
    values = np.array([0.1, 0.3, -0.05])
    for sign, bounds, words in (
        (1, (0.01, 0.2), "A is better on average"), (-1, (0.01, 0.2), "B is better on average"), (1, (-0.2, -0.01), "B is better on average"),
        (-1, (-0.2, -0.01), "A is better on average"), (1, (-0.1, 0.2), "which is better stays open"), (1, (0.0, 0.2), "which is better stays open"),
    ):  # fmt: skip
        assert drawing.winner_in_words(values, sign, bounds, True).endswith(words)
    assert "average" not in drawing.winner_in_words(values, 1, None, True)
    # a bound that is not zero doesn't look like zero
    assert "0.0004 to" in drawing.winner_in_words(values, 1, (0.0004, 0.3), True)
    assert drawing.winner_in_words(np.zeros(4), 1, (0.0, 0.0), True) == "A and B are equal on all 4 seeds"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bounds", [(0.01, 0.2), (-0.2, -0.01)])
def test_without_a_claim_nobody_is_better(sign: int, bounds: tuple[float, float]) -> None:
    """Whichever side of 0 the interval lies on."""
    said = drawing.winner_in_words(np.array([0.1, 0.3, -0.05]), sign, bounds, False)
    assert said.splitlines()[-1] == "0 is outside the interval, but the test disagrees: which is better stays open"
    assert "average" not in said


@pytest.mark.parametrize("claimed", [True, False])
def test_a_claim_says_nothing_where_the_interval_does_not_decide(claimed: bool) -> None:
    values = np.array([0.1, 0.3, -0.05])
    assert drawing.winner_in_words(values, 1, (-0.1, 0.2), claimed).endswith("\n0 is inside the interval: which is better stays open")
    assert "better stays open" not in drawing.winner_in_words(values, 1, None, claimed)
    assert drawing.winner_in_words(np.zeros(4), 1, (0.0, 0.0), claimed) == "A and B are equal on all 4 seeds"


@pytest.mark.parametrize(
    ("value", "step", "largest", "text"),
    [
        (0.97123, 1e-4, 1, "0.9712"), (-0.5, 0.1, 1, "−0.5"), (-0.04, 1, 9, "0"), (0.0, 1, 9, "0"), (1.5e-12, 1e-13, 1e-12, "1.5e−12"),
        (-2e9, 1e9, 2e9, "−2e9"), (123.4, 10, 200, "123"), (0.3, 0.09999999999, 1, "0.3"), (999999.0, 1, 999999, "999999"),
    ],
)  # fmt: skip
def test_numbers(value: float, step: float, largest: float, text: str) -> None:
    assert drawing.number(value, step, largest) == text


def test_ticks_at_steps_of_two_and_a_half_are_exact() -> None:
    assert drawing._Plain().format_ticks([-0.0025, 0.0, 0.0025, 0.005]) == ["−0.0025", "0", "0.0025", "0.0050"]
    assert drawing._Plain().format_ticks([0.97]) == ["0.97"]


def test_dots_of_equal_values_do_not_hide_one_another() -> None:
    heights = drawing._jitter(np.full(30, 0.97))
    assert len(set(heights)) == 30
    assert np.abs(heights).max() <= 0.5
    assert drawing._jitter(np.array([3.0])) == [0.0]


def test_no_figure_writes_nothing(tmp_path: Path) -> None:
    drawing.save(None, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_words_are_broken_between_words_if_they_can_and_anywhere_if_they_must() -> None:
    assert drawing.wrapped("one two three", 20) == "one two three"
    assert drawing.wrapped("one two three", 0.7) == "one two\nthree"
    assert drawing.wrapped("val_accuracy", 0.8) == "val_\naccuracy"
    assert "".join(drawing.wrapped("x" * 40, 1).split("\n")) == "x" * 40
    assert drawing.wrapped("$x$", 20) == r"\$x\$"
