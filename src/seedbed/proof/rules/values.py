"""What a value is and where it came from, followed through the names, attributes and functions of one module."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from seedbed.proof.rules.names import Binding, Source
from seedbed.proof.rules.syntax import FUNCTIONS, Function, arguments, is_none, last

# Calls that give a number, and calls and methods that give numbers only: the order of a set of them is the same in every process.
GIVE_A_NUMBER = {f"builtins.{name}" for name in ("int", "float", "len", "ord", "round", "hash", "sum", "bool")}
GIVE_NUMBERS = {"range", "arange", "permutation", "integers", "randint", "argsort", "nonzero", "flatnonzero", "linspace", "searchsorted",
                "argmax", "argmin"}  # fmt: skip
# Attributes of arrays that are numbers, or made of numbers.
ARE_NUMBERS = {"size", "ndim", "nbytes", "st_size", "st_mtime"}
KEEP_ELEMENTS = {f"builtins.{name}" for name in ("set", "frozenset", "list", "tuple", "sorted", "reversed", "iter")}
NUMBERS = {f"builtins.{name}" for name in ("int", "float", "bool", "complex")}


def definition(source: Source, node: ast.AST | None, depth: int = 6) -> Function | ast.ClassDef | None:
    """The function or class of this module that an expression names: directly, as a method of `self`, by `partial`, or returned."""
    if depth == 0 or node is None:
        return None
    if isinstance(node, ast.Lambda):
        return node
    if isinstance(node, ast.Name):
        found = source.reaching(node)
        if len(found) != 1:
            return None
        if isinstance(found[0].node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return found[0].node
        return definition(source, found[0].value, depth - 1) if isinstance(found[0].node, ast.Assign) else None
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = source.owner(node) if node.value.id in ("self", "cls") else definition(source, node.value, depth - 1)
        methods = [one for one in owner.body if isinstance(one, FUNCTIONS)] if isinstance(owner, ast.ClassDef) else []
        return next((one for one in methods if not isinstance(one, ast.Lambda) and one.name == node.attr), None)
    if isinstance(node, ast.Call):
        if source.resolve(node.func) in ("functools.partial", "tensorflow.function", "joblib.delayed") and node.args:
            return definition(source, node.args[0], depth - 1)
        maker = definition(source, node.func, depth - 1)
        made = {definition(source, one, depth - 1) for one in returned(source, maker)} if isinstance(maker, FUNCTIONS) else set()
        return made.pop() if len(made) == 1 else None
    return None


def returned(source: Source, function: Function) -> list[ast.expr]:
    """The expressions that a function returns."""
    if isinstance(function, ast.Lambda):
        return [function.body]
    found = [node for node in ast.walk(function) if isinstance(node, ast.Return) and source.function(node) is function]
    return [node.value for node in found if node.value is not None]


def callers(source: Source, function: Function) -> list[ast.Call]:
    """The calls of a function in this module."""
    name = getattr(function, "name", None)
    return [call for call in source.calls if last(call.func) == name and definition(source, call.func) is function]


def uses(source: Source, name: str, binding: Binding) -> list[ast.Name]:
    """Where a name is read that may have this binding there."""
    return [node for node in source.loads.get(name, []) if binding in source.reaching(node)]


def parameter(source: Source, function: Function, call: ast.Call, given: ast.expr) -> tuple[str, Binding] | None:
    """The parameter that takes what a call gives, and its binding; None if that can't be told."""
    wanted = arguments(function)
    bound = isinstance(call.func, ast.Attribute) or getattr(function, "name", "") == "__init__"
    if wanted and wanted[0].arg in ("self", "cls") and bound:
        wanted = wanted[1:]
    word = next((word.arg for word in call.keywords if word.value is given), None)
    by_place = [one for one, value in zip(wanted, call.args, strict=False) if value is given]
    taker = next((one for one in wanted if one.arg == word), None) if word else next(iter(by_place), None)
    if taker is None or taker in (function.args.vararg, function.args.kwarg):
        return None
    inside = next((scope for scope in (source.scope.get(node) for node in ast.walk(function)) if scope and scope.node is function), None)
    return next(((taker.arg, one) for one in (inside.names[taker.arg] if inside else []) if one.node is taker), None)


def attribute_values(source: Source, node: ast.Attribute) -> list[ast.expr]:
    """What `self.x` is assigned anywhere in the class; empty where that isn't known."""
    owner = source.owner(node)
    if owner is None or not is_own(node):
        return []
    if owner not in source.attributes:
        found: dict[str, list[ast.expr]] = {}
        for one in ast.walk(owner):
            if isinstance(one, ast.Assign | ast.AnnAssign) and one.value is not None:
                for target in one.targets if isinstance(one, ast.Assign) else [one.target]:
                    if is_own(target) or (isinstance(target, ast.Name) and source.parent.get(one) is owner):
                        found.setdefault(last(target), []).append(one.value)
        source.attributes[owner] = found
    return source.attributes[owner].get(node.attr, [])


def is_own(node: ast.AST) -> bool:
    """`self.x`"""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def bound_values(source: Source, node: ast.AST) -> Iterator[ast.expr]:
    """The expressions that a name or an attribute of `self` may stand for."""
    if isinstance(node, ast.Name):
        yield from (one.value for one in source.reaching(node) if one.value is not None)
    elif isinstance(node, ast.Attribute):
        yield from attribute_values(source, node)


