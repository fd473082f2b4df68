"""Who trains a study's runs: a process on this machine, or the jobs of one of Hydra's launchers.

Every job, wherever it runs, starts a process of its own (`work`) with the environment that the level needs, so that a
launcher's workers need no set-up, and what a launcher sets in them (Ray and joblib set OMP_NUM_THREADS) decides nothing.
"""

from __future__ import annotations

import importlib.util
import json
import math
import platform
import signal
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from omegaconf import DictConfig

from seedbed import Refused
from seedbed.composing import quoted
from seedbed.run import children, json_text, plain_files, process, provenance, training
from seedbed.run.record import naming
from seedbed.run.redaction import redacted
from seedbed.study import check, plan, work
from seedbed.study.early import Process, start
from seedbed.study.plan import BEGUN, LARGEST_NOTE, REFUSED, Task

# Launchers whose workers end with the command; a cluster's go on, and the same command again finds what they trained.
ON_THIS_MACHINE = ("joblib", "submitit_local")


class Stopped(Exception):
    """By a signal, or by a disk that says no; the arguments are the exit status (130, 143; 1) and, of a disk, what it says."""


def here(configs: list[DictConfig], tasks: Sequence[Task], call: str, first: Process | None = None) -> None:
    """Train `tasks` on this machine, in as few processes as give the bits of one process each. Raises Stopped.

    Where code takes part that can keep something out of sight, a later one is trained a second time in a fresh process beside the
    others (`check`); what that finds is written into the study's folder.
    first: a process that `start` has started already, with the environment for the first task.
    """
    hydra, diff = Singleton.get_state(), provenance.diff()
    codes = [training.code_of(config) for config in configs]
    known = [
        {"study": training.study_of(config, code), "code": code, "diff": diff, "locked": provenance.locked_modules(config.backend.name)}
        for config, code in zip(configs, codes, strict=True)
    ]
    if tasks and (strange := _other_machine(tasks[0].folder, configs[0].backend.name)) and configs[0].determinism.level == "strict":
        for task in tasks:
            task.note(status=REFUSED, call=call, error=strange)
        return
    # a user's own shell that contradicts the level is an error; here it is what launchers set in their workers that is replaced
    environments = {task: work.needed(configs, task) for task in tasks}
    order = work.Order(configs, [], call, hydra, True, known, _node())
    with _checking(order, tasks, environments):
        _trained(order, tasks, environments, first)


def _trained(order: work.Order, tasks: Sequence[Task], environments: Mapping[Task, Any], first: Process | None) -> None:
    """Start one process after the other until all tasks have come to an end."""
    call, many, worn = order.call, True, None
    remaining = [task for task in tasks if not is_settled(task, call)]
    while remaining:
        alone = check.differs(remaining[0].folder)
        environment, share = environments[remaining[0]], many and alone is None
        group = [task for task in remaining if environments[task] == environment] if share else remaining[:1]
        if share:
            group = [task for task in group if check.differs(task.folder) is None]
        child, first = first or start(environment), None
        status = _ended(child, replace(order, tasks=group, many=share, apart=alone.said if alone else worn))
        before, remaining = len(remaining), [task for task in remaining if not is_settled(task, call)]
        if status in (130, 143):
            raise Stopped(status)
        if status == work.HINDERED:  # it would be the same for every further seed
            raise Stopped(1, _hindrance(group, call))
        worn = next((task.noted()["worn"] for task in remaining if _is_mine(task, call) and task.noted().get("worn")), worn)
        if status in (work.DONE, work.WORN) and len(remaining) < before:
            continue
        if status == work.WORN and many:  # before its first run: these seeds can share nothing
            many = False
            continue
        # it died: the seed that it was at is the one to blame, or the first if it didn't come that far
        blamed = next((task for task in remaining if _is_mine(task, call)), remaining[0] if remaining else None)
        if blamed is not None:
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
            hint = " (out of memory?)" if status == -signal.SIGKILL else ""
            log = blamed.folder / "log.txt"
            error = f"The process that trained it {how}{hint}; see {log}."
            blamed.note(**{**blamed.noted(), "status": "failed", "call": call, "error": error})
            remaining.remove(blamed)


