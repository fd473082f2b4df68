"""The two tables of 2017: what was published, in fresh processes against today's software, and when the page calls it agreement."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import asking
import numpy as np
import pytest
import tables
from asking import Study
from conftest import OUTSIDE, ROOT

from example.tutorial import mrg31k3p
from example.tutorial.seeds_2017 import kernel_seeds
from seedbed.run import digest

FIRST = {"theano": (0.169326527063, 2.75750621228e-05), "tensorflow": (0.224045112999, 0.00154879478823),
         "race_free": (0.2243979821, 0.0015175618)}  # fmt: skip
LAST = {"theano": 0.0522927019639, "tensorflow": 0.298706569397, "race_free": 0.2985294129}


def test_what_was_published() -> None:
    columns = tables.published()
    assert set(columns) == {"theano", "tensorflow", "race_free"}
    for name, values in columns.items():
        assert len(values) == 10
        assert (values[0], values[1], values[9]) == (*FIRST[name], LAST[name])
    text = (ROOT / "src/example/tutorial/published.csv").read_text()
    assert "How to Get Reproducible Results with Keras" in text.splitlines()[0]
    assert "race_free was not published" in text


@pytest.mark.parametrize(
    ("today", "then", "near"),
    [(0.1, 0.1, True), (0.100001, 0.1, True), (0.1000011, 0.1, False), (9e-10, 0.0, True), (1.1e-9, 0.0, False), (0.0999989, 0.1, False),
     (8.2e-8, 8.1e-8, True), (8.3e-8, 8.1e-8, False), (float("nan"), 0.1, False)],
)  # fmt: skip
def test_when_two_values_agree(today: float, then: float, near: bool) -> None:
    assert tables.agree([today], [then]) == [near]


def test_how_far_races_may_have_led() -> None:
    ones = [1.0] * 10
    assert tables.raced([1.0099] * 10, ones) == [True] * 10
    assert tables.raced([1.0101] * 10, ones) == [row == 2 for row in range(1, 11)]
    assert tables.raced([1.0299] * 10, ones) == [row == 2 for row in range(1, 11)]
    assert tables.raced([0.9699] * 10, ones) == [False] * 10


def repeated(table: str, seedbed: Callable[..., Any]) -> tuple[Any, np.ndarray]:
    """What `seedbed repeat experiment=tutorial/TABLE` says in a fresh process, and the ten errors."""
    done = seedbed("repeat", f"experiment=tutorial/{table}", "--json")
    assert done.status == 0, done.err
    said, folder = done.json, Path(done.json["path"])
    assert (said["trained"], said["seeds"]) == (10, list(range(1, 11)))
    assert "Another process" not in (folder / "log.txt").read_text(), "ten networks, one process"
    with (folder / "runs.csv").open() as file:
        return said, np.array([float(row["train_loss"]) for row in csv.DictReader(file)])


@pytest.mark.slow
def test_the_theano_table_in_a_fresh_process(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    said, errors = repeated("theano_2017", seedbed)
    np.testing.assert_allclose(errors, tables.published()["theano"], rtol=1e-5, atol=1e-9)
    records = [json.loads(file.read_text()) for file in (tmp_path / "runs").glob("[0-9a-f]*/record.json")]
    assert {str(record["not_shared"]) for record in records if record["seeds"]["master"] > 1} == {"{}"}, "one model, traced once"
    alone = seedbed("train", "experiment=tutorial/theano_2017", "seeds.master=3", "--json", runs=tmp_path / "alone")
    assert alone.json["digests"]["run"] == said["digests"]["3"], "a row doesn't depend on those before it in its process"


@pytest.mark.integration
def test_the_tensorflow_table_in_a_fresh_process_and_on_the_page(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    _, errors = repeated("tensorflow_2017", seedbed)
    columns = tables.published()
    np.testing.assert_allclose(errors, columns["race_free"], rtol=1e-5, atol=1e-9)
    apart = np.abs(errors / columns["tensorflow"] - 1)
    assert apart[1] < 0.03
    assert np.delete(apart, 1).max() < 0.01
    assert apart.min() > 1e-4, "digit for digit would be a wonder"
    words = [sys.executable, str(ROOT / "tutorial"), "tensorflow_2017", f"runs={tmp_path / 'runs'}"]
    page = subprocess.run(words, env=OUTSIDE, cwd=tmp_path, capture_output=True, text=True)
    assert (page.returncode, page.stderr) == (0, ""), page.stdout
    assert "10 of 10 within relative 1e-5 plus absolute 1e-9 of the value without races" in page.stdout
    assert 'make repeat ARGS="experiment=tutorial/tensorflow_2017"' in page.stdout
    assert "3 of 3 hold" in page.stdout
    assert max(map(len, page.stdout.replace(str(tmp_path), "").splitlines())) <= 120
    assert (tmp_path / "runs" / "tutorial.png").read_bytes().startswith(b"\x89PNG")


def start(row: int, lowest: int, kernel: Callable[[int, Sequence[int]], np.ndarray]) -> str:
    first, second = kernel_seeds(row, lowest)
    zeros = [np.zeros(count, "float32") for count in (10, 1)]
    return digest.arrays([kernel(first, (1, 10)), zeros[0], kernel(second, (10, 1)), zeros[1]])


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`study(errors, starts)`: what `seedbed repeat` is made to have given, without training."""

    def given(errors: Sequence[float], starts: Sequence[str]) -> None:
        for row, one in enumerate(starts):
            folder = tmp_path / f"key{row}"
            folder.mkdir()
            (folder / "record.json").write_text(json.dumps({"digests": {"initial_weights": one}}))
        runs = [{"train_loss": repr(float(error)), "key": f"key{row}"} for row, error in enumerate(errors)]
        found = Study({"path": str(tmp_path / "studies" / "x")}, runs)
        monkeypatch.setattr(asking, "repeat", lambda experiment, runs: found)

    return given


