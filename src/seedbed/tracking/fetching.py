"""Finished runs back from MLflow: what another machine has trained needn't be trained here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seedbed import Refused, notes
from seedbed.run import claims, plain_files, scratch
from seedbed.run.plain_text import harmless
from seedbed.run.record import FINISHED
from seedbed.tracking import limits
from seedbed.tracking.store import answering, check_artifacts, experiment_id_of, settle, sqlite_file

BRINGS = 600.0  # seconds for all that is asked about one record, or for the search of a study's; the files have their own limits
LARGEST_STUDY = 20_000_000  # bytes of study.json
PAGES = 1000  # of 500 runs; a server may say of every page that another follows
MODEL = "model.keras"
# What MLflow gets of a record's folder, besides the model.
FILES = ("record.json", "config.yaml", "history.jsonl", "code.diff", "rows.npz", "weights.npz")


def fetch(folder: Path, masters: Iterable[int], uri: str, experiment: str) -> list[str]:
    """Bring the finished records of the study in `folder` that are at `uri` and not on this disk; their keys.

    Whether one is what is asked for is decided by its key, when that is known. A record from a server is data, of which
    nothing is run; one whose key or digests don't belong to its contents is left there.
    """
    settle()
    from mlflow import MlflowClient

    study = json.loads(plain_files.read(folder / "study.json", LARGEST_STUDY) or b"")
    wanted, runs, token = {str(master) for master in masters}, folder.parents[1], None
    query = f"tags.`seedbed.study` = '{study['study']}' and tags.`seedbed.status` = '{FINISHED}'"
    brought: list[str] = []
    with answering(uri, "say which runs it has", BRINGS):
        client = MlflowClient(uri)
        experiment_id = experiment_id_of(client, uri, experiment)
        for _ in range(PAGES):
            page = client.search_runs([experiment_id], query, max_results=500, page_token=token)
            for run in page:
                key = str(run.data.tags.get("seedbed.key", ""))
                mine = study["vary"] is not None or run.data.params.get("seeds.master") in wanted
                here = claims.SHA256.fullmatch(key) is None or (runs / key / "record.json").exists()
                if mine and not here and _bring(client, run, runs, uri):
                    brought.append(key)
            token = page.token
            if not token:
                break
    return brought


def _bring(client: Any, run: Any, runs: Path, uri: str) -> bool:
    """One record from the server into `runs`, if it is whole and is what it says; false if not."""
    key = run.data.tags["seedbed.key"]
    with scratch.folder("fetch", Path(runs)) as folder:
        try:
            record = claims.checked(_downloaded(client, run, Path(folder)))
        except Exception as error:  # whatever a server can do: its seed is trained
            if limits.ended(error):  # it would be so for the others, too
                raise
            return False
        if record.key != key:
            return False
        record.update(fetched={"from": notes.address(uri), "run_id": run.info.run_id})
        epochs = len(record.rows())
        resumed = len(record.content.get("resumed") or [])
        values = {"run_id": run.info.run_id, "epochs": epochs, "most": epochs, "resumed": resumed, "status": FINISHED, "error": None}
        notes.note(record, uri, **values)
        with suppress(OSError):  # somebody trains it meanwhile
            record.path.rename(runs / key)
            return True
        return False


def _downloaded(client: Any, run: Any, folder: Path) -> Path:
    """The record's files from the server, and no others, in a folder below `folder`; raises Refused for one that is too large."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = client.tracking_uri
    check_artifacts(uri, str(run.info.artifact_uri))
    files = get_artifact_repository(run.info.artifact_uri, tracking_uri=uri)
    there = {item.path: item for item in files.list_artifacts("record")}
    fresh = folder / "fresh"
    fresh.mkdir()
    for name, largest in claims.FILES.items():
        found = there.get(f"record/{name}")
        if found is None:
            continue
        if found.is_dir:
            raise Refused(f"{name} of the MLflow run {harmless(run.info.run_id)} is a folder, and a record holds plain files alone.")
        if (found.file_size or 0) > largest:
            raise Refused(f"{name} of the MLflow run {harmless(run.info.run_id)} has {found.file_size:,} bytes; a record's has "
                          f"{largest:,} at most.")  # fmt: skip
        # this file alone: `download_artifacts` would ask what is below it, and take all that a server says there is
        with limits.asking(uri, BRINGS, largest):
            files._download_file(f"record/{name}", str(fresh / name))
    return fresh


