"""A record and an empty store for each test; a store is made once, since its migration takes longer than a test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tracking import made

from seedbed.run.record import Record


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    made.client(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return made.record(tmp_path / "runs" / ("a" * 64))


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    (tmp_path / "store").mkdir()
    shutil.copy(empty_store, tmp_path / "store" / "mlflow.db")
    return f"sqlite:///{tmp_path}/store/mlflow.db"
