"""Which variables of the environment a module's source asks for. Code is read and never imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def asked_for(source: bytes) -> set[str]:
    """Return the variables that a module reads by a name that stands in its source."""
    return {name for _, name in reads(ast.parse(source)) if name is not None}


def reads(tree: ast.AST) -> Iterator[tuple[ast.AST, str | None]]:
    """Yield each place that reads the environment, with the variable's name; None where the source doesn't say it."""
    nodes = list(ast.walk(tree))
    modules = {alias.asname or "os" for node in nodes if isinstance(node, ast.Import) for alias in node.names if alias.name == "os"}
    from_os = [alias for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "os" for alias in node.names]
    bound = {alias.asname or alias.name: alias.name for alias in from_os}
    constants = {target.id: node.value.value for node in getattr(tree, "body", []) if isinstance(node, ast.Assign)
                 and isinstance(node.value, ast.Constant) for target in node.targets if isinstance(target, ast.Name)}  # fmt: skip

    def of_os(node: ast.AST) -> str | None:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            return node.attr
        return bound.get(node.id) if isinstance(node, ast.Name) else None

    def text(node: ast.AST | None) -> str | None:
        value = node.value if isinstance(node, ast.Constant) else constants.get(node.id) if isinstance(node, ast.Name) else None
        return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value if isinstance(value, str) else None

    def is_environment(node: ast.AST) -> bool:
        return of_os(node) in ("environ", "environb")

    inside: set[int] = set()  # places of the environment that a narrower rule has spoken of
    for node in nodes:
        if isinstance(node, ast.Subscript) and is_environment(node.value):
            inside.add(id(node.value))
            if isinstance(node.ctx, ast.Load):
                yield node, text(node.slice)
        elif isinstance(node, ast.Call) and of_os(node.func) in ("getenv", "getenvb"):
            given = node.args[0] if node.args else next((word.value for word in node.keywords if word.arg == "key"), None)
            yield node, text(given)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_environment(node.func.value):
            inside.add(id(node.func.value))
            if node.func.attr in ("get", "pop", "setdefault", "__getitem__", "__contains__"):
                yield node, text(node.args[0] if node.args else None)
            elif node.func.attr not in ("update", "clear", "__setitem__", "__delitem__"):
                yield node, None
        elif isinstance(node, ast.Compare) and is_environment(node.comparators[-1]) and isinstance(node.ops[-1], ast.In | ast.NotIn):
            inside.add(id(node.comparators[-1]))
            yield node, text(node.left)
    yield from ((node, None) for node in nodes if is_environment(node) and id(node) not in inside and not _is_target(node))


def _is_target(node: ast.AST) -> bool:
    return not isinstance(getattr(node, "ctx", None), ast.Load)
