"""The words that compose a recorded config again: `data=digits model=cnn seeds.master=7`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedbed import Refused, project_root
from seedbed.composing import quoted
from seedbed.proof.inputs import ABSENT, changes
from seedbed.proof.side import Side
from seedbed.run import config as configs
from seedbed.run import seeds as streams
from seedbed.run import training, yaml_files

# Groups that are chosen by a file of `conf/`, and what of a file has to be the record's.
GROUPS = {"data": "name", "model": "_target_", "optimizer": "_target_", "backend": "name", "strategy": "name", "determinism": "level"}

# Where a record is kept and how it is watched; the words are for another run.
LEFT_OUT = ("runs", "force", "tracking", "study", "checkpoint", "seeds")

DOTTED = re.compile(r"[^\W\d]\w*(\.\w+)*")


def overrides(side: Side) -> list[str] | None:
    """The words; None if this project's config files can't say what the record says, or it names values of the environment."""
    try:
        chosen = [f"{group}={file}" for group, key in GROUPS.items() if (file := _file(side.config, group, key))]
        more = _differing(side.config, chosen)
        if more is None or (more and _differing(side.config, [*chosen, *more]) != []):
            return None
        for word in list(chosen):  # what is the default anyway
            rest = [other for other in chosen if other != word]
            if _differing(side.config, rest) == more:
                chosen = rest
    except (HydraException, OmegaConfBaseException, Refused, ValueError, KeyError, TypeError, AttributeError):
        return None
    generator = (side.config.get("seeds") or {}).get("generator", "backend")
    drawn = [] if generator == "backend" else [f"seeds.generator={_value(generator)}"]
    return [*chosen, *more, *_seeds(side.inputs["seeds"]), *drawn]


def _file(config: Mapping[str, Any], group: str, key: str) -> str | None:
    """The file of a group that is most like the record's part."""
    wanted, best = config.get(group), None
    for file in sorted((project_root() / "conf" / group).glob("*.yaml")):
        found = yaml_files.load(file)
        if isinstance(found, dict) and isinstance(wanted, dict) and found.get(key) == wanted.get(key) is not None:
            rank = len(changes(found, wanted)), file.stem
            best = rank if best is None else min(best, rank)
    return best[1] if best else None


def _differing(config: Mapping[str, Any], words: list[str]) -> list[str] | None:
    """What has to be said after `words` to have the record's config; None if it can't be."""
    composed = configs.composed(*words)
    for name in OmegaConf.missing_keys(composed):  # a file's path, say: it has to be said
        OmegaConf.update(composed, name, "")
    plain = configs.without_environment(composed)
    there, recorded = (_kept(node) for node in (plain, config))
    found: dict[str, str] = {}
    for change in changes(there, recorded):
        if change.b is ABSENT or not DOTTED.fullmatch(change.name):
            return None
        name, known, value = _place(there, recorded, change.name)
        if "${" in repr(value):
            return None
        found[name] = f"{'' if known else '+'}{name}={_value(value)}"
    return list(found.values())


def _kept(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in config.items() if name not in LEFT_OUT}
    level = kept["determinism"]
    variables = {name: value for name, value in level["environment"].items() if name != "PYTHONHASHSEED"}  # the stream `hash`
    strategy = {name: value for name, value in (kept.get("strategy") or {}).items() if name not in training.MACHINES}
    return {**kept, "strategy": strategy, "determinism": {**level, "environment": variables}}


def _place(there: Any, recorded: Any, name: str) -> tuple[str, bool, Any]:
    """(what has to be set so that `name` is as recorded, whether there is such a key already, its value)."""
    parts: list[str] = []
    for part in name.split("."):
        if not isinstance(there, Mapping) or not isinstance(recorded, Mapping):
            break
        there, recorded = ({str(key): value for key, value in node.items()} for node in (there, recorded))
        parts.append(part)
        known = part in there
        there, recorded = there.get(part), recorded[part]
    return ".".join(parts), known, recorded


def _value(value: Any) -> str:
    """In Hydra's override grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return (
            value
            if re.fullmatch(r"[A-Za-z][\w./-]*", value) and value.lower() not in ("null", "true", "false", "nan", "inf")
            else quoted(value)
        )
    if isinstance(value, list):
        return f"[{','.join(_value(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_value(item)}' for key, item in value.items())}}}"
    return repr(value)


def _seeds(seeds: Mapping[str, int]) -> list[str]:
    """The master seed and the streams that don't follow from it; what is usual is left unsaid."""
    master = seeds.get("master", 1)
    derived = {name: streams.derive(master, name) for name in streams.STREAMS} | {"hash": 0}
    words = [f"seeds.{name}={seeds[name]}" for name, usual in derived.items() if seeds.get(name, usual) != usual]
    return [*([f"seeds.master={master}"] if master != 1 else []), *words]
