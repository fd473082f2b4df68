"""Keras's backends: which one a level is for, and what each needs that TensorFlow doesn't.

TensorFlow is always there, for the input pipelines (`tf.data`); with another backend it is set up by the level all the same,
and keeps off the GPUs. JAX's randomness is in Keras's seed generators alone, since nothing else may change under `jit`;
PyTorch has a global generator besides, which is seeded and checkpointed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from typing import Any

from seedbed import Refused
from seedbed.run.config import BACKENDS


def of(level: Mapping[str, Any]) -> str:
    """The backend that a resolved level is for; raises Refused if there is none by that name, or it isn't installed."""
    name = str(level["environment"].get("KERAS_BACKEND", "tensorflow"))
    if name not in BACKENDS:
        raise Refused(f"KERAS_BACKEND={name} is not accepted. Accepted: {', '.join(f'backend={one}' for one in BACKENDS)}.")
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        raise Refused(f"backend={name} needs a package that is not installed: `make {name}`.")
    return name


def current() -> str:
    """The backend that Keras runs with in this process (imports it)."""
    import keras

    return str(keras.backend.backend())


def is_tensorflow() -> bool:
    return current() == "tensorflow"


def apply(level: Mapping[str, Any]) -> None:
    """What can be set after the import, for a backend that isn't TensorFlow. Raises Refused if it comes too late."""
    name, threads = of(level), level["threads"]
    if name == "tensorflow":
        return
    import tensorflow as tf

    try:
        tf.config.set_visible_devices([], "GPU")  # it would take all of their memory
    except RuntimeError as error:
        raise Refused(f"backend={name}: TensorFlow has taken the GPUs already. Train with `seedbed train`.") from error
    if name == "torch":
        _torch(level, threads)


def _torch(level: Mapping[str, Any], threads: Mapping[str, int | None]) -> None:
    torch = importlib.import_module("torch")  # by name: an import statement would make it a part of every run's code
    if threads["intra_op"]:
        torch.set_num_threads(threads["intra_op"])
    if threads["inter_op"] and torch.get_num_interop_threads() != threads["inter_op"]:
        try:
            torch.set_num_interop_threads(threads["inter_op"])
        except RuntimeError as error:  # its pool has been started
            raise Refused(
                f"determinism={level['level']} needs threads.inter_op={threads['inter_op']}, and PyTorch runs already with another number. "
                "Train with `seedbed train`, or call seedbed before any PyTorch operation."
            ) from error
    strict = bool(level["op_determinism"])
    torch.use_deterministic_algorithms(strict)  # an operation without a deterministic implementation is an error
    torch.backends.cudnn.deterministic = strict
    torch.backends.cudnn.benchmark = False  # no algorithm by a race of timings
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = bool(level["tensor_float_32"])


def seed(number: int) -> None:
    """Seed the backend's own global generator: for models that don't draw by Keras's."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(number)
    import tensorflow as tf

    tf.random.set_seed(number)


def set_generator(state: Any, word: int) -> None:
    """Begin one of Keras's seed generators (its `state`) with a 32-bit word; on PyTorch, whose state is an int32, with 31 bits of it."""
    state.assign([word & 0x7FFFFFFF if current() == "torch" else word, 0])


def generator_state() -> Any:
    """The state of PyTorch's global generator (uint8 array), where PyTorch is the backend, else None."""
    return sys.modules["torch"].get_rng_state().numpy() if current() == "torch" else None


def put_generator_state(state: Any) -> None:
    """What `generator_state` returned, put back."""
    if state is not None:
        torch = sys.modules["torch"]
        torch.set_rng_state(torch.from_numpy(state))


def tensor(array: Any) -> Any:
    """An array as the backend has it, of the same dtype."""
    if is_tensorflow():
        import tensorflow as tf

        return tf.convert_to_tensor(array)
    import keras

    return keras.ops.convert_to_tensor(array)


def lacks_determinism(error: BaseException) -> bool:
    """Whether PyTorch refuses an operation that has no deterministic implementation."""
    return isinstance(error, RuntimeError) and "does not have a deterministic implementation" in str(error)