def named(source: Source, annotation: ast.AST | None) -> set[str]:
    """The dotted names in an annotation."""
    if annotation is None:
        return set()
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return {word for word in [annotation.value.strip()] if word.isidentifier()}
    found = {source.resolve(node) for node in ast.walk(annotation) if isinstance(node, ast.Name | ast.Attribute) and node in source.scope}
    return {name for name in found if name is not None}


def origins(source: Source, node: ast.AST | None, chain: bool = True, depth: int = 8) -> set[str]:
    """The dotted names of the calls that made a value, and its annotations.

    chain: through methods, too (`tf.data.Dataset.range(9).map(f)` is made by `tensorflow.data.Dataset.range`).
    """
    if node is None or depth == 0:
        return set()
    found: set[str] = set()
    if isinstance(node, ast.Call):
        if name := source.resolve(node.func):
            return {name}
        function = definition(source, node.func)
        if isinstance(function, FUNCTIONS):
            for value in returned(source, function):
                found |= origins(source, value, chain, depth - 1)
        elif chain and isinstance(node.func, ast.Attribute):
            found |= origins(source, node.func.value, chain, depth - 1)
        return found
    if isinstance(node, ast.Name):
        for binding in source.reaching(node):
            found |= named(source, binding.annotation)
    if isinstance(node, ast.Name | ast.Attribute):
        for value in bound_values(source, node):
            found |= origins(source, value, chain, depth - 1)
    parts: list[ast.expr] = []
    if isinstance(node, ast.IfExp):
        parts = [node.body, node.orelse]
    elif isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, ast.NamedExpr | ast.Await) or (chain and isinstance(node, ast.Attribute | ast.Subscript) and not found):
        parts = [node.value]
    for part in parts:
        found |= origins(source, part, chain, depth - 1)
    return found


def is_number(source: Source, node: ast.AST | None, depth: int = 10) -> bool:
    """Whether an expression is a number for all that can be seen."""
    if depth == 0 or node is None:
        return False
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float | complex)
    if isinstance(node, ast.UnaryOp):
        return is_number(source, node.operand, depth)
    if isinstance(node, ast.BinOp):
        return is_number(source, node.left, depth - 1) and is_number(source, node.right, depth - 1)
    if isinstance(node, ast.Call):
        return source.resolve(node.func) in GIVE_A_NUMBER
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
    if isinstance(node, ast.Attribute):
        return node.attr in ARE_NUMBERS
    if isinstance(node, ast.Name):
        found = source.reaching(node)
        return bool(found) and all(_binds_a_number(source, one, depth - 1) for one in found)
    return False


def _binds_a_number(source: Source, one: Binding, depth: int) -> bool:
    if one.annotation is not None and (names := named(source, one.annotation)):
        return names <= NUMBERS
    if one.each is not None:
        counts = isinstance(one.each, ast.Call) and source.resolve(one.each.func) == "builtins.enumerate" and one.place == 0
        return counts or (one.place is None and is_numbers(source, one.each, depth))
    return is_number(source, one.value, depth)


def is_numbers(source: Source, node: ast.AST | None, depth: int = 10) -> bool:
    """Whether all elements of an iterable are numbers, for all that can be seen."""
    if depth == 0 or node is None:
        return False
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return bool(node.elts) and all(is_number(source, one, depth - 1) for one in node.elts)
    if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        return is_number(source, node.elt, depth - 1)
    if isinstance(node, ast.Attribute):
        return node.attr == "shape"
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Slice) and is_numbers(source, node.value, depth - 1)
    if isinstance(node, ast.BinOp):
        return is_numbers(source, node.left, depth - 1) and is_numbers(source, node.right, depth - 1)
    if isinstance(node, ast.Call):
        name, first = source.resolve(node.func), node.args[0] if node.args else None
        if name in KEEP_ELEMENTS:
            return is_numbers(source, first, depth - 1)
        if name == "builtins.map" and first is not None:
            return source.resolve(first) in GIVE_A_NUMBER
        if last(node.func) in ("choice", "sample", "choices"):
            return is_number(source, first, depth - 1) or is_numbers(source, first, depth - 1)
        return last(node.func) in GIVE_NUMBERS or (
            last(node.func) in ("tolist", "union", "difference", "intersection", "copy")
            and isinstance(node.func, ast.Attribute) and is_numbers(source, node.func.value, depth - 1)
        )  # fmt: skip
    if isinstance(node, ast.Name):
        found = source.reaching(node)
        return bool(found) and all(_binds_numbers(source, node, one, depth - 1) for one in found)
    return False


def _binds_numbers(source: Source, name: ast.Name, one: Binding, depth: int) -> bool:
    if one.annotation is not None and (names := named(source, one.annotation)):
        return bool(names & NUMBERS) and not names & {"builtins.str", "builtins.bytes", "builtins.object"}
    if isinstance(one.value, ast.Call) and not one.value.args and source.resolve(one.value.func) in KEEP_ELEMENTS:
        return _filled_with_numbers(source, name, depth)
    return not is_none(one.value) and is_numbers(source, one.value, depth)


def _filled_with_numbers(source: Source, name: ast.Name, depth: int) -> bool:
    """Whether an empty set gets only numbers, by `add` and `update`, wherever it is seen."""
    home, given = source.home(name), []
    for one in source.loads.get(name.id, []):
        above = source.parent.get(one)
        call = source.parent.get(above) if isinstance(above, ast.Attribute) and source.home(one) is home else None
        if isinstance(call, ast.Call) and call.func is above and call.args and last(above) in ("add", "update"):
            test = is_number if last(above) == "add" else is_numbers
            given.append(test(source, call.args[0], depth))
    return bool(given) and all(given)
