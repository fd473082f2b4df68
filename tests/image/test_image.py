"""The image, built by the one Dockerfile and run as people run it: another uid, a read-only root, no network, runs/ mounted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Done
from end_to_end.gate import until

from seedbed.run import config as configs
from seedbed.run import provenance, training

pytestmark = pytest.mark.image

UID = 12345  # no user of the image's

Docker = Callable[..., Any]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "container"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, UID, UID)
    return folder


@pytest.fixture
def inside(docker: Docker, image: str, runs: Path) -> Docker:
    """`inside("train", "model=cnn", flags=["--env", "X=1"])`: seedbed in the image; as the caller, who is UID if he is root."""
    uid = UID if os.geteuid() == 0 else os.geteuid()

    def call(*words: str, flags: list[str] | None = None, folder: Path = runs) -> Any:
        locked_down = ["--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        mounted = ["--user", f"{uid}:{uid}", "--volume", f"{folder}:/seedbed/runs"]
        return docker("run", "--rm", *locked_down, *mounted, *(flags or []), image, *words)

    return call


def facts(done: Any) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_the_bits_are_the_same_in_and_out(inside: Docker, seedbed: Callable[..., Done], runs: Path, docker: Docker, image: str) -> None:
    words = ["train", "experiment=digits_cnn", "training.epochs=2", "--json"]
    there, here = facts(inside(*words)), seedbed(*words).json
    assert there["digests"] == here["digests"]
    assert there["metrics"] == here["metrics"]

    found = runs / Path(there["record"]).name
    written = [found, *found.iterdir()]
    assert {path.stat().st_uid for path in written} == {UID if os.geteuid() == 0 else os.geteuid()}
    record = json.loads((found / "record.json").read_text())
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image).stdout)
    told = record["provenance"]["image"]
    assert told["commit"] == labels["org.opencontainers.image.revision"]
    assert record["provenance"]["git"]["commit"] == told["commit"].removesuffix("-dirty")
    assert told["lock"] == labels["seedbed.lock"] == record["provenance"]["lock"] == provenance.lock_hash()


@pytest.mark.parametrize("words", [["training.epochs=20"], ["data=digits", "model=transformer", "model.width=16", "model.heads=2", "training.epochs=1"]],
                         ids=["tutorial", "transformer"])  # fmt: skip
def test_portable_bits_are_those_outside_too(words: list[str], inside: Docker, seedbed: Callable[..., Done]) -> None:
    """And with one core there."""
    said = ["train", "determinism=portable", *words, "--json"]
    there, here = facts(inside(*said, "tracking=none", flags=["--cpuset-cpus=0"])), seedbed(*said).json
    assert there["digests"] == here["digests"]
    assert here["level"] == "portable"


def test_verify_holds_in_the_image(inside: Docker) -> None:
    done = inside("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "perturbed" in done.stdout


def test_the_words_after_the_image_are_seedbeds(inside: Docker, runs: Path) -> None:
    done = inside("repeat", "study.n=3", "training.epochs=3")
    assert done.returncode == 0, done.stderr
    assert "3 seeds" in done.stdout
    assert "seedbed variance training.epochs=3" in done.stdout  # the next command is one that the image knows
    assert inside("nonsense").returncode == 2
    assert (runs / "mlflow" / "mlflow.db").exists()


def test_the_image_has_what_strict_needs_and_a_config_may_ask_for_more(inside: Docker, docker: Docker, image: str) -> None:
    level = configs.composed("determinism=strict")
    variables = dict(
        line.split("=", 1) for line in json.loads(docker("image", "inspect", "--format", "{{json .Config.Env}}", image).stdout)
    )
    needed = training.environment_of(level)
    assert {name: variables.get(name) for name in needed} == needed, "no process has to be started anew"

    assert facts(inside("train", "training.epochs=2", "tracking=none", "determinism.threads.intra_op=2", "--json"))["status"] == "finished"
    assert facts(inside("train", "training.epochs=2", "tracking=none", "determinism=seeded", "--json"))["level"] == "seeded"
    said = inside("train", flags=["--env", "OMP_NUM_THREADS=3"])
    assert said.returncode == 2
    assert "OMP_NUM_THREADS=3 is set, OMP_NUM_THREADS=1 is needed" in said.stderr


def test_docker_stop_ends_in_a_checkpoint_and_the_same_command_goes_on(
    inside: Docker, docker: Docker, seedbed: Callable[..., Done], runs: Path
) -> None:
    words = ["train", "training.epochs=1000", "training.engine=fit", "tracking=none"]
    name = f"seedbed-test-{os.getpid()}"
    assert inside(*words, flags=["--detach", "--name", name]).returncode == 0
    waiting = docker("container", "logs", name)
    until(lambda: any(len(file.read_text().splitlines()) > 20 for file in runs.glob("*/history.jsonl")), 120, lambda: waiting.stderr)
    began = time.monotonic()
    container = docker("inspect", "--format", "{{.Id}}", name).stdout
    assert container, "it was running"
    docker("stop", "--time", "60", name)
    assert time.monotonic() - began < 50, "it ended by itself"
    [file] = runs.glob("*/record.json")
    assert json.loads(file.read_text())["status"] == "interrupted"
    assert list((file.parent / "checkpoints").iterdir())

    resumed = facts(inside(*words, "--json"))
    assert resumed["resumed_at"] > 20
    assert resumed["digests"] == seedbed(*words[:2], "tracking=none", "--json").json["digests"]


def test_a_folder_that_cant_be_written_to_is_one_clear_line(inside: Docker, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    if os.geteuid() != 0:
        theirs.chmod(0o555)
    done = inside("train", folder=theirs)
    assert done.returncode == 2
    assert "Records can't be kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3, done.stderr


def test_nothing_is_in_it_that_a_run_doesnt_need(docker: Docker, image: str) -> None:
    look = "id -u; for program in gcc cc make git pip uv; do command -v $program; done; find / -xdev -name .git -o -xdev -name '*.env'"
    done = docker("run", "--rm", "--network=none", "--entrypoint", "sh", image, "-c", look)
    assert done.stdout.split("\n", 1)[0] == "1000"
    assert not [line for line in done.stdout.splitlines()[1:] if not line.startswith("/usr/local/")]  # a base may bring its own pip
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout
    assert "ca-bundle" not in history
    assert "SSL_CERT" not in history


def test_make_docker_train_says_its_command_and_the_records_are_here(docker: Docker, image: str, tmp_path: Path) -> None:
    words = ["ARGS=training.epochs=2 tracking=none", f"IMAGE={image}", "DOCKER_ARGS=--network=none", f"RUNS={tmp_path}/my runs"]
    done = docker("-s", "docker-train", *words, program="make")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("+ docker run --rm --user ")
    assert "docker/run train training.epochs=2" in done.stdout  # the next command
    [file] = (tmp_path / "my runs").glob("*/record.json")
    told = json.loads(file.read_text())["provenance"]["image"]["image_digest"]
    assert told == docker("image", "inspect", "--format", "{{.Id}}", image).stdout.strip() or "@sha256:" in told


def test_the_same_commit_gives_the_same_image(build: Callable[..., str], image: str) -> None:
    """The project's layer made again (the environment's, which takes a minute or two, is `slow`)."""
    assert build("--no-cache-filter", "project", image="seedbed:again") == build()


@pytest.mark.slow
def test_all_of_it_made_again_is_the_same_image(build: Callable[..., str], image: str) -> None:
    assert build("--no-cache", image="seedbed:again") == build()
