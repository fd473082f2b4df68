"""A change is named as the cause only where controls confirm it; executions are played here by functions that say what differs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from omegaconf import DictConfig

from seedbed.proof.control import Change, Control, controlled
from seedbed.proof.perturbing import PARTS, perturbed

CONFIG, OTHER = DictConfig({"a": 1}), DictConfig({"a": 2})
NOTHING = Change(CONFIG)


def silent(line: str) -> None:
    pass


@pytest.mark.parametrize("part", PARTS)
def test_the_surrounding_that_is_enough_is_found(part: str) -> None:
    found = controlled(NOTHING, Change(CONFIG, perturbed()), lambda change, name: part in change.way.parts, silent)
    assert found.confirms
    assert found.surrounding == part
    assert found.odds == 16


def test_no_surrounding_is_named_where_two_are_needed_together() -> None:
    needed = {"clock", "load"}
    found = controlled(NOTHING, Change(CONFIG, perturbed()), lambda change, name: needed <= change.way.parts, silent)
    assert found.confirms
    assert found.surrounding is None


@pytest.mark.parametrize("change", [Change(CONFIG, perturbed()), Change(OTHER), Change(CONFIG, stop=1)])
def test_what_differs_by_itself_is_blamed_on_nothing(change: Change) -> None:
    found = controlled(NOTHING, change, lambda change, name: True, silent)
    assert (found.executions, found.differing, found.confirms, found.surrounding) == (1, 1, False, None)
    assert "differs by itself: of 1 execution with nothing changed 1 had other bits" in found.said


def test_a_change_that_makes_the_difference_each_time_is_named() -> None:
    found = controlled(NOTHING, Change(OTHER), lambda change, name: change.config is OTHER, silent)
    assert found == Control(2, 0, True)
    assert "once in 8 times" in found.said


def test_a_change_that_does_not_make_the_difference_again_is_not_named() -> None:
    for change in (Change(OTHER), Change(CONFIG, perturbed())):
        found = controlled(NOTHING, change, lambda change, name: False, silent)
        assert not found.confirms
        assert "did not make the difference again" in found.said


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("change", [Change(CONFIG, perturbed()), Change(OTHER)])
def test_a_coin_is_blamed_on_a_change_as_rarely_as_is_said(times: int, change: Change) -> None:
    coin, trials = random.Random(times), 4000
    every = [controlled(NOTHING, change, lambda change, name: coin.random() < 0.5, silent, times) for _ in range(trials)]
    blamed = [found for found in every if found.surrounding or (found.confirms and not change.way.parts)]
    assert len({found.odds for found in blamed}) == 1
    assert len(blamed) / trials == pytest.approx(1 / blamed[0].odds, rel=0.35)


def test_of_several_changes_each_surrounding_is_tried_without_the_others() -> None:
    seen: list[Change] = []

    def differs(change: Change, name: str) -> bool:
        seen.append(change)
        return bool(change.way.cpu)

    both = replace(perturbed(), cpu="Haswell", after=2)
    found = controlled(NOTHING, Change(CONFIG, both, stop=3), differs, silent)
    alone = [change for change in seen if change.way.parts and change.way.parts != both.parts]
    assert alone
    assert {(change.way.cpu, change.way.after, change.stop) for change in alone} == {("", 0, 3)}
    assert (found.confirms, found.surrounding) == (True, None)
