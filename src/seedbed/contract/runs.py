"""The short runs of the phases `resume` and `repeat`: what is trained, and how two of them differ."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seedbed.command_line import command
from seedbed.contract import BROKEN, HOLDS, SKIPPED, Finding
from seedbed.run.record import Record

# A stop comes after the first.
EPOCHS = 3

# What a run's digests are of, in the order in which a run comes by them.
OUTPUTS = {
    "initial_weights": "the initial weights", "history": "the history", "final_weights": "the final weights",
    "generators": "the generators' state", "optimizer": "the optimizer's state", "predictions": "the predictions",
    "metrics": "the metrics",
}  # fmt: skip


def shortened(config: DictConfig, steps: int) -> DictConfig:
    """`config` for EPOCHS of `steps` batches, with no checkpoint but that of a stop."""
    short = copy.deepcopy(config)
    short.training.epochs, short.training.steps_per_epoch = EPOCHS, steps
    if short.training.engine == "loop":
        short.training.engine = "auto"  # the loop trains whole epochs
    short.checkpoint.every_seconds, short.checkpoint.every_epochs = 1e9, None
    short.force = False
    return short


def resumed(straight: Record, stopped: Record, other: Record, changed: Sequence[str], log: Path) -> Finding:
    """A run that was stopped and gone on with, against one that wasn't.

    stopped: its record before it was gone on with. changed: what no checkpoint holds (`keeping.stopped`). log: of the process
    that went on.
    """
    if strange := _unlike(stopped, other):
        return Finding(
            "resume", BROKEN, f"A fresh process doesn't find the run that was stopped, since it is another run there: {strange}."
        )
    place = apart(straight, other)
    if place is None:
        if other.content.get("resumed"):
            return Finding("resume", HOLDS)
        why = other.content.get("not_resumable") or next((line for line in _lines(log) if "from the beginning" in line), "")
        return Finding("resume", SKIPPED, f"A stopped run of this begins anew, with the same bits: {why}".rstrip(": "))
    suspects = (
        ", ".join(changed[:5])
        or "nothing that shows in the objects, closures and modules of the run (a library's own state, another process, a file?)"
    )
    return Finding(
        "resume", BROKEN,
        f"A run that was stopped after its first epoch goes on otherwise than one that wasn't: {place}. What training changes and no "
        f"checkpoint holds: {suspects}. Keep it in a weight (add_weight, trainable=False), in an attribute of the callback that changes "
        "it, or make it a function of the epoch.",
    )  # fmt: skip


def repeated(straight: Record, other: Record, words: Sequence[str]) -> Finding:
    """Two runs from the same seeds, in fresh processes."""
    place = _unlike(straight, other) or apart(straight, other)
    if place is None:
        return Finding("repeat", HOLDS)
    return Finding(
        "repeat", BROKEN,
        f"Two runs of this, in fresh processes with the same seeds, part: {place}. Something differs from process to process (the "
        "system's entropy, the process's number, the time, an order that nobody has fixed); within one process it is the same. What and "
        f"where: {command('diagnose', words)}",
    )  # fmt: skip


def apart(one: Record, other: Record) -> str | None:
    """What is the first that differs, in words; None if the digests are equal."""
    for name, what in OUTPUTS.items():
        if one.digests.get(name) == other.digests.get(name):
            continue
        return (_history_apart(one.history(), other.history()) if name == "history" else None) or f"{what} differ first"
    return None


def _unlike(one: Record, other: Record) -> str | None:
    """Which of the key's inputs differ, where they do."""
    names = [name for name in one.inputs if one.inputs[name] != other.inputs.get(name)]
    return f"what goes into it differs ({', '.join(names)})" if names else None


def _history_apart(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> str | None:
    for epoch, pair in enumerate(zip(one, other, strict=False), start=1):
        for name in pair[0]:
            if pair[0][name] != pair[1].get(name):
                return f"the history first, in epoch {epoch}, where {name} is {pair[0][name]!r} and {pair[1].get(name)!r}"
    return f"{len(one)} and {len(other)} epochs"


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines() if log.exists() else []
