"""Records into MLflow. The record on disk is the truth and MLflow a view of it: whatever is missing there can be sent again.

The only module that imports mlflow. It reads records and never changes them; what it has sent is noted beside the record,
in `tracking.json`. `follow` runs in a process of its own, started before TensorFlow is imported, so that nobody waits for
MLflow's import and its first migration, and a server that is slow or gone costs a run no time.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

import yaml
from filelock import FileLock

from seedbed import Refused, notes
from seedbed.run.record import FAILED, FINISHED, INTERRUPTED, RUNNING, Record, is_held

# A request that a server doesn't answer is given up after this; `seedbed sync` sends it later.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
# MLflow prints each run's address, password and all, on standard output, which is for --json.
QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}

STATUS = {RUNNING: "RUNNING", FINISHED: "FINISHED", FAILED: "FAILED", INTERRUPTED: "KILLED"}
METRICS_A_BATCH = 900  # MLflow takes 1000 metrics, 100 parameters and 100 tags in one request
PARAMS_A_BATCH = 90
LONGEST_PARAM = 5000
MODEL = "model"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's page shows training runs first, and not prompts and traces


def push(record: Record, uri: str, experiment: str, gone: bool = False) -> str:
    """Send what `uri` doesn't have of a record, and return MLflow's run id; twice is harmless.

    gone: nobody trains this record any more, although it says that it is running (the process was killed).
    Raises whatever MLflow raises; what was sent until then is noted or found again.
    """
    _settle()
    from mlflow import MlflowClient

    with FileLock(record.path / ".tracking.lock"), store_lock(uri):
        record = Record.read(record.path)  # it may have ended, and been sent, since the caller read it
        client = MlflowClient(uri)
        sent = notes.state(record, uri)
        run_id = sent.get("run_id")
        if run_id is None or not _is_there(client, run_id):
            run_id, sent = _find_or_create(client, record, uri, experiment), {"most": 1 << 62}
            _log_params(client, record, run_id)  # also where it was found: who made it may have died right after that
            _log_data(client, record, run_id)
            notes.note(record, uri, run_id=run_id, epochs=0, most=sent["most"], resumed=0, status=None, error=None)
        if record.status == RUNNING and not gone and sent.get("status") != RUNNING:
            client.update_run(run_id, status="RUNNING")  # a killed run goes on
        epochs = _log_epochs(client, record, run_id, sent)
        status = record.status
        if status != RUNNING:
            _log_end(client, record, run_id)
            client.set_terminated(run_id, STATUS[status], int(record.timing["ended"] * 1000))
        elif gone:
            status = "gone"
            client.set_terminated(run_id, "KILLED")
        notes.note(record, uri, run_id=run_id, **epochs, status=status, error=None)
        return str(run_id)


def send(
    found: Sequence[Record], runs: Path, places: Callable[[Record], list[str]], experiment: str | None
) -> tuple[list[str], dict[str, str]]:
    """Push what is missing of each record to each of its places: (keys that were sent, what went wrong by key).

    experiment: in MLflow; None: the one that each record's config names. A store that doesn't answer is asked once.
    """
    sent: dict[str, None] = {}
    failed, silent = {}, set()
    for record in found:
        for uri in places(record):
            try:
                if uri in silent or (notes.is_complete(record, uri) and not is_lost(record, uri)):
                    continue
                gone = not is_held(runs, record.key)
                push(record, uri, experiment or record.config()["tracking"]["experiment"], gone=gone)
                sent[record.key] = None
            except Exception as error:  # whatever a server can do
                failed[record.key] = notes.reason(error, uri)
                if not answers(uri):
                    silent.add(uri)
    return list(sent), failed


def follow(lines: IO[str], uri: str, experiment: str, every: float = 1.0) -> None:
    """Read a record's path from `lines`, then send the record as it grows until it is over or its trainer is gone."""
    with suppress(Exception):  # `push` meets it again, and notes it
        warm(uri, experiment)
    path = lines.readline().strip()
    if not path:
        return
    failures, trainer = 0, True
    while True:
        try:
            record = Record.read(Path(path))
        except Refused:  # removed, or being trained anew: who does that follows it
            return
        try:
            push(record, uri, experiment, gone=not trainer)
            failures = 0
        except Exception as error:  # whatever a server can do; the record is safe and `sync` sends it later
            failures += 1
            with suppress(OSError):  # a full disk
                notes.note(record, uri, error=notes.reason(error, uri))
        over = record.status != RUNNING or not trainer
        if over and (failures == 0 or failures > 1):
            return
        # the trainer holds the other end of `lines`: it can be read when the trainer ends, however it does
        if trainer and select.select([lines], [], [], 0.2 if over else min(every * 2 ** min(failures, 5), 30))[0]:
            trainer = bool(lines.readline())
        elif not trainer:
            time.sleep(1)


def _settle() -> None:
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)


