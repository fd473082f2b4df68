"""The two tables of 2017: what was published, what comes out today, and how far the two agree."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import asking
import numpy as np
from parts import Claim, Part

from example.tutorial import mrg31k3p
from example.tutorial.glorot import limit_of
from example.tutorial.seeds_2017 import kernel_seeds
from seedbed.command_line import in_project as command
from seedbed.run import digest

# How close today's software has to come to a value that didn't race: relative, plus absolute for the tiny ones, where the
# published digits are the rounding of float32.
RELATIVE, ABSOLUTE = 1e-5, 1e-9
BOUND = f"relative {RELATIVE:g} plus absolute {ABSOLUTE:g}".replace("e-0", "e-")
SOURCE = ("source", "src/example/tutorial/published.csv")
# How far the published TensorFlow values may be from those without races: their run raced, and no two of its kind agree.
RACED, RACED_ROW_2 = 0.01, 0.03


def published() -> dict[str, list[float]]:
    """The columns of published.csv, which says where they are from: `theano`, `tensorflow`, `race_free`, ten values each."""
    lines = Path(mrg31k3p.__file__).with_name("published.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name != "row"}


def agree(today: Sequence[float], then: Sequence[float]) -> list[bool]:
    """For each row, whether the two are within RELATIVE of `then`, plus ABSOLUTE."""
    return [abs(a - b) <= RELATIVE * abs(b) + ABSOLUTE for a, b in zip(today, then, strict=True)]


def relative(today: Sequence[float], then: Sequence[float]) -> list[float]:
    return [abs(a - b) / abs(b) for a, b in zip(today, then, strict=True)]


def raced(today: Sequence[float], then: Sequence[float]) -> list[bool]:
    """For each row, whether a published TensorFlow value is as near as its races let it be."""
    return [one <= (RACED_ROW_2 if row == 2 else RACED) for row, one in enumerate(relative(today, then), start=1)]


def theano_2017(runs: Path) -> Part:
    study, then = asking.repeat("theano_2017", runs), published()["theano"]
    near, apart = agree(study.errors, then), relative(study.errors, then)
    rows = [
        (f"row {row}", f"{a:<20.12g}{b:<20.12g}{one:<12.1e}{abs(a - b):.1e}")
        for row, (a, b, one) in enumerate(zip(then, study.errors, apart, strict=True), start=1)
    ]
    started = study.digests_of("initial_weights") == [_start(row, 1, mrg31k3p.glorot_uniform) for row in range(1, 11)]
    return Part(
        "The table published in 2017 for Keras 2.0.3 on Theano, with today's Keras",
        command("repeat", ["experiment=tutorial/theano_2017"]),
        [("", f"{'published':<20}{'today':<20}{'relative':<12}absolute difference"), *rows, SOURCE],
        [
            Claim("each run began with MRG31k3p's weights, seeded as `numpy.random.seed(1)` seeded them", started),
            Claim(f"{sum(near)} of 10 within {BOUND}", sum(near) == 10),
        ],
        "A published number can be produced again nine years later, by other software, where every source is known: which generator, "
        "who drew from it in which order, and how the optimizer rounds.",
        {"theano": apart, "agree": sum(near)},
    )


def tensorflow_2017(runs: Path) -> Part:
    study, columns = asking.repeat("tensorflow_2017", runs), published()
    then, free = columns["tensorflow"], columns["race_free"]
    near, as_far = agree(study.errors, free), raced(study.errors, then)
    apart, apart_free = relative(study.errors, then), relative(study.errors, free)
    rows = [
        (f"row {row}", f"{a:<20.12g}{b:<20.10g}{c:<20.10g}{100 * one:.2f} %      {other:.1e}")
        for row, (a, b, c, one, other) in enumerate(zip(then, study.errors, free, apart, apart_free, strict=True), start=1)
    ]
    started = study.digests_of("initial_weights") == [_start(row, 0, tensorflows_own) for row in range(1, 11)]
    raced_bound = f"{100 * RACED:g} % of the published value ({100 * RACED_ROW_2:g} % for row 2)"
    return Part(
        "The table published in 2017 for Keras 2.0.3 on TensorFlow 1.1, with today's Keras",
        command("repeat", ["experiment=tutorial/tensorflow_2017"]),
        [
            ("", f"{'published':<20}{'today':<20}{'without races':<20}difference to"),
            ("", f"{'':<60}{'published':<12}without races"),
            *rows,
            SOURCE,
        ],
        [
            Claim("each run began with the weights that tf.raw_ops.RandomUniform gives for graph seed 2, to the bit", started),
            Claim(f"{sum(near)} of 10 within {BOUND} of the value without races", sum(near) == 10),
            Claim(f"{sum(as_far)} of 10 within {raced_bound}", sum(as_far) == 10),
        ],
        "Closer than that nobody can come: in Keras 2.0.3 on TensorFlow 1, Adam's step counter and the second kernel's update raced with "
        "backpropagation, so the published run was one of many. Seeds equal, bits not: `100 % reproducible` did not hold.",
        {"tensorflow": apart, "race_free": apart_free},
    )


def tensorflows_own(seed: int, shape: Sequence[int]) -> np.ndarray:
    """float32 of `shape`: Keras 2.0.3's `glorot_uniform` on TensorFlow, by TensorFlow's own operation."""
    import tensorflow as tf

    # else an operation of the same seeds goes on from where it was
    tf.random.set_seed(0)  # seedbed: ignore[SB107] nothing that is trained draws in this process
    drawn = tf.raw_ops.RandomUniform(shape=list(shape), dtype=tf.float32, seed=2, seed2=seed).numpy()
    low, high = (np.float32(sign * limit_of(shape)) for sign in (-1, 1))
    found: np.ndarray = drawn * (high - low) + low
    return found


def _start(row: int, lowest_seed: int, kernel: Callable[[int, Sequence[int]], np.ndarray]) -> str:
    """The digest of the initial weights of one row: two kernels, each with its biases of zero."""
    first, second = kernel_seeds(row, lowest_seed)
    zeros = partial(np.zeros, dtype=np.float32)
    return digest.arrays([kernel(first, (1, 10)), zeros(10), kernel(second, (10, 1)), zeros(1)])
