"""strategy=multi_worker, seen from one of its workers: the same run as on one device, in step with the others.

All workers do the same: load the data, build the model, train, evaluate. What they must agree on goes through the same
collective operations as the gradients: where they begin (worker 0's checkpoint), when they stop, and at the end of each epoch
worker 0's values of what isn't trained, which each updates by its own share (a batch normalisation's averages).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from hydra.core.singleton import Singleton
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.run import collective, determinism, loopback, one_tracked_run, targets, team, training, variables
from seedbed.run.record import FINISHED, Record, key_of
from seedbed.run.redaction import redacted
from seedbed.run.session import Session
from seedbed.run.watching import Watch


def main() -> int:
    """Train what the standard input says (a pickled `team.Job`); what is to be told goes to standard output, a JSON object a line."""
    with team.telling() as tell:
        job: team.Job = cloudpickle.load(sys.stdin.buffer)
        try:
            return _train(job, tell)
        except Refused as error:
            tell(refused=redacted(str(error)))
            return 2
        except Exception as error:
            if refused := determinism.cannot_keep(error, job.config):
                tell(refused=redacted(refused))
                return 2
            tell(failed=redacted(traceback.format_exc()))
            return 1


def _train(job: team.Job, tell: Any) -> int:
    Singleton.set_state(job.singletons)
    config = job.config if job.index == 0 else _elsewhere(job.config, job)
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(job.addresses)}, "task": {"type": "worker", "index": job.index}})
    level = determinism.of(config)
    level["environment"]["PYTHONHASHSEED"] = str(job.seeds["hash"])
    port = int(job.addresses[job.index].rpartition(":")[2])
    # where nobody has said addresses, all workers are on this machine
    with nullcontext(lambda: None) if config.strategy.addresses else loopback.confined(port) as opening:
        determinism.apply(level)
        opening()
        collective.join(job.gpu)

    with variables.watched({}), one_tracked_run.of_mlflow(bool(config.tracking.uri)):  # as `training.run` does in the other process
        return _trained(job, config, level, tell)


def _trained(job: team.Job, config: DictConfig, level: dict[str, Any], tell: Any) -> int:
    call = targets.target(config.data.source, "data.source")
    whole = training.loaded(config, call, job.seeds, level)
    data = training.cut(config, whole, job.seeds)
    mine = {**job.inputs, "data": whole.fingerprint}
    collective.agree({name: key_of({"": mine[name]}) for name in ("code", "config", "data", "seeds")},
                   "The workers don't train the same: {what} of worker 0 and of another one differ.")  # fmt: skip
    found = Record.read(job.path)
    _begin_alike(found)
    tell(begun=True)
    from seedbed.run import fitting

    reload = partial(training.prepared, config, call, job.seeds, level, data)
    fitting.train(found, config, job.seeds, data, reload, lambda line: tell(say=line), job.progress, Session(), Watch())
    tell(resumed_at=found.resumed_at)
    if found.status == FINISHED:
        collective.agree(found.digests, "The workers have parted: {what} of worker 0 and of another one differ.")
    return found.exit_status()


def _elsewhere(config: DictConfig, job: team.Job) -> DictConfig:
    """The config with what its callbacks write beside this worker's record: worker 0 has written it."""
    config = config.copy()
    for node in (config.training.callbacks or {}).values():
        for name in training.WRITTEN:
            if isinstance(node, DictConfig) and name in node:
                node[name] = str(job.path / Path(str(node[name])).name)
    return config


def _begin_alike(found: Record) -> None:
    """Give every worker worker 0's history and checkpoints."""
    history, checkpoints = found.path / "history.jsonl", found.path / "checkpoints"
    files = {path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in (history, *sorted(checkpoints.glob("*.npz")))}
    theirs = collective.broadcast_arrays(files)
    if collective.index() == 0:
        return
    shutil.rmtree(checkpoints, ignore_errors=True)
    checkpoints.mkdir()
    for name, content in theirs.items():
        folder = found.path if name == history.name else checkpoints
        (folder / Path(name).name).write_bytes(content.tobytes())
