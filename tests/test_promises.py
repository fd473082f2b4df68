"""The README's promises, each once, across real processes: the same bits elsewhere, a proof and its failure, a kill, a study."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, data_config

pytestmark = pytest.mark.processes

Seedbed = Callable[..., Any]

SMALL = ["training.epochs=4", "model.dropout=0.2"]

# Another shell: every one of these has made somebody's results differ.
ELSEWHERE = {"PYTHONHASHSEED": "77", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "TMPDIR": "/var/tmp", "MKL_NUM_THREADS": "2"}


def test_the_same_command_has_the_same_bits_in_another_shell(seedbed: Seedbed, tmp_path: Path) -> None:
    first = seedbed("train", *SMALL, "--json", runs=tmp_path / "one").json
    (tmp_path / "another folder").mkdir()
    second = seedbed("train", *SMALL, "--json", runs=tmp_path / "two", cwd=tmp_path / "another folder", env=ELSEWHERE, start=True)
    assert second.status == 0, second.err
    assert second.json["digests"] == first["digests"]
    assert second.json["key"] == first["key"]


def test_a_stream_changes_what_it_governs_and_a_run_that_is_there_is_found(seedbed: Seedbed) -> None:
    first = seedbed("train", *SMALL, "--json").json
    assert seedbed("train", *SMALL, "--json").json["reused"] is True
    other = seedbed("train", *SMALL, "seeds.dropout=9", "--json").json
    assert other["digests"]["initial_weights"] == first["digests"]["initial_weights"]
    assert other["digests"]["final_weights"] != first["digests"]["final_weights"]


def test_a_record_is_trained_again_from_its_key_alone(seedbed: Seedbed, tmp_path: Path) -> None:
    first = seedbed("train", *SMALL, "--json").json
    done = seedbed("replay", first["key"], "--runs", str(tmp_path / "runs"), "--json", cwd=ROOT)
    assert done.status == 0, done.err
    assert done.json["digests"]["run"]["same"] is True, done.out


# Draws what no stream governs if it is told to.
DOUBTFUL = """
import os
import numpy as np

def data(doubt=False):
    x = np.arange(64, dtype="float32").reshape(16, 4)
    return x + (int.from_bytes(os.urandom(2), "big") if doubt else 0), x[:, 0]
"""


@pytest.mark.parametrize("doubt", [False, True])
def test_verify_holds_and_names_what_does_not(doubt: bool, seedbed: Seedbed, plugin: Callable[..., Path], tmp_path: Path) -> None:
    folder = plugin("doubtful", DOUBTFUL)
    words = [*data_config(folder, "doubtful.data"), f"+data.source.doubt={str(doubt).lower()}", "training.epochs=1", "tracking=none"]
    done = seedbed("verify", *words, "--leave", "load", f"runs='{tmp_path / 'runs'}'", "--json", env={"PYTHONPATH": str(folder)})
    assert done.status == (1 if doubt else 0), done.err
    assert done.json["holds"] is not doubt
    if doubt:
        assert done.json["diagnosis"]["place"]["kind"] == "data"
        assert "doubtful.py:7" in json.dumps(done.json["diagnosis"]["causes"])


# Ends its process at the second epoch as `kill -9` does, once.
KILLED = """
import os, signal
from pathlib import Path
import keras

class Killed(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and Path(__file__).with_name("now").exists():
            Path(__file__).with_name("now").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_it_goes_on_and_ends_with_the_same_bits(seedbed: Seedbed, plugin: Callable[..., Path], tmp_path: Path) -> None:
    folder = plugin("killed", KILLED)
    words = [*SMALL, "checkpoint.every_epochs=1", "+training.callbacks.killed={_target_: killed.Killed}", "--json"]
    env = {"PYTHONPATH": str(folder)}
    straight = seedbed("train", *words, env=env, runs=tmp_path / "straight")
    assert straight.status == 0, straight.err
    (folder / "now").touch()
    assert seedbed("train", *words, env=env).status == -9
    ended = seedbed("train", *words, env=env)
    assert ended.status == 0, ended.err
    assert ended.json["resumed_at"] >= 1
    assert ended.json["digests"] == straight.json["digests"]


def test_a_study_carries_the_spread_of_its_seeds(seedbed: Seedbed) -> None:
    found = seedbed("repeat", "study.n=3", "training.epochs=3", "--json")
    assert found.status == 0, found.err
    assert (found.json["trained"], found.json["finished"]) == (3, 3)
    loss = found.json["metrics"]["train_loss"]
    assert loss["n"] == 3
    assert 0 < loss["std"] < loss["mean"]
    assert len(set(found.json["digests"].values())) == 3
    report = seedbed("report", found.json["path"], "--json")
    assert Path(report.json["report"]).read_text().startswith("<!DOCTYPE html>")


@pytest.mark.integration
def test_a_comparison_claims_nothing_from_three_seeds(seedbed: Seedbed) -> None:
    found = seedbed("compare", "training.epochs=3", "training.epochs=4", "--", "study.n=3", "--json")
    assert found.status == 0, found.err
    (pair,) = found.json["pairs"]
    assert (pair["claims"], pair["p_permutation"]) == (False, 0.25)
    assert "no claim is possible with fewer than 6 seeds" in found.json["sentence"]


def test_the_audit_names_a_line_and_leaves_this_project_alone(tmp_path: Path, seedbed: Seedbed) -> None:
    (tmp_path / "mine.py").write_text("import numpy as np\n\nrng = np.random.default_rng()\n")
    done = seedbed("audit", str(tmp_path / "mine.py"))
    assert done.status == 1
    assert "mine.py:3" in done.out
    clean = seedbed("audit", cwd=ROOT)
    assert clean.status == 0, clean.out
