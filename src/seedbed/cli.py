"""The commands: parse, call one function, print. Exit status: 0 done, 1 a run failed, broke off or disagrees, 2 could not be asked."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from seedbed import Refused, command_line, composing, printed
from seedbed.run import json_text, redaction

VERBS = {
    "train": "train one model, keep its record, track it (KEY=VALUE overrides the config; --help shows it)",
    "repeat": "train over many seeds and say how good the result is, and how sure that is (KEY=VALUE as for train; study.n=30)",
    "compare": "is A better than B? the same seeds for each, paired: compare A B … [-- KEY=VALUE …]",
    "variance": "which source of randomness makes results differ? one stream varied at a time (KEY=VALUE as for train)",
    "report": "a study as one HTML file that opens without a server and prints well: report STUDY",
    "verify": "does the result hold? the same run in fresh processes under perturbation, compared bit by bit",
    "replay": "train a record again (a path, a key, or an MLflow run id) and compare: replay RUN",
    "diff": "what differs between two records, inputs first: diff A B",
    "diagnose": "the first point at which two executions part: epoch, step, layer, tensor, and the usual cause",
    "audit": "what in your code makes runs differ: audit [FILE …]; --dynamic KEY=VALUE … watches a training draw",
    "new": "a function of your own with its config and test, to fill in: new data NAME, new model NAME",
    "ui": "MLflow's page of all runs, on this machine alone, and the addresses of tables with seeds as columns",
    "sync": "send to MLflow what is missing there; twice is harmless",
    "fsck": "which records are whole, what is damaged in the others, and how to get it back: fsck [RUN …]",
    "doctor": "which levels this machine can keep, and why; what runs here",
}

# What they write is seedbed's own: an error of theirs is no mistake in a file that somebody wants to read.
WRITERS = frozenset({"hydra.core.utils", "seedbed.follower", "seedbed.run.record", "seedbed.study.launch", "seedbed.study.plan"})

# Their exit status 1 means that something differs, or was found, and nothing else.
VERDICTS = ("verify", "replay", "diff", "diagnose", "audit")

# Hydra composes a config from their words, and keeps these.
COMPOSE = ("train", "repeat", "compare", "variance", "verify", "diagnose", "audit")
ON_THE_COMMAND_LINE = (
    "there is a password in an address on the command line, where other users of this machine can read it. "
    "It is kept out of all files; MLFLOW_TRACKING_URI in the environment is the place for it."
)

# They start processes of which each would say by itself, and for each seed, that there is no folder for temporary files.
STARTS = ("repeat", "compare", "variance", "verify", "replay", "diagnose")


def main(argv: list[str]) -> int:
    """The exit status of `seedbed ARGV`."""
    if argv[:1] in (["-sc"], ["--shell-completion"], ["--shell_completion"]):
        return _complete(argv)
    if argv[:1] == ["--version"]:
        from seedbed.version import version

        print(version())
        return 0
    verb = argv[0] if argv else ""
    if verb not in VERBS:
        helped = verb in ("", "-h", "--help")
        lines = [] if helped else [f"seedbed: there is no command {verb!r}.\n"]
        lines += [
            "usage: seedbed COMMAND [ARGUMENTS]\n",
            *(f"  {name:9} {words}" for name, words in VERBS.items()),
            "\n  --version  which version this is, by git's tags",
        ]
        print("\n".join(lines), file=sys.stdout if helped else sys.stderr)
        return 0 if helped else 2
    from seedbed import fsck, new, proofs, studies, ui

    commands: dict[str, Callable[[list[str]], int]] = {
        "train": train, "sync": sync, "doctor": doctor, "new": new.new, "ui": ui.ui, "fsck": fsck.fsck,
        "repeat": studies.repeat, "compare": studies.compare, "variance": studies.variance, "report": studies.report,
        "verify": proofs.verify, "replay": proofs.replay, "diff": proofs.diff, "diagnose": proofs.diagnose, "audit": proofs.audit,
    }  # fmt: skip
    redaction.know_environment()
    words = argv[1:]
    if verb in COMPOSE and (words := redaction.by_reference(words)) != argv[1:]:
        printed.say(f"seedbed {verb}: {ON_THE_COMMAND_LINE}")
    try:
        if verb in STARTS:
            tempfile.gettempdir()
        return commands[verb](words)
    except Exception as error:
        return _ended(verb, error)
    except KeyboardInterrupt:
        print(f"\nseedbed {verb}: stopped.", file=sys.stderr)
        return 130


def _ended(verb: str, error: Exception) -> int:
    """Say what ended a command; its exit status."""
    from seedbed.run.record import BrokenOff

    message = _refusal(error)
    if message is None:  # an error of seedbed's, or of the user's code
        printed.say("".join(traceback.format_exception(error)).rstrip())
    else:
        printed.say(f"seedbed {verb}: {message}")
    if verb in VERDICTS:  # whose 1 is an answer
        return 2
    return 1 if message is None or isinstance(error, BrokenOff) else 2


def train(argv: list[str]) -> int:
    """`seedbed train`: compose the config with Hydra, put the right process in place, run, print."""
    from seedbed import follower
    from seedbed.run import determinism, process, training

    if argv == ["--worker"]:  # of strategy=multi_worker
        from seedbed.run import worker

        return worker.main()
    as_json = "--json" in argv
    hydra_argv = [word for word in argv if word != "--json"]
    status = 0

    def job(config: Any) -> None:
        nonlocal status
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        hydra = HydraConfig.get()
        if hydra.mode == RunMode.MULTIRUN:
            status = max(status, _child(hydra, argv))
            return
        drawn = os.environ.pop(process.ENTROPY, None)
        entropy = int(drawn) if drawn else int.from_bytes(os.urandom(4), "little")
        seeds = training.resolved_seeds(config, entropy)
        needed = determinism.of(config)["environment"] | {"PYTHONHASHSEED": str(seeds["hash"])}
        again = ["train", *argv, f"hydra.run.dir={composing.quoted(hydra.runtime.output_dir)}"]
        os.chdir(hydra.runtime.cwd)  # hydra.job.chdir=true: what was said on the command line counts from there
        process.replace(needed, again, entropy, config.determinism.level)
        config.runs = str(Path(config.runs).expanduser().absolute())
        os.chdir(hydra.runtime.output_dir if hydra.job.chdir else hydra.runtime.cwd)
        # with --json, whatever libraries and the user's code print goes to standard error
        quiet_out = redirect_stdout(sys.stderr) if as_json else nullcontext()
        with quiet_out, follower.following(config.tracking, config.runs, printed.say) as tell:
            record = training.run(config, entropy, said=printed.say, started=lambda found: tell(found.path), progress=sys.stderr.isatty())
        os.chdir(hydra.runtime.cwd)  # where the next command is typed
        status = _report(record, config, argv, as_json)

    composing.hydra(job, hydra_argv)
    return status


def _child(hydra: Any, argv: list[str]) -> int:
    """One job of a multirun, in a process of its own: hash seed and thread numbers can differ from job to job."""
    from seedbed.run import children, process

    flags = [word for flag in composing.flags_of(argv)[0] if flag[0].split("=")[0] in ("--json", *composing.WHERE) for word in flag]
    overrides = [word for word in hydra.overrides.task if not word.startswith("hydra.")]
    overrides += [word for word in hydra.overrides.hydra if word.startswith("hydra.job.")]
    where = [f"hydra.run.dir={composing.quoted(hydra.runtime.output_dir)}", "hydra.mode=RUN"]
    where += ["hydra.sweeper.params=null"] if hydra.sweeper.get("params") else []
    sys.stdout.flush()
    job = children.start([*process.COMMAND, "train", *flags, *overrides, *where], signal.SIGTERM)
    # Ctrl-C reaches the job by itself, and SIGTERM by us; either way it is waited for, since it writes a checkpoint first
    stopped: list[int] = []

    def stop(number: int, frame: Any) -> None:
        stopped.append(number)
        if number == signal.SIGTERM:
            job.send_signal(number)

    with process.signals_to(stop):
        code = job.wait()
    if stopped:
        raise SystemExit(128 + stopped[0])  # the jobs after this one are not begun
    return code if code >= 0 else 128 - code


def _report(record: Any, config: Any, words: Sequence[str], as_json: bool) -> int:
    from seedbed import show

    uri = str(config.tracking.uri) if config.tracking.uri else None
    sent = show.tracked(record, uri)
    if as_json:
        print(json_text.dumps({**record.summary(), "mlflow_run_id": sent.get("run_id")}), flush=True)
        show.failure(record)
    else:
        show.run(record, uri, sent, words)
    return 1 if record.agrees is False else record.exit_status()


def sync(argv: list[str]) -> int:
    """`seedbed sync`: push every record, or the named ones, to MLflow."""
    parser = argparse.ArgumentParser("seedbed sync", description=VERBS["sync"])
    parser.add_argument("key", nargs="*", help="records to send, by key or its beginning; all of them if none is named")
    parser.add_argument("--uri", help="MLflow's address; else MLFLOW_TRACKING_URI, else where each run was to be sent")
    parser.add_argument("--experiment", help="in MLflow; if not given, the one that each run was to be in")
    parser.add_argument("--runs", help="the folder of records")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--follow", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--follow-studies", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    from seedbed import notes, tracking
    from seedbed.run import config as configs
    from seedbed.run import record as records
    from seedbed.run.plain_text import harmless, listed

    uri = options.uri or os.environ.get("SEEDBED_TRACKING_URI") or os.environ.get("MLFLOW_TRACKING_URI")
    if options.follow:
        return 0 if tracking.follow(sys.stdin, str(uri), options.experiment) else 1
    if options.follow_studies:
        printed.leave(0 if tracking.follow_studies(sys.stdin, str(uri), options.experiment) else 1)
    config = configs.composed(*([f"runs={composing.quoted(options.runs)}"] if options.runs else []))  # tracking.uri follows it
    runs = Path(options.runs or config.runs).expanduser()
    if options.runs and not runs.is_dir():
        raise Refused(f"--runs {runs}: there is no such folder.")
    unreadable: dict[str, str] = {}
    found = [r for r in records.all_records(runs, unreadable) if not options.key or any(r.key.startswith(key) for key in options.key)]
    unreadable = {name: why for name, why in unreadable.items() if not options.key or name.startswith(tuple(options.key))}
    if options.key and not found and not unreadable:
        raise Refused(f"No record under {runs} begins with {' or '.join(options.key)}.")
    usual = str(config.tracking.uri or f"sqlite:///{runs.absolute()}/mlflow/mlflow.db")
    known = list(dict.fromkeys([usual, *configs.trackers(runs)]))
    # studies first: their runs go there with them
    failed = {} if options.key else tracking.send_studies(runs, str(uri or usual), options.experiment)
    sent, missed = tracking.send(found, runs, lambda one: [uri] if uri else notes.places(one, known)[0], options.experiment)
    failed |= missed
    strange = {} if uri else {one.key: notes.places(one, known)[1] for one in found}
    surplus = {one.key: names for one in found if (names := one.surplus())} | ({} if options.key else tracking.surplus_of_studies(runs))
    if options.json:
        not_asked = {key: places for key, places in strange.items() if places}
        said = {"records": len(found), "sent": sent, "failed": failed, "damaged": unreadable, "not_asked": not_asked, "surplus": surplus}
        print(json_text.dumps(said))
    else:
        print(f"{len(found)} records, {len(sent)} sent to {notes.address(uri) if uri else 'where their runs were to go'}.")
    for key, why in failed.items():
        printed.say(f"seedbed sync: {key[:12]} was not taken: {why.splitlines()[0]}\nNothing is lost; try again when the server answers.")
    for why in unreadable.values():
        printed.say(f"seedbed sync: {why}")
    of_records = {one.key for one in found}
    for key, names in surplus.items():
        what, why = (key[:12], "the record does not list them") if key in of_records else (harmless(key), "no study writes them")
        printed.say(f"seedbed sync: {what}: not sent, because {why}: {listed(names)}.")
    for place in dict.fromkeys(place for places in strange.values() for place in places):
        keys = [key[:12] for key, places in strange.items() if place in places]
        which = f"{' '.join(keys[:3])}{' …' if len(keys) > 3 else ''}"
        printed.say(
            f"seedbed sync: {len(keys)} of the records ({which}) name {place}, which neither this project's "
            f"configuration nor MLFLOW_TRACKING_URI does: nothing was sent there. If you trust it: {_to(place, options)}"
        )
    if unreadable and not found:
        return 2
    return 1 if unreadable or failed or any(strange.values()) else 0


def _to(place: str, options: Any) -> str:
    """The command that sends the same records to another address."""
    words = [*options.key, "--uri", place]
    words += [word for name in ("experiment", "runs") if getattr(options, name) for word in (f"--{name}", getattr(options, name))]
    return command_line.command("sync", words)


def doctor(argv: list[str]) -> int:
    """`seedbed doctor`: print what this machine can promise."""
    parser = argparse.ArgumentParser("seedbed doctor", description=VERBS["doctor"])
    parser.add_argument("--all", action="store_true", help="every package and the machine's details, too")
    parser.add_argument("--json", action="store_true", help="all of it, as one JSON object")
    options = parser.parse_args(argv)
    from seedbed import health, show

    report = health.examine()
    if options.json:
        print(json_text.dumps(report, indent=1))
    else:
        show.health(report, options.all)
    return 0 if report["levels"]["strict"]["kept"] else 1


def _complete(argv: list[str]) -> int:
    """Tab completion: Hydra's, for what follows a verb that composes a config; the verbs before that."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if "query" in " ".join(argv) and (len(words) < 2 or (len(words) == 2 and not line.endswith(" "))):
        print("\n".join(VERBS))
        return 0
    if "query" in " ".join(argv):
        if words[1] not in ("train", "repeat", "variance", "verify", "diagnose"):
            return 0
        os.environ["COMP_LINE"] = "seedbed " + line.split(words[1], 1)[1].lstrip()
        os.environ["COMP_POINT"] = str(len(os.environ["COMP_LINE"]))
    composing.hydra(lambda config: None, argv)
    return 0


