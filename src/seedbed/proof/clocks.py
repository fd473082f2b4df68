"""Reads of the clock, and of process ids, by the user's own code.

What such a read is made into can't be followed: `int(time.time()) % 1000` looks like any seed. So the read itself is listed, with
its line, and is named where the outputs differ. `datetime.now()` is compiled code that nothing is put in the place of: the static
audit finds it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from seedbed.proof import callers
from seedbed.proof.replaced import Replaced

if TYPE_CHECKING:
    from seedbed.proof.draws import Draws

# Functions that give another value in each process, by module.
READS = {
    time: ("time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "process_time", "process_time_ns",
           "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns"),
    os: ("getpid", "getppid"),
}  # fmt: skip

SOURCES = frozenset(f"{module.__name__}.{name}" for module, names in READS.items() for name in names)


def watch(put: Replaced, draws: Draws) -> None:
    """Tell `draws` of each read by the user's own code; those of libraries pass."""
    for module, names in READS.items():
        for name in names:
            if hasattr(module, name):
                put.function(getattr(module, name), _telling(getattr(module, name), f"{module.__name__}.{name}", draws), module.__name__)


def _telling(real: Callable[..., Any], name: str, draws: Draws) -> Callable[..., Any]:
    def read(*arguments: Any, **named: Any) -> Any:
        if draws.listening and callers.is_users(sys._getframe(1)):
            draws.read(name)
        return real(*arguments, **named)

    return read
