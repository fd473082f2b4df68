"""What must hold before Python starts: hash seed, library switches, thread counts; and how to get there.

PYTHONHASHSEED is read when the interpreter starts and TensorFlow's switches when it is imported, so the only honest way
to set them is to start the process anew: `replace` does so once, by `execve`, keeping the process id. This module imports
the standard library alone, so that nothing heavy has been imported when it decides.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from seedbed import Refused
from seedbed.run import children

# Read by libraries when they are imported or start their thread pools: too late once one of these is loaded.
IMPORTED_TOO_EARLY = ("tensorflow", "jax", "torch")

# -P: the working directory, which `-m` would look in first, is no place for modules (PYTHONPATH is).
COMMAND = (sys.executable, "-P", "-m", "seedbed")

# Set by `replace`, so that a variable that doesn't survive the start of a process is an error and not an endless loop.
REPLACED = "SEEDBED_PROCESS_REPLACED"

# The master seed that `determinism=off` drew before the process was replaced.
ENTROPY = "SEEDBED_ENTROPY"

# The one variable that a user's shell can't contradict: its value is the stream `hash`, so it is ours by name.
OURS = frozenset({"PYTHONHASHSEED"})

# Set by the image: the variables that it has set, as NAME=VALUE separated by blanks. One that still has that value is nobody's
# word, and a config may ask for another.
IMAGE_SETS = "SEEDBED_IMAGE_SETS"

# Variables of the outside that can change a result's bits without being named by a level. They are recorded and belong
# to the run key; a level that names one of them (`strict` names several) fixes it instead.
DECIDE_BITS = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "KERAS_BACKEND",
    "MKL_CBWR",
    "NCCL_ALGO",
    "NCCL_PROTO",
    "NPY_DISABLE_CPU_FEATURES",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "TF_CUDNN_RNN_USE_AUTOTUNE",
    "TF_CUDNN_USE_AUTOTUNE",
    "TF_DETERMINISTIC_OPS",
    "TF_DISABLE_SCATTER_OP_DETERMINISM",
    "TF_DISABLE_SEGMENT_REDUCTION_OP_DETERMINISM_EXCEPTIONS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_MATMUL_AUTOTUNE_ENABLE",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_USE_CUBLASLT",
    "TF_USE_LEGACY_KERAS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)

# And these, where the backend is that one (joblib's workers set MKL_NUM_THREADS, and TensorFlow has no MKL).
OF_BACKENDS = {
    "jax": ("JAX_DEFAULT_MATMUL_PRECISION", "JAX_DEFAULT_PRNG_IMPL", "JAX_ENABLE_X64", "JAX_THREEFRY_PARTITIONABLE", "PJRT_NPROC"),
    "torch": ("ATEN_CPU_CAPABILITY", "MKL_NUM_THREADS"),
}


def deciding(backend: str) -> tuple[str, ...]:
    """The variables that can change a result's bits with this backend."""
    return (*DECIDE_BITS, *OF_BACKENDS.get(backend, ()))


@contextmanager
def signals_to(stop: Callable[[int, Any], None]) -> Iterator[None]:
    """Hand SIGTERM and Ctrl-C to `stop` meanwhile; elsewhere than in the main thread, where Python can't, nothing."""
    ours = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def differing(needed: Mapping[str, str | None], environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """The variables of `needed` that this process doesn't have as needed, with the value needed (None: unset)."""
    env = os.environ if environ is None else environ
    return {name: value for name, value in needed.items() if env.get(name) != value}


def conflicts(needed: Mapping[str, str | None], environ: Mapping[str, str] | None = None) -> list[str]:
    """What the user's environment contradicts: a variable set to something else than the level needs.

    A variable that the level wants unset (None) is no conflict: the promise gets no weaker without it.
    """
    env = os.environ if environ is None else environ
    images = set(env.get(IMAGE_SETS, "").split())
    return [
        f"{name}={env[name]} is set, {name}={value} is needed: `unset {name}`"
        + (f", or train with that number: determinism.threads.intra_op={env[name]}" if name.endswith("_THREADS") else "")
        for name, value in differing(needed, env).items()
        if value is not None and name in env and name not in OURS and f"{name}={env[name]}" not in images
    ]


def refuse_conflicts(needed: Mapping[str, str | None], level: str) -> None:
    """Raise Refused if the user's environment contradicts the level."""
    if clash := conflicts(needed):
        raise Refused(f"determinism={level} can't be kept in this environment:\n  " + "\n  ".join(clash))


def replace(needed: Mapping[str, str | None], argv: Sequence[str], entropy: int | None = None, level: str = "this level") -> None:
    """Start `python -m seedbed argv` in this process's place with the environment `needed`; return if it is right already.

    Raises Refused if the user's environment contradicts the level, or if a replaced process still isn't right.
    """
    wrong = differing(needed)
    if not wrong and not sys.flags.ignore_environment:
        os.environ.pop(REPLACED, None)  # this process's children are to be judged afresh
        return
    refuse_conflicts(needed, level)
    if os.environ.get(REPLACED) or sys.flags.ignore_environment:
        raise Refused(
            f"determinism={level} needs {_listing(wrong or needed)}, but the interpreter does not take its environment over "
            "(python -E or -I, or a sitecustomize that sets it): start seedbed with a plain `python -m seedbed`."
        )
    _execve(needed, argv, entropy)


def check(needed: Mapping[str, str | None], level: str = "this level") -> None:
    """Raise Refused unless this process was started with the environment `needed` (for callers that can't be replaced)."""
    wrong = differing(needed)
    if not wrong:
        return
    early = [name for name in IMPORTED_TOO_EARLY if name in sys.modules]
    why = f"{', '.join(early)} was imported before that" if early else "it must be set before Python starts"
    raise Refused(
        f"determinism={level} needs {_listing(wrong)}, and {why}: train with `seedbed train` (it sets this up by itself), "
        "or start Python with these variables."
    )


def environment(needed: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with the variables of `needed`, for a child that is judged afresh."""
    env = {name: value for name, value in os.environ.items() if needed.get(name, value) is not None and name not in (REPLACED, ENTROPY)}
    return env | {name: value for name, value in needed.items() if value is not None}


def _execve(needed: Mapping[str, str | None], argv: Sequence[str], entropy: int | None) -> NoReturn:
    env = environment(needed) | {REPLACED: "1"} | children.handed_on()
    if entropy is not None:
        env[ENTROPY] = str(entropy)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [*COMMAND, *argv], env)


def _listing(variables: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name}={value}" if value is not None else f"{name} unset" for name, value in variables.items())