def _refusal(error: BaseException) -> str | None:
    """The message for a mistake that the user can mend; None for anything else."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    frames = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, OSError) and (message := _hindered(error, frames)):
        return message
    at: BaseException | None = error
    seen: set[int] = set()  # chains of exceptions can be circles
    while at is not None and id(at) not in seen:  # a Refused inside a resolver comes wrapped
        seen.add(id(at))
        if isinstance(at, Refused):
            return str(at)
        at = at.__cause__ or at.__context__
    if isinstance(error, HydraException | OmegaConfBaseException):
        lines = [str(error).strip()]
        if error.__cause__ is not None and str(error.__cause__) not in lines[0]:
            lines.append(str(error.__cause__).strip())
        if "@experiment." in lines[0]:
            lines.append("The first line of a file of conf/experiment/ has to be: # @package _global_")
        return "\n".join(lines) + "\n`seedbed train --cfg job` shows the config, `seedbed train --help` what can be chosen."
    if frames and frames[-1].split(".")[0] in ("hydra", "omegaconf"):
        given = " ".join(sys.argv[1:])
        return f"{error}\nGiven: {given}\n`seedbed train --cfg job` shows the config, `seedbed train --help` what can be chosen."
    return None


def _hindered(error: OSError, frames: Sequence[str]) -> str | None:
    """The message where nothing can be written; None if the error is about something else. frames: the modules that it came through."""
    from seedbed.run import record

    if error.errno == errno.ENOENT and "tempfile" in frames:
        return f"{error.strerror}. Temporary files need a folder that can be written to: TMPDIR=DIR (docker run --tmpfs /tmp)."
    if any(name.partition(".")[0] == "filelock" or name in WRITERS for name in frames):
        # Hydra has made a folder, and doesn't say for which of the files in it there was no room
        made = [frame.f_locals.get("output_dir") for frame, _ in traceback.walk_tb(error.__traceback__)]
        error.filename = error.filename or next((str(folder) for folder in made if folder), None)
        return record.not_kept(error)
    return f"{record.hindrance(error)}. {record.remedy(error)}, then the same command again." if error.errno in record.FULL else None
