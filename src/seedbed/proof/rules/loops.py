"""Loops whose order doesn't matter: they delete, count, look up, or fill something that is sorted afterwards."""

from __future__ import annotations

import ast

from seedbed.proof.rules import flow, sets
from seedbed.proof.rules.names import Binding, Source
from seedbed.proof.rules.syntax import blocks, last
from seedbed.proof.rules.values import is_number, origins, uses

Loop = ast.For | ast.AsyncFor

# What such a loop may call: each leaves the same behind in any order.
FREE_METHODS = {"add", "discard", "update", "setdefault", "clear", "unlink", "rmdir", "mkdir", "touch", "rename", "replace", "close",
                "remove", "symlink_to", "hardlink_to", "link_to", "write_text", "write_bytes", "chmod", "pop"}  # fmt: skip
FREE_FUNCTIONS = {
    "os.remove", "os.unlink", "os.rmdir", "os.mkdir", "os.makedirs", "os.rename", "os.replace", "os.chmod", "os.utime", "os.symlink",
    "os.link", "os.removedirs", "shutil.rmtree", "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move",
    "tensorflow.io.gfile.remove", "tensorflow.io.gfile.rmtree", "tensorflow.io.gfile.copy", "tensorflow.io.gfile.makedirs",
    "builtins.setattr", "builtins.delattr",
}  # fmt: skip
COLLECT = {"append", "extend", "insert", "appendleft", "extendleft"}
FOR_PEOPLE = {"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "print", "fail", "exit", "skip",
              "set_postfix", "set_postfix_str", "set_description"}  # fmt: skip
DICTS = {"builtins.dict", "collections.defaultdict", "collections.OrderedDict"}
# Methods that take the next number from a generator.
DRAW = {"normal", "uniform", "integers", "standard_normal", "randn", "randint", "rand", "random", "choice", "choices", "shuffle",
        "permutation", "permuted", "gauss", "randrange", "multivariate_normal", "exponential", "poisson", "binomial", "sample"}  # fmt: skip


def counts(source: Source, loop: Loop, seen: frozenset[ast.AST]) -> bool:
    """Whether the order in which a loop comes by its elements makes a difference for what is left after it."""
    return draws(source, loop) or _any(source, [*loop.body, *loop.orelse], loop, seen)


def draws(source: Source, node: ast.AST) -> bool:
    """Whether something in `node` draws from a generator that isn't made there: who comes first gets the first number."""
    for call in (one for one in ast.walk(node) if isinstance(one, ast.Call)):
        seeded = any(word.arg in ("seed", "random_state") for word in call.keywords)
        if isinstance(call.func, ast.Attribute) and call.func.attr in DRAW and not seeded:
            base = _base(call.func.value)
            made_here = base is not None and any(node in source.ancestors(one.node) for one in source.reaching(base))
            if not made_here and base is not None:
                return True
    return False


def is_for_people(source: Source, node: ast.AST) -> bool:
    """Whether a value only gets into a message: of an exception, a log, the terminal."""
    for above in source.ancestors(node):
        if isinstance(above, ast.Raise | ast.Assert):
            return True
        if isinstance(above, ast.JoinedStr) and any(isinstance(one, ast.Constant) and " " in str(one.value) for one in above.values):
            return True  # words with spaces between them: no name of anything
        if isinstance(above, ast.Call) and (source.resolve(above.func) == "builtins.print" or last(above.func) in FOR_PEOPLE):
            return True
        if isinstance(above, ast.stmt):
            return False
    return False


def collected(source: Source, name: ast.Name, at: ast.AST, seen: frozenset[ast.AST]) -> bool:
    """Whether the order counts in which elements get into what a name stands for (a list by `append`, a text by `+=`)."""
    bindings = source.reaching(name) or [Binding(name)]
    return any(_collects(source, name, one, at, seen) for one in bindings)


def _collects(source: Source, name: ast.Name, binding: Binding, at: ast.AST, seen: frozenset[ast.AST]) -> bool:
    value = binding.value
    if isinstance(value, ast.Constant):
        return isinstance(value.value, str | bytes | float)  # sums of floats depend on the order, sums of integers don't
    made = origins(source, value, chain=False)
    if isinstance(value, ast.List | ast.ListComp) or made & {"builtins.list", "collections.deque"} or (
        isinstance(value, ast.Call) and source.resolve(value.func) in flow.PASS_ON
    ):  # fmt: skip
        return flow.any_use(source, name.id, binding, flow.SEQUENCE, seen | {at})
    if isinstance(value, ast.Dict | ast.DictComp) or made & DICTS:
        return flow.any_use(source, name.id, binding, flow.MAPPING, seen | {at})
    return not sets.is_set(source, value) and not made & sets.SET_MAKERS


def _any(source: Source, statements: list[ast.AST], loop: Loop, seen: frozenset[ast.AST]) -> bool:
    return any(_statement(source, one, loop, seen) for one in statements)


def _statement(source: Source, node: ast.AST, loop: Loop, seen: frozenset[ast.AST]) -> bool:
    match node:
        case ast.Return():
            return not (node.value is None or isinstance(node.value, ast.Constant))
        case ast.Expr(value=ast.Yield() | ast.YieldFrom()):
            return flow.given_back(source, node.value, flow.SEQUENCE, seen)
        case ast.Expr(value=ast.Call() as call) | ast.Expr(value=ast.Await(value=ast.Call() as call)):
            return _effect(source, call, loop, seen)
        case ast.Expr(value=ast.Tuple() | ast.List() | ast.BoolOp() | ast.IfExp() as several):  # several calls on one line
            return effects(source, several, loop, seen)
        case ast.Assign():
            return any(_stored(source, target, node, loop, seen) for target in node.targets)
        case ast.AnnAssign():
            return _stored(source, node.target, node, loop, seen)
        case ast.AugAssign():
            return _added(source, node, loop, seen)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return False
    return any(_any(source, block, loop, seen) for block in blocks(node)) or (
        isinstance(node, ast.Match) and any(_any(source, list(case.body), loop, seen) for case in node.cases)
    )


