"""Rules about input pipelines: order and draws that depend on which thread or process is quicker."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from seedbed.proof.rules import draws
from seedbed.proof.rules.names import Source
from seedbed.proof.rules.syntax import FUNCTIONS, argument, defaults, is_false, is_none, is_open, last
from seedbed.proof.rules.values import definition, origins

PARALLEL = {"map", "interleave", "map_with_legacy_function"}
# Methods of tf.data.Dataset with an argument `deterministic`.
ORDERED = {"map", "interleave", "batch", "padded_batch", "ragged_batch", "map_with_legacy_function"}
SWITCHES = ("deterministic", "experimental_deterministic")
# Keras's functions that read a folder; all shuffle unless told otherwise, with a seed from NumPy's global generator.
READ_A_FOLDER = re.compile(r"keras\.(utils|preprocessing)\.(image\.|text\.)?(image|text|audio)_dataset_from_directory")
DATASET_NAME = re.compile(r"(^|_)(ds|dataset|datasets|data_set)($|_)", re.IGNORECASE)
# Methods that a tf.data.Dataset has and a generator of random numbers hasn't.
DATASET_METHODS = {"batch", "padded_batch", "map", "prefetch", "repeat", "cache", "take", "skip", "interleave", "flat_map", "unbatch"}
DRAW_FROM_DATASETS = ("tensorflow.data.Dataset.sample_from_datasets", "tensorflow.data.Dataset.random")
SEEDED_BY = ("tensorflow.random.set_seed", "keras.utils.set_random_seed", "tensorflow.set_random_seed")

POOLS = {"multiprocessing.Pool", "multiprocessing.pool.Pool", "multiprocessing.pool.ThreadPool", "multiprocessing.dummy.Pool",
         "multiprocessing.get_context", "torch.multiprocessing.Pool", "concurrent.futures.ProcessPoolExecutor",
         "concurrent.futures.ThreadPoolExecutor", "concurrent.futures.process.ProcessPoolExecutor",
         "concurrent.futures.thread.ThreadPoolExecutor"}  # fmt: skip
POOL_METHODS = {"map", "imap", "imap_unordered", "starmap", "map_async", "starmap_async", "apply", "apply_async", "submit"}
PROCESSES = {"multiprocessing.Process", "threading.Thread", "multiprocessing.context.Process"}
LOADERS = {"keras.utils.PyDataset", "keras.utils.Sequence"}


def findings(source: Source) -> Iterator[tuple[str, ast.AST, str]]:
    """(code, node, what) for each."""
    for call in source.calls:
        name, word = source.resolve(call.func) or "", last(call.func)
        if word in PARALLEL and _is_parallel(source, call) and call.args and (found := _stateful(source, call.args[0])):
            yield "SB301", call, f"a parallel `{word}` calls {found}"
        sloppy = argument(call, None, "sloppy") if word == "parallel_interleave" else None
        if (word in ORDERED and is_false(argument(call, None, "deterministic"))) or (isinstance(sloppy, ast.Constant) and sloppy.value):
            yield "SB302", call, f"`{word}` may hand elements on in the order in which they are ready"
        if what := _shuffles_unseeded(source, call, name):
            yield ("SB303" if name.endswith(".list_files") else "SB304"), call, what
        if found := _worker_draws(source, call, name):
            yield "SB305", call, found
    for node in source.nodes:
        if isinstance(node, ast.Assign) and is_false(node.value):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr in SWITCHES and _is_options(source, target):
                    yield "SB302", target, f"`{ast.unparse(target)} = False` for the whole pipeline"
        elif isinstance(node, ast.ClassDef):
            yield from _loader(source, node)


# --- parallel maps -------------------------------------------------------------------------------------------------------


def _is_parallel(source: Source, call: ast.Call) -> bool:
    number = argument(call, 1 if last(call.func) == "map" else 3, "num_parallel_calls")
    if number is None or is_none(number) or (isinstance(number, ast.Constant) and number.value == 1):
        return False
    # `pool.map(f, items)` is no map of tf.data
    return any(word.arg == "num_parallel_calls" for word in call.keywords) or _is_dataset(source, call)


def _stateful(source: Source, given: ast.expr) -> str:
    """What a mapped function draws from, with its line; "" if nothing."""
    if draws.is_random_layer(source, given):
        return f"the layer `{ast.unparse(given)}`, which draws"
    found = draws.first_draw(source, definition(source, given))
    return f"{_named(found.what)} (line {getattr(found.node, 'lineno', 0)})" if found else ""


# --- shuffles ------------------------------------------------------------------------------------------------------------


def _shuffles_unseeded(source: Source, call: ast.Call, name: str) -> str:
    """What is wrong with a call that shuffles: no seed; "" if it doesn't, or has one."""
    word = last(call.func)
    seed = argument(call, 1 if word == "shuffle" else 2 if word == "list_files" else None, "seed")
    if is_open(call) or (seed is not None and not is_none(seed)):
        return ""
    if READ_A_FOLDER.fullmatch(name) or word in ("flow_from_directory", "flow_from_dataframe"):
        return "" if is_false(argument(call, None, "shuffle")) else f"`{word}` shuffles without a seed"
    what = ""
    if name == "tensorflow.data.Dataset.list_files":
        what = "" if is_false(argument(call, 1, "shuffle")) else "`list_files` shuffles the names without a seed"
    elif name in DRAW_FROM_DATASETS or (word == "rejection_resample" and not name):
        what = f"`{word}` draws without a seed"
    elif word == "shuffle" and not name and (call.args or call.keywords) and _is_dataset(source, call):
        what = "`shuffle` without a seed"
    return what if what and not draws.is_seeded(source, call, *SEEDED_BY) else ""


