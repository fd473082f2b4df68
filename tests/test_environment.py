"""The set-up, `.ci/environment`: broken off at each step, moved, on another PATH. What it calls is recorded and may be killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE, ROOT

pytestmark = pytest.mark.integration

# Stands for uv. It writes down each call; at call number DIE it kills the set-up and leaves half of what it was to do.
UV = """#!/usr/bin/env bash
[ "$1" != --version ] || { echo "uv 99.0"; exit; }
echo "uv $*" >>"$LOG"
if [ "$(wc -l <"$LOG")" = "${DIE:-0}" ]; then
  [ "$1" != venv ] || mkdir -p "${@: -1}/bin"
  kill -9 $PPID
  exit 1
fi
[ "$1" != venv ] || exec "$BASE" -m venv --without-pip "${@: -1}"
"""

# Stands for pip, which is asked for uv alone.
PIP = """
import os, pathlib, signal, sys
if sys.argv[1:] != ["--version"]:
    log = pathlib.Path(os.environ["LOG"])
    with log.open("a") as file:
        print("pip", *sys.argv[1:], file=file)
    made = pathlib.Path(sys.prefix, "bin", "uv")
    if len(log.read_text().splitlines()) == int(os.environ.get("DIE") or 0):
        made.write_text("half of it")
        os.kill(os.getppid(), signal.SIGKILL)
        sys.exit(1)
    made.write_text(os.environ["UV"])
    made.chmod(0o755)
