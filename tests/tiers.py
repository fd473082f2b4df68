"""The rules of the test suite itself: how much work a test of the default tier may be, and what it may leave behind.

The hooks are pytest's; `conftest.py` registers them. (docs/testing.md, in the template)
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet  # what `pytest.param` makes

# Seconds of work for a test of the default tier, and for one whose point needs real processes (marker `processes` or `fresh`).
MOST, MOST_WITH_PROCESSES = 5.0, 10.0

# On a machine with more to do, processes share caches, clocks and disks: the same work was seen to take two and a half times as long.
BUSY = 3.0

# Seconds of processor time that the import of TensorFlow and Keras takes where the limits hold as they stand. Where it takes
# longer, so does all else: a machine may be slow, too.
IMPORT = 3.0
pace = 1.0

# A copy of the template has few tests, and its user writes them as long as he likes.
IN_A_COPY = not (Path(__file__).resolve().parent / "end_to_end").is_dir()

# What makes a test one of another tier.
OTHER_TIERS = ("integration", "slow", "image", "emulation")

# Seconds of processor time of forked commands (see `forked`), which no parent of theirs counts before it ends.
forked_seconds = 0.0


def tier_of(item: pytest.Item) -> str:
    """The tier that a test belongs to: "default", or the marker that puts it into another one."""
    return next((name for name in OTHER_TIERS if item.get_closest_marker(name)), "default")


def limit_of(item: pytest.Item) -> float | None:
    """The seconds of work that a test may be; None if it may take as long as it likes."""
    if tier_of(item) != "default" or IN_A_COPY:
        return None
    processes = any(item.get_closest_marker(name) for name in ("processes", "fresh"))
    busy = os.getloadavg()[0] > 0.9 * (os.cpu_count() or 1)
    return (MOST_WITH_PROCESSES if processes else MOST) * pace * (BUSY if busy else 1.0)


class Work:
    """How much work is done from now on: seconds of processor time or, if more, of waiting for anything but a processor.

    A machine with other work to do makes a test take longer and no more work, so a test's verdict doesn't depend on it.
    """

    def __init__(self) -> None:
        self.began, self.processor, self.queued = time.monotonic(), _processor(), _queued()

    def seconds(self) -> float:
        """The work so far."""
        elapsed, processor = time.monotonic() - self.began, _processor() - self.processor
        return max(min(processor, elapsed), elapsed - (_queued() - self.queued))


def _processor() -> float:
    """Seconds of processor time of this process and of all that it has started, as far as they have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used) + forked_seconds


def _queued() -> float:
    """Seconds in which something on this machine waited for a processor; the clock itself where Linux doesn't say."""
    try:
        words = Path("/proc/pressure/cpu").read_text().split()
    except OSError:
        return time.monotonic()
    return int(next(word for word in words if word.startswith("total=")).removeprefix("total=")) / 1e6


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Find this machine's pace in each process that runs tests, by what every one of them does first."""
    global pace
    if not hasattr(session.config, "workerinput") and session.config.getoption("numprocesses", None):
        return  # the process that hands the tests out
    before = time.process_time()
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    pace = max(1.0, (time.process_time() - before) / IMPORT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that is more work than its tier allows."""
    work = Work()
    found = yield
    took, limit = work.seconds(), limit_of(item)
    item.user_properties.append(("work", took))
    if limit is not None and took > limit and "SEEDBED_ANY_LENGTH" not in os.environ:
        pytest.fail(
            f"This test was {took:.1f} s of work; one of the default tier may be {limit:.0f} s. Make it faster, or "
            "mark it @pytest.mark.integration, or @pytest.mark.processes if its point needs real processes and 10 s will do.",
            pytrace=False,
        )
    return found


class Session:
    """Says the order's seed, and fails a session that leaves files in the working tree, or the environment changed."""

    def __init__(self, tree: Path) -> None:
        self.tree, self.before, self.environment = tree, _files_of(tree), _environment()
        self.left: list[str] = []

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Look once all tests have run."""
        self.left = [f"Left in the working tree by a test: {name}" for name in sorted(_files_of(self.tree) - self.before)]
        if _environment() != self.environment:
            self.left.append(f"A test has changed {sys.prefix}, from which all others import: bin/seedbed, or where seedbed lies.")
        if self.left:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Say what repeats the order, and name the files."""
        terminalreporter.write_line(f"This order again: --randomly-seed={config.getoption('randomly_seed')}")
        for line in self.left:
            terminalreporter.write_line(line, red=True)


def _environment() -> dict[str, bytes]:
    """What decides which seedbed is imported: the script, and the links of editable packages."""
    files = (Path(sys.prefix) / "bin" / "seedbed", *Path(sysconfig.get_path("purelib")).glob("*.pth"))
    return {path.name: path.read_bytes() for path in files if path.is_file()}


def _files_of(tree: Path) -> set[str]:
    """The files that git doesn't know, and the records in runs/, which it ignores; none where there is no git."""
    words = ["git", "-C", str(tree), "ls-files", "--others", "-z", "--exclude-standard"]
    done = subprocess.run(words, capture_output=True, text=True)
    return {name for name in done.stdout.split("\0") if name} | {f"runs/{one.name}" for one in (tree / "runs").glob("*")}


def sampled(cases: Iterable[Any], one_in: int = 3) -> list[Any]:
    """Keep one in so many cases of a test in the default tier, the first among them; the others go into the integration tier."""
    found = []
    for number, case in enumerate(cases):
        param = case if isinstance(case, ParameterSet) else pytest.param(*(case if isinstance(case, tuple) else (case,)))
        marks = [*param.marks, *([pytest.mark.integration] if number % one_in else [])]
        found.append(pytest.param(*param.values, id=param.id, marks=marks))
    return found
