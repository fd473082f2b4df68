"""The level `portable`: the same bits on every x86-64-v3 machine. What it refuses, and what it sets up in TensorFlow.

    a config      CPU of the baseline, TensorFlow, one device, float32, no XLA (`check`, `check_config`)
    a process     Eigen's cache sizes, no graph rewrites, exact operations, and the answers known beforehand (`apply`)
    a model       every operation of its graphs, and every one that Python executes, is in the table (`check_operations`)

The table (`portable.json`) comes from tests/portable/operations.py, which executes each operation on this CPU and on emulated ones;
what isn't there, or differed, is refused by name.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seedbed import Refused

# What x86-64-v3 asks for beyond x86-64 (System V ABI for AMD64, 1.0, table 3.1), by NumPy's names for it.
BASELINE = ("CX16", "LAHF", "POPCNT", "SSE3", "SSE41", "SSE42", "SSSE3", "AVX", "AVX2", "BMI", "BMI2", "F16C", "FMA3", "LZCNT", "MOVBE")

# What the levels' switches are where a level doesn't name them: not a part of its key.
DEFAULTS: dict[str, Any] = {"graph_rewrites": True, "exact_operations": False, "cache_sizes": None}

# Operations that hold, pass on or call, and compute nothing themselves; what they call is looked into, too.
HOLDS = frozenset({
    "PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile", "Case", "StatelessCase",
    "Placeholder", "PlaceholderWithDefault", "Const", "NoOp", "Identity", "IdentityN", "_Arg", "_Retval", "StopGradient", "PreventGradient",
    "ReadVariableOp", "AssignVariableOp", "VarHandleOp", "VarIsInitializedOp", "DestroyResourceOp", "DisableCopyOnRead", "FakeParam",
    "TensorListReserve", "EmptyTensorList", "TensorListSetItem", "TensorListGetItem", "TensorListStack", "TensorListFromTensor",
    "TensorListPushBack", "TensorListPopBack", "TensorListElementShape", "TensorListLength", "TensorListResize", "TensorListGather",
    "TensorListScatterV2", "TensorListConcatV2", "TensorListSplit", "ZerosLike", "OnesLike", "Fill", "EnsureShape", "Assert",
    "Shape", "ShapeN", "Size", "Rank",
})  # fmt: skip

# What a pipeline is made of: it moves batches, and the functions in it are looked into by themselves.
PIPELINE = re.compile(r"^(Iterator|Optional|MakeIterator|AnonymousIterator|ReduceDataset|Dataset)|Dataset(V\d)?$")

# Their results have no floating-point numbers, and are computed from some on the way, or by code out of sight.
NOT_BY_DTYPE = ("Decode", "PyFunc", "EagerPyFunc", "PyFuncStateless", "XlaLaunch", "NumpyFunction")

FLOATS = ("half", "bfloat16", "float16", "float32", "float64", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2")

# In the names of operations that only look at values: seedbed's own, of a traced run.
OURS = "seedbed_looks"

_MET: dict[tuple[str, str], None] = {}  # (operation, floating dtype or "") that Python executed or put into a graph
_WATCHING: list[Any] = []
_OWN: list[None] = []  # an item while seedbed's own pipelines are made
_SIZES: list[int] = []  # the sizes of caches that are fixed


@cache
def table() -> dict[str, Any]:
    """{"tensorflow": version, "operations": {name: [floating dtypes]}, "refused": {name: reason}, "known": {name: digest}}."""
    content: dict[str, Any] = json.loads((Path(__file__).with_name("portable.json")).read_text())
    return content


def cpu_features() -> Mapping[str, bool]:
    """What the CPU has, as it says itself (CPUID) and NumPy reads it: /proc/cpuinfo has the host's, under user-mode emulation."""
    try:
        from numpy._core._multiarray_umath import __cpu_features__  # type: ignore[import-not-found]  # compiled
    except ImportError:  # no public name has it
        return {}
    return dict(__cpu_features__)


def missing() -> list[str]:
    """What of BASELINE this CPU hasn't; all of it where there is no telling."""
    has = cpu_features()
    return [name for name in BASELINE if not has.get(name)]


def check(level: Mapping[str, Any]) -> None:
    """Raise Refused if the level is `portable`, and this machine or the level's backend can't keep it."""
    if level["level"] != "portable":
        return
    wrong = []
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        wrong.append(f"this is {platform.system()} on {platform.machine()}. Accepted: Linux on x86_64 (on others, its image).")
    elif lacking := missing():
        wrong.append(f"this CPU lacks {', '.join(lacking)}. Accepted: x86-64-v3 (Intel since Haswell, AMD since Zen).")
    if (backend := level["environment"].get("KERAS_BACKEND")) != "tensorflow":
        wrong.append(f"backend={backend} compiles or chooses its kernels for the CPU that it finds. Accepted: backend=tensorflow.")
    if level.get("replicas", 1) != 1:
        wrong.append(
            f"strategy.replicas={level['replicas']}: sums over replicas have not been measured on other CPUs. Accepted: strategy=single."
        )
    if (threads := level["threads"]["intra_op"]) not in table()["threads"]:
        wrong.append(f"threads.intra_op={threads}: operations have not been measured on other CPUs with that "
                     f"number. Accepted: {', '.join(map(str, table()['threads']))}.")  # fmt: skip
    _refuse(wrong)


