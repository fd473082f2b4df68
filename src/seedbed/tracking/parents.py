"""A study's parent run in MLflow: name, description, summary as metrics, tables and pictures, the report, a table of its runs.

Reads the study's folder: `study.json` (its id), `seeds/*.json` (where each run's record is), `report.json` and the report's files.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seedbed import Refused, notes, printed
from seedbed.run import children, plain_files, scratch
from seedbed.run.process import COMMAND
from seedbed.tracking import descriptions, views
from seedbed.tracking.names import allowed
from seedbed.tracking.runs import LONGEST_PARAM, METRICS_A_BATCH, log_names
from seedbed.tracking.store import check_artifacts, experiment_id_of, is_there, settle, store_lock

NOT_TELLING = ("study.", "hydra", "checkpoint.", "-")  # words that don't tell one study of the same data from another
REPORT = ("summary.md", "summary.csv", "runs.csv", "pairs.csv", *descriptions.PICTURES)  # what MLflow gets of a study's folder
BESIDE = frozenset(
    {"study.json", "report.json", "report.html", "tracking.json", "fetched.json", "check.json", "machine.json", "log.txt", "seeds"}
)
SMALL, WIDTH = "description", 680  # where pictures are that a description shows, and their width in pixels; MLflow shows each as it is
PAGE_WITHIN = 300.0  # seconds
LARGEST = 100_000_000  # bytes of a file of a study


class Folder:
    """A study's folder, with what `notes` needs of a record: a place, an id, a status."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = json.loads(plain_files.read(path / "study.json", LARGEST) or b"")
        self.id = str(self.content["id"])

    @property
    def status(self) -> str:
        """A hash of the report: what has been sent is complete if it is of this one."""
        whole = hashlib.sha256()
        for file in self.report():
            whole.update(plain_files.read(file, LARGEST) or b"")
        return whole.hexdigest()

    def report(self) -> list[Path]:
        """The files that MLflow gets: those that a study writes, and no other that lies beside them."""
        return sorted(self.path / name for name in REPORT if os.path.lexists(self.path / name))

    def surplus(self) -> list[str]:
        """What lies in the folder and is not of a study: it is not sent."""
        return sorted(path.name for path in self.path.iterdir() if path.name not in BESIDE.union(REPORT) and not path.name.startswith("."))

    def words(self) -> list[str]:
        """What was asked for, without what may be a secret."""
        return printed.telling(self.content["overrides"])

    def parts(self) -> dict[str, str]:
        """The folders' names of the studies that it is made of, by what they are called in it."""
        parts = self.content.get("parts")
        named = parts.items() if isinstance(parts, dict) else ()
        return {str(name): part for name, part in named if isinstance(part, str) and Path(part).name == part}

    def run_name(self, noted: Mapping[str, Any], side: str = "") -> str:
        """How the run is called that `noted`, one of `seeds`, is about. side: what the study is called where several are compared."""
        first = side[:100] or self.content.get("vary") or ""
        return f"{first} · seed {noted['master']}" if first else f"seed {noted['master']}"

    def seeds(self) -> list[dict[str, Any]]:
        found = []
        for file in sorted((self.path / "seeds").glob("[0-9]*.json")):
            with suppress(OSError, ValueError, Refused):
                one = json.loads(plain_files.read(file, LARGEST) or b"")
                found += [one] if isinstance(one, dict) else []
        return found


def push_study(study: Folder, uri: str, experiment: str, begun: int = 0) -> str:
    """Make or find the parent run of a study, and bring its report up to date; returns MLflow's run id.

    begun: it is being run, for so many seeds, and its report comes later.
    """
    settle()
    with scratch.folder("sending") as folder:
        if not begun and notes.state(study, uri).get("status") != study.status:
            for file in study.report():
                plain_files.copy(file, Path(folder) / file.name)
            _make_small(Path(folder))
            _add_page(study, Path(folder) / "report.html")  # may take seconds, in which others have the store
        with store_lock(uri):
            return _push(study, uri, experiment, begun, Path(folder))


