"""What differs between the inputs of two records, in the order in which a run takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seedbed.proof.side import Side
from seedbed.run.claims import at
from seedbed.run.variables import BESIDE

ABSENT = object()  # what stands on the side that doesn't have a name

# Of the config, what says where things are kept and how they are watched: shown if it differs, and not counted.
NOT_COUNTED = ("seeds", "determinism")


@dataclass(frozen=True)
class Changed:
    """A name whose value differs; ABSENT on a side that doesn't have it."""

    name: str
    a: Any
    b: Any

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name} | {side: value for side, value in (("a", self.a), ("b", self.b)) if value is not ABSENT}


@dataclass(frozen=True)
class Inputs:
    """What the key is made of, but code and data. also: what differs beside it, and has no part in the key."""

    seeds: tuple[Changed, ...]
    config: tuple[Changed, ...]
    determinism: tuple[Changed, ...]
    packages: tuple[Changed, ...]
    environment: tuple[Changed, ...]
    also: tuple[Changed, ...]


def compared(a: Side, b: Side) -> Inputs:
    # what a level sets stands under determinism, and again in the environment of the process that ran
    environments = [_environment(side) for side in (a, b)]
    determinisms = [_determinism(side) for side in (a, b)]
    config = changes(a.inputs["config"], b.inputs["config"])
    return Inputs(
        seeds=changes(a.inputs["seeds"], b.inputs["seeds"]),
        config=config,
        determinism=changes(*determinisms),
        packages=changes(a.inputs["environment"]["packages"], b.inputs["environment"]["packages"]),
        environment=changes(*environments),
        also=_also(a, b, {change.name for change in config}),
    )


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Changed, ...]:
    """The dotted names whose values differ, in the order of A, then those that only B has. Of a name that has values below it on
    one side alone, these are named."""
    left, right = dict(leaves(a)), dict(leaves(b))
    within = [{name[:end] for name in side for end, letter in enumerate(name) if letter == "."} for side in (left, right)]
    names = [*(name for name in left if name not in within[1]), *(name for name in right if name not in left and name not in within[0])]
    pairs = [(name, left.get(name, ABSENT), right.get(name, ABSENT)) for name in names]
    return tuple(Changed(name, x, y) for name, x, y in pairs if x is ABSENT or y is ABSENT or not _same(x, y))


def _same(a: Any, b: Any) -> bool:
    """Equal as the key sees it: 1, 1.0 and True are three values."""
    return repr(a) == repr(b)


def leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its dotted name; a list of plain values is one value."""
    nested = isinstance(node, list) and any(isinstance(item, dict | list) for item in node)
    children = list(node.items()) if isinstance(node, Mapping) else list(enumerate(node)) if nested else []
    if not children:
        yield where, node
        return
    for key, value in children:
        yield from leaves(value, f"{where}.{key}" if where else str(key))


def _environment(side: Side) -> dict[str, Any]:
    found = {name: value for name, value in side.inputs["environment"].items() if name not in ("packages", BESIDE)}
    set_by_level = at(side.inputs, "determinism.environment")
    fixed: Mapping[str, Any] = set_by_level if isinstance(set_by_level, dict) else {}
    if isinstance(found.get("variables"), dict):
        found["variables"] = {name: value for name, value in found["variables"].items() if fixed.get(name) != value}
    for name in ("isa", "features"):  # instruction sets one by one: which are there, and not which list
        if isinstance(found.get("cpu"), dict) and isinstance(found["cpu"].get(name), list):
            found["cpu"] = {**found["cpu"], name: {str(item): "yes" for item in found["cpu"][name]}}
    return found


def _determinism(side: Side) -> dict[str, Any]:
    """The level; PYTHONHASHSEED in it is the stream `hash`, which stands among the seeds."""
    found = dict(side.inputs["determinism"])
    if isinstance(found.get("environment"), dict):
        found["environment"] = {name: value for name, value in found["environment"].items() if name != "PYTHONHASHSEED"}
    return found


def _also(a: Side, b: Side, counted: set[str]) -> tuple[Changed, ...]:
    """What is recorded and can't decide a bit: places, the commit, the lock's hash, the image, how the run was carried out."""

    def plain(side: Side) -> dict[str, Any]:
        config = {name: value for name, value in side.config.items() if name not in NOT_COUNTED}
        facts = {
            name: side.provenance.get(name) for name in ("git", "lock", "image", "cores", "cuda_version", "cudnn_version", "accelerator")
        }
        ways = {name: side.content[name] for name in ("engine", "resumed", "fetched") if side.content.get(name) is not None}
        return {**config, **{name: value for name, value in facts.items() if value is not None}, **ways}

    return tuple(change for change in changes(plain(a), plain(b)) if change.name not in counted)
