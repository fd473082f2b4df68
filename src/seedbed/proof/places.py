"""The first point at which two executions part, read from their traces: coarse (data, weights, epochs), then within a step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.proof.apart import apart


@dataclass(frozen=True)
class Place:
    """kind: run, data, split, weights, generators, epoch, trained, batch, start, input, output, loss, backward, gradient, gradients,
    update, state, logs, metrics or predictions. where: for people. epoch and step count from 1. size: how far the values are apart, if
    that is known."""

    kind: str
    where: str
    epoch: int | None = None
    step: int | None = None
    layer: str | None = None
    tensor: str | None = None
    part: str | None = None
    size: str | None = None

    @property
    def said(self) -> str:
        return self.where + (f" ({self.size})" if self.size else "")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Seen:
    """An execution's trace, read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def trace(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / "trace.json").read_text())
        except (OSError, ValueError):
            return {}  # it died before it could write one
        return found

    @cached_property
    def rows(self) -> Any:
        return self._arrays("rows.npz")

    @cached_property
    def arrays(self) -> Any:
        return self._arrays("arrays.npz")

    @cached_property
    def steps(self) -> Any:
        return self._arrays("steps.npz")

    def values(self, phase: str, step: int) -> dict[str, np.ndarray]:
        """The values of a step's points that were kept, by name. step: 0-based."""
        held = self._arrays(f"values/{phase}-{step:06d}.npz")
        return {str(name): held[str(i)] for i, name in enumerate(held.get("names", ())) if str(i) in held}

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        if not (self.folder / name).exists():
            return {}
        with np.load(self.folder / name, allow_pickle=False) as held:
            return {key: held[key] for key in held.files}


def process(a: Seen, b: Seen) -> dict[str, tuple[Any, Any]]:
    """What decides bits in the environments of two processes and isn't the same: variables, and the hash seed among them."""
    first, second = (seen.trace.get("process", {}).get("variables", {}) for seen in (a, b))
    return {name: (first.get(name), second.get(name)) for name in {**first, **second} if first.get(name) != second.get(name)}


def coarse(a: Seen, b: Seen) -> Place | None:
    """The first difference that the traces of two executions show without looking into steps."""
    return _data(a, b) or _split(a, b) or _weights(a, b) or _epochs(a, b) or _trained(a, b) or _end(a, b)


def _data(a: Seen, b: Seen) -> Place | None:
    first, second = a.trace.get("data"), b.trace.get("data")
    if a.trace.get("fingerprint") == b.trace.get("fingerprint") or first is None or second is None:
        return None
    for part in dict.fromkeys([*first, *second]):
        if part not in first or part not in second:
            return Place("data", f"only one execution has a part {part!r} of the data", part=part)
        if first[part]["kind"] in ("tf_data", "py_dataset"):
            ours, theirs = a.trace["batches"].get(part, []), b.trace["batches"].get(part, [])
            if ours != theirs:
                number = _parting(ours, theirs)
                what = "another batch"
                if len(ours) != len(theirs):
                    what = f"{len(ours)} and {len(theirs)} batches"
                elif sorted(ours) == sorted(theirs):
                    what = "the same batches in another order"
                where = f"the data, part {part}: {what}, from batch {number + 1} of the first pass on"
                return Place("data", where, step=number + 1, part=part)
        elif first[part] != second[part]:
            return _rows(a, b, part)
    return Place("data", "what the data function says of its data: the number of outputs, of classes, or the files that it names")


def _rows(a: Seen, b: Seen, part: str) -> Place:
    first, second = a.trace["data"][part], b.trace["data"][part]
    where = f"the data, part {part}"
    if part not in a.rows or part not in b.rows:
        return Place("data", f"{where}: other items or files", part=part)
    ours, theirs = a.rows[part], b.rows[part]
    if [leaf[:2] for leaf in first["arrays"]] != [leaf[:2] for leaf in second["arrays"]] and len(ours) == len(theirs):
        return Place("data", f"{where}: arrays of another shape or dtype: {first['arrays']} and {second['arrays']}", part=part)
    if len(ours) != len(theirs):
        return Place("data", f"{where}: {len(ours)} and {len(theirs)} examples", part=part)
    other = np.flatnonzero(ours != theirs)
    if not len(other):
        return Place("data", f"{where}: other values", part=part)
    if np.array_equal(np.sort(ours), np.sort(theirs)):
        return Place("data", f"{where}: the same {len(ours)} examples in another order, from row {other[0]} on", part=part)
    size = None
    for number in range(len(first["arrays"])):
        name = f"{part}.{number}"
        if name in a.arrays and name in b.arrays and (found := apart(a.arrays[name], b.arrays[name])):
            size = f"array {number}: {found.said}"
            break
    return Place("data", f"{where}: {len(other)} of {len(ours)} rows differ, the first is row {other[0]}", part=part, size=size)


