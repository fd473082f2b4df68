"""Records into MLflow. The record on disk is the truth and MLflow a view of it: whatever is missing there can be sent again.

The only module that imports mlflow. It reads records and never changes them; what it has sent is noted beside the record,
in `tracking.json`. `follow` runs in a process of its own, started before TensorFlow is imported, so that nobody waits for
MLflow's import and its first migration, and a server that is slow or gone costs a run no time.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

import yaml
from filelock import FileLock

from seedbed.run.record import FAILED, FINISHED, INTERRUPTED, RUNNING, Record, write_atomically

# A request that a server doesn't answer is given up after this; `seedbed sync` sends it later.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}

STATUS = {RUNNING: "RUNNING", FINISHED: "FINISHED", FAILED: "FAILED", INTERRUPTED: "KILLED"}
METRICS_A_BATCH = 900  # MLflow takes 1000 metrics, 100 parameters and 100 tags in one request
PARAMS_A_BATCH = 90
LONGEST_PARAM = 5000
MODEL = "model"


def address(uri: str) -> str:
    """`uri` as it may be shown and kept: without a password."""
    parts = urlsplit(uri)
    if not parts.password and not parts.username:
        return uri
    return urlunsplit(parts._replace(netloc=f"…@{parts.hostname}{f':{parts.port}' if parts.port else ''}"))


def state(record: Record, uri: str) -> dict[str, Any]:
    """What has been sent of a record to `uri`: run_id, epochs, status, error."""
    found: dict[str, Any] = _states(record).get(_name(uri), {})
    return found


def is_complete(record: Record, uri: str) -> bool:
    return state(record, uri).get("status") == record.status != RUNNING


def push(record: Record, uri: str, experiment: str, gone: bool = False) -> str:
    """Send what `uri` doesn't have of a record, and return MLflow's run id; twice is harmless.

    gone: nobody trains this record any more, although it says that it is running (the process was killed).
    Raises whatever MLflow raises; what was sent until then is noted or found again.
    """
    from mlflow import MlflowClient

    with FileLock(record.path / ".tracking.lock"), store_lock(uri):
        client = MlflowClient(uri)
        sent = state(record, uri)
        run_id = sent.get("run_id")
        if run_id is None or not _is_there(client, run_id):
            run_id, sent = _find_or_create(client, record, uri, experiment), {}
            _note(record, uri, run_id=run_id, epochs=0, status=None, error=None)
        elif record.status == RUNNING and sent.get("status") not in (None, "running"):
            client.update_run(run_id, status="RUNNING")  # a killed run goes on
        epochs = _log_epochs(client, record, run_id, min(sent.get("epochs") or 0, _resumed_at(record)))
        status = record.status
        if status != RUNNING:
            _log_end(client, record, run_id)
            client.set_terminated(run_id, STATUS[status], int(record.timing["ended"] * 1000))
        elif gone:
            status = "gone"
            client.set_terminated(run_id, "KILLED")
        _note(record, uri, run_id=run_id, epochs=epochs, status=status, error=None)
        return str(run_id)


def follow(lines: IO[str], uri: str, experiment: str, every: float = 1.0) -> None:
    """Read a record's path from `lines`, then send the record as it grows until it is over or its trainer is gone."""
    warm(uri, experiment)
    path = lines.readline().strip()
    if not path:
        return
    failures, trainer = 0, True
    while True:
        record = Record.read(Path(path))
        try:
            push(record, uri, experiment, gone=not trainer)
            failures = 0
        except Exception as error:  # whatever a server can do; the record is safe and `sync` sends it later
            failures += 1
            _note(record, uri, error=f"{type(error).__name__}: {error}"[:500])
        over = record.status != RUNNING or not trainer
        if over and (failures == 0 or failures > 1):
            return
        # the trainer holds the other end of `lines`: it can be read when the trainer ends, however it does
        if trainer and select.select([lines], [], [], 0.2 if over else min(every * 2**failures, 30))[0]:
            trainer = bool(lines.readline())
        elif not trainer:
            time.sleep(1)


