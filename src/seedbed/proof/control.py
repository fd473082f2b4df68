"""Control executions: does a change make the difference, or does the run differ by itself?

A cause is named only if executions in which nothing is changed agree with the first one, and the change alone makes the difference
again. What that leaves to chance is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from omegaconf import DictConfig

from seedbed.proof.perturbing import AS_IT_IS, PARTS, Way

CONTROLS = 2  # executions with nothing changed, where nobody asks for more


@dataclass(frozen=True)
class Control:
    """executions: how many had nothing changed. differing: how many of these had other bits than the first one. repeated: whether
    the change made the difference again. surrounding: the one of `perturbing.PARTS` that is enough by itself, if one is."""

    executions: int
    differing: int
    repeated: bool = False
    surrounding: str | None = None

    @property
    def confirms(self) -> bool:
        """Whether the change may be named as the cause."""
        return not self.differing and self.repeated

    @property
    def odds(self) -> int:
        """Return the number k for which a run that differs by itself in every second execution looks like this once in k times."""
        return int(2 ** (self.executions + 1))

    @property
    def said(self) -> str:
        some = f"{self.executions} execution{'s' if self.executions != 1 else ''} with nothing changed"
        if self.differing:
            return f"the run differs by itself: of {some} {self.differing} had other bits, so no change is named as the cause"
        if not self.repeated:
            return f"{some} had the same bits, but the change did not make the difference again: no change is named as the cause"
        return (
            f"{some} had the same bits, and the change made the difference again (a run that differs by itself in every second "
            f"execution looks like this once in {self.odds} times; --times N makes N of them)"
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "confirms": self.confirms}


@dataclass(frozen=True)
class Change:
    """What one execution had that the first one had not: another config, other surroundings, a stop after so many epochs."""

    config: DictConfig
    way: Way = AS_IT_IS
    stop: int | None = None


Differs = Callable[[Change, str], bool]


def controlled(nothing: Change, change: Change, differs: Differs, said: Callable[[str], None], times: int = CONTROLS) -> Control:
    """Find out whether `change` makes the difference.

    Args:
        nothing: the first execution.
        change: the one that had other bits.
        differs: trains once, under a name, and says whether the bits are others than the first one's.
        said: gets a line for people before each execution.
        times: executions with nothing changed.

    Returns:
        What came of it; among surroundings, with the one that is enough.
    """
    for number in range(1, times + 1):
        said(f"Control {number}: nothing changed. Does it differ by itself?")
        if differs(nothing, f"control {number}"):
            return Control(number, 1)
    parts = [part for part in PARTS if part in change.way.parts and part not in nothing.way.parts]
    if not parts:
        said("The change again: does it make the difference each time?")
        return Control(times, 0, differs(change, "the change again"))

    def alone(some: list[str]) -> bool:
        said(f"Changing nothing but {', '.join(PARTS[part] for part in some)}.")
        way = replace(change.way, name=", ".join(some), parts=frozenset(some), cpu="", after=0)
        return differs(Change(change.config, way, change.stop), " ".join(some))

    rest = parts
    while len(rest) > 1:  # the half that makes a difference, until one part is left
        half = rest[: (len(rest) + 1) // 2]
        rest = half if alone(half) else rest[len(half) :]
    if not alone(rest):
        said("No surrounding does it alone. All of them again.")
        return Control(times, 0, differs(change, "all again"))
    said("A last control: nothing changed.")
    if differs(nothing, "last control"):
        return Control(times + 1, 1)
    return Control(times + 1, 0, True, rest[0])
