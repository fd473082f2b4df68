"""Environment variables that the user's code reads: they decide results, so key and record name them.

Two halves. What the source of the user's modules asks for by name (`os.environ["UNITS"]`) is known before anything runs, and
belongs to the key (`named`). All else that his code reads while data and model are made and trained (a name put together, a
helper that reads for it, the whole environment) is watched and written into the record (`late`); a record is used again, or
gone on with, only where all of these have the values that it read, and else another one is made, whose key names them
(`settled`). What a library reads on its own account is left alone. A record from elsewhere names no variable for others: its
list is compared, and what differs is named only where this process has seen the user's code ask for it.

Values are kept as numbers and truth values are; of any other one, and of one whose name says that it is a secret, a stamp
(scrypt) is kept, as of `${oc.env:…}` in a config.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from seedbed import Refused
from seedbed.run import origin, plain_files, provenance, record, redaction
from seedbed.run.environment_reads import asked_for
from seedbed.run.record_schema import LARGEST

# The name that stands for all variables at once, where code goes through the environment.
WHOLE = "*"

# How many records from elsewhere stand at the keys that come before this one, and have read variables of other values.
BESIDE = "beside_foreign"

# Variables that differ from call to call and shell to shell, or that seedbed and the levels set: not counted among all variables.
NOT_COUNTED = re.compile(
    r"_|SHLVL|PWD|OLDPWD|LINES|COLUMNS|TERM.*|SSH_.*|WINDOWID|TMUX.*|STY|XDG_.*|DBUS_.*|LS_COLORS|PYTEST_.*|SEEDBED_.*|HYDRA_.*|"
    r"MLFLOW_.*|TF_CONFIG|TF2_BEHAVIOR|TF_CPP_.*|TPU_.*|KMP_.*|PYTHONHASHSEED|MAKE.*|MFLAGS"
)

# Modules that read what they are handed: it is whoever called them that reads.
CARRIERS = frozenset({
    "os", "_collections_abc", "collections", "posixpath", "ntpath", "genericpath", "string", "re", "copy", "functools",
    "configparser", "contextlib", "omegaconf", "antlr4",
})  # fmt: skip
# (and seedbed.run.config, which has OmegaConf's `${oc.env:…}` read there)
OWN, CARRIER, LIBRARY, OURS = "own", "carrier", "library", "ours"

PLAIN = re.compile(r"|[-+]?\d{1,12}(\.\d{0,12})?([eE][-+]?\d{1,3})?|true|false|yes|no|on|off|none", re.IGNORECASE)

# What the run in progress has read, and what modules read when they were imported, by module. The environment is one for the
# whole process, and so is what watches it.
_read: dict[str, str | None] | None = None
_written: dict[str, tuple[str | None, str | None]] = {}  # by runs of this process: what was there before, and what they wrote
_at_import: dict[str, dict[str, str | None]] = {}


class _Watched(os._Environ):  # type: ignore[type-arg]
    """`os.environ`, which says what is read of it."""

    def __getitem__(self, key: Any) -> Any:
        _note(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[Any]:
        _note(WHOLE)
        return super().__iter__()

    def __len__(self) -> int:
        _note(WHOLE)
        return super().__len__()

    def __setitem__(self, key: Any, value: Any) -> None:
        before = _raw(self, key)
        super().__setitem__(key, value)
        _wrote(key, before, value)

    def __delitem__(self, key: Any) -> None:
        before = _raw(self, key)
        super().__delitem__(key)
        _wrote(key, before, None)


def _raw(environ: Any, key: Any) -> Any:
    """A variable as the system has it, read without being noted."""
    return environ._data.get(environ.encodekey(key))


def install() -> None:
    """Watch `os.environ` and `os.environb` from here on; harmless to repeat. The objects stay the same, whoever holds them."""
    for one in (os.environ, getattr(os, "environb", None)):
        if type(one) is os._Environ:
            one.__class__ = _Watched


@contextmanager
def watched(read: dict[str, str | None]) -> Iterator[None]:
    """Note in `read` what the user's code reads meanwhile: names and values, None for a variable that isn't set."""
    global _read
    install()
    before, _read = _read, read
    try:
        yield
    finally:
        _read = before


def taken() -> dict[str, str | None]:
    """Return what has been read so far in this process: for a forked one, to be handed to the one that it was forked from."""
    return dict(_read or {})


def add(read: Mapping[str, str | None]) -> None:
    """Count what another process of the same run has read."""
    if _read is not None:
        for name, value in read.items():
            _read.setdefault(name, value)


def named(modules: Iterable[str]) -> dict[str, str | None]:
    """Return what the user's own modules ask for by name, wherever it stands in their source, with the values to be kept."""
    found: set[str] = set()
    for module in modules:
        if module.partition(".")[0] != "seedbed":
            for name, path in provenance.modules(module):
                if name == module and path.suffix == ".py" and provenance.is_first_party(path):
                    found |= asked_for(path.read_bytes())
    return {name: shown(name, present(name)) for name in sorted(found)}


def late(inputs: Mapping[str, Any]) -> dict[str, str | None]:
    """Return what the run in progress has read beyond what its key names, with the values to be kept.

    Args:
        inputs: Those of the run's key.
    """
    read = dict(_read or {})
    for module in inputs["code"]:
        for name, value in _at_import.get(module, {}).items():
            read.setdefault(name, value)
    if WHOLE in read:
        return {WHOLE: shown(WHOLE, None)}
    of_level = inputs["determinism"]["environment"]
    known = {*of_level, *inputs["environment"]["variables"], *inputs["environment"].get("read", {})}
    return {name: shown(name, read[name]) for name in sorted(read) if name not in known and not name.startswith("SEEDBED_")}