"""


class Project:
    """A copy of what sets up, in a folder whose name holds blanks, quotes and letters of other scripts."""

    def __init__(self, folder: Path, uv: bool) -> None:
        self.root, self.log, self.uv = folder / "mein Projekt ü 植'x", folder / "log", uv
        self.venv = self.root / ".venv"
        (self.root / ".ci").mkdir(parents=True)
        for name in ("Makefile", ".ci/environment", ".ci/uv"):
            shutil.copy(ROOT / name, self.root / name)
        (self.root / "requirements").mkdir()
        for name in ("build", "cpu", "dev", "uv"):
            (self.root / "requirements" / f"{name}.txt").write_text(f"{name}==1\n")
        (self.root / "pyproject.toml").write_text("")
        self.bin, modules = folder / "bin with a blank", folder / "modules"
        self.bin.mkdir()
        for name, text in {"pip": PIP, "ensurepip": ""}.items():  # `venv` calls the latter; the real one takes seconds
            (modules / name).mkdir(parents=True)
            (modules / name / "__init__.py").write_text("")
            (modules / name / "__main__.py").write_text(text)
        (self.bin / "uv").write_text(UV)
        (self.bin / "uv").chmod(0o755)
        self.base = Path(getattr(sys, "_base_executable", sys.executable))
        self.env = {"LOG": str(self.log), "UV": UV, "BASE": str(self.base), "PYTHONPATH": str(modules), "HOME": str(folder)}

    def set_up(self, level: str = "dev", die: int = 0, status: int | None = 0, **env: str) -> list[str]:
        """Set up to a level, and what was called for it."""
        self.log.write_text("")
        path = os.pathsep.join([*([str(self.bin)] if self.uv else []), str(self.base.parent), "/usr/bin", "/bin"])
        command = [".ci/environment", level]
        done = subprocess.run(
            command, cwd=self.root, env={"PATH": path, "DIE": str(die), **self.env, **env}, capture_output=True, text=True
        )
        self.said = done.stdout + done.stderr
        assert status is None or done.returncode == status, self.said
        assert (done.returncode != 0) == bool(die) or status != 0
        assert "No such file" not in self.said
        return self.log.read_text().splitlines()

    def is_done(self) -> None:
        assert not (self.venv / ".unfinished").exists()
        assert subprocess.run([self.venv / "bin" / "python", "-c", ""]).returncode == 0
        assert self.set_up() == []


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["uv on PATH", "no uv"])
def project(request: Any, tmp_path: Path) -> Project:
    found = Project(tmp_path, request.param)
    assert request.param or not any((Path(folder) / "uv").exists() for folder in (found.base.parent, "/usr/bin", "/bin"))
    return found


@pytest.mark.parametrize("project", [True, False], ids=["uv on PATH", "no uv"], indirect=True)
def test_broken_off_at_each_step_it_goes_on(project: Project) -> None:
    calls = project.set_up()
    assert len(calls) == 5, calls
    project.is_done()
    for step in range(1, len(calls) + 1):
        shutil.rmtree(project.venv)
        project.set_up(die=step, status=None)
        assert (project.venv / ".unfinished").exists() or step == 1 == len(project.log.read_text().splitlines())
        again = project.set_up()
        assert "reinstall" in again[0] or "venv" in again[0], again  # what was killed counts as not done
        assert len(again) > len(calls) - step
        assert [call.split(" --")[0] for call in again] == [call.split(" --")[0] for call in calls[-len(again) :]]
        project.is_done()


def test_another_path_than_before(project: Project) -> None:
    project.set_up()
    project.uv = not project.uv
    project.is_done()
    (project.root / "requirements" / "dev.txt").write_text("dev==2\n")
    calls = project.set_up()
    assert calls[-1].startswith("uv pip install")
    assert calls[-1].endswith("requirements/dev.txt")
    project.is_done()
    (project.root / "requirements" / "cpu.txt").write_text("cpu==2\n")
    assert len(project.set_up()) == 4  # `sync` takes away what the tests need: it is installed again
    project.is_done()
    (project.root / "pyproject.toml").write_text("[tool.x]\n")
    assert len(project.set_up()) == 1


def test_a_uv_on_path_that_does_not_answer_is_none(project: Project) -> None:
    (project.bin / "uv").write_text("#!/bin/sh\nexit 127\n")
    assert project.set_up()[0].startswith("pip install")
    project.is_done()


def test_another_python_or_place(project: Project) -> None:
    project.set_up()
    python, lib = project.venv / "bin" / "python", next((project.venv / "lib").iterdir())
    for name in project.venv.glob("bin/python*"):
        name.unlink()
        name.symlink_to("/nowhere/python3.11")
    assert len(project.set_up()) == 5
    assert "is set up again" in project.said
    assert python.resolve() == project.base.resolve()
    lib.rename(lib.with_name("python3.10"))  # its Python is a newer one by now
    assert len(project.set_up()) == 5
    project.root.rename(project.root.with_name("moved"))
    project.root = project.root.with_name("moved")
    project.venv = project.root / ".venv"
    assert len(project.set_up()) == 5
    project.is_done()


def test_the_active_environment_may_be_the_one_that_is_made_again(project: Project) -> None:
    project.set_up()
    (project.venv / ".uv").unlink()
    base, project.base = project.base, project.venv / "bin" / "python"
    assert len(project.set_up(BASE=str(base))) == 5
    assert project.base.resolve() == base.resolve()


def test_an_environment_elsewhere(project: Project, tmp_path: Path) -> None:
    project.venv = tmp_path / "über all" / "the environment"
    project.env["VENV"] = str(project.venv)
    assert len(project.set_up()) == 5
    project.is_done()
    assert not (project.root / ".venv").exists()
    project.env["VENV"] = str(tmp_path / "bin with a blank")
    assert project.set_up(status=2) == []
    assert "is no environment of Python's" in project.said
    assert (project.bin / "uv").exists()


def test_what_an_older_makefile_has_set_up_is_kept(project: Project) -> None:
    project.set_up()
    now = time.time()
    for number, mark in enumerate((".uv", ".train", ".dev")):
        (project.venv / mark).write_text("")
        os.utime(project.venv / mark, (now + number, now + number))
    (project.venv / ".place").unlink()
    project.is_done()
    for mark, calls in ((".dev", 1), (".train", 4)):  # older than the step before it, or than its requirements
        (project.venv / mark).write_text("")
        os.utime(project.venv / mark, (1, 1))
        assert len(project.set_up()) == calls


def test_what_cannot_be_done_is_said(project: Project) -> None:
    for name, message in {"/nowhere/python3": "PYTHON=/nowhere/python3 is no Python", "": "none was found on PATH"}.items():
        path = {"PYTHON": name} if name else {"PATH": f"{project.root}/tools"}
        tools = project.root / "tools"
        tools.mkdir(exist_ok=True)
        for tool in ("bash", "dirname", "ls", "mkdir", "cat", "env"):
            if not (tools / tool).exists():
                (tools / tool).symlink_to(str(shutil.which(tool)))
        project.set_up(status=2, **path)
        assert message in project.said
    (project.root / "requirements" / "cpu.txt").unlink()
    project.set_up(status=2)
    assert "git checkout -- requirements/cpu.txt" in project.said


def test_make_finds_the_environment_wherever_it_is(tmp_path: Path) -> None:
    """Folders whose names hold blanks: the project's, the environment's, and one of PATH."""
    project = Project(tmp_path, uv=True)
    venv = tmp_path / "über all" / "the environment"
    path = os.pathsep.join([str(project.bin), str(project.base.parent), "/usr/bin", "/bin"])
    env = {"PATH": path, **project.env}
    for words in (["setup-dev"], [str(tmp_path / "x" / ".train"), f"VENV={tmp_path / 'x'}"]):
        command = ["make", "-s", *words, *([f"VENV={venv}"] if len(words) == 1 else [])]
        done = subprocess.run(command, cwd=project.root, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    (venv / "bin" / "seedbed").write_text('#!/bin/sh\necho "seedbed $*"\n')
    (venv / "bin" / "seedbed").chmod(0o755)
    done = subprocess.run(
        ["make", "-s", "train", "ARGS=x=1 'y=a b'", f"VENV={venv}"], cwd=project.root, env=env, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "seedbed train x=1 y=a b", done.stderr


@pytest.mark.slow
def test_a_real_set_up_is_broken_off_and_goes_on(tmp_path: Path) -> None:
    """uv is killed while it installs; then the same again, from the caches of this machine or from the network."""
    project = Project(tmp_path, uv=False)
    shutil.copy(ROOT / "requirements" / "uv.txt", project.root / "requirements" / "uv.txt")
    shutil.copy(ROOT / "requirements" / "build.txt", project.root / "requirements" / "build.txt")
    env = {name: value for name, value in OUTSIDE.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    first = subprocess.Popen([".ci/environment", "uv"], cwd=project.root, env=env, start_new_session=True)
    try:
        first.wait(3)
    except subprocess.TimeoutExpired:
        os.killpg(first.pid, 9)
        first.wait()
    done = subprocess.run([".ci/environment", "uv"], cwd=project.root, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert subprocess.run([".ci/uv", "--version"], cwd=project.root, env=env).returncode == 0
