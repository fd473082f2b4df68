"""A later seed of a study, trained a second time in a fresh process: are the bits of runs that share a process those of runs alone?

What a run leaves behind is looked for where it can be seen (`run.session`). What can't be seen is measured here: if the two
runs differ, every run of the study that shared a process is trained again, each in a process of its own.
"""

from __future__ import annotations

import ast
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seedbed import Refused
from seedbed.run import json_text, plain_files, provenance, record, targets
from seedbed.run.record import FINISHED, Record, write_atomically
from seedbed.study.plan import LARGEST_NOTE, Task

NAME = "check.json"  # in the study's folder
KEPT_LEVELS = ("strict", "portable")  # those that promise the same bits

# Packages that a plain model function is made of: what they remember between two calls is looked at, or reaches no result.
PLAIN = frozenset({
    "__future__", "abc", "collections", "dataclasses", "enum", "functools", "itertools", "keras", "math", "numpy", "operator", "pandas",
    "re", "seedbed", "sklearn", "string", "tensorflow", "typing",
})  # fmt: skip

# By which a function may keep something where its source doesn't show it.
OUT_OF_SIGHT = frozenset({"setattr", "delattr", "vars", "globals", "exec", "eval", "__import__"})


@dataclass(frozen=True)
class Verdict:
    """What a check has found. agrees: None if it could not be made, and `why` says why. seed: that was trained twice.

    covers: the master seeds whose records it speaks for. differing: the outputs that differ. alone: the digests of the run in the
    fresh process. repeats: whether a further fresh process had these digests, too; None if that is not known.
    """

    agrees: bool | None
    seed: int
    covers: Sequence[int] = field(default_factory=list)
    differing: Sequence[str] = field(default_factory=list)
    alone: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    call: str = ""
    repeats: bool | None = None

    @property
    def said(self) -> str:
        """One sentence for people."""
        if self.agrees:
            return f"Checked: seed {self.seed}, trained a second time in a fresh process, has the same bits."
        if self.agrees is None:
            return f"Not checked: seed {self.seed} could not be trained a second time in a fresh process: {self.why}"
        other = ", ".join(name.replace("_", " ") for name in self.differing)
        again = "Its runs do not share a process any more: each was trained in a fresh one."
        if self.repeats is False:
            again += f" Seed {self.seed} has other bits there each time, so something else than sharing decides them."
        return f"Seed {self.seed}, trained a second time in a fresh process, had other bits ({other}). {again}"


def read(folder: Path) -> Verdict | None:
    """What the last check of a study found; None if there was none."""
    try:
        content = json_text.loads(plain_files.read(folder / NAME, LARGEST_NOTE, optional=True) or b"")
        return Verdict(**{name: content[name] for name in Verdict.__dataclass_fields__ if name in content})
    except (ValueError, TypeError, AttributeError, RecursionError, Refused):
        return None


def write(folder: Path, verdict: Verdict) -> None:
    write_atomically(folder / NAME, json_text.dumps(vars(verdict), indent=1))


def differs(folder: Path) -> Verdict | None:
    """The verdict by which no two runs of this study may share a process; None if there is none."""
    found = read(folder)
    return found if found is not None and found.agrees is False else None


def number(config: DictConfig) -> int:
    """How many seeds to train twice: as `study.check` says; `auto` is one where code takes part that can keep something out of sight."""
    asked = config.study.check
    if asked != "auto":
        return int(asked)
    return int(str(config.determinism.level) in KEPT_LEVELS and beyond_plain(config) is not None)


def refuse(config: DictConfig) -> None:
    """Raise Refused where seeds are to be checked at a level that does not promise the same bits."""
    if config.study.check not in ("auto", 0) and str(config.determinism.level) not in KEPT_LEVELS:
        raise Refused(
            f"study.check={config.study.check} compares bits, and determinism={config.determinism.level} does not promise the same ones. "
            f"Accepted: study.check=auto or 0, or determinism=strict or portable."
        )


