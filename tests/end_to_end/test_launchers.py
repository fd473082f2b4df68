"""Whichever launcher of Hydra's runs a seed, its digests are the same: joblib, a Ray cluster of two nodes, submitit."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE, ROOT

WORDS = ["data=digits", "training.epochs=2", "model.dropout=0.2", "study.n=4"]
RAY = Path(sys.executable).with_name("ray")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests without any launcher."""
    runs = tmp_path_factory.mktemp("alone")
    command = [sys.executable, "-m", "seedbed", "repeat", *WORDS, "tracking=none", f"runs='{runs}'", "--json"]
    done = subprocess.run(command, env=OUTSIDE, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])["digests"]
    return found


@pytest.mark.integration
@pytest.mark.parametrize(
    "launcher",
    [["joblib", "hydra.launcher.n_jobs=2"], pytest.param(["submitit_local", "study.per_job=2"], marks=pytest.mark.slow)],
    ids=lambda words: words[0],
)
def test_on_one_machine(seedbed: Callable[..., Any], alone: dict[str, str], tmp_path: Path, launcher: list[str]) -> None:
    """From a shell whose environment is wrong in ways that launchers make worse: each worker sets up its own."""
    name, *more = launcher
    found = seedbed("repeat", *WORDS, f"hydra/launcher={name}", *more, "--json", env={"PYTHONHASHSEED": "9"})
    assert found.status == 0, found.err
    assert found.json["digests"] == alone
    assert found.json["trained"] == 4
    private = [kept.stat().st_mode & 0o777 for kept in (tmp_path / "runs" / ".hydra").rglob(".submitit")]
    assert private == ([0o700] if name == "submitit_local" else [])  # its pickles hold the config as it was given
    again = seedbed("repeat", *WORDS, "--json")
    assert again.json["trained"] == 0  # another launcher, the same study


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a Ray cluster of two nodes with one core each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**OUTSIDE, "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": "/tmp/ray", "OMP_NUM_THREADS": "7"}  # wrong for strict, in each worker
    small = ["--num-cpus=1", "--object-store-memory=80000000"]
    nodes = [["--head", f"--port={port}", "--include-dashboard=false", *small], [f"--address=127.0.0.1:{port}", *small]]
    try:
        for node in nodes:
            subprocess.run([RAY, "start", *node], env=env, check=True, capture_output=True, cwd=tmp_path, timeout=120)
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([RAY, "stop", "--force"], env=env, capture_output=True, timeout=120)


@pytest.mark.integration
def test_on_a_ray_cluster_of_two_nodes(seedbed: Callable[..., Any], alone: dict[str, str], cluster: str, tmp_path: Path) -> None:
    words = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address={cluster}", "study.per_job=2"]
    found = seedbed("repeat", *WORDS, *words, "--json")
    assert found.status == 0, found.err
    assert found.json["digests"] == alone
    folder = Path(found.json["path"]) / "seeds"
    nodes = {json.loads(file.read_text())["node"] for file in folder.iterdir()}
    assert len(nodes) == 2, nodes  # each has one core, and takes one of the two jobs


@pytest.mark.integration
def test_without_a_cluster_there_is_a_message(seedbed: Callable[..., Any]) -> None:
    found = seedbed("repeat", "study.n=2", "hydra/launcher=ray", "hydra.launcher.ray.init.address='nowhere://x'")
    assert found.status == 2
    assert "could not start its jobs" in found.err
    assert "Traceback" not in found.err


def test_a_launcher_that_is_not_installed_says_how_it_is() -> None:
    from omegaconf import OmegaConf

    from seedbed import Refused
    from seedbed.study import launch

    choices = {"runtime": {"choices": {"hydra/launcher": "submitit_slurm"}}}
    target = {"launcher": {"_target_": "hydra_plugins.hydra_nowhere_launcher.launcher.SlurmLauncher"}}
    with pytest.raises(Refused, match="make cluster"):
        launch.launcher_of(OmegaConf.create({**choices, **target}))


@pytest.mark.parametrize("name", ["joblib", "ray", "submitit_local", "submitit_slurm"])
def test_each_launchers_file_composes(config: Callable[..., Any], name: str) -> None:
    """SLURM isn't here: its file is composed and its launcher made, with all that the file says."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from seedbed.run import config as configs

    configs.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose("train", [f"hydra/launcher={name}", "hydra.job.name=x", "hydra.sweep.dir=x"], return_hydra_config=True)
    node = composed.hydra.launcher
    assert type(instantiate({**node, "submitit_folder": "x", "name": "x"} if "submitit" in name else node)).__name__.endswith("Launcher")


def test_a_node_of_another_kind_refuses_at_strict(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    from seedbed.study import launch

    (tmp_path / "machine.json").write_text(json.dumps({"python": "3.0", "packages": {}, "cpu": {"model": "another"}, "gpu": []}))
    assert "another kind" in str(launch._other_machine(tmp_path, "tensorflow")) or "one kind of machine" in str(
        launch._other_machine(tmp_path, "tensorflow")
    )
    (tmp_path / "machine.json").unlink()
    assert launch._other_machine(tmp_path, "tensorflow") is None  # the first says what kind
    assert launch._other_machine(tmp_path, "tensorflow") is None


@pytest.mark.integration
def test_a_worker_without_the_levels_environment_refuses(tmp_path: Path) -> None:
    """Started by hand, that is: `launch` starts it with the right one."""
    order = """
import sys
from pathlib import Path
from seedbed.run import config
from seedbed.study import plan, work
composed = config.composed("tracking=none", f"runs='{sys.argv[1]}'", "study.n=2")
composed.study.call = "x"
study = plan.study_of(composed)
order = work.Order([composed], study.tasks(), "x", {}, known=[{"study": "s"}])
print(work.work(order))
print([task.noted()["error"] for task in study.tasks()])
"""
    env = {**OUTSIDE, "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", order, str(tmp_path)], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("TF_DETERMINISTIC_OPS=1") == 2, done.stdout
    assert not list(tmp_path.glob("[0-9a-f]*/record.json")), list(tmp_path.iterdir())