def _split(a: Seen, b: Seen) -> Place | None:
    first, second = a.trace.get("split", {}), b.trace.get("split", {})
    for part in first:
        if part in second and first[part] != second[part]:
            return Place("split", f"which examples are held out: the part {part} holds others", part=part)
    return None


def _weights(a: Seen, b: Seen) -> Place | None:
    first, second = a.trace.get("weights"), b.trace.get("weights")
    if first is None or second is None:
        return None
    if len(first) != len(second):
        return Place("weights", f"the model that is built: {len(first)} and {len(second)} weights")
    for (path, ours), (_, theirs) in zip(first, second, strict=True):
        if ours != theirs:
            return Place("weights", f"the initial weights: {path} of layer {_layer(path)}", layer=_layer(path), tensor=path)
    if a.trace["generators"] != b.trace["generators"]:
        return Place("generators", "the seed generators of the built model")
    return None


def _epochs(a: Seen, b: Seen) -> Place | None:
    ours, theirs = a.trace.get("epochs", []), b.trace.get("epochs", [])
    for first, second in zip(ours, theirs, strict=False):
        if first == second:
            continue
        epoch = first["epoch"] + 1
        if other := _other_state(first, second):
            path = None if other in STATES.values() else other
            place = Place("epoch", f"epoch {epoch}: {other} at its end", epoch=epoch, tensor=path or other.split()[-1])
            return replace(place, layer=_layer(path)) if path else place
        for name in first["logs"]:
            if first["logs"][name] != second["logs"].get(name):
                size = _floats(first["logs"][name], second["logs"].get(name))
                return Place("logs", f"epoch {epoch}: {name}, with equal weights", epoch=epoch, tensor=name, size=size)
    if len(ours) != len(theirs) and not (a.trace.get("stopped") or b.trace.get("stopped")):
        least, most = sorted((len(ours), len(theirs)))
        return Place("run", f"after epoch {least}: one execution ends there, the other goes on to epoch {most}", epoch=least)
    return None


STATES = {"optimizer": "the state of the optimizer", "generators": "the state of the generators"}


