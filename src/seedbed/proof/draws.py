"""What was drawn, by whom and how often; and what is to be drawn instead, where a tape plays."""

from __future__ import annotations

import json
import linecache
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from seedbed.proof import callers
from seedbed.proof.tape import Tape

AROUND = 60.0  # seconds before the watch began in which a seed can have been read from the clock
SMALLEST_PID = 100  # a smaller seed that equals the process's id is a coincidence: the processes of a container count from 1
MOST_SEEDS = 50  # of one site, that are kept with it


@dataclass(frozen=True)
class Draw:
    """Entropy that somebody asked for, at one place and in one phase.

    source: what was called; what: the same for people. phase: data, model, training or evaluation. file, line, function,
    package: the caller ("" is the package of the user's own file); user: the nearest line of the user's own, `file:line
    function`; code: the caller's line. governed: whether a stream decides what was drawn. count: how often (in a forked
    process at least half of that). chain: `file:line function` from the user's line to the caller. site: what a Tape knows it
    by; held: whether a Tape can decide its value. seeds: the first ones, where they come from the clock or are process ids.
    forked: whether a process that was forked off drew it.
    """

    source: str
    what: str
    phase: str
    file: str
    line: int
    function: str
    package: str
    governed: bool
    count: int = 1
    chain: tuple[str, ...] = ()
    user: str = ""
    code: str = ""
    site: str = ""
    held: bool = True
    seeds: tuple[float | str, ...] = ()
    forked: bool = False


