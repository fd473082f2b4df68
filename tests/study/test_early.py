"""The guess about the environment is what conf/determinism/strict.yaml says."""

from __future__ import annotations

from pathlib import Path

from seedbed.run import config as configs
from seedbed.study import early, plan, work


def test_the_guess_is_what_the_default_config_needs(tmp_path: Path) -> None:
    assert work.needed([configs.composed(f"runs='{tmp_path}'")], plan.Task(tmp_path, 1)) == early.GUESS
    assert early.Early(["determinism=seeded"]).process is None
    assert early.Early(["--help"]).process is None


def test_a_wrong_guess_is_ended() -> None:
    ahead = early.Early(["study.n=2"])
    process = ahead.process
    assert process is not None
    assert ahead.take({**early.GUESS, "OMP_NUM_THREADS": "4"}) is None
    assert process.poll() is not None
