"""How the page asks seedbed: the same commands as anybody's, in processes of their own, and what they print as JSON."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed.composing import quoted
from seedbed.run import children
from seedbed.run.process import COMMAND

METRIC = "train_loss"


class Broken(Exception):
    """A command that didn't end well; the message has what it said. status: 2 if it could not be asked, 128 + a signal, else 1."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status if status == 2 or status > 128 else 128 - status if status < 0 else 1


@dataclass(frozen=True)
class Study:
    """What `seedbed repeat` gave. said: its JSON. runs: the rows of its runs.csv, in the order of the seeds."""

    said: Mapping[str, Any]
    runs: Sequence[Mapping[str, str]]

    @property
    def errors(self) -> list[float]:
        return [float(run[METRIC]) for run in self.runs]

    @property
    def digests(self) -> dict[str, str]:
        return dict(self.said["digests"])

    def digests_of(self, name: str) -> list[str]:
        """One of the digests of each run: initial_weights, say."""
        records = Path(str(self.said["path"])).parents[1]
        return [str(json.loads((records / run["key"] / "record.json").read_text())["digests"][name]) for run in self.runs]


def repeat(experiment: str, runs: Path) -> Study:
    """`seedbed repeat experiment=tutorial/…`, into the folder `runs`. Raises Broken."""
    said = _seedbed(["repeat", f"experiment=tutorial/{experiment}"], runs)
    return Study(said, _rows(Path(str(said["path"]))))


def compare(a: str, b: str, runs: Path) -> tuple[Mapping[str, Any], Study, Study]:
    """`seedbed compare tutorial/A tutorial/B`: what it said, and the study of each side. Raises Broken."""
    said = _seedbed(["compare", f"tutorial/{a}", f"tutorial/{b}"], runs)
    studies = Path(str(said["path"])).parent

    def side(name: str) -> Study:
        # other code has left studies of that name, too; the one that was written last is this call's
        written = studies.glob(f"{name}-*/runs.csv")
        path = max(written, key=lambda file: (file.stat().st_mtime_ns, str(file))).parent  # seedbed: ignore[SB202] the last
        return Study({"path": str(path)}, _rows(path))

    return said, side(a), side(b)


def program(file: Path, *words: str) -> str:
    """What a Python program prints in a fresh process. Raises Broken."""
    return _output([sys.executable, "-P", str(file), *words], file.name, {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ})


def _seedbed(words: Sequence[str], runs: Path) -> Mapping[str, Any]:
    command = [*COMMAND, *words, f"runs={quoted(str(runs))}", "tracking=none", "--json"]
    said: Mapping[str, Any] = json.loads(_output(command, f"seedbed {' '.join(words)}").splitlines()[-1])
    return said


def _output(command: Sequence[str], name: str, environment: Mapping[str, str] | None = None) -> str:
    done = children.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise Broken(done.returncode, f"`{name}` ended with exit status {done.returncode}:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def _rows(path: Path) -> list[dict[str, str]]:
    with (path / "runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))
