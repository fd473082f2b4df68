"""What a record's config may ask for, if the record is from elsewhere: only what this project's own `conf/` names.

The config is judged as a whole before anything of it is called, imported, resolved or written. What is
accepted is listed (docs/security.md); the rest is refused, all of it in one message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from seedbed import Refused
from seedbed.proof import callback_places, data_locations, keras_allowlist, naming
from seedbed.proof.conf_targets import REFERENCES, Declared, Node, nodes
from seedbed.proof.data_locations import Locations
from seedbed.proof.keras_allowlist import CALLBACKS, LOSS, METRICS
from seedbed.proof.untrusted import count, leaves
from seedbed.run import process
from seedbed.run.config import BACKENDS, STRATEGIES
from seedbed.run.plain_text import harmless
from seedbed.run.yaml_files import DEEPEST

# Parts that are this machine's own when a record is trained again; what the record says of them is not used.
NOT_USED = ("runs", "force", "tracking", "checkpoint", "study", "name")
PARTS = ("data", "model", "optimizer", "seeds", "backend", "strategy", "determinism", "training", *NOT_USED)

# Keys of Keras's own way to name code: `{class_name: …, config: …}` is made into an object wherever Keras takes one.
KERAS_OBJECTS = ("class_name", "registered_name")

ENVIRONMENT = re.compile(r"\$\{oc\.env:([A-Za-z_][A-Za-z0-9_]*)\}")

# Values of a level's environment: numbers and words. XLA's flags can name files that are written.
PLAIN_VALUE = re.compile(r"[\w.,:=+ -]*", re.ASCII)
FLAGS = ("XLA_FLAGS", "TF_XLA_FLAGS")

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)  # of a loss or a metric of Keras, and of an argument
MOST_REPLICAS = 64
MOST_LINES = 40  # of a message
MOST_VALUES = 10_000  # of a config from elsewhere; those of this project have some hundreds
NOT_ACCEPTED = "is named by no file of conf/, and is none of Keras's classes that a record may name"


def refuse(config: Mapping[str, Any], declared: Declared, locations: Locations) -> None:
    """Raise Refused if the config asks for anything that this project's `conf/` does not name.

    Args:
        config: of a record, as plain values.
        declared: what `conf/` names, of the commit that is going to be trained.
        locations: where data lie that the record may name.
    """
    if (size := count(config)) > MOST_VALUES:
        raise Refused(
            f"The record is from elsewhere, and its config has {size:,} values; {MOST_VALUES:,} at most are judged, and nothing of it was "
            "called. If you know who made the record, and all of this may run here: the same command with --trust-config."
        )
    strange = [key for key in config if key not in PARTS]
    found = [f"{key}: is no part of a run's config" for key in strange]
    plain = {key: value for key, value in config.items() if key not in (*NOT_USED, *strange)}
    found += [*_settings(plain), *_targets(plain, declared), *_texts(plain, declared), *_variables(plain, declared)]
    places = list(data_locations.complaints(_without_written(plain), declared, locations))
    found += [f"{where}={_at(plain, where)}: {why}" for where, why in places]
    keys = list(data_locations.of_keys(plain, declared, locations))
    found += [f"{where}: the key {key} {why}" for where, key, why in keys]
    if not found:
        return
    lines = [harmless(line) for line in dict.fromkeys(found)]
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    files = "\nWhere the data lie is said with --data PATH (a file, a folder or an address)." if places or keys else ""
    raise Refused(
        "The record is from elsewhere, and its config asks for what this project's conf/ does not name; nothing of it was "
        "called:\n  " + "\n  ".join([*lines[:MOST_LINES], *more]) + "\n"
        f"Accepted: the _target_s of {declared.conf}, each in its place, and Keras's classes by their names "
        f"(docs/security.md).{files}\n"
        "If you know who made the record, and all of this may run here: the same command with --trust-config."
    )


def variables(config: Mapping[str, Any]) -> list[str]:
    """The names of the variables that the config takes values from."""
    texts = [value for where, value in leaves(config) if isinstance(value, str) and where.partition(".")[0] not in NOT_USED]
    return sorted({name for text in texts for name in ENVIRONMENT.findall(text)})


def _at(node: Any, where: str) -> Any:
    for part in where.split("."):
        if isinstance(node, list):
            node = node[int(part)] if part.isdecimal() and int(part) < len(node) else None
        else:
            node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _settings(config: Mapping[str, Any]) -> Iterator[str]:
    """Plain settings that start something, or may be a name of code."""
    for part, known in (("backend", BACKENDS), ("strategy", STRATEGIES)):
        name = _at(config, f"{part}.name")
        if name is not None and name not in known:
            yield f"{part}.name={name}: is none of {', '.join(known)}"
    replicas = _at(config, "strategy.replicas")
    if replicas is not None and (type(replicas) is not int or not 1 <= replicas <= MOST_REPLICAS):
        yield f"strategy.replicas={replicas}: is no number from 1 to {MOST_REPLICAS}"
    for where, value in leaves(_at(config, "training.class_weight")):
        if value is not None and type(value) not in (int, float):
            yield f"training.class_weight.{where}={value}: is no number"
    callbacks = _at(config, "training.callbacks")
    if callbacks is not None and not isinstance(callbacks, Mapping):
        yield "training.callbacks: is no mapping of names and callbacks"


def _targets(config: Mapping[str, Any], declared: Declared) -> Iterator[str]:
    """Code that the config names, in Hydra's way or in Keras's, and the arguments that it gives."""
    for node in nodes(config):
        for key in KERAS_OBJECTS:
            if key in node.content:
                yield f"{node.where}.{key}={node.content[key]}: names code in Keras's own way; a _target_ is accepted"
        name = node.content.get("_target_")
        special = [key for key in node.content if isinstance(key, str) and key.startswith("_") and key.endswith("_")]
        if "_target_" not in node.content:
            if special and node.position is not None:  # to Hydra, of a target above
                yield f"{node.where}.{special[0]}: is for Hydra, and stands beside no _target_"
        elif name in REFERENCES:
            yield from _reference(node, declared)
        elif why := _name(node, declared):
            yield f"{node.where}._target_={name}: {why}"
        else:
            yield from _flags(node, special, declared)
            yield from _arguments(node, declared)


def _reference(node: Node, declared: Declared) -> Iterator[str]:
    """A function as an argument, not called: the path stands in `conf/` in the same part of the config."""
    path = node.content.get("path")
    same = [one for one in declared.references.get(str(path), ()) if _agree(one, node)]
    if not any(dict(one.content) == dict(node.content) for one in same):
        yield f"{node.where}.path={path}: no file of conf/ names this function there by {node.content['_target_']}"


def _agree(one: Node, other: Node) -> bool:
    return one.position is not None and one.position == other.position


def _uses(node: Node, declared: Declared) -> list[Node]:
    """The nodes of `conf/` that have the same target in the same position."""
    name = node.content["_target_"]
    return [one for one in declared.targets.get(name, ()) if _agree(one, node)]


def _name(node: Node, declared: Declared) -> str | None:
    """Why the config may not have the node's target called where it stands; None if it may."""
    name = node.content["_target_"]
    if not isinstance(name, str) or not naming.DOTTED.fullmatch(name):
        return "is no dotted name of a function or class"
    if node.position is None:
        return "stands where seedbed calls nothing"
    group = keras_allowlist.group_of(name)
    if group is not None and node.position in group.positions:
        return None
    if name not in declared.targets:
        if group is not None:
            return f"is not accepted as {node.position}"
        refused = keras_allowlist.REFUSED.get(keras_allowlist.canonical(name))
        return f"is not accepted from a record: {refused}" if refused else NOT_ACCEPTED
    if not _uses(node, declared):
        return f"stands in conf/, but not as {node.position}"
    if any(part.startswith("_") for part in name.split(".")):
        return "is private, or reached through what is"
    if _is_own(name, declared) and naming.definition(name, declared.modules) is None:
        return "is no function or class that a module of this project defines"
    return None


