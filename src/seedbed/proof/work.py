"""One execution of a run, in a process that was started for it alone: what `execution.execute` starts.

Reads an `Order` from standard input (pickled by the process that started this one), trains, and leaves in the order's folder
`outcome.json` and whatever its `Trace` has seen. The record is written below `runs/` there, so nothing of the user's is touched.
"""

from __future__ import annotations

import copy
import os
import pickle
import sys
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.run import config as configs
from seedbed.run import file_access, json_text, record, seeds, training
from seedbed.run.record import write_atomically
from seedbed.run.redaction import redacted
from seedbed.run.session import Session, Worn

# The exit status where not even `outcome.json` could be written (EX_IOERR of sysexits.h).
HINDERED = 74

# The status of an execution that was to follow others in their process, where a study would start another process.
APART = "apart"


@dataclass
class Order:
    """What a process is to do.

    trace: what `trace.Trace` is to see (its keyword arguments); inside: changes of this process's surroundings that only it can
    make itself (`perturbing.inside`); entropy: the master seed where the level is `off`; after: how many other seeds are trained
    before, as a study does.
    """

    config: DictConfig
    folder: Path
    hydra: Any = None
    entropy: int | None = None
    trace: Mapping[str, Any] = field(default_factory=dict)
    inside: Mapping[str, Any] = field(default_factory=dict)
    after: int = 0


def main() -> int:
    configs.register()
    setup_globals()
    order: Order = pickle.load(sys.stdin.buffer)
    if order.hydra is not None:
        Singleton.set_state(order.hydra)
    told = os.fdopen(os.dup(2), "w")  # to the process that started this one, where the disk takes nothing any more
    log = os.open(order.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    outcome: dict[str, Any] = {"status": "failed"}
    try:
        with ExitStack() as stack:
            outcome = _trained(order, stack)
    except Refused as error:
        outcome = {"status": "refused", "error": str(error), "traceback": traceback.format_exc()}
    except Exception as error:
        outcome["error"], outcome["traceback"] = traceback.format_exception_only(error)[-1].strip(), traceback.format_exc()
    outcome |= {name: redacted(outcome[name]) for name in ("error", "traceback") if outcome.get(name)}
    try:
        write_atomically(order.folder / "outcome.json", json_text.dumps(outcome))
    except OSError as error:
        if error.errno not in record.FULL | record.DENIED:
            raise
        print(f"{record.hindrance(error)}. {record.remedy(error)}, then the same command again.", file=told, flush=True)
        return HINDERED
    return 0


def _trained(order: Order, stack: ExitStack) -> dict[str, Any]:
    from seedbed.proof import entropy, perturbing, trace

    perturbing.inside(stack, **order.inside)
    draws = stack.enter_context(entropy.watching(file=order.folder / "draws.jsonl"))
    seen = trace.Trace(order.folder, draws, **order.trace)
    config = order.config
    config.runs = str(order.folder / "runs")
    session = Session(many=order.after > 0)
    files = file_access.watch()
    files.begin((str(order.folder),))
    stack.callback(lambda: write_atomically(order.folder / "files.json", json_text.dumps(vars(files.end()))))
    try:
        _others(order, session)
        if session.worn:
            raise Worn(session.worn)
        stack.callback(seen.ended)  # also what was seen of a run that fails
        found = training.run(config, order.entropy, said=lambda line: print(line, flush=True), watch=seen, session=session)
    except Worn as worn:
        return {"status": APART, "error": str(worn)}
    hindered = found.status == record.INTERRUPTED and found.exit_status() == 1
    error = str(found.content.get("error") or "")
    if hindered:  # its records are gone with the proof's folder, and nothing goes on from them
        error = f"{error.rpartition('; the same command')[0]}, then the same command again."
    return {"status": found.status, "record": str(found.path), "error": error or None, "hindered": hindered}


def _others(order: Order, session: Session) -> None:
    """Train the seeds that come before this one in a study, in the same process; how they end is not asked."""
    for number in range(1, order.after + 1):
        config = copy.deepcopy(order.config)
        master = (int(config.seeds.master) + number) % (seeds.LARGEST + 1)
        config.seeds.master, config.runs = master, str(order.folder / "others")
        if session.worn or training.environment_of(config) != training.environment_of(order.config):
            break
        try:
            training.run(config, said=lambda line: print(line, flush=True), session=session)
        except Exception as error:
            if isinstance(error, Worn):
                raise
            traceback.print_exc()