def effects(source: Source, node: ast.AST, loop: ast.AST, seen: frozenset[ast.AST]) -> bool:
    """Whether a call that stands for its own sake, or one in a tuple of such calls, leaves something that depends on the order."""
    calls = [node] if isinstance(node, ast.Call) else [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.Call)]
    return any(_effect(source, one, loop, seen) for one in calls)


def _effect(source: Source, call: ast.Call, loop: ast.AST, seen: frozenset[ast.AST]) -> bool:
    """Whether a call for its own sake leaves something that depends on the order."""
    name, word = source.resolve(call.func), last(call.func)
    if name in FREE_FUNCTIONS or name == "builtins.print" or word in FOR_PEOPLE or "sort" in word or word.startswith("assert"):
        return False
    if not isinstance(call.func, ast.Attribute):
        return True
    receiver, base = call.func.value, _base(call.func.value)
    if word in COLLECT:
        if isinstance(receiver, ast.Name):
            return collected(source, receiver, call, seen)
        return not (base is not None and _sorted_later(source, base))
    if base is not None and any(_within(source, one.node, loop) for one in source.reaching(base)):
        return False  # a method of the element itself
    if word == "setdefault" and any(_is_numbered(source, one, loop) for one in call.args[1:]):
        return True
    return word not in FREE_METHODS or any(made.startswith("keras.") for made in origins(source, receiver))


def _stored(source: Source, target: ast.AST, node: ast.Assign | ast.AnnAssign, loop: Loop, seen: frozenset[ast.AST]) -> bool:
    if isinstance(node.value, ast.Constant) or node.value is None:
        return False
    if isinstance(target, ast.Name):  # the last one wins, if anybody looks at it after the loop
        home = source.home(target)
        bindings = [one for one in home.names[target.id] if one.node is node] if home else []
        return any(not _within(source, use, loop) for one in bindings for use in uses(source, target.id, one))
    if isinstance(target, ast.Tuple | ast.List):
        return any(_stored(source, one, node, loop, seen) for one in target.elts)
    base = _base(target)
    if base is None or any(_within(source, one.node, loop) for one in source.reaching(base)):
        return False
    if isinstance(target, ast.Subscript):
        if _is_numbered(source, target.slice, loop) or _is_numbered(source, node.value, loop):
            return True
        if isinstance(target.value, ast.Name):
            values = [one.value for one in source.reaching(target.value)]
            filled = any(isinstance(one, ast.Dict) or origins(source, one, chain=False) & DICTS for one in values)
            return filled and collected(source, target.value, node, seen)
        return False
    return isinstance(target, ast.Attribute)


def _added(source: Source, node: ast.AugAssign, loop: Loop, seen: frozenset[ast.AST]) -> bool:
    if not isinstance(node.target, ast.Name):
        return False
    if any(source.resolve(one) == "builtins.float" for one in ast.walk(node.value) if isinstance(one, ast.Name)):
        return True  # sums of floats depend on the order
    if is_number(source, node.value):  # a counter: harmless unless the loop numbers its elements by it
        reads = [one for one in ast.walk(loop) if isinstance(one, ast.Name) and one.id == node.target.id and isinstance(one.ctx, ast.Load)]
        return bool(reads)
    return isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div) and collected(source, node.target, node, seen)


def _is_numbered(source: Source, value: ast.AST, loop: ast.AST) -> bool:
    """Whether a value tells how far the loop has come: a name that it counts up, `next(…)`, `len(…)` of what it fills."""
    counted = {one.target.id for one in ast.walk(loop) if isinstance(one, ast.AugAssign) and isinstance(one.target, ast.Name)}
    for one in ast.walk(value):
        if isinstance(one, ast.Name) and one.id in counted:
            return True
        if isinstance(one, ast.Call) and source.resolve(one.func) in ("builtins.next", "builtins.len") and one.args:
            base = _base(one.args[0])
            if base is not None and not any(_within(source, bound.node, loop) for bound in source.reaching(base)):
                return True
    return False


def _sorted_later(source: Source, base: ast.Name) -> bool:
    """Whether what a name stands for, or its elements, get sorted anywhere in the same function."""
    home = source.home(base)
    calls = [one for one in source.calls if "sort" in last(one.func) and (home is None or home.node in source.ancestors(one))]
    reached = {one.id for call in calls for one in ast.walk(call) if isinstance(one, ast.Name)}
    loops = [one for one in ast.walk(home.node if home else source.tree) if isinstance(one, ast.For | ast.comprehension)]
    through = {name.id for one in loops for name in ast.walk(one.target) if isinstance(name, ast.Name) and name.id in reached
               and any(isinstance(each, ast.Name) and each.id == base.id for each in ast.walk(one.iter))}  # fmt: skip
    return base.id in reached or bool(through)


def _within(source: Source, node: ast.AST, loop: ast.AST) -> bool:
    return node is loop or loop in source.ancestors(node)


def _base(node: ast.AST) -> ast.Name | None:
    """The name that an expression of attributes, subscripts and calls begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node if isinstance(node, ast.Name) else None
