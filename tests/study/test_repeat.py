"""Which metric a study speaks of, in which direction, and what its sentence says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seedbed import Refused
from seedbed.run.record import FINISHED, Record
from seedbed.study import plan, repeat, report
from seedbed.study.repeat import Result


def result(*metrics: dict[str, float], asked: int | None = None) -> Result:
    records = {}
    for master, values in enumerate(metrics, 1):
        record = Record(Path("nowhere"))
        record.content = {"status": FINISHED, "metrics": values, "seeds": {"master": master}, "key": "k", "digests": {"run": "d"}}
        records[master] = record
    masters = tuple(range(1, (asked or len(metrics)) + 1))
    study = plan.Study(Path("nowhere"), {"id": "i", "name": "n", "vary": None, "overrides": [], "level": "strict"}, masters)
    return Result(study, records, {master: "why" for master in masters if master not in records}, len(records))


@pytest.mark.parametrize(("name", "higher"), [
    ("test_accuracy", True), ("val_auc", True), ("test_loss", False), ("train_mean_squared_error", False), ("test_mae", False),
    ("test_sparse_categorical_crossentropy", False), ("test_binary_accuracy", True), ("test_r2_score", True), ("test_mean_iou", True),
    ("test_false_positives", None), ("test_mine", None), ("test_cosine_similarity", True), ("test_error_rate", False),
])  # fmt: skip
def test_which_direction_is_better_is_known_or_asked_for(name: str, higher: bool | None) -> None:
    if higher is None:
        with pytest.raises(Refused, match=r"study\.better"):
            repeat.is_higher_better(name, None)
    else:
        assert repeat.is_higher_better(name, None) is higher
    assert repeat.is_higher_better(name, "higher") is True
    assert repeat.is_higher_better(name, "lower") is False


@pytest.mark.parametrize(("metrics", "chosen"), [
    ({"train_loss": 1.0}, "train_loss"),
    ({"validation_loss": 1.0, "validation_accuracy": 1.0, "test_loss": 1.0, "test_accuracy": 1.0}, "test_accuracy"),
    ({"validation_loss": 1.0, "validation_accuracy": 1.0}, "validation_accuracy"),
    ({"test_loss": 1.0}, "test_loss"),
])  # fmt: skip
def test_the_metric_of_a_study(metrics: dict[str, float], chosen: str) -> None:
    assert repeat.metric_of(result(metrics), None) == chosen
    with pytest.raises(Refused, match="nowhere"):
        repeat.metric_of(result(metrics), "nowhere")


def said(one: Result, confidence: float = 0.95) -> str:
    return report.verdict(one, None, report.summaries(one, confidence))


def test_what_is_said() -> None:
    values = [0.90, 0.92, 0.91, 0.93, 0.89, 0.94, 0.90, 0.92]
    whole = said(result(*({"test_accuracy": value} for value in values)))
    assert whole.startswith("8 seeds: test_accuracy 0.914, 95 % interval 0.9")
    assert whole.endswith("a single run can be off by 0.025.")
    assert "6 of 8" in said(result(*({"test_loss": value} for value in values[:6]), asked=8))
    assert "can't be said" in said(result({"test_loss": 0.5}))
    assert "too few seeds" in said(result({"test_loss": 0.5}, {"test_loss": 0.6}))
    assert "the seeds don't change it" in said(result(*({"test_loss": 0.5} for _ in range(6))))
    assert said(result(asked=3)) == "0 of 3 seeds have finished."
    one_bad = said(result(*({"test_loss": value} for value in [*values, float("nan")])))
    assert "1 run ended with a test_loss that is not a finite number" in one_bad
    assert "8 seeds" in one_bad


def test_a_table_keeps_every_bit() -> None:
    import csv

    rows: list[dict[str, Any]] = [{"a": 0.1 + 0.2, "b": None}, {"a": 1e-300, "c": "x,y"}]
    read = list(csv.DictReader(report.as_csv(rows).splitlines()))
    assert [float(row["a"]) for row in read] == [0.1 + 0.2, 1e-300]
    assert [(row["b"], row["c"]) for row in read] == [("", ""), ("", "x,y")]


def test_a_metric_is_one_that_every_run_has_and_the_test_part_comes_first() -> None:
    whole = {"train_loss": 1.0, "validation_loss": 1.0, "test_loss": 1.0}
    assert result(whole, whole).names() == ["test_loss", "validation_loss", "train_loss"]
    assert result(whole, {"validation_loss": 1.0, "test_auc": 1.0}).names() == ["validation_loss"]


def notes(folder: Path, *states: dict[str, Any]) -> list[plan.Task]:
    (folder / "seeds").mkdir()
    tasks = [plan.Task(folder, master) for master in range(1, len(states) + 1)]
    for task, state in zip(tasks, states, strict=True):
        if state:
            task.note(**state)
    return tasks


def test_what_a_call_has_done_is_counted(tmp_path: Path) -> None:
    done = {"call": "now", "status": FINISHED}
    tasks = notes(tmp_path, done, {**done, "reused": True}, {**done, "status": "failed"}, {}, {"call": "now", "status": "begun"})
    assert repeat.counts(tasks, "now") == {"trained": 1, "reused": 1, "failed": 1, "left": 2}


def test_what_every_seed_is_refused_for_is_the_configs_fault(tmp_path: Path) -> None:
    refused = {"status": plan.REFUSED, "call": "now", "error": "no"}
    for number, (states, said) in enumerate([
        ([refused, refused], True), ([refused, {**refused, "error": "other"}], False), ([refused, {"status": FINISHED, "call": "now"}], False),
    ]):  # fmt: skip
        (folder := tmp_path / str(number)).mkdir()
        tasks = notes(folder, *states)
        if said:
            with pytest.raises(Refused, match=r"^no$"):
                repeat._refuse_what_concerns_all(tasks, "now")
        else:
            repeat._refuse_what_concerns_all(tasks, "now")
