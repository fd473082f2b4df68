"""A record's config before anything of it is resolved or called: a record from elsewhere may want this machine to do anything.

What is accepted is listed; the rest is refused, all of it in one message. A config that passes can have this repository's own
functions called, with arguments of its choice, on data of its choice: no less is needed to train it again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from seedbed import Refused
from seedbed.proof import naming
from seedbed.run import process
from seedbed.run.config import BACKENDS

# Parts that every config has, with values of their own.
PARTS = ("data", "training", "seeds", "determinism", "determinism.environment", "determinism.threads")

# Parts that a config may have.
OTHERS = ("backend", "strategy", "determinism.backends", *(f"determinism.backends.{name}" for name in BACKENDS))

DEEPEST, MOST = 40, 50_000  # levels and values of a config

ENVIRONMENT = re.compile(r"\$\{oc\.env:([A-Za-z_][A-Za-z0-9_]*)\}")
WITH_DEFAULT = re.compile(r"\$\{oc\.env:\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:,[^{}]*(?:\$\{[^{}]*\}[^{}]*)*)?\}")

# Parts that are this machine's own when a record is trained again; what the record says of them is not used.
NOT_USED = ("runs", "force", "tracking", "checkpoint", "study", "name")

# Hydra's own: what a program reads and starts before the config counts.
HYDRAS = ("hydra", "defaults")

# Keys of Keras's own way to name code: `{class_name: …, config: …}` is made into an object wherever Keras takes one.
KERAS_OBJECTS = ("class_name", "registered_name")

# Values of a level's environment: numbers and words. XLA's flags can name files that are written.
PLAIN_VALUE = re.compile(r"[\w.,:=+ -]*", re.ASCII)
FLAGS = ("XLA_FLAGS", "TF_XLA_FLAGS")

# Arguments of Keras's callbacks that say where something is written to.
WRITTEN = ("filename", "filepath", "log_dir")
PLACE = re.compile(r"\{(record|[a-z_][a-z0-9_]*(:[0-9.a-z]*)?)\}")


def config_of(folder: Path) -> dict[str, Any]:
    """config.yaml of a record: plain values, nothing resolved. Raises Refused for any other thing that YAML can say."""
    depth = count = 0
    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8")
        for event in yaml.parse(text, Loader=yaml.SafeLoader):  # no recursion, and nothing is made yet
            count += 1
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > DEEPEST or count > MOST:
                what = "an alias" if isinstance(event, yaml.AliasEvent) else "more than a config has"
                raise Refused(f"{folder / 'config.yaml'} holds {what}; seedbed writes none.")
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused(f"{folder / 'config.yaml'} can't be read: {' '.join(str(error).split())[:200]}") from None
    strange = [where for where, value in leaves(found) if not isinstance(value, str | int | float | None)]
    strange += [where for where in PARTS if not isinstance(_at(found, where), dict)]
    strange += [where for where in OTHERS if not isinstance(_at(found, where) or {}, dict)]
    if not isinstance(found, dict) or strange:
        raise Refused(f"{folder / 'config.yaml'} is no config of plain values{': ' + ', '.join(strange) if strange else ''}.")
    return found


def refuse(config: Mapping[str, Any], listed: Mapping[str, Any], modules: Sequence[Path], conf: Path) -> None:
    """Raise Refused if the config would have anything called, read or shown that this repository doesn't.

    listed: the modules in the record's own list of code. modules: where this repository's modules are. conf: its config files.
    """
    found = [*_top(config), *_named(config, listed, modules), *_values(config, conf), *_variables(config, conf), *_callbacks(config)]
    if found:
        lines = "\n  ".join(printable(line) for line in found)
        raise Refused(
            f"The record's config asks for what this repository doesn't have, and nothing of it was called:\n  {lines}\n"
            "If you know who made it and want it all the same: --trust-config."
        )


def printable(text: Any, longest: int = 300) -> str:
    """Text from elsewhere as it may be shown on a terminal: one line, without control characters."""
    line = "".join(letter if letter.isprintable() else "?" for letter in str(text))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping or list, with its dotted name."""
    children = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else None
    if children is None:
        yield where, node
        return
    for key, value in children:
        yield from leaves(value, f"{where}.{key}" if where else str(key))


def _at(node: Any, where: str) -> Any:
    for part in where.split("."):
        if isinstance(node, list):
            node = node[int(part)] if part.isdecimal() and int(part) < len(node) else None
        else:
            node = node.get(part) if isinstance(node, dict) else None
    return node


def _mappings(node: Any, where: str = "") -> Iterator[tuple[str, Mapping[Any, Any]]]:
    if isinstance(node, Mapping):
        yield where, node
    children = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in children:
        yield from _mappings(value, f"{where}.{key}" if where else str(key))


def _top(config: Mapping[str, Any]) -> Iterator[str]:
    for key in config:
        if key in HYDRAS or not isinstance(key, str) or not key.isidentifier():
            yield f"{key}: is not a part of a run's config"


def _named(config: Mapping[str, Any], listed: Mapping[str, Any], modules: Sequence[Path]) -> Iterator[str]:
    """Code that the config names, in Hydra's way or in Keras's."""
    for where, node in _mappings(config):
        if strange := [key for key in KERAS_OBJECTS if key in node]:
            yield f"{where}.{strange[0]}={node[strange[0]]}: names code in Keras's own way; a _target_ is accepted"
        if "_target_" not in node:
            continue
        key, name = "_target_", node["_target_"]
        if isinstance(name, str) and name in ("hydra.utils.get_method", "hydra.utils.get_class"):
            key, name = "path", node.get("path")  # a function as an argument: judged as if it were called
        if why := naming.complaint(name, listed, modules):
            yield f"{where}.{key}={name}: {why}"


