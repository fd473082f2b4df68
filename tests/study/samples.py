"""Numbers that more than one test of the statistics needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import stats

from seedbed.study import statistics as our

# Fisher 1935, The Design of Experiments, section 17 (Darwin's data): height of crossed minus self-fertilised, 1/8 inch
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

PAIRS = st.lists(st.tuples(st.integers(-400, 400), st.integers(-400, 400)), min_size=1, max_size=10).map(
    lambda pairs: (np.array([a / 8 for a, _ in pairs]), np.array([b / 8 for _, b in pairs]))
)


def normal(n: int, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    """n values that lie as a normal sample would on average."""
    x = stats.norm.ppf((np.arange(n) + 0.5) / n)
    return mean + std * (x - x.mean()) / x.std(ddof=1)


def against_zero(differences: Any, higher_is_better: bool = True) -> our.Paired:
    return our.paired(differences, np.zeros(len(differences)), higher_is_better)
