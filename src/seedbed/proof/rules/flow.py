"""Does it matter in which order the elements of a value come? Followed from where they are made to where they are used.

Three kinds of values whose order isn't given: a `set`, a `sequence` (a listing, a list made from a set), and a `mapping` filled in
such an order. A set that is passed on stays a set; a sequence that is passed to something unknown counts as used in order.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from seedbed.proof.rules import loops
from seedbed.proof.rules.names import Binding, Source
from seedbed.proof.rules.sets import binds_a_set
from seedbed.proof.rules.syntax import FUNCTIONS, argument, last
from seedbed.proof.rules.values import callers, definition, parameter, uses

SET, SEQUENCE, MAPPING = "set", "sequence", "mapping"

# Functions for which the order of what they are given makes no difference.
HARMLESS = {f"builtins.{name}" for name in ("len", "set", "frozenset", "any", "all", "min", "max", "sum", "bool", "isinstance", "type")}
HARMLESS_NAMES = {"isin", "in1d", "drop", "issubset", "issuperset", "isdisjoint", "difference", "intersection", "union", "unique", "rmtree",
                  "symmetric_difference", "fsum", "median", "quantile", "percentile"}  # fmt: skip
# Functions that hand the elements on, one by one.
PASS_ON = {f"builtins.{name}" for name in ("list", "tuple", "iter", "map", "filter", "reversed")} | {
    "itertools.chain", "itertools.chain.from_iterable", "itertools.filterfalse", "itertools.starmap", "tqdm.tqdm", "tqdm.auto.tqdm",
    "tqdm.notebook.tqdm", "rich.progress.track", "collections.deque"}  # fmt: skip
MAKE_A_MAPPING = {"builtins.dict", "collections.OrderedDict", "collections.Counter", "builtins.dict.fromkeys"}
# Functions that use a set in whatever order it comes.
TAKE_IN_ORDER = {"builtins.enumerate", "builtins.zip", "builtins.next", "random.choice", "random.sample", "random.shuffle"}
ORDERED_LIBRARIES = ("numpy.", "pandas.", "itertools.")


def counts(source: Source, node: ast.AST, kind: str, seen: frozenset[ast.AST] = frozenset()) -> bool:
    """Whether the order of the elements of `node`, a value of that kind, makes a difference for anything."""
    above = source.parent.get(node)
    if above is None or node in seen or loops.is_for_people(source, node) or _is_alone(source, node):
        return False
    seen |= {node}
    match above:
        case ast.keyword():
            return _called(source, node, source.parent[above], kind, seen)
        case ast.Call() if above.func is not node:
            return _called(source, node, above, kind, seen)
        case ast.Attribute():
            return _method(source, above, kind, seen)
        case ast.For() | ast.AsyncFor() if above.iter is node:
            return loops.counts(source, above, seen)
        case ast.comprehension() if above.iter is node:
            return _comprehension(source, source.parent[above], seen)
        case ast.Starred():
            return _starred(source, above, kind, seen)
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.NamedExpr() | ast.withitem():
            one = above.optional_vars if isinstance(above, ast.withitem) else getattr(above, "target", None)
            targets = above.targets if isinstance(above, ast.Assign) else [one]
            passed_on = isinstance(above, ast.NamedExpr) and kind != SET and counts(source, above, kind, seen)
            return passed_on or any(_assigned(source, target, above, kind, seen) for target in targets)
        case ast.Return() | ast.Lambda() | ast.YieldFrom():
            return given_back(source, above, kind, seen)
        case ast.Yield() | ast.FormattedValue() | ast.List() | ast.Tuple() | ast.Dict() | ast.Set():
            if isinstance(above, ast.Tuple) and isinstance(source.parent.get(above), ast.Return):
                return given_back(source, above, kind, seen)
            if isinstance(above, ast.Tuple) and isinstance(assign := source.parent.get(above), ast.Assign):
                return kind == SEQUENCE and any(_paired(source, target, node, kind, seen) for target in assign.targets)
            return kind == SEQUENCE and not isinstance(above, ast.FormattedValue)
        case ast.IfExp() | ast.BoolOp() | ast.Await() if kind != SET:  # such an expression of sets is one itself, and looked at as such
            return getattr(above, "test", None) is not node and counts(source, above, kind, seen)
        case ast.BinOp() if kind != SET:
            return isinstance(above.op, ast.Add | ast.BitOr | ast.Mult) and counts(source, above, kind, seen)
        case ast.Subscript():
            return kind == SEQUENCE and isinstance(above.ctx, ast.Load)
    return False


def _is_alone(source: Source, node: ast.AST) -> bool:
    """Whether the function asks if a name holds exactly one element: `if len(found) != 1: raise …`"""
    if not isinstance(node, ast.Name):
        return False
    for call in source.calls:
        test = source.parent.get(call)
        if last(call.func) == "len" and len(call.args) == 1 and last(call.args[0]) == node.id and isinstance(test, ast.Compare):
            one = isinstance(test.comparators[0], ast.Constant) and test.comparators[0].value == 1
            if one and isinstance(test.ops[0], ast.Eq | ast.NotEq | ast.Gt) and source.function(call) is source.function(node):
                return True
    return False


def any_use(source: Source, name: str, binding: Binding, kind: str, seen: frozenset[ast.AST]) -> bool:
    """Whether the order counts anywhere where a name with this binding is read; not once it was sorted in place."""
    found = uses(source, name, binding)
    if kind == SEQUENCE and any(sorts(source, one) for one in found):
        return False
    return any(counts(source, one, kind, seen) for one in found)


def sorts(source: Source, name: ast.Name) -> bool:
    """`name.sort()`, `name[:] = sorted(name)`"""
    above = source.parent.get(name)
    if isinstance(above, ast.Subscript) and isinstance(above.ctx, ast.Store) and isinstance(above.slice, ast.Slice):
        assign = source.parent.get(above)
        return isinstance(assign, ast.Assign) and isinstance(assign.value, ast.Call) and "sort" in last(assign.value.func)
    call = source.parent.get(above) if isinstance(above, ast.Attribute) else None
    key = argument(call, None, "key") if isinstance(call, ast.Call) else None
    return isinstance(above, ast.Attribute) and "sort" in above.attr and not (key is not None and _ties(source, key))


def _called(source: Source, node: ast.AST, call: ast.AST, kind: str, seen: frozenset[ast.AST]) -> bool:
    if not isinstance(call, ast.Call):  # a keyword of a class
        return False
    name, word = source.resolve(call.func) or "", last(call.func)
    key = argument(call, None, "key")
    if key is not None and _ties(source, key) and (name == "builtins.sorted" or (kind == SET and name in ("builtins.min", "builtins.max"))):
        return True
    if "sort" in word or word.startswith("assert") or name in HARMLESS or word in HARMLESS_NAMES:
        return False
    if name in ("builtins.map", "builtins.filter") and call.args and call.args[0] is node:
        return False
    if name in PASS_ON:
        return counts(source, call, SEQUENCE, seen)
    if name in MAKE_A_MAPPING:
        return counts(source, call, MAPPING, seen)
    function = definition(source, call.func)
    if isinstance(function, ast.ClassDef):
        function = next((one for one in function.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if isinstance(function, FUNCTIONS) and isinstance(node, ast.expr) and (taken := parameter(source, function, call, node)):
        if kind == SET and binds_a_set(source, taken[1], 3):
            return False  # the uses of the parameter are looked at by themselves
        return any_use(source, *taken, kind, seen)
    if word in ("extend", "update", "append") and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        if kind != SEQUENCE or word != "extend":
            return False
        return loops.collected(source, call.func.value, node, seen)
    if kind == MAPPING:
        return False
    in_order = name in TAKE_IN_ORDER or name.startswith(ORDERED_LIBRARIES) or (word == "join" and len(call.args) == 1)
    outer = [one for one in source.ancestors(call) if isinstance(one, ast.Call)]
    return (in_order or kind == SEQUENCE) and not any("sort" in last(one.func) for one in outer)


def _ties(source: Source, key: ast.expr) -> bool:
    """Whether different elements may well have the same key, so that they stay in the order in which they came: a length, a count."""
    if isinstance(key, ast.Lambda):
        body = key.body.operand if isinstance(key.body, ast.UnaryOp) else key.body
        if isinstance(body, ast.Subscript):
            return isinstance(body.slice, ast.Name)  # counts[word]
        return isinstance(body, ast.Call) and len(body.args) == 1 and isinstance(body.args[0], ast.Name) and _ties(source, body.func)
    return source.resolve(key) == "builtins.len" or (isinstance(key, ast.Attribute) and key.attr in ("count", "get", "__getitem__"))


def _method(source: Source, attribute: ast.Attribute, kind: str, seen: frozenset[ast.AST]) -> bool:
    call = source.parent.get(attribute)
    if not isinstance(call, ast.Call) or call.func is not attribute:
        return False
    word = attribute.attr
    if kind == SET:
        return word == "pop" and not isinstance(source.parent.get(call), ast.Expr)
    if kind == MAPPING:
        return word == "popitem" or (word in ("items", "values", "keys") and counts(source, call, SEQUENCE, seen))
    if "sort" in word or word in ("append", "extend", "remove", "count", "clear", "close", "__len__"):
        return False
    return word == "index" or (word == "pop" and not isinstance(source.parent.get(call), ast.Expr)) or bool(argument(call, 0))


def _comprehension(source: Source, made: ast.AST, seen: frozenset[ast.AST]) -> bool:
    if loops.draws(source, made):
        return True
    if isinstance(source.parent.get(made), ast.Expr) and isinstance(made, ast.ListComp | ast.SetComp):
        return loops.effects(source, made.elt, made, seen)  # written for what its calls do
    if isinstance(made, ast.SetComp):
        return False
    return counts(source, made, MAPPING if isinstance(made, ast.DictComp) else SEQUENCE, seen)


def _starred(source: Source, starred: ast.Starred, kind: str, seen: frozenset[ast.AST]) -> bool:
    above = source.parent.get(starred)
    if kind == MAPPING or isinstance(above, ast.Set):
        return False
    if isinstance(above, ast.Call):
        name = source.resolve(above.func)
        return name not in HARMLESS and last(above.func) not in HARMLESS_NAMES
    return isinstance(above, ast.List | ast.Tuple) and counts(source, above, SEQUENCE, seen)


def _assigned(source: Source, target: ast.AST | None, statement: ast.AST, kind: str, seen: frozenset[ast.AST]) -> bool:
    if isinstance(target, ast.Name):
        if isinstance(statement, ast.AugAssign):
            return kind == SEQUENCE and loops.collected(source, target, statement, seen)
        if kind == SET:
            return False  # each use of the name is looked at by itself
        node = source.parent[statement] if isinstance(statement, ast.withitem) else statement
        home = source.home(target)
        binding = next((one for one in home.names[target.id] if one.node is node), None) if home else None
        return binding is not None and any_use(source, target.id, binding, kind, seen)
    if isinstance(target, ast.Tuple | ast.List):
        return kind != MAPPING and len(target.elts) > 1
    if isinstance(target, ast.Attribute):
        return kind == SEQUENCE and any(_loads(source, target, seen))
    return kind == SEQUENCE and isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice)


def _loads(source: Source, target: ast.Attribute, seen: frozenset[ast.AST]) -> Iterable[bool]:
    """For each place in the class where `self.x` is read: whether the order counts there. One true for an attribute of elsewhere."""
    owner = source.owner(target)
    if owner is None or not isinstance(target.value, ast.Name):
        return [True]
    loads = [one for one in ast.walk(owner) if isinstance(one, ast.Attribute) and one.attr == target.attr and one is not target]
    if any(isinstance(above := source.parent.get(one), ast.Attribute) and "sort" in above.attr for one in loads):
        return [False]
    return [counts(source, one, SEQUENCE, seen) for one in loads if isinstance(one.ctx, ast.Load)]


def given_back(source: Source, node: ast.AST, kind: str, seen: frozenset[ast.AST]) -> bool:
    if kind != SEQUENCE:
        return False
    function = node if isinstance(node, ast.Lambda) else source.function(node)
    found = callers(source, function) if function is not None and not isinstance(function, ast.Lambda) else []
    return not found or isinstance(node, ast.Tuple) or any(counts(source, call, kind, seen) for call in found)


def _paired(source: Source, target: ast.AST, node: ast.AST, kind: str, seen: frozenset[ast.AST]) -> bool:
    """`a, b = x, y`: whether the order counts for the name that stands for `node`."""
    for name in (one for one in ast.walk(target) if isinstance(one, ast.Name)):
        home = source.home(name)
        binding = next((one for one in home.names[name.id] if one.value is node), None) if home else None
        if binding is not None:
            return any_use(source, name.id, binding, kind, seen)
    return True
