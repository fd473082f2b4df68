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


def test_the_first_is_the_best_where_it_is_better_than_each_other_one(config: Callable[..., Any], tmp_path: Path) -> None:
    more = {master: value + 0.125 * (1 + master / 100) for master, value in A.items()}
    for others, best in (
        ([less(A, 0.125), less(A, 0.25)], True),
        ([less(A, 0.125), more], False),
        ([more, more], False),
        ([A, less(A, 0.25)], False),
    ):
        sides = {str(number): values for number, values in enumerate([A, *others])}
        found = compare.compared({name: result(tmp_path, name, values) for name, values in sides.items()}, config("study.alpha=0.1"), [])
        assert found.best_is_first is best, others


def test_a_claim_is_made_of_the_corrected_p_at_the_level_and_with_the_confidence_that_were_asked_for(
    config: Callable[..., Any], tmp_path: Path
) -> None:
    results = {name: result(tmp_path, name, values) for name, values in {"a": A, "b": less(A, 0.125), "c": less(A, 0.25)}.items()}
    found = compare.compared(results, config("study.alpha=0.0625", "study.confidence=0.8"), [])
    assert [(pair.paired.permutation_p, pair.p) for pair in found.pairs] == [(2 / 2**6, 4 / 2**6)] * 2
    assert [pair.verdict.claims for pair in found.pairs] == [False, False]  # 0.0625 is not below it
    assert {pair.paired.confidence for pair in found.pairs} == {0.8}
    assert [pair.verdict.claims for pair in compare.compared(results, config("study.alpha=0.07"), []).pairs] == [True, True]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_one_value_that_is_no_number_leaves_nothing_to_compare(bad: float, config: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(Refused, match="test_accuracy is not a finite number in some run of two"):
        compare.compared({"one": result(tmp_path, "one", A), "two": result(tmp_path, "two", {**A, 3: bad})}, config(), [])


@pytest.mark.parametrize(("words", "message"), [
    (["study.alpha=0.1"], "study.alpha is 0.05 for one and 0.1 for two"), (["study.n=7"], "study.n"), (["study.better=lower"], "study.better"),
    (["study.confidence=0.9"], "study.confidence"), (["study.vary=init"], "study.vary"), (["study.power=0.9"], "study.power"),
    (["study.seeds=[1,2]"], "study.seeds"), (["study.metric=test_loss"], "study.metric"), (["determinism=off"], "determinism=off"),
])  # fmt: skip
def test_configs_that_can_not_be_compared_seed_by_seed(words: list[str], message: str, config: Callable[..., Any]) -> None:
    compare.check({"one": config(), "two": config("training.engine=fit")})
    with pytest.raises(Refused, match=message):
        compare.check({"one": config(), "two": config(*words)})


def test_configs_whose_records_lie_in_two_folders_are_not_compared(config: Callable[..., Any]) -> None:
    other = config()
    other.runs = "elsewhere"
    with pytest.raises(Refused, match="one folder for all"):
        compare.check({"one": config(), "two": other})


def test_words_that_make_no_two_sides() -> None:
    sides, common = compare.sides_of(["mlp", "model.hidden=[10] optimizer=sgd", "++study.n=4", "--", "data=digits"])
    assert sides == {"mlp": ["experiment=mlp"], "model.hidden=[10] optimizer=sgd": ["model.hidden=[10]", "optimizer=sgd"]}
    assert common == ["++study.n=4", "data=digits"]
    for words, message in (
        (["a"], "at least two"),
        (["a", "a"], "named twice"),
        (["a", "b=1 study.n=3"], "study.n is no part"),
        (["a", "--b"], "no option"),
    ):
        with pytest.raises(Refused, match=message):
            compare.sides_of(words)
