"""Plant the faults of `faults.py` one at a time, and see that the tests named there catch each.

`make mutation-test`, with ARGS="-k holm" for some of them. For each of the processes that work, the project is copied once
to a temporary folder. TensorFlow and the other libraries are imported beforehand; each fault gets a fork, which imports
seedbed from the copy. The unmodified copies have to pass all the tests first.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import conftest
import forked
import pytest
import worktree
from faults import FAULTS, Fault
from rich.console import Console
from rich.table import Table

TIMEOUT = 600  # seconds for the tests of one fault, or of one file without any, on a busy machine

# What seedbed and its tests import, so that a fork needn't.
LIBRARIES = ("tensorflow", "keras", "scipy.stats", "sklearn.datasets", "statsmodels.stats.multitest", "pandas", "matplotlib.figure",
             "hydra", "hydra.core.utils", "omegaconf", "hypothesis.strategies", "mlflow", "time_machine", "ml_dtypes")  # fmt: skip

# Tests of the other tiers don't count, and the order is the one of the table.
OPTIONS = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--randomly-dont-reorganize", "--no-header", "--tb=short",
           "-m", "not integration and not slow and not image and not emulation")  # fmt: skip

PASSED, FAILED = 0, 1  # pytest's exit statuses
ELSEWHERE, NO_END = 90, 91  # ours: seedbed was not imported from the copy; the tests did not end


@dataclass
class Outcome:
    """What came of a fault: the tests that failed, and pytest's exit status."""

    name: str
    status: int
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    output: str = ""
    fits: bool = True

    @property
    def caught(self) -> bool:
        return self.fits and self.status == FAILED and bool(self.failed)

    @property
    def said(self) -> str:
        if not self.fits:
            return "the edit no longer fits: its text must stand in the file exactly once"
        if self.caught:
            return f"caught by {self.failed[0]}"
        return "SURVIVED" if self.status == PASSED else f"NO ANSWER (status {self.status}): {last_words(self.output)}"


class Seen:
    """A pytest plugin that remembers which tests failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def main() -> int:
    """Return 0 if every fault that was asked for is caught, 1 if not, 2 if that can't be told."""
    parser = argparse.ArgumentParser("make mutation-test", description="Plant small faults, and see that the tests catch each.")
    parser.add_argument("-k", metavar="WORDS", default="", help="only faults whose name, file or description has all of these words")
    parser.add_argument("--jobs", type=int, default=min(2, len(os.sched_getaffinity(0))), help="processes (as many as cores, 2 at most)")
    options = parser.parse_args()
    words = options.k.lower().split()
    wanted = [fault for fault in FAULTS if all(word in f"{fault.name} {fault.file} {fault.about}".lower() for word in words)]
    if not wanted:
        print(f"No fault has the words {options.k!r}. There are: {', '.join(fault.name for fault in FAULTS)}.", file=sys.stderr)
        return 2
    begun = time.monotonic()
    os.environ.update({**conftest.STRICT, **conftest.QUIET, "SEEDBED_ANY_LENGTH": "1"})  # a fault is caught by what a test says
    for name in LIBRARIES:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="seedbed-mutations-") as folder:
        outcomes = planted(wanted, Path(folder), options.jobs)
    if outcomes is None:
        return 2
    return told(wanted, outcomes, time.monotonic() - begun)


def planted(wanted: Sequence[Fault], folder: Path, jobs: int) -> dict[str, Outcome] | None:
    """What came of each fault, by its name; None, and why on standard error, if the tests fail without any."""
    tests: dict[str, list[str]] = {}  # by file
    for test in sorted({test for fault in wanted for test in fault.tests}):
        tests.setdefault(test.partition("::")[0], []).append(test)
    with multiprocessing.get_context("fork").Pool(jobs, copied, (folder,)) as pool:
        for outcome in pool.imap_unordered(unmodified, tests.values()):
            if outcome.status != PASSED:
                print(f"{outcome.output}\nWithout any fault these tests must pass: {outcome.said}.", file=sys.stderr)
                return None
        found = {}
        for outcome in pool.imap_unordered(with_fault, wanted):
            found[outcome.name] = outcome
            print(f"{len(found):3} of {len(wanted)}  {outcome.seconds:5.1f} s  {outcome.name}: {outcome.said}", file=sys.stderr, flush=True)
        return found


