"""What any model can be asked in a test, phase by phase; `seedbed.testing` is the test class, this is the process that measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# In the order in which a model comes by them: the first that is broken explains those after it.
PHASES = ("initialisation", "forward", "loss", "gradient", "update", "resume", "save and load", "repeat")

# The master seed at the level `off`, where a run would draw one: a test asks the same thing each time.
ENTROPY = 1

HOLDS, BROKEN, SKIPPED = "holds", "broken", "skipped"


class Broken(Exception):
    """What is wrong, where, the usual cause and the mend; one or two sentences."""


class Skipped(Exception):
    """Why a phase can't be asked of this model."""


@dataclass(frozen=True)
class Limits:
    """How much is asked of a model; `seedbed.testing.ModelContract` documents each."""

    batches: int = 4
    overfit_steps: int = 20
    exempt: Sequence[str] = ()
    random_in_inference: bool = False
    rows_independent: bool = True


@dataclass(frozen=True)
class Finding:
    """How one phase ended. status: HOLDS, BROKEN or SKIPPED; details: a traceback, for who mends it."""

    phase: str
    status: str
    message: str = ""
    details: str = ""
