"""Programs on another CPU: QEMU's user-mode emulation runs the same Python and TensorFlow with the CPU that it is told.

It computes in software what the instructions say, so a run that chooses its code by the CPU, or uses instructions whose results are
the maker's choice, parts from its native execution. Some 10 to 30 times slower (an import of TensorFlow takes a minute). What it
can't show: AVX-512 (QEMU 10 has none, so of two CPUs at least one is always without), and real silicon's own approximations.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from functools import cache

from seedbed import Refused

QEMU = "qemu-x86_64"
LEAST = 8  # the version: 7.2, Debian 12's own, knows AVX2, and was not tried with TensorFlow; 10 was


def prefix(cpu: str) -> list[str]:
    """What stands before a command, so that it runs on `cpu` ("": on this machine's)."""
    return [QEMU, "-cpu", cpu] if cpu else []


@cache
def obstacle() -> str | None:
    """Why no other CPU can be emulated here; None if it can."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "it needs Linux on x86_64"
    if not shutil.which(QEMU):
        return f"{QEMU} is not installed: `make emulation` (Debian's package qemu-user, on Debian 12 from backports)"
    told = subprocess.run([QEMU, "--version"], capture_output=True, text=True).stdout
    version = re.search(r"version (\d+)", told)
    if version is None or int(version[1]) < LEAST:
        return f"{QEMU} is of version {version[1] if version else 'unknown'}, and {LEAST} or later is needed: `make emulation`"
    return None


@cache
def cpus() -> tuple[str, ...]:
    """The names of the CPUs that QEMU knows."""
    told = subprocess.run([QEMU, "-cpu", "help"], capture_output=True, text=True).stdout
    return tuple(re.findall(r"^\s+([\w.-]+)", told.partition("Recognized")[0], re.MULTILINE))


def check(cpu: str) -> None:
    """Raise Refused if `cpu` can't be emulated here."""
    if why := obstacle():
        raise Refused(f"The CPU {cpu} can't be emulated here: {why}.")
    if cpu not in cpus():
        raise Refused(f"{cpu} is no CPU that {QEMU} knows. Accepted: {', '.join(name for name in cpus() if '-v' not in name)}.")
