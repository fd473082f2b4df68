"""Finished runs back from MLflow: what another machine has trained needn't be trained here."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from seedbed import Refused, notes
from seedbed.run import digest
from seedbed.run.record import FINISHED, Record, key_of
from seedbed.tracking.store import experiment_id_of, settle

RECORD_FILES = ("record.json", "config.yaml", "history.jsonl", "code.diff")
LARGEST_FILE = 100_000_000  # bytes


def fetch(folder: Path, masters: Iterable[int], uri: str, experiment: str) -> list[str]:
    """Bring the finished records of the study in `folder` that are at `uri` and not on this disk; their keys.

    Whether one is what is asked for is decided by its key, when that is known. A record from a server is data, of which
    nothing is run; one whose key or digests don't belong to its contents is left there.
    """
    settle()
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment_id, study = experiment_id_of(client, uri, experiment), json.loads((folder / "study.json").read_text())
    wanted, runs, token = {str(master) for master in masters}, folder.parents[1], None
    brought: list[str] = []
    while True:
        query = f"tags.`seedbed.study` = '{study['study']}' and tags.`seedbed.status` = '{FINISHED}'"
        page = client.search_runs([experiment_id], query, max_results=500, page_token=token)
        for run in page:
            key = run.data.tags.get("seedbed.key", "")
            mine = study["vary"] is not None or run.data.params.get("seeds.master") in wanted
            if mine and len(key) == 64 and key.isalnum() and not (runs / key / "record.json").exists() and _bring(client, run, runs, uri):
                brought.append(key)
        token = page.token
        if not token:
            return brought


def _bring(client: Any, run: Any, runs: Path, uri: str) -> bool:
    """One record from the server into `runs`, if it is whole and is what it says; false if not."""
    key = run.data.tags["seedbed.key"]
    with tempfile.TemporaryDirectory(dir=runs, prefix=".fetch-") as folder:
        names = {Path(item.path).name: item for item in client.list_artifacts(run.info.run_id, "record")}
        fresh = Path(folder) / "fresh"
        fresh.mkdir()
        for name in RECORD_FILES:
            if name in names and (names[name].file_size or 0) <= LARGEST_FILE:
                shutil.copy(client.download_artifacts(run.info.run_id, f"record/{name}", folder), fresh / name)
        try:
            record = Record.read(fresh)
            whole = (
                record.key == key == key_of(record.inputs)
                and record.status == FINISHED
                and digest.combined(record.digests) == record.digests["run"]
                and digest.history(record.history()) == record.digests["history"]
                and isinstance(record.config(), dict)
            )
        except (Refused, OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        if not whole:
            return False
        record.update(fetched={"from": notes.address(uri), "run_id": run.info.run_id})
        epochs = len(record.rows())
        resumed = len(record.content.get("resumed") or [])
        values = {"run_id": run.info.run_id, "epochs": epochs, "most": epochs, "resumed": resumed, "status": FINISHED, "error": None}
        notes.note(record, uri, **values)
        with suppress(OSError):  # somebody trains it meanwhile
            fresh.rename(runs / key)
            return True
        return False
