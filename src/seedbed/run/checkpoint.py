"""Stop and go on, bit for bit: everything that a run has changed since it began, in one file.

A checkpoint holds all variables of the model (dropout and augmentation generators included, which `model.save` leaves
out), of the optimizer, the Python state of all objects that the run can reach, the global generators, and the number of epochs done.
What the input needs is a function of (seed, epoch) and isn't stored. The file `<epochs>.<sha256>.npz` names its own hash:
one rename publishes both, and a damaged file is known by its name.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keras.src.random.seed_generator import global_seed_generator  # no public way to it in Keras 3.15

from seedbed import Refused
from seedbed.run import backend, plain_files
from seedbed.run import seeds as streams
from seedbed.run import state as states
from seedbed.run.record import naming, write_atomically

if TYPE_CHECKING:
    from seedbed.run.reached import Reached


# Of the contents of a file; another version's is passed over.
FORMAT = 2


@dataclass
class State:
    """python: `Reached.changes`. built, first: hashes by place, of the objects as they were built and before the first step."""

    epochs: int
    model: list[np.ndarray]
    optimizer: list[np.ndarray]
    trainable: list[bool]
    python: dict[str, Any]
    generators: Sequence[Any]
    stopped: bool = False  # a callback wants no further epoch
    history: str | None = None  # the digest of the history's lines up to here
    built: dict[str, str] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT


def take(model: Any, epochs: int, reached: Reached) -> State:
    """The state after `epochs` epochs; raises `state.CannotSave`."""
    python = reached.changes()
    return State(
        epochs,
        [states.array(variable) for variable in model_variables(model)],
        [states.array(variable) for variable in optimizer_variables(model)],
        _trainable(model),
        python,
        [*streams.generator_states(), backend.generator_state()],
        bool(model.stop_training),
        built=reached.built_tokens,
        first=reached.first_tokens,
    )


def model_variables(model: Any) -> list[Any]:
    """The model's variables, and the state of Keras's global generator, from which layers draw that have none of their own."""
    return [*model.variables, global_seed_generator().state]


def _trainable(model: Any) -> list[bool]:
    return [bool(layer.trainable) for layer in model._flatten_layers()]


def optimizers(model: Any) -> list[Any]:
    """The model's optimizer, then others that it holds as attributes (a GAN's), in their order."""
    found = [model.optimizer, *(value for value in vars(model).values() if hasattr(value, "apply_gradients"))]
    return list({id(optimizer): optimizer for optimizer in found if optimizer is not None}.values())


def optimizer_variables(model: Any) -> list[Any]:
    """The variables of the model's optimizers, in their order."""
    return [variable for optimizer in optimizers(model) for variable in optimizer.variables]


def put_variables(model: Any, state: State) -> None:
    """Set the model's and the optimizers' variables; raises `state.CannotRestore` if they aren't the ones that were saved."""
    if _trainable(model) != state.trainable:  # a train step that was made before would have to be made anew
        raise states.CannotRestore("A callback has frozen layers, or thawed them")
    pairs = (model_variables(model), state.model, "the model"), (optimizer_variables(model), state.optimizer, "the optimizer")
    for held, saved, what in pairs:
        states.fits(held, saved, what)
    for held, saved, what in pairs:
        states.assign(held, saved, what)


def put_python(reached: Reached, state: State) -> None:
    """Set the objects' Python state and the global generators; to be called after `on_train_begin`, which resets callbacks.

    Raises `state.CannotRestore`.
    """
    reached.put(state)
    streams.put_generator_states(state.generators[:-1])


def write(folder: Path, state: State, keep: int) -> Path:
    """Write a checkpoint atomically, then remove all but the newest `keep`: a disk that is full in the middle leaves the others."""
    arrays: list[np.ndarray] = []

    def encode(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            arrays.append(np.frombuffer(array.tobytes(), np.uint8))  # bytes: npz doesn't know bfloat16
            return {
                "array": len(arrays) - 1,
                "dtype": array.dtype.name if array.dtype.kind == "V" else array.dtype.str,
                "shape": array.shape,
            }
        if isinstance(value, states.Inside):
            return {"inside": value.kind, "of": encode(value.value)}
        if isinstance(value, states.Named):
            return {"function": value.name}
        if isinstance(value, tuple):
            return {"tuple": [encode(item) for item in value]}
        if isinstance(value, list):
            return {"list": [encode(item) for item in value]}
        if isinstance(value, Mapping):
            return {"dict": [[key, encode(item)] for key, item in value.items()]}
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": repr(value)}
        return {"value": value}

    index = json.dumps(encode(vars(state)), allow_nan=False)
    buffer = io.BytesIO()
    np.savez(buffer, index=np.frombuffer(index.encode(), np.uint8), **{str(i): array for i, array in enumerate(arrays)})  # type: ignore[arg-type]
    content = buffer.getvalue()
    path = folder / f"{state.epochs:06d}.{hashlib.sha256(content).hexdigest()}.npz"
    with naming(folder):
        folder.mkdir(exist_ok=True)
        write_atomically(path, content)
    for old in sorted(folder.glob("*.npz"))[:-keep]:
        old.unlink()
    return path


def read_newest(folder: Path, epochs: int, history: Callable[[int], str] | None = None) -> tuple[State | None, list[str]]:
    """The newest checkpoint that is whole and belongs to the history, and what is wrong with newer ones.

    epochs: lines of the history that can be read. history: the digest of so many of them; None: it isn't compared.
    The others are put aside under another name: they would count as the newest ones.
    """
    wrong: list[str] = []
    for path in sorted(folder.glob("*.npz"), reverse=True):
        try:
            with plain_files.opened(path) as file:
                content = file.read()
        except Refused as error:
            wrong.append(str(error))
            path.rename(path.with_suffix(".bad"))
            continue
        if hashlib.sha256(content).hexdigest() != path.name.split(".")[1]:
            wrong.append(f"{path} is damaged (its contents don't have the hash in its name)")
        elif (state := _decoded(content)) is None:
            wrong.append(f"{path} was written by another version of seedbed")
        elif state.epochs > epochs:
            wrong.append(f"{path} is from epoch {state.epochs}, and the history ends with epoch {epochs}")
        elif history is not None and state.history != history(state.epochs):
            wrong.append(f"{path} is from another history: lines of history.jsonl up to epoch {state.epochs} were changed")
        else:
            return state, wrong
        path.rename(path.with_suffix(".bad"))
    return None, wrong


def _decoded(content: bytes) -> State | None:
    """The state that a file holds; None if another version has written it."""
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
                return {key: decode(item) for key, item in node["dict"]}
            if "inside" in node:
                return states.Inside(node["inside"], decode(node["of"]))
            if "function" in node:
                return states.Named(node["function"])
            return float(node["float"]) if "float" in node else node["value"]

        found = decode(json.loads(stored["index"].tobytes()))
        return State(**found) if found.get("format") == FORMAT else None
