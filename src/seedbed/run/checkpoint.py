"""Stop and go on, bit for bit: everything that a run has changed since it began, in one file.

A checkpoint holds all variables of the model (dropout and augmentation generators included, which `model.save` leaves
out), of the optimizer, the callbacks' own state, Python's and NumPy's global generators, and the number of epochs done.
What the input needs is a function of (seed, epoch) and isn't stored. The file `<epochs>.<sha256>.npz` names its own hash:
one rename publishes both, and a damaged file is known by its name.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from seedbed.run.record import write_atomically

# Attributes that Keras sets on every callback; not its state.
NOT_STATE = frozenset({"model", "_model", "params", "validation_data"})


class CannotSave(Exception):
    """A callback's state is of a kind that can't be written down; the message names it."""


@dataclass
class State:
    epochs: int
    model: list[np.ndarray]
    optimizer: list[np.ndarray]
    callbacks: list[dict[str, Any]]
    python: Any
    numpy: Any


def take(model: Any, callbacks: Sequence[Any], epochs: int) -> State:
    """The state after `epochs` epochs; raises CannotSave."""
    return State(
        epochs,
        [np.array(variable) for variable in model.variables],
        [np.array(variable) for variable in model.optimizer.variables],
        [callback_state(callback) for callback in callbacks],
        random.getstate(),
        np.random.get_state(),
    )


def put_variables(model: Any, state: State) -> None:
    """Set the model's and the optimizer's variables; raises ValueError if they aren't the ones that were saved."""
    for variables, saved in ((model.variables, state.model), (model.optimizer.variables, state.optimizer)):
        if [tuple(v.shape) for v in variables] != [value.shape for value in saved]:
            raise ValueError("its variables don't fit the model")
        for variable, value in zip(variables, saved, strict=True):
            variable.assign(value)


def put_callbacks(callbacks: Sequence[Any], state: State) -> None:
    """Set the callbacks' attributes and the global generators; to be called after `on_train_begin`, which resets them."""
    for callback, attributes in zip(callbacks, state.callbacks, strict=True):
        for name, value in attributes.items():
            setattr(callback, name, value)
    random.setstate(state.python)
    np.random.set_state(state.numpy)


def callback_state(callback: Any) -> dict[str, Any]:
    """A callback's attributes that are data. Functions, models, open files and the like are what it was made of.

    Raises CannotSave for anything else in a callback that isn't Keras's own.
    """
    state = {}
    for name, value in vars(callback).items():
        if name in NOT_STATE or _is_fixture(value):
            continue
        try:
            state[name] = _plain(value)
        except CannotSave:
            if not type(callback).__module__.startswith("keras."):
                raise CannotSave(f"{type(callback).__name__}.{name} is a {type(value).__name__}") from None
    return state


def _is_fixture(value: Any) -> bool:
    made_of = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type, PurePath, io.IOBase)
    return (
        isinstance(value, made_of)
        or (type(value).__module__.split(".")[0] in ("keras", "tensorflow") and not _is_tensor(value))
        or callable(value)
    )


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__array__")


def _plain(value: Any) -> Any:
    """`value` if it is made of numbers, strings, arrays and containers of them; arrays copied. Raises CannotSave."""
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, np.generic)):
        return value
    if _is_tensor(value):
        return np.array(value)
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {key: _plain(item) for key, item in value.items()}
    raise CannotSave(type(value).__name__)


def write(folder: Path, state: State, keep: int) -> Path:
    """Write a checkpoint atomically, then remove all but the newest `keep`."""
    arrays: list[np.ndarray] = []

    def encode(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            arrays.append(np.frombuffer(array.tobytes(), np.uint8))  # bytes: npz doesn't know bfloat16
            return {"array": len(arrays) - 1, "dtype": array.dtype.name, "shape": array.shape}
        if isinstance(value, tuple):
            return {"tuple": [encode(item) for item in value]}
        if isinstance(value, list):
            return {"list": [encode(item) for item in value]}
        if isinstance(value, Mapping):
            return {"dict": {key: encode(item) for key, item in value.items()}}
        return {"value": value}

    index = json.dumps(encode(vars(state)))
    buffer = io.BytesIO()
    np.savez(buffer, index=np.frombuffer(index.encode(), np.uint8), **{str(i): array for i, array in enumerate(arrays)})  # type: ignore[arg-type]
    content = buffer.getvalue()
    folder.mkdir(exist_ok=True)
    path = folder / f"{state.epochs:06d}.{hashlib.sha256(content).hexdigest()}.npz"
    write_atomically(path, content)
    for old in sorted(folder.glob("*.npz"))[:-keep]:
        old.unlink()
    return path


def read_newest(folder: Path) -> tuple[State | None, list[str]]:
    """The newest checkpoint that is whole, and what is wrong with newer ones, each by name."""
    damaged: list[str] = []
    for path in sorted(folder.glob("*.npz"), reverse=True):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == path.name.split(".")[1]:
            return _decoded(content), damaged
        damaged.append(f"{path} is damaged (its contents don't have the hash in its name)")
    return None, damaged


def _decoded(content: bytes) -> State:
    import ml_dtypes  # noqa: F401  (makes bfloat16 known to NumPy by name)

    with np.load(io.BytesIO(content), allow_pickle=False) as stored:

        def decode(node: Mapping[str, Any]) -> Any:
            if "array" in node:
                raw = stored[str(node["array"])]
                return np.frombuffer(raw.tobytes(), np.dtype(node["dtype"])).reshape(node["shape"]).copy()
            if "tuple" in node:
                return tuple(decode(item) for item in node["tuple"])
            if "list" in node:
                return [decode(item) for item in node["list"]]
            if "dict" in node:
                return {key: decode(item) for key, item in node["dict"].items()}
            return node["value"]

        return State(**decode(json.loads(stored["index"].tobytes())))
