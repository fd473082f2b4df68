"""Which seed each kernel got in the tutorial's program: what drew from NumPy's global generator there, drawn again in its order."""

from __future__ import annotations

import numpy as np

from seedbed import Refused

# The program: ten networks one after the other in one process, each fitted for 100 epochs to nine pairs.
EPOCHS, PAIRS = 100, 9
# Keras 2.0.3 gave each kernel a seed below this, from `numpy.random.randint`.
BELOW = 10_000_000


def kernel_seeds(row: int, lowest: int) -> tuple[int, int]:
    """The seeds of the two kernels of the program's network number `row`, from 1, after `numpy.random.seed(1)`.

    lowest: 1 on Theano, 0 on TensorFlow. The networks before this one took the seeds of their kernels, and each of their epochs
    a permutation: Keras 2 shuffled by the same generator. The numbers of NumPy's RandomState are fixed (NEP 19).
    """
    if not 1 <= row <= 1000:
        raise Refused(f"model.row={row} is not accepted. Accepted: 1 … 10, the rows of the published table; up to 1000 beyond it.")
    generator = np.random.RandomState(1)
    seeds = _two(generator, lowest)
    for _ in range(row - 1):
        for _ in range(EPOCHS):
            generator.shuffle(np.arange(PAIRS))
        seeds = _two(generator, lowest)
    return seeds


def _two(generator: np.random.RandomState, lowest: int) -> tuple[int, int]:
    first, second = (int(generator.randint(lowest, BELOW)) for _ in range(2))
    return first, second
