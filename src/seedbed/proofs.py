"""The commands that prove: `verify`, `replay`, `diff`, `diagnose`, `audit`. Parse, call the wing `proof`, print."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seedbed import Refused, composing, notes, printed
from seedbed.command_line import changed, runnable
from seedbed.run import json_text

HELP = {
    "verify": "Does the result hold? The same run in fresh processes under perturbation, compared bit by bit; if not, where they part.",
    "replay": "A record trained again from what it says went in, and compared digest by digest. Exit status: 0 the same bits, 1 others.",
    "diagnose": "The first point at which two executions part: of one config, or of two (--against).",
}
WORDS = "All other words are overrides, as for `seedbed train`: experiment=digits_cnn seeds.master=7"


def verify(argv: list[str]) -> int:
    """`seedbed verify`: does the result hold? 0 yes, 1 no, 2 could not be asked."""
    if "--worker" in argv:
        from seedbed.proof import work

        printed.leave(work.main())
    return _verified("verify", argv)


def _verified(verb: str, argv: list[str]) -> int:
    """Executions compared, and what came out printed. `diagnose` is `verify` without goldens."""
    from seedbed.proof.perturbing import PARTS

    parser = argparse.ArgumentParser(f"seedbed {verb}", description=HELP[verb], epilog=runnable(WORDS), allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", action="help", help=runnable("this text; `seedbed train --help` shows what can be overridden"))
    parser.add_argument(
        "--times",
        type=int,
        default=None,
        metavar="N",
        help="executions of the config itself, all but the first perturbed (2): "
        "a fault that shows in every second execution is seen by 2 with a chance of 50 %%, by 5 of 94 %%, by 8 of 99 %%",
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="WORDS",
        help="one more, with these overrides, which are not meant to change the result: --against 'determinism.threads.intra_op=2'",
    )
    parser.add_argument(
        "--against-cpu",
        action="append",
        default=[],
        metavar="CPU",
        help="one more on that CPU, emulated by QEMU, which takes minutes: --against-cpu Haswell (at determinism=portable the same bits)",
    )
    parser.add_argument("--resume", action="store_true", help="one more, stopped half way and resumed in another process")
    parser.add_argument(
        "--study", action="store_true", help="one more, as the third run of a study: in one process with others, and what they share"
    )
    parser.add_argument(
        "--leave", action="append", default=[], metavar="PART", choices=list(PARTS), help=f"what is not to be perturbed: {', '.join(PARTS)}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    if verb == "verify":
        parser.add_argument(
            "--golden", type=Path, metavar="FILE", help="also against the digests in FILE; from another environment: exit status 2"
        )
        parser.add_argument("--write-golden", type=Path, metavar="FILE", help="write the digests into FILE, if the result holds")
        parser.add_argument("--no-diagnosis", action="store_true", help="don't look for the place if it doesn't hold")
    options, words = parser.parse_known_args(argv)
    from seedbed.proof import golden as goldens
    from seedbed.proof import show
    from seedbed.proof import verify as proof
    from seedbed.proof.control import CONTROLS
    from seedbed.proof.plan import Wanted
    from seedbed.proof.workspace import workspace

    with printed.json_alone(options.json):
        composed = composing.composed(words, verb)
        if composed is None:
            return 0
        config, _ = composed
        others = {}
        for more in options.against:
            other = composing.composed([*words, *shlex.split(more)], verb)
            assert other is not None
            others[f"with {more}"] = other[0]
        golden = verb == "verify" and bool(options.golden or options.write_golden)
        # `diagnose` looks into the two that it is given; `verify` adds to the perturbed one
        only = verb == "diagnose" and options.times is None and bool(others or options.resume or options.study or options.against_cpu)
        wanted = Wanted(
            others, 1 if only else options.times, options.resume, frozenset(options.leave), options.against_cpu, golden, options.study
        )
        asked = proof.Asked(config, wanted, verb == "diagnose" or not options.no_diagnosis, _audited, options.times or CONTROLS)
        with workspace(Path(config.runs)) as folder:
            found = proof.verified(asked, folder, printed.say)
        compared, record = None, found.sides[0].execution.record
        file, new = (options.golden, options.write_golden) if verb == "verify" else (None, None)
        if file or new:
            if record is None or record.status != "finished":
                why = found.sides[0].execution.error
                raise Refused(f"There is nothing to compare with a golden: the run {found.sides[0].execution.status}: {why}")
            compared = goldens.compared(file, record) if file else None
            if new and found.holds:
                goldens.write(new, record)
    written = new if found.holds else None
    if options.json:
        print(json_text.dumps({**found.as_json(), "golden": compared.as_json() if compared else None}), flush=True)
    else:
        show.verdict(found, compared, written, _again(words, options), verb)
    if not found.holds or (compared is not None and compared.agrees is False):
        return 1
    return 2 if compared is not None and compared.agrees is None else 0


def _again(words: Sequence[str], options: argparse.Namespace) -> list[str]:
    """All that was said of what is compared, for another command: overrides, Hydra's flags, executions that are added."""
    pairs = [("--against", options.against), ("--against-cpu", options.against_cpu), ("--leave", options.leave)]
    added = [word for flag, values in pairs for value in values for word in (flag, value)]
    flags = [f"--{name}" for name in ("resume", "study") if getattr(options, name)]
    return [*added, *flags, *changed(words)]


