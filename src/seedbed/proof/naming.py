"""Where a dotted name of a config is defined, and what it may be called with: read from source files alone.

Nothing is imported: to import is to run. Hydra would call what a `_target_` names, whatever it is and through whatever
modules it is reached (`example.data.os.system`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

# ASCII alone: Python reads other letters as if they were these (PEP 3131).
DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")

DEEPEST = 10  # imports from one module to the next until a definition, and bases of a class

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Definition:
    """Where a name is defined.

    Attributes:
        module: the module whose own file holds the definition.
        kind: `class`, `function`, or `method` for what a class can be asked for without an instance.
        node: the definition in that file's syntax tree.
    """

    module: str
    kind: str
    node: Function | ast.ClassDef


@dataclass(frozen=True)
class Parameters:
    """What a function or class may be called with by name.

    Attributes:
        annotations: by parameter, its annotation, if it has one.
        others: whether it takes others, too, of which nothing is known.
    """

    annotations: dict[str, ast.expr | None]
    others: bool


def definition(dotted: str, modules: Sequence[Path], deepest: int = DEEPEST) -> Definition | None:
    """Where `dotted` is defined below the folders `modules`: by a `def` or `class` of a module's own, or of one that it imports
    the name from. None for anything else, such as a module that it has imported."""
    file, module, rest = _module(dotted, modules)
    if file is None or not 1 <= len(rest) <= 2 or not deepest:
        return None
    body = _parsed(file)
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
        return Definition(module, kind, node)
    named = [inner for inner in node.body if isinstance(inner, Function) and inner.name == rest[1]]
    return Definition(module, "method", named[-1]) if kind == "class" and named and _needs_no_instance(named[-1]) else None


def _needs_no_instance(node: Function) -> bool:
    return any(isinstance(name, ast.Name) and name.id in ("classmethod", "staticmethod") for name in node.decorator_list)


def parameters(found: Definition, modules: Sequence[Path], deepest: int = DEEPEST) -> Parameters:
    """Return what `found` may be called with: its own parameters, and where it hands others on, those of its bases."""
    if isinstance(found.node, Function):
        skipped = found.kind == "method" and not any(
            isinstance(name, ast.Name) and name.id == "staticmethod" for name in found.node.decorator_list
        )
        return _of_function(found.node, int(skipped))
    made = [inner for inner in found.node.body if isinstance(inner, Function) and inner.name in ("__init__", "__new__")]
    if made:
        own = _of_function(made[-1], 1)
    else:
        fields = _fields(found.node)
        own = Parameters(fields or {}, fields is None)
    if not own.others:
        return own
    names, others = dict(own.annotations), not found.node.bases and bool(made)
    for base in found.node.bases:
        above = _base(base, found, modules) if deepest else None
        if above is None:
            others = others or not (isinstance(base, ast.Name) and base.id == "object")
            continue
        more = parameters(above, modules, deepest - 1)
        names, others = {**more.annotations, **names}, others or more.others
    return Parameters(names, others)


def _of_function(node: Function, skipped: int) -> Parameters:
    """skipped: how many of the first parameters the caller doesn't give (`self`)."""
    plain = [*node.args.posonlyargs, *node.args.args][skipped:]
    named = [one for one in (*plain, *node.args.kwonlyargs) if one not in node.args.posonlyargs]
    return Parameters({one.arg: one.annotation for one in named}, node.args.kwarg is not None)


def _fields(node: ast.ClassDef) -> dict[str, ast.expr | None] | None:
    """The fields of a dataclass; None for any other class."""
    names = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
    if not any(getattr(one, "id", getattr(one, "attr", None)) == "dataclass" for one in names):
        return None
    return {one.target.id: one.annotation for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}


def _base(node: ast.expr, found: Definition, modules: Sequence[Path]) -> Definition | None:
    """The definition of a class's base, by the name that it has in the class's module."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    file, module, rest = _module(found.module, modules)
    if not isinstance(node, ast.Name) or file is None or rest:
        return None
    for bound, dotted in _names(_parsed(file), module, file.name == "__init__.py"):
        if bound == node.id:
            return definition(".".join([dotted, *parts]), modules)
    return None


def _names(body: Sequence[ast.stmt], module: str, is_package: bool) -> Iterator[tuple[str, str]]:
    """Names that a module binds to classes and modules, each with what it stands for."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield node.name, f"{module}.{node.name}"
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            yield from ((alias.asname or alias.name, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name.partition(".")[0], alias.name if alias.asname else alias.name.partition(".")[0])
                        for alias in node.names)  # fmt: skip


def _parsed(file: Path) -> list[ast.stmt]:
    found = file.stat()
    return _tree(file, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1000)
def _tree(file: Path, changed: int, size: int) -> list[ast.stmt]:
    """The statements of a file; changed, size: so that another content is read again."""
    try:
        return ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError, RecursionError):
        return []


# What annotations say of plain values; any other annotation admits any value.
PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "None": (type(None),), "list": (list,), "dict": (dict,),
    "Sequence": (list,), "Mapping": (dict,), "tuple": (list,), "Path": (str,),
}  # fmt: skip


def admits(annotation: ast.expr | None, value: Any) -> bool:
    """Whether a plain value may be given for a parameter with this annotation; True where that cannot be told."""
    kinds = _kinds(annotation)
    if kinds is None or isinstance(value, dict):  # a mapping may be a target, and its value is not known before it is called
        return True
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _kinds(node: ast.expr | None) -> tuple[type, ...] | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _kinds(node.left), _kinds(node.right)
        return None if left is None or right is None else (*left, *right)
    if isinstance(node, ast.Subscript):
        return _kinds(node.value)
    if isinstance(node, ast.Constant) and node.value is None:
        return (type(None),)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return _kinds(ast.parse(node.value, mode="eval").body)
        except SyntaxError:
            return None
    name = getattr(node, "id", getattr(node, "attr", None))
    return PLAIN.get(name) if name else None


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
