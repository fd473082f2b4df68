"""Every study has the digests of its runs alone, wherever a program keeps something; or says by name what it did instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import data_config
from run.leftovers import FIRST, PROGRAMS, Program

pytestmark = pytest.mark.integration

# State that nothing looks for: a variable in a module of Python's own.
UNSEEN = Program(
    "\nimport colorsys\n\ndef model(spec):\n    colorsys.calls = getattr(colorsys, 'calls', 1) + 1\n    return small(spec, colorsys.calls)\n",
    "",
)

# What each run reads and writes again, outside of its record.
COUNTER = Program(
    "\nfrom pathlib import Path\n\ndef model(spec):\n    file = Path(PLACE) / 'count'\n    units = int(file.read_text()) if file.exists() else 1\n"
    "    file.write_text(str(units + 1))\n    return small(spec, units)\n",
    "",
)


def words_of(program: Program, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The words that train a program, which is written into `folder`, and the environment."""
    place, helpers = folder / "mine", folder / "helpers"
    place.mkdir(parents=True)
    helpers.mkdir()
    (place / "leaving.py").write_text(f"PLACE = {str(folder)!r}\n{FIRST}{program.source}")
    (helpers / "helping.py").write_text(program.helper)
    words = [*data_config(place, "leaving.data"), "~model", "+model={_target_: leaving.model}", "training.epochs=2"]
    if "class Each" in program.source:
        words.append("+training.callbacks.own={_target_: leaving.Each}")
    return [*words, *program.words], {"PYTHONPATH": f"{place}:{helpers}"}


def records(runs: Path) -> dict[int, dict[str, Any]]:
    """The records of a study, by master seed."""
    found = [json.loads(file.read_text()) for file in runs.glob("[0-9a-f]*/record.json")]
    return {record["seeds"]["master"]: record for record in found}


# One that is seen in the model, one in the process; all of them are `make test-slow`.
FIRST_ONES = ("average of the weights on the model",)


@pytest.mark.parametrize("name", [name if name in FIRST_ONES else pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS])
def test_a_study_has_the_digests_of_its_runs_alone(seedbed: Callable[..., Any], tmp_path: Path, name: str) -> None:
    words, env = words_of(PROGRAMS[name], tmp_path)
    study = seedbed("repeat", *words, "study.n=3", "study.check=0", "--json", env=env, runs=tmp_path / "study")
    assert study.status == 0, study.err
    for seed in (2, 3):
        alone = seedbed("train", *words, f"seeds.master={seed}", "--json", env=env, runs=tmp_path / f"alone {seed}", start=True)
        assert alone.json["digests"]["run"] == study.json["digests"][str(seed)], (seed, study.json)
    assert PROGRAMS[name].says in json.dumps(records(tmp_path / "study")[2]["not_shared"])


@pytest.mark.slow
def test_what_can_not_be_seen_is_measured(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    """The check differs; all runs that shared a process are trained again, and the study says so first."""
    words, env = words_of(UNSEEN, tmp_path)
    study = seedbed("repeat", *words, "study.n=2", env=env, runs=tmp_path / "study")
    assert study.status == 0, study.err
    assert study.out.startswith("Seed 2, trained a second time in a fresh process, had other bits"), study.out
    assert "diagnose --study" in study.out.replace('ARGS="', "")
    second = records(tmp_path / "study")[2]
    assert "had other bits" in second["not_shared"]["process"]
    folder = next((tmp_path / "study" / "studies").iterdir())
    verdict = json.loads((folder / "check.json").read_text())
    assert (verdict["agrees"], verdict["repeats"], verdict["alone"]) == (False, True, second["digests"])
    assert "had other bits" in (folder / "summary.md").read_text()
    assert not list(folder.glob(".check*"))


def test_a_file_that_each_run_rewrites_is_named(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    """No process of its own helps against it, so the study says what it is."""
    words, env = words_of(COUNTER, tmp_path)
    study = seedbed("repeat", *words, "study.n=2", "study.check=0", "--json", env=env, runs=tmp_path / "study")
    assert study.json["files"] == [str(tmp_path / "count")]
    assert str(tmp_path / "count") in records(tmp_path / "study")[2]["not_shared"]["files"]