def _audited(config: Any) -> list[Any]:
    """What the static audit finds in the modules of a config."""
    from omegaconf import OmegaConf

    from seedbed.proof import audit as proof
    from seedbed.run import provenance, targets

    files = provenance.own_files(targets.names(OmegaConf.to_container(config, resolve=True)))
    return proof.examine(files, lambda line: None)


def replay(argv: list[str]) -> int:
    """`seedbed replay RUN`: train a record again and compare. 0 the same bits, 1 others, 2 the promise can't hold here."""
    parser = argparse.ArgumentParser("seedbed replay", description=HELP["replay"], allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help="a record's path, a key or its beginning, or an MLflow run id")
    parser.add_argument("--uri", help="MLflow's address, for a run id; else MLFLOW_TRACKING_URI, else the local store")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="the folder of records")
    parser.add_argument("--checkout", action="store_true", help="in a temporary worktree: the recorded commit, diff and lock")
    parser.add_argument("--anyway", action="store_true", help="also where other things go in than were recorded; it is no replay then")
    parser.add_argument("--trust-diff", action="store_true", help="with --checkout: the diff of a record from elsewhere may run here")
    parser.add_argument("--trust-commit", action="store_true", help="with --checkout: a commit that is on no branch of yours may run here")
    parser.add_argument(
        "--trust-config", action="store_true", help="the config of a record from elsewhere may name anything: it can run any command"
    )
    parser.add_argument(
        "--data", action="append", default=[], metavar="PATH", help="a file, folder or address that a record from elsewhere may read"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(argv)
    from seedbed.proof import finding, show_replay
    from seedbed.proof import replay as replaying
    from seedbed.proof.workspace import workspace
    from seedbed.run import claims, integrity
    from seedbed.run import config as configs

    config = configs.composed()
    mine = Path(config.runs).expanduser().absolute()
    runs = (options.runs.expanduser() if options.runs else mine).absolute()
    asked = replaying.Options(
        options.anyway, options.checkout, options.trust_diff, options.trust_config, options.trust_commit, tuple(options.data)
    )
    with printed.json_alone(options.json), workspace(mine) as folder:  # never in a folder from elsewhere
        source = None
        if finding.is_mlflow_id(options.run, runs):
            from seedbed.tracking import fetching

            uri = options.uri or os.environ.get("MLFLOW_TRACKING_URI") or config.tracking.uri or f"sqlite:///{mine}/mlflow/mlflow.db"
            source = notes.address(str(uri))
            path = fetching.bring(options.run, str(uri), folder)
        else:
            path = finding.found(options.run, runs)
        record = claims.checked(path)
        if source is None and (damage := record.damage(whole=True)):  # of files that a replay needs nothing of
            printed.say(f"This record is damaged ({integrity.listed(damage)}); what went in is whole. Next: seedbed fsck {path}")
        found = replaying.replay(record, folder, asked, printed.say)
    if options.json:
        print(json_text.dumps(show_replay.as_json(found, options.run, source)), flush=True)
    else:
        show_replay.replay(found, options.run, source, [word for word in argv if word not in ("--json", "--anyway")])
    if not found.trained:
        return 2
    return 0 if found.agrees else 1


def diff(argv: list[str]) -> int:
    """`seedbed diff A B`: what differs between two records, inputs first. 0 nothing, 1 something."""
    description = "What differs between two records: inputs first, then outputs, and which input can explain which output."
    status = "Exit status: 0 nothing differs, 1 something does, 2 could not be asked. Places have no part in the key, and don't count."
    parser = argparse.ArgumentParser("seedbed diff", description=description, epilog=status, allow_abbrev=False)
    parser.add_argument("a", metavar="A", help="a record's folder or its record.json; a key or its beginning; KEY/again")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="the folder of records that keys are looked up in")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, lists and code whole")
    options = parser.parse_args(argv)
    from seedbed.proof import diff as proof
    from seedbed.proof import show_diff
    from seedbed.proof.finding import found
    from seedbed.run import config as configs

    if options.runs is not None and not options.runs.is_dir():
        raise Refused(f"--runs {options.runs}: there is no such folder.")
    runs = options.runs or Path(configs.composed().runs).expanduser()
    difference = proof.diff(found(options.a, runs), found(options.b, runs))
    if options.json:
        print(json_text.dumps(difference.as_json()), flush=True)
    else:
        show_diff.show(difference)
    return 1 if difference.differs else 0