def warm(uri: str, experiment: str) -> None:
    """Import MLflow, and make and migrate a local store, while the trainer imports TensorFlow."""
    _settle()
    from mlflow import MlflowClient

    if file := _sqlite_file(uri):
        with store_lock(uri):
            if not file.exists():
                # made under another name: a process that is killed in the migration would leave a store that nobody can open
                fresh = file.with_name(f".{file.name}.{os.getpid()}")
                MlflowClient(f"sqlite:///{fresh}").search_experiments(max_results=1)
                fresh.rename(file)
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
        return str(client.create_experiment(name, artifact_location=place, tags=KIND))
    except MlflowException:  # another process made it in the meantime
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def is_lost(record: Record, uri: str) -> bool:
    """Whether `uri` has never heard of the run that was sent there: another store, or a new one. Not: deleted in MLflow."""
    from mlflow import MlflowClient

    run_id = notes.state(record, uri).get("run_id")
    with store_lock(uri):
        return run_id is None or not _is_there(MlflowClient(uri), run_id, ("active", "deleted"))


def answers(uri: str) -> bool:
    """Whether there is a store at `uri` that takes requests."""
    from mlflow import MlflowClient

    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except Exception:
        return False
    return True


def _is_there(client: Any, run_id: str, stages: tuple[str, ...] = ("active",)) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage in stages
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
        "mlflow.note.content": f"`{record.key}` at level **{record.level}**, master seed {record.seeds['master']}.",
    }  # fmt: skip
    if commit := record.provenance["git"].get("commit"):
        tags["mlflow.source.git.commit"] = commit
    name = f"{record.name} {record.seeds['master']}"
    run = client.create_run(experiment_id, start_time=int(record.timing["started"] * 1000), tags=tags, run_name=name)
    return str(run.info.run_id)


def _log_params(client: Any, record: Record, run_id: str) -> None:
    from mlflow.entities import Param

    config = record.config()
    flat = {name: value for name, value in _flat(config) if not name.startswith(("tracking.", "runs", "force", "checkpoint."))}
    flat |= {f"seeds.{name}": value for name, value in record.seeds.items()}
    params = [
        Param(_allowed(name), str(value)[:LONGEST_PARAM]) for name, value in {**flat, "key": record.key, "level": record.level}.items()
    ]
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

    config = record.config()["data"]
    source = json.dumps(config["source"], default=str)
    digest = record.inputs["data"][:32] or "not-fingerprinted"
    data = Dataset(name=str(config["name"]), digest=digest, source_type="seedbed", source=source)
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])


def _log_epochs(client: Any, record: Record, run_id: str, sent: Mapping[str, Any]) -> dict[str, int]:
    """Send the epochs that aren't there yet; returns what is to be noted: epochs, most, resumed.

    epochs: how many of the record's epochs are there. most: how many ever were: a killed run goes on before them, and
    trains some again, usually with the same values; these are asked for and left out, so that each is one point of a curve.
    """
    from mlflow.entities import Metric

    rows, resumed = record.rows(), record.content.get("resumed") or []
    done = min([sent.get("epochs") or 0, *resumed[sent.get("resumed") or 0 :]])
    metrics = [
        Metric(_allowed(name), value, int(row["time"] * 1000), row["epoch"])
        for row in rows[done:]
        for name, value in row["metrics"].items()
    ]
    most = sent.get("most") or 0
    if metrics and done < most:
        there = {name: client.get_metric_history(run_id, name) for name in {metric.key for metric in metrics}}
        known = {(name, point.step, repr(point.value)) for name, points in there.items() for point in points}
        metrics = [metric for metric in metrics if (metric.key, metric.step, repr(metric.value)) not in known]
        most = max((step + 1 for _, step, _ in known), default=0)
    for start in range(0, len(metrics), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_BATCH])
    return {"epochs": len(rows), "most": max(most, len(rows)), "resumed": len(resumed)}


def _allowed(name: str) -> str:
    """A name for a metric or parameter that MLflow takes; Keras calls a metric after its function: `<lambda>`."""
    plain = re.sub(r"[^/\w.\- :]", "_", name)[:250]
    return plain if os.path.normpath(plain) == plain and not plain.startswith(("/", "..")) else plain.replace("/", "_")


def _log_end(client: Any, record: Record, run_id: str) -> None:
    """Final metrics, digests, error; the record, the learning curves and the model as artifacts."""
    from mlflow.entities import Metric, RunTag

    from seedbed import pictures

    ended = int(record.timing["ended"] * 1000)
    tags = [RunTag(f"digest.{name}", value) for name, value in (record.digests or {}).items()]
    tags += [RunTag("seedbed.status", record.status), RunTag("seedbed.engine", str(record.content.get("engine", "")))]
    if error := record.content.get("error"):
        tags.append(RunTag("seedbed.error", error[-LONGEST_PARAM:]))
    elif "seedbed.error" in client.get_run(run_id).data.tags:  # it was stopped, and went on
        client.delete_tag(run_id, "seedbed.error")
    epochs = len(record.rows())
    metrics = [Metric(_allowed(name), value, ended, epochs) for name, value in (record.metrics or {}).items()]
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
    run = client.get_run(run_id)
    if run.outputs is not None and run.outputs.model_outputs:
        return
    experiment_id = run.info.experiment_id
    begun = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'", max_results=1)  # and not sent whole
    logged = begun[0] if begun else client.create_logged_model(
        experiment_id, name=MODEL, source_run_id=run_id, tags={"seedbed.key": record.key}, model_type="keras")  # fmt: skip
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