@contextmanager
def settled(runs: Path, inputs: dict[str, Any], waiting: Callable[[str], None]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Hold the key of `inputs`; or, where its record has read variables that have other values now, the one that names these.

    Yields the key and its inputs.

    Args:
        waiting: Gets the key, if another process holds it.
    """
    while True:
        key = record.key_of(inputs)
        with record.locked(runs, key, functools.partial(waiting, key)):
            now = _other(runs / key, inputs)
            if now is None:
                yield key, inputs
                return
        around = inputs["environment"]
        read = around.get("read", {})
        more = {"read": dict(sorted({**read, **now}.items()))} if now.items() - read.items() else {BESIDE: around.get(BESIDE, 0) + 1}
        inputs = {**inputs, "environment": {**around, **more}}


def _other(path: Path, inputs: Mapping[str, Any]) -> dict[str, str | None] | None:
    """What a key beside that of the record in `path` has to name, because the record has read variables of other values; else None.

    That is the present values of what it has read. One from elsewhere could have any variable named that it lists, and the next
    record, and MLflow, would hold the value or its stamp: of these only what the user's own code has asked for by now.
    """
    try:
        found = json.loads(plain_files.read(path / "record.json", LARGEST, optional=True) or b"{}")
        read = found.get("read") or {}
        # what was fetched may have been changed on the server, and the mark doesn't cover what was read
        own = "fetched" not in found and origin.doubt(found, path) is None
        now = {str(name): shown(str(name), present(str(name)), secret=own) for name in read}
        if now == read:
            return None
        if own:
            return now
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, Refused):
        return None  # who reads the record says what is wrong with it
    asked = {*(_read or {}), *(name for module in inputs["code"] for name in _at_import.get(module, {}))} - {WHOLE}
    return {name: value for name, value in now.items() if name in asked}


def present(name: str) -> str | None:
    """Return a variable's value as this process got it; what a run of it has set itself is no input."""
    value = os.environ.get(name)
    before, written = _written.get(name, (value, value))
    return before if written == value else value


def shown(name: str, value: str | None, secret: bool = True) -> str | None:
    """Return what is kept of a variable's value. secret: whether one that is not shown is one in messages, too."""
    if name == WHOLE:
        rest = {key: present(key) for key in sorted(os.environ.keys() | _written.keys()) if not NOT_COUNTED.fullmatch(key)}
        rest = {key: text for key, text in rest.items() if text is not None}
        return _stamp(record.canonical(rest))
    if value is None or (PLAIN.fullmatch(value) and not redaction.SECRET_NAMES.search(name)):
        return value
    if secret:
        redaction.know(value, f"${{{name}}}")
    path = os.path.expanduser(value)  # noqa: PTH111 (any text)
    if os.sep in value and os.path.isfile(path):  # noqa: PTH113
        return f"file {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
    return _stamp(value)


@functools.lru_cache(maxsize=256)
def _stamp(value: str) -> str:
    return "stamp " + hashlib.scrypt(value.encode(errors="surrogateescape"), salt=b"seedbed", n=2**14, r=8, p=1, dklen=16).hex()


# --- what is read while code runs ----------------------------------------------------------------------------------------


def _note(key: Any) -> None:
    """Count a read of the user's code. It is his if the nearest frame that isn't a carrier's is one of his modules', or if the
    name of the variable stands in the function of his that has called the library which reads it."""
    name = key.decode(errors="surrogateescape") if isinstance(key, bytes) else key
    if not isinstance(name, str):
        return
    frame: FrameType | None = sys._getframe(2)
    own, nearest = None, True
    while frame is not None and own is None:
        kind = _kind(str(frame.f_globals.get("__name__", "")), frame.f_globals.get("__file__"))
        if kind == OURS:
            return
        if kind == LIBRARY or (nearest and frame.f_code.co_name == "expanduser"):
            nearest = False
        elif kind == OWN:
            own = frame
        frame = frame.f_back
    if own is None or not (nearest or name in own.f_code.co_consts):
        return
    text = present(name)
    for value in {text, os.environ.get(name)} - {None}:  # the latter: as a run has set it itself
        redaction.know_variable(name, str(value))
    if _read is not None:
        _read.setdefault(name, text)
    if (module := _importing(own)) is not None:
        _at_import.setdefault(module, {}).setdefault(name, text)


def _importing(frame: FrameType | None) -> str | None:
    """The user's module whose import this frame is a part of."""
    while frame is not None:
        behind = frame.f_back
        if frame.f_code.co_name == "<module>" and behind is not None and behind.f_globals.get("__name__") == "importlib._bootstrap":
            return str(frame.f_globals.get("__name__"))
        frame = behind
    return None


def _wrote(key: Any, before: Any, value: Any) -> None:
    if _read is not None:
        name, old, new = (os.fsdecode(one) if isinstance(one, str | bytes) else None for one in (key, before, value))
        _written[str(name)] = (_written.get(str(name), (old, None))[0], new)


@functools.cache
def _kind(module: str, file: Any) -> str:
    top = module.partition(".")[0]
    if top in CARRIERS or module == "seedbed.run.config" or module.startswith("tensorflow.python.autograph."):
        return CARRIER
    if top == "seedbed":
        return OURS
    if not isinstance(file, str):
        return OWN if module == "__main__" and not file else LIBRARY
    if provenance.is_first_party(Path(file)):
        return OWN
    return OWN if provenance.is_outside_the_lock(module, Path(file)) else LIBRARY
