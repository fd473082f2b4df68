"""A recorded config, trained by `seedbed train` in a process of its own: from a config file, so that older commits can do it, too."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from seedbed import Refused
from seedbed.proof import callback_places, clean_environment, config_policy, data_locations, workspace
from seedbed.proof.checkout import Place
from seedbed.run import children, determinism, process, training
from seedbed.run.record import Record, write_atomically

# Hydra's own loggers are left alone: what is said goes into the log all the same.
DEFAULTS = ["schema", "_self_", {"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}]


def stated(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded config with what is this machine's own left to the defaults: where things are kept and how they are watched."""
    kept = {name: value for name, value in plain.items() if name not in config_policy.NOT_USED}
    found = callback_places.inside(kept)
    if "strategy" in found:  # on this machine, whatever other ones a record names
        found["strategy"] = {name: value for name, value in found["strategy"].items() if name not in training.MACHINES}
    level = found["determinism"]
    if level.get("level") == "off":  # with the seeds that were drawn then, which is what `seeded` does
        found["determinism"] = {**level, "level": "seeded"}
    return found


@dataclass(frozen=True)
class Job:
    """What is trained again, and how.

    Attributes:
        config: as `stated` returns it.
        place: the project that trains it.
        folder: of this replay; the record is made in it, and it is gone afterwards.
        foreign: whether the record is from elsewhere: its process gets a clean environment.
        anywhere: whether a config from elsewhere may name any file (`--trust-config`).
    """

    config: Mapping[str, Any]
    place: Place
    folder: Path
    foreign: bool
    anywhere: bool = False


def trained(job: Job, is_in_vain: Callable[[Record], bool]) -> tuple[Record, bool]:
    """The record that `seedbed train` leaves, and whether it was let go on to the end."""
    config, place, folder = job.config, job.place, job.folder
    runs, said = folder / "runs", folder / "said"
    said.mkdir()
    backend = (config.get("backend") or {}).get("name", "tensorflow")
    level = determinism.merged(config["determinism"], backend)
    needed = {**level["environment"], "PYTHONHASHSEED": str(config["seeds"].get("hash"))}
    process.refuse_conflicts(needed, str(level.get("level")))
    hydra = {"run": {"dir": str(folder / "hydra")}, "output_subdir": None, "job": {"name": "train"}}
    mine = {"name": "replay", "runs": str(runs), "force": False, "tracking": {"uri": None}, "hydra": hydra}
    write_atomically(said / "recorded.yaml", OmegaConf.to_yaml(OmegaConf.create({"defaults": DEFAULTS, **config, **mine})))
    command = [place.python, "-P", "-m", "seedbed", "train", "--config-dir", str(said), "--config-name", "recorded", "--json"]
    env, work = place.environment(process.environment(needed)), None
    if job.foreign:
        clean = clean_environment.environment(folder, backend, config_policy.variables(config))
        clean_environment.link(folder, data_locations.links(config))
        env = place.environment(clean_environment.needed(clean, needed)) | {"SEEDBED_ROOT": str(place.root)}
        work = None if job.anywhere else folder / "work"
    with (folder / "log.txt").open("wb") as log:
        # foreign: an older commit knows nothing of what ends its processes
        child = children.start(command, foreign=True, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=work)
        try:
            seen = False
            while child.poll() is None:
                if not seen and (begun := _record(runs)) is not None:
                    seen = True
                    if is_in_vain(begun):
                        return begun, False
                workspace.raise_if_stopped()
                time.sleep(0.05)
        finally:
            children.kill_group(child)  # also what it has started: workers of a PyDataset
    found = _record(runs)
    if child.returncode not in (0, 1) or found is None:
        raise Refused(_last_words((folder / "log.txt").read_text(errors="replace"), child.returncode))
    return found, True


def _record(runs: Path) -> Record | None:
    for file in runs.glob("[0-9a-f]*/record.json"):
        with suppress(Refused, json.JSONDecodeError):
            return Record.read(file.parent)
    return None


def _last_words(log: str, code: int) -> str:
    _, refused, message = log.rpartition("seedbed train: ")
    if code == 2 and refused:
        return message.strip()
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    return f"The process that was to train it again {how}:\n{log.strip()[-2000:]}"
