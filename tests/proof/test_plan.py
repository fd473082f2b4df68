"""Which executions are compared, what is left out of them, and how likely they see a fault that doesn't show each time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedbed import Refused
from seedbed.proof import perturbing, plan
from seedbed.proof.plan import Wanted

Config = Callable[..., Any]


def test_what_is_asked_for_replaces_no_perturbed_execution(config: Config) -> None:
    mine, other = config("training.epochs=4"), config("training.engine=fit")
    found = plan.executions(mine, Wanted({"with training.engine=fit": other}, resume=True))
    assert [one.changes for one in found] == ["nothing", "surroundings", "resume", "config"]
    assert found[1].way.parts
    assert found[2].stopped
    assert found[3].config is other
    more = plan.executions(mine, Wanted(times=4, resume=True, cpus=["Haswell"]))
    assert [one.changes for one in more] == ["nothing", *["surroundings"] * 3, "resume", "cpu"]
    assert len({one.name for one in more}) == len(more)


def test_one_execution_alone_is_asked_for_by_name(config: Config) -> None:
    assert [one.changes for one in plan.executions(config(), Wanted(times=1, resume=True))] == ["nothing", "resume"]
    with pytest.raises(Refused, match="nothing to compare"):
        plan.check(config(), Wanted(times=1))


def test_resume_needs_two_epochs_before_anything_is_trained(config: Config) -> None:
    with pytest.raises(Refused, match="two epochs or more"):
        plan.check(config("training.epochs=1"), Wanted(resume=True))


@pytest.mark.parametrize("count", range(1, 7))
def test_the_chance_to_see_a_fault_with_two_outcomes(count: int) -> None:
    every = list(itertools.product([0, 1], repeat=count))
    assert plan.chance(count) == pytest.approx(sum(len(set(one)) == 2 for one in every) / len(every))
    assert plan.chance(count) == pytest.approx(1 - 2 ** (1 - count))


def test_what_this_machine_can_not_perturb_is_left_out(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturbing, "_locale", lambda: "C")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setattr(perturbing.os, "sched_getaffinity", lambda process: {3})
    mine = config("data=csv", "data.source.path=../table.csv", "data.source.target=a")
    found = perturbing.left_out(mine)
    assert found == {
        "locale": "no locale but C is installed",
        "directory": "the config holds a path that begins with .., which another folder doesn't have",
        "cores": "this process may use one core alone",
    }
    way = plan.executions(mine, Wanted())[1].way
    assert way.parts == frozenset(perturbing.PARTS) - set(found)
    assert "part of the key" in perturbing.left_out(config("determinism=seeded"))["cores"]


def test_a_locale_that_only_has_another_name_is_said(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturbing, "_locale", lambda: "C")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert perturbing.left_out(config())["locale"].startswith("in part: C has another name")
    assert "locale" not in perturbing.impossible(config())


def test_a_large_working_directory_is_not_mirrored(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(perturbing, "MOST_ENTRIES", 3)
    for number in range(4):
        (tmp_path / f"{number}").touch()
    assert "more than 3 entries" in perturbing.left_out(config())["directory"]


def test_a_run_of_a_study_is_one_more_execution(config: Callable[..., Any]) -> None:
    planned = plan.executions(config("data=digits"), plan.Wanted(study=True))
    assert [(one.changes, one.way.after) for one in planned if one.changes != plan.SURROUNDINGS] == [
        (plan.NOTHING, 0),
        (plan.STUDY, plan.PLACE - 1),
    ]
    assert len(planned) == 3  # the perturbed one stays
    plan.check(config("data=digits"), plan.Wanted(times=1, study=True))


def test_each_config_has_to_promise_something(config: Config) -> None:
    plan.check(config(), Wanted({"b": config("training.engine=fit")}))
    with pytest.raises(Refused, match="determinism=off promises nothing"):
        plan.check(config(), Wanted({"b": config("determinism=off")}))
    with pytest.raises(Refused, match="--leave moon"):
        plan.check(config(), Wanted(leave=frozenset({"moon", "clock"})))
