"""Where the callbacks of a record may write: inside of the record that is being trained, and over nothing of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from seedbed.proof import keras_allowlist

RECORD = "{record}"

# Arguments of Keras's callbacks that say where something is written to.
WRITTEN = ("filename", "filepath", "log_dir")

# What Keras fills in: the epoch's number and its metrics, as numbers.
FILLED_IN = re.compile(r"\{[a-z_][a-z0-9_]*(:[0-9]*(\.[0-9]+)?[dfeg]?)?\}")
PLAIN = re.compile(r"[A-Za-z0-9_. +=,-]+(/[A-Za-z0-9_. +=,-]+)*", re.ASCII)

# Names at the top of a record that are its own, on file systems that tell no capitals apart, too.
RESERVED = frozenset({
    "record.json", "config.yaml", "history.jsonl", "code.diff", "rows.npz", "model.keras", "weights.npz", "tracking.json",
    "checkpoints", "again", "seeds", "trace", "hydra", "outcome.json",
})  # fmt: skip


def is_callback(name: Any) -> bool:
    """Whether a name is one of Keras's callbacks."""
    return keras_allowlist.canonical(str(name)).startswith("keras.callbacks.")


def complaint(value: Any, relative: bool) -> str | None:
    """Say why a callback may not write at `value`; None if it may.

    Args:
        value: what stands in the config.
        relative: whether a relative place is put into the record (`inside`).
    """
    if not isinstance(value, str):
        return "is no path; a name inside of the record is accepted"
    inner = value.removeprefix(f"{RECORD}/")
    if inner == value and not relative:
        return f"lies outside of the record ({RECORD}/…)"
    sample = FILLED_IN.sub("1", inner)
    parts = PurePosixPath(sample).parts
    if RECORD in inner or not PLAIN.fullmatch(sample) or ".." in parts or any(part.startswith(".") for part in parts):
        return f"is written to, and is no plain place inside of the record ({RECORD}/…)"
    first = parts[0].strip(" .").lower()
    if first in RESERVED:
        return "would be written over a file of the record itself; another name is accepted"
    return None


def inside(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with what Keras's callbacks write put into the record, where it says a relative place.

    The user's own files of those names stay as they are. Places don't belong to the key.
    """
    training = config["training"]
    given = training.get("callbacks")
    callbacks = dict(given) if isinstance(given, Mapping) else {}
    for name, node in callbacks.items():
        if isinstance(node, Mapping) and is_callback(node.get("_target_")):
            callbacks[name] = {key: _placed(value) if key in WRITTEN else value for key, value in node.items()}
    return {**config, "training": {**training, "callbacks": callbacks}}


def _placed(value: Any) -> Any:
    relative = isinstance(value, str) and not value.startswith(RECORD) and not PurePosixPath(value).is_absolute()
    return f"{RECORD}/{value}" if relative else value
