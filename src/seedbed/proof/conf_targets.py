"""What a project's `conf/` names: targets with their positions, functions by reference, and values.

Read from the files as they stand, without composing them and without importing anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed import Refused
from seedbed.proof.keras_allowlist import CALLBACKS, DATA, LOSS, METRICS, MODEL, OPTIMIZER, Position
from seedbed.proof.untrusted import leaves
from seedbed.run import yaml_files

# Parts of a config whose targets seedbed calls. Those of `single` parts stand at the part itself.
PARTS = {
    "data.source": DATA, "data.loss": LOSS, "data.metrics": METRICS, "model": MODEL, "optimizer": OPTIMIZER,
    "training.loss": LOSS, "training.metrics": METRICS, "training.callbacks": CALLBACKS,
}  # fmt: skip
SINGLE = (DATA, MODEL, OPTIMIZER)
GROUPS = ("data", "model", "optimizer")

# Hydra's own functions that return what `path` names, not called.
REFERENCES = ("hydra.utils.get_method", "hydra.utils.get_class")

PACKAGE = re.compile(r"#\s*@package\s+(\S+)")
WITH_DEFAULT = re.compile(r"\$\{oc\.env:\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:,[^{}]*(?:\$\{[^{}]*\}[^{}]*)*)?\}")


@dataclass(frozen=True)
class Node:
    """A mapping of a config. position: None where seedbed calls nothing."""

    where: str
    position: Position | None
    content: Mapping[Any, Any]


@dataclass(frozen=True)
class Declared:
    """What `conf/` names.

    Attributes:
        conf: the folder of config files.
        modules: the folders in which the project's modules are.
        targets: by `_target_`, the nodes that have it.
        references: by the path that a function of `REFERENCES` is given, the nodes that have it.
        values: by dotted name, the values that stand there, as a record would have them.
    """

    conf: Path
    modules: tuple[Path, ...]
    targets: Mapping[str, Sequence[Node]]
    references: Mapping[str, Sequence[Node]]
    values: Mapping[str, frozenset[str]]

    def has(self, where: str, value: Any) -> bool:
        """Whether `conf/` has this value at the dotted name `where`."""
        return str(value) in self.values.get(where, ())


def read(conf: Path, modules: Sequence[Path]) -> Declared:
    """Read every file of `conf`; one that cannot be read declares nothing."""
    targets: dict[str, list[Node]] = {}
    references: dict[str, list[Node]] = {}
    values: dict[str, set[str]] = {}
    for file in sorted(conf.rglob("*.yaml")):
        try:
            content = _placed(yaml_files.load(file), file, conf)
        except (Refused, ValueError):
            continue
        for node in nodes(content):
            name = node.content.get("_target_")
            if isinstance(name, str) and name in REFERENCES and isinstance(node.content.get("path"), str):
                references.setdefault(node.content["path"], []).append(node)
            elif isinstance(name, str) and "${" not in name:
                targets.setdefault(name, []).append(node)
        for where, value in leaves(content):
            if value is not None:
                values.setdefault(where, set()).add(WITH_DEFAULT.sub(r"${oc.env:\1}", str(value)))
    found = {where: frozenset(texts) for where, texts in values.items()}
    return Declared(conf, tuple(modules), targets, references, found)


def _placed(content: Any, file: Path, conf: Path) -> dict[str, Any]:
    """What a file holds, inside of the package that Hydra puts it in."""
    group = list(file.parent.relative_to(conf).parts)
    if group and group[0] in GROUPS:  # `override /model: tutorial/recipe` is put into `model`
        group = group[:1]
    header = PACKAGE.match(yaml_files.read(file))
    named = "_group_" if header is None else header[1]
    parts = [word for part in named.split(".") for word in (group if part == "_group_" else [part])]
    for part in reversed([part for part in parts if part != "_global_"]):
        content = {part: content}
    return content if isinstance(content, dict) else {}


def nodes(config: Any, where: str = "", part: str | None = None, nested: bool = False) -> Iterator[Node]:
    """Yield every mapping of a config with its position.

    Args:
        config: a config, or a part of it.
        where: its dotted name.
        part: the part of PARTS that it belongs to.
        nested: whether it is an argument of a target.
    """
    part = PARTS.get(where, part)
    if isinstance(config, Mapping):
        yield Node(where, _position(where, part, nested), config)
        nested = nested or "_target_" in config
    children = config.items() if isinstance(config, Mapping) else enumerate(config) if isinstance(config, list) else ()
    for key, value in children:
        yield from nodes(value, f"{where}.{key}" if where else str(key), part, nested)


def _position(where: str, part: str | None, nested: bool) -> Position | None:
    if part is None:
        return None
    if part in SINGLE:
        nested = nested or where not in PARTS
    elif part == CALLBACKS:
        nested = nested or where.count(".") != 2  # training.callbacks.NAME
    return Position(part, nested)
