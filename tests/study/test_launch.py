"""What a launcher is told, and where it leaves what it was told."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from seedbed.study import launch
from seedbed.study.plan import Task


def test_what_submitit_keeps_of_a_job_is_for_the_user_alone(tmp_path: Path) -> None:
    """Its pickles hold the config as it was given; the package is one that is there without `make cluster`."""
    sweep = tmp_path / "it's here"
    hydra = OmegaConf.create({
        "sweep": {"dir": str(sweep)}, "runtime": {"choices": {"hydra/launcher": "submitit_slurm"}},
        "launcher": {"_target_": "json.decoder.JSONDecoder", "submitit_folder": "${hydra.sweep.dir}/.submitit/%j"},
    })  # fmt: skip
    told: list[str] = []
    launch.launched(told.extend, ["data=digits"], [[Task(tmp_path / "studies" / "mine", 1)]], "call", hydra)
    assert (sweep / "mine" / ".submitit").stat().st_mode & 0o777 == 0o700
    assert f"hydra.sweep.dir='{tmp_path}/it\\'s here/mine'" in told  # as Hydra quotes
    assert "study.seeds=[1]" in told
