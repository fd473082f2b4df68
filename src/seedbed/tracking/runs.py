"""One record into MLflow, or what is missing of it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from seedbed import Refused, notes
from seedbed.run import json_text, plain_files, scratch
from seedbed.run.plain_text import harmless
from seedbed.run.record import FAILED, FINISHED, INTERRUPTED, RUNNING, Record, is_held
from seedbed.tracking import descriptions, fetching, models, names, views
from seedbed.tracking.fetching import FILES, MODEL
from seedbed.tracking.names import allowed
from seedbed.tracking.store import answers, check_artifacts, experiment_id_of, is_there, settle, store_lock

STATUS = {RUNNING: "RUNNING", FINISHED: "FINISHED", FAILED: "FAILED", INTERRUPTED: "KILLED"}
METRICS_A_BATCH = 900  # MLflow takes 1000 metrics, 100 parameters and 100 tags in one request
PARAMS_A_BATCH = 90
TAGS_A_BATCH = 90
LONGEST_PARAM = 5000


@dataclass(frozen=True)
class Nested:
    """A run that belongs to a study. parent: the MLflow run of the study. model: whether its model is sent, too. name: its own."""

    parent: str
    model: bool
    name: str


def push(record: Record, uri: str, experiment: str, gone: bool = False, nested: Nested | None = None) -> str:
    """Send what `uri` doesn't have of a record, and return MLflow's run id; twice is harmless.

    nested: the study that the record belongs to; its curves are in the study's pictures, and not drawn one by one.
    gone: nobody trains this record any more, although it says that it is running (the process was killed).
    Raises whatever MLflow raises; what was sent until then is noted or found again.
    """
    settle()
    from mlflow import MlflowClient

    with FileLock(record.path / ".tracking.lock"), store_lock(uri):
        record = Record.kept(record.path)  # it may have ended, and been sent, since the caller read it
        client = MlflowClient(uri)
        sent = notes.state(record, uri)
        run_id = sent.get("run_id")
        _check_files(record)
        if run_id is None or not is_there(client, run_id, of={"seedbed.record": record.id, "seedbed.key": record.key}):
            run_id, sent = _find_or_create(client, record, uri, experiment), {"most": 1 << 62}
            _log_params(client, record, run_id)  # also where it was found: who made it may have died right after that
            _log_data(client, record, run_id)
            _log_labels(client, record, run_id, nested)
            notes.note(record, uri, run_id=run_id, epochs=0, most=sent["most"], resumed=0, status=None, error=None)
        if record.status == RUNNING and not gone and sent.get("status") != RUNNING:
            client.update_run(run_id, status="RUNNING")  # a killed run goes on
        parent = sent.get("parent")
        if nested and parent is None:
            client.set_tag(run_id, "mlflow.parentRunId", nested.parent)
            parent = nested.parent
            if notes.is_complete(record, uri):  # trained, and sent, before the study had it
                _log_labels(client, record, run_id, nested)
                notes.note(record, uri, parent=parent)
                return str(run_id)
        epochs = _log_epochs(client, record, run_id, sent)
        status = record.status
        if status != RUNNING:
            check_artifacts(uri, str(client.get_run(run_id).info.artifact_uri))
            _log_end(client, record, run_id, nested)
            client.set_terminated(run_id, STATUS[status], int(record.timing["ended"] * 1000))
        elif gone:
            status = "gone"
            client.set_terminated(run_id, "KILLED")
        notes.note(record, uri, run_id=run_id, **epochs, status=status, error=None, parent=parent)
        return str(run_id)


def send(
    found: Sequence[Record], runs: Path, places: Callable[[Record], list[str]], experiment: str | None
) -> tuple[list[str], dict[str, str]]:
    """Push what is missing of each record to each of its places: (keys that were sent, what went wrong by key).

    experiment: in MLflow; None: the one that each record's config names. A store that doesn't answer is asked once. What a store
    has of a finished record is compared by hash, and sent again where it is another.
    """
    sent: dict[str, None] = {}
    failed, silent = {}, set()
    for record in found:
        for uri in places(record):
            try:
                if uri in silent or (notes.is_complete(record, uri) and not is_lost(record, uri) and not _is_damaged(record, uri)):
                    continue
                gone = not is_held(runs, record.key)
                push(record, uri, experiment or record.config()["tracking"]["experiment"], gone=gone)
                sent[record.key] = None
            except Exception as error:  # whatever a server can do
                failed[record.key] = notes.reason(error, uri)
                if not answers(uri):
                    silent.add(uri)
    return list(sent), failed


def is_lost(record: Record, uri: str) -> bool:
    """Whether `uri` has never heard of the run that was sent there: another store, or a new one. Not: deleted in MLflow."""
    from mlflow import MlflowClient

    run_id = notes.state(record, uri).get("run_id")
    with store_lock(uri):
        return run_id is None or not is_there(MlflowClient(uri), run_id, ("active", "deleted"))


def _is_damaged(record: Record, uri: str) -> bool:
    """Whether `uri` has a finished record's files with other bytes than they have here, or lacks any."""
    if record.status != FINISHED:
        return False
    sent = notes.state(record, uri)
    with store_lock(uri):
        return bool(fetching.differing(record, uri, str(sent["run_id"]), model=sent.get("parent") is None))


def _check_files(record: Record) -> None:
    """Raise Refused if any of a record's files that MLflow gets is no plain file: a link leads to what nobody wants to send."""
    for name in (*FILES, MODEL):
        path = record.path / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise Refused(f"{harmless(path)} is no plain file, and a record holds plain files alone: nothing of it was sent.")


