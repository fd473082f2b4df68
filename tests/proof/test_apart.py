"""How far two arrays are apart: none where the bits are equal, else which elements, by how much, and in units in the last place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedbed.proof.apart import apart


def test_equal_bits_are_not_apart() -> None:
    value = np.array([1.0, np.nan, -0.0], "float32")
    assert apart(value, value.copy()) is None
    assert apart(np.array(["a", "b"]), np.array(["a", "b"])) is None


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 5))
def test_ulps_count_the_numbers_between(value: float, steps: int) -> None:
    a = np.float32(value)
    b = a
    for _ in range(steps):
        b = np.nextafter(b, np.float32(np.inf))
    if not np.isfinite(b):
        return
    found = apart(np.array([a]), np.array([b]))
    assert (found.ulps if found else 0) == steps


def test_what_is_said() -> None:
    a = np.zeros((2, 3), "float32")
    b = a.copy()
    b[1, 2] = np.float32(1e-45)
    found = apart(a, b)
    assert found is not None
    assert (found.differing, found.elements, found.ulps, found.place) == (1, 6, 1, (1, 2))
    assert "1 of 6 values differ" in found.said
    assert "(1 ulp)" in found.said
    assert "at [1, 2]" in found.said


def test_bits_count_and_not_values() -> None:
    """0.0 and -0.0 are equal numbers and other bits; NaN is no number."""
    found = apart(np.array([0.0]), np.array([-0.0]))
    assert found is not None
    assert found.ulps == 0
    assert apart(np.array([np.nan]), np.array([1.0])).ulps is None  # type: ignore[union-attr]
    whole = apart(np.array([3, 4]), np.array([3, 9]))
    assert whole is not None
    assert (whole.largest, whole.ulps) == (5.0, None)


def test_other_shapes_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="float32"):
        apart(np.zeros(2, "float32"), np.zeros(3, "float32"))
