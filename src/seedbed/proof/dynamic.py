"""Who draws from entropy while a model is trained, and which of these draws reach the result.

Two executions that draw other values from every source that no stream decides: if all outputs agree, nothing of it reaches
them. If they differ, the draws before the first output that does are suspects. Executions in which all values are those of the
first one, but for one suspect's, tell which of them it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from seedbed import Refused, printed, project_root
from seedbed.command_line import command
from seedbed.proof import clocks, execution
from seedbed.proof.execution import Execution
from seedbed.proof.files import Carried, carried
from seedbed.proof.perturbing import Way
from seedbed.proof.tape import Tape
from seedbed.proof.verify import compared
from seedbed.run import config as configs
from seedbed.run.record import FINISHED

WIDE = 1000  # columns of what is printed into a file or a pipe: nothing is broken
MOST = 8  # executions beyond the first two

# In which phase an output comes about; what is drawn later can't have changed it.
PHASES = ("data", "model", "training", "evaluation")
MADE_IN = {"data": 0, "initial_weights": 1, "history": 2, "final_weights": 2, "generators": 2, "optimizer": 2}

# What can be said of a draw, and whether it is an error.
VERDICTS = {
    "governed": (False, "decided by a stream"),
    "nothing": (False, "reaches nothing"),
    "unknown": (False, "not known"),
    "reaches": (True, "reaches"),
    "may reach": (True, "may reach"),
}


@dataclass(frozen=True)
class Played(Way):
    """An execution as it is, in which a tape plays."""

    tape: Tape | None = None

    @contextmanager
    def outside(self, folder: Path, config: DictConfig) -> Iterator[dict[str, Any]]:
        assert self.tape is not None
        yield {"env": self.tape.environment}


@dataclass(frozen=True)
class Judged:
    """A draw (a `draws.Draw` as a dict), one of VERDICTS, the outputs that it changes, and why it isn't known better."""

    draw: Mapping[str, Any]
    verdict: str
    outputs: tuple[str, ...] = ()
    why: str = ""

    @property
    def said(self) -> str:
        words = f"{VERDICTS[self.verdict][1]} {_first(self.outputs)}".strip()
        return f"{words} ({self.why})" if self.why else words


@dataclass(frozen=True)
class Audit:
    """differing: the outputs in which two executions differ. unexplained: they do though every value that was seen was the same.
    executions: how many there were; capped: whether there would have been more than MOST. files:
    what an execution read that an earlier one, or itself before, had written."""

    judged: list[Judged]
    differing: list[str]
    executions: int
    unexplained: bool = False
    capped: bool = False
    files: Sequence[Carried] = ()

    @property
    def errors(self) -> list[Judged]:
        return [one for one in self.judged if VERDICTS[one.verdict][0]]

    @property
    def clean(self) -> bool:
        return not self.errors and not self.unexplained and not self.files

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "clean": self.clean}


@dataclass
class _Asking:
    """The executions of one audit. extra: how many there were beyond the first two."""

    config: DictConfig
    folder: Path
    said: Callable[[str], None]
    execute: Callable[..., Execution]
    salt: str = field(default_factory=lambda: os.urandom(16).hex())  # other names for what is named by uuid4 in each audit
    done: list[Execution] = field(default_factory=list)

    def ask(self, name: str, flipped: Sequence[str] = (), seeds: Mapping[str, Sequence[float | str]] | None = None) -> list[str]:
        """One more execution; the outputs in which it differs from the first. flipped, seeds: see `Tape`."""
        number = len(self.done) + 1
        self.said(f"Execution {number}: {name}.")
        folder = self.folder / f"execution {number}"
        tape = Tape(self.salt, tuple(flipped), dict(seeds or {}), str(folder / "draws.jsonl"))
        self.done.append(self.execute(self.config, folder, name=name, way=Played(name, tape=tape)))
        return compared(self.done[0], self.done[-1])


def audited(config: DictConfig, folder: Path, said: Callable[[str], None], execute: Callable[..., Execution] = execution.execute) -> Audit:
    """Train `config` twice or more (see the top of this module) and judge who drew from what.

    folder: for the executions. said: gets a line for people before each. Raises Refused for what the run refuses.
    """
    configs.check(config)
    if config.determinism.level == "off":
        raise Refused("determinism=off takes every seed from the system's entropy, so all of it reaches. Accepted: seeded, strict.")
    asking = _Asking(config, folder, said, execute)
    asking.ask("who draws from what")
    first = asking.done[0]
    if first.status != FINISHED:
        raise Refused(f"The run {first.status}, so there is nothing to audit: {first.error}")
    differing = asking.ask("the same, with other values from each source", ["*"])
    draws, files = _met(first.draws, asking.done[1].draws), carried(asking.done)
    if not differing:
        draws = [draw for draw in draws if draw["source"] not in clocks.SOURCES]  # whoever only looks at the clock does no harm
        judged = [Judged(draw, "governed" if draw["governed"] else "nothing") for draw in draws]
        return Audit(judged, [], len(asking.done), files=files)
    last = min(MADE_IN.get(name, 3) for name in differing)
    own_first = sorted(draws, key=lambda draw: bool(draw["package"]))
    suspects = {draw["site"]: draw for draw in own_first if not draw["governed"] and PHASES.index(draw["phase"]) <= last}
    found, unexplained, capped = _told_apart(asking, suspects, differing)
    judged = []
    for draw in draws:
        if draw["governed"] or draw["site"] not in found:
            judged.append(Judged(draw, "governed" if draw["governed"] else "nothing"))
        else:
            verdict, outputs, why = found[draw["site"]]
            judged.append(Judged(draw, verdict, tuple(outputs), why))
    return Audit(judged, differing, len(asking.done), unexplained, capped, files)


