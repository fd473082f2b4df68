"""The levels applied to the backend: what a level's name promises, and the switches that can be set after the import."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seedbed import Refused
from seedbed.run import accelerator, backend, cuda, portable, process, strategy

# What a level's name may not do without, with the reason; a config that weakens it has to use a weaker name.
NEEDS = {
    "off": {},
    "seeded": {},
    "strict": {
        "op_determinism": (True, "some operations' results depend on timing without it"),
        "environment.TF_DETERMINISTIC_OPS": ("1", "it is read when TensorFlow is imported, before any call can be made"),
        "threads.intra_op": (int, "sums split over another number of threads have other bits"),
        "threads.inter_op": (int, "a number of its own, not the machine's number of cores"),
    },
}
NEEDS["portable"] = NEEDS["strict"] | {
    "environment.CUDA_VISIBLE_DEVICES": ("-1", "each generation of GPUs has kernels, and orders of summation, of its own"),
    "environment.TF_ENABLE_ONEDNN_OPTS": ("1", "which operations oneDNN computes must not be the CPU's choice"),
    "environment.ONEDNN_MAX_CPU_ISA": ("AVX2", "oneDNN would choose its kernels by the CPU that it finds"),
    "environment.ONEDNN_DEFAULT_FPMATH_MODE": (None, "it lets oneDNN compute in fewer bits where the CPU can"),
    "environment.OPENBLAS_CORETYPE": ("Haswell", "OpenBLAS would choose its kernels by the CPU that it finds"),
    "environment.NPY_DISABLE_CPU_FEATURES": ("X86_V4 AVX512_ICL AVX512_SPR", "NumPy would take other code where there is AVX-512"),
    "environment.TF_XLA_FLAGS": (None, "XLA makes its code for the CPU that it finds"),
    "graph_rewrites": (False, "they put approximate instructions in the place of exact ones"),
    "exact_operations": (True, "RSQRTPS and RCPPS give other bits on another maker's CPU"),
    "cache_sizes": ([32768, 262144, 2097152], "Eigen cuts sums by the sizes of the caches, and these were measured"),
}


# TensorFlow operations with a random state of their own, inside the runtime, that nothing can save or restore.
STATEFUL_RANDOM = frozenset({
    "Multinomial", "ParameterizedTruncatedNormal", "RandomGamma", "RandomPoisson", "RandomPoissonV2", "RandomShuffle",
    "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "TruncatedNormal",
})  # fmt: skip

# How Python code calls the operation that takes the system's entropy (NonDeterministicInts); its kernel knows no determinism.
OF_ENTROPY = ("non_deterministic_ints", "NonDeterministicInts")

# What TensorFlow's own Python code says of an operation that op determinism rules out (seen in 2.21).
REFUSED_BY_TENSORFLOW = ("determinism is enabled", "deterministic implementation")

# Python code inside a graph: its state is out of sight.
PYTHON_INSIDE = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless"})

# TensorFlow's operations that give something else each time.
DRAWS = re.compile("^(?!Stateless).*(Random|Shuffle|SeedGenerator|Multinomial|TruncatedNormal|Stateful|Rng)")

# What ~/.keras/keras.json could say otherwise, on one machine and not on another: Keras's own defaults.
KERAS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}


def of(config: DictConfig) -> dict[str, Any]:
    """A config's level, resolved, with what its backend needs among the variables."""
    level: Any = OmegaConf.to_container(config.determinism, resolve=True)
    several = {} if config.strategy.replicas == 1 else {"replicas": int(config.strategy.replicas)}
    if config.strategy.name == "multi_worker":
        several["workers"] = True
    return {**merged(level, config.backend.name), **several}


