"""A real Docker engine: the machine's own, or one unpacked from Debian's packages (`engine` beside this file)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import OUTSIDE, ROOT

# Kept between runs: packages, base image, wheels and layers make the next build take seconds.
FOLDER = Path(os.environ.get("SEEDBED_ENGINE", "~/.cache/seedbed/engine")).expanduser()

IMAGE = "seedbed:image-test"


@pytest.fixture(scope="session")
def engine() -> Iterator[tuple[dict[str, str], list[str]]]:
    """(environment of a client, what the build must be told): nothing where an engine answers, else of our own engine."""
    answers = "SEEDBED_ENGINE" not in os.environ and _answers()
    if answers:
        yield OUTSIDE, []
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    own = subprocess.Popen([ROOT / "tests" / "image" / "engine", FOLDER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert own.stdout is not None
        assert own.stderr is not None
        if own.stdout.readline().strip() != "ready":
            why = own.stderr.read().strip()
            if own.wait() == 77 and "SEEDBED_ENGINE" not in os.environ:  # not to be had here
                pytest.skip(f"no Docker engine: {why}")
            pytest.fail(f"no Docker engine: {why}")
        env = OUTSIDE | dict(line.split("=", 1) for line in (FOLDER / "env").read_text().splitlines())
        base = "seedbed-base:test"
        version = ["docker", "run", "--rm", "--network=none", base, "python3", "-c", "import platform; print(platform.python_version())"]
        python = subprocess.run(version, env=env, capture_output=True, text=True, check=True).stdout.strip()
        yield env, ["--network=host", "--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"PYTHON_VERSION={python}"]
    finally:
        own.terminate()
        own.wait()


def _answers() -> bool:
    try:
        return subprocess.run(["docker", "version"], capture_output=True, timeout=30).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="session")
def build(engine: tuple[dict[str, str], list[str]]) -> Callable[..., str]:
    """`build("--no-cache", image=NAME)` by docker/build; gives the image's id."""
    env, told = engine

    def built(*more: str, image: str = IMAGE, **variables: str) -> str:
        command = [ROOT / "docker" / "build", *told, *more]
        done = subprocess.run(command, env={**env, **variables, "IMAGE": image}, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stderr[-4000:]
        asked = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
        return subprocess.run(asked, env=env, capture_output=True, text=True, check=True).stdout.strip()

    return built


@pytest.fixture(scope="session")
def image(build: Callable[..., str]) -> str:
    build()
    return IMAGE


@pytest.fixture
def docker(engine: tuple[dict[str, str], list[str]], image: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`docker("run", …)`; standard output and error are kept apart."""

    def call(*words: str | Path, program: str | Path = "docker", timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *words], env={**engine[0], **env}, cwd=ROOT, capture_output=True, text=True, timeout=timeout)

    return call
