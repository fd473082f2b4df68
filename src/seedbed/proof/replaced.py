"""Functions of other modules replaced for a while, wherever they have been imported to."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any


class Replaced:
    """Functions put in the place of others, wherever those have been imported to by name."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Any, Any]] = []
        self.undone: list[Callable[[], None]] = []

    def function(self, real: Any, mine: Callable[..., Any], module: str) -> None:
        """`mine` for `real`, with its name and signature; `module` is where it can be found (for pickle)."""
        functools.update_wrapper(mine, real)
        mine.__module__, mine.__qualname__ = module, mine.__name__
        self.pairs.append((real, mine))

    def attribute(self, owner: Any, name: str, mine: Any) -> None:
        self.undone.append(functools.partial(setattr, owner, name, getattr(owner, name)))
        setattr(owner, name, mine)

    def entry(self, module: types.ModuleType, name: str, mine: Any) -> None:
        """A name that a module's compiled code looks up."""
        names = vars(module)
        self.undone.append(functools.partial(names.__setitem__, name, names[name]))
        names[name] = mine

    def everywhere(self, modules: Sequence[Any] | None = None) -> None:
        _exchange({id(real): mine for real, mine in self.pairs}, modules)

    def restore(self) -> None:
        _exchange({id(mine): real for real, mine in self.pairs}, None)
        for undo in reversed(self.undone):
            undo()


def _exchange(new: dict[int, Any], modules: Sequence[Any] | None) -> None:
    for module in list(sys.modules.values()) if modules is None else modules:
        if isinstance(module, types.ModuleType):
            try:  # not vars: that would load a module that is to be loaded later
                names = object.__getattribute__(module, "__dict__")
            except AttributeError:  # cffi puts libraries among the modules that have no names to be replaced
                continue
            for name, value in list(names.items()):
                if id(value) in new:
                    names[name] = new[id(value)]
