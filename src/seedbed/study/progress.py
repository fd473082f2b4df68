"""What people see while a study runs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def shown(name: str, counts: Callable[[], Mapping[str, int]]) -> Iterator[None]:
    """A line on standard error while runs are trained: done, reused, failed, time left. Only where somebody watches."""
    if not sys.stderr.isatty():
        yield
        return
    columns = (TextColumn(name), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        total = sum(counts().values())
        task = bar.add_task("", total=total)
        pace: list[float] = []  # when the first run of this call was done, as far as is known

        def show() -> None:
            now = counts()
            over = now["trained"] + now["failed"]
            if over and not pace:
                pace.extend((time.monotonic(), over))
            left = ""
            if pace and over > pace[1] and now["left"]:
                left = f"  about {_duration((time.monotonic() - pace[0]) / (over - pace[1]) * now['left'])} left"
            words = f"{now['trained']} trained, {now['reused']} reused, {now['failed']} failed, {now['left']} to go{left}"
            bar.update(task, completed=total - now["left"], description=words)

        with _in_thread(show):
            yield


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def _in_thread(show: Callable[[], None], every: float = 0.2) -> Iterator[None]:
    """Call `show` again and again from a thread of its own, and once more at the end."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(every):
            show()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        show()
