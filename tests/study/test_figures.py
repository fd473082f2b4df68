"""Numbers for people: which digits are shown, and that none that matters is lost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedbed.study.figures import text


@pytest.mark.parametrize(
    ("value", "spread", "shown"),
    [
        (0.0123456, 0.0085, "0.0123"), (0.0123456, 0.085, "0.012"), (0.97654321, None, "0.9765"), (12345.678, 200, "12350"),
        (12345.678, 0.5, "12345.68"), (0.5, 0.0996, "0.50"), (-0.00001, 0.01, "0.000"), (0, 0.01, "0.000"), (0, None, "0"),
        (123456.7, None, "123500"), (1.5e-9, None, "1.500e-09"), (1.23456e9, 1e7, "1.235e+09"), (3.0, 0.0, "3.000"), (3.0, math.nan, "3.000"),
        (math.nan, None, "nan"), (-math.inf, 1.0, "-inf"), (0, 1e-12, "0"), (9.9996, None, "10.00"), (-0.9, 0.25, "-0.90"),
    ],
)  # fmt: skip
def test_numbers_have_the_digits_that_their_spread_justifies(value: float, spread: float | None, shown: str) -> None:
    assert text(value, spread) == shown


@given(st.floats(-1e12, 1e12), st.floats(1e-12, 1e12))
def test_a_shown_number_is_within_a_tenth_of_its_spread(value: float, spread: float) -> None:
    assert abs(float(text(value, spread)) - value) <= 0.0501 * spread + 1e-15 * abs(value)
    assert abs(float(text(value)) - value) <= 0.000501 * abs(value)
