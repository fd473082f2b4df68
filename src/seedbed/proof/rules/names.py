"""Python source as the rules see it: what a name means at the place where it stands, and what it was last bound to.

Nothing is imported and nothing is run. What can't be told from the module alone (a parameter, another module's object) is
unknown, and the rules are silent about it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from seedbed.proof.rules.syntax import COMPREHENSIONS, FUNCTIONS, Function, arguments, blocks, end, is_none, plain, start


@dataclass(frozen=True, eq=False)
class Binding:
    """One place that gives a name its meaning.

    node: what binds it. value: the expression that it is bound to, where there is one. dotted: what an import brings.
    annotation: as written. each: the iterable whose elements it takes; place: which part of each element, None for all of it.
    """

    node: ast.AST
    value: ast.expr | None = None
    dotted: str | None = None
    annotation: ast.expr | None = None
    each: ast.expr | None = None
    place: int | None = None


@dataclass(eq=False)
class Scope:
    """A module, class, function or comprehension, with the names that it binds."""

    node: ast.AST
    outer: Scope | None
    names: dict[str, list[Binding]] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)  # `global` and `nonlocal`


class Source:
    """A parsed module. `parent` and `scope` know every node; a node's scope is the one in which it is evaluated."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.module = Scope(self.tree, None)
        self.parent: dict[ast.AST, ast.AST] = {}
        self.scope: dict[ast.AST, Scope] = {self.tree: self.module}
        self.stars: list[str] = []
        self.resolved: dict[ast.AST, str | None] = {}
        self.attributes: dict[ast.ClassDef, dict[str, list[ast.expr]]] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parent[child] = node
        for statement in self.tree.body:
            self._visit(statement, self.module)
        self.nodes: list[ast.AST] = list(ast.walk(self.tree))
        self.calls: list[ast.Call] = [node for node in self.nodes if isinstance(node, ast.Call)]
        self.loads: dict[str, list[ast.Name]] = {}
        for node in self.nodes:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self.loads.setdefault(node.id, []).append(node)

    # --- scopes ----------------------------------------------------------------------------------------------------------

    def _visit(self, node: ast.AST, scope: Scope) -> None:
        self.scope[node] = scope
        inner: Sequence[ast.AST] = ()
        outside = list(ast.iter_child_nodes(node))
        new = scope
        if isinstance(node, FUNCTIONS):
            new = Scope(node, scope)
            inner = node.body if not isinstance(node, ast.Lambda) else [node.body]
            for argument in arguments(node):
                self._bind(argument.arg, new, Binding(argument, annotation=argument.annotation))
        elif isinstance(node, ast.ClassDef):
            new, inner = Scope(node, scope), node.body
        elif isinstance(node, COMPREHENSIONS):
            new = Scope(node, scope)
            first = node.generators[0].iter
            self._visit(first, scope)
            for part in node.generators:
                self.scope[part] = new
                self._target(part.target, new, Binding(part, each=part.iter))
            parts = [child for part in node.generators for child in ast.iter_child_nodes(part) if child is not first]
            inner = [*parts, *(child for child in outside if not isinstance(child, ast.comprehension))]
            outside = []
        self._binds(node, scope)
        for child in outside:
            if not any(child is one for one in inner):
                self._visit(child, scope)
        for child in inner:
            self._visit(child, new)

    def _binds(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                self._bind(name, scope, Binding(node))
            case ast.Import():
                for alias in node.names:
                    dotted = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._bind(alias.asname or dotted, scope, Binding(node, dotted=dotted))
            case ast.ImportFrom():
                for alias in node.names:
                    if alias.name == "*":
                        self.stars.append(node.module or "")
                    else:
                        dotted = f"{'.' * node.level}{node.module or ''}.{alias.name}"
                        self._bind(alias.asname or alias.name, scope, Binding(node, dotted=dotted))
            case ast.Assign():
                for target in node.targets:
                    self._target(target, scope, Binding(node, value=node.value))
            case ast.AnnAssign():
                self._target(node.target, scope, Binding(node, value=node.value, annotation=node.annotation))
            case ast.NamedExpr():
                self._target(node.target, inline(scope), Binding(node, value=node.value))
            case ast.For() | ast.AsyncFor():
                self._target(node.target, scope, Binding(node, each=node.iter))
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    if item.optional_vars is not None:
                        self._target(item.optional_vars, scope, Binding(node, value=item.context_expr))
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                self._bind(name, scope, Binding(node))
            case ast.MatchMapping(rest=str(name)):
                self._bind(name, scope, Binding(node))
            case ast.Global() | ast.Nonlocal():
                scope.elsewhere |= set(node.names)

    def _target(self, target: ast.expr, scope: Scope, binding: Binding) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, scope, binding)
        elif isinstance(target, ast.Starred):
            self._target(target.value, scope, Binding(binding.node))
        elif isinstance(target, ast.Tuple | ast.List):
            values = binding.value.elts if isinstance(binding.value, ast.Tuple | ast.List) else ()
            paired = len(values) == len(target.elts) and not any(isinstance(e, ast.Starred) for e in [*values, *target.elts])
            for place, part in enumerate(target.elts):
                value = values[place] if paired else None
                self._target(part, scope, Binding(binding.node, value=value, each=binding.each, place=place))

    def _bind(self, name: str, scope: Scope, binding: Binding) -> None:
        while name in scope.elsewhere and scope.outer is not None:
            scope = self.module
        scope.names.setdefault(name, []).append(binding)

    def home(self, name: ast.Name) -> Scope | None:
        """The scope that binds a name seen from where it stands; None for a builtin, or a name that nothing here binds."""
        start: Scope | None = self.scope[name]
        scope = start
        while scope is not None:
            if name.id in scope.names and (scope is start or not isinstance(scope.node, ast.ClassDef)):
                return scope
            scope = scope.outer
        return None

    # --- what a name is bound to -----------------------------------------------------------------------------------------

    def reaching(self, name: ast.Name) -> list[Binding]:
        """The bindings that a name may have where it stands: the last one that surely ran, and those since that may have.

        Seen from another function, all that its scope gives it.
        """
        scope = self.home(name)
        if scope is None:
            return []
        found = scope.names[name.id]
        if scope is not self.scope[name] and scope is not inline(self.scope[name]):
            return found
        before: list[Binding] = []
        for binding in found:
            if self._earlier(binding.node, name):
                before = [*([] if self._surely(binding.node, name) else before), binding]
        return before or found

    def _earlier(self, node: ast.AST, name: ast.AST) -> bool:
        if node in (ancestors := list(self.ancestors(name))):
            below = ancestors[ancestors.index(node) - 1] if ancestors[0] is not node else name
            return isinstance(node, ast.For | ast.AsyncFor | ast.With | ast.AsyncWith) and below in node.body
        return end(node) <= start(name) if not isinstance(node, ast.arg) else True

    def _surely(self, node: ast.AST, name: ast.AST) -> bool:
        """Whether whoever comes to `name` has come by `node`: its block is one of those around `name`, or ends always."""
        statement = self.statement(node)
        while isinstance(above := self.parent.get(statement), ast.With | ast.AsyncWith | ast.Try) and statement in above.body:
            statement = above
        around = {name, *self.ancestors(name)}
        if statement in around:
            return True
        above = self.parent.get(statement)
        return any(statement in block and any(other in around for other in block) for block in blocks(above)) if above else False

    def resolve(self, node: ast.AST | None, depth: int = 8) -> str | None:
        """The dotted name of what an expression names (`numpy.random.rand` for `rnd.rand` after `import numpy.random as rnd`).

        Builtins begin with `builtins.`; None for whatever isn't known to come from an import.
        """
        if depth == 0 or not isinstance(node, ast.Name | ast.Attribute):
            return None
        if node not in self.resolved:
            self.resolved[node] = self._resolve(node, depth)
        return self.resolved[node]

    def _resolve(self, node: ast.Name | ast.Attribute, depth: int) -> str | None:
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value, depth - 1)
            return plain(f"{base}.{node.attr}") if base else None
        found = [one for one in self.reaching(node) if not is_none(one.value)]
        if self.home(node) is None:
            if hasattr(builtins, node.id):
                return f"builtins.{node.id}"
            return plain(f"{self.stars[0]}.{node.id}") if len(self.stars) == 1 else None
        if found and all(one.dotted for one in found):
            return plain(str(found[0].dotted))
        alias = len(found) == 1 and isinstance(found[0].node, ast.Assign | ast.AnnAssign)
        return self.resolve(found[0].value, depth - 1) if alias else None

    # --- where a node stands ---------------------------------------------------------------------------------------------

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        while (above := self.parent.get(node)) is not None:
            yield above
            node = above

    def statement(self, node: ast.AST) -> ast.AST:
        """The innermost statement that a node belongs to; the node itself if it is one."""
        return next((one for one in (node, *self.ancestors(node)) if isinstance(one, ast.stmt | ast.ExceptHandler)), node)

    def function(self, node: ast.AST) -> Function | None:
        """The function that a node's code runs in; None at the module's level."""
        return next((one for one in self.ancestors(node) if isinstance(one, FUNCTIONS)), None)

    def owner(self, node: ast.AST) -> ast.ClassDef | None:
        """The class whose methods a node belongs to."""
        return next((one for one in self.ancestors(node) if isinstance(one, ast.ClassDef)), None)


def inline(scope: Scope) -> Scope:
    """The function or module around comprehensions, which run where they stand."""
    while isinstance(scope.node, COMPREHENSIONS) and scope.outer is not None:
        scope = scope.outer
    return scope
