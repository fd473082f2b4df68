"""Stores that MLflow keeps runs in: an address, a SQLite file that is made once, a lock for its one writer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from seedbed.tracking import views

# A request that a server doesn't answer is given up after this; `seedbed sync` sends it later.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
# MLflow prints each run's address, password and all, on standard output, which is for --json.
QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}

KIND = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's page shows training runs first, and not prompts and traces


def settle() -> None:
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)


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
    """One process at a time at a SQLite store: its first migration races (`duplicate column name`), and so do writers."""
    file = sqlite_file(uri)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock") if file else nullcontext():
        yield


def sqlite_file(uri: str) -> Path | None:
    return Path(uri.split("///", 1)[1].split("?")[0]) if uri.startswith("sqlite:///") else None


def experiment_id_of(client: Any, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    file = sqlite_file(uri)
    place = (file.parent / "artifacts").absolute().as_uri() if file else None
    try:
        return str(client.create_experiment(name, artifact_location=place, tags=KIND))
    except MlflowException:  # another process made it in the meantime
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def answers(uri: str) -> bool:
    """Whether there is a store at `uri` that takes requests."""
    from mlflow import MlflowClient

    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except Exception:
        return False
    return True


def is_there(client: Any, run_id: str, stages: tuple[str, ...] = ("active",)) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage in stages
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def pages(uri: str) -> list[tuple[str, str]]:
    """(experiment, address below the server's own of the table of its runs), the one that changed last first. Makes no store."""
    settle()
    from mlflow import MlflowClient

    with store_lock(uri):  # makes the folder, too
        if (file := sqlite_file(uri)) is not None and not file.exists():
            return []
        found = MlflowClient(uri).search_experiments(order_by=["last_update_time DESC"])
    tables = [(one.name, views.of_table(one.experiment_id, views.ALL if views.VIEW + views.ALL in one.tags else "")) for one in found]
    return [(name, address) for name, address in tables if name != "Default"]
