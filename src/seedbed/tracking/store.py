"""Stores that MLflow keeps runs in: an address, a SQLite file that is made once, a lock for its one writer, a server's limits."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from seedbed import Refused, notes
from seedbed.run.plain_text import harmless
from seedbed.tracking import limits, views

# A request that a server doesn't answer is given up after this; `seedbed sync` sends it later.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
# MLflow prints each run's address, password and all, on standard output, which is for --json.
QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
# A server could name any address for the parts of a large file, outside of the limits.
ALONE = {"MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false", "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false"}
LONGEST = 3600.0  # seconds for all requests of one operation: a record with its model

# Where a server may say that a run's files are: with itself (`limits` sees to that), or at a provider that asks for an account.
# A folder would be one of this machine: the server would choose where its files are written, and read.
ARTIFACTS = ("mlflow-artifacts", "http", "https", "s3", "gs", "wasbs", "abfss")

KIND = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's page shows training runs first, and not prompts and traces


def settle() -> None:
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)
    os.environ.update(ALONE)
    limits.install()


def warm(uri: str, experiment: str) -> None:
    """Import MLflow, and make and migrate a local store, while the trainer imports TensorFlow."""
    settle()
    from mlflow import MlflowClient

    if file := sqlite_file(uri):
        with store_lock(uri):
            if not file.exists():
                # made under another name: a process that is killed in the migration would leave a store that nobody can open
                fresh = file.with_name(f".{file.name}.{os.getpid()}")
                try:
                    MlflowClient(f"sqlite:///{fresh}").search_experiments(max_results=1)
                    fresh.rename(file)
                finally:  # a disk that is full has half of it
                    fresh.unlink(missing_ok=True)
            experiment_id_of(MlflowClient(uri), uri, experiment)


@contextmanager
def store_lock(uri: str) -> Iterator[None]:
    """One process at a time at a SQLite store: its first migration races (`duplicate column name`), and so do writers.

    At a server, `limits` hold meanwhile.
    """
    file = sqlite_file(uri)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock") if file else nullcontext(), limits.asking(uri, LONGEST):
        yield


@contextmanager
def answering(uri: str, what: str, seconds: float) -> Iterator[None]:
    """Whatever goes wrong meanwhile with the store at `uri`: Refused, with `what` it did not do; `seconds` for all requests."""
    try:
        with limits.asking(uri, seconds):
            yield
    except Exception as error:  # whatever a store can do
        if isinstance(error, Refused) and not isinstance(error, limits.Limit):
            raise
        raise Refused(f"MLflow at {notes.address(uri)} did not {what}: {notes.reason(error, uri)}") from None


def check_artifacts(uri: str, location: str) -> None:
    """Raise Refused if a server names a place for files that no server may choose on this machine."""
    if limits.is_server(uri) and urlsplit(location).scheme not in ARTIFACTS:
        raise Refused(
            f"MLflow at {notes.address(uri)} wants a run's files at {harmless(location)}. It may not choose a folder here: "
            f"start it with --serve-artifacts, as docker/tracking-server does. Accepted: {', '.join(f'{one}:' for one in ARTIFACTS)}."
        )


def sqlite_file(uri: str) -> Path | None:
    return Path(uri.split("///", 1)[1].split("?")[0]) if uri.startswith("sqlite:///") else None


def experiment_id_of(client: Any, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return _active(found, uri)
    file = sqlite_file(uri)
    place = (file.parent / "artifacts").absolute().as_uri() if file else None
    try:
        return str(client.create_experiment(name, artifact_location=place, tags=KIND))
    except MlflowException:  # another process made it in the meantime
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return _active(found, uri)


def _active(experiment: Any, uri: str) -> str:
    """The experiment's id; raises Refused if it was deleted in MLflow, which then takes no run to it."""
    if experiment.lifecycle_stage == "active":
        return str(experiment.experiment_id)
    name, shown = harmless(experiment.name), notes.address(uri)
    mlflow = "mlflow" if "SEEDBED_IMAGE" in os.environ else ".venv/bin/mlflow"
    number = shlex.quote(harmless(experiment.experiment_id))
    restore = f"MLFLOW_TRACKING_URI={shlex.quote(shown)} {mlflow} experiments restore --experiment-id {number}"
    raise Refused(f"The experiment {name!r} was deleted in MLflow at {shown}. Restore it: `{restore}`, "
                  f"or say another: tracking.experiment=NAME. Nothing is lost; `seedbed sync` (or `seedbed sync --experiment NAME`) "
                  "sends the record then.")  # fmt: skip


def answers(uri: str) -> bool:
    """Whether there is a store at `uri` that takes requests."""
    from mlflow import MlflowClient

    try:
        with limits.asking(uri, LONGEST):
            MlflowClient(uri).search_experiments(max_results=1)
    except Exception:
        return False
    return True


def is_there(client: Any, run_id: str, stages: tuple[str, ...] = ("active",), of: Mapping[str, str] | None = None) -> bool:
    """Whether the store has this run. of: tags with the values that it must have; a note may name the run of another record."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
        return run.info.lifecycle_stage in stages and all(run.data.tags.get(tag) == value for tag, value in (of or {}).items())
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def pages(uri: str) -> list[tuple[str, str]]:
    """(experiment, address below the server's own of the table of its runs), the one that changed last first. Makes no store.

    Raises Refused if the store does not say.
    """
    settle()
    from mlflow import MlflowClient

    with store_lock(uri):  # makes the folder, too
        if (file := sqlite_file(uri)) is not None and not file.exists():
            return []
        with answering(uri, "say which experiments it has", LONGEST):
            found = MlflowClient(uri).search_experiments(order_by=["last_update_time DESC"])
            shared = {one.name: views.ALL if views.VIEW + views.ALL in one.tags else "" for one in found}
            tables = [(one.name, views.of_table(one.experiment_id, shared[one.name])) for one in found]
    return [(harmless(name), harmless(address)) for name, address in tables if name != "Default"]