def merged(level: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A level as its file has it, for the backend of that name."""
    plain = {key: value for key, value in level.items() if key != "backends"}
    plain = {key: value for key, value in plain.items() if value != portable.DEFAULTS.get(key, ...)}
    return {**plain, "environment": {**level["environment"], **((level.get("backends") or {}).get(name) or {})}}


def check(level: Mapping[str, Any]) -> None:
    """Raise Refused if the config's level has an unknown name or lacks what that name promises; all of it in one message.

    Or if its backend isn't installed.
    """
    name = level["level"]
    if name not in NEEDS:
        raise Refused(f"determinism.level={name!r} is not a level. Accepted: {', '.join(NEEDS)}.")
    wrong = []
    for path, (needed, reason) in NEEDS[name].items():
        group, _, key = path.rpartition(".")
        value = (level[group] if group else portable.DEFAULTS | dict(level)).get(key)
        good = isinstance(value, int) and value >= 1 if needed is int else value == needed
        if not good:
            accepted = "a whole number from 1" if needed is int else "null" if needed is None else needed
            wrong.append(f"determinism.{path}={value} can't keep the level {name}: {reason}. Accepted: {accepted}.")
    if wrong:
        raise Refused("\n".join([*wrong, f"Or use a weaker level: determinism={'strict' if name == 'portable' else 'seeded'}."]))
    portable.check(level)
    backend.of(level)


def apply(level: Mapping[str, Any]) -> None:
    """Set up the backend for a level; harmless to repeat. Raises Refused if this process can't be had at that level."""
    process.check(level["environment"], level["level"])
    tensorflow = backend.of(level) == "tensorflow"
    if tensorflow:
        cuda.load()
    import tensorflow as tf

    strategy.devices(level)
    threads, name = level["threads"], level["level"]
    for kind in ("intra_op", "inter_op"):
        wanted = threads[kind] or 0
        if getattr(tf.config.threading, f"get_{kind}_parallelism_threads")() == wanted:
            continue
        try:
            getattr(tf.config.threading, f"set_{kind}_parallelism_threads")(wanted)
        except RuntimeError as error:  # too late: TensorFlow has started its thread pools
            raise Refused(
                f"determinism={name} needs threads.{kind}={wanted}, and TensorFlow runs already with another number: it was used "
                "before the level was set up. Train with `seedbed train`, or call seedbed before any TensorFlow operation."
            ) from error
    if level["op_determinism"]:
        tf.config.experimental.enable_op_determinism()
        _refuse_entropy()
    elif _op_determinism():
        raise Refused(f"determinism={name} runs without op determinism, and this process has it on: use a process of its own.")
    tf.config.experimental.enable_tensor_float_32_execution(level["tensor_float_32"])
    portable.apply(level)
    if not tensorflow:
        backend.apply(level)
    elif level["op_determinism"]:
        accelerator.check(name)


def _refuse_entropy() -> None:
    """Let operations that take the system's entropy fail while op determinism is on; harmless to repeat.

    TensorFlow refuses `Generator.from_non_deterministic_state`, but not the operation that it is made of.
    """
    import tensorflow as tf
    from tensorflow.python.ops import gen_stateful_random_ops  # where TensorFlow's own code and tf.raw_ops have it from

    for name in OF_ENTROPY:
        real = getattr(gen_stateful_random_ops, name)
        if getattr(real, "refuses_entropy", False):
            continue

        def operation(*arguments: Any, real: Any = real, **named: Any) -> Any:
            if _op_determinism():
                raise RuntimeError("tf.raw_ops.NonDeterministicInts takes the system's entropy, and determinism is enabled.")
            return real(*arguments, **named)

        functools.update_wrapper(operation, real)
        operation.refuses_entropy = True  # type: ignore[attr-defined]
        for module in (gen_stateful_random_ops, tf.raw_ops):
            if getattr(module, name, None) is real:
                setattr(module, name, operation)


@contextmanager
def keeping_kernels(wanted: bool = True) -> Iterator[None]:
    """Keep TensorFlow's kernels, and functions that are ready to run, where a new global seed would drop them.

    `tf.random.set_seed` drops them all, since a kernel of a stateful random operation goes on with its state; each function
    is then optimised anew, which takes longer than a small model's whole training (0.2 s, measured with TensorFlow 2.21).
    For programs that have no such operation: see `stateful_operations`.
    """
    from tensorflow.python.eager import context

    clear = context.pywrap_tfe.TFE_ContextClearCaches
    if wanted:
        context.pywrap_tfe.TFE_ContextClearCaches = lambda handle: None
    try:
        yield
    finally:
        context.pywrap_tfe.TFE_ContextClearCaches = clear


@contextmanager
def stateful_operations(met: set[str]) -> Iterator[None]:
    """Add to `met` the operations of STATEFUL_RANDOM that TensorFlow executes meanwhile."""
    from tensorflow.python.framework import op_callbacks  # no public way in TensorFlow 2.21

    def see(op_type: Any, *rest: Any, **more: Any) -> None:
        name = op_type.decode() if isinstance(op_type, bytes) else str(op_type)
        if name in STATEFUL_RANDOM:
            met.add(name)

    op_callbacks.add_op_callback(see)
    try:
        yield
    finally:
        op_callbacks.remove_op_callback(see)


def apply_to_keras() -> None:
    """Keras's own settings, before a model is built."""
    import keras

    for setting, value in KERAS.items():
        getattr(keras.config, f"set_{setting}")(value)


def cannot_keep(error: BaseException, config: DictConfig) -> str | None:
    """Return the message for an operation that has no deterministic form at this level; None for any other exception.

    TensorFlow says so by several classes: UnimplementedError of a kernel, FailedPreconditionError (`tf.timestamp`), RuntimeError
    (`Generator.from_non_deterministic_state`, and `_refuse_entropy`) and ValueError (an image operation without a seed). What they
    have in common is the text.
    """
    if not config.determinism.op_determinism:
        return None
    words = " ".join(str(error).split())
    by_kernel = type(error).__module__.startswith("tensorflow.") and "determinis" in words.lower() and "Traceback" not in words
    if not (by_kernel or any(phrase in words for phrase in REFUSED_BY_TENSORFLOW) or backend.lacks_determinism(error)):
        return None
    message = str(getattr(error, "message", None) or error).strip()
    without_xla = "training.jit_compile=false (XLA has fewer deterministic operations), " if config.training.jit_compile else ""
    return (
        f"determinism={config.determinism.level} can't be kept by an operation of this model or its data:\n  {message}\n"
        f"Use another operation, {without_xla}or a weaker level: determinism=seeded."
    )


def _op_determinism() -> bool:
    from tensorflow.python.framework import config  # no public question exists in TensorFlow 2.21

    return bool(config.is_op_determinism_enabled())
