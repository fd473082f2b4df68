"""One config over many seeds: train what is missing, then say how good it is and how sure that is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.run import config as configuration
from seedbed.run import process
from seedbed.run.record import FINISHED, Record
from seedbed.study import check, launch, plan, work
from seedbed.study.early import Early, Process
from seedbed.study.plan import REFUSED, Study, Task

# Metrics whose larger values are better; those that measure an error are better small. By the parts of their names.
HIGHER = ("accuracy", "acc", "auc", "precision", "recall", "f1", "fbeta", "iou", "r2", "dice", "sensitivity", "specificity", "correlation",
          "similarity", "score", "hits", "ndcg", "map", "bleu", "reward", "return")  # fmt: skip
LOWER = ("loss", "error", "mse", "mae", "rmse", "mape", "msle", "logcosh", "crossentropy", "entropy", "perplexity", "divergence", "hinge",
         "poisson", "regret", "distance")  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A study after it has run. records: the finished ones by master seed, in the order asked for. failures: why the others aren't."""

    study: Study
    records: Mapping[int, Record]
    failures: Mapping[int, str]
    trained: int
    stopped: int | None = None  # the exit status of the signal, or of the disk, that stopped it
    check: check.Verdict | None = None  # whether runs that share a process have the bits of runs alone, if that was asked

    @property
    def complete(self) -> bool:
        return len(self.records) == len(self.study.masters)

    def files(self) -> list[str]:
        """Files that runs read after earlier runs, or others, had written them: what is in them is no input that is known."""
        return sorted({str(path) for task in self.study.tasks() for path in task.noted().get("files") or ()})

    def names(self) -> list[str]:
        """The metrics that every run has, in their order, the test part's first, then the validation part's."""
        records = list(self.records.values())
        common = [name for name in records[0].metrics if all(name in record.metrics for record in records)] if records else []
        return sorted(common, key=lambda name: next((i for i, part in enumerate(("test_", "validation_")) if name.startswith(part)), 2))

    def values(self, metric: str) -> np.ndarray:
        """float64 of shape (seeds,): a metric of each finished run, in the order of the seeds asked for."""
        return np.array([record.metrics[metric] for record in self.records.values()], dtype="float64")

    def curves(self) -> list[list[dict[str, float]]]:
        return [record.history() for record in self.records.values()]


@dataclass(frozen=True)
class Asked:
    """One study to run. words: those that composed `config`, for the jobs of a launcher."""

    config: DictConfig
    words: Sequence[str]


def run(
    asked: Sequence[Asked],
    hydra: Any,
    call_hydra: Callable[[list[str]], None],
    said: Callable[[str], None],
    watched: Callable[[str, Callable[[], Mapping[str, int]]], Any],
    begun: Callable[[Sequence[Study], str], None] = lambda studies, call: None,
    early: Early | None = None,
) -> list[Result]:
    """Train what is missing of the studies that are asked for, and return their results.

    hydra: Hydra's own config. call_hydra: calls Hydra with `launch.job` and these words. said: gets a line for people. watched:
    a context manager that shows progress; it is given a name and a function that counts. begun: gets the studies and the name
    of this call before anything is trained. early: a process that may have been started before the config was known.
    Raises Refused if a config can't be trained, whatever the seed.
    """
    call, launcher = launch.new_call(), launch.launcher_of(hydra)
    configs = [one.config for one in asked]
    for config in configs:
        configuration.check(config)
        check.refuse(config)
        config.study.call = call
        task = plan.Task(Path(), plan.masters(config)[0], config.study.vary)
        process.refuse_conflicts(work.needed([config], task), config.determinism.level)
    task = plan.Task(Path(), plan.masters(configs[0])[0], configs[0].study.vary)
    first = early.take(work.needed(configs, task)) if early and launcher == "basic" else None
    try:
        studies = [plan.study_of(one.config, one.words) for one in asked]
        with ExitStack() as stack:
            for study in sorted({study.path: study for study in studies}.values(), key=lambda study: study.path):
                stack.enter_context(_locked(study, said))
                (study.path / "machine.json").unlink(missing_ok=True)
                for left in study.path.glob(".check*"):  # of a call that was killed
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            begun(studies, call)
            with plan.written("The study was broken off"):  # notes of how seeds stand
                return _trained(asked, studies, hydra, call_hydra, said, watched, launcher, first)
    finally:
        if first is not None:
            first.kill()  # it has ended, or got nothing to do
            first.wait()


