"""Rules about generators and seeds: none given, one that differs each time, one that is ignored, one that is fixed in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from seedbed.proof.rules import draws
from seedbed.proof.rules.names import Source
from seedbed.proof.rules.syntax import argument, defaults, is_none, is_open, last
from seedbed.proof.rules.values import attribute_values, is_number, named

# Made without a seed they take one from the system: (position, names) of the seed.
NUMPY = {f"numpy.random.{name}": (0, ("seed", "entropy")) for name in (
    "default_rng", "RandomState", "SeedSequence", "PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")}  # fmt: skip
PYTHON = {"random.Random": (0, ("x",)), "random.seed": (0, ("a",)), "numpy.random.seed": (0, ("seed",))}
NON_DETERMINISTIC = {
    *(f"tensorflow.random{part}.{name}" for part in ("", ".experimental") for name in (
        "Generator.from_non_deterministic_state", "get_global_generator")),
    "tensorflow.raw_ops.NonDeterministicInts",
}  # fmt: skip
ENTROPY = {"os.urandom", "os.getrandom", "random.SystemRandom", "secrets.SystemRandom", "secrets.choice", "secrets.randbelow",
           "secrets.randbits"}  # fmt: skip

# Values that no second process has.
VOLATILE = {
    **dict.fromkeys(("time.time", "time.time_ns", "time.perf_counter", "time.perf_counter_ns", "time.monotonic", "time.monotonic_ns",
                     "time.process_time", "time.process_time_ns", "datetime.datetime.now", "datetime.datetime.utcnow",
                     "datetime.datetime.today", "datetime.date.today", "pandas.Timestamp.now"), "the clock"),
    **dict.fromkeys(("os.getpid", "os.getppid", "threading.get_ident", "threading.get_native_id"), "a process's or thread's number"),
    **dict.fromkeys(("uuid.uuid1", "uuid.uuid4", "secrets.token_bytes", "secrets.token_hex", *ENTROPY), "the system's entropy"),
    "builtins.id": "where an object lies in memory",
    "builtins.hash": "a hash that each process salts",
}  # fmt: skip
# Calls whose first argument is a seed.
TAKE_A_SEED = {*draws.SEED_GLOBALS, *NUMPY, *PYTHON, "tensorflow.random.Generator.from_seed", "keras.random.SeedGenerator",
               "jax.random.PRNGKey", "jax.random.key"}  # fmt: skip

SEED = re.compile(r"(^|_)(seed|random_state)$", re.IGNORECASE)
# `use_seed`, `has_seed`, …: a switch, and no seed.
SWITCH = re.compile(r"^_*(use|has|have|is|fix|fixed|set|with|no|should|need|needs|reset|log|print|do|apply|enable|want|keep|share|same|"
                    r"change|vary|save|show|check|skip|allow|force)_", re.IGNORECASE)  # fmt: skip
NOT_A_SEED = {"builtins.bool", "builtins.str", "builtins.list", "builtins.tuple", "builtins.dict", "typing.Sequence",
              "collections.abc.Sequence"}  # fmt: skip


def findings(source: Source) -> Iterator[tuple[str, ast.AST, str]]:
    """(code, node, what) for each."""
    volatile = dict(_volatile_seeds(source))
    for node, what in volatile.items():
        yield "SB105", node, what
    for call in source.calls:
        name = source.resolve(call.func) or ""
        if name in NUMPY and _no_seed(source, call, *NUMPY[name]):
            yield "SB101", call, f"`{name}` without a seed"
        elif name in PYTHON and _no_seed(source, call, *PYTHON[name]):
            yield "SB103", call, f"`{name}` without a seed"
        elif name in draws.PYTHON and not draws.is_seeded(source, call, "random.seed", "keras.utils.set_random_seed"):
            yield "SB102", call, f"`{name}` draws from Python's global generator"
        elif name in ENTROPY and call not in volatile and not _is_for_a_name(source, call):
            yield "SB104", call, f"`{name}` takes the system's entropy"
        elif name in ("uuid.uuid1", "uuid.uuid4") and call not in volatile and _as_a_value(source, call):
            yield "SB104", call, f"`{name}` as a value"
        elif name in NON_DETERMINISTIC:
            yield "SB108", call, f"`{name}` takes the system's entropy"
        elif name in draws.SEED_GLOBALS and _fixed_in_a_function(source, call, name):
            yield "SB107", call, f"`{name}` with a number in a function"
        for word in call.keywords:
            if word.arg == "default_factory" and source.resolve(word.value) in NUMPY:
                yield "SB101", word.value, f"`{source.resolve(word.value)}` without a seed, for each object"
    for node in source.nodes:
        if isinstance(node, ast.expr) and (name := _seed_named(source, node)) and _is_truth_test(source, node):
            yield "SB106", node, f"a truth test on `{name}`"


def _no_seed(source: Source, call: ast.Call, place: int, names: tuple[str, ...]) -> bool:
    seed = argument(call, place, *names)
    if seed is None:
        return not is_open(call)
    if isinstance(seed, ast.Name) and (found := source.reaching(seed)):
        return all(is_none(one.value) for one in found)
    return is_none(seed)


def _is_for_a_name(source: Source, call: ast.Call) -> bool:
    """`os.urandom(8).hex()`: a name for a file or a run, as far as can be told."""
    above = source.parent.get(call)
    return isinstance(above, ast.Attribute) and above.attr == "hex"


def _as_a_value(source: Source, call: ast.Call) -> bool:
    """Whether a uuid is used as a number, or to sort by: not as a name."""
    above = source.parent.get(call)
    if isinstance(above, ast.Attribute):
        return above.attr in ("int", "fields", "time_low", "node", "time")
    if isinstance(above, ast.Call):
        return source.resolve(above.func) in ("builtins.int", "builtins.hash")
    return isinstance(above, ast.Lambda) and isinstance(word := source.parent.get(above), ast.keyword) and word.arg == "key"


# --- seeds that differ each time -----------------------------------------------------------------------------------------


def _volatile_seeds(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Where a seed comes from something that no second process has, and what that is."""
    direct: set[ast.AST] = set()
    later: list[tuple[ast.expr, ast.Name]] = []
    for seed in _seeds(source):
        for part in ast.walk(seed):
            if isinstance(part, ast.Call) and part not in direct and (why := _is_volatile(source, part)):
                direct.add(part)
                yield part, f"a seed from {why}"
            elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part in source.scope:
                later.append((seed, part))
    for seed, name in later:
        values = [one.value for one in source.reaching(name) if one.value is not None]
        parts = [part for value in values for part in ast.walk(value) if isinstance(part, ast.Call) and part not in direct]
        if why := next((why for part in parts if (why := _is_volatile(source, part))), ""):
            yield seed, f"a seed from {why} (`{name.id}`)"


