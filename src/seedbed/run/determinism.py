"""The levels applied to the backend: what a level's name promises, and the switches that can be set after the import."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seedbed import Refused
from seedbed.run import accelerator, backend, cuda, process, strategy

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


# TensorFlow operations with a random state of their own, inside the runtime, that nothing can save or restore.
STATEFUL_RANDOM = frozenset({
    "Multinomial", "ParameterizedTruncatedNormal", "RandomGamma", "RandomPoisson", "RandomPoissonV2", "RandomShuffle",
    "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "TruncatedNormal",
})  # fmt: skip

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
        value = (level[group] if group else level).get(key)
        good = isinstance(value, int) and value >= 1 if needed is int else value == needed
        if not good:
            accepted = "a whole number from 1" if needed is int else needed
            wrong.append(f"determinism.{path}={value} can't keep the level {name}: {reason}. Accepted: {accepted}.")
    if wrong:
        raise Refused("\n".join([*wrong, "Or use a weaker level: determinism=seeded."]))
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
    elif _op_determinism():
        raise Refused(f"determinism={name} runs without op determinism, and this process has it on: use a process of its own.")
    tf.config.experimental.enable_tensor_float_32_execution(level["tensor_float_32"])
    if not tensorflow:
        backend.apply(level)
    elif level["op_determinism"]:
        accelerator.check(name)


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


def _op_determinism() -> bool:
    from tensorflow.python.framework import config  # no public question exists in TensorFlow 2.21

    return bool(config.is_op_determinism_enabled())