def _trained(
    asked: Sequence[Asked], studies: Sequence[Study], hydra: Any, call_hydra: Callable[[list[str]], None], said: Callable[[str], None],
    watched: Callable[[str, Callable[[], Mapping[str, int]]], Any], launcher: str, first: Process | None,
) -> list[Result]:  # fmt: skip
    configs, call, stopped = [one.config for one in asked], str(asked[0].config.study.call), None
    tasks = [task for side, study in enumerate(studies) for task in study.tasks(side)]

    def train(first: Process | None) -> None:
        if launcher == "basic":
            launch.here(configs, tasks, call, first)
            return
        for one, study in zip(asked, studies, strict=True):
            launch.launched(call_hydra, one.words, launch.shares(one.config, hydra, study.tasks()), call, hydra)

    with watched(" / ".join(study.name for study in studies[:2]), lambda: counts(tasks, call)):
        try:
            train(first)
            if polluted := [study for study in studies if _is_new(check.differs(study.path), call)]:
                for study in polluted:
                    verdict = check.differs(study.path)
                    assert verdict is not None
                    said(f"{verdict.said} They are trained again now.")
                    check.forget(study.tasks())
                train(None)
                for study in polluted:
                    if verdict := check.differs(study.path):
                        check.write(study.path, check.confirmed(verdict, study.tasks()))
        except launch.Stopped as stop:
            stopped = int(stop.args[0])
            if stopped == 1:
                said(f"The study stops here. {stop.args[1]}")
        finally:
            for study in studies:
                (study.path / f".checked-{call}").unlink(missing_ok=True)
    for task in tasks:
        if task.noted().get("call") != call and stopped is None:  # a job that never came so far
            where = f"see {task.folder / 'log.txt'}, and the launcher's own logs under {hydra.sweep.dir}"
            task.note(**{**task.noted(), "status": "failed", "call": call, "error": f"no job of the launcher has taken it; {where}"})
    results = []
    for side, study in enumerate(studies):
        mine = study.tasks(side)
        _refuse_what_concerns_all(mine, call)
        settled = [task.noted() for task in mine]
        trained = sum(noted.get("call") == call and noted.get("status") == FINISHED and not noted.get("reused") for noted in settled)
        results.append(Result(study, study.records(), study.failures(), trained, stopped, check.read(study.path)))
    return results


def _is_new(verdict: check.Verdict | None, call: str) -> bool:
    """Whether a check of this call has found other bits, and nothing has been trained again since."""
    return verdict is not None and verdict.call == call and verdict.repeats is None


@contextmanager
def _locked(study: Study, said: Callable[[str], None]) -> Iterator[None]:
    """One command at a time at a study."""
    lock = FileLock(study.path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        said(f"Another process runs this study ({study.path.name}); waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def counts(tasks: Sequence[Task], call: str) -> dict[str, int]:
    """How many seeds this call has trained, found trained, failed at, and has not come to."""
    found = {"trained": 0, "reused": 0, "failed": 0, "left": 0}
    for task in tasks:
        noted = task.noted()
        if not launch.is_settled(task, call):
            found["left"] += 1
        elif noted["status"] == FINISHED:
            found["reused" if noted.get("reused") else "trained"] += 1
        else:
            found["failed"] += 1
    return found


def _refuse_what_concerns_all(tasks: Sequence[Task], call: str) -> None:
    """Raise Refused if every seed was refused for the same reason: that is the config's fault, not a seed's."""
    noted = [task.noted() for task in tasks]
    reasons = {str(one.get("error")) for one in noted if one.get("status") == REFUSED and one.get("call") == call}
    if len(reasons) == 1 and all(one.get("status") == REFUSED for one in noted):
        raise Refused(reasons.pop())


def metric_of(result: Result, wanted: str | None) -> str:
    """The metric that sentences are about; raises Refused for one that the runs don't have."""
    names = result.names()
    if wanted is not None:
        if wanted not in names:
            raise Refused(f"study.metric={wanted} is no metric of these runs. Accepted: {', '.join(names) or 'none: no run has finished'}.")
        return wanted
    part = names[0].split("_", 1)[0]
    own = [name for name in names if name.startswith(f"{part}_")]
    return next((name for name in own if not name.endswith("loss")), own[0])


def is_higher_better(metric: str, said: str | None) -> bool:
    """Whether larger values of a metric are better: as the config says, else by its name; raises Refused if that tells nothing."""
    if said is not None:
        return said == "higher"
    parts = metric.lower().replace("-", "_").split("_")
    whole = "".join(parts)
    if any(part in LOWER for part in parts) or any(whole.endswith(word) for word in LOWER):
        return False
    if any(part in HIGHER for part in parts) or any(whole.endswith(word) for word in HIGHER):
        return True
    raise Refused(f"Is a higher {metric} better, or a lower one? Say study.better=higher or study.better=lower.")