def check_config(config: DictConfig) -> None:
    """Raise Refused for what a config asks for beside the level `portable` that has no portable bits."""
    if config.determinism.level != "portable":
        return
    wrong = []
    if config.training.jit_compile:
        wrong.append("training.jit_compile=true: XLA makes its code for the CPU that it finds. Accepted: false.")
    if config.training.mixed_precision:
        wrong.append("training.mixed_precision=true: products in 16 bits have other kernels on each CPU. Accepted: false.")
    if config.strategy.name != "single":
        wrong.append(
            f"strategy={config.strategy.name}: sums over replicas have not been measured on other CPUs. Accepted: strategy=single."
        )
    _refuse(wrong)


def _refuse(wrong: list[str]) -> None:
    if wrong:
        raise Refused(
            "\n".join(f"determinism=portable can't be kept: {line}" for line in wrong) + "\nOr a weaker level: determinism=strict."
        )


def apply(level: Mapping[str, Any]) -> None:
    """Set TensorFlow up by the level's switches, or back to its own; harmless to repeat. Raises Refused if it can't be had."""
    import tensorflow as tf

    from seedbed.run import cache_sizes, exact

    switches = {name: level.get(name, default) for name, default in DEFAULTS.items()}
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not switches["graph_rewrites"]})
    (exact.put if switches["exact_operations"] else exact.take_back)()
    if (switches["cache_sizes"] or []) != _SIZES:
        cache_sizes.fix(switches["cache_sizes"]) if switches["cache_sizes"] else cache_sizes.forget()
        _SIZES[:] = switches["cache_sizes"] or []
    if level["level"] == "portable":
        _watch()
        _check_known(str(tf.__version__))
    else:
        _unwatch()


def _check_known(version: str) -> None:
    """Compare a few results with those of the machine that the table was measured on, in some 50 ms: what no setting has foreseen
    (another build, a library put in between) is found before training."""
    from seedbed.run import known

    expected = table()
    if version != expected["tensorflow"]:
        raise Refused(f"determinism=portable was measured with TensorFlow {expected['tensorflow']}, and this is {version}. "
                      "Accepted: that version, a table made anew (tests/portable/operations.py), or determinism=strict.")  # fmt: skip
    if other := [name for name, digest in known.answers().items() if digest != expected["known"].get(name)]:
        raise Refused(f"determinism=portable can't be kept: {', '.join(other)} give other bits here than on the machines that were "
                      "measured. Accepted: the packages of requirements/ on x86-64-v3; or determinism=strict.")  # fmt: skip


def _watch() -> None:
    if not _WATCHING:
        from tensorflow.python.framework import op_callbacks  # no public way in TensorFlow 2.21

        op_callbacks.add_op_callback(_see)
        _WATCHING.append(_see)


def watch_thread() -> None:
    """Watch what this thread executes, too, where the level is `portable`: TensorFlow asks for that thread by thread."""
    if _WATCHING:
        from tensorflow.python.framework import op_callbacks

        op_callbacks.add_op_callback(_see)


@contextmanager
def own() -> Iterator[None]:
    """Meanwhile operations aren't looked at: for seedbed's own Python code in a pipeline, which moves and orders."""
    _OWN.append(None)
    try:
        yield
    finally:
        _OWN.pop()


def _unwatch() -> None:
    if _WATCHING:
        from tensorflow.python.framework import op_callbacks

        op_callbacks.remove_op_callback(_WATCHING.pop())
        _MET.clear()


def _see(op_type: Any, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None) -> None:
    name = op_type.decode() if isinstance(op_type, bytes) else str(op_type)
    if OURS in str(op_name) or _OWN:
        return
    dtypes = {getattr(getattr(tensor, "dtype", None), "name", "") for tensor in (*inputs, *outputs)}
    for dtype in (dtypes & set(FLOATS)) or {""}:
        _MET[name, dtype] = None


def operations_of(graph: Any) -> dict[tuple[str, str], None]:
    """(operation, floating dtype or "") of a graph (tf.Graph) and of the functions in it."""
    from tensorflow.python.framework import dtypes

    definition = graph.as_graph_def()
    found: dict[tuple[str, str], None] = {}
    for node in (*definition.node, *(node for function in definition.library.function for node in function.node_def)):
        types = {kind for value in node.attr.values() for kind in (value.type, *value.list.type)} - {0}
        named = {dtypes.as_dtype(kind).name for kind in types} & set(FLOATS)
        found |= dict.fromkeys((node.op, dtype) for dtype in named or {""})
    return found


def unproven(met: Iterable[tuple[str, str]]) -> list[str]:
    """Those of the operations that are not known to have the same bits on every CPU, each with why, as far as that is known."""
    proven, refused, found = table()["operations"], table()["refused"], {}
    for name, dtype in met:
        plain = name.removeprefix("_Mkl")
        if name.startswith("__") or plain in HOLDS or PIPELINE.search(plain) or (not dtype and not plain.startswith(NOT_BY_DTYPE)):
            continue
        if dtype not in proven.get(plain, ()):
            found[plain, dtype] = refused.get(plain, {}).get(dtype, "not measured")
    return [f"{name} ({' '.join(filter(None, (dtype,)))}: {why})" for (name, dtype), why in sorted(found.items())]


def check_operations(level: str, graphs: Iterable[Any] = ()) -> None:
    """Raise Refused if what this process has executed, or `graphs` are to execute, isn't proven; at another level nothing."""
    if level != "portable":
        return
    met = dict(_MET)
    for graph in graphs:
        met |= operations_of(graph)
    if found := unproven(met):
        raise Refused(
            f"determinism=portable is not known to be kept by {'this operation' if len(found) == 1 else 'these operations'} of the model "
            f"or its data:\n  " + "\n  ".join(found) + "\nUse others (docs/portable.md has the table), or determinism=strict."
        )
