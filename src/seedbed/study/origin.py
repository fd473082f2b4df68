"""Where a study's numbers come from, for its page: code, data, versions, machine and config, as the records say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from seedbed.proof.side import Side
from seedbed.proof.untrusted import leaves
from seedbed.run.record import key_of
from seedbed.study.folder import Kept
from seedbed.study.tables import Table, letter

# What belongs to the machine that trained and not to the result, and the seeds, which have a table of their own.
NOT_SHOWN = ("tracking", "runs", "checkpoint", "force", "seeds")

FRAMEWORKS = ("seedbed", "tensorflow-cpu", "tensorflow", "keras", "jax", "torch", "numpy", "mlflow")


COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


def commit(side: Side) -> str | None:
    """The commit that a run was trained at, if it says one; `git.dirty` says whether there was more."""
    found = _stated(side).get("commit")
    return found if isinstance(found, str) and COMMIT.fullmatch(found) else None


def _stated(side: Side) -> Mapping[str, Any]:
    git = side.provenance.get("git")
    return git if isinstance(git, Mapping) else {}


def _git(side: Side) -> str:
    dirty = ", with changes that were not committed (code.diff in the record)" if _stated(side).get("dirty") else ""
    return f"{commit(side) or 'none'}{dirty}"


def _packages(side: Side) -> Mapping[str, str]:
    found: Mapping[str, str] = side.inputs["environment"]["packages"]
    return found


def _words(value: Any) -> str:
    """Nested values in a line."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_words(item)}" for name, item in value.items() if item not in (None, "", {}, [])) or "none"
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return str(value)


FACTS: tuple[tuple[str, Callable[[Side], str]], ...] = (
    ("code, git commit", _git),
    ("code, modules", lambda side: f"{len(side.inputs['code'])}, fingerprint {key_of(side.inputs['code'])}"),
    ("data, fingerprint", lambda side: str(side.inputs["data"])),
    ("locked environment", lambda side: str(side.provenance.get("lock") or "none")),
    ("image", lambda side: _words(side.provenance.get("image") or "none")),
    ("level", lambda side: side.level),
    ("Python", lambda side: str(side.provenance.get("python"))),
    ("frameworks", lambda side: ", ".join(f"{name} {_packages(side)[name]}" for name in FRAMEWORKS if name in _packages(side))),
    ("platform", lambda side: str(side.provenance.get("platform"))),
    ("processor", lambda side: _words(side.provenance.get("cpu"))),
    ("GPUs", lambda side: _words(side.provenance.get("gpu") or "none")),
    ("threads", lambda side: _words(side.provenance.get("threads"))),
    ("variables of the environment", lambda side: _words(side.inputs["environment"].get("variables"))),
)


def provenance(kept: Kept) -> list[Table]:
    """One line a fact; where runs differ, a value each, with how many runs have it."""
    if not kept.sides:
        return []
    rows = []
    for name, value in FACTS:
        counts: dict[str, int] = {}
        for _, side in kept.sides:
            said = value(side)
            counts[said] = counts.get(said, 0) + 1
        if len(counts) == 1:
            rows.append([name, next(iter(counts))])
        else:
            rows += [[name if at == 0 else "", f"{said} ({count} runs)"] for at, (said, count) in enumerate(counts.items())]
    reading = "All that a result may depend on. A fingerprint is a hash: the same one, the same code or data, to the last byte."
    return [Table("What ran, and where", ["", ""], rows, reading, "words")]


def packages(kept: Kept) -> str:
    """Every installed package with its version, those of the first run; "" without a record."""
    return ", ".join(f"{name} {version}" for name, version in sorted(_packages(kept.sides[0][1]).items())) if kept.sides else ""


def config(kept: Kept) -> str:
    """The first run's config as YAML, without what is this machine's own; "" without a record."""
    if not kept.sides:
        return ""
    return yaml.safe_dump(_shown(kept.sides[0][1]), sort_keys=False, allow_unicode=True, width=100)


def _shown(side: Side) -> dict[str, Any]:
    return {name: value for name, value in side.config.items() if name not in NOT_SHOWN}


def differences(kept: Kept) -> list[Table]:
    """In a comparison: what each configuration is, and where its config is another one than A's."""
    if kept.verb != "compare":
        return []
    configs = {run.part: dict(leaves(_shown(side))) for run, side in reversed(kept.sides)}
    first = configs.get(kept.parts[0], {}) if kept.parts else {}
    rows = []
    for part in kept.parts:
        its = configs.get(part, {})
        other = [f"{where}: {its.get(where, '–')}" for where in dict.fromkeys([*first, *its]) if first.get(where) != its.get(where)]
        rows.append([letter(kept, part), part, "; ".join(other) or ("–" if part == kept.parts[0] else "nothing")])
    reading = "A letter for each configuration, as it was asked for, and all values in which its config differs from A's."
    return [Table("Configurations", ["", "asked for", "differs from A in"], rows, reading, "words")] if rows else []
