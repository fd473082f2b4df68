"""`make legacy`: the pins, the script's choice of Python or engine, its verdicts; and (slow) the real program on both backends."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import worktree
from conftest import OUTSIDE, ROOT

pytestmark = pytest.mark.integration

LEGACY = ROOT / "docker" / "legacy"
FILES = ("build.txt", "requirements.txt")

# The versions that print both of the tutorial's tables; the first three build the rest.
PINS = {
    "pip": "21.3.1", "setuptools": "59.6.0", "wheel": "0.37.1",
    "numpy": "1.12.1", "scipy": "0.19.0", "pandas": "0.19.2", "scikit-learn": "0.18.1", "theano": "0.9.0", "keras": "2.0.3",
    "python-dateutil": "2.8.2", "pytz": "2017.2", "pyyaml": "3.12", "six": "1.16.0",
    "tensorflow": "1.1.0", "protobuf": "3.3.0", "werkzeug": "0.12.1",
}  # fmt: skip


# --- pins ----------------------------------------------------------------------------------------------------------


def test_every_package_is_an_exact_version_with_hashes_and_no_more_are_there() -> None:
    found = {}
    for name in FILES:
        text = re.sub(r"\\\n", " ", (LEGACY / name).read_text())
        for line in text.splitlines():
            entry = re.fullmatch(r"([A-Za-z0-9-]+)==([0-9.]+)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", line)
            assert entry, line
            assert entry[1].lower() not in found
            found[entry[1].lower()] = entry[2]
    assert found == PINS


def test_the_old_packages_are_pinned_or_imported_nowhere_else() -> None:
    old = "|".join(rf"{re.escape(name)}\s*==\s*{re.escape(version)}(?![.\d])" for name, version in PINS.items())
    pinned = re.compile(rf"(?i)(?<![\w-])(?:{old}|theano\s*[=<>~]=)")
    imported = re.compile(r"^\s*(?:import|from)\s+theano\b", re.MULTILINE)
    looked_at = 0
    for path in (ROOT / name for name in worktree.files()):
        if LEGACY in path.parents or path == Path(__file__) or not path.is_file():
            continue
        if path.suffix in (".txt", ".toml", ".pins", ".in", ".yaml", ".yml", ".sh", "") or "Dockerfile" in path.name:
            looked_at += 1
            assert not pinned.search(path.read_text(errors="replace")), path
        if path.suffix in (".py", ".ipynb"):
            assert not imported.search(path.read_text(errors="replace")), path
    assert looked_at > 20


def test_no_host_is_named() -> None:
    for path in LEGACY.iterdir():
        text = path.read_text() if path.is_file() else ""
        assert "://" not in text, path
        assert "--index-url" not in text, path
        assert "--find-links" not in text, path


def test_the_image_is_pinned_and_hadolint_is_content() -> None:
    text = (LEGACY / "Dockerfile").read_text()
    base = re.search(r"^ARG BASE_IMAGE=python:(3\.6\.\d+)@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert base
    assert f"\nARG PYTHON_VERSION={base[1]}\n" in text
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE_IMAGE}"]
    installs = re.findall(r"pip install .*", text)
    assert len(installs) == 1
    assert "--require-hashes --no-deps" in installs[0]
    done = subprocess.run([Path(sys.executable).parent / "hadolint", LEGACY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def published(path: Path) -> dict[str, list[float]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return {backend: [float(row[backend]) for row in rows] for backend in ("theano", "tensorflow")}


PUBLISHED = published(LEGACY / "published.csv")


def test_the_published_values_are_those_of_the_tutorials_experiments() -> None:
    assert published(ROOT / "src" / "example" / "tutorial" / "published.csv") == PUBLISHED
    assert {len(values) for values in PUBLISHED.values()} == {10}


# --- which Python, which engine ------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A copy of what `make legacy` needs, in a project of its own, beside a PATH (`bin`) with neither Python 3.6 nor docker."""
    shutil.copytree(LEGACY, tmp_path / "docker" / "legacy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "docker" / "engine", tmp_path / "docker")
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    for name in ("bash", "sh", "env", "dirname", "mkdir", "cat", "cksum", "id", "rm", "sed", "tail"):
        program = shutil.which(name)
        assert program
        (tmp_path / "bin" / name).symlink_to(program)
    return tmp_path


def started(alone: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": str(alone / "bin"), "HOME": str(alone / "home"), **variables}
    return subprocess.run([alone / "docker" / "legacy" / "run", *words], env=env, cwd="/", capture_output=True, text=True, timeout=60)


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which it was refused."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_without_python_and_docker_it_is_one_line_and_status_2(alone: Path) -> None:
    said = refused(started(alone))
    assert "no Python 3.6" in said
    assert "PYTHON36=" in said
    assert "no docker" in said
    assert not (alone / ".legacy").exists()

    program(alone / "bin" / "docker", "echo Client; echo 'the daemon sleeps' >&2; exit 1")
    said = refused(started(alone))
    assert "no Python 3.6" in said
    assert said.endswith("docker does not answer: the daemon sleeps")
    assert refused(started(alone, ENGINE="podman")) == "ENGINE=podman asks for a container, and there is no podman."
    assert refused(started(alone, PYTHON36=sys.executable)).startswith(f"PYTHON36={sys.executable} is no Python 3.6")


def test_a_shim_without_its_python_is_passed_over_and_pyenvs_is_found(alone: Path) -> None:
    """As pyenv leaves `python3.6` on PATH, for a version that is installed and isn't active."""
    program(alone / "bin" / "python3.6", "echo 'pyenv: python3.6: command not found' >&2; exit 127")
    found = alone / "home" / ".pyenv" / "versions" / "3.6.15" / "bin" / "python"
    program(found, f'case "$*" in *ensurepip*) echo {found} ;; *) echo "asked for: $*" >&2; exit 1 ;; esac')
    done = started(alone)
    assert done.returncode == 2
    assert f"Setting up .legacy with {found}" in done.stderr
    assert "asked for: -I -m venv .legacy/venv" in done.stderr
    assert done.stderr.endswith("The packages of docker/legacy could not be installed into .legacy.\n")
    assert not (alone / ".legacy" / "venv" / "pins").exists(), "the next time it is tried again"


def test_in_a_container_nothing_of_the_host_is_there_and_nothing_is_sent(alone: Path) -> None:
    program(alone / "bin" / "docker", f'[ "$1" = version ] || echo "$*" >>{alone}/called; exit $FAILS')
    assert started(alone, "--json", FAILS="0", BUILD_ARGS="--network=host", DOCKER_ARGS="--cpus 1").returncode == 0
    build, run = (alone / "called").read_text().splitlines()
    assert build.startswith("build --platform linux/amd64 --tag seedbed:legacy --network=host ")
    assert build.endswith(" docker/legacy")
    for words in ("--rm", f"--user {os.geteuid()}:{os.getegid()}", "--network none", "--read-only", "--tmpfs /tmp:exec", "--cap-drop ALL"):
        assert f" {words} " in run
    assert run.endswith(" --cpus 1 seedbed:legacy --json")
    assert "--volume" not in run

    program(alone / "bin" / "docker", '[ "$1" = version ] || exit 1')
    done = started(alone)
    assert done.returncode == 2
    assert done.stderr.endswith("The image of docker/legacy could not be built.\n")


# --- verdicts ------------------------------------------------------------------------------------------------------


def compared(alone: Path, source: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """compare.py by this Python, with another program and without the old packages."""
    folder = alone / "docker" / "legacy"
    (folder / "program.py").write_text(
        f"import os, sys\nbackend = os.environ['KERAS_BACKEND']\npublished = {PUBLISHED!r}[backend]\n{source}\n"
    )
    (folder / "pkg_resources.py").write_text("class get_distribution:\n    def __init__(self, name): self.version = 'old'\n")
    env = {"PATH": str(alone / "bin"), "HOME": str(alone / "home"), **variables}
    command = [sys.executable, "docker/legacy/compare.py", ".legacy", *words]
    return subprocess.run(command, env=env, cwd=alone, capture_output=True, text=True, timeout=60)


PRINTED = "for value in published: print(value * {})"


def test_values_that_agree(alone: Path) -> None:
    done = compared(alone, PRINTED.format("(1 + 9e-6 if backend == 'theano' else 1.09)"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" agrees\n") == 20
    assert done.stdout.count("10 of 10 agree ") == 2
    assert "seed(1)" in done.stdout
    assert "set_random_seed(2)" in done.stdout


@pytest.mark.parametrize("backend", ["theano", "tensorflow"])
def test_one_value_that_differs(alone: Path, backend: str) -> None:
    off = {"theano": 1 + 2e-5, "tensorflow": 1.11}[backend]
    done = compared(alone, f"published[0] *= {off} if backend == '{backend}' else 1\n" + PRINTED.format(1))
    assert done.returncode == 1
    assert done.stdout.count("DIFFERS") == 1
    assert done.stdout.count("9 of 10 agree ") == 1
    told = json.loads(compared(alone, "published.pop()\n" + PRINTED.format(1), "--json").stdout)
    assert told["agree"] is told[backend]["agree"] is False, "a value is missing"


def test_a_program_that_fails_is_no_verdict(alone: Path) -> None:
    done = compared(alone, PRINTED.format(1) + "\nsys.exit('no module') if backend == 'tensorflow' else 0")
    assert done.returncode == 2
    assert done.stderr == "The program did not run on tensorflow: exit status 1: no module (all of it: .legacy/tensorflow.log)\n"


def test_theano_without_a_working_compiler_goes_on_in_pure_python(alone: Path) -> None:
    """A g++ that is there and can't compile; what Theano then prints on standard output is no value."""
    program(alone / "bin" / "g++", "exit 1")
    source = "if not os.environ.get('THEANO_FLAGS', '').endswith('cxx='): print('====='), sys.exit('no cc1plus')\n"
    headers = alone / "Python.h"
    headers.touch()
    site = f"import sysconfig\nsysconfig.get_paths = lambda: {{'include': {str(alone)!r}}}\n"
    (alone / "docker" / "legacy" / "sitecustomize.py").write_text(site)
    done = compared(alone, source + PRINTED.format(1), PYTHONPATH=str(alone / "docker" / "legacy"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "can't compile Theano's code (exit status 1: no cc1plus): again in pure Python" in done.stderr
    assert "(pure Python, for want of g++" in done.stdout

    headers.unlink()  # g++ without Python's headers isn't even tried
    done = compared(alone, source + PRINTED.format(1), PYTHONPATH=str(alone / "docker" / "legacy"))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_users_own_settings_are_neither_read_nor_written(alone: Path) -> None:
    source = (
        "from pathlib import Path\n"
        f"assert Path.home() == Path({str(alone / '.legacy' / 'home')!r}), Path.home()\n"
        f"assert os.environ['THEANO_FLAGS'].startswith('base_compiledir=' + {str(alone / '.legacy' / 'theano')!r} + ',')\n"
        "assert backend in ('theano', 'tensorflow')\n"
        "assert not {'THEANORC', 'KERAS_HOME', 'TF_XLA_FLAGS'} & set(os.environ)\n"
    )
    theirs = {"KERAS_BACKEND": "jax", "THEANO_FLAGS": "floatX=float64", "THEANORC": "/x", "KERAS_HOME": "/x", "TF_XLA_FLAGS": "x"}
    done = compared(alone, source + PRINTED.format(1), **theirs)
    assert done.returncode == 0, done.stderr
    assert list((alone / "home").iterdir()) == []


# --- the real thing ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_period_software_prints_both_tables(tmp_path: Path) -> None:
    """On all cores, and on one: there TensorFlow repeats to the bit, which is all that its race leaves."""
    program(tmp_path / "docker", "exit 1")  # Python 3.6 or nothing
    env = {**OUTSIDE, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def told(*before: str) -> dict[str, dict[str, list[float]]]:
        done = subprocess.run(
            [*before, "make", "-s", "legacy", "ARGS=--json"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=1500
        )
        if "There is no Python 3.6 here" in done.stderr:
            pytest.skip(done.stderr.splitlines()[0])
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    theirs = Path.home() / ".theano"
    before = theirs.exists() and sorted(theirs.rglob("*"))
    core = str(min(os.sched_getaffinity(0)))
    runs = [told(), told("taskset", "-c", core), told("taskset", "-c", core)]
    assert before == (theirs.exists() and sorted(theirs.rglob("*")))
    for run in runs:
        pairs = zip(run["theano"]["values"], PUBLISHED["theano"], strict=True)
        assert all(abs(here - there) <= 1e-5 * there + 1e-9 for here, there in pairs)
    assert runs[0]["theano"]["values"] == runs[1]["theano"]["values"] == runs[2]["theano"]["values"]
    assert runs[1]["tensorflow"]["values"] == runs[2]["tensorflow"]["values"]
    assert runs[1]["tensorflow"]["values"] == pytest.approx(PUBLISHED["tensorflow"], rel=0.03)
    assert runs[1]["tensorflow"]["values"] != pytest.approx(PUBLISHED["tensorflow"], rel=1e-3), "the race is in the published values"
    assert runs[0]["tensorflow"]["values"] == pytest.approx(PUBLISHED["tensorflow"], rel=0.1)
