"""`seedbed fsck`: which records are whole, what is damaged in the others, and how to get it back."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from seedbed import Refused, command_line, composing, notes, printed
from seedbed.run import claims, integrity, json_text, origin, plain_files, record, record_schema, reuse, scratch
from seedbed.run.plain_text import listed
from seedbed.run.record import FAILED, FINISHED, Record

WHOLE, UNFINISHED, FAILED_RUN, OLDER = "whole", "unfinished", "failed", "older format"
DAMAGED, HALF_MADE = "damaged", "half made"
BAD = (DAMAGED, HALF_MADE)
BY_ITS_COMMAND = "the command that trained it, again"

HELP = "Every file of the records is hashed and compared with what was written when the run finished."
STATUS = (
    "Exit status: 0 all are whole (a run that has not finished is no damage), 1 something is damaged, 2 could not be asked. "
    "What a killed process left half made (.KEY.PID) is removed. Nothing else is changed, except with --fetch."
)


@dataclass
class State:
    """How a record stands. why: what is damaged, a line each. next: how to get it back, the first way first. surplus: files in
    its folder that are not of it."""

    record: str
    key: str
    name: str
    state: str
    why: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)


def fsck(argv: list[str]) -> int:
    """`seedbed fsck [RUN …]`: 0 all whole, 1 damage, 2 could not be asked."""
    parser = argparse.ArgumentParser("seedbed fsck", description=HELP, epilog=STATUS, allow_abbrev=False)
    parser.add_argument("run", nargs="*", metavar="RUN", help="a record's folder, a key or its beginning; all records if none is named")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="the folder of records")
    parser.add_argument("--fetch", action="store_true", help="put damaged records aside and bring MLflow's copy in their place")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(argv)
    from seedbed.run import config as configs

    if options.runs is not None and not options.runs.is_dir():
        raise Refused(f"--runs {options.runs}: there is no such folder.")
    usual = Path(configs.composed().runs).expanduser().absolute()
    runs = (options.runs or usual).absolute()
    wanted = [folder for name in options.run for folder in named(name, runs)] if options.run else everything(runs)
    removed = [] if options.run else leftovers(runs)
    words = [] if runs == usual else [f"runs={composing.quoted(str(runs))}"]
    states = [examined(folder, words, runs) for folder in wanted]
    if options.fetch:
        states = [_fetched(state, words) if state.state in BAD else state for state in states]
    homes = {runs, *(home[0] for folder in wanted if (home := _home(folder)))}
    aside = sorted(str(path) for place in homes for path in (place / integrity.DAMAGED).glob("*"))
    if options.json:
        found = {"records": [asdict(state) for state in states], "removed": [str(path) for path in removed], "put_aside": aside}
        print(json_text.dumps(found), flush=True)
    else:
        _show(states, removed, aside, runs)
    return 1 if any(state.state in BAD for state in states) else 0


def everything(runs: Path) -> list[Path]:
    """Return the folders that are records, or were to become some."""
    found = [path for path in sorted(runs.glob("[0-9a-f]*")) if record.KEY.fullmatch(path.name)]
    return [*found, *(path / record.AGAIN for path in found if os.path.lexists(path / record.AGAIN))]


def named(name: str, runs: Path) -> list[Path]:
    """Return the folders of the records that a person names; raises Refused where there is none."""
    path = Path(name).expanduser()
    if path.name == "record.json":
        path = path.parent
    if os.path.lexists(path) and path.parent != Path():
        return [path.absolute()]
    beginning = name.rstrip("/")
    found = [folder for folder in everything(runs) if folder.relative_to(runs).as_posix().startswith(beginning)]
    if not found:
        raise Refused(f"{name}: there is no such record. Accepted: a record's folder, or a key under {runs} or its beginning.")
    return found


def leftovers(runs: Path) -> list[Path]:
    """Remove what killed processes left half made of keys that nobody trains now, and return what it was."""
    keys = {path.name[1:].rpartition(".")[0] for path in runs.glob(".*.[0-9]*")}
    removed: list[Path] = []
    for key in sorted(key for key in keys if re.fullmatch("[0-9a-f]{64}", key)):
        with suppress(Refused):
            if not record.is_held(runs, key):
                with record.locked(runs, key):
                    removed += integrity.remove_leftovers(runs / key)
    return removed


def examined(folder: Path, words: Sequence[str] = (), runs: Path | None = None) -> State:
    """Return how the record in `folder` stands, with every file hashed.

    Args:
        folder: The record's.
        words: What a command needs besides to find the same folder of records (`runs=…`).
        runs: The folder of records; each one in it has the name of its key.
    """
    state = State(str(folder), folder.name if folder.name != record.AGAIN else f"{folder.parent.name}/{folder.name}", "", WHOLE)
    if not folder.is_dir() or not os.path.lexists(folder / "record.json"):
        state.state = HALF_MADE
        state.why = ["it has no record.json" if folder.is_dir() else "it is no folder"]
        state.next = ["the command that trains this key replaces it"]
        return state
    try:
        found = Record.kept(folder) if runs is not None and folder.is_relative_to(runs) else Record.read(folder)
    except Refused as error:
        state.state, state.why = DAMAGED, [str(error)]
        aside = folder.parent / f"{folder.name}.damaged"
        state.next = [f"mv {shlex.quote(str(folder))} {shlex.quote(str(aside))}", BY_ITS_COMMAND]
        return state
    state.name, state.surplus = str(found.name or ""), found.surplus()
    if wrong := reuse.damage(found, whole=True):
        state.state, state.why = DAMAGED, [wrong] if found.content["format"] == 1 else [str(one) for one in found.damage(True)] or [wrong]
        state.next = [*_trained_again(found, folder, words), *_of_mlflow(found, folder)]
    elif found.status != FINISHED:
        state.state = FAILED_RUN if found.status == FAILED else UNFINISHED
    elif found.content["format"] != record_schema.FORMAT:
        state.state = OLDER
        state.why = [f"format {found.content['format']} holds no hashes: its history and key were compared, its model was not"]
    elif "fetched" in found.content and not (folder / "model.keras").exists() and "model.keras" in found.content.get("files", {}):
        state.why = ["it was fetched from MLflow, without model.keras"]
    return state


def _trained_again(found: Record, folder: Path, words: Sequence[str]) -> list[str]:
    """The command that trains a damaged record again, from its config.yaml; it puts what is damaged aside.

    Of a record from elsewhere no such command is made: its config may name any code, and `replay` takes no damaged one.
    """
    if origin.doubt(found.content, folder) is not None:
        return [BY_ITS_COMMAND]
    from seedbed.proof import untrusted
    from seedbed.proof.overrides import overrides
    from seedbed.proof.side import Side

    with suppress(Refused, OSError, ValueError, KeyError, TypeError, AttributeError):
        plain_files.read(folder / "config.yaml", claims.FILES["config.yaml"])  # a pipe would be waited at
        config = untrusted.config_of(folder)
        seeds = {name: value for name, value in config["seeds"].items() if type(value) is int}
        told = overrides(Side(folder, {"inputs": {"seeds": seeds}}, config, [], b"", None))
        if told is not None:
            return [command_line.command("train", [*told, *words])]
    return [BY_ITS_COMMAND]


def _home(folder: Path) -> tuple[Path, str] | None:
    """(folder of records, key) of the record in RUNS/KEY or RUNS/KEY/again; None for a folder of another name."""
    of_key = folder.parent if folder.name == record.AGAIN else folder
    return (of_key.parent, of_key.name) if record.KEY.fullmatch(of_key.name) else None


def _of_mlflow(found: Record, folder: Path) -> list[str]:
    home = _home(folder)
    return [f"seedbed fsck --fetch {shlex.quote(str(folder))}"] if home and _copies(found, home[0]) else []


def _copies(found: Record, runs: Path) -> list[tuple[str, str]]:
    """(address, run id) of MLflow's copies of a record, at the addresses that this machine and this project use themselves."""
    from seedbed.run import config as configs

    own = f"sqlite:///{runs.absolute()}/mlflow/mlflow.db"
    places = [os.environ.get("SEEDBED_TRACKING_URI"), os.environ.get("MLFLOW_TRACKING_URI"), own, *configs.trackers(runs.absolute())]
    told = [(uri, notes.state(found, uri)) for uri in dict.fromkeys(places) if uri]
    return [(uri, str(state["run_id"])) for uri, state in told if state.get("run_id") and state.get("status") == FINISHED]


