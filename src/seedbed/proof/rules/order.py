"""Rules about order and memory: sets, directory listings, hashes, results as they come, arrays read before they are written."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from seedbed.proof.rules import flow, loops, sets
from seedbed.proof.rules.names import Source
from seedbed.proof.rules.syntax import argument, is_false, last
from seedbed.proof.rules.values import definition, is_number, origins, uses

LISTINGS = {"os.listdir", "os.scandir", "glob.glob", "glob.iglob", "tensorflow.io.gfile.listdir", "tensorflow.io.gfile.glob"}
WALKS = {"os.walk", "os.fwalk", "tensorflow.io.gfile.walk"}
# Names that are hardly anything but pathlib's; `glob` is other libraries' method, too.
PATH_METHODS = {"iterdir", "rglob"}
# File systems of the cloud sort what they find; the names are what people call them.
SORTED_SYSTEMS = ("fsspec", "gcsfs", "s3fs", "adlfs")
SORTED_NAMES = {"fs", "filesystem", "file_system", "bucket", "store"}
AS_COMPLETED = {"concurrent.futures.as_completed", "asyncio.as_completed", "dask.distributed.as_completed", "distributed.as_completed"}
WAIT = {"asyncio.wait", "concurrent.futures.wait"}
BY_ADDRESS = {"builtins.id": "where an object lies in memory", "builtins.hash": "a hash that each process salts"}
# When a file was changed, read or made is another time in each copy and checkout, and its inode another number.
TIMES = {"os.path.getmtime", "os.path.getatime", "os.path.getctime"}
ST_TIMES = {f"st_{name}{unit}" for name in ("mtime", "atime", "ctime", "birthtime") for unit in ("", "_ns")} | {"st_ino"}
# How threads get their work, and how they put what they have made into something that they share.
HAND_OVER = {"submit", "map", "imap", "starmap", "apply_async", "map_async", "starmap_async"}
THREAD_POOLS = {"concurrent.futures.ThreadPoolExecutor", "multiprocessing.pool.ThreadPool", "multiprocessing.dummy.Pool"}
FILL = {"append", "extend", "insert", "appendleft", "put", "put_nowait"}
# NumPy leaves in them what the memory held before.
NOT_FILLED = {"numpy.empty", "numpy.empty_like"}


def findings(source: Source) -> Iterator[tuple[str, ast.AST, str]]:
    """(code, node, what) for each."""
    for node in source.nodes:
        if isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", None) or ast.Load(), ast.Load):
            empty = isinstance(node, ast.Call) and not node.args and source.resolve(node.func) in sets.SET_MAKERS
            if not empty and sets.is_set(source, node) and flow.counts(source, node, flow.SET):
                yield "SB201", node, f"the order of the set `{_short(node)}` is used"
    for call in source.calls:
        name = source.resolve(call.func) or ""
        if listed := _listing(source, call, name):
            if flow.counts(source, call, flow.SEQUENCE):
                yield "SB202", call, f"`{listed}` in the order of the file system"
        elif name in WALKS:
            if _walk_counts(source, call):
                yield "SB202", call, f"`{name}` in the order of the file system"
        elif name in BY_ADDRESS and (use := _decides(source, call, name)):
            yield "SB203", call, f"`{_short(call)}`, {BY_ADDRESS[name]}, {use}"
        elif (last(call.func) == "imap_unordered" or name in AS_COMPLETED) and flow.counts(source, call, flow.SEQUENCE):
            yield "SB204", call, f"`{last(call.func)}` hands results on in the order in which they are ready"
        elif name in WAIT and _waited_counts(source, call):
            yield "SB204", call, f"`{name}` gives a set of what is ready, in no order"
        elif name in NOT_FILLED and _read_first(source, call):
            yield "SB205", call, f"`{_short(call)}` is computed with before it is filled"
        yield from _sort_key(source, call, name)
        for container in _filled_by_threads(source, call, name):
            yield "SB204", call, f"threads fill `{container.id}` in the order in which they are ready"


def _filled_by_threads(source: Source, call: ast.Call, name: str) -> list[ast.Name]:
    """The lists and queues of elsewhere that a function puts something into which is handed to threads here."""
    if name in ("threading.Thread", "threading.Timer"):
        work = argument(call, 1 if name.endswith("Timer") else None, "target", "function")
    elif isinstance(call.func, ast.Attribute) and call.func.attr in HAND_OVER and call.args:
        made = origins(source, call.func.value)
        threads = any(one in THREAD_POOLS for one in made) or (call.func.attr == "submit" and not any("Process" in one for one in made))
        work = call.args[0] if threads else None
    else:
        return []
    if isinstance(work, ast.Attribute) and work.attr in FILL and isinstance(work.value, ast.Name):
        return [work.value] if loops.collected(source, work.value, call, frozenset()) else []
    function = definition(source, work)
    if function is None or isinstance(function, ast.ClassDef):
        return []
    filled: dict[str, ast.Name] = {}
    for one in ast.walk(function):
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in FILL:
            into = one.func.value
            home = source.home(into) if isinstance(into, ast.Name) else None
            elsewhere = isinstance(into, ast.Name) and home is not None and home.node is not function
            if isinstance(into, ast.Name) and elsewhere and loops.collected(source, into, one, frozenset()):
                filled[into.id] = into
    return list(filled.values())


def _listing(source: Source, call: ast.Call, name: str) -> str:
    """How a call that lists files is called; "" for another one."""
    if name in LISTINGS:
        return name
    if not isinstance(call.func, ast.Attribute) or (name and not name.startswith("pathlib.")):
        return ""
    if call.func.attr in PATH_METHODS and not call.keywords:
        return f"Path.{call.func.attr}"
    receiver = call.func.value
    if call.func.attr == "glob" and call.args and last(receiver) not in SORTED_NAMES:
        return "" if any(one.startswith(SORTED_SYSTEMS) for one in origins(source, receiver)) else "Path.glob"
    return ""


def _walk_counts(source: Source, call: ast.Call) -> bool:
    """Whether the order of `os.walk` counts: of the folders, unless `dirs.sort()` fixes it, or of the files in each."""
    above = source.parent.get(call)
    if isinstance(above, ast.Call) and source.resolve(above.func) == "builtins.sorted":
        in_order, call = True, above
    else:
        in_order = False
    loop = source.parent.get(call)
    if not isinstance(loop, ast.For) or loop.iter is not call or not isinstance(loop.target, ast.Tuple) or len(loop.target.elts) < 3:
        return not in_order and flow.counts(source, call, flow.SEQUENCE)
    _, folders, files = loop.target.elts[:3]
    if not in_order and not (isinstance(folders, ast.Name) and _sorted_in(source, loop, folders.id)):
        return flow.counts(source, call, flow.SEQUENCE)
    home = source.home(files) if isinstance(files, ast.Name) else None
    bindings = [one for one in home.names[files.id] if one.node is loop] if home and isinstance(files, ast.Name) else []
    return any(flow.any_use(source, files.id, one, flow.SEQUENCE, frozenset()) for one in bindings)  # type: ignore[attr-defined]


def _waited_counts(source: Source, call: ast.Call) -> bool:
    """Whether the order of either set counts that `done, rest = wait(…)` gives."""
    statement = next((one for one in source.ancestors(call) if isinstance(one, ast.stmt)), None)
    targets = statement.targets[0] if isinstance(statement, ast.Assign) else None
    for name in targets.elts if isinstance(targets, ast.Tuple) else []:
        if isinstance(name, ast.Name) and (home := source.home(name)):
            bound = [one for one in home.names[name.id] if one.node is statement]
            if any(flow.any_use(source, name.id, one, flow.SET, frozenset()) for one in bound):
                return True
    return False


def _sorted_in(source: Source, loop: ast.For, name: str) -> bool:
    return any(flow.sorts(source, one) for one in ast.walk(loop) if isinstance(one, ast.Name) and one.id == name)


def _decides(source: Source, call: ast.Call, name: str) -> str:
    """What a hash or an id decides about; "" if nothing that would differ."""
    inside = source.function(call)
    if not call.args or (isinstance(inside, ast.FunctionDef) and inside.name in ("__hash__", "__eq__", "__repr__")):
        return ""
    parts = call.args[0].elts if isinstance(call.args[0], ast.Tuple) else call.args
    if name == "builtins.hash" and all(is_number(source, one) for one in parts):
        return ""
    above = source.parent.get(call)
    while isinstance(above, ast.Call) and source.resolve(above.func) in ("builtins.abs", "builtins.int"):
        above = source.parent.get(above)
    places = [above]
    if isinstance(above, ast.Assign) and isinstance(target := above.targets[0], ast.Name) and (home := source.home(target)):
        bound = [one for one in home.names[target.id] if one.node is above]
        places = [source.parent.get(use) for one in bound for use in uses(source, target.id, one)]
    reduces = (ast.Mod, ast.BitAnd, ast.RShift, ast.FloorDiv)
    return "decides which" if any(isinstance(one, ast.BinOp) and isinstance(one.op, reduces) for one in places) else ""


def _sort_key(source: Source, call: ast.Call, name: str) -> Iterator[tuple[str, ast.AST, str]]:
    """`sorted(x, key=id)`, `x.sort(key=lambda one: hash(one))`"""
    key = argument(call, None, "key")
    if key is None or not (name in ("builtins.sorted", "builtins.min", "builtins.max") or last(call.func) == "sort"):
        return
    parts = ast.walk(key.body) if isinstance(key, ast.Lambda) else [key]
    for one in parts:
        named = one.func if isinstance(one, ast.Call) else one
        if (found := source.resolve(named)) in BY_ADDRESS and (one is key or isinstance(one, ast.Call)):
            yield "SB203", one, f"sorted by `{found.removeprefix('builtins.')}`, {BY_ADDRESS[found]}"
        elif found in TIMES and (one is key or isinstance(one, ast.Call)):
            yield "SB202", one, f"sorted by `{found}`, which is another time in each copy"
        elif isinstance(one, ast.Attribute) and one.attr in ST_TIMES:
            yield "SB202", one, f"sorted by `{one.attr}`, which is another one in each copy"


def _read_first(source: Source, call: ast.Call) -> bool:
    """`acc = np.empty(n); acc += x`, `np.empty(n) + x`: the array takes part in a sum with nothing in between that could fill it."""
    shape = argument(call, 0, "shape", "prototype")
    if is_false(shape) or (isinstance(shape, ast.Tuple) and any(is_false(one) for one in shape.elts)):
        return False
    above = source.parent.get(call)
    if isinstance(above, ast.BinOp):
        return not _is_nan(source, above)
    if not isinstance(above, ast.Assign) or len(above.targets) != 1 or not isinstance(above.targets[0], ast.Name):
        return False
    name = above.targets[0].id
    home = source.home(above.targets[0])
    around = home.node if home else source.tree
    named = [one for one in ast.walk(around) if isinstance(one, ast.Name) and one.id == name and one is not above.targets[0]]
    later = sorted((one for one in named if one.lineno >= above.lineno), key=lambda one: (one.lineno, one.col_offset))
    if not later or any(source.function(one) is not source.function(call) for one in later):
        return False
    use = source.parent.get(later[0])
    read = isinstance(use, ast.BinOp) or (isinstance(use, ast.AugAssign) and use.target is later[0])
    return use is not None and read and not _is_nan(source, use)


def _is_nan(source: Source, node: ast.AST) -> bool:
    """`np.empty(n) * np.nan`: whatever it held, it holds NaN now."""
    return any(source.resolve(one) == "numpy.nan" for one in ast.iter_child_nodes(node))


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else text[:37] + "…"