def _other_state(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """What of a model's state differs: a weight's path, or one of STATES."""
    for (path, mine), (_, other) in zip(first["weights"], second["weights"], strict=False):
        if mine != other:
            return str(path)
    return next((words for name, words in STATES.items() if first[name] != second[name]), None)


def _trained(a: Seen, b: Seen) -> Place | None:
    """What was changed after the last epoch, and before anything is evaluated."""
    first, second = a.trace.get("trained"), b.trace.get("trained")
    if first is None or second is None or (other := _other_state(first, second)) is None:
        return None
    path = None if other in STATES.values() else other
    where = f"after the last step and before evaluation: {other}, equal at the end of the last epoch"
    return Place("trained", where, layer=_layer(path) if path else None, tensor=path or other.split()[-1])


def _end(a: Seen, b: Seen) -> Place | None:
    first, second = a.trace.get("predictions"), b.trace.get("predictions")
    if first is not None and second is not None and first != second:
        return Place("predictions", "the predictions of equal weights")
    metrics, others = a.trace.get("metrics", {}), b.trace.get("metrics", {})
    for name in metrics:
        if name in others and metrics[name] != others[name]:
            return Place("metrics", f"{name}, evaluated with equal weights", tensor=name, size=_floats(metrics[name], others[name]))
    return None


def _floats(a: str, b: str | None) -> str | None:
    if b is None:
        return None
    x, y = float.fromhex(a), float.fromhex(b)
    return f"{x:.9g} and {y:.9g}"


def fine(a: Seen, b: Seen, table: str, epoch: int | None) -> Place | None:
    """The first difference within the steps of one table of `Trace.keep`: `epoch 0 train`, `after predict`, ….

    epoch: from 1; None: after training.
    """
    if f"{table}.rows" not in a.steps or f"{table}.rows" not in b.steps:
        return None
    ours, theirs = a.steps[f"{table}.rows"], b.steps[f"{table}.rows"]
    names = [json.loads(seen.steps[f"{table}.names"].tobytes()) for seen in (a, b)]
    phase = table.split()[-1]
    for step in range(min(len(ours), len(theirs))):
        columns, others = names[0][ours[step, 0]], names[1][theirs[step, 0]]
        known = {name: theirs[step, 1 + number] for number, name in enumerate(others)}
        for number, name in enumerate(columns):
            if name in known and known[name] != ours[step, 1 + number]:
                place = _point(a, b, name, epoch, step, phase)
                later = {other for i, other in enumerate(columns) if other in known and known[other] != ours[step, 1 + i]}
                return _of_gradients(place, later, set(columns)) if place.kind in ("computed", "gradient") else place
    if len(ours) != len(theirs):
        least = min(len(ours), len(theirs))
        return Place("run", f"{_when(epoch, least, phase)}: {len(ours)} and {len(theirs)} steps in the epoch", epoch=epoch, step=least)
    return None


KIND_WORDS: dict[str, Callable[[str, str], str]] = {
    "batch": lambda name, what: f"the batch itself, {name}",
    "start": lambda name, what: f"the {name} when the step begins (changed between two steps: by a callback, say)",
    "input": lambda name, what: f"what goes into {what} {name} (made outside of any layer, after the layers before it)",
    "output": lambda name, what: f"the output of {what} {name}",
    "loss": lambda name, what: "the loss",
    "backward": lambda name, what: f"what {what} {name} hands back (its backward pass)",
    "computed": lambda name, what: f"the gradient of {name}, as it is computed",
    "gradient": lambda name, what: f"the gradient of {name}, when it is applied",
    "update": lambda name, what: f"{name} after the optimizer's update, with an equal gradient",
    "state": lambda name, what: f"{name} after the step",
    "logs": lambda name, what: f"what the step says of {name}",
}  # fmt: skip


def _point(a: Seen, b: Seen, name: str, epoch: int | None, step: int, phase: str) -> Place:
    kind, _, rest = name.partition(" ")
    plain = rest.split(" [")[0].split(" #")[0]
    layers = a.trace.get("layers", {})
    layer = (
        plain if kind in ("input", "output", "backward") else _layer(plain) if kind in ("computed", "gradient", "update", "state") else None
    )
    what = f"the layer ({layers[plain]})" if plain in layers else "the operation"
    values = [seen.values(phase, step).get(name) for seen in (a, b)]
    size = None
    if values[0] is not None and values[1] is not None and values[0].shape == values[1].shape:
        found = apart(values[0], values[1])
        size = found.said if found else None
    where = f"{_when(epoch, step, phase)}: {KIND_WORDS[kind](rest, what)}"
    return Place(kind, where, epoch=epoch, step=step + 1, layer=layer, tensor=rest or kind, size=size)


def _of_gradients(place: Place, differing: set[str], points: set[str]) -> Place:
    """Say of a gradient whether it is computed otherwise or changed on the way to the optimizer, and of how many layers.

    Every gradient that a tape computes is a point (`computed`), and so is what the optimizer gets (`gradient`). Where only the
    second one differs, something between them has changed it. A layer's gradients of its weights are sums of their own: they can
    differ though all that the layers hand back to one another agrees.
    """
    layers = {_layer(name.partition(" ")[2]) for name in differing if name.startswith(f"{place.kind} ")}
    others = f", as those of {len(layers) - 1} other layers" if len(layers) > 1 else ""
    if place.kind == "computed":
        return replace(place, kind="gradient", where=f"{place.where}{others}; what the layers hand back to one another agrees")
    if f"computed {place.tensor}" in points:
        where = f"{place.where}{others}; as it was computed it agrees: changed between the two"
        return replace(place, kind="gradients", where=where, layer=place.layer if len(layers) < 2 else None)
    if len(layers) < 2:
        return place
    return replace(place, kind="gradients", where=f"{place.where}{others}; no backward pass that was seen differs", layer=None)


def _when(epoch: int | None, step: int, phase: str) -> str:
    doing = {"train": "step", "test": "evaluation, batch", "predict": "prediction, batch"}[phase]
    return (f"epoch {epoch}, " if epoch is not None else "") + f"{doing} {step + 1}"


def _layer(path: str) -> str:
    return path.rpartition("/")[0] or path


def _parting(a: Sequence[Any], b: Sequence[Any]) -> int:
    return next((number for number, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
