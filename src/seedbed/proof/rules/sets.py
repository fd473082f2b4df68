"""What is a set, as far as a module tells: by what made it, by the name or the attribute it is bound to, by an annotation."""

from __future__ import annotations

import ast

from seedbed.proof.rules.names import Binding, Source
from seedbed.proof.rules.syntax import FUNCTIONS
from seedbed.proof.rules.values import attribute_values, definition, is_number, is_numbers, named, returned

SET_MAKERS = {"builtins.set", "builtins.frozenset"}
SET_TYPES = {*SET_MAKERS, "typing.Set", "typing.FrozenSet", "typing.AbstractSet", "typing.MutableSet", "collections.abc.Set",
             "collections.abc.MutableSet"}  # fmt: skip
GIVE_A_SET = {"union", "intersection", "difference", "symmetric_difference", "copy"}


def is_set(source: Source, node: ast.AST | None, depth: int = 6) -> bool:
    """Whether an expression is a set whose order may differ between processes: not one of numbers."""
    if depth == 0 or node is None or is_numbers(source, node):
        return False
    if isinstance(node, ast.Set):
        return not all(is_number(source, one) for one in node.elts)
    if isinstance(node, ast.SetComp):
        return not is_number(source, node.elt)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        sides = [node.left] if isinstance(node.op, ast.Sub) else [node.left, node.right]
        return any(is_set(source, side, depth - 1) or _is_view(side) for side in sides)
    if isinstance(node, ast.Call):
        name = source.resolve(node.func)
        if name in SET_MAKERS or (name or "").startswith(("builtins.set.", "builtins.frozenset.")):
            return True
        if isinstance(node.func, ast.Attribute) and node.func.attr in GIVE_A_SET:
            return is_set(source, node.func.value, depth - 1)
        function = definition(source, node.func)
        values = returned(source, function) if isinstance(function, FUNCTIONS) else []
        return bool(values) and all(is_set(source, value, depth - 1) for value in values)
    if isinstance(node, ast.IfExp | ast.BoolOp):
        parts = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
        return any(is_set(source, part, depth - 1) for part in parts)
    if isinstance(node, ast.NamedExpr):
        return is_set(source, node.value, depth - 1)
    if isinstance(node, ast.Name):
        return any(binds_a_set(source, one, depth) for one in source.reaching(node))
    if isinstance(node, ast.Attribute):
        values = attribute_values(source, node)
        return bool(values) and all(is_set(source, value, depth - 1) for value in values)
    return False


def binds_a_set(source: Source, one: Binding, depth: int) -> bool:
    if one.annotation is not None and one.value is None:
        outer = one.annotation.value if isinstance(one.annotation, ast.Subscript) else one.annotation
        inner = named(source, one.annotation.slice) if isinstance(one.annotation, ast.Subscript) else {"?"}
        return source.resolve(outer) in SET_TYPES and bool(inner - {"builtins.int", "builtins.float", "builtins.bool"})
    return is_set(source, one.value, depth - 1)


def _is_view(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("keys", "items") and not node.args