@contextmanager
def _checking(order: work.Order, tasks: Sequence[Task], environments: Mapping[Task, Any]) -> Iterator[None]:
    """Train the later seeds that are to be checked a second time, meanwhile; compare when all is over.

    On a GPU, whose memory one process takes, afterwards.
    """
    chosen = _chosen(order, tasks)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".check-", dir=tasks[0].folder))) if chosen else Path()
        beside = {} if provenance.gpu() else {task: _second(order, task, environments[task], folder) for task in chosen}
        for child in beside.values():
            stack.callback(child.wait)
            stack.callback(child.kill)
        yield
        for task in chosen:
            if not is_settled(task, order.call):
                continue
            child = beside.get(task) or _second(order, task, environments[task], folder)
            stack.callback(child.wait)
            stack.callback(child.kill)
            mine = [one for one in tasks if order.known[one.side]["study"] == order.known[task.side]["study"]]
            status = _waited(child)
            for place in {one.folder for one in mine}:
                verdict = check.judged(task, _scratch(folder, task), status, [one for one in mine if one.folder == place], order.call)
                worse = check.read(place)
                if verdict is not None and not (worse and worse.call == order.call and worse.agrees is False):
                    check.write(place, verdict)


def _chosen(order: work.Order, tasks: Sequence[Task]) -> list[Task]:
    """The tasks to train twice: of those that share code, and where several jobs train one study, in the first of them."""
    chosen: list[Task] = []
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(order.known[task.side]["study"], []).append(task)
    for group in groups.values():
        if len(group) < 2 or check.differs(group[0].folder):
            continue
        count = check.number(order.configs[group[0].side])
        if count and (found := check.candidates(group, count)):
            try:
                (group[0].folder / f".checked-{order.call}").touch(exist_ok=False)
            except FileExistsError:  # another job does
                continue
            chosen += found
    return chosen


def _second(order: work.Order, task: Task, environment: Any, folder: Path) -> Process:
    """The process that trains a task a second time; its record goes into `_scratch`."""
    child = start(environment)
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        replace(order, tasks=[task], many=False, scratch=_scratch(folder, task)).write(child.stdin)
        child.stdin.close()
    return child


def _scratch(folder: Path, task: Task) -> Path:
    return folder / f"{task.side}-{task.master}"


def _hindrance(tasks: Sequence[Task], call: str) -> str:
    """What the disk has said to the process that was to train these; it is written down, unless there was no room for that either."""
    if said := next((task.noted()["error"] for task in tasks if _is_mine(task, call) and task.noted().get("hindered")), None):
        return str(said)
    task = next((task for task in tasks if not is_settled(task, call)), tasks[-1])
    said = f"The process that trains found no place to write; see {task.folder / 'log.txt'}."
    try:
        task.note(status="failed", call=call, error=said)
    except OSError as error:
        return plan.unkept(f"Seed {task.master} was broken off", error)
    return said


def _other_machine(folder: Path, backend: str) -> str | None:
    """How this machine differs from the one that the study began on; None if it doesn't, or if it begins here."""
    packages = provenance.packages(backend)
    mine = {"python": platform.python_version(), "packages": packages, "cpu": provenance.cpu(), "gpu": provenance.gpu()}
    file = folder / "machine.json"
    try:
        with naming(file), file.open("x") as new:
            new.write(json_text.dumps(mine))
        return None
    except FileExistsError:
        pass
    except OSError:
        file.unlink(missing_ok=True)  # half of it would be another machine
        raise
    first = json.loads(plain_files.read(file, LARGEST_NOTE) or b"{}")
    if first == mine:
        return None
    names = [name for name in mine if first.get(name) != mine[name]]
    seen = "; ".join(f"{name} {mine[name]}, there {first.get(name)}" for name in names if name != "packages")
    return (
        f"determinism=strict keeps its bits on one kind of machine, and {platform.node()} is another than the one that the study began "
        f"on: {', '.join(names)} differ{'s' if len(names) == 1 else ''} ({seen}). Accepted: nodes of one kind, or determinism=seeded."
    )


def _node() -> str:
    """Where this job runs: the machine's name, and Ray's name for its node (several can be on one machine)."""
    ray = sys.modules.get("ray")
    return platform.node() + (f" {ray.get_runtime_context().get_node_id()}" if ray is not None and ray.is_initialized() else "")


