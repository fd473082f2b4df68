"""Whose a dotted name in a config is: this repository's own, one of Keras's plain classes, or neither.

Decided from source files, without importing anything: to import is to run. Hydra would call whatever a `_target_` names, and a
record from elsewhere may name anything (`os.system`, `example.data.os.system`).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

# ASCII alone: Python reads other letters as if they were these (PEP 3131).
DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")

# Public modules of Keras whose classes hold numbers and call nothing but what the config says (which is judged, too).
KERAS = ("keras.layers", "keras.optimizers", "keras.optimizers.schedules", "keras.losses", "keras.metrics", "keras.initializers",
         "keras.regularizers", "keras.constraints", "keras.callbacks")  # fmt: skip
ALSO_KERAS = ("keras.Sequential", "keras.models.Sequential")

# Classes in these that do more, with what it is.
MORE = {
    "Lambda": "it calls a function that it is given",
    "TFSMLayer": "it runs a program that it reads from a file",
    "JaxLayer": "it calls a function that it is given",
    "FlaxLayer": "it calls a module that it is given",
    "TorchModuleWrapper": "it calls a module that it is given",
    "LambdaCallback": "it calls functions that it is given",
    "RemoteMonitor": "it sends over the network",
    "OrbaxCheckpoint": "it writes and reads folders of its own",
    "BackupAndRestore": "seedbed does this itself",
    "CallbackList": "it is no callback of its own",
}

DEEPEST = 10  # imports from one module to the next until a definition


@dataclass(frozen=True)
class Definition:
    """Where a name is defined. kind: `class`, `function` or `method`."""

    module: str
    kind: str


def complaint(name: Any, listed: Mapping[str, Any], modules: Sequence[Path]) -> str | None:
    """Why a record may not have `name` called; None if it may.

    listed: the modules in the record's own list of code. modules: the folders in which this repository's modules are.
    """
    if not isinstance(name, str) or not DOTTED.fullmatch(name):
        return "is no dotted name of a function or class"
    name = name.removeprefix("tensorflow.") if name.startswith("tensorflow.keras.") else name
    top = name.partition(".")[0]
    if top == "keras":
        return _of_keras(name)
    if top == "seedbed":
        return "is the machinery's: no run needs it called by name"
    own = [folder for folder in modules if not {"site-packages", "dist-packages"} & set(folder.resolve().parts)]
    found = None if top in sys.stdlib_module_names else definition(name, own)
    if found is None:
        return "is no function or class that this repository defines (in src/ or on PYTHONPATH)"
    if found.module not in listed:
        return f"is in {found.module}, which is not among the modules that the record says it was made with"
    return None


def is_callback(name: Any) -> bool:
    """Whether a name is one of Keras's callbacks."""
    return str(name).removeprefix("tensorflow.").startswith("keras.callbacks.")


def _of_keras(name: str) -> str | None:
    module, _, last = name.rpartition(".")
    if name in ALSO_KERAS:
        return None
    if last in MORE and module in KERAS:
        return f"is not accepted from a record: {MORE[last]}"
    spec = PathFinder.find_spec("keras")
    if module in KERAS and spec is not None and spec.origin:
        found = definition(name, [Path(spec.origin).parents[1]])
        if found is not None and found.kind == "class" and found.module.startswith("keras."):
            return None
    return "is none of Keras's plain classes (layers, optimizers, schedules, losses, metrics, initializers, callbacks …)"


def definition(dotted: str, modules: Sequence[Path], deepest: int = DEEPEST) -> Definition | None:
    """Where `dotted` is defined below the folders `modules`: by a `def` or `class` of a module's own, or of one that it imports
    the name from. None for anything else, such as a module that it has imported."""
    file, module, rest = _module(dotted, modules)
    if file is None or not 1 <= len(rest) <= 2 or not deepest:
        return None
    try:
        body = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError):
        return None
    found: Definition | None = None
    for node in body:  # the last one that binds the name counts
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found = _defined(node, module, rest) if node.name == rest[0] else found
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package=file.name == "__init__.py")
            for alias in node.names:
                if (alias.asname or alias.name) == rest[0]:
                    found = definition(".".join([base, alias.name, *rest[1:]]), modules, deepest - 1)
                elif alias.name == "*":
                    found = definition(".".join([base, *rest]), modules, deepest - 1) or found
        elif rest[0] in _bound(node):
            found = None
    return found


def _defined(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, module: str, rest: Sequence[str]) -> Definition | None:
    kind = "class" if isinstance(node, ast.ClassDef) else "function"
    if len(rest) == 1:
        return Definition(module, kind)
    has_it = kind == "class" and any(isinstance(inner, ast.FunctionDef) and inner.name == rest[1] for inner in node.body)
    return Definition(module, "method") if has_it else None


def _bound(node: ast.stmt) -> set[str]:
    """Names that a statement binds other than by a definition or `from … import`."""
    names = {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    if isinstance(node, ast.Import):
        names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return names


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The module that a `from … import` reads, by its full name."""
    if not node.level:
        return str(node.module)
    package = module.split(".") if is_package else module.split(".")[:-1]
    parents = package[: len(package) - node.level + 1]
    return ".".join([*parents, node.module] if node.module else parents)


def _module(dotted: str, modules: Sequence[Path]) -> tuple[Path | None, str, list[str]]:
    """(source file, name, rest) of the longest part of `dotted` that is a module below `modules`; file None if none is."""
    parts = dotted.split(".")
    search: list[str] | None = [str(folder) for folder in modules]
    found: tuple[Path | None, str, list[str]] = None, "", parts
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), search)
        if spec is None:
            return found
        if spec.has_location and spec.origin and spec.origin.endswith(".py"):
            found = Path(spec.origin), ".".join(parts[:count]), parts[count:]
        search = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
        if search is None:
            return found
    return found