def _fetched(state: State, words: Sequence[str]) -> State:
    """Bring MLflow's copy of a damaged record in its place; the state as it is then."""
    folder = Path(state.record)
    try:
        if (home := _home(folder)) is None:
            raise Refused(
                "it belongs in RUNS/KEY or RUNS/KEY/again, and this folder has another name. Move it there, then run the same command again"
            )
        (runs, key), copies = home, _copies(Record.read(folder), home[0])
    except Refused as error:
        state.why.append(f"MLflow's copy was not fetched: {error}")
        return state
    for uri, run_id in copies:
        from seedbed.tracking import fetching

        try:
            with scratch.folder("fetch", runs) as place, record.locked(runs, key):
                copy = Record.read(fetching.bring(run_id, uri, place))
                if copy.key != key:
                    raise Refused(f"MLflow's copy is of another key ({copy.key}).")
                copy.update(fetched={"from": notes.address(uri), "run_id": run_id})
                integrity.put_aside(folder, runs)
                copy.path.rename(folder)
            return examined(folder, words, runs)
        except (Refused, OSError) as error:  # the next address may have it
            state.why.append(f"MLflow's copy was not fetched: {error}")
    return state


def _show(states: Sequence[State], removed: Sequence[Path], aside: Sequence[str], runs: Path) -> None:
    grid = Table("record", "name", "state", "why", box=None, padding=(0, 2, 0, 0))
    for state in states:
        key = state.key[:12] + ("/again" if state.key.endswith("/again") else "")
        grid.add_row(key, state.name, state.state, "; ".join(state.why))
    if states:
        printed.table(grid, width=None if os.isatty(1) else 1000)
    bad = [state for state in states if state.state in BAD]
    rows: list[tuple[str, Any]] = [("records", f"{len(states)} under {runs}, {len(bad)} damaged")]
    rows += [("surplus", f"{state.key[:12]}: {listed(state.surplus)}: not of the record, never sent") for state in states if state.surplus]
    rows += [("removed", str(path)) for path in removed]
    rows += [("put aside", path) for path in aside]
    rows += [("next", f"{state.key[:12]}: {'   or: '.join(state.next)}") for state in bad]
    printed.lines(rows)