def diagnose(argv: list[str]) -> int:
    """`seedbed diagnose`: the first point at which two executions part. 0 they don't, 1 they do."""
    return _verified("diagnose", argv)


def audit(argv: list[str]) -> int:
    """`seedbed audit`: what in the code makes runs differ. 0 nothing found, 1 findings."""
    if "--dynamic" in argv:
        return _audit_dynamic([word for word in argv if word != "--dynamic"])
    description = "Lines of your code that make runs differ, each with the reason and the mend. A comment suppresses one that is meant:"
    status = "# seedbed: ignore[SB101] reason. Exit status: 0 nothing found, 1 findings, 2 could not be asked."
    parser = argparse.ArgumentParser("seedbed audit", description=description, epilog=status, allow_abbrev=False)
    parser.add_argument("path", nargs="*", metavar="PATH", help="files, notebooks and folders; src/ without src/seedbed if none is named")
    parser.add_argument("--list", action="store_true", help="all rules, each with the reason and the mend")
    parser.add_argument("--dynamic", action="store_true", help="train once (KEY=VALUE …) and watch who draws from the system's entropy")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(argv)
    from seedbed.proof import audit as proof

    if options.list:
        print(json_text.dumps({"rules": proof.listed()}) if options.json else proof.listing(), flush=True)
        return 0
    files = proof.files(options.path)
    found = proof.examine(files, printed.say)
    if options.json:
        print(json_text.dumps({"findings": [one.as_dict() for one in found], "files": len(files)}), flush=True)
    else:
        print(proof.report(found, len(files)), flush=True)
    return 1 if found else 0


def _audit_dynamic(words: list[str]) -> int:
    """`seedbed audit --dynamic`: who draws from entropy in a training. 0 nothing that reaches, 1 something does, 2 could not be asked."""
    from seedbed.proof import dynamic
    from seedbed.proof.workspace import workspace

    as_json, words = printed.without(words, "--json")
    with printed.json_alone(as_json):
        composed = composing.composed(words, "audit")
        if composed is None:
            return 0
        config, _ = composed
        with workspace(Path(config.runs)) as folder:
            found = dynamic.audited(config, folder, printed.say)
    if as_json:
        print(json_text.dumps(found.as_json()), flush=True)
    else:
        dynamic.shown(found, words)
    return 0 if found.clean else 1
