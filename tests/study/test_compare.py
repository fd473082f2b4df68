"""What a comparison makes of two studies' records: pairs by seed, the side that is better, Holm's correction. Nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from seedbed import Refused
from seedbed.run.record import Record
from seedbed.study import compare, statistics
from seedbed.study.plan import Study
from seedbed.study.repeat import Result

A = {1: 0.9, 2: 0.8, 3: 0.95, 4: 0.85, 5: 0.7, 6: 0.9}


def result(folder: Path, name: str, values: Mapping[int, float], metric: str = "test_accuracy") -> Result:
    """A study whose runs have these values of a metric, by master seed."""
    records = {}
    for master, value in values.items():
        records[master] = Record(folder / f"{name} {master}")
        records[master].content["metrics"] = {metric: value}
    return Result(Study(folder / "studies" / name, {"id": name, "name": name, "vary": None}, tuple(values)), records, {}, 0)


def less(values: Mapping[int, float], by: float) -> dict[int, float]:
    """Each value less by about as much."""
    return {master: value - by * (1 + master / 100) for master, value in values.items()}


@pytest.mark.parametrize(("metric", "better"), [("test_accuracy", "a"), ("test_loss", "b")])
def test_the_first_against_the_second(config: Callable[..., Any], tmp_path: Path, metric: str, better: str) -> None:
    results = {"one": result(tmp_path, "one", A, metric), "two": result(tmp_path, "two", less(A, 0.125), metric)}
    found = compare.compared(results, config(), [])
    (pair,) = found.pairs
    assert pair.differences.tolist() == pytest.approx([0.125 * (1 + master / 100) for master in A])
    assert pair.paired.difference == pytest.approx(0.129375)
    assert pair.p == 2 / 2**6
    assert pair.verdict.better == better
    assert found.best_is_first is (better == "a")
    assert found.means["one"] > found.means["two"]


def test_seeds_are_paired_by_their_number_and_those_that_one_side_lacks_are_left_out(config: Callable[..., Any], tmp_path: Path) -> None:
    turned = dict(reversed(list(less(A, 0.125).items())))
    del turned[3]
    found = compare.compared({"one": result(tmp_path, "one", A), "two": result(tmp_path, "two", turned)}, config(), [])
    assert found.masters == [1, 2, 4, 5, 6]
    assert found.missing == 1
    assert found.pairs[0].differences.tolist() == pytest.approx([0.125 * (1 + master / 100) for master in (1, 2, 4, 5, 6)])


def test_several_are_compared_with_the_first_by_holms_correction(config: Callable[..., Any], tmp_path: Path) -> None:
    mixed = {master: value + (0.01 if master in (1, 4) else -0.02) for master, value in A.items()}
    sides = {"one": A, "two": less(A, 0.125), "three": mixed}
    found = compare.compared({name: result(tmp_path, name, values) for name, values in sides.items()}, config(), [])
    alone = [pair.paired.permutation_p for pair in found.pairs]
    assert [(pair.a, pair.b) for pair in found.pairs] == [("one", "two"), ("one", "three")]
    assert [pair.p for pair in found.pairs] == statistics.holm(alone) != alone
    assert [pair.wilcoxon_p for pair in found.pairs] == statistics.holm([pair.paired.wilcoxon_p for pair in found.pairs])


def test_no_seed_in_common(config: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No seed has finished with every configuration"):
        compare.compared({"one": result(tmp_path, "one", {1: 0.5}), "two": result(tmp_path, "two", {2: 0.5})}, config(), [])
