"""The sources of entropy, each with a function in its place that tells `Draws` and hands on; all is put back at the end.

What is replaced, and why there: the functions that everything else goes through, so that no import by name and no compiled
code gets past them. Seen in CPython 3.11 to 3.13, NumPy 2.4, TensorFlow 2.21, Keras 3.15, scikit-learn 1.7; the tests plant a
draw from each.
"""

from __future__ import annotations

import functools
import importlib.machinery
import operator
import os
import random
import sys
import types
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import _mt19937, bit_generator, mtrand

from seedbed.proof import clocks, entropy
from seedbed.proof.libraries import LATER
from seedbed.proof.replaced import Replaced

if TYPE_CHECKING:
    from seedbed.proof.draws import Draws

DEVICES = frozenset({"/dev/urandom", "/dev/random", b"/dev/urandom", b"/dev/random"})

_RANDOM: Any = random  # its global generator, `_inst`, has no public name


@contextmanager
def watched(draws: Draws) -> Iterator[None]:
    """Tell `draws` of every draw."""
    put, late = Replaced(), _Late(draws)
    try:
        for place in (_system, _python, _numpy, clocks.watch):
            place(put, draws)
        for name, later in LATER.items():
            if name in sys.modules:
                later(sys.modules[name], put, draws)
        put.everywhere()
        late.put = put
        sys.meta_path.insert(0, late)
        yield
    finally:
        draws.on = False
        if late in sys.meta_path:
            sys.meta_path.remove(late)
        put.restore()


def _system(put: Replaced, draws: Draws) -> None:
    """The operating system's: SystemRandom, secrets, uuid4 and NumPy come down to os.urandom; uuid1 doesn't."""

    def bytes_from(real: Callable[..., bytes], name: str) -> Callable[..., bytes]:
        def draw(size: int, *flags: Any, **named: Any) -> bytes:
            made = draws.note(name, size=size) if size > 0 else None
            return real(size, *flags, **named) if made is None else made

        return draw

    for name in ("urandom", "getrandom"):
        if hasattr(os, name):
            real = getattr(os, name)
            put.function(real, bytes_from(real, f"os.{name}"), "os")

    real_uuid1 = uuid.uuid1

    def uuid1(*arguments: Any, **named: Any) -> uuid.UUID:
        made = draws.note("uuid.uuid1", size=16)
        with draws.alone():
            return real_uuid1(*arguments, **named) if made is None else uuid.UUID(bytes=made, version=1)

    put.function(real_uuid1, uuid1, "uuid")
    _hook()


@functools.cache
def _hook() -> None:
    """Once for a process, since Python can't take a hook away: it sees devices that are opened, also by compiled code."""

    def opened(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes) and arguments[0] in DEVICES and (draws := entropy.active()):
            draws.note(os.fsdecode(arguments[0]), held=False)

    sys.addaudithook(opened)


def _python(put: Replaced, draws: Draws) -> None:
    """`Random()` and `seed()` without a seed read entropy in compiled code; and the global generator before anybody seeds it."""
    real = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if not draws.on:
            return real(self, a, version)
        if self is _RANDOM._inst and not _by_streams():
            draws.seeded["random"] = True  # or listed right here
        if a is not None:
            return real(self, draws.seed("random.seed", a), version)
        made = draws.note("random.seed", "{} without a seed", 32)
        return real(self, None if made is None else int.from_bytes(made), version)

    functools.update_wrapper(seed, real)
    put.attribute(random.Random, "seed", seed)
    put.pairs.append((random.seed, types.MethodType(seed, _RANDOM._inst)))
    _global(put, draws, random, _RANDOM._inst, "random", lambda number: real(_RANDOM._inst, number))


