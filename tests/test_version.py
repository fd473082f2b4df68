"""The version is git's: by tags, without any, in an archive, in the image; and no run key knows of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OUTSIDE, ROOT
from worktree import git

from seedbed.run import provenance

NEEDED = ("pyproject.toml", "README.md", "LICENSE", ".gitattributes", ".git_archival.txt", "docker/build", "docker/engine")

# What an installer asks the build backend for; then the version in it.
METADATA = """
import email, setuptools.build_meta as backend, sys
from pathlib import Path
folder = Path(sys.argv[1], backend.prepare_metadata_for_build_wheel(sys.argv[1]))
print(email.message_from_string((folder / "METADATA").read_text())["Version"], sorted(p.name for p in folder.rglob("LICENSE")))
"""


def installed(folder: Path) -> str:
    """The version that an installation of `folder` has."""
    out = folder.parent / f"{folder.name}-metadata"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    done = subprocess.run([sys.executable, "-c", METADATA, out], cwd=folder, env=OUTSIDE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    version, _, licences = done.stdout.splitlines()[-1].partition(" ")
    assert licences == "['LICENSE', 'LICENSE']"
    return version


def said(folder: Path, **env: str) -> str:
    """What `seedbed --version` says there."""
    env = {**OUTSIDE, "PYTHONPATH": str(folder / "src"), "SEEDBED_ROOT": str(folder), **env}
    done = subprocess.run([sys.executable, "-m", "seedbed", "--version"], cwd=folder, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def of_the_image(folder: Path) -> str:
    """What docker/build tells the image: asked of an engine that only answers."""
    engine = folder.parent / "engine"
    engine.write_text("#!/bin/sh\nexit 0\n")
    engine.chmod(0o755)
    done = subprocess.run([folder / "docker" / "build"], env={**OUTSIDE, "ENGINE": str(engine)}, capture_output=True, text=True, check=True)
    return done.stderr.split("VERSION=")[1].split()[0]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As much of this project as its installation needs, and no git."""
    folder = tmp_path / "project"
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    shutil.copytree(ROOT / "src" / "seedbed", folder / "src" / "seedbed", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("*.egg-info\n__pycache__\n")
    return folder


def commit(folder: Path, text: str) -> str:
    (folder / "README.md").write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", text)
    return git(folder, "rev-parse", "--short=9", "HEAD").strip()


def everywhere(folder: Path) -> set[str]:
    return {installed(folder), said(folder), of_the_image(folder)}


@pytest.mark.integration
def test_the_version_is_that_of_the_tag(project: Path) -> None:
    assert installed(project) == of_the_image(project) == "0.0.0"  # no git at all
    git(project, "init", "--quiet")
    first = commit(project, "one")
    git(project, "tag", "experiment-7")  # no version
    assert everywhere(project) == {f"0.0.0.post1.dev1+g{first}"}
    git(project, "tag", "v0.2.0")
    assert everywhere(project) == {"0.2.0"}
    second = commit(project, "two")
    assert everywhere(project) == {f"0.2.0.post1.dev1+g{second}"}
    (project / "src" / "seedbed" / "cli.py").open("a").write("\n")
    dirty = f"0.2.0.post1.dev1+g{second}."
    assert all(found.startswith(dirty) for found in everywhere(project))  # the day, or `dirty`


def test_an_archive_of_git_s_knows_its_version(project: Path, tmp_path: Path) -> None:
    git(project, "init", "--quiet")
    commit(project, "one")
    git(project, "tag", "v0.2.0")
    git(project, "archive", "--output", str(tmp_path / "it.tar"), "--prefix", "unpacked/", "v0.2.0")
    subprocess.run(["tar", "-xf", tmp_path / "it.tar", "-C", tmp_path], check=True)
    assert installed(tmp_path / "unpacked") == "0.2.0"


def test_an_image_says_what_it_was_told(tmp_path: Path) -> None:
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    assert said(tmp_path, PYTHONPATH=str(ROOT / "src"), SEEDBED_VERSION="0.2.0") == "0.2.0"
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text().replace('name = "seedbed"', 'name = "churn"'))
    assert said(tmp_path, PYTHONPATH=str(ROOT / "src")) == "0.0.0"  # nobody has installed it
    assert "SEEDBED_VERSION=${VERSION}" in (ROOT / "Dockerfile").read_text()


def test_no_run_key_knows_of_it(project: Path) -> None:
    """The same files under two tags: what they put into the key is the same."""
    script = (
        "import json; from seedbed.run import provenance as p; print(json.dumps([p.code(['keras.Sequential']), p.packages('tensorflow')]))"
    )
    env = {**OUTSIDE, "PYTHONPATH": str(project / "src")}
    shutil.copytree(ROOT / "requirements", project / "requirements")
    git(project, "init", "--quiet")
    commit(project, "one")
    found = []
    for tag in ("v0.2.0", "v0.3.0"):
        git(project, "tag", tag)
        done = subprocess.run([sys.executable, "-c", script], cwd=project, env=env, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    code, packages = found[0]
    assert "seedbed.run.training" in code
    assert "seedbed.version" not in code
    assert "tensorflow-cpu" in packages or "tensorflow" in packages
    assert "seedbed" not in packages


def test_an_installed_seedbed_counts_by_its_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(site))
    found = []
    for version in ("0.2.0", "0.3.0"):
        info = site / "churn-1.dist-info"
        shutil.rmtree(site, ignore_errors=True)
        (site / "churn").mkdir(parents=True)
        (site / "churn" / "__init__.py").write_text("")
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: churn\nVersion: {version}\n")
        (info / "top_level.txt").write_text("churn\nseedbed\n")
        (info / "RECORD").write_text("churn/__init__.py,sha256=abc,0\nseedbed/cli.py,sha256=abc,1\n")
        provenance._distributions.cache_clear()
        found.append(provenance.code(["churn.net"])["churn"])
    provenance._distributions.cache_clear()
    assert found[0] == found[1]
