"""`seedbed new`: what it writes works as it stands, nothing that is there is touched, and a name that can't be is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import OUTSIDE, ROOT

from seedbed import cli, new


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project's config files and code, which the command takes for its project."""
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "local"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests" / "example").mkdir(parents=True)  # as here, where tests mirror src
    for name in ("conftest.py", "forked.py", "tiers.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests")
    monkeypatch.setenv("SEEDBED_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one package and nothing in it, called as a copy might be."""
    for name in ("churn", "seedbed"):
        (tmp_path / "src" / name).mkdir(parents=True)
        (tmp_path / "src" / name / "__init__.py").touch()
    (tmp_path / "conf").mkdir()
    monkeypatch.setenv("SEEDBED_ROOT", str(tmp_path))
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def python(project: Path, *words: str) -> str:
    env = {**OUTSIDE, "PYTHONPATH": str(project / "src")}
    done = subprocess.run([sys.executable, "-m", *words], cwd=project, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_what_is_written_and_said(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(bare)
    assert cli.main(["new", "data", "wine_list"]) == 0
    said = capsys.readouterr().out
    assert files(bare) - before == {"src/churn/data_wine_list.py", "conf/data/wine_list.yaml", "tests/test_data_wine_list.py"}
    assert all(name in said for name in files(bare) - before)
    assert "bin/seedbed train data=wine_list" in said.replace("'", "")
    before = files(bare)
    assert cli.main(["new", "model", "wine_list"]) == 0
    said = capsys.readouterr().out
    assert files(bare) - before == {"src/churn/model_wine_list.py", "conf/model/wine_list.yaml", "tests/test_model_wine_list.py"}
    assert "bin/seedbed train model=wine_list data=wine_list" in said.replace("'", "")  # the data of that name are there
    test = (bare / "tests/test_model_wine_list.py").read_text()
    assert 'class TestWineList(ModelContract):\n    config = "model=wine_list data=wine_list"' in test
    for kind in ("data", "model"):
        text = (bare / f"conf/{kind}/wine_list.yaml").read_text()
        assert text.startswith("# ")
        assert f"churn.{kind}_wine_list.wine_list" in str(yaml.safe_load(text))


def test_a_model_without_data_of_its_name_is_tested_on_the_default(bare: Path) -> None:
    assert cli.main(["new", "model", "net"]) == 0
    assert 'config = "model=net"' in (bare / "tests/test_model_net.py").read_text()


@pytest.mark.parametrize(
    "name", ["", "1a", "na-me", "a b", "a/b", "../a", "données", "class", "None", "null", "True", "_x", "keras", "a\n"]
)
@pytest.mark.parametrize("kind", ["data", "model"])
def test_a_name_that_can_t_be(kind: str, name: str, bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(bare)
    assert cli.main(["new", kind, name]) == 2
    assert capsys.readouterr().err == (
        f"seedbed new: {name!r} is not accepted. Accepted: a name for a Python function: a to z, digits and _; no word of Python (class, def), "
        f"and none of {', '.join(sorted(new.TAKEN))}.\n"
    )
    assert files(bare) == before


@pytest.mark.parametrize("kind", ["data", "model"])
@pytest.mark.parametrize("there", ["src/churn/{kind}_mine.py", "conf/{kind}/mine.yaml", "tests/test_{kind}_mine.py"])
def test_nothing_is_written_over(kind: str, there: str, bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = bare / there.format(kind=kind)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    before = files(bare)
    assert cli.main(["new", kind, "mine"]) == 2
    assert capsys.readouterr().err.startswith(f"seedbed new: {there.format(kind=kind)}: there already, and nothing was written.")
    assert (files(bare), file.read_text()) == (before, "mine")


def test_a_choice_of_the_project_s_own_is_there_already(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", "data", "digits"]) == 2
    assert "conf/data/digits.yaml: there already" in capsys.readouterr().err


def test_a_link_to_nowhere_is_not_written_through(bare: Path) -> None:
    (bare / "src/churn/data_mine.py").symlink_to(bare / "elsewhere.py")
    assert cli.main(["new", "data", "mine"]) == 2
    assert not (bare / "elsewhere.py").exists()


def test_all_or_nothing(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bare / "tests").write_text("a file, where a folder is needed")
    before = files(bare)
    assert cli.main(["new", "data", "mine"]) == 2
    assert "is a file and no folder" in capsys.readouterr().err
    assert files(bare) == before


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_killed_call_is_repeated(after: int, bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It leaves the files that it came to, and perhaps half of one under another name."""
    before = files(bare)
    assert cli.main(["new", "data", "mine"]) == 0
    whole, made = files(bare), [name for name in files(bare) if name not in before]
    assert len(made) == 3
    for name in made[after:]:
        (bare / name).unlink()
    (bare / made[after]).with_name(f".{Path(made[after]).name}.new").write_text("half")
    assert cli.main(["new", "data", "mine"]) == 0
    assert files(bare) == whole
    (bare / made[0]).write_text("changed")
    assert cli.main(["new", "data", "mine"]) == 2
    assert "there already, and nothing was written" in capsys.readouterr().err


def test_the_package_is_the_project_s(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bare / "src/other").mkdir()
    (bare / "src/other/__init__.py").touch()
    assert cli.main(["new", "data", "mine"]) == 2
    assert "Say which: --package churn or --package other." in capsys.readouterr().err
    assert cli.main(["new", "data", "mine", "--package", "seedbed"]) == 2
    assert "Accepted: churn, other." in capsys.readouterr().err
    assert cli.main(["new", "data", "mine", "--package", "other"]) == 0
    assert (bare / "src/other/data_mine.py").exists()
    shutil.rmtree(bare / "src/other")
    shutil.rmtree(bare / "src/churn")
    assert cli.main(["new", "data", "yours"]) == 2
    assert "holds no package beside seedbed" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["data"], ["thing", "x"]])
def test_words_that_are_missing_or_wrong(words: list[str], bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["new", *words])
    assert left.value.code == 2
    assert "usage: seedbed new" in capsys.readouterr().err


@pytest.mark.integration
def test_they_work_as_they_are_written(project: Path) -> None:
    assert cli.main(["new", "data", "mine"]) == cli.main(["new", "model", "mine"]) == 0
    python(project, "seedbed", "train", "data=mine", "model=mine", "training.epochs=2", "tracking=none")
    assert len(list(project.glob("runs/*/model.keras"))) == 1
    assert "2 passed" in python(project, "pytest", "-n", "0", "tests/example/test_data_mine.py")
    mine = ["src/example/data_mine.py", "src/example/model_mine.py"]
    tests = ["tests/example/test_data_mine.py", "tests/example/test_model_mine.py"]
    python(project, "ruff", "check", "--no-cache", *mine, *tests)
    python(project, "ruff", "format", "--no-cache", "--check", *mine, *tests)
    python(project, "seedbed", "audit", *mine)


@pytest.mark.slow
@pytest.mark.parametrize("with_data", [True, False])
def test_the_model_s_own_test_passes(with_data: bool, project: Path) -> None:
    if with_data:
        assert cli.main(["new", "data", "mine"]) == 0
    assert cli.main(["new", "model", "mine"]) == 0
    python(project, "mypy", "--cache-dir", "/dev/null", *map(str, project.glob("src/example/*_mine.py")))
    assert "8 passed" in python(project, "pytest", "-n", "0", "tests/example/test_model_mine.py")


COPIER = """#!/usr/bin/env bash
made="${@: -1}"
mkdir -p "$made"
echo "$(basename "$made")" >"$made/name"
[ ! -e "$STOP" ] || { : >"$STOP.now"; kill -9 $PPID; }
"""


def test_a_killed_make_new_is_repeated(tmp_path: Path) -> None:
    """Its half-made project is in nobody's way, and goes with the next call. copier is a stand-in that makes one file."""
    template, tools, dest, stop = tmp_path / "template", tmp_path / "bin", tmp_path / "mein Projekt ü", tmp_path / "stop"
    (template / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "new", template / ".ci" / "new")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(template)]
    for words in (["init", "-q"], ["add", "--all"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    tools.mkdir()
    (tools / "python").symlink_to(sys.executable)
    (tools / "copier").write_text(COPIER)
    (tools / "copier").chmod(0o755)

    def call() -> subprocess.CompletedProcess[str]:
        env = {**OUTSIDE, "BIN": str(tools), "STOP": str(stop), "HOME": str(tmp_path)}
        return subprocess.run([template / ".ci" / "new", str(dest), "--defaults"], env=env, capture_output=True, text=True, timeout=120)

    stop.touch()
    assert call().returncode == -9
    assert not dest.exists()
    assert len(list(tmp_path.glob(".seedbed-new-*"))) == 1
    stop.unlink()
    dest.mkdir()  # an empty folder is accepted
    done = call()
    assert done.returncode == 0, done.stderr
    assert (dest / "name").read_text().strip() == dest.name
    assert subprocess.run(["git", "-C", dest, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout == ""
    assert not list(tmp_path.glob(".seedbed-new-*"))
    assert call().returncode == 2
    (dest / "name").write_text("kept")
    assert "is there already, and isn't empty" in call().stderr