def _is_own(name: str, declared: Declared) -> bool:
    """Whether the first part of a name is a package or module of the project's own folders."""
    own = [str(folder) for folder in declared.modules if not {"site-packages", "dist-packages"} & set(folder.resolve().parts)]
    return PathFinder.find_spec(name.partition(".")[0], own) is not None


def _flags(node: Node, special: Sequence[str], declared: Declared) -> Iterator[str]:
    """What is said to Hydra: `_partial_`, `_recursive_`, `_args_` and the like."""
    for key in special:
        if key == "_target_":
            continue
        if not any(key in one.content and one.content[key] == node.content[key] for one in _uses(node, declared)):
            yield f"{node.where}.{key}={node.content[key]}: conf/ does not say this there"


def _arguments(node: Node, declared: Declared) -> Iterator[str]:
    """Arguments that the target does not take, or not of this kind."""
    name = node.content["_target_"]
    given = {key: value for key, value in node.content.items() if not (isinstance(key, str) and key.startswith("_") and key.endswith("_"))}
    in_conf = {key for one in _uses(node, declared) for key in one.content}
    keras = keras_allowlist.group_of(name) is not None
    takes = _parameters(keras_allowlist.canonical(name) if keras else name, keras, declared)
    for key, value in given.items():
        where = f"{node.where}.{key}={value}"
        if not isinstance(key, str) or not NAME.fullmatch(key):
            yield f"{where}: is no name of an argument"
        elif key not in takes and key not in in_conf:
            yield f"{where}: {name} takes no such argument"
        elif not naming.admits(takes.get(key), value):
            yield f"{where}: is not what {name} is declared to take"
        elif keras:
            yield from _keras_argument(node, key, value)
        elif node.position is not None and node.position.part == CALLBACKS:
            yield from _record_places(where, value)


