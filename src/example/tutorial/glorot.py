"""How wide the distribution of a kernel's initial weights is: Glorot & Bengio, AISTATS 2010."""

from __future__ import annotations

import math
from collections.abc import Sequence


def limit_of(shape: Sequence[int]) -> float:
    """sqrt(6 / (fan_in + fan_out)) for a kernel of `shape`: (…, inputs, outputs), with a convolution's window in front.

    As Keras 2.0.3 reckons it: a shape without inputs and outputs counts as a square one of as many elements.
    """
    fans = math.prod(shape[:-2]) * sum(shape[-2:]) if len(shape) > 1 else 2 * math.sqrt(math.prod(shape))
    return math.sqrt(3.0 / max(1.0, fans / 2.0))
