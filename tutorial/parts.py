"""The five parts of the tutorial: each trains what a config under conf/experiment/tutorial/ says, and holds its claims against it."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asking

import example.tutorial
from seedbed.command_line import in_project as command
from seedbed.study.figures import text
from seedbed.study.show import between

PROGRAM = Path(example.tutorial.__file__).with_name("program.py")
# What part 2 seeds Python's `random` with, which the recipe leaves out.
MEND = 3


@dataclass(frozen=True)
class Claim:
    """Something that the page says of what was just computed, and whether that bears it out."""

    words: str
    holds: bool


@dataclass(frozen=True)
class Part:
    """One part of the page. lines: names and values. sentence: what it teaches, where its claims hold. drawn: for the picture."""

    title: str
    command: str
    lines: Sequence[tuple[str, str]]
    claims: Sequence[Claim]
    sentence: str
    drawn: Mapping[str, Any] = field(default_factory=dict)


def unseeded(runs: Path) -> Part:
    study = asking.repeat("unseeded", _anew(runs / "unseeded"))
    errors = study.errors
    return Part(
        "Ten runs of one program, without a seed",
        _repeat("unseeded"),
        [("errors", _numbers(errors))],
        [Claim(f"{len(errors)} runs, {len(set(errors))} different errors", len(errors) == len(set(errors)) == 10)],
        f"Code and data don't decide a result: the same program gave errors from {text(min(errors))} to {text(max(errors))}. "
        "One run is one draw, and nobody can draw it again.",
        {"errors": errors},
    )


def recipe_2017(runs: Path) -> Part:
    (first, *seeds), (second, *others) = (_program(asking.program(PROGRAM, "1")) for _ in range(2))
    study = asking.repeat("recipe_2017", _anew(runs / "recipe_2017"))
    (one, two), starts = study.errors, study.digests_of("initial_weights")
    by_keras = _seeds_after(MEND)
    generator = random.Random(MEND)
    by_python = [generator.randint(1, 10**9) for _ in range(2)]  # keras/src/random/seed_generator.py: make_default_seed
    return Part(
        "The recipe of 2017: numpy.random.seed(1), tensorflow.random.set_seed(2), nothing else",
        _repeat("recipe_2017"),
        [
            ("program", ".venv/bin/python src/example/tutorial/program.py   (plain Keras, the two seeds at its top)"),
            ("process 1", f"error {text(first)}, kernels drawn from the seeds {seeds[0]} and {seeds[1]}"),
            ("process 2", f"error {text(second)}, kernels drawn from the seeds {others[0]} and {others[1]}"),
            ("config", f"errors {text(one)} and {text(two)}   (the same in seedbed, two runs)"),
            ("why", f"after random.seed({MEND}) Keras draws {by_keras[0]} and {by_keras[1]};"),
            ("", f"random.Random({MEND}) alone gives {by_python[0]} and {by_python[1]}"),
        ],
        [
            Claim("the recipe fails: two fresh processes, two errors", first != second),
            Claim("already the initial weights differ between the runs of the config", starts[0] != starts[1]),
            Claim("Keras takes the seeds of kernels from Python's `random`, which the recipe leaves alone", by_keras == by_python),
        ],
        "Setting NumPy's seed and TensorFlow's was right in 2017 and repeats nothing today: Keras 3 draws the seeds of its "
        "initializers from Python's `random`. A recipe holds for one version; a source of randomness has to be looked for.",
        {"errors": [first, second, one, two]},
    )


def repeatable(runs: Path) -> Part:
    first = asking.repeat("repeatable", runs)
    again = asking.repeat("repeatable", _anew(runs / "again"))
    same = sum(first.digests[seed] == again.digests.get(seed) for seed in first.digests)
    return Part(
        "seedbed's way: a seed for every source, and the level `strict`; ten runs, and the same ten in fresh processes",
        _repeat("repeatable"),
        [
            ("errors", _numbers(first.errors)),
            ("again", _numbers(again.errors)),
            ("digests", "  ".join(digest[:8] for digest in first.digests.values())),
            ("again", "  ".join(digest[:8] for digest in again.digests.values())),
        ],
        [
            Claim(f"{again.said['trained']} of 10 trained anew the second time", again.said["trained"] == 10),
            Claim(f"{same} of 10 equal to the bit: weights, optimizer, history, predictions", same == len(first.digests) == 10),
            Claim("ten seeds, ten different errors", len(set(first.errors)) == 10),
        ],
        "With every source of randomness named and seeded, threads and operations fixed, a run is a function of its seeds: "
        "it gives the same bits in any process, on any day.",
        {"first": first.errors, "again": again.errors, "same": same},
    )


def thirty(runs: Path) -> Part:
    study = asking.repeat("thirty", runs)
    found, errors = study.said["metrics"][asking.METRIC], study.errors
    low, high = float(found["low"]), float(found["high"])
    outside = sum(not low <= error <= high for error in errors)
    spread = float(found["std"])
    return Part(
        "30 repeats, summarised",
        _repeat("thirty"),
        [
            ("mean", f"{text(found['mean'], spread)}   95 % interval {between((low, high))} (BCa bootstrap)"),
            ("spread", f"standard deviation {text(spread)}, min {text(found['minimum'])}, max {text(found['maximum'])}"),
            ("robust", f"median {text(found['median'], spread)}, interquartile mean {text(found['iqm'], spread)}"),
            ("runs", f"{study.said['trained']} trained now, {len(errors) - study.said['trained']} there before; tables and pictures in"),
            ("", str(study.said["path"])),
        ],
        [
            Claim(f"{len(errors)} of 30 seeds have finished", len(errors) == 30),
            Claim(f"{outside} of {len(errors)} single runs are outside the mean's interval", outside > 0),
        ],
        f"A number that can be repeated is still one draw. Report many seeds and how sure their mean is: {study.said['sentence']}",
        {"errors": errors, "interval": (low, high)},
    )


def neurons(runs: Path) -> Part:
    said, ten, fifty = asking.compare("ten_neurons", "fifty_neurons", runs)
    (pair,) = said["pairs"]
    interval = (float(pair["low"]), float(pair["high"]))
    differences = [a - b for a, b in zip(ten.errors, fifty.errors, strict=True)]
    for_ten = sum(difference < 0 for difference in differences)
    means = list(said["means"].values())
    winner = {"tutorial/ten_neurons": "ten", "tutorial/fifty_neurons": "fifty"}.get(pair["better"])
    against = min(for_ten, len(differences) - for_ten) if winner is None else for_ten if winner == "fifty" else len(differences) - for_ten
    return Part(
        "Ten neurons or fifty?",
        command("compare", ["tutorial/ten_neurons", "tutorial/fifty_neurons"]),
        [
            ("means", f"{text(means[0])} with ten, {text(means[1])} with fifty"),
            ("difference", f"{text(pair['difference'])}   95 % interval {between(interval)}, p {pair['p_permutation']:.2g}"),
            ("verdict", f"{winner} neurons are better" if winner else "no difference shown"),
        ],
        [
            Claim(f"{len(differences)} pairs over the same seeds, none left out", len(differences) == 30 and not said["missing"]),
            Claim(f"a single seed would have said the opposite in {against} of {len(differences)} cases", against > 0),
        ],
        "Compare two models over the same seeds, in pairs, and claim a difference only where interval and test agree: one run of "
        "each tells hardly more than which seed it had.",
        {"differences": differences, "interval": interval, "claims": pair["claims"]},
    )


def _seeds_after(seed: int) -> list[int]:
    """The seeds that Keras draws for two kernels after `random.seed(seed)`, in this process."""
    import keras

    before = random.getstate()
    random.seed(seed)
    try:
        return [int(keras.layers.Dense(1).kernel_initializer.seed) for _ in range(2)]
    finally:
        random.setstate(before)


def _anew(folder: Path) -> Path:
    """A folder of the page's own whose records nothing asks for again: each call trains into an empty one."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _repeat(experiment: str) -> str:
    return command("repeat", [f"experiment=tutorial/{experiment}"])


def _numbers(errors: Sequence[float]) -> str:
    return "  ".join(f"{error:.3g}" for error in errors)


def _program(printed: str) -> tuple[float, int, int]:
    """The error and the kernels' seeds that program.py printed for its one repeat."""
    found = re.fullmatch(r"error (\S+)  kernel seeds (\d+) (\d+)", printed.splitlines()[-1])
    assert found, printed
    return float(found[1]), int(found[2]), int(found[3])