def _values(config: Mapping[str, Any], conf: Path) -> Iterator[str]:
    """Interpolations, and places in the file system outside of the data."""
    for where, value in leaves(config):
        if not isinstance(value, str) or where.partition(".")[0] in NOT_USED:
            continue
        names = ENVIRONMENT.findall(value)
        if "${" in ENVIRONMENT.sub("", value):
            yield f"{where}={value}: an interpolation, where a record has none"
        elif names and value not in _in_conf(conf, where):
            yield f"{where}={value}: reads the environment, and no file of {conf} has that value there"
        # a data function reads what it is told to, and its data are part of the promise
        if where.startswith("data.") and _is_device(value):
            yield f"{where}={value}: no file and no folder"
        if not where.startswith("data.") and where.rpartition(".")[2] != "_target_" and _is_elsewhere(value):
            yield f"{where}={value}: a place outside of the record and of the data"


def _is_elsewhere(value: str) -> bool:
    return value.startswith(("/", "~", "\\")) or "://" in value or ".." in re.split(r"[/\\]", value)


def _is_device(value: str) -> bool:
    """Whether it names something that may have no end."""
    try:
        return stat.S_IFMT(os.stat(os.path.expanduser(value)).st_mode) not in (stat.S_IFREG, stat.S_IFDIR)  # noqa: PTH111, PTH116 (any text)
    except (OSError, ValueError):
        return False


def _variables(config: Mapping[str, Any], conf: Path) -> Iterator[str]:
    """Variables that the level would have a process started with: LD_PRELOAD is one, too."""
    groups = ["determinism.environment", *(f"determinism.backends.{name}" for name in BACKENDS)]
    for name in set(_at(config, "determinism.backends") or {}) - set(BACKENDS):
        yield f"determinism.backends.{name}: there is no such backend"
    deciding = {name for backend in BACKENDS for name in process.deciding(backend)}
    for group in groups:
        wanted = _at(config, group)
        for name, value in wanted.items() if isinstance(wanted, Mapping) else ():
            plain = value is None or (isinstance(value, str) and PLAIN_VALUE.fullmatch(value))
            if plain and name in deciding and (value is None or name not in FLAGS):  # None: not to be set
                continue
            known = _in_conf(conf, f"{group}.{name}")
            if not known or not plain or (name in FLAGS and value not in known):
                yield f"{group}.{name}={value}: a variable, or a value, that no level of {conf} sets"


def _callbacks(config: Mapping[str, Any]) -> Iterator[str]:
    for where, node in _mappings(config):
        if not naming.is_callback(node.get("_target_")):
            continue
        if not re.fullmatch(r"training\.callbacks\.[^.]+", where):
            yield f"{where}._target_={node['_target_']}: a callback, outside of training.callbacks"
        if "_args_" in node:
            yield f"{where}._args_: arguments of a callback are accepted by name alone"
        for name in WRITTEN:
            if name in node and not _stays(node[name]) and not _is_elsewhere(str(node[name])):  # that has been said
                yield f"{where}.{name}={node[name]}: is written to, and lies outside of the record ({{record}}/…)"


def _stays(value: Any) -> bool:
    """Whether a callback's place is inside the record, or is relative (and put there: see `inside`)."""
    rest = value.removeprefix("{record}") if isinstance(value, str) else "{"
    return not ({"{", "}"} & set(PLACE.sub("", rest))) and "{record}" not in rest and not _is_elsewhere(value)


def inside(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with what Keras's callbacks write put into the record, where it says a relative place: the user's own files of
    those names stay as they are. Places don't belong to the key."""
    training = config["training"]
    callbacks = dict(training["callbacks"]) if isinstance(training.get("callbacks"), Mapping) else {}
    for name, node in callbacks.items():
        if isinstance(node, Mapping) and naming.is_callback(node.get("_target_")):
            callbacks[name] = {key: _placed(value) if key in WRITTEN else value for key, value in node.items()}
    return {**config, "training": {**training, "callbacks": callbacks}}


def _placed(value: Any) -> Any:
    relative = isinstance(value, str) and not value.startswith("{record}") and not os.path.isabs(value)  # noqa: PTH117 (a pattern)
    return f"{{record}}/{value}" if relative else value


def _in_conf(conf: Path, where: str) -> set[str]:
    """The values that this repository's config files have at the dotted name `where`, as they would stand in a record."""
    found = set()
    for file in sorted(conf.rglob("*.yaml")):
        text = file.read_text()
        header = re.match(r"#\s*@package\s+(\S+)", text)
        package = (
            [*file.parent.relative_to(conf).parts] if header is None else [part for part in header[1].split(".") if part != "_global_"]
        )
        parts = where.split(".")
        if parts[: len(package)] != package:
            continue
        try:
            node = yaml.safe_load(text)
        except yaml.YAMLError:
            continue
        node = _at(node, ".".join(parts[len(package) :]))
        if node is not None and not isinstance(node, dict | list):
            found.add(WITH_DEFAULT.sub(r"${oc.env:\1}", str(node)))
    return found
