"""Studies into MLflow: a parent run with the report, and every run of the study nested in it.

Reads the study's folder: `study.json` (its id), `seeds/*.json` (where each run's record is), the report's files.
"""

from __future__ import annotations

import csv
import hashlib
import json
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from seedbed import Refused, notes
from seedbed.run.record import RUNNING, Record
from seedbed.tracking.fetching import fetch
from seedbed.tracking.runs import LONGEST_PARAM, METRICS_A_BATCH, Nested, allowed, push
from seedbed.tracking.store import experiment_id_of, is_there, settle, store_lock, warm

SHOWN_AFTER = 2.0  # seconds; a run that is over sooner is sent once, when it is
NOT_TELLING = ("study.", "tracking", "runs=", "hydra", "checkpoint.", "-")  # words that don't say what is trained
REPORT = ("*.md", "*.csv", "*.png")


class Folder:
    """A study's folder, with what `notes` needs of a record: a place, an id, a status."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = json.loads((path / "study.json").read_text())
        self.id = str(self.content["id"])

    @property
    def status(self) -> str:
        """A hash of the report: what has been sent is complete if it is of this one."""
        whole = hashlib.sha256()
        for file in self.report():
            whole.update(file.read_bytes())
        return whole.hexdigest()

    def report(self) -> list[Path]:
        return sorted(path for kind in REPORT for path in self.path.glob(kind))

    def seeds(self) -> list[dict[str, Any]]:
        found = []
        for file in sorted((self.path / "seeds").glob("[0-9]*.json")):
            with suppress(OSError, ValueError):
                found.append(json.loads(file.read_text()))
        return found


def follow_studies(lines: IO[str], uri: str, experiment: str, every: float = 0.3) -> None:
    """Send studies as they grow. A line is a JSON object: {"study": folder, "models": bool, "masters": […], "fetch": bool} when one
    begins, {"report": folder} when its report is written; the end of the lines is the end of the command."""
    with suppress(Exception):  # `push` meets it again, and notes it
        warm(uri, experiment)
    told: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in lines:
            told.put(line)
        told.put(None)

    threading.Thread(target=read, daemon=True).start()
    sender, over = _Sender(uri, experiment), False
    while not over or sender.waiting or sender.reports:
        try:
            line = told.get(timeout=every)
        except queue.Empty:
            line = ""
        if line is None:
            over = True
        elif line:
            sender.hear(json.loads(line))
        sender.send(over)
        if over and sender.failures > 1:
            return


class _Sender:
    """What is still to be sent of the studies that it has heard of."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri, self.experiment = uri, experiment
        self.studies: dict[Path, Any] = {}
        self.parents: dict[Path, Nested] = {}
        self.reports: list[Path] = []
        self.reported: set[Path] = set()
        self.sent: set[tuple[str, str]] = set()  # record ids with the status that they were sent with
        self.first_seen: dict[str, float] = {}
        self.waiting, self.failures = False, 0

    def hear(self, told: Mapping[str, Any]) -> None:
        if "report" in told:
            self.reports.append(Path(told["report"]))
            return
        path = Path(told["study"])
        self.studies[path] = told
        if told.get("fetch"):
            try:
                fetched = fetch(path, told["masters"], self.uri, self.experiment)
                (path / "fetched.json").write_text(json.dumps({"call": told["call"], "keys": fetched}))
            except Exception as error:  # whatever a server can do: what isn't found is trained
                (path / "fetched.json").write_text(json.dumps({"call": told["call"], "error": notes.reason(error, self.uri)}))

    def send(self, over: bool) -> None:
        """Send what is new; at the end (`over`) all of it, also what nobody trains any more."""
        self.waiting = False
        try:
            for path, told in self.studies.items():
                self._send_study(path, told, over)
            while self.reports:
                push_study(Folder(self.reports[0]), self.uri, self.experiment)
                self.reported.add(self.reports.pop(0))
            if over:
                for path in [path for path in self.parents if path not in self.reported]:
                    _stopped(Folder(path), self.uri)
            self.failures = 0
        except Exception as error:  # whatever a server can do; `sync` sends it later
            self.failures += 1
            self.waiting = True
            for path in self.studies:
                with suppress(OSError):
                    notes.note(Folder(path), self.uri, error=notes.reason(error, self.uri))
            time.sleep(min(2.0**self.failures, 30) if not over else 1)

    def _send_study(self, path: Path, told: Mapping[str, Any], over: bool) -> None:
        if path not in self.parents:
            run_id = push_study(Folder(path), self.uri, self.experiment, running=True)
            self.parents[path] = Nested(run_id, bool(told.get("models")))
        for noted in Folder(path).seeds():
            if noted.get("call") != told["call"] or not noted.get("record"):
                continue
            try:
                record = Record.read(Path(noted["record"]))
            except Refused:  # being made anew
                continue
            seen = self.first_seen.setdefault(record.id, time.monotonic())
            running = record.status == RUNNING
            if (record.id, record.status) in self.sent and not (running and over):
                continue
            if not running and notes.is_complete(record, self.uri) and notes.state(record, self.uri).get("parent"):
                self.sent.add((record.id, record.status))
                continue
            if running and not over and time.monotonic() - seen < SHOWN_AFTER:
                continue
            push(record, self.uri, self.experiment, gone=running and over, nested=self.parents[path])
            if running:
                self.first_seen[record.id] = time.monotonic() + 3 * SHOWN_AFTER  # the next time a while later
            else:
                self.sent.add((record.id, record.status))