def _find_or_create(client: Any, record: Record, uri: str, experiment: str) -> str:
    """The run of this record at `uri`: one that was made before a crash could note it, or a new one.

    Its key counts as well as its id, which a record from elsewhere may have taken from another one.
    """
    experiment_id = experiment_id_of(client, uri, experiment)
    wanted = f"tags.`seedbed.record` = '{record.id}' and tags.`seedbed.key` = '{record.key}'"
    if found := client.search_runs([experiment_id], wanted, max_results=1):
        return str(found[0].info.run_id)
    tags = {
        "seedbed.record": record.id, "seedbed.key": record.key, "seedbed.level": record.level,
        "seedbed.study": str(record.content.get("study")),
        "mlflow.source.name": "seedbed train", "mlflow.source.type": "LOCAL",
    }  # fmt: skip
    if commit := record.provenance["git"].get("commit"):
        tags["mlflow.source.git.commit"] = commit
    run = client.create_run(
        experiment_id, start_time=int(record.timing["started"] * 1000), tags=tags, run_name=descriptions.run_name(record)
    )
    return str(run.info.run_id)


def _log_labels(client: Any, record: Record, run_id: str, nested: Nested | None) -> str:
    """Name and description; returns the experiment. A name that a run was given by a study stays with it."""
    from mlflow.entities import RunTag

    run = client.get_run(run_id)
    tags = run.data.tags
    name = nested.name if nested else tags[descriptions.NAME] if "mlflow.parentRunId" in tags else descriptions.run_name(record)
    wanted = descriptions.labels(tags, name, descriptions.of_run(record, run_id))
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in wanted.items() if tags.get(key) != value])
    return str(run.info.experiment_id)


def _log_params(client: Any, record: Record, run_id: str) -> None:
    from mlflow.entities import Param

    config = record.config()
    flat = {f"seeds.{name}": value for name, value in record.seeds.items()} | {"key": record.key, "level": record.level}
    drawn = frozenset(flat) - {"key", "level"}  # what the config says of these are wishes
    for keys, value in _flat(config):
        name = ".".join(map(str, keys))
        if name in drawn or name.startswith(("tracking.", "runs", "force", "checkpoint.")):
            continue
        flat[name if name not in flat else ".".join(map(repr, keys))] = value  # {a.b: 1, a: {b: 2}} are two
    params = [Param(allowed(name), str(value)[:LONGEST_PARAM]) for name, value in flat.items()]
    for start in range(0, len(params), PARAMS_A_BATCH):
        client.log_batch(run_id, params=params[start : start + PARAMS_A_BATCH])
    log_names(client, run_id, flat)


def log_names(client: Any, run_id: str, meant: Iterable[str]) -> None:
    """Tag the run with the names that are meant where MLflow's are others."""
    from mlflow.entities import RunTag

    tags = [RunTag(name, value) for name, value in names.tags(meant).items()]
    for start in range(0, len(tags), TAGS_A_BATCH):
        client.log_batch(run_id, tags=tags[start : start + TAGS_A_BATCH])


def _flat(node: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, (*keys, key))
    else:
        yield keys, node


def _log_data(client: Any, record: Record, run_id: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    config = record.config()["data"]
    source = json_text.dumps(config["source"], default=str)
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
        Metric(allowed(name), value, int(row["time"] * 1000), row["epoch"]) for row in rows[done:] for name, value in row["metrics"].items()
    ]
    most = sent.get("most") or 0
    if metrics and done < most:
        there = {name: client.get_metric_history(run_id, name) for name in {metric.key for metric in metrics}}
        known = {(name, point.step, repr(point.value)) for name, points in there.items() for point in points}
        metrics = [metric for metric in metrics if (metric.key, metric.step, repr(metric.value)) not in known]
        most = max((step + 1 for _, step, _ in known), default=0)
    for start in range(0, len(metrics), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_BATCH])
    log_names(client, run_id, sorted({name for row in rows[done:] for name in row["metrics"]}))
    return {"epochs": len(rows), "most": max(most, len(rows)), "resumed": len(resumed)}


def _log_end(client: Any, record: Record, run_id: str, nested: Nested | None) -> None:
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
    metrics = [Metric(allowed(name), value, ended, epochs) for name, value in (record.metrics or {}).items()]
    client.log_batch(run_id, metrics=metrics, tags=tags)
    log_names(client, run_id, record.metrics or {})
    experiment_id = _log_labels(client, record, run_id, nested)
    if nested is None:
        seeds = [name for name in views.FIRST if name in record.seeds]
        views.widen(client, experiment_id, views.columns(seeds, (metric.key for metric in metrics)))
    with scratch.folder("sending") as folder:
        surplus = record.surplus()
        # that of a fetched copy says so: its origin would send its own again, and so on
        kept = "fetched" in record.content and any(item.path == "record/record.json" for item in client.list_artifacts(run_id, "record"))
        for name in (name for name in FILES if name not in surplus and not (kept and name == "record.json")):
            with suppress(FileNotFoundError):
                plain_files.copy(record.path / name, Path(folder) / name)
        if nested is None:
            pictures.learning_curves(record, Path(folder) / "learning_curves.png")
        client.log_artifacts(run_id, str(folder), "record")
    if record.status == FINISHED and (nested is None or nested.model) and MODEL not in surplus and (record.path / MODEL).exists():
        models.log(client, record, run_id)