def beyond_plain(config: DictConfig) -> str | None:
    """Why runs of this config might leave something that can't be seen; None if all of the user's code is plain.

    Plain is a data function, or a model function that is made of PLAIN packages; a class of the user's own (a layer, a callback,
    a loss, a data set) is not, nor is any other import, an installed helper included.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    data = plain["data"].pop("source", {})
    model = set(provenance.own_files(targets.names(plain)))
    for file in sorted(model | set(provenance.own_files(targets.names({"data": data})))):
        if found := _beyond(file, file in model):
            return found
    return None


def _beyond(file: Path, model: bool) -> str | None:
    """What in a file is more than plain functions. model: whether it is of a model's, an optimizer's or a callback's code."""
    tree = ast.parse(file.read_bytes())
    own = {path.stem for path in file.parent.iterdir()} | {parent.name for parent in file.parents}
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            return f"{file.name}:{node.lineno} has the class {node.name}"
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load) and _root(node) in imported:
            return f"{file.name}:{node.lineno} changes {ast.unparse(node)}"
        if isinstance(node, ast.Name) and node.id in OUT_OF_SIGHT:
            return f"{file.name}:{node.lineno} uses {node.id}"
        if not model or not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)] * (not node.level)
        if strange := [name for name in names if name.partition(".")[0] not in PLAIN | own]:
            return f"{file.name}:{node.lineno} imports {strange[0]}"
    return None


def _root(node: ast.expr) -> str | None:
    """The name that an attribute, or an item, is one of in the end."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def candidates(tasks: Sequence[Task], count: int) -> list[Task]:
    """The last `count` tasks that no check speaks for yet and that may share a process with one before them."""
    found: list[Task] = []
    for task in reversed(tasks[1:]):
        verdict = read(task.folder)
        covered = verdict is not None and verdict.agrees and task.master in verdict.covers
        if len(found) < count and not covered and _may_have_shared(task):
            found.append(task)
    return found


def _may_have_shared(task: Task) -> bool:
    """Whether a task's record is of a run that others of its process came before; or there is none yet."""
    noted = task.noted()
    if noted.get("status") != FINISHED:
        return True
    try:
        return shared(Record.read(Path(noted["record"])))
    except (Refused, KeyError):
        return True


def shared(found: Record) -> bool:
    """Whether a run came after others of its process. Of a record that does not say: whether it was one of a study's."""
    earlier = found.content.get("earlier_runs")
    return bool(earlier) if earlier is not None else found.content.get("not_shared") is not None


def judged(task: Task, scratch: Path, status: int, tasks: Iterable[Task], call: str) -> Verdict | None:
    """Compare a task's record with that of its second run, in `scratch`; None if the task itself has come to no end.

    status: the exit status of the process of the second run. tasks: all of the study's, for which the verdict speaks.
    """
    noted = task.noted()
    if noted.get("status") in (None, "begun", "interrupted"):
        return None
    alone = next((Record.read(file.parent) for file in sorted(scratch.glob("[0-9a-f]*/record.json"))), None)
    if status < 0 or alone is None or alone.status not in (FINISHED, record.FAILED):
        how = f"it was ended by {signal.Signals(-status).name}" if status < 0 else f"see {task.folder / 'log.txt'}"
        return Verdict(None, task.master, why=how, call=call)
    covers = [one.master for one in tasks if one.noted().get("status") == FINISHED]
    if noted["status"] != alone.status:
        return Verdict(False, task.master, covers, ["status"], dict(alone.digests or {}), call=call)
    before = Record.read(Path(noted["record"])).digests or {}
    other = [name for name, digest in (alone.digests or {}).items() if before.get(name) != digest and name != "run"]
    return Verdict(not other, task.master, covers, other, dict(alone.digests or {}), call=call)


def forget(tasks: Iterable[Task]) -> int:
    """Remove the records of runs that shared a process with earlier ones, and the notes of them; how many there were.

    A note is no reason to remove anything outside of the folder that the study lies in.
    """
    count = 0
    for task in tasks:
        noted = task.noted()
        with suppress(Refused, KeyError):
            found = Record.kept(Path(str(noted["record"])))
            if found.status == FINISHED and not shared(found):
                continue
            runs, path = task.folder.resolve().parents[1], found.path.resolve()
            if path in (runs / found.key, runs / found.key / record.AGAIN):
                with record.locked(runs, found.key):
                    shutil.rmtree(path)
        task.file.unlink(missing_ok=True)
        count += 1
    return count


def confirmed(verdict: Verdict, tasks: Iterable[Task]) -> Verdict:
    """The verdict, with whether the run in a further fresh process had the bits of the first one."""
    noted = next((task.noted() for task in tasks if task.master == verdict.seed), {})
    repeats: bool | None = None
    with suppress(Refused, KeyError):
        repeats = (Record.read(Path(noted["record"])).digests or {}) == dict(verdict.alone)
    return Verdict(**{**vars(verdict), "repeats": repeats})
