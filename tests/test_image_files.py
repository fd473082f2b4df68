"""What can be said of the image without building it (tests/image builds it): pins, the level's variables, the scripts' refusals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OUTSIDE, ROOT

from seedbed import __main__, cli, command_line
from seedbed.run import config as configs
from seedbed.run import process, provenance, training

DOCKERFILE = (ROOT / "Dockerfile").read_text()
BASE = re.search(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)


def variables() -> dict[str, str]:
    """The variables that the Dockerfile sets, before any of its own arguments are filled in."""
    lines = re.sub(r"\\\n", " ", DOCKERFILE).splitlines()
    words = [word for line in lines if line.startswith("ENV ") for word in re.findall(r'(\w+)=("[^"]*"|\S+)', line.removeprefix("ENV "))]
    return {name: value.strip('"') for name, value in words}


def test_the_images_variables_are_those_of_the_level_strict() -> None:
    needed = training.environment_of(configs.composed("determinism=strict"))
    found = variables()
    assert {name: found.get(name) for name in needed} == needed
    assert set(found["SEEDBED_IMAGE_SETS"].split()) == {f"{name}=${name}" for name, value in needed.items() if value is not None}


def test_everything_is_pinned() -> None:
    assert BASE
    python = re.fullmatch(r"python:(3\.\d+\.\d+)-slim-bookworm@sha256:[0-9a-f]{64}", BASE[1])
    assert python
    assert f"\nARG PYTHON_VERSION={python[1]}\n" in DOCKERFILE
    stages = {name for _, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)}
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert bases <= stages | {"${BASE_IMAGE}", "${VARIANT}"}
    installs = re.findall(r"pip (?:install|sync) .*", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in line for line in installs)
    assert "://" not in DOCKERFILE


def test_the_variants_are_files_of_the_lock() -> None:
    for variant in ("cpu", "gpu", "server"):
        assert re.search(rf"^FROM runtime AS {variant}$", DOCKERFILE, re.MULTILINE)
        assert (ROOT / "requirements" / f"{variant}.txt").exists()


def test_what_the_image_has_set_contradicts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    image = {"OMP_NUM_THREADS": "1", "KERAS_BACKEND": "tensorflow", process.IMAGE_SETS: "OMP_NUM_THREADS=1 KERAS_BACKEND=tensorflow"}
    assert process.conflicts({"OMP_NUM_THREADS": "4"}, image) == []
    [said] = process.conflicts({"OMP_NUM_THREADS": "4"}, {**image, "OMP_NUM_THREADS": "2"})  # docker run -e OMP_NUM_THREADS=2
    assert "OMP_NUM_THREADS=2" in said


def test_a_record_in_an_image_has_the_commit_and_whether_the_tree_had_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDBED_ROOT", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for told, found in (("abc-dirty", ("abc", True)), ("abc", ("abc", None)), ("unknown", (None, None))):
        monkeypatch.setenv("SEEDBED_COMMIT", told)
        assert tuple(provenance.git().values()) == found
        assert provenance.diff() == ""


def test_the_next_command_is_one_that_can_be_typed_where_the_image_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDBED_IMAGE", "seedbed:cpu")
    assert command_line.command("train", ["model=cnn", "a='b c'"]) == "seedbed train model=cnn " + "'a='\"'\"'b c'\"'\"''"
    monkeypatch.setenv("SEEDBED_STARTED_BY", "docker/run")
    assert command_line.command("train", []) == "docker/run train"


def test_the_first_process_of_a_container_ends_on_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux gives process 1 no default for a signal; without a handler `docker stop` would wait, and then kill."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(sys, "argv", ["seedbed", "--version"])
    monkeypatch.setattr(cli, "main", lambda argv: signal.raise_signal(signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended:
            __main__.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 128 + signal.SIGTERM


@pytest.mark.parametrize("script", ["build", "run"])
@pytest.mark.parametrize(
    ("engine", "says"), [("no-such-engine", "There is no no-such-engine here"), ("{folder}/silent", "does not answer: Cannot connect")]
)
def test_without_an_engine_one_line_says_what_to_do(script: str, engine: str, says: str, tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\necho Cannot connect to the daemon >&2\nexit 1\n")
    silent.chmod(0o755)
    env = {**OUTSIDE, "ENGINE": engine.format(folder=tmp_path)}
    done = subprocess.run([ROOT / "docker" / script, "train"], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert says in done.stderr
    assert "make train" in done.stderr
    assert done.stdout == ""


def test_the_development_container_is_a_stage_of_the_dockerfile() -> None:
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    found = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    assert (ROOT / ".devcontainer" / found["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert f"AS {found['build']['target']}\n" in DOCKERFILE
    assert f"useradd --create-home --uid 1000 --shell /bin/bash {found['remoteUser']}\n" in DOCKERFILE


def test_nothing_gets_into_a_build_but_what_is_named() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    named = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert named == {"docker/seedbed", "docker/tracking-server", "pyproject.toml", "requirements/*.txt", "conf", "src"}
