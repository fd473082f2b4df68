"""Evaluation of a trained model: its metrics and predictions on the held-out parts, and what could not be evaluated.

The weights are in the record by then. Where a part can't be evaluated (a train_step of its own and no loss, an error in the
user's test_step), the run finishes with the metrics of its last epoch, and the record says why in `evaluation`.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf
from omegaconf import DictConfig

from seedbed.run import data as data_sets
from seedbed.run import determinism, inputs, record, recorder
from seedbed.run.data import DataSet
from seedbed.run.record import Record
from seedbed.run.redaction import redacted
from seedbed.run.session import Shared

LONGEST = 300  # characters of a reason


def evaluated(
    shared: Shared, engine: str, config: DictConfig, data: DataSet, reload: Callable[[], DataSet]
) -> tuple[dict[str, float], Any, list[tuple[str, Exception]]]:
    """Evaluate a trained model.

    Args:
        shared: The model, and the engine that has trained it.
        engine: The engine's name; `loop` evaluates arrays itself.
        config: The run's.
        data: The data set, split.
        reload: Makes it again, for pipelines that a pass has moved on.

    Returns:
        Metrics on the held-out parts (`test_loss` and so on), or on the training part if there is none; predictions on the
        test part, else the validation part, else the training part; and what failed, each with its error. There are no
        metrics where those of a part failed.

    Raises:
        Exception: What concerns the run as a whole (see `concerns_the_run`), or any error of one of several workers.
    """
    parts = {name: part for name, part in data.parts().items() if name != "train"}
    if not parts:
        parts = {"train": reload().train if data_sets.is_ready_made(data.train) else data.train}
    batch = config.training.batch_size
    metrics: dict[str, float] = {}
    predictions: Any = []
    failures: list[tuple[str, Exception]] = []

    def tried(what: str, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except Exception as error:  # whatever a user's test_step or call raises
            # of several workers the others would wait for this one
            if concerns_the_run(error, config, data) or config.strategy.name == "multi_worker":
                raise
            failures.append((what, error))
            return None

    for name, part in parts.items():
        steps = config.training.steps_per_epoch if name == "train" and data_sets.is_ready_made(part) else None
        fast = engine == "loop" and data_sets.is_arrays(part)
        values = tried(f"metrics of the part {name}", partial(_metrics, shared, part, batch, steps, fast))
        if values is not None:
            flat = recorder.flat_logs(values)
            metrics.update({f"{name}_{metric}": float(value) for metric, value in flat.items()})
        if name == list(parts)[-1]:
            if name == "train" and data_sets.is_ready_made(part):
                part = reload().train  # evaluating moved it on
            found = tried(f"predictions of the part {name}", partial(_predictions, shared, part, batch, steps, fast))
            predictions = [] if found is None else found
    if any(what.startswith("metrics") for what, _ in failures):
        metrics = {}  # those of some parts beside an epoch's would be compared as if they were one
    return metrics, predictions, failures


def _metrics(shared: Shared, part: Any, batch: int, steps: int | None, fast: bool) -> Any:
    if fast:
        return shared.engine.evaluate(part, batch)
    return shared.model.evaluate(inputs.held_out(part, batch, steps), verbose=0, return_dict=True)


def _predictions(shared: Shared, part: Any, batch: int, steps: int | None, fast: bool) -> Any:
    if fast:
        return shared.engine.predict(part, batch)
    return shared.model.predict(inputs.held_out(part, batch, steps), verbose=0)


def of_the_last_epoch(logs: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of a run that was not evaluated: what its last epoch said of the parts."""
    return {f"validation_{name[4:]}" if name.startswith("val_") else f"train_{name}": value for name, value in logs.items()}


def note(found: Record, failures: Sequence[tuple[str, Exception]], said: Callable[[str], None]) -> None:
    """Write into the record what could not be evaluated and why, and say it."""
    why = redacted("; ".join(f"{what}: {_reason(error)}" for what, error in failures))
    trace = "".join("".join(traceback.format_exception(error)) for _, error in failures)
    found.update(evaluation=why, evaluation_traceback=redacted(trace))
    said(f"This model could not be evaluated ({why}). Its weights are kept; metrics that are missing are the last epoch's.")


def concerns_the_run(error: Exception, config: DictConfig, data: DataSet) -> bool:
    """Whether `fitting.train` has an answer to an error: a full disk, no deterministic form, a broken example."""
    if isinstance(error, OSError | tf.errors.ResourceExhaustedError):
        disk = of_the_disk(error)
        return disk is not None and disk.errno in record.FULL | record.DENIED
    if isinstance(error, tf.errors.InvalidArgumentError) and inputs.broken_example(data):
        return True
    return determinism.cannot_keep(error, config) is not None


def of_the_disk(error: OSError | tf.errors.ResourceExhaustedError) -> OSError | None:
    """Return an error as the system's own: TensorFlow has another kind for a full disk, under a pipeline's cache, say."""
    if isinstance(error, OSError):
        return error
    found = re.search(rf"(\S+); {os.strerror(errno.ENOSPC)}", str(error))
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), found[1]) if found else None


def _reason(error: Exception) -> str:
    first = " ".join(re.split(r"\n\s*\n", str(error).strip())[0].split())
    return f"{type(error).__name__}: {first}"[:LONGEST]
