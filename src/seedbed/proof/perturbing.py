"""Surroundings that a result must not depend on: where, when and beside whom a run happens.

Each is changed for an execution that is to have the bits of another one. What belongs to the run key at the level (thread
numbers at `seeded`, libraries' switches) isn't changed: with it the result is another one by right.
"""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import time_machine
from omegaconf import DictConfig, OmegaConf

from seedbed.run import children, process, variables

# What is changed around a run, and how people call it.
PARTS = {
    "listing": "the order of directory listings",
    "clock": "the clock (403 days on)",
    "zone": "the time zone",
    "locale": "the locale",
    "environment": "variables of the environment that the run does not read",
    "directory": "the working directory",
    "temporary": "the temporary folder",
    "cores": "the number of cores",
    "memory": "what lies where in memory",
    "load": "background load",
}

# Variables of the outside, by part. A zone by POSIX rules needs no zone files. The hash seed is none of them: each level sets it.
ELSEWHERE = {
    "zone": {"TZ": "NPT-5:45"},
    "memory": {"SEEDBED_PADDING": "x" * 3001},  # moves the stack; the rest moves by itself (address space randomisation)
}

# Locales, as far as they are installed; `C` is everywhere. Those that sort words as C does are other names and not more.
LOCALES = ("de_DE.utf8", "tr_TR.utf8", "fr_FR.utf8", "C.utf8", "C")
PLAIN_LOCALES = ("c", "posix", "c.utf8")

SHIFT_DAYS = 403  # another year, month, day of the week
MOST_ENTRIES = 2000  # of a working directory that is mirrored; a larger one stays the working directory

# Variables that say who works where; no result may know them, unless the run's own code reads them and so has them in its key.
WHO_AND_WHERE = {
    **dict.fromkeys(("HOST", "HOSTNAME", "USER", "LOGNAME", "USERNAME", "MAIL", "EDITOR", "PAGER", "OLDPWD"), "elsewhere"),
    **dict.fromkeys(("COLUMNS", "LINES", "SHLVL"), "81"),
}
UNRELATED = "UNRELATED_VARIABLE"  # one that no library reads

# Numbers among the variables are changed, too, but for those by which interpreters, libraries and schedulers work.
NUMBER = re.compile(r"\d{1,9}")
AT_WORK = re.compile(
    r"(TF|TF2|XLA|CUDA|NVIDIA|CUBLAS|CUDNN|NCCL|TPU|ONEDNN|DNNL|MKL|OMP|KMP|GOMP|OPENBLAS|BLIS|VECLIB|NUMEXPR|NPY|JAX|JAXLIB|NVPL|TORCH|"
    r"PYTORCH|KERAS|GRPC|ABSL|RAY|SLURM|PMI|OMPI|JOBLIB|LOKY|MPL|PYTHON|PYTEST|PIP|UV|LD|MALLOC|GLIBC|LC|MLFLOW|SEEDBED|HYDRA|GIT|"
    r"SSH|XDG|DBUS|COVERAGE|COV)_.*|(PYTHON|MAKE|MPL)\w*|(.*_)?(PORT|FDS?|PID|SOCK)|_",
    re.IGNORECASE,
)

# A process beside the run that is busy a third of the time: it disturbs who runs when, and takes little away.
BUSY = """
import time
while True:
    end = time.perf_counter() + 0.004
    while time.perf_counter() < end:
        pass
    time.sleep(0.008)
"""


@dataclass(frozen=True)
class Way:
    """The surroundings of one execution: which of PARTS are changed. number: another one changes the orders otherwise. cpu: the CPU
    that is emulated, by QEMU's name; "": this machine's own. after: how many other seeds are trained before in the same process, as
    a study does. read: the variables of the environment that the run reads, which are left as they are."""

    name: str
    parts: frozenset[str] = frozenset()
    number: int = 1
    cpu: str = ""
    after: int = 0
    read: frozenset[str] = frozenset()

    @property
    def inside(self) -> dict[str, Any]:
        """What the process changes in itself: the keyword arguments of `inside`."""
        return {"listing": self.number if "listing" in self.parts else 0, "days": SHIFT_DAYS * self.number if "clock" in self.parts else 0}

    @contextmanager
    def outside(self, folder: Path, config: DictConfig) -> Iterator[dict[str, Any]]:
        """What `subprocess.Popen` is to be given besides (cwd, env: variables to add, preexec_fn); load beside it, meanwhile.

        folder: for the temporary folder and the mirrored working directory.
        """
        changed = {name: value for part in sorted(self.parts & set(ELSEWHERE)) for name, value in ELSEWHERE[part].items()}
        given: dict[str, Any] = {"env": changed}
        if "environment" in self.parts:
            changed |= other_variables(self.read, config.backend.name)
        if "locale" in self.parts:
            changed["LC_ALL"] = _locale()
        if "temporary" in self.parts:
            changed["TMPDIR"] = str(folder / f"temporary {self.number}")
            Path(changed["TMPDIR"]).mkdir(exist_ok=True)
        unable = impossible(config)
        if "directory" in self.parts and "directory" not in unable:
            given["cwd"] = _mirror(folder / f"elsewhere {self.number}")
        if "cores" in self.parts and "cores" not in unable:
            core = sorted(os.sched_getaffinity(0))[self.number % len(os.sched_getaffinity(0))]
            given["preexec_fn"] = functools.partial(os.sched_setaffinity, 0, {core})
        with ExitStack() as stack:
            for _ in range(2 if "load" in self.parts else 0):
                busy = children.start([sys.executable, "-S", "-c", BUSY], foreign=True)
                stack.callback(children.kill_group, busy)
            yield given