def differing(record: Any, uri: str, run_id: str, model: bool) -> list[str]:
    """The files of a finished record that `uri` has not, or has with other bytes; a file of the right size is downloaded and hashed.

    A copy that was fetched has a record.json of its own, which says so: that of its origin stays. model: whether its model must be
    there; one that is there is compared in any case. Raises what MLflow's client raises; Refused for an answer that is none.
    """
    settle()
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    run = client.get_run(run_id)
    mine = {name: kept for name, kept in record.files().items() if (record.path / name).exists()}
    if "fetched" in record.content:
        del mine["record.json"]
    found = _unlike(uri, str(run.info.artifact_uri), "record", {name: mine[name] for name in FILES if name in mine})
    if MODEL in mine and (has_model(run) or model) and is_other_model(client, run, mine[MODEL]):
        found.append(MODEL)
    return found


def has_model(run: Any) -> bool:
    """Whether a model of this MLflow run was sent; it may have been deleted since."""
    return run.outputs is not None and bool(run.outputs.model_outputs)


def is_other_model(client: Any, run: Any, kept: tuple[str, int]) -> bool:
    """Whether MLflow lacks the model of a run, or has it with other bytes than `kept` (sha256, size). Not: deleted in MLflow."""
    from mlflow.exceptions import MlflowException

    if not has_model(run):
        return True
    try:
        logged = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return bool(_unlike(client.tracking_uri, str(logged.artifact_location), "data", {MODEL: kept}))


def _unlike(uri: str, location: str, at: str, wanted: Mapping[str, tuple[str, int]]) -> list[str]:
    """Which of `wanted`, (sha256, size) by name, the folder `at` of the artifacts at `location` has not, or has with other bytes."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    check_artifacts(uri, location)
    files = get_artifact_repository(location, tracking_uri=uri)
    there = {item.path: item for item in files.list_artifacts(at)} if wanted else {}
    found = []
    with scratch.folder("comparing") as folder:
        for name, (sha256, size) in wanted.items():
            item, path = there.get(f"{at}/{name}"), Path(folder) / name
            if item is None or item.is_dir or item.file_size not in (None, size):
                found.append(name)
                continue
            with limits.asking(uri, BRINGS + size / limits.SLOWEST, size):
                files._download_file(item.path, str(path))
            if _hash(path) != sha256:
                found.append(name)
            path.unlink(missing_ok=True)
    return found


def _hash(path: Path) -> str | None:
    with suppress(FileNotFoundError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def bring(run_id: str, uri: str, folder: Path) -> Path:
    """The record of one MLflow run at `uri`, brought into a folder below `folder` and checked (`claims.checked`); its path.

    Raises Refused if there is no such run, or if it holds no whole record.
    """
    settle()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    shown = notes.address(uri)
    if (file := sqlite_file(uri)) is not None and not file.exists():  # MLflow would make one
        raise Refused(f"There is no MLflow store at {shown}. Say another: --uri URI, or MLFLOW_TRACKING_URI.")
    with answering(uri, f"give the run {run_id}", BRINGS):
        client = MlflowClient(uri)
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise Refused(f"There is no MLflow run {run_id} at {shown}. Say another server: --uri URI, or MLFLOW_TRACKING_URI.") from None
        if "seedbed.key" not in run.data.tags:
            raise Refused(f"The MLflow run {run_id} at {shown} is not the run of a record (no tag seedbed.key).")
        fresh = _downloaded(client, run, folder)
    if not (fresh / "record.json").exists():
        raise Refused(f"The MLflow run {run_id} at {shown} holds no record: it has not ended, or was not sent whole (`seedbed sync`).")
    record = claims.checked(fresh)
    if record.key != run.data.tags["seedbed.key"]:
        raise Refused(f"The MLflow run {run_id} at {shown} holds the record of another key than the one that it names.")
    return fresh