def _push(study: Folder, uri: str, experiment: str, begun: int, folder: Path) -> str:
    """`push_study`, alone at the store. folder: the report's files."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(uri)
    sent: dict[str, Any] = notes.state(study, uri)
    run_id = sent.get("run_id")
    if run_id is None or not is_there(client, run_id, of={"seedbed.parent_of": study.id}):
        run_id, sent = _find_or_create(client, study, uri, experiment), {}
        words = {"vary": study.content["vary"] or "all", "level": study.content["level"]}
        client.log_batch(run_id, params=[Param(name, str(value)) for name, value in words.items()])
        notes.note(study, uri, run_id=run_id, status=None, error=None)
    run = client.get_run(run_id)
    if begun:
        if not (study.path / "report.json").exists():
            wanted = descriptions.labels(run.data.tags, _name(study, begun), descriptions.begun(study.content, begun))
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in wanted.items()])
        client.update_run(run_id, status="RUNNING")
        return str(run_id)
    report = json.loads(plain_files.read(study.path / "report.json", LARGEST) or b"")
    now = int(time.time() * 1000)
    if sent.get("status") != study.status:
        table = study.path / "summary.csv"
        rows = list(csv.DictReader((plain_files.read(table, LARGEST, optional=True) or b"").decode("utf-8", "replace").splitlines()))
        values = {
            f"{row['metric']}.{name}": float(value)
            for row in rows
            for name, value in row.items()
            if name not in ("metric", "interval") and value
        }
        metrics = [Metric(allowed(name), value, now, int(report["finished"])) for name, value in values.items()]
        for start in range(0, len(metrics), METRICS_A_BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_BATCH])
        log_names(client, str(run_id), values)
        place = str(run.info.experiment_id), str(run_id)
        parts = _nest_parts(client, study, uri, str(run_id))
        view = None if study.parts() else _show_runs(client, study, place, [allowed(row["metric"]) for row in rows], report)
        page, small = (folder / "report.html").exists(), [f"{SMALL}/{file.name}" for file in sorted((folder / SMALL).glob("*"))]
        note = descriptions.of_study(study.path, study.content, report["sentence"], place, view, page, parts, small)
        # the last words: a study may be asked for again
        said = {
            "sentence": report["sentence"],
            "finished": f"{report['finished']} of {report['asked']}",
            "overrides": " ".join(study.words()),
        }
        tags = descriptions.labels(run.data.tags, _name(study, len(report.get("seeds") or ()) or report["asked"]), note)
        tags |= {f"seedbed.{name}": value[:LONGEST_PARAM] for name, value in said.items()}
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        check_artifacts(uri, str(run.info.artifact_uri))
        client.log_artifacts(run_id, str(folder))
    client.set_terminated(run_id, "FINISHED" if report["finished"] == report["asked"] else "FAILED")
    notes.note(study, uri, run_id=run_id, status=study.status, error=None)
    return str(run_id)


def _make_small(folder: Path) -> None:
    """Of the first two pictures in the folder, ones that fit beside MLflow's own columns."""
    from PIL import Image

    (folder / SMALL).mkdir()
    for name in [name for name in descriptions.PICTURES if (folder / name).exists()][:2]:
        with Image.open(folder / name) as picture:
            picture.thumbnail((WIDTH, picture.height))
            picture.save(folder / SMALL / name)


def _add_page(study: Folder, file: Path) -> None:
    """The study's page: the one that the command has left in its folder, else `seedbed report` makes one. No file if it can't."""
    with suppress(OSError, Refused):
        if (study.path / "report.html").stat().st_mtime >= (study.path / "report.json").stat().st_mtime:
            plain_files.copy(study.path / "report.html", file)
            return
    command = [*COMMAND, "report", str(study.path), "--runs", str(study.path.parents[1]), "--out", str(file)]
    with suppress(subprocess.TimeoutExpired):
        children.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PAGE_WITHIN)


def _show_runs(client: Any, study: Folder, place: tuple[str, str], metrics: list[str], report: Mapping[str, Any]) -> str | None:
    """Make the table of a study's runs, the best one first, or the first seed where nobody knows which is better; returns its key."""
    if not metrics:
        return None
    experiment_id, run_id = place
    vary = study.content["vary"]
    views.widen(client, experiment_id, views.columns(views.FIRST, metrics))
    better = report.get("better")
    order = f"metrics.`{allowed(str(report['metric']))}`" if better else f"params.`seeds.{vary or 'master'}`"
    shown = views.columns([vary] if vary else views.FIRST, metrics)
    wanted = views.flat(run_id, shown, order, ascending=better != "higher")
    client.set_experiment_tag(experiment_id, views.VIEW + study.id[:12], wanted)
    return study.id[:12]


def _nest_parts(client: Any, study: Folder, uri: str, run_id: str) -> dict[str, str]:
    """Nest the studies that this one is made of in it, where they aren't in another; their runs, by their names."""
    found = {}
    for name, part in study.parts().items():
        with suppress(OSError, ValueError, KeyError, Refused):
            state = notes.state(Folder(study.path.parent / part), uri)
            if is_there(client, state["run_id"]):
                found[name] = str(state["run_id"])
                if "mlflow.parentRunId" not in client.get_run(state["run_id"]).data.tags:
                    client.set_tag(state["run_id"], "mlflow.parentRunId", run_id)
    return found


def stopped(study: Folder, uri: str) -> None:
    """Mark a study's parent run as one that was stopped before its report was written."""
    from mlflow import MlflowClient

    with store_lock(uri):
        MlflowClient(uri).set_terminated(notes.state(study, uri)["run_id"], "KILLED")


def _find_or_create(client: Any, study: Folder, uri: str, experiment: str) -> str:
    experiment_id = experiment_id_of(client, uri, experiment)
    if found := client.search_runs([experiment_id], f"tags.`seedbed.parent_of` = '{study.id}'", max_results=1):
        return str(found[0].info.run_id)
    verb = study.content.get("verb", "repeat")
    tags = {"seedbed.parent_of": study.id, "mlflow.source.name": f"seedbed {verb}", "mlflow.source.type": "LOCAL"}
    return str(client.create_run(experiment_id, tags=tags, run_name=str(study.content["name"])).info.run_id)


def _name(study: Folder, seeds: int) -> str:
    # two studies of one data set are told apart by what was asked for
    repeated = study.content.get("verb", "repeat") == "repeat"
    words = [word for word in study.words() if not word.startswith(NOT_TELLING)] if repeated else []
    return descriptions.study_name(study.content, seeds, words)
