"""Several devices: the bits are a function of the number of replicas, in fresh processes, killed or not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import data_config
from end_to_end.test_backends import one_core
from end_to_end.test_resume import finish, start
from end_to_end.test_same_bits import load

pytestmark = pytest.mark.integration

# dropout, augmentation and batch normalisation; a batch of 32 is no multiple of three replicas
WORDS = ["experiment=digits_cnn", "model.augment=true", "training.epochs=3", "training.steps_per_epoch=6", "checkpoint.every_epochs=1"]


def at_a_checkpoint(process: subprocess.Popen[str], runs: Path, do: Callable[[], None]) -> str:
    """Wait for the first checkpoint, `do` it, wait for the end; what the command said."""
    end = time.monotonic() + 240
    while not list(runs.glob("[0-9a-f]*/checkpoints/*.npz")):
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < end
        time.sleep(0.002)
    do()
    return process.communicate(timeout=120)[1]


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The process ids of a command's workers, in their order."""
    found = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "train --worker"], capture_output=True, text=True).stdout
    return sorted(int(line) for line in found.split())


def record_of(runs: Path) -> dict[str, Any]:
    (file,) = runs.glob("[0-9a-f]*/record.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_the_number_of_replicas_decides_the_bits_and_the_key(tmp_path: Path) -> None:
    """On devices of one process and of two: the same bits from the same number, stopped or not."""
    two = [*WORDS, "strategy=mirrored"]
    first = finish(start(two, tmp_path / "one", {}))
    process = start(two, tmp_path / "another", {"PYTHONHASHSEED": "9", "TZ": "Asia/Kathmandu"})
    at_a_checkpoint(process, tmp_path / "another", process.kill)
    with load(), one_core():
        second = finish(start(two, tmp_path / "another", {}))
    assert second["resumed_at"] >= 1
    assert second["key"] == first["key"]
    assert second["digests"] == first["digests"]

    apart = [*WORDS, "strategy=multi_worker"]
    process = start(apart, tmp_path / "workers", {"PYTHONHASHSEED": "9"})
    said = at_a_checkpoint(process, tmp_path / "workers", lambda: os.kill(workers_of(process)[1], signal.SIGKILL))
    assert process.returncode == 1
    assert "worker 1 of 2 was ended by SIGKILL; the same command goes on from the last checkpoint" in said
    assert record_of(tmp_path / "workers")["status"] == "interrupted"
    workers = finish(start(apart, tmp_path / "workers", {}))
    assert workers["resumed_at"] >= 1
    assert workers["digests"] == first["digests"]
    assert workers["metrics"] == first["metrics"]
    assert workers["key"] != first["key"]


@pytest.mark.slow
def test_another_number_of_replicas_has_other_bits(tmp_path: Path) -> None:
    found = {many: finish(start([*WORDS, "strategy=mirrored", f"strategy.replicas={many}"], tmp_path, {})) for many in (2, 3)}
    assert found[3]["key"] != found[2]["key"]
    assert found[3]["digests"]["initial_weights"] == found[2]["digests"]["initial_weights"]
    assert found[3]["digests"]["final_weights"] != found[2]["digests"]["final_weights"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_stop_together_and_go_on(how: int, tmp_path: Path) -> None:
    words = [*WORDS, "strategy=multi_worker", "checkpoint.every_epochs=null" if how == signal.SIGTERM else "training.epochs=3"]
    straight = finish(start(words, tmp_path / "straight", {}))
    runs = tmp_path / "stopped"
    process = start(words, runs, {})
    if how == signal.SIGTERM:  # the only checkpoint is that of the stop
        while not any(file.read_text() for file in runs.glob("[0-9a-f]*/history.jsonl")):
            time.sleep(0.002)
        process.send_signal(how)
        process.wait(120)
    else:
        workers: list[int] = []

        def kill() -> None:
            workers.extend(workers_of(process))
            process.kill()

        at_a_checkpoint(process, runs, kill)
        assert len(workers) == 2
        end = time.monotonic() + 10
        while any(Path(f"/proc/{worker}/exe").exists() for worker in workers):
            assert time.monotonic() < end, "the workers outlived their command"
            time.sleep(0.05)
    assert process.returncode == (128 + how if how == signal.SIGTERM else -how)
    went_on = finish(start(words, runs, {}))
    assert went_on["resumed_at"] >= 1
    assert went_on["digests"] == straight["digests"]


@pytest.mark.slow
def test_a_command_for_each_machine(tmp_path: Path) -> None:
    """As on two machines: a command for each, with all addresses; the record is with worker 0."""
    words = [*WORDS, "strategy=multi_worker"]
    alone = finish(start(words, tmp_path / "alone", {}))
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        addresses = ",".join(f"'127.0.0.1:{free.getsockname()[1]}'" for free in (one, two))
    commands = [start([*words, f"strategy.addresses=[{addresses}]", f"strategy.index={i}"], tmp_path / str(i), {}) for i in (0, 1)]
    first, other = (finish(command) for command in commands)
    assert (first["key"], first["digests"]) == (alone["key"], alone["digests"])
    assert other["status"] == "finished"


DIFFERS = """
import os
import numpy as np

def data():
    x = np.arange(64, dtype="float32").reshape(64, 1)
    return x, x * (1.0 + ("127.0.0.1" in os.environ.get("TF_CONFIG", "") and '"index": 1' in os.environ["TF_CONFIG"]))
"""


def test_workers_with_other_data_are_refused(tmp_path: Path, seedbed: Callable[..., Any], plugin: Callable[..., Path]) -> None:
    folder = plugin("differs", DIFFERS)
    said = seedbed("train", *data_config(folder, "differs.data"), "strategy=multi_worker", "training.batch_size=8",
                   env={"PYTHONPATH": str(folder)})  # fmt: skip
    assert said.status == 2, said.err
    assert "The workers don't train the same: data of worker 0 and of another one differ." in said.err
    assert "Traceback" not in said.err


def test_what_cannot_be_had_together_is_said(seedbed: Callable[..., Any]) -> None:
    for words, message in {
        ("strategy.replicas=2",): "Accepted: strategy=mirrored strategy.replicas=2.",
        ("strategy=mirrored", "backend=torch"): "strategy=mirrored is for backend=tensorflow",
        ("strategy=mirrored", "training.engine=loop"): "the loop is for one device",
        ("strategy=mirrored", "training.batch_size=8"): "9 examples in batches of 8 leave one of 1 for strategy.replicas=2",
        ("strategy=multi_worker", "training.batch_size=8"): "9 examples in batches of 8 leave one of 1 for strategy.replicas=2",
        ("strategy=multi_worker", "strategy.addresses=['a:1']"): "strategy.addresses has 1 entries and strategy.replicas=2",
        ("strategy=multi_worker", "strategy.index=1"): "strategy.index=1 is not accepted",
        ("strategy.name=parameter_server",): "strategy.name=parameter_server is not accepted. Accepted: single, mirrored, multi_worker.",
    }.items():
        said = seedbed("train", *words)
        assert said.status == 2, said.err
        assert message in said.err
        assert "Traceback" not in said.err
