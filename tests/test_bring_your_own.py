"""docs/bring-your-own.md holds: its files are written as they stand there, and its commands run in a project of their own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import OUTSIDE, ROOT

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "bring-your-own.md"
FILE = re.compile(r"(?:# @package _global_\n)?# ([\w./-]+\.(?:py|yaml))\n")
FOR_THE_MACHINERY = ("src", "conf", "tests/conftest.py", "tests/forked.py", "tests/tiers.py", "pyproject.toml")


def blocks(chapter: str) -> Iterator[tuple[str, str]]:
    """(name of a file, its text), or ("", a command), in the page's order. A file's first line is its name, which a config file keeps."""
    text = PAGE.read_text().split(f"\n## {chapter}\n")[1].split("\n## ")[0]
    for kind, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if kind == "sh":
            yield from (("", line) for line in body.splitlines())
            continue
        name = FILE.match(body)
        assert name, f"a block of {kind} is of no file: {body[:60]!r}"
        yield name[1], body if kind == "yaml" else body[name.end() :]


def words_of(command: str, project: Path) -> list[str]:
    """The page's command, for this environment: make would set one up."""
    words = shlex.split(command)
    if words[0] == "python":
        return [sys.executable, *words[1:]]
    if words[0] == ".venv/bin/seedbed":
        return [sys.executable, "-m", "seedbed", *words[1:]]
    made = re.fullmatch(r'make ([a-z]+) ARGS="([^"]*)"', command)
    assert made, f"a command that this test can't run: {command}"
    verb, args = made[1], shlex.split(made[2])
    if verb == "test":
        return [sys.executable, "-m", "pytest", "-n", "0", *args]
    return [sys.executable, "-m", "seedbed", verb, *args, *(["tracking=none"] if verb == "train" else [])]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """This project without its history, its tests and its runs."""
    for name in FOR_THE_MACHINERY:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "local"))
        else:
            shutil.copy(source, target)
    (tmp_path / "tests" / "example").mkdir()
    return tmp_path


def run(words: list[str], project: Path) -> str:
    done = subprocess.run(
        words, cwd=project, env={**OUTSIDE, "PYTHONPATH": str(project / "src")}, capture_output=True, text=True, timeout=600
    )  # fmt: skip
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def follow(chapter: str, project: Path, wanted: tuple[str, ...] = ()) -> list[str]:
    """Do what a chapter says; of its commands those alone that begin with one of `wanted`, if any. What was run."""
    ran = []
    for name, text in blocks(chapter):
        if name:
            file = project / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif not wanted or text.startswith(wanted):
            run(words_of(text, project), project)
            ran.append(text)
    return ran


CHAPTERS = ("A table with text and numbers", "Pictures in folders")


def test_the_table_trains_as_the_page_says(project: Path) -> None:
    assert len(follow(CHAPTERS[0], project, ("python customers.py", 'make train ARGS="data=churn model=churn"'))) == 2
    assert len(list(project.glob("runs/*/record.json"))) == 1
    assert follow("A whole job in one word", project, ('make train ARGS="experiment=left"',))
    assert list(project.glob("runs/*/best.keras"))


@pytest.mark.slow
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_command_of_the_page(chapter: str, project: Path) -> None:
    ran = follow(chapter, project)
    assert len(ran) > 6
    if chapter == CHAPTERS[0]:
        assert len(follow("A whole job in one word", project)) == 2
    assert list(project.glob("runs/studies/*/report.html")) or chapter != CHAPTERS[0]


def test_the_page_s_files_are_what_new_writes_first() -> None:
    """`seedbed new` names the files, and the page fills in those and no other (but for the scripts that it begins with)."""
    for chapter in CHAPTERS:
        names = [name for name, _ in blocks(chapter) if name]
        made = [words.split()[-2:] for name, words in blocks(chapter) if not name and " new " in words]
        assert [kind for kind, _ in made] == ["data", "model"]
        mine = {f"{folder}{kind}_{name}.py" for kind, name in made for folder in ("src/example/", "tests/example/test_")}
        mine |= {f"conf/{kind}/{name}.yaml" for kind, name in made}
        assert {name for name in names if "/" in name} <= mine


def test_the_page_s_code_is_as_ruff_wants_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "seedbed").symlink_to(ROOT / "src" / "seedbed")  # so that ruff knows whose package it is
    for chapter in CHAPTERS:
        for name, text in blocks(chapter):
            if name.endswith(".py"):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(text.lstrip())
    ruff = Path(sys.executable).with_name("ruff")
    if not os.access(ruff, os.X_OK):
        pytest.skip("ruff isn't installed beside this Python")
    assert run([str(ruff), "check", "--no-cache", "."], tmp_path)