def _ended(child: Process, order: work.Order) -> int:
    """Give a process its order and wait for it; see `_waited`."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        order.write(child.stdin)
        child.stdin.close()
    return _waited(child)


def _waited(child: Process) -> int:
    """The exit status of a process, negative for a signal that ended it; signals are handed on to it. Raises Stopped."""
    stopped: list[int] = []

    def stop(number: int, frame: Any) -> None:
        stopped.append(number)
        child.send_signal(number)

    with process.signals_to(stop):
        status = child.wait()
    if stopped:
        raise Stopped(128 + stopped[0])
    return status


def is_settled(task: Task, call: str) -> bool:
    """Whether this call has come to an end with a task, good or bad."""
    return _is_mine(task, call) and task.noted().get("status") != BEGUN


def _is_mine(task: Task, call: str) -> bool:
    return task.noted().get("call") == call


def launcher_of(hydra: Any) -> str:
    """The name of the chosen launcher; raises Refused if its package isn't installed."""
    name = str(hydra.runtime.choices["hydra/launcher"])
    package = str(hydra.launcher._target_).partition(".")[0] + "." + str(hydra.launcher._target_).split(".")[1]
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None or (name == "ray" and importlib.util.find_spec("ray") is None):
        raise Refused(f"hydra/launcher={name} needs a package that isn't installed ({package}). Next: make cluster")
    return name


def shares(config: DictConfig, hydra: Any, tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks dealt into jobs for a launcher: so many a job as the config says, else evenly over joblib's workers, else one."""
    size = config.study.per_job
    if size is None and str(hydra.runtime.choices["hydra/launcher"]) == "joblib":
        import joblib

        workers = joblib.effective_n_jobs(hydra.launcher.n_jobs)
        size = math.ceil(len(tasks) / workers)
    size = size or 1
    jobs = math.ceil(len(tasks) / size)
    return [list(tasks[number::jobs]) for number in range(jobs)]  # dealt like cards: each job has some of the first ones


def job(config: DictConfig) -> None:
    """What each job of a launcher does: train its share. The task function that Hydra calls on whatever machine."""
    children.follow_command()
    call = str(config.study.call)
    study = plan.study_of(config)
    here([config], study.tasks(), call)


def launched(run: Callable[[list[str]], None], argv: Iterable[str], parts: Sequence[Sequence[Task]], call: str, hydra: Any) -> None:
    """Hand the parts to the launcher that `argv` names. run: calls Hydra with `job` and these words."""
    lists = ",".join("[" + ",".join(str(task.master) for task in part) + "]" for part in parts)
    folder = Path(hydra.sweep.dir) / parts[0][0].folder.name
    try:
        with children.launching() if launcher_of(hydra) in ON_THIS_MACHINE else nullcontext():
            if "submitit_folder" in hydra.launcher:  # it leaves each job's config there as it was given: an address may have a password
                (folder / ".submitit").mkdir(mode=0o700, parents=True, exist_ok=True)
            said = [f"study.seeds={lists}", f"study.call={call}", f"hydra.sweep.dir={quoted(str(folder))}"]
            said += ["hydra.hydra_logging.root.level=WARNING"]
            run(["--multirun", *argv, *_no_more_than(len(parts), hydra), *said])
    except Refused:
        raise
    except Exception as error:  # whatever a launcher, or the cluster behind it, can do
        log = parts[0][0].folder / "log.txt"
        with suppress(OSError), log.open("a") as file:
            file.write(redacted(traceback.format_exc()))
        last = traceback.format_exception_only(error)[-1].strip()
        if not any(_is_mine(task, call) for part in parts for task in part):
            raise Refused(f"The launcher could not start its jobs: {last}\nThe whole error is in {log}.") from error


def _no_more_than(jobs: int, hydra: Any) -> list[str]:
    """Words by which joblib starts no process that has nothing to do: such a one would outlive a killed command by minutes."""
    if launcher_of(hydra) != "joblib":
        return []
    import joblib

    return [f"hydra.launcher.n_jobs={min(jobs, joblib.effective_n_jobs(hydra.launcher.n_jobs))}"]


def new_call() -> str:
    return uuid.uuid4().hex
