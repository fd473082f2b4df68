"""Who asked for entropy: from the frames of a draw to the line that a person would name."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import seedbed
from seedbed.run import provenance

# Carry out what somebody else asked for: whoever called them is the caller, and the last of them names the source.
MACHINERY = {
    "random": "SystemRandom, and Random() without a seed",
    "secrets": "thin functions over SystemRandom",
    "uuid": "uuid1, uuid4",
    "tempfile": "random names",
    "pathlib": "opens files",
    "numpy": "its generators are seeded in compiled code; its Python code hands arguments on",
    "seedbed.proof": "the watch itself",
    "keras.src.utils.rng_utils": "set_random_seed hands one seed to Python, NumPy and TensorFlow",
    "tensorflow.python.framework.random_seed": "tf.random.set_seed hands its seed to the eager context",
    "tensorflow.python.eager.context": "keeps the seed that tf.random.set_seed was given",
    "tensorflow.python.ops.stateful_random_ops": "tf.random.Generator, which asks TensorFlow's own entropy",
    "seedbed.quiet": "imports TensorFlow",
}

# Draws that can't reach a result, by the module that asks (or that carries it out).
HARMLESS = {
    "tempfile": "names of temporary files",
    "numpy.random._pickle": "a generator that is unpickled or copied: its state is put in right after it is made",
    "copy": "a generator that is copied: its state is put in right after it is made",
    "multiprocessing": "keys by which processes know one another, names of semaphores",
    "joblib": "names of calls and of shared memory",
    "email": "boundaries of messages",
    "urllib": "nonces of HTTP authentication",
    "mlflow": "names and ids of what is tracked; a view of the run",
    "seedbed.run.record": "the id of a record",
    "seedbed.run.seeds": "the level off, which takes its master seed from the system",
}

# The same for what these packages draw while they are imported; what a run draws later is listed.
WHEN_IMPORTED = {
    "absl": "ids of log messages",
    "keras": "ids of layers' documentation, by way of rich",
    "matplotlib": "names of fonts' caches",
    "rich": "ids of links on a terminal",
    "scipy": "defaults of distributions, for calls without random_state",
    "sklearn": "defaults of arguments that are always given",
    "tensorflow": "ids of graphs and of temporary names",
}

# Names by which people know a source, where the code has another one.
KNOWN_AS = {
    "random.Random.__init__": "random.Random()",
    "keras.src.utils.rng_utils.set_random_seed": "keras.utils.set_random_seed",
    "tensorflow.python.framework.random_seed.set_seed": "tf.random.set_seed",
    "tensorflow.python.ops.stateful_random_ops.Generator.from_non_deterministic_state": "tf.random.Generator.from_non_deterministic_state",
    "tensorflow.python.ops.stateful_random_ops.get_global_generator": "tf.random.get_global_generator",
}

# Modules whose functions are known by their own names.
NAMED = frozenset({"random", "secrets", "uuid"})

# Functions that only call others, in packages that are passed through.
WRAPPING = frozenset({"wrapper", "error_handler", "op_dispatch_handler", "new_func", "wrapped"})

DEEPEST = 6  # frames of a chain

_SEEDBED = str(Path(seedbed.__file__).parent) + os.sep


@dataclass(frozen=True)
class Place:
    """Where a draw was asked for.

    source: what was called. user: the nearest line of the user's own code, "" if there is none. chain: `file:line function`
    from there, or from the outermost of DEEPEST frames, to the caller. owner: the first function that the caller called on the
    way to the source, by its class if it is a method.
    """

    source: str
    file: str
    line: int
    function: str
    package: str
    user: str
    chain: tuple[str, ...]
    owner: str


def place(source: str, through: tuple[str, ...] = ()) -> Place | None:
    """The place of a draw that happens right now in this thread; None for a harmless one.

    source: its name where no function of MACHINERY has a better one. through: packages that are machinery for this source.
    """
    caller: FrameType | None = None
    named, owner, chain, user = source, "", [], ""
    for frame in _outward(sys._getframe(1)):
        module = _module(frame)
        package = module.partition(".")[0]
        if (caller is None and _listed(module, HARMLESS)) or (package in WHEN_IMPORTED and frame.f_code.co_name == "<module>"):
            return None
        if caller is None and package in through:
            owner = _owner(frame) or owner
            continue
        if _listed(module, MACHINERY):
            named = _named(frame, module, named) if caller is None else named
            continue
        if package == "seedbed" and caller is not None:
            break  # whoever called seedbed has no part in it
        caller = caller or frame
        chain.append(_line(frame))
        if is_users(frame):
            user = chain[-1]
            break
    if caller is None:  # a thread or a process that began with the source itself
        return Place(named, "", 0, "", "", "", (), owner)
    package = "" if is_users(caller) else _module(caller).partition(".")[0]
    shown = chain[: DEEPEST - 1] + chain[-1:] if len(chain) > DEEPEST and user else chain[:DEEPEST]
    return Place(
        named, caller.f_code.co_filename, caller.f_lineno, caller.f_code.co_qualname, package, user, tuple(reversed(shown)), owner
    )  # fmt: skip


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    """Frames from `frame` to the outermost that lie in files (importlib's own and generated code don't)."""
    while frame is not None:
        if not frame.f_code.co_filename.startswith("<"):
            yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"


def _listed(module: str, table: dict[str, str]) -> bool:
    return module in table or _below(module, tuple(table))


@functools.cache
def _below(module: str, names: tuple[str, ...]) -> bool:
    return any(module.startswith(f"{name}.") for name in names)


def _named(frame: FrameType, module: str, so_far: str) -> str:
    """The source's name, with one more function on the way to it. so_far: with those that it called."""
    name = f"{module}.{frame.f_code.co_qualname}"
    if name in KNOWN_AS:
        return KNOWN_AS[name]
    if module not in NAMED or frame.f_code.co_name.startswith("_"):
        return so_far
    if module == "random" and so_far.startswith(("os.", "random.SystemRandom")):  # sample, choice and so on are inherited
        return name.replace("random.Random.", "random.SystemRandom.")
    return name


def _owner(frame: FrameType) -> str:
    """The class or function that a frame belongs to, as its user knows it; "" for what only wraps another."""
    code = frame.f_code
    if code.co_name in WRAPPING or code.co_name.startswith("<"):
        return ""
    first: Any = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    if code.co_argcount and code.co_varnames[0] == "self":
        return type(first).__name__
    return code.co_name


@functools.cache
def _own(file: str) -> bool:
    return not file.startswith(_SEEDBED) and provenance._is_first_party(Path(file))


def is_users(frame: FrameType) -> bool:
    """Whether a frame is of the user's own code."""
    return _own(frame.f_code.co_filename)