class Draws:
    """What has been drawn so far. phase: set by whoever knows what goes on."""

    def __init__(self, file: Path | None = None, tape: Tape | None = None) -> None:
        self.phase = "data"
        self.file, self.tape, self.on = file, tape, True
        self.streams = False  # whether `seeds.global_generators` is in force
        self.seeded = {"random": False, "numpy.random": False}  # by hand, outside of that
        self._met: dict[tuple[Any, ...], Draw] = {}
        self._reads: dict[tuple[Any, ...], Draw] = {}
        self._counts: dict[tuple[Any, ...], int] = {}
        self._started: set[str] = set()
        self._lock, self._thread = threading.RLock(), threading.local()
        self._family: tuple[int, ...] = ()  # of a forked process: the number of its fork, and of its parent's
        self._forks, self._entered, self._within = 0, os.getpid(), 0
        self._begun = time.time(), time.monotonic()

    @property
    def found(self) -> list[Draw]:
        """All draws, in the order of the first of each; those of forked processes last, if a file was named."""
        with self._lock:
            met = dict(self._met)
        with suppress(OSError):
            for line in self.file.read_text().splitlines() if self.file is not None and not self._family else ():
                _add(met, _read(line))
        return [replace(draw, code=linecache.getline(draw.file, draw.line).strip()) for draw in met.values()]

    @property
    def reads(self) -> list[Draw]:
        """What the user's own code has read of the clock, and of process ids."""
        with self._lock:
            return [replace(draw, code=linecache.getline(draw.file, draw.line).strip()) for draw in self._reads.values()]

    @property
    def listening(self) -> bool:
        """Whether this thread's draws are somebody else's (and not part of one that was seen already)."""
        return self.on and not getattr(self._thread, "alone", False)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """What this thread draws meanwhile belongs to a draw that was seen."""
        before, self._thread.alone = getattr(self._thread, "alone", False), True
        try:
            yield
        finally:
            self._thread.alone = before

    def note(
        self, source: str, what: str = "", size: int = 0, governed: bool = False, through: tuple[str, ...] = (), group: str = "",
        held: bool = True,
    ) -> bytes | None:  # fmt: skip
        """List a draw from `source`; returns `size` bytes to use instead of real ones if a tape plays, else None.

        what: for people; `{}` stands for the function's name. through: packages that only carry out what others ask for. group:
        the site, where many places draw from one state.
        """
        if not self.listening:
            return None
        self._thread.last = None
        with self.alone():
            place = callers.place(source, through)
            if place is None:
                return None
            site = group or f"{place.source} {place.file}:{place.line} {place.user}"
            self._add(place, place.source, what.format(place.owner or place.source) or place.source, governed, site, held)
            return None if self.tape is None or governed or not size else self._played(site, size)

    def read(self, source: str) -> None:
        """List that the user's own code has read the clock, or the like, right now: what he makes of it may decide something."""
        with self.alone():
            place = callers.place(source)
            if place is None:
                return
            site = f"{source} {place.file}:{place.line} {place.user}"
            draw = Draw(source, source, self.phase, place.file, place.line, place.function, place.package, False, 1, place.chain,
                        place.user, "", site, False)  # fmt: skip
            with self._lock:
                _add(self._reads, draw)

    def seed(self, function: str, value: Any, held: bool = True) -> Any:
        """The seed to use for `value`, which `function` was given; listed if it is the clock's or the process's id."""
        if not self.listening or isinstance(value, bool) or not (hasattr(value, "__index__") or isinstance(value, float | str)):
            return value
        with self.alone(), suppress(TypeError, ValueError, OverflowError):
            number = float(value) if isinstance(value, str) else value
            source = self._clock(number)
            place = callers.place(function) if source else None
            if place is None or source is None:
                return value
            site = f"{place.source} {place.file}:{place.line} {place.user}"
            what = f"{place.source.removesuffix('()')}({value}), {'the process id' if value == os.getpid() else 'from the clock'}"
            read = value if isinstance(value, str) else number if isinstance(number, float) else int(number)
            self._add(place, source, what, False, site, held, (read,))
            if self.tape is not None and held and (kept := self.tape.seeds.get(site)):
                return type(value)(kept[(self._number(site) - 1) % len(kept)])
        return value

    def mark(self, frame: FrameType) -> None:
        """Remember that the last draw of this thread was made by the line that `frame` is at, for `forget`."""
        self._thread.marked = (id(frame), frame.f_lasti, getattr(self._thread, "last", None))

    def forget(self, frame: FrameType) -> None:
        """Take a draw that was marked off the list, if the same line has made it: what it drew was replaced at once."""
        marked = getattr(self._thread, "marked", None)
        if not self.listening or marked is None or marked[:2] != (id(frame), frame.f_lasti):
            return
        self._thread.marked = None
        with self._lock:
            draw = self._met.pop(marked[2], None)
            if draw is not None and draw.count > 1:
                self._met[marked[2]] = replace(draw, count=draw.count - 1)

    def is_seeded(self, generator: str) -> bool:
        """Whether something has decided the state of the global generator `random` or `numpy.random`.

        A forked process has NumPy's as it was; Python seeds its own anew there, from the system's entropy.
        """
        return self.seeded[generator] or (self.streams and (generator != "random" or self._entered == os.getpid()))

    def enter(self, asked: random.Random | None) -> None:
        """`seeds.global_generators` has come in force (asked: its generator behind unseeded ones), or has ended."""
        self.streams, self._entered = asked is not None, os.getpid()
        self._within = hash(asked.getstate()[1]) if asked is not None and self.tape is not None else 0

    def unseeded(self, generator: str, source: str, what: str, seed: Callable[[int], Any], through: tuple[str, ...] = ()) -> None:
        """List a draw from a global generator that nobody has seeded, by way of `source`; a tape then seeds it, once in a process."""
        self.note(source, what, through=through, group=generator)
        if self.tape is not None and generator not in self._started:
            self._started.add(generator)
            with self.alone():
                seed(int.from_bytes(self._played(generator, 4)))

    def forking(self) -> None:
        self._forks += 1

    def forked(self) -> None:
        """In the child: draws go to the file, Python's global generator has been seeded from the system's entropy."""
        self._lock = threading.RLock()  # another thread may have held it
        self._family, self._forks = (*self._family, self._forks), 0
        self._met.clear()
        self._counts.clear()
        self.seeded["random"] = False
        self._started.discard("random")

    def _played(self, site: str, size: int) -> bytes:
        """What the tape has for a site. A batch of a PyDataset has streams of its own, and what is played to it goes by them:
        which of the workers makes it isn't decided."""
        assert self.tape is not None
        place = (self._within,) if self.streams and self._entered == os.getpid() else self._family
        return self.tape.made(site, (*place, self._number(site, place)), size)

    def _number(self, *place: Any) -> int:
        with self._lock:
            self._counts[place] = self._counts.get(place, 0) + 1
            return self._counts[place]

    def _add(
        self, place: callers.Place, source: str, what: str, governed: bool, site: str, held: bool, seeds: tuple[float | str, ...] = ()
    ) -> None:  # fmt: skip
        draw = Draw(source, what, self.phase, place.file, place.line, place.function, place.package, governed, 1, place.chain, place.user,
                    "", site, held, seeds, bool(self._family))  # fmt: skip
        with self._lock:
            count = _add(self._met, draw)
        self._thread.last = _key(draw)
        if self._family and self.file is not None and count & (count - 1) == 0:  # each doubling: what it has drawn since the last one
            with self.file.open("a") as file:  # one write to its end, so that processes don't get into each other's lines
                file.write(json.dumps(asdict(replace(draw, count=max(count // 2, 1)))) + "\n")

    def _clock(self, value: float) -> str | None:
        """Whether a seed is a reading of the clock (in seconds, or 1e3, 1e6, 1e9 parts of them) or this process's id."""
        wall, since = self._begun
        if value == os.getpid() and value >= SMALLEST_PID:
            return "process id as seed"
        if any(wall - AROUND <= value / parts <= time.time() + 1 for parts in (1, 1e3, 1e6, 1e9)):
            return "clock-derived seed"
        # since the machine was started: only in forms that no one would choose as a seed
        forms = (1.0,) if isinstance(value, float) and value != int(value) else (1e9,) if value > 2**33 else ()
        return "clock-derived seed" if any(since - AROUND <= value / parts <= time.monotonic() + 1 for parts in forms) else None


def _key(draw: Draw) -> tuple[Any, ...]:
    return draw.source, draw.site, draw.file, draw.line, draw.user, draw.phase, draw.governed, draw.forked


def _add(met: dict[tuple[Any, ...], Draw], draw: Draw) -> int:
    """Add a draw to those that were met; returns how often it was."""
    known = met.get(_key(draw))
    if known is not None:
        draw = replace(known, count=known.count + draw.count, seeds=(*known.seeds, *draw.seeds)[:MOST_SEEDS])
    met[_key(draw)] = draw
    return draw.count


def _read(line: str) -> Draw:
    fields: Any = json.loads(line, object_hook=lambda found: {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})
    return Draw(**fields)