Found = dict[str, tuple[str, Sequence[str], str]]


def _told_apart(asking: _Asking, suspects: Mapping[str, Mapping[str, Any]], differing: list[str]) -> tuple[Found, bool, bool]:
    """What is known of each suspect's site: verdict, outputs, why no more; whether something unseen is at work; whether capped."""
    if not suspects:
        return {}, True, False
    seen = any(draw["source"] not in clocks.SOURCES for draw in suspects.values() if not draw["held"])
    seeds = {site: draw["seeds"] for site, draw in suspects.items() if draw["seeds"] and draw["held"]}
    free = [site for site, draw in suspects.items() if not draw["held"]]
    kept = [site for site in suspects if site not in free]
    if control := asking.ask("the same values again", (), seeds):
        # something is at work that a tape doesn't decide; what a tape does decide can't be told apart from it
        found: Found = dict.fromkeys(free, ("may reach", control, "its values can't be given back"))
        return found | dict.fromkeys(kept, ("unknown", (), "the outputs differ with the same values, too")), not seen, False
    if not kept:
        return dict.fromkeys(free, ("may reach", differing, "it didn't in each execution")), not seen, False
    found = dict.fromkeys(free, ("nothing", (), ""))
    if len(kept) == 1:
        return found | {kept[0]: ("reaches", differing, "")}, False, False
    tested = kept[: MOST - 1]  # one execution has been spent
    for site in tested:
        others = {name: values for name, values in seeds.items() if name != site}
        if reached := asking.ask(f"other values for {_where(suspects[site])} alone", [site], others):
            found[site] = ("reaches", reached, "")
    if len(tested) == len(kept) and not any(verdict == "reaches" for verdict, *_ in found.values()):
        found |= dict.fromkeys(kept, ("may reach", differing, "only together with others"))
    untested = dict.fromkeys(kept[MOST - 1 :], ("may reach", differing, f"not looked into: {MOST} more executions are the most"))
    return found | untested, False, bool(untested)


def _met(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The draws of two executions, each once. A seed that looks like a reading of the clock in one of them alone isn't one."""

    def key(draw: Mapping[str, Any]) -> tuple[Any, ...]:
        return draw["source"], draw["site"], draw["file"], draw["line"], draw["phase"], draw["governed"]

    there = {key(draw) for draw in first}, {key(draw) for draw in second}
    met = {key(draw): draw for draw in (*second, *first)}
    every = [met[one] for one in dict.fromkeys(key(draw) for draw in (*first, *second))]
    return [draw for draw in every if not draw["seeds"] or all(key(draw) in of_one for of_one in there)]


def _first(outputs: Sequence[str]) -> str:
    """The first output that differs; the others follow from it."""
    return f"the {outputs[0].replace('_', ' ')}" if outputs else ""


def _where(draw: Mapping[str, Any]) -> str:
    return f"{_short(draw['file'])}:{draw['line']}" if draw["file"] else "a thread's or process's own function"


def _short(file: str) -> str:
    """A path as people recognise it: from the project's folder or from site-packages on."""
    _, installed, rest = file.rpartition("/site-packages/")
    if installed:
        return rest
    return str(Path(file).relative_to(project_root())) if Path(file).is_relative_to(project_root()) else file


def shown(audit: Audit, words: Sequence[str]) -> None:
    """Print who drew from what, what reaches, and what to do about it."""
    console = printed.console(soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    if audit.judged:
        table = Table("drawn from", "times", "phase", "by", "verdict", box=None, padding=(0, 2, 0, 0))
        for one in sorted(audit.judged, key=lambda one: not VERDICTS[one.verdict][0]):
            draw, who = one.draw, _where(one.draw)
            who += f" {draw['function']}" if draw["function"] not in ("", "<module>") else ""
            called = str(draw["user"]).partition(" ")[0]
            if draw["package"] and called:
                who += f"\ncalled from {_short(called.rpartition(':')[0])}:{called.rpartition(':')[2]}"
            table.add_row(
                draw["what"], f"{draw['count']}", draw["phase"], who, one.said, style="bold" if VERDICTS[one.verdict][0] else None
            )
        console.print(table)
        console.print()
    printed.lines(_lines(audit, words))


def _lines(audit: Audit, words: Sequence[str]) -> list[tuple[str, str]]:
    entropy = [one for one in audit.judged if one.verdict != "governed"]
    rows = [("executions", f"{audit.executions}, {'other outputs' if audit.differing else 'the same outputs'}")]
    if not audit.judged:
        rows.append(("draws", "none that a stream doesn't give out"))
    elif audit.clean:
        rows.append(("draws", f"{len(entropy)} from entropy, which reach neither data nor model" if entropy else "all decided by streams"))
    for one in {one.draw["site"]: one for one in reversed(audit.errors)}.values():
        rows.append(("error", f"{_where(one.draw)}: {one.draw['what']} {one.said}"))
        rows += [("", one.draw["code"])] if one.draw["code"] else []
    if audit.errors:
        rows.append(("mend", "take the seed as an argument: a data function's parameter `seeds`, or keras.random.SeedGenerator()"))
    rows += [("error", one.said) for one in audit.files]
    if audit.files:
        rows.append(("fix", "write into {record} (a callback's argument), or make the file an input: data.files names what is read"))
    if audit.unexplained:
        rows.append(("error", f"{', '.join(audit.differing).replace('_', ' ')} differ, and no draw that was seen explains it"))
    if audit.unexplained or audit.capped:
        rows.append(("next", command("diagnose", words)))
    return rows