def _parameters(name: str, keras: bool, declared: Declared) -> Mapping[str, Any]:
    """What a target takes by name, with the annotations; of installed packages only what `conf/` gives them is accepted."""
    return _of_keras(name) if keras else _taken(name, declared.modules)


@cache
def _of_keras(name: str) -> Mapping[str, Any]:
    takes = _taken(name, _keras_folder())
    return {**takes, **dict.fromkeys(keras_allowlist.OF_EACH_LAYER)} if name.startswith("keras.layers.") else takes


def _taken(name: str, modules: Sequence[Path]) -> Mapping[str, Any]:
    found = naming.definition(name, modules)
    return {} if found is None else naming.parameters(found, [*modules, *_keras_folder()]).annotations


def _keras_folder() -> list[Path]:
    spec = PathFinder.find_spec("keras")
    return [Path(spec.origin).parents[1]] if spec is not None and spec.origin else []


def _keras_argument(node: Node, key: str, value: Any) -> Iterator[str]:
    name = keras_allowlist.canonical(node.content["_target_"])
    where = f"{node.where}.{key}={value}"
    if key in keras_allowlist.REFUSED_ARGUMENTS.get(name, ()):
        yield f"{where}: names a file to read"
    elif key in keras_allowlist.WORDS_NOT_FILES.get(name, ()) and isinstance(value, str):
        yield f"{where}: names a file to read; a list of words is accepted"
    elif callback_places.is_callback(name) and key in callback_places.WRITTEN and (why := callback_places.complaint(value, relative=True)):
        yield f"{where}: {why}"


def _record_places(where: str, value: Any) -> Iterator[str]:
    """Places of callbacks of the project's own: wherever one names the record, it names nothing of the record's own."""
    for _, text in leaves(value):
        if isinstance(text, str) and callback_places.RECORD in text and (why := callback_places.complaint(text, relative=False)):
            yield f"{where}: {why}"


def _texts(config: Mapping[str, Any], declared: Declared) -> Iterator[str]:
    """Interpolations, and names of losses and metrics."""
    parts = {node.where: node.position.part for node in nodes(config) if node.position is not None and "_target_" in node.content}
    for where, value in leaves(config):
        if not isinstance(value, str):
            continue
        if "${" in ENVIRONMENT.sub("", value):
            yield f"{where}={value}: an interpolation, where a record has none"
        elif ENVIRONMENT.search(value) and not declared.has(where, value):
            yield f"{where}={value}: reads the environment, and no file of {declared.conf} has that value there"
        if _is_named(where) and not NAME.fullmatch(value) and not any(above in parts for above in _above(where)):
            yield f"{where}={value}: is no name of Keras's losses or metrics"


def _above(where: str) -> Iterator[str]:
    """The dotted names of what a value lies in; none for one that is deeper than any config, since its keys hold dots."""
    names = where.split(".")
    return (".".join(names[:depth]) for depth in range(1, len(names) if len(names) <= DEEPEST else 1))


def _is_named(where: str) -> bool:
    return where.startswith((f"training.{LOSS}", f"training.{METRICS}", f"data.{LOSS}", f"data.{METRICS}"))


def _variables(config: Mapping[str, Any], declared: Declared) -> Iterator[str]:
    """Variables that the level would have a process started with: LD_PRELOAD is one, too."""
    groups = ["determinism.environment", *(f"determinism.backends.{name}" for name in BACKENDS)]
    for name in set(_at(config, "determinism.backends") or {}) - set(BACKENDS):
        yield f"determinism.backends.{name}: there is no such backend"
    deciding = {name for backend in BACKENDS for name in process.deciding(backend)}
    for group in groups:
        wanted = _at(config, group)
        for name, value in wanted.items() if isinstance(wanted, Mapping) else ():
            where = f"{group}.{name}"
            plain = value is None or (isinstance(value, str) and PLAIN_VALUE.fullmatch(value))
            if plain and name in deciding and (value is None or name not in FLAGS):  # None: not to be set
                continue
            known = where in declared.values
            if not known or not plain or (name in FLAGS and not declared.has(where, value)):
                yield f"{where}={value}: a variable, or a value, that no level of {declared.conf} sets"


def _without_written(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without what names code, and without where callbacks write: that is judged by itself."""

    def kept(node: Any, callback: bool) -> Any:
        if isinstance(node, Mapping):
            name = node.get("_target_")
            skipped = {"_target_", *(["path"] if name in REFERENCES else [])}
            skipped |= set(callback_places.WRITTEN) if callback_places.is_callback(name) else set()
            return {key: kept(value, callback) for key, value in node.items() if key not in skipped}
        if isinstance(node, list):
            return [kept(item, callback) for item in node]
        return None if callback and isinstance(node, str) and node.startswith(callback_places.RECORD) else node

    whole = {key: kept(value, False) for key, value in config.items() if key != "training"}
    given = config.get("training")
    training = given if isinstance(given, Mapping) else {}
    return {**whole, "training": {key: kept(value, key == "callbacks") for key, value in training.items()}}
