"""Studies into MLflow as they grow, or what is missing of them there: a parent run each, and every run of the study nested in it."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from seedbed import Refused, notes
from seedbed.run import json_text, plain_files
from seedbed.run.record import RUNNING, Record
from seedbed.tracking.fetching import fetch
from seedbed.tracking.parents import LARGEST, Folder, push_study, stopped
from seedbed.tracking.runs import Nested, push
from seedbed.tracking.store import warm

SHOWN_AFTER = 2.0  # seconds; a run that is over sooner is sent once, when it is


def follow_studies(lines: IO[str], uri: str, experiment: str, every: float = 0.3) -> bool:
    """Send studies as they grow; return whether all of them were sent.

    A line is a JSON object, and the end of the lines is the end of the command.

    When a study begins: {"study": folder, "call": …, "models": bool, "masters": […], "fetch": bool, "side": what it is called
    where several are compared, or ""}. When its report is written: {"report": folder}.
    """
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
            sender.hear(json_text.loads(line))
        sender.send(over)
        if over and sender.failures > 1:
            return False
    return True


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
                (path / "fetched.json").write_text(json_text.dumps({"call": told["call"], "keys": fetched}))
            except Exception as error:  # whatever a server can do: what isn't found is trained
                (path / "fetched.json").write_text(json_text.dumps({"call": told["call"], "error": notes.reason(error, self.uri)}))

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
                    stopped(Folder(path), self.uri)
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
            run_id = push_study(Folder(path), self.uri, self.experiment, begun=len(told["masters"]))
            self.parents[path] = Nested(run_id, bool(told.get("models")), "")
        study = Folder(path)
        for noted in study.seeds():
            if noted.get("call") != told["call"] or not noted.get("record"):
                continue
            try:
                record = Record.kept(Path(noted["record"]))
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
            nested = replace(self.parents[path], name=study.run_name(noted, told.get("side", "")))
            push(record, self.uri, self.experiment, gone=running and over, nested=nested)
            if running:
                self.first_seen[record.id] = time.monotonic() + 3 * SHOWN_AFTER  # the next time a while later
            else:
                self.sent.add((record.id, record.status))


def send_studies(runs: Path, uri: str, experiment: str | None) -> dict[str, str]:
    """Bring each study's parent run and its nested runs up to date; what went wrong, by the study's folder."""
    failed: dict[str, str] = {}
    found = []
    for file in sorted((runs / "studies").glob("*/report.json")):
        try:
            found.append(Folder(file.parent))
        except Exception as error:  # a folder from elsewhere
            failed[file.parent.name] = notes.reason(error, uri)
    sides = {part: name for study in found if study.content.get("verb") == "compare" for name, part in study.parts().items()}
    for study in sorted(found, key=lambda study: bool(study.parts())):  # first those that others are made of
        try:
            where = experiment or str(json.loads(plain_files.read(study.path / "report.json", LARGEST) or b"")["experiment"])
            if notes.state(study, uri).get("status") != study.status:
                push_study(study, uri, where)
            parent = Nested(str(notes.state(study, uri)["run_id"]), model=False, name="")
            for noted, record in _records(study, runs):
                if not notes.state(record, uri).get("parent"):
                    push(record, uri, where, nested=replace(parent, name=study.run_name(noted, sides.get(study.path.name, ""))))
        except Exception as error:  # whatever a server can do
            failed[study.path.name] = notes.reason(error, uri)
    return failed


def surplus(runs: Path) -> dict[str, list[str]]:
    """What lies in the studies' folders and is not of a study, by the folder's name: it is not sent."""
    found = {}
    for file in sorted((runs / "studies").glob("*/report.json")):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError, Refused):  # `send_studies` says so
            if names := Folder(file.parent).surplus():
                found[file.parent.name] = names
    return found


def _records(study: Folder, runs: Path) -> Iterable[tuple[dict[str, Any], Record]]:
    """The study's records that are among `runs`: a folder from elsewhere may name any other."""
    for noted in study.seeds():
        if noted.get("record") and noted.get("status") != RUNNING:
            path = Path(str(noted["record"]))
            if path.resolve().is_relative_to(runs.resolve()):
                with suppress(Refused):
                    yield noted, Record.kept(path)