def _seeds(source: Source) -> Iterator[ast.expr]:
    """The expressions that stand where a seed belongs."""
    for node in source.nodes:
        if isinstance(node, ast.Call):
            if source.resolve(node.func) in TAKE_A_SEED and node.args:
                yield node.args[0]
            yield from (word.value for word in node.keywords if word.arg and SEED.search(word.arg))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(SEED.search(_key(target) or last(target)) for target in targets):
                yield node.value
        elif isinstance(node, ast.Dict):
            keys = zip(node.keys, node.values, strict=True)
            yield from (value for key, value in keys if isinstance(key, ast.Constant) and SEED.search(str(key.value)))
        elif isinstance(node, ast.arguments):
            yield from (value for one, value in defaults(node) if SEED.search(one.arg))


def _is_volatile(source: Source, call: ast.Call) -> str:
    name = source.resolve(call.func) or ""
    if name == "builtins.hash" and call.args and is_number(source, call.args[0]):
        return ""
    return VOLATILE.get(name, "")


# --- seeds that are ignored, or fixed ------------------------------------------------------------------------------------


def _key(node: ast.AST) -> str:
    """The text in `x["text"]`, `x.get("text")` and `getattr(x, "text")`."""
    key: ast.AST | None = None
    if isinstance(node, ast.Subscript):
        key = node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        key = node.args[0]
    elif isinstance(node, ast.Call) and last(node.func) == "getattr" and len(node.args) > 1:
        key = node.args[1]
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""


def _seed_named(source: Source, node: ast.expr) -> str:
    """How the code calls the seed that an expression is; "" for what is no seed, or a switch about one."""
    if isinstance(node, ast.NamedExpr):
        return _seed_named(source, node.target) if source.parent.get(node) else ""
    name = _key(node) or last(node)
    if not SEED.search(name) or SWITCH.search(name):
        return ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and source.resolve(node.func.value) == "os.environ":
        return ""  # a text: "0" is true
    if isinstance(node, ast.Name) and source.home(node) is None and not isinstance(node.ctx, ast.Store):
        return ""
    annotations = [one.annotation for one in source.reaching(node)] if isinstance(node, ast.Name) else []
    given = [one.value for one in source.reaching(node)] if isinstance(node, ast.Name) else []
    given += list(attribute_values(source, node)) if isinstance(node, ast.Attribute) else []
    typed = {name for annotation in annotations for name in named(source, annotation)}
    if typed & NOT_A_SEED and "builtins.int" not in typed:
        return ""
    values = [one for one in given if one is not None]
    other = (ast.Compare, ast.List, ast.Tuple, ast.Dict, ast.ListComp)
    if values and all(isinstance(one, other) or (isinstance(one, ast.Constant) and isinstance(one.value, bool | str)) for one in values):
        return ""
    return ast.unparse(node)


def _is_truth_test(source: Source, node: ast.AST) -> bool:
    """Whether an expression stands where only its truth counts."""
    above = source.parent.get(node)
    if isinstance(above, ast.If | ast.While | ast.IfExp | ast.Assert):
        return above.test is node
    if isinstance(above, ast.UnaryOp):
        return isinstance(above.op, ast.Not)
    if isinstance(above, ast.comprehension):
        return any(one is node for one in above.ifs)
    if isinstance(above, ast.BoolOp):
        return above.values[-1] is not node or _is_truth_test(source, above)
    return isinstance(above, ast.Call) and source.resolve(above.func) == "builtins.bool"


def _fixed_in_a_function(source: Source, call: ast.Call, name: str) -> bool:
    """Whether a global generator gets a number of the code's own in a function of the program: not in `main`, not in a test."""
    seed = argument(call, 0, draws.SEED_GLOBALS[name])
    function = source.function(call)
    if not isinstance(seed, ast.Constant) or is_none(seed) or function is None:
        return False
    names = [getattr(one, "name", "") for one in (function, *source.ancestors(function))]
    return not any(one in ("main", "setUp", "setUpClass") or one.lower().startswith("test") for one in names)
