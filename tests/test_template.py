"""This project as the skeleton of another one: what a copy gets, what an update brings and what it leaves alone."""

from __future__ import annotations

import json
import keyword
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import OUTSIDE, ROOT
from worktree import SOMEBODY, commit, copied, git

pytestmark = pytest.mark.integration

TOOLS = Path(sys.executable).parent
EXAMPLES = {"none": ("mine", "net"), "tabular": ("wine", "mlp"), "images": ("digits", "cnn")}


def ran(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """What a command says; it has to end with `status`."""
    done = subprocess.run(command, cwd=cwd, env={**OUTSIDE, **SOMEBODY, "BIN": str(TOOLS)}, capture_output=True, text=True)
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def committed(folder: Path, message: str, tag: str | None = None) -> None:
    commit(folder, message)
    if tag:
        git(folder, "tag", tag)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it stands here, as a repository of its own with one version: v1.0.0."""
    folder = copied(tmp_path_factory.mktemp("template") / "seedbed")
    git(folder, "tag", "v1.0.0")
    return folder


def new(released: Path, folder: Path, *words: str) -> Path:
    ran(released / ".ci" / "new", folder, "--defaults", *words, cwd=released)
    return folder


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_copy_has_its_own_names_and_no_other(example: str, released: Path, tmp_path: Path) -> None:
    copy = new(released, tmp_path / "Image Search", "--data", f"example={example}", "--data", "licence=MIT", "--data", "holder=Us", "--data",
               'description=Finds "pictures"')  # fmt: skip
    project = tomllib.loads((copy / "pyproject.toml").read_text())
    assert project["project"]["name"] == "image-search"
    assert project["project"]["description"] == 'Finds "pictures"'
    assert project["tool"]["importlinter"]["root_packages"] == ["seedbed", "image_search"]
    compose = yaml.safe_load((copy / "docker" / "compose.yaml").read_text())
    assert compose["name"] == compose["networks"]["seedbed"]["name"] == "image-search"
    assert compose["services"]["train"]["image"].startswith("image-search:")
    assert yaml.safe_load((copy / "conf" / "tracking" / "local.yaml").read_text())["experiment"] == "image-search"
    chosen = {
        key: value
        for line in yaml.safe_load((copy / "conf" / "train.yaml").read_text())["defaults"]
        if isinstance(line, dict)
        for key, value in line.items()
    }
    assert (chosen["data"], chosen["model"], chosen["experiment"]) == (*EXAMPLES[example], None)
    assert "Us" in (copy / "LICENSE").read_text()
    assert "Apache" not in (copy / "LICENSE").read_text()  # which is the machinery's, and lies with it
    assert (copy / "src" / "seedbed" / "LICENSE").read_bytes() == (released / "LICENSE").read_bytes()
    assert project["project"]["license"] == "MIT AND Apache-2.0"
    assert project["project"]["authors"] == [{"name": "Us"}]
    assert "## [Unreleased]" in (copy / "CHANGELOG.md").read_text()
    page = (copy / "docs" / "bring-your-own.md").read_text()
    for group, name in re.findall(r"\b(data|model)=(\w+)", page):  # what the page tells to type is there, or made on the page
        assert (copy / "conf" / group / f"{name}.yaml").exists() or f"seedbed new {group} {name}\n" in page, f"{group}={name}"
    own = [
        file for file in copy.rglob("*") if file.is_file() and not {".git", "seedbed", "requirements"} & set(file.relative_to(copy).parts)
    ]
    assert not [file for file in own if file.is_symlink()]
    for file in own:  # no trace of the example, of what isn't copied, or of an answer that was not filled in
        if file.suffix in (".py", ".yaml", ".toml", ".json", ".md"):
            traces = re.findall(
                r"\bexample\.(?:data|models|tables|pictures|tutorial)|src/example|it is `example`|adam_2017|\[= |\[% ", file.read_text()
            )
            assert not traces, (file, traces)
    for page in [copy / "README.md", *(copy / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:\s]+)[^):]*\)", page.read_text()):
            assert (page.parent / link).is_file(), (page.name, link)
    assert (copy / "src" / "seedbed" / "cli.py").read_bytes() == (released / "src" / "seedbed" / "cli.py").read_bytes()
    assert os.access(copy / "docker" / "run", os.X_OK)
    assert ran("git", "log", "--format=%s", cwd=copy).split("\n")[0] == "Begin from the seedbed template"
    assert ran("git", "status", "--porcelain", cwd=copy) == ""
    ran(TOOLS / "ruff", "check", ".", cwd=copy)
    ran(TOOLS / "ruff", "format", "--check", ".", cwd=copy)
    assert "docs" not in tomllib.loads((copy / "pyproject.toml").read_text())["dependency-groups"]  # its pages are Markdown, and no site
    assert not (copy / "requirements" / "docs.txt").exists()
    targets = ran("make", cwd=copy)
    assert "make train" in targets
    assert "make template-update" in targets
    assert not re.search(r"make (new|tutorial|legacy|bench|comparison|mutation-test|pictures|docs|docs-serve) ", targets)
    here = set(re.findall(r"^  make ([a-z-]+)", targets, re.MULTILINE))
    (said,) = re.findall(r"see what is here; (.*?) are in the template alone", (copy / "README.md").read_text().replace("\n", " "))
    elsewhere = set(re.findall(r"`(?:make )?([a-z-]+)`", said))
    for page in [copy / "README.md", *(copy / "docs").glob("*.md")]:  # what a page tells to type is there, or said not to be
        verbs = set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE))
        assert verbs <= here | elsewhere, (page.name, verbs - here - elsewhere)
    assert not elsewhere & here


def test_a_copy_has_a_version_and_a_licence_of_its_own_or_none(released: Path, tmp_path: Path) -> None:
    copy = new(released, tmp_path / "churn", "--data", "example=none")
    assert not (copy / "LICENSE").exists()
    project = tomllib.loads((copy / "pyproject.toml").read_text())["project"]
    assert project["license-files"] == ["src/seedbed/LICENSE"]
    assert not {"license", "authors"} & set(project)

    def version() -> str:
        env = {**OUTSIDE, "PYTHONPATH": str(copy / "src")}
        return subprocess.run(
            [sys.executable, "-m", "seedbed", "--version"], env=env, cwd=copy, capture_output=True, text=True
        ).stdout.strip()

    assert version().startswith("0.0.0.post1.dev1+g")  # the template's v1.0.0 is not its own
    ran("git", "tag", "v0.3.0", cwd=copy)
    assert version() == "0.3.0"
    build = [sys.executable, "-c", "import sys, setuptools.build_meta as b; print(b.prepare_metadata_for_build_wheel(sys.argv[1]))"]
    assert ran(*build, str(tmp_path), cwd=copy).split()[-1] == "churn-0.3.0.dist-info"
    check = ran(sys.executable, ".ci/release_check.py", "--only", "tree", "tag", "changelog", "strings", "figures", cwd=copy, status=1)
    assert re.findall(r"^no +(\w+)", check, re.MULTILINE) == ["changelog", "changelog"]


def test_a_copy_trains(released: Path, tmp_path: Path) -> None:
    """In this environment; with one of its own by hand (`make train` in a copy)."""
    copy = new(released, tmp_path / "churn", "--data", "example=none")
    command = [sys.executable, "-P", "-m", "seedbed", "train", "experiment=quick", "--json"]
    done = subprocess.run(command, env={**OUTSIDE, "PYTHONPATH": str(copy / "src")}, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = Path(json.loads(done.stdout.splitlines()[-1])["record"])
    assert record.is_relative_to(copy)
    assert "churn.data" in json.loads((record / "record.json").read_text())["inputs"]["code"]


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_copy_passes_its_tests(example: str, released: Path, tmp_path: Path) -> None:
    copy = new(released, tmp_path / "churn", "--data", f"example={example}")
    tests = [sys.executable, "-m", "pytest", "-n", "0", "-m", "not slow and not image"]
    done = subprocess.run(tests, env={**OUTSIDE, "PYTHONPATH": str(copy / "src")}, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, file
    file.write_text(text.replace(old, new))


def test_an_update_brings_machinery_and_leaves_what_is_the_users(released: Path, tmp_path: Path) -> None:
    """Two versions on: new machinery, and not a line of the user's lost; where both changed a line, a conflict as git shows it."""
    template = tmp_path / "template"
    shutil.copytree(released, template, symlinks=True)
    copy = new(template, tmp_path / "churn", "--data", "example=tabular")
    assert "The machinery is the template's, version v1.0.0." in ran(copy / ".ci" / "template-check", cwd=copy)

    edit(copy / "src" / "churn" / "data.py", "bunch = load_wine()", "bunch = load_wine()  # mine")
    edit(copy / "conf" / "train.yaml", "seeds: default", "seeds: default  # mine")
    edit(copy / "requirements" / "cpu.txt", "keras==", "# mine\nkeras==")
    edit(copy / "pyproject.toml", '  "pandas>=2.3",', '  "pandas>=2.3",\n  "mine>=1",')
    edit(copy / "Makefile", "## this list", "## my list")
    (copy / "conf" / "model" / "deep.yaml").write_text("_target_: churn.models.mlp\nhidden: [9, 9, 9]\n")
    committed(copy, "mine")

    for version, old in (("v1.1.0", ""), ("v1.2.0", "v1.1.0")):
        edit(template / "src" / "seedbed" / "cli.py", old or "The commands: parse", version)
        edit(
            template / "template" / "src" / "[= package =]" / "data.py.jinja",
            "    bunch = load_wine()",
            f"    # {version}\n    bunch = load_wine()",
        )
        edit(template / "requirements" / "cpu.txt", "pandas==", f"# {version}\npandas==")
        edit(template / "pyproject.toml", '  "rich>=14",', f'  "rich>=14",  # {version}' if not old else '  "rich>=14",')
        committed(template, version, version)
        ran(TOOLS / "copier", "update", "--skip-answered", "--defaults", "--quiet", cwd=copy)
        assert (copy / "src" / "seedbed" / "cli.py").read_text().startswith(f'"""{version}')
        assert "UU" not in ran("git", "status", "--porcelain", cwd=copy)
        committed(copy, f"update to {version}")
    assert "load_wine()  # mine" in (copy / "src" / "churn" / "data.py").read_text()
    assert "v1." not in (copy / "src" / "churn" / "data.py").read_text()
    assert "seeds: default  # mine" in (copy / "conf" / "train.yaml").read_text()
    assert "# mine\nkeras==" in (copy / "requirements" / "cpu.txt").read_text()
    assert "# v1." not in (copy / "requirements" / "cpu.txt").read_text()
    assert '"mine>=1"' in (copy / "pyproject.toml").read_text()
    assert '"rich>=14",  # v1.1.0' in (copy / "pyproject.toml").read_text()
    assert "## my list" in (copy / "Makefile").read_text()
    assert (copy / "conf" / "model" / "deep.yaml").is_file()

    drift = ran(copy / ".ci" / "template-check", cwd=copy, status=1)
    assert "changed  Makefile" in drift
    assert "src/seedbed" not in drift
    edit(copy / "src" / "seedbed" / "cli.py", "def main(", "def main(  # mine\n    ")
    (copy / "src" / "seedbed" / "mine.py").write_text("")
    (copy / "docker" / "pin").unlink()
    drift = ran(copy / ".ci" / "template-check", cwd=copy, status=1)
    for line in ("changed  src/seedbed/cli.py", "added    src/seedbed/mine.py", "missing  docker/pin"):
        assert line in drift
    ran("git", "checkout", "--", ".", cwd=copy)
    ran("git", "clean", "-fdq", cwd=copy)

    edit(template / "Makefile", "## this list", "## the list")
    committed(template, "a line that the user has changed, too", "v1.3.0")
    ran(TOOLS / "copier", "update", "--skip-answered", "--defaults", "--quiet", cwd=copy)
    assert re.search(r"<{7}.*\n.*## my list\n={7}\n.*## the list\n>{7}", (copy / "Makefile").read_text())


def changed(file: Path, line: str = "# mine") -> str:
    """Work of the user's in a file of the machinery: a line at its end."""
    file.write_text(f"{file.read_text().rstrip()}\n{line}\n")
    return line


@pytest.mark.slow
def test_two_updates_lose_no_line_whatever_became_of_its_file(released: Path, tmp_path: Path) -> None:
    """Machinery that the user has changed is changed, removed and renamed by the template, and files come that he has, too."""
    template = tmp_path / "template"
    shutil.copytree(released, template, symlinks=True)
    copy = new(template, tmp_path / "churn", "--data", "example=none")
    own = {
        file: changed(copy / file, f"# mine: {file}")
        for file in ("Makefile", "src/seedbed/notes.py", "src/seedbed/follower.py", "src/seedbed/show.py", "docker/pin", "conf/determinism/strict.yaml",
                     "conf/model/net.yaml", "requirements/cpu.txt", "README.md", "tests/test_data.py", ".gitignore", "src/churn/data.py")
    }  # fmt: skip
    for file in ("src/churn/data_churn.py", "conf/data/churn.yaml", "conf/optimizer/lion.yaml", "src/seedbed/mine.py"):
        (copy / file).write_text(f"# mine: {file}\n")
        own[file] = f"# mine: {file}"
    edit(copy / "Makefile", "## this list", "## my list")
    removed = ["docs/not-tried.md", "conf/data/mine.yaml", "tests/test_data.py"]  # the machinery's, and two that the template began
    del own["tests/test_data.py"]
    for file in removed:
        (copy / file).unlink()
    ran(copy / ".ci" / "template-update", cwd=copy, status=2)  # not committed
    committed(copy, "mine")
    assert "src/seedbed/mine.py" in ran(copy / ".ci" / "template-check", cwd=copy, status=1)

    (template / "src" / "seedbed" / "notes.py").unlink()  # changed by the user
    (template / "src" / "seedbed" / "quiet.py").unlink()  # not changed
    (template / "src" / "seedbed" / "follower.py").rename(template / "src" / "seedbed" / "chaser.py")
    (template / "src" / "seedbed" / "new_file.py").write_text("new = 1\n")
    edit(template / "Makefile", "## remove the environment", "## take the environment away")
    edit(
        template / "src" / "seedbed" / "show.py",
        "What people read: the table at the end o",
        "Another: What people read: the table at the end o",
    )  # one that the user has changed elsewhere
    edit(template / ".ci" / "template-update", "set -euo", "# moves what follows\n" * 9 + "set -euo")  # while it runs
    edit(template / "conf" / "train.yaml", "seeds: default", "seeds: default  # of v1.1.0")
    committed(template, "two", "v1.1.0")
    said = ran(copy / ".ci" / "template-update", cwd=copy, status=1)
    for file in ("src/seedbed/notes.py", "src/seedbed/follower.py"):
        assert f"gone in the template   {file}" in said
        assert f"UD {file}" in ran("git", "status", "--porcelain", cwd=copy)
    assert "From v1.0.0 to v1.1.0." in said
    assert "yours is left as it is: conf/train.yaml" in said
    assert not (copy / "src" / "seedbed" / "quiet.py").exists()
    assert (copy / "src" / "seedbed" / "chaser.py").is_file()
    assert (copy / "src" / "seedbed" / "new_file.py").is_file()
    assert "## take the environment away" in (copy / "Makefile").read_text()
    assert "## my list" in (copy / "Makefile").read_text()
    committed(copy, "one version on")

    (template / "template" / "docker" / "pin.jinja").unlink()
    (template / "conf" / "optimizer" / "lion.yaml").write_text("# the template's\n")
    edit(template / "Makefile", "## this list", "## the list")
    committed(template, "three", "v1.2.0")
    said = ran(copy / ".ci" / "template-update", cwd=copy, status=1)
    assert "gone in the template   docker/pin" in said
    assert "Makefile" in said
    assert re.search(r"<{7}.*\n.*## my list\n={7}\n.*## the list\n>{7}", (copy / "Makefile").read_text())
    committed(copy, "two versions on")
    for file, line in own.items():
        assert line in (copy / file).read_text(), file
    assert not [file for file in removed if (copy / file).exists()]
    assert "v1.2.0" in (copy / ".copier-answers.yml").read_text()


@pytest.mark.parametrize(("words", "message"), [
    (["--data", "project=My Project"], "My Project is not accepted. Accepted: small letters, digits and hyphens"),
    (["--data", "package=seedbed"], "seedbed is taken"),
    (["--data", "package=class"], "class is taken"),
    (["--data", "project=json"], "Accepted: another one (--data package=my_json)"),
])  # fmt: skip
def test_names_that_can_not_be_had(words: list[str], message: str, released: Path, tmp_path: Path) -> None:
    said = " ".join(ran(released / ".ci" / "new", tmp_path / "churn", "--defaults", *words, cwd=released, status=2).split())
    assert "Traceback" not in said
    assert message in said
    assert not (tmp_path / "churn" / "src").exists()


def test_a_folder_that_is_not_empty_is_left_alone(released: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    assert "is there already, and isn't empty" in ran(released / ".ci" / "new", tmp_path, cwd=released, status=2)


def test_no_package_is_called_as_one_that_is_there() -> None:
    taken = set(yaml.safe_load((ROOT / "copier.yml").read_text())["taken"]["default"].split())
    words = {*keyword.kwlist, *sys.stdlib_module_names, *(path.name for path in (ROOT / "src").iterdir() if path.is_dir())}
    words |= {line.partition("==")[0] for line in (ROOT / "requirements" / "cpu.txt").read_text().splitlines() if line[:1].isalpha()} & {
        "keras", "numpy", "pandas", "scipy", "tensorflow", "mlflow", "rich", "joblib"}  # fmt: skip
    assert {word for word in words if re.fullmatch(r"[a-z][a-z0-9_]*", word)} - {"seedbed.egg-info"} <= taken


@pytest.mark.parametrize(("where", "words", "says"), [
    ("inside", ["--defaults"], "is inside of the template. Accepted: a folder beside it"),
    ("../churn", [], "Nobody can be asked here. Say what to begin with: make new DEST=../churn EXAMPLE=tabular"),
    ("../churn", ["--defaults", "--data", "example=mine"], "No project was made in ../churn: "),
])  # fmt: skip
def test_what_makes_no_project(where: str, words: list[str], says: str, released: Path) -> None:
    assert says in ran(released / ".ci" / "new", where, *words, cwd=released, status=2)
    assert not list((released / where).glob("*"))


def test_a_version_that_nobody_has_is_neither_made_nor_asked_for(released: Path, tmp_path: Path) -> None:
    template = tmp_path / "template"
    shutil.copytree(released, template, symlinks=True)
    copy = new(template, tmp_path / "churn", "--data", "example=none")
    (template / "customers.csv").write_text("")
    said = ran(template / ".ci" / "new", tmp_path / "other", "--defaults", cwd=template, status=2)
    assert "Not all is committed here (?? customers.csv)" in said
    assert not (tmp_path / "other").exists()
    assert "Not all is committed in" in ran(copy / ".ci" / "template-update", "--vcs-ref", "HEAD", cwd=copy, status=2)
    template.rename(tmp_path / "moved")
    for verb in ("template-check", "template-update"):
        assert "put its place into .copier-answers.yml (_src_path)" in ran(copy / ".ci" / verb, cwd=copy, status=2)
    edit(copy / ".copier-answers.yml", str(template), str(tmp_path / "moved"))
    committed(copy, "moved")
    assert "The machinery is that of the template's newest version" in ran(copy / ".ci" / "template-update", cwd=copy)
    shutil.rmtree(copy / "docker")
    (copy / "docs" / "runs.md").unlink()
    (copy / ".github" / "workflows" / "ci.yaml").write_text("mine")
    (copy / "docs" / "mine.md").write_text("mine")
    drift = ran(copy / ".ci" / "template-check", cwd=copy, status=1)
    for line in ("missing  docker/run", "missing  docs/runs.md", "changed  .github/workflows/ci.yaml"):
        assert line in drift
    assert "mine.md" not in drift