@pytest.mark.parametrize("spoilt", [None, "value", "start"])
def test_the_theano_part_holds_what_it_claims_against_the_runs(spoilt: str | None, study: Callable[..., None], tmp_path: Path) -> None:
    errors, starts = tables.published()["theano"], [start(row, 1, mrg31k3p.glorot_uniform) for row in range(1, 11)]
    if spoilt == "value":
        errors[6] *= 1.0001
    if spoilt == "start":
        starts[6] = starts[5]
    study(errors, starts)
    part = tables.theano_2017(tmp_path)
    assert [claim.holds for claim in part.claims] == [spoilt != "start", spoilt != "value"]
    assert ("9 of 10" if spoilt == "value" else "10 of 10") in part.claims[1].words


@pytest.mark.parametrize("spoilt", [None, "value", "start", "far"])
def test_the_tensorflow_part_holds_what_it_claims_against_the_runs(spoilt: str | None, study: Callable[..., None], tmp_path: Path) -> None:
    errors, starts = tables.published()["race_free"], [start(row, 0, tables.tensorflows_own) for row in range(1, 11)]
    if spoilt == "value":
        errors[6] *= 1.0001
    if spoilt == "far":
        errors[6] *= 1.02
    if spoilt == "start":
        starts[6] = starts[5]
    study(errors, starts)
    part = tables.tensorflow_2017(tmp_path)
    assert [claim.holds for claim in part.claims] == [spoilt != "start", spoilt not in ("value", "far"), spoilt != "far"]
    assert "raced" in part.sentence


def test_the_legacy_stack_compares_with_the_same_figures() -> None:
    """docker/legacy stands by itself in its image, so it has a copy."""
    with (ROOT / "docker/legacy/published.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = tables.published()
    for name in ("theano", "tensorflow"):
        assert [float(row[name]) for row in rows] == columns[name]