def _numpy(put: Replaced, draws: Draws) -> None:
    """Whatever NumPy seeds itself asks `randbits`, a name in `bit_generator` that `seeds.global_generators` replaces, too."""

    class Watched(types.ModuleType):
        """The module, with a `randbits` that is what others have put there, and is called by way of `draws`."""

        @property
        def randbits(self) -> Any:
            return self.__dict__["_randbits"]

        @randbits.setter
        def randbits(self, asked: Any) -> None:
            owner = getattr(asked, "__self__", None)
            governed = type(owner) is random.Random

            def randbits(bits: int) -> int:
                made = draws.note("numpy.random", "NumPy generator without a seed", (bits + 7) // 8, governed)
                draws.mark(sys._getframe(1))
                with draws.alone():
                    return asked(bits) if made is None else int.from_bytes(made) >> (8 * len(made) - bits)

            self.__dict__["_randbits"], self.__dict__["randbits"] = asked, randbits
            draws.enter(owner if governed else None)

    module: Any = bit_generator
    asked = module.randbits
    module.__class__ = Watched
    module.randbits = asked

    def undo() -> None:
        asked = module.randbits
        module.__class__ = types.ModuleType
        vars(module)["randbits"] = asked
        del vars(module)["_randbits"]

    put.undone.append(undo)
    array = vars(module)["_coerce_to_uint32_array"]  # gets the seed of every SeedSequence
    put.entry(module, "_coerce_to_uint32_array", lambda seed: array(draws.seed("numpy.random.SeedSequence", seed)))
    # RandomState(seed) begins with a generator without a seed, and seeds that right after by way of `operator.index`
    index = types.SimpleNamespace(**vars(operator))

    def legacy(seed: Any) -> int:
        draws.forget(sys._getframe(1))
        draws.seed("numpy.random.RandomState", seed, held=False)
        return operator.index(seed)

    index.index = legacy
    put.entry(_mt19937, "operator", index)
    _global(put, draws, mtrand, mtrand._rand, "numpy.random", np.random.seed)


def _global(put: Replaced, draws: Draws, module: Any, owner: Any, name: str, seed: Callable[[int], Any]) -> None:
    """The functions of a global generator: a draw from one that nobody has seeded is entropy of the process's start."""

    def watch(real: Callable[..., Any], called: str) -> Callable[..., Any]:
        def draw(*arguments: Any, **named: Any) -> Any:
            if draws.on and not draws.is_seeded(name):
                draws.unseeded(name, f"{name}.{called}", f"{name}.{called}() before anything has seeded it", seed)
            return real(*arguments, **named)

        return draw

    def state(real: Callable[..., Any], called: str) -> Callable[..., Any]:
        def put_in(*arguments: Any, **named: Any) -> Any:
            if not draws.on:
                return real(*arguments, **named)
            if not _by_streams():
                draws.seeded[name] = True
            if called == "seed" and arguments and arguments[0] is not None:
                number = draws.seed("numpy.random.seed", arguments[0])
                with draws.alone():
                    return real(number)
            return real(*arguments, **named)

        return put_in

    for called, real in list(vars(module).items()):
        method = getattr(real, "__self__", None) is owner or (module is mtrand and called in ("seed", "ranf", "sample"))
        if method and called not in ("getstate", "get_state") and (called, name) != ("seed", "random"):
            make = state if called in ("seed", "setstate", "set_state") else watch
            put.function(real, make(real, called), name)


def _by_streams() -> bool:
    """Whether the caller of the function that asks is `seedbed.run.seeds`."""
    frame = sys._getframe(2)
    return frame.f_globals.get("__name__") == "seedbed.run.seeds"


class _Late:
    """Finds the modules of LATER as others find them, and replaces their functions as soon as they are loaded."""

    def __init__(self, draws: Draws) -> None:
        self.draws, self.put = draws, Replaced()

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in LATER or not self.draws.on:
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def watched(module: types.ModuleType) -> None:
                execute(module)
                LATER[name](module, self.put, self.draws)
                self.put.everywhere([module])

            spec.loader.exec_module = watched  # type: ignore[method-assign]
        return spec
