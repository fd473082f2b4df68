"""Who draws from entropy: every source of this process that no stream decides is watched, and says who asked.

`watching()` puts functions of its own in the place of the sources (`sources`) for its duration; each tells a `Draws` and hands
on. Nothing that is drawn is changed, unless a `Tape` is given: then the values are functions of the tape, so that two
processes can be made to draw the same, or different ones from chosen sites.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seedbed.proof.draws import Draw, Draws
from seedbed.proof.tape import Tape, ordered

__all__ = ["Draw", "Draws", "Tape", "active", "reported", "watching"]

_ACTIVE: Draws | None = None  # the one of this process


@contextmanager
def watching(file: Path | None = None, tape: Tape | None = None) -> Iterator[Draws]:
    """Watch this process's sources of entropy; what is drawn is in the `Draws`.

    file: where processes that are forked meanwhile write their draws, a line each, so that these are found, too. tape: the
    values to draw instead of real ones; else the one that whoever started this process ordered.
    """
    global _ACTIVE
    from seedbed.proof import sources

    if _ACTIVE is not None:
        raise RuntimeError("This process's entropy is watched already.")
    if tape is None and (tape := ordered()) is not None and tape.file:
        file = Path(tape.file)
    _ACTIVE = draws = Draws(file, tape)
    try:
        with sources.watched(draws):
            yield draws
    finally:
        draws.on, _ACTIVE = False, None


def reported(draws: Draws) -> list[dict[str, Any]]:
    """What was drawn, and read from the clock, for JSON."""
    return [asdict(draw) for draw in (*draws.found, *draws.reads)]


def active() -> Draws | None:
    """The draws that are being watched in this process."""
    return _ACTIVE


def _forking() -> None:
    if _ACTIVE is not None:
        _ACTIVE.forking()


def _forked() -> None:
    if _ACTIVE is not None:
        _ACTIVE.forked()


os.register_at_fork(before=_forking, after_in_child=_forked)
