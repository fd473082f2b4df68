"""Values for draws of entropy that another execution draws, too, or just doesn't: so that it shows which of them reach a result."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

# Holds the tape that a process is to play, as JSON, from whoever starts it.
VARIABLE = "SEEDBED_TAPE"


@dataclass(frozen=True)
class Tape:
    """Values for draws: a function of (salt, site, how often the site has drawn), every bit turned over at `flipped` sites.

    flipped: sites, or "*" for all. seeds: for a site that seeds from the clock, the seeds that it is to use instead.
    file: where forked processes write their draws (see `entropy.watching`).
    """

    salt: str
    flipped: tuple[str, ...] = ()
    seeds: Mapping[str, Sequence[float | str]] = field(default_factory=dict)
    file: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process play this tape."""
        return {VARIABLE: json.dumps(asdict(self))}

    def made(self, site: str, place: tuple[int, ...], size: int) -> bytes:
        """`size` bytes of SHAKE-256 (FIPS 202). place: what the draw belongs to (a batch's streams, a forked process), and its
        number there."""
        made = hashlib.shake_256(f"{self.salt}\0{site}\0{place}".encode()).digest(size)
        return bytes(255 - byte for byte in made) if {"*", site} & set(self.flipped) else made


def ordered() -> Tape | None:
    """The tape that this process was started with; only once, so that processes of its own don't play it, too."""
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        return None
    fields = json.loads(text)
    return Tape(fields["salt"], tuple(fields["flipped"]), fields["seeds"], fields["file"])