AS_IT_IS = Way("as it is")


def perturbed(number: int = 1, leave: frozenset[str] = frozenset()) -> Way:
    """The way number 1, 2, …: all is changed but what is to be left."""
    return Way("perturbed" if number == 1 else f"perturbed {number}", frozenset(PARTS) - leave, number)


def impossible(config: DictConfig) -> dict[str, str]:
    """Return the parts of PARTS that can't be changed on this machine or for this config, each with the reason."""
    found: dict[str, str] = {}
    if _plain(_locale()) == _plain(_locale_here()):
        found["locale"] = f"no locale but {_locale_here()} is installed"
    if _leads_upwards(OmegaConf.to_container(config, resolve=True)):
        found["directory"] = "the config holds a path that begins with .., which another folder doesn't have"
    elif len(os.listdir()) > MOST_ENTRIES:  # noqa: PTH208 (its number alone)
        found["directory"] = f"the working directory holds more than {MOST_ENTRIES} entries"
    if not config.determinism.threads.intra_op:
        found["cores"] = "determinism.threads.intra_op is not set, so the number of cores is part of the key"
    elif not hasattr(os, "sched_setaffinity"):
        found["cores"] = "this system gives a process no cores of its own"
    elif len(os.sched_getaffinity(0)) < 2:
        found["cores"] = "this process may use one core alone"
    return found


def left_out(config: DictConfig) -> dict[str, str]:
    """Return what `impossible` does, and what can be changed in part alone."""
    found = impossible(config)
    if "locale" not in found and _plain(_locale()) in PLAIN_LOCALES and _plain(_locale_here()) in PLAIN_LOCALES:
        found["locale"] = f"in part: {_locale()} has another name, but writes numbers and sorts words as {_locale_here()} does"
    return found


def other_variables(read: Collection[str], backend: str) -> dict[str, str]:
    """Return variables of the environment with other values than here.

    Args:
        read: those that the run's own code reads, which are in its key: they stay. `*`: it reads all of them.
        backend: whose variables are in the key, too.
    """
    if variables.WHOLE in read:
        return {}
    kept = {*read, *process.deciding(backend)}
    found = dict(WHO_AND_WHERE)
    for name, value in os.environ.items():
        if name not in found and NUMBER.fullmatch(value) and not AT_WORK.fullmatch(name):
            found[name] = str(int(value) + 1)
    return {name: value for name, value in {**found, UNRELATED: "1"}.items() if name not in kept}


def inside(stack: ExitStack, listing: int = 0, days: int = 0) -> None:
    """Change this process's view of the world until `stack` ends: the order of directory listings, and the clock."""
    if listing:
        for name in ("listdir", "scandir"):  # os.walk, glob and pathlib call these
            stack.callback(setattr, os, name, getattr(os, name))
            setattr(os, name, functools.partial(_reordered, getattr(os, name), listing))
    if days:
        stack.enter_context(time_machine.travel(time.time() + days * 86_400, tick=True))


class _Entries:
    """What `os.scandir` returns: an iterator that can be closed."""

    def __init__(self, entries: Sequence[Any]) -> None:
        self.rest = iter(entries)

    def __iter__(self) -> Iterator[Any]:
        return self.rest

    def __next__(self) -> Any:
        return next(self.rest)

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.rest = iter(())


def _reordered(listing: Callable[..., Any], number: int, *arguments: Any, **named: Any) -> Any:
    """A listing in another order, the same each time: file systems promise none."""
    found = listing(*arguments, **named)
    entries = sorted(found, key=lambda entry: os.fsencode(str(getattr(entry, "name", entry))))
    random.Random(number).shuffle(entries)
    return entries if isinstance(found, list) else _Entries(entries)


def _locale_here() -> str:
    return os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or "C"


@functools.cache
def _locale() -> str:
    """A locale that is installed and isn't the one in force."""
    there: list[str] = []
    with suppress(OSError, subprocess.SubprocessError):
        there = subprocess.run(["locale", "-a"], capture_output=True, text=True, timeout=10).stdout.split()
    plain = {_plain(name) for name in there}
    return next((name for name in LOCALES if _plain(name) in plain and _plain(name) != _plain(_locale_here())), "C")


def _plain(locale: str) -> str:
    return locale.lower().replace("-", "")


def _mirror(folder: Path) -> Path:
    """A working directory with the contents of this one: links, so that relative paths lead to the same files."""
    here = Path.cwd()
    entries = list(here.iterdir())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for entry in entries:
        (folder / entry.name).symlink_to(entry)
    return folder


def _leads_upwards(node: Any) -> bool:
    """Whether a value of a config may be a path that a mirrored working directory doesn't have."""
    if isinstance(node, dict | list):
        return any(_leads_upwards(item) for item in (node.values() if isinstance(node, dict) else node))
    return isinstance(node, str) and node.startswith("..")
