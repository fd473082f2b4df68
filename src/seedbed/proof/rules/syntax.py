"""Small questions to ask of a piece of Python's syntax tree, for which no other piece is needed."""

from __future__ import annotations

import ast

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

# Other doors to the same room, longest first.
ALIASES = (
    ("tensorflow.random.experimental", "tensorflow.random"),
    ("tensorflow.compat.v1", "tensorflow"),
    ("tensorflow.compat.v2", "tensorflow"),
    ("numpy.random.mtrand", "numpy.random"),
    ("keras.src", "keras"),
    ("tf_keras", "keras"),
    ("tensorflow.keras", "keras"),
)


def arguments(function: Function) -> list[ast.arg]:
    """A function's parameters, in order."""
    given = function.args
    extra = [one for one in (given.vararg, given.kwarg) if one is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *extra]


def defaults(given: ast.arguments) -> list[tuple[ast.arg, ast.expr]]:
    """The parameters that have a default, each with it."""
    pairs = [*zip(reversed([*given.posonlyargs, *given.args]), reversed(given.defaults), strict=False),
             *zip(given.kwonlyargs, given.kw_defaults, strict=True)]  # fmt: skip
    return [(one, value) for one, value in pairs if value is not None]


def argument(call: ast.Call, place: int | None, *names: str) -> ast.expr | None:
    """What a call gives for a parameter, by its position or by one of its names; None if nothing."""
    by_name = next((word.value for word in call.keywords if word.arg in names), None)
    return by_name if by_name is not None or place is None or place >= len(call.args) else call.args[place]


def is_open(call: ast.Call) -> bool:
    """Whether `*…` or `**…` may give what isn't written."""
    return any(isinstance(one, ast.Starred) for one in call.args) or any(word.arg is None for word in call.keywords)


def is_none(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def is_false(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value in (False, 0) and node.value is not None


def last(node: ast.AST) -> str:
    """The last word of a name: `shuffle` for `a.b.shuffle`; "" for what has none."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def blocks(node: ast.AST) -> list[list[ast.AST]]:
    """The lists of statements that a statement holds."""
    return [block for name in ("body", "orelse", "finalbody", "handlers") if isinstance(block := getattr(node, name, None), list)]


def start(node: ast.AST) -> tuple[int, int]:
    return (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))


def end(node: ast.AST) -> tuple[int, int]:
    return (getattr(node, "end_lineno", 0), getattr(node, "end_col_offset", 0))


def plain(dotted: str) -> str:
    """A dotted name without the detours that a library offers to it."""
    for alias, name in ALIASES:
        if dotted == alias or dotted.startswith(alias + "."):
            return plain(name + dotted[len(alias) :])
    return dotted