def _is_dataset(source: Source, call: ast.Call) -> bool:
    """Whether a method is one of a tf.data.Dataset: by what made that, by its name, or by the methods before and after."""
    if not isinstance(call.func, ast.Attribute) or isinstance(source.parent.get(call), ast.Expr):
        return False
    receiver = call.func.value
    made = origins(source, receiver)
    if made & draws.GENERATORS or made & POOLS:
        return False
    if any(one.startswith("tensorflow.data.") or READ_A_FOLDER.fullmatch(one) or one == "tensorflow_datasets.load" for one in made):
        return True
    if made:
        return False
    after = source.parent.get(call)
    before = receiver.func if isinstance(receiver, ast.Call) else None
    chained = any(isinstance(one, ast.Attribute) and one.attr in DATASET_METHODS for one in (after, before))
    return chained or bool(DATASET_NAME.search(last(receiver)))


def _is_options(source: Source, target: ast.Attribute) -> bool:
    made = origins(source, target.value)
    return any(one.startswith("tensorflow.data.") for one in made) if made else "option" in last(target.value).lower()


# --- workers -------------------------------------------------------------------------------------------------------------


def _worker_draws(source: Source, call: ast.Call, name: str) -> str:
    """What a function that runs in workers draws from; "" if nothing."""
    worker: ast.expr | None = None
    if name in PROCESSES:
        worker = argument(call, 1, "target")
    elif name == "joblib.delayed" or (name == "joblib.parallel.delayed"):
        worker = argument(call, 0, "function")
    elif last(call.func) in POOL_METHODS and isinstance(call.func, ast.Attribute) and origins(source, call.func.value) & POOLS:
        worker = argument(call, 0, "func", "fn")
    if worker is None:
        return ""
    found = draws.first_draw(source, definition(source, worker))
    shown = ast.unparse(worker)
    return f"`{shown}` runs in workers and draws from {_named(found.what)} (line {getattr(found.node, 'lineno', 0)})" if found else ""


def _loader(source: Source, owner: ast.ClassDef) -> Iterator[tuple[str, ast.AST, str]]:
    """Draws in the methods of a PyDataset that is used with worker processes."""
    if not any(source.resolve(base) in LOADERS for base in owner.bases) or not _in_processes(source, owner):
        return
    for method in owner.body:
        if isinstance(method, FUNCTIONS) and getattr(method, "name", "") not in ("__init__", "on_epoch_end", "on_epoch_begin"):
            found = draws.first_draw(source, method)
            if found is not None and source.owner(found.node) is owner:
                yield "SB305", found.node, f"a PyDataset with worker processes draws from {_named(found.what)}"


def _in_processes(source: Source, owner: ast.ClassDef) -> bool:
    """Whether `use_multiprocessing=True` stands in the class, in a call of it, or in a `fit` of the module."""
    for call in source.calls:
        if isinstance(flag := argument(call, None, "use_multiprocessing"), ast.Constant) and flag.value is True:
            inside = owner in source.ancestors(call)
            if inside or definition(source, call.func) is owner or last(call.func) in ("fit", "fit_generator"):
                return True
    pairs = [pair for node in ast.walk(owner) if isinstance(node, ast.arguments) for pair in defaults(node)]
    return any(one.arg == "use_multiprocessing" and isinstance(value, ast.Constant) and value.value is True for one, value in pairs)


def _named(what: str) -> str:
    return what if what.startswith("the ") else f"`{what}`"
