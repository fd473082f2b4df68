"""What people read: the table at the end of a run, and doctor's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seedbed import notes, printed, project_root
from seedbed.command_line import changed, command
from seedbed.printed import lines
from seedbed.run.record import Record


def tracked(record: Record, uri: str | None) -> dict[str, Any]:
    """What MLflow has of a record: run_id, status, error (from the note beside the record; no MLflow is imported)."""
    if uri is None:
        return {}
    return notes.state(record, uri)


def run(record: Record, uri: str | None, sent: dict[str, Any], words: Sequence[str] = ()) -> None:
    """The end of a run: what came out, whether it was there already, where it is, what to type next. words: all that was said."""
    rows: list[tuple[str, str]] = []
    state = record.status
    if record.reused:
        state += ", reused: this key was trained before (force=true trains it again)"
    elif record.resumed_at is not None:
        state += f", went on after epoch {record.resumed_at}"
    rows.append(("run", f"{record.name}, {state}"))
    rows.append(("level", record.level))
    rows.append(("seeds", "  ".join(f"{name} {value}" for name, value in record.seeds.items())))
    epochs = len(record.history())
    if record.metrics:
        rows.append(("metrics", "  ".join(f"{name} {value:.6g}" for name, value in record.metrics.items())))
    if record.timing:
        seconds = record.timing.get("fit_seconds") or record.timing.get("seconds") or 0.0
        rows.append(("epochs", f"{epochs} in {seconds:.1f} s ({record.content.get('engine', '-')})"))
    if record.digests and {"run", "final_weights"} <= set(record.digests):
        rows.append(("digest", f"{record.digests['run'][:16]}  (weights {record.digests['final_weights'][:16]})"))
    if record.agrees is not None:
        words = (
            "the same bits as the record that was there"
            if record.agrees
            else "OTHER bits than the record that was there: this run is not reproducible here"
        )
        rows.append(("again", words))
    rows.append(("record", str(record.path)))
    if uri is None:
        rows.append(("tracked", "no (tracking=none)"))
    elif sent.get("run_id") and not sent.get("error"):
        place = "`make ui` shows it" if uri == f"sqlite:///{project_root()}/runs/mlflow/mlflow.db" else f"in {notes.address(uri)}"
        rows.append(("tracked", f"MLflow run {sent['run_id']}; {place}"))
    else:
        rows.append(("tracked", f"not yet: {sent.get('error') or 'MLflow is still busy'}; nothing is lost, `seedbed sync` sends it"))
    rows.append(("next", _next(record, words)))
    lines(rows)
    failure(record)


def _next(record: Record, words: Sequence[str]) -> str:
    if record.status == "interrupted":
        if why := record.content.get("not_resumable"):
            return f"the same command again: it starts from the beginning ({why})"
        if record.exit_status() == 1:
            return "the same command again, when there is room; see the message below"
        return "the same command again: it goes on from the last checkpoint"
    if record.status != "finished":
        return "see the message below"
    other = changed(words, ("force=", "seeds.master="), [f"seeds.master={record.seeds['master'] % 1000 + 1}"])
    again = changed(words, ("force=",), ["force=true"])
    return f"{command('train', other)}  (another seed)   {command('train', again)}  (the same again)"


def failure(record: Record) -> None:
    """Why a run that isn't finished isn't, on standard error."""
    if record.status in ("failed", "interrupted") and record.content.get("error"):
        printed.say(f"seedbed train: {record.content['error'].strip()}")


# Of the provenance: what `doctor` tells first, in this order; the rest is behind --all.
FIRST = ("cpu", "gpu", "cores", "python", "platform", "variables", "git", "image")


def health(report: Mapping[str, Any], whole: bool = False) -> None:
    """Print what this machine can keep, what is wrong, and what runs here.

    Args:
        report: of `health.examine`.
        whole: whether to print every package and variable, too.
    """
    told, levels = report["provenance"], report["levels"]
    rows = []
    for name, verdict in levels.items():
        first, *more = verdict["why"] or ["-"]
        rows += [(name, f"{'yes' if verdict['kept'] else 'NO '}   {first}"), *(("", f"      {line}") for line in more)]
    lines([("level", "kept here"), *rows])
    print()
    shown = {**told, "cpu": _cpu(told["cpu"]), "git": _git(told.get("git"))}
    packages = told["packages"]
    main = "  ".join(f"{name} {packages[name]}" for name in MAIN if name in packages)
    lines([
        *(("GPU" if number == 0 else "", line) for number, line in enumerate(report["accelerator"])),
        *((name, _words(shown[name])) for name in FIRST if shown.get(name)),
        ("packages", main),
        *([] if whole else [("", f"{len(packages)} in all: {command('doctor', ['--all'])}")]),
    ])  # fmt: skip
    if whole:
        print()
        lines([(name, _words(value)) for name, value in told.items() if name not in (*FIRST, "packages", "accelerator")])
        print()
        lines(sorted(packages.items()))


# The packages that a person asks for first.
MAIN = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "mlflow")


def _cpu(cpu: Any) -> str:
    return f"{cpu.get('model') or '?'} ({' '.join(cpu.get('isa') or []) or 'no extensions'})" if isinstance(cpu, dict) else str(cpu)


def _git(git: Any) -> str:
    if not isinstance(git, dict):
        return "none"
    return f"{str(git.get('commit'))[:12]}{', and changes that are not committed' if git.get('dirty') else ''}"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_words(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list):
        return " ".join(_words(item) for item in value) or "none"
    return str(value)