def push_study(study: Folder, uri: str, experiment: str, running: bool = False) -> str:
    """Make or find the parent run of a study, and bring its report up to date; returns MLflow's run id."""
    settle()
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    with store_lock(uri):
        client = MlflowClient(uri)
        sent: dict[str, Any] = notes.state(study, uri)
        run_id = sent.get("run_id")
        if run_id is None or not is_there(client, run_id):
            run_id, sent = _find_or_create(client, study, uri, experiment), {}
            content = study.content
            words = {"vary": content["vary"] or "all", "level": content["level"]}
            client.log_batch(run_id, params=[Param(name, str(value)) for name, value in words.items()])
            notes.note(study, uri, run_id=run_id, status=None, error=None)
        if running:
            client.update_run(run_id, status="RUNNING")
            return str(run_id)
        report = json.loads((study.path / "report.json").read_text())
        now = int(time.time() * 1000)
        if sent.get("status") != study.status:
            table = study.path / "summary.csv"
            rows = list(csv.DictReader(table.read_text().splitlines())) if table.exists() else []
            metrics = [
                Metric(allowed(f"{row['metric']}.{name}"), float(value), now, int(report["finished"]))
                for row in rows
                for name, value in row.items()
                if name not in ("metric", "interval") and value
            ]
            for start in range(0, len(metrics), METRICS_A_BATCH):
                client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_BATCH])
            note = (study.path / "summary.md").read_text()
            done = f"{report['finished']} of {report['asked']}"
            tags = {"mlflow.note.content": note, "seedbed.sentence": report["sentence"], "seedbed.finished": done}
            tags["seedbed.overrides"] = " ".join(study.content["overrides"])  # the last ones: a study may be asked for again
            client.log_batch(run_id, tags=[RunTag(name, value[:LONGEST_PARAM]) for name, value in tags.items()])
            with tempfile.TemporaryDirectory() as folder:
                for file in study.report():
                    shutil.copy(file, folder)
                client.log_artifacts(run_id, folder)
        client.set_terminated(run_id, "FINISHED" if report["finished"] == report["asked"] else "FAILED")
        notes.note(study, uri, run_id=run_id, status=study.status, error=None)
        return str(run_id)


def _stopped(study: Folder, uri: str) -> None:
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
    # two studies of one data set are told apart by what was asked for
    words = [word for word in study.content["overrides"] if not word.startswith(NOT_TELLING)] if verb == "repeat" else []
    name = f"{study.content['name']} study" + (f": {' '.join(words)}"[:200] if words else "")
    return str(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id)


def send_studies(runs: Path, uri: str, experiment: str | None) -> dict[str, str]:
    """Bring each study's parent run and its nested runs up to date; what went wrong, by the study's folder."""
    failed = {}
    for file in sorted((runs / "studies").glob("*/report.json")):
        try:
            study = Folder(file.parent)
            where = experiment or json.loads(file.read_text())["experiment"]
            if notes.state(study, uri).get("status") != study.status:
                push_study(study, uri, where)
            nested = Nested(str(notes.state(study, uri)["run_id"]), model=False)
            for record in _records(study):
                if not notes.state(record, uri).get("parent"):
                    push(record, uri, where, nested=nested)
        except Exception as error:  # whatever a server can do
            failed[file.parent.name] = notes.reason(error, uri)
    return failed


def _records(study: Folder) -> Iterable[Record]:
    for noted in study.seeds():
        if noted.get("record") and noted.get("status") != RUNNING:
            with suppress(Refused):
                yield Record.read(Path(noted["record"]))