def told(wanted: Sequence[Fault], outcomes: dict[str, Outcome], seconds: float) -> int:
    """Print the table; returns the exit status."""
    table = Table("fault", "file", "what it does", "outcome", box=None, padding=(0, 2, 0, 0))
    for fault in wanted:
        table.add_row(fault.name, fault.file, fault.about, outcomes[fault.name].said)
    Console(width=None if sys.stdout.isatty() else 250, markup=False, highlight=False).print(table)
    bad = [fault.name for fault in wanted if not outcomes[fault.name].caught]
    missing = f" Not caught: {', '.join(bad)}." if bad else ""
    print(f"{len(wanted) - len(bad)} of {len(wanted)} faults caught in {seconds:.0f} s.{missing}")
    return 1 if bad else 0


# --- in the processes that work --------------------------------------------------------------------------------------

HERE = Path()  # the copy of this process


def copied(folder: Path) -> None:
    """Make this process's copy of the project, with one commit, and a place for what its tests write."""
    global HERE
    place = Path(tempfile.mkdtemp(dir=folder))
    HERE = worktree.copied(place / "project")
    (place / "tmp").mkdir()
    os.environ["TMPDIR"] = str(place / "tmp")
    tempfile.tempdir = None


def unmodified(tests: list[str]) -> Outcome:
    return tried("no fault", tests)


def with_fault(fault: Fault) -> Outcome:
    """Apply the fault to the copy, run its tests, and take it back."""
    file = HERE / fault.file
    original = file.read_bytes()
    text = original.decode()
    if text.count(fault.old) != 1:
        return Outcome(fault.name, PASSED, fits=False)
    try:
        file.write_text(text.replace(fault.old, fault.new))
        forget(file)
        return tried(fault.name, fault.tests)
    finally:
        file.write_bytes(original)
        forget(file)


def forget(file: Path) -> None:
    """Remove a module's bytecode: it counts by time in seconds and by size, and a fault may leave both."""
    Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)


def tried(name: str, tests: Sequence[str]) -> Outcome:
    """Run pytest for these tests in a fork."""
    begun = time.monotonic()
    result, output = (Path(tempfile.mkstemp(suffix=suffix)[1]) for suffix in (".json", ".txt"))
    child = os.fork()
    if child == 0:
        in_child(tests, result, output)
    status = ended(child)
    failed = json.loads(result.read_text()) if status in (PASSED, FAILED) else []
    return Outcome(name, status, failed, time.monotonic() - begun, output.read_text(errors="replace"))


def in_child(tests: Sequence[str], result: Path, output: Path) -> None:
    """Be the process that runs the tests of the copy; does not return."""
    status = ELSEWHERE
    try:
        os.setpgid(0, 0)
        handle = os.open(output, os.O_WRONLY)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.chdir(HERE)
        places = [str(HERE / "src"), str(HERE / "tests")]
        own = (conftest.ROOT / "src", conftest.ROOT / "tests")
        sys.path[:] = [*places, *(path for path in sys.path if not Path(path).is_relative_to(own[0]) and Path(path) != own[1])]
        os.environ["PYTHONPATH"] = os.pathsep.join(places)
        for name, module in list(sys.modules.items()):  # of the tests' modules those of the copy are imported
            if Path(str(getattr(module, "__file__", "/"))).is_relative_to(own[1]) and name != "__main__":
                del sys.modules[name]
        seen = Seen()
        found = pytest.main([*OPTIONS, *tests], plugins=[seen])
        result.write_text(json.dumps(seen.failed))
        import seedbed

        if Path(str(seedbed.__file__)).is_relative_to(HERE):
            status = int(found)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(child: int) -> int:
    """A child's exit status; NO_END if it took too long. What it has started is ended with it."""
    status = forked.waited_for(child, TIMEOUT)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    return NO_END if status is None else status


def last_words(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was printed"


if __name__ == "__main__":
    sys.exit(main())
