"""Several devices: the bits are a function of the number of replicas, in fresh processes, killed or not."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from end_to_end.test_backends import one_core
from end_to_end.test_resume import finish, kill_after, start
from end_to_end.test_same_bits import load

# dropout, augmentation and batch normalisation; a batch of 32 is no multiple of three replicas
WORDS = ["experiment=digits_cnn", "model.augment=true", "training.epochs=2", "training.steps_per_epoch=6", "checkpoint.every_epochs=1"]


def test_the_number_of_replicas_decides_the_bits_and_the_key(tmp_path: Path) -> None:
    two = [*WORDS, "strategy=mirrored"]
    first = finish(start(two, tmp_path / "one", {}))
    process = start(two, tmp_path / "another", {"PYTHONHASHSEED": "9", "TZ": "Asia/Kathmandu"})
    kill_after(process, tmp_path / "another", 1, signal.SIGKILL)
    with load(), one_core():
        second = finish(start(two, tmp_path / "another", {}))
    assert second["key"] == first["key"]
    assert second["digests"] == first["digests"]
    three = finish(start([*two, "strategy.replicas=3"], tmp_path / "one", {}))
    assert three["key"] != first["key"]
    assert three["digests"]["initial_weights"] == first["digests"]["initial_weights"]
    assert three["digests"]["final_weights"] != first["digests"]["final_weights"]


def test_what_cannot_be_had_together_is_said(seedbed: Callable[..., Any]) -> None:
    for words, message in {
        ("strategy.replicas=2",): "Accepted: strategy=mirrored strategy.replicas=2.",
        ("strategy=mirrored", "backend=torch"): "strategy=mirrored is for backend=tensorflow",
        ("strategy=mirrored", "training.engine=loop"): "the loop is for one device",
        ("strategy=mirrored", "training.batch_size=8"): "9 examples in batches of 8 leave one of 1 for strategy.replicas=2",
        ("strategy.name=parameter_server",): "strategy.name=parameter_server is not accepted. Accepted: single, mirrored.",
    }.items():
        said = seedbed("train", *words)
        assert said.status == 2, said.err
        assert message in said.err
        assert "Traceback" not in said.err
