"""Which runs a study is made of, and what is known of each: the folder `<runs>/studies/<name>-<id>/`.

It holds
    study.json       what was asked for: id, name, the stream that is varied (null: all), the overrides
    seeds/<master>.json   where the run of this master seed is: its key, its status, its error; written as it happens
    check.json       what came out when a later seed was trained a second time in a fresh process (`check`)
    log.txt          what the processes that train say
    summary.*, runs.csv, *.png   the report
The records are the truth and this is an index of them; it may be removed at any time, and the same command makes it anew
without training anything again. The id is a hash of what the runs have in common, so the same question has the same folder,
however many seeds it is asked for.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seedbed import Refused
from seedbed.run import config as configs
from seedbed.run import json_text, plain_files, record, reuse, training
from seedbed.run import seeds as streams
from seedbed.run.record import FINISHED, Record, write_atomically
from seedbed.run.redaction import redacted

# How a seed stands, beside a record's own statuses.
BEGUN, REFUSED = "begun", "refused"
LARGEST_NOTE = 10_000_000  # bytes of what is noted of a seed


@dataclass(frozen=True)
class Task:
    """One run of a study: the master seed `master`, or that of the stream `vary` alone."""

    folder: Path
    master: int
    vary: str | None = None
    side: int = 0  # which of several configs

    def configured(self, configs: Sequence[DictConfig]) -> DictConfig:
        """This run's config, with its seeds. The varied stream gets what `master` would give it; the others stay."""
        config = configs[self.side]
        found = copy.copy(config)
        found.seeds = config.seeds.copy()
        if self.vary is None:
            found.seeds.master = self.master
        else:
            found.seeds[self.vary] = streams.derive(self.master, self.vary)
        return found

    def note(self, **values: Any) -> None:
        """Write down how this seed stands, without what its error may quote of secrets."""
        values |= {name: redacted(values[name]) for name in ("error", "traceback") if name in values}
        write_atomically(self.file, json_text.dumps({"master": self.master, "time": time.time(), **values}, indent=1), durable=False)

    @property
    def file(self) -> Path:
        return self.folder / "seeds" / f"{self.master:010d}.json"

    def noted(self) -> dict[str, Any]:
        """What `note` wrote last; empty if nothing."""
        try:
            found = json.loads(plain_files.read(self.file, LARGEST_NOTE, optional=True) or b"{}")
            return found if isinstance(found, dict) else {}
        except (ValueError, RecursionError, Refused):
            return {}


@dataclass(frozen=True)
class Study:
    """A study's folder, and the master seeds that it is asked for."""

    path: Path
    content: Mapping[str, Any]
    masters: tuple[int, ...]

    @property
    def id(self) -> str:
        return str(self.content["id"])

    @property
    def name(self) -> str:
        return str(self.content["name"])

    @property
    def vary(self) -> str | None:
        found: str | None = self.content["vary"]
        return found

    def tasks(self, side: int = 0) -> list[Task]:
        return [Task(self.path, master, self.vary, side) for master in self.masters]

    def records(self) -> dict[int, Record]:
        """The finished records by master seed, in the order of the seeds asked for."""
        found = {}
        for task in self.tasks():
            noted = task.noted()
            if noted.get("status") == FINISHED and not _lost(noted):
                found[task.master] = Record.read(Path(noted["record"]))
        return found

    def failures(self) -> dict[int, str]:
        """Why each seed has no finished record, by master seed."""
        noted = {task.master: task.noted() for task in self.tasks()}
        why = {
            master: _lost(one) if one.get("status") == FINISHED else str(one.get("error") or _unsaid(one)).strip()
            for master, one in noted.items()
        }
        return {master: words for master, words in why.items() if words}


def _lost(noted: Mapping[str, Any]) -> str:
    """Why the record of a finished seed can't be computed with; empty if it can."""
    try:
        found = Record.read(Path(str(noted.get("record"))))
    except Refused as error:
        return str(error)
    damage = reuse.damage(found)
    return damage and f"its record is damaged ({damage}); the same command trains it again"


def _unsaid(noted: Mapping[str, Any]) -> str:
    return "it was broken off" if noted.get("status") == BEGUN else "it was not begun"  # the disk may have had no room for more


def unkept(what: str, error: OSError) -> str:
    """What the disk says to a study that has begun. what: the first words, of what it has hindered."""
    return f"{what}: {record.hindrance(error)}. {record.remedy(error)}, then the same command again: it trains nothing twice."


@contextmanager
def written(what: str = "The report is not whole") -> Iterator[None]:
    """Around what a study writes once it has begun; raises BrokenOff where the disk says no. what: see `unkept`."""
    try:
        yield
    except OSError as error:
        if error.errno not in record.FULL | record.DENIED:
            raise
        raise record.BrokenOff(unkept(what, error)) from None


def masters(config: DictConfig) -> tuple[int, ...]:
    """The master seeds that a config's study asks for; raises Refused."""
    asked = config.study.seeds
    if asked is None:
        if config.determinism.level == "off":
            return tuple(int.from_bytes(os.urandom(4), "little") for _ in range(config.study.n))
        return tuple(range(1, config.study.n + 1))
    found = [streams.checked(value, "study.seeds") for value in asked]
    if not found or len(set(found)) != len(found):
        raise Refused(f"study.seeds={list(asked)} is not accepted. Accepted: at least one seed, each once.")
    return tuple(found)


def study_of(config: DictConfig, overrides: Sequence[str] = ()) -> Study:
    """The study that a config asks for, with its folder made. Raises Refused for a config that can't be trained."""
    configs.check(config)
    if config.force:
        raise Refused("force=true trains one run again; a study never trains a key twice. `seedbed train force=true …` compares the bits.")
    wanted, vary = masters(config), config.study.vary
    if config.determinism.level == "off" and vary is not None:
        raise Refused("study.vary holds streams, and determinism=off holds none. Accepted: determinism=seeded or strict.")
    plain = configs.without_environment(config, stamped=True)
    # the streams that are given by hand, and the master that holds the others where one alone is varied
    given: Any = OmegaConf.to_container(config.seeds, resolve=False)
    held = {name: value for name, value in given.items() if name not in ("master", vary) or (vary and name == "master")}
    off = config.study.call if config.determinism.level == "off" else None  # no two calls ask for the same
    # data: where they lie, too, so that studies of two files are two studies
    study = training.study_of(config)
    id = record.key_of({"study": study, "data": plain["data"]["source"], "seeds": held, "vary": vary, "off": off})
    runs = Path(config.runs).expanduser().absolute()
    name = str(config.name) + (f"-{vary}" if vary else "")
    path = runs / "studies" / f"{name}-{id[:12]}"
    content = {"format": 1, "id": id, "study": study, "name": name, "vary": vary, "overrides": list(overrides),
               "level": str(config.determinism.level)}  # fmt: skip
    try:
        (path / "seeds").mkdir(parents=True, exist_ok=True)
        write_atomically(path / "study.json", json_text.dumps(content, indent=1))
    except OSError as error:
        raise Refused(record.not_kept(error)) from None
    return Study(path, content, wanted)
