"""Whole records of a made-up run, for tests of who reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seedbed.run import digest, fingerprint, record
from seedbed.run.data import DataSet
from seedbed.run.record import Record

ENVIRONMENT = {"python": "3", "platform": "Linux", "packages": {"numpy": "2"}, "cpu": {"model": "a"}, "gpu": [], "variables": {}}
SEEDS = {"master": 1, "init": 2}
INPUTS: dict[str, Any] = {
    "code": {"mine": "1" * 64}, "config": {"data": {}}, "data": "2" * 64, "seeds": SEEDS, "environment": ENVIRONMENT,
    "determinism": {"level": "strict", "environment": {}, "threads": {}},
}  # fmt: skip
CONFIG = "{seeds: {master: 1}, data: {}, training: {}, determinism: {environment: {}, threads: {}}}\n"
HISTORY = [{"loss": 0.5}, {"loss": 0.25}, {"loss": float("inf")}]


def made(runs: Path, finished: bool = True, config: str = CONFIG, **more: Any) -> Record:
    """A whole record of a made-up run, with a file of each kind."""
    content = {"key": record.key_of(INPUTS), "name": "made", "level": "strict", "seeds": SEEDS, "inputs": INPUTS, "metrics": {},
               "digests": {}, "provenance": {"git": {}}}  # fmt: skip
    rows = fingerprint.rows(DataSet((np.ones((3, 2)), np.ones(3))))
    found = Record.create(runs / str(content["key"]), content, config, "a diff\n", rows)
    for epoch, metrics in enumerate(HISTORY):
        found.append_epoch(epoch, metrics)
    (found.path / "model.keras").write_bytes(bytes(range(256)) * 5)
    (found.path / "log").mkdir()
    (found.path / "log" / "mine.csv").write_text("a,b\n1,2\n")
    digests = dict.fromkeys(("initial_weights", "final_weights", "predictions"), "a" * 64) | {"history": digest.history(HISTORY)}
    if finished:
        found.finish({"test_loss": 0.5, "test_recall": float("nan")}, digests, **more)
    return found