def warm(uri: str, experiment: str) -> None:
    """Import MLflow, and make and migrate a local store, while the trainer imports TensorFlow."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    if _sqlite_file(uri):
        with store_lock(uri):
            _experiment_id(MlflowClient(uri), uri, experiment)


@contextmanager
def store_lock(uri: str) -> Iterator[None]:
    """One process at a time at a SQLite store: its first migration races (`duplicate column name`), and so do writers."""
    file = _sqlite_file(uri)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock") if file else nullcontext():
        yield


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.split("///", 1)[1].split("?")[0]) if uri.startswith("sqlite:///") else None


def _experiment_id(client: Any, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    file = _sqlite_file(uri)
    place = (file.parent / "artifacts").absolute().as_uri() if file else None
    try:
        return str(client.create_experiment(name, artifact_location=place))
    except MlflowException:  # another process made it in the meantime
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def _is_there(client: Any, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _find_or_create(client: Any, record: Record, uri: str, experiment: str) -> str:
    """The run of this record at `uri`: one that was made before a crash could note it, or a new one."""
    experiment_id = _experiment_id(client, uri, experiment)
    if found := client.search_runs([experiment_id], f"tags.`seedbed.record` = '{record.id}'", max_results=1):
        return str(found[0].info.run_id)
    tags = {
        "seedbed.record": record.id, "seedbed.key": record.key, "seedbed.level": record.level,
        "mlflow.source.name": "seedbed train", "mlflow.source.type": "LOCAL",
        "mlflow.note.content": f"`{record.path.name}` at level **{record.level}**, master seed {record.seeds['master']}.",
    }  # fmt: skip
    if commit := record.provenance["git"].get("commit"):
        tags["mlflow.source.git.commit"] = commit
    name = f"{record.name} {record.seeds['master']}"
    run = client.create_run(experiment_id, start_time=int(record.timing["started"] * 1000), tags=tags, run_name=name)
    _log_params(client, record, run.info.run_id)
    _log_data(client, record, run.info.run_id)
    return str(run.info.run_id)


def _log_params(client: Any, record: Record, run_id: str) -> None:
    from mlflow.entities import Param

    config = yaml.safe_load((record.path / "config.yaml").read_text())
    flat = {name: value for name, value in _flat(config) if not name.startswith(("tracking.", "runs", "force", "checkpoint."))}
    flat |= {f"seeds.{name}": value for name, value in record.seeds.items()}
    params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in {**flat, "key": record.key, "level": record.level}.items()]
    for start in range(0, len(params), PARAMS_A_BATCH):
        client.log_batch(run_id, params=params[start : start + PARAMS_A_BATCH])


def _flat(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, node


def _log_data(client: Any, record: Record, run_id: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    config = yaml.safe_load((record.path / "config.yaml").read_text())["data"]
    source = json.dumps(config["source"], default=str)
    digest = record.inputs["data"][:32] or "not-fingerprinted"
    data = Dataset(name=str(config["name"]), digest=digest, source_type="seedbed", source=source)
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])


def _resumed_at(record: Record) -> int:
    """Epochs from here on may have been trained again, with the same values: a killed run went on before them."""
    return min(record.content.get("resumed") or [1 << 62])


def _log_epochs(client: Any, record: Record, run_id: str, done: int) -> int:
    """Send the epochs after the first `done`; the same epoch sent twice is one row, as its time stamp is the record's."""
    from mlflow.entities import Metric

    rows = record.rows()
    metrics = [Metric(name, value, int(row["time"] * 1000), row["epoch"]) for row in rows[done:] for name, value in row["metrics"].items()]
    for start in range(0, len(metrics), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_BATCH])
    return len(rows)


def _log_end(client: Any, record: Record, run_id: str) -> None:
    """Final metrics, digests, error; the record, the learning curves and the model as artifacts."""
    from mlflow.entities import Metric, RunTag

    from seedbed import pictures

    ended = int(record.timing["ended"] * 1000)
    tags = [RunTag(f"digest.{name}", value) for name, value in (record.digests or {}).items()]
    tags += [RunTag("seedbed.status", record.status), RunTag("seedbed.engine", str(record.content.get("engine", "")))]
    if error := record.content.get("error"):
        tags.append(RunTag("seedbed.error", error[-LONGEST_PARAM:]))
    epochs = len(record.rows())
    metrics = [Metric(name, value, ended, epochs) for name, value in (record.metrics or {}).items()]
    client.log_batch(run_id, metrics=metrics, tags=tags)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("record.json", "config.yaml", "history.jsonl", "code.diff", "weights.npz"):
            if (record.path / name).exists():
                shutil.copy(record.path / name, folder)
        pictures.learning_curves(record, Path(folder) / "learning_curves.png")
        client.log_artifacts(run_id, folder, "record")
    if record.status == FINISHED and (record.path / "model.keras").exists():
        _log_model(client, record, run_id)


def _log_model(client: Any, record: Record, run_id: str) -> None:
    """The model in the layout of MLflow's `keras` flavor, so that `mlflow.keras.load_model` reads it.

    Written here and not by `mlflow.keras.log_model`, which imports Keras and loads the model to say what it needs; the
    lock says that. https://mlflow.org/docs/latest/ml/model/ (MLmodel format), mlflow.keras.save (flavor's entries).
    """
    from mlflow.models import Model

    packages = record.inputs["environment"]["packages"]
    known = client.get_run(run_id).outputs
    if known is not None and known.model_outputs:
        return
    logged = client.create_logged_model(client.get_run(run_id).info.experiment_id, name=MODEL, source_run_id=run_id,
                                        tags={"seedbed.key": record.key}, model_type="keras")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data").mkdir()
        (root / "data" / "keras_module.txt").write_text("keras")
        shutil.copy(record.path / "model.keras", root / "data" / "model.keras")
        (root / "requirements.txt").write_text("".join(f"{name}=={version}\n" for name, version in sorted(packages.items())))
        model = Model(run_id=run_id, model_id=logged.model_id, model_uuid=None)
        model.add_flavor("keras", data="data", keras_version=packages.get("keras"), keras_backend="tensorflow", save_exported_model=False)
        model.add_flavor("python_function", loader_module="mlflow.keras", python_version=record.inputs["environment"]["python"],
                         env={"virtualenv": "python_env.yaml"})  # fmt: skip
        python_env = {"python": record.inputs["environment"]["python"], "dependencies": ["-r requirements.txt"]}
        (root / "python_env.yaml").write_text(yaml.safe_dump(python_env))
        model.save(str(root / "MLmodel"))
        client.log_model_artifacts(logged.model_id, folder)
    client.finalize_logged_model(logged.model_id, "READY")
    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])


def _states(record: Record) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((record.path / "tracking.json").read_text())
        return found
    except (OSError, ValueError):
        return {}


def _name(uri: str) -> str:
    """A store's name in tracking.json: its address without a password, and a hash where that leaves something out."""
    shown = address(uri)
    return shown if shown == uri else f"{shown}#{hashlib.sha256(uri.encode()).hexdigest()[:12]}"


def _note(record: Record, uri: str, **values: Any) -> None:
    states = _states(record)
    states.setdefault(_name(uri), {}).update(values)
    write_atomically(record.path / "tracking.json", json.dumps(states, indent=1))
