"""A record that contradicts itself, though its hashes fit, is not believed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from seedbed.run import claims, digest
from seedbed.run.record import FINISHED, key_of

HISTORY = [{"loss": 0.5}, {"loss": 0.25}]
INPUTS = {"determinism": {"level": "strict"}, "seeds": {"master": 1}, "data": "d"}
DIGESTS = {"final_weights": "1" * 64, "history": digest.history(HISTORY), "metrics": digest.metrics({"test_loss": 0.5})}
CONTENT = {"key": key_of(INPUTS), "level": "strict", "seeds": {"master": 1}, "inputs": INPUTS, "status": FINISHED, "metrics": {"test_loss": 0.5},
           "digests": {**DIGESTS, "run": digest.combined(DIGESTS)}}  # fmt: skip


def test_a_record_that_agrees_with_itself() -> None:
    assert claims.contradictions(CONTENT, HISTORY) == []


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "its key is not that of its inputs": lambda content: content["inputs"].update(data="e"),
    "its level is not the one in its inputs": lambda content: content.update(level="portable"),
    "its seeds are not those in its inputs": lambda content: content.update(seeds={"master": 2}),
    "its digests don't belong to one another": lambda content: content["digests"].update(final_weights="2" * 64),
    "its metrics are not those of their digest": lambda content: content["metrics"].update(test_loss=0.25),
    "its history is not the one of its digest": lambda content: content.update(history=[{"loss": 0.5}]),
}


@pytest.mark.parametrize("said", CHANGES)
def test_each_contradiction_is_said(said: str) -> None:
    content = copy.deepcopy(CONTENT)
    CHANGES[said](content)
    assert claims.contradictions(content, content.pop("history", HISTORY)) == [said]
