"""Rules about the process and the machine: variables that are set too late, settings that set nothing, cores, time zone, locale."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from seedbed.proof.rules.names import Source
from seedbed.proof.rules.syntax import FUNCTIONS, argument, is_none, last
from seedbed.proof.rules.values import bound_values
from seedbed.run import environment_reads

HASH_SEED = "PYTHONHASHSEED"
NUMBERS_OF_CORES = {"os.cpu_count", "os.process_cpu_count", "multiprocessing.cpu_count", "psutil.cpu_count", "os.sched_getaffinity"}

# Variables that a library reads once, when it is imported or first computes, with the modules that bring it.
READ_AT_IMPORT = {
    **dict.fromkeys(("TF_ENABLE_ONEDNN_OPTS", "TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC", "TF_CUDNN_USE_AUTOTUNE", "TF_XLA_FLAGS",
                     "XLA_FLAGS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
                     "ONEDNN_DEFAULT_FPMATH_MODE", "TF_USE_LEGACY_KERAS", "NVIDIA_TF32_OVERRIDE"), ("tensorflow", "keras")),
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "MKL_NUM_THREADS", "MKL_CBWR", "OMP_NUM_THREADS",
                     "NPY_DISABLE_CPU_FEATURES"), ("numpy", "tensorflow", "keras", "sklearn", "scipy", "pandas")),
    "KERAS_BACKEND": ("keras",),
}  # fmt: skip

# Calls that start a process anew, which then has what was set before: the right way to set such a variable.
START_A_PROCESS = ("os.exec", "os.spawn", "os.posix_spawn", "subprocess.", "multiprocessing.")

# Functions that are called to set something; assigning to their names replaces the functions.
SETTERS = {"random.seed", "numpy.random.seed", "tensorflow.random.set_seed", "keras.utils.set_random_seed", "torch.manual_seed",
           "torch.set_num_threads", "torch.use_deterministic_algorithms"}  # fmt: skip
SETTERS_IN = ("tensorflow.config.threading.set_", "tensorflow.config.set_", "tensorflow.config.experimental.set_",
              "tensorflow.config.experimental.enable_", "tensorflow.config.optimizer.set_", "tensorflow.config.run_functions_eagerly",
              "keras.config.set_", "keras.config.enable_")  # fmt: skip

# Where the number of threads or workers decides bits or order: the sums of a product, which worker's generator makes which batch,
# how data are interleaved or cut.
THREADS = {"tensorflow.config.threading.set_intra_op_parallelism_threads", "torch.set_num_threads"}
WORKERS = ("workers", "num_workers", "cycle_length", "num_shards", "intra_op_parallelism_threads")
CUT = {"numpy.array_split", "numpy.split"}


def findings(source: Source) -> Iterator[tuple[str, ast.AST, str]]:
    """(code, node, what) for each."""
    for node, name, value in _variables(source):
        if _starts_a_process(source, node):
            continue
        if name == HASH_SEED:
            yield "SB401", node, "PYTHONHASHSEED set when the interpreter runs already"
        elif (module := _imported_before(source, node, READ_AT_IMPORT.get(name, ()))) is not None:
            yield "SB402", node, f"{name} set after `{module}` was imported"
        if name.endswith("_THREADS") and value is not None and _counts_cores(source, value):
            yield "SB404", node, f"{name} is what this machine has"
    for node, read in environment_reads.reads(source.tree):
        if read is not None and not isinstance(source.parent.get(node), ast.Expr):  # all of it goes to a process that is started
            yield "SB406", node, f"the value of {read} decides"
    for one in source.nodes:
        if isinstance(one, ast.Assign | ast.AnnAssign) and not isinstance(one.value, ast.Lambda):
            for target in one.targets if isinstance(one, ast.Assign) else [one.target]:
                if isinstance(target, ast.Attribute) and _is_setter(source, target):
                    yield "SB403", target, f"`{ast.unparse(target)}` is a function: assigning to it sets nothing"
        elif isinstance(one, ast.Expr) and isinstance(one.value, ast.Attribute) and _is_setter(source, one.value):
            yield "SB403", one.value, f"`{ast.unparse(one.value)}` isn't called"
        elif isinstance(one, ast.Call):
            yield from _call(source, one)


def _call(source: Source, call: ast.Call) -> Iterator[tuple[str, ast.AST, str]]:
    name = source.resolve(call.func) or ""
    given = [word.value for word in call.keywords if word.arg in WORKERS]
    if name in THREADS:
        given += call.args
    elif name in CUT:
        given += call.args[1:]
    if any(_counts_cores(source, one) for one in given):
        yield "SB404", call, f"`{last(call.func)}` by the number of this machine's cores"
    if name == "locale.setlocale" and isinstance(wanted := argument(call, 1, "locale"), ast.Constant) and wanted.value == "":
        yield "SB405", call, "the locale of whoever runs it"
    elif name in ("time.localtime", "time.mktime", "time.ctime") and call.args and not is_none(call.args[0]):
        yield "SB405", call, f"`{name}` reckons in the machine's time zone"


# --- variables -----------------------------------------------------------------------------------------------------------


def _variables(source: Source) -> Iterator[tuple[ast.AST, str, ast.expr | None]]:
    """(node, name, value) for each variable of the process that the code sets."""
    for node in source.nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and source.resolve(target.value) == "os.environ":
                    yield from _pair(target, target.slice, node.value)
        elif isinstance(node, ast.AugAssign) and source.resolve(node.target) == "os.environ":
            yield from _pairs(node.value)
        elif isinstance(node, ast.Call):
            name = source.resolve(node.func)
            if name in ("os.environ.setdefault", "os.putenv", "os.environ.__setitem__") and node.args:
                yield from _pair(node, node.args[0], argument(node, 1))
            elif name == "os.environ.update":
                yield from ((word.value, word.arg, word.value) for word in node.keywords if word.arg)
                for one in node.args:
                    yield from _pairs(one)


def _pair(node: ast.AST, key: ast.AST, value: ast.expr | None) -> Iterator[tuple[ast.AST, str, ast.expr | None]]:
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        yield node, key.value, value


def _pairs(given: ast.AST) -> Iterator[tuple[ast.AST, str, ast.expr | None]]:
    if isinstance(given, ast.Dict):
        for key, value in zip(given.keys, given.values, strict=True):
            if key is not None:
                yield from _pair(key, key, value)
    elif isinstance(given, ast.Call):
        yield from ((word.value, word.arg, word.value) for word in given.keywords if word.arg)


def _starts_a_process(source: Source, node: ast.AST) -> bool:
    """Whether the same function (or, at the module's level, the module) goes on to start a process."""
    inside = source.function(node)
    return any(
        (source.resolve(call.func) or "").startswith(START_A_PROCESS) and call.lineno >= getattr(node, "lineno", 0)
        and source.function(call) is inside
        for call in source.calls
    )  # fmt: skip


def _imported_before(source: Source, node: ast.AST, modules: tuple[str, ...]) -> str | None:
    """Which of the modules has been imported when `node` runs: by the module's own lines, or by the function's before it."""
    inside = source.function(node)
    for one in source.nodes:
        if not isinstance(one, ast.Import | ast.ImportFrom):
            continue
        where = source.function(one)
        runs_later = isinstance(inside, FUNCTIONS) and where is None
        if where not in (None, inside) or (one.lineno >= getattr(node, "lineno", 0) and not runs_later) or _for_types(source, one):
            continue
        names = [alias.name for alias in one.names] if isinstance(one, ast.Import) else [one.module or ""] if not one.level else []
        for name in names:
            if name.partition(".")[0] in modules:
                return name
    return None


def _for_types(source: Source, node: ast.AST) -> bool:
    return any(isinstance(one, ast.If) and last(one.test) == "TYPE_CHECKING" for one in source.ancestors(node))


def _is_setter(source: Source, node: ast.Attribute) -> bool:
    name = source.resolve(node) or ""
    return name in SETTERS or name.startswith(SETTERS_IN)


def _counts_cores(source: Source, node: ast.expr, depth: int = 3) -> bool:
    """Whether a number comes from the number of cores."""
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and source.resolve(one.func) in NUMBERS_OF_CORES:
            return True
        values = bound_values(source, one) if depth and isinstance(one, ast.Name) else ()
        if any(_counts_cores(source, value, depth - 1) for value in values):
            return True
    return False
