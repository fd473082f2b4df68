"""Whether a run that is trained again must have the recorded bits: the recorded inputs beside those here, part by part."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seedbed.proof.untrusted import leaves
from seedbed.run.plain_text import harmless
from seedbed.run.record import canonical

# Levels that don't promise the same bits, with what they do.
NO_PROMISE = {
    "off": "the level `off` draws its seeds anew and promises nothing",
    "seeded": "the level `seeded` promises the same streams of randomness, not the same bits",
}

MOST_NAMED = 5  # differences of one kind that are spelled out

# Parts of the environment: what they are called, and what is to be done where they differ.
ENVIRONMENT = {
    "python": ("Python", "train with the recorded version (make clean; make PYTHON=…)"),
    "platform": ("platform", "train on the recorded kind of system, or in its image"),
    "packages": ("packages", "--checkout sets up the recorded ones"),
    "cpu": ("CPU", "train on the recorded kind of machine"),
    "gpu": ("GPU", "train on the recorded kind of machine"),
    "variables": ("variables", "set or unset them as recorded"),
    "read": ("variables that the code reads", "set or unset them as recorded"),
}
COUNTED = {"packages": "versions", "variables": "values", "read": "values"}  # shown as a number; what differs is in the reasons


@dataclass(frozen=True)
class Row:
    """One thing of a record beside what there is here. same: None where it decides nothing, or isn't known."""

    what: str
    recorded: str
    here: str
    same: bool | None


@dataclass(frozen=True)
class Comparison:
    """reasons: why the promise doesn't hold, each with the remedy."""

    rows: list[Row]
    reasons: list[str]


def of_level(level: str) -> Comparison:
    if level in NO_PROMISE:
        return Comparison([Row("level", level, "no promise of the same bits", False)], [NO_PROMISE[level]])
    return Comparison([Row("level", level, level, True)], [])


def compared(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> Comparison:
    """Those parts of a key's inputs that are in `here`, beside the recorded ones."""
    here = json.loads(canonical(here))  # as the recorded ones have been through JSON, too
    looks: dict[str, Callable[[Any, Any], tuple[Row, str]]] = {
        "seeds": _seeds,
        "code": _code,
        "config": _config,
        "data": _data,
        "determinism": _settings,
    }
    parts = [look(recorded[name], here[name]) for name, look in looks.items() if name in here]
    mine, theirs = here.get("environment", {}), recorded["environment"]
    names = [*ENVIRONMENT, *sorted(set(mine) - set(ENVIRONMENT))]
    parts += [_environment(name, theirs.get(name), mine[name]) for name in names if name in mine]
    rest = [name for name in here if name not in (*looks, "environment")]  # inputs that a later version may have
    parts += [
        (Row(name, _short(recorded.get(name)), _short(here[name]), recorded.get(name) == here[name]), f"other {name}") for name in rest
    ]
    return Comparison([row for row, _ in parts], [reason for row, reason in parts if not row.same])


def of_reads(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> Comparison:
    """Compare the variables of the environment that a run has read while it trained, beyond those in its key.

    Args:
        recorded: as the record lists them.
        here: the same names with the values that they have here, as a record would keep them.
    """
    if not recorded and not here:
        return Comparison([], [])
    other = _differing(recorded, here)
    row = Row("variables that the run reads", f"{len(recorded)} values", _counted(other), not other)
    reason = f"other values of variables that the run reads: {_named(other)}; set or unset them as recorded"
    return Comparison([row], [reason] if other else [])


def _seeds(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[Row, str]:
    other = _differing(recorded, here)
    words = f"master {recorded.get('master')}, {len(recorded) - 1} streams"
    return Row("seeds", harmless(words), _counted(other), not other), f"other seeds: {_named(other)}"


def _code(recorded: Mapping[str, str], here: Mapping[str, str]) -> tuple[Row, str]:
    changed = [f"{name} (changed)" for name in recorded if name in here and here[name] != recorded[name]]
    changed += [f"{name} (not here)" for name in recorded if name not in here]
    changed += [f"{name} (not there)" for name in here if name not in recorded]
    return Row("code", f"{len(recorded)} modules", _counted(changed), not changed), f"other code: {_listed(changed)}"


def _config(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[Row, str]:
    other = _differing(recorded, here)
    row = Row("config", f"{len(list(leaves(recorded)))} values", _counted(other), not other)
    return row, f"another config than the key was made of (a variable or a file that it names has changed?): {_named(other)}"


def _data(recorded: str, here: str) -> tuple[Row, str]:
    row = Row("data", recorded[:16] or "no fingerprint", here[:16], recorded == here and bool(recorded))
    return row, f"changed data: fingerprint {here} here, {harmless(recorded)} recorded"


def _settings(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[Row, str]:
    other = _differing(recorded, here)
    row = Row("settings", f"of {harmless(recorded.get('level'))}", _counted(other), not other)
    return row, f"other settings of the level: {_named(other)}"


def _environment(name: str, recorded: Any, here: Any) -> tuple[Row, str]:
    title, remedy = ENVIRONMENT.get(name, (name, "train where it is as recorded"))
    other = _differing(recorded, here)
    if name in COUNTED:
        row = Row(title, f"{len(recorded or ())} {COUNTED[name]}", _counted(other), not other)
    else:
        row = Row(title, _model(recorded), "the same" if not other else _model(here), not other)
    return row, f"other {title}: {_named(other)}; {remedy}"


def _model(value: Any) -> str:
    return _short(value.get("model", value) if isinstance(value, Mapping) else value)


def _counted(other: Collection[Any]) -> str:
    return f"{len(other)} other" if other else "the same"


def _differing(recorded: Any, here: Any) -> dict[str, tuple[Any, Any]]:
    first, second = dict(leaves(recorded)), dict(leaves(here))
    missing = object()
    names = [name for name in {**first, **second} if first.get(name, missing) != second.get(name, missing)]
    return {name: (first.get(name), second.get(name)) for name in names}


def _named(other: Mapping[str, tuple[Any, Any]]) -> str:
    return _listed([f"{name} {_short(here)} ({_short(recorded)} recorded)".strip() for name, (recorded, here) in other.items()])


def _listed(words: list[str]) -> str:
    more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return harmless(", ".join(words[:MOST_NAMED]), 600) + more


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return harmless("  ".join(f"{name} {_short(item)}" for name, item in value.items() if name not in ("isa", "number")), 100) or "none"
    if isinstance(value, list):
        return harmless(", ".join(_short(item) for item in value), 100) or "none"
    return "none" if value is None else harmless(value, 80)


def digests(recorded: Mapping[str, str], here: Mapping[str, str]) -> Iterator[Row]:
    """Each digest of either; `run`, their sum, last."""
    for name in sorted({*recorded, *here}, key=lambda name: (name == "run", [*recorded, *here].index(name))):
        one, other = recorded.get(name), here.get(name)
        yield Row(harmless(name), one or "-", other or "-", one is not None and one == other)
