"""A finished record made by hand, and a store for it: nothing is trained, and no TensorFlow imported."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from seedbed import cli
from seedbed.run.record import Record

CONFIG = """
data: {name: digits, source: {_target_: example.data.digits}}
training: {epochs: 2}
seeds: {generator: backend, master: 7}
tracking: {uri: null, experiment: seedbed}
"""


def record(path: Path) -> Record:
    """Make a record of two epochs in `path` that MLflow can be sent."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG)
    (path / "history.jsonl").write_text(
        "".join(json.dumps({"epoch": e, "time": 10.0 + e, "metrics": {"loss": 1.0 / (e + 1)}}) + "\n" for e in (0, 1))
    )
    content = {
        "format": 1, "id": os.urandom(16).hex(), "key": path.name, "status": "finished", "name": "digits", "level": "strict", "study": "0" * 64,
        "seeds": {"master": 7, "init": 8}, "metrics": {"test_loss": 0.5}, "digests": {"run": "1" * 64, "final_weights": "2" * 64},
        "timing": {"started": 9.0, "ended": 12.0, "seconds": 3.0}, "provenance": {"git": {}},
        "inputs": {"data": "3" * 64, "environment": {"packages": {}, "python": "3.11"}},
    }  # fmt: skip
    (path / "record.json").write_text(json.dumps(content))
    return Record.read(path)


def synced(uri: str, runs: Path, capsys: Any, *words: str) -> tuple[int, dict[str, Any]]:
    """`seedbed sync --json`: (exit status, what it says)."""
    capsys.readouterr()
    status = cli.main(["sync", "--uri", uri, "--runs", str(runs), "--json", *words])
    return status, json.loads(capsys.readouterr().out.splitlines()[-1])


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def runs_of(uri: str, experiment: str = "seedbed") -> list[Any]:
    found = client(uri).get_experiment_by_name(experiment)
    return list(client(uri).search_runs([found.experiment_id])) if found else []
