"""`make release-check`: ready where all holds, and each item that doesn't is a line that says what is wrong and what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OUTSIDE, ROOT
from worktree import commit, copied, git

QUICK = ("tree", "tag", "changelog", "strings", "figures")
README = """# seedbed

## Levels

| level | promise | a step costs |
|---|---|---|
| `off` | none | |
| `seeded` | streams | |
| `strict` | bits | 1.02 |
| `portable` | bits elsewhere | 1.4 |

On one machine, 2026-11-24.
"""


def asked(folder: Path, *words: str, **env: str) -> tuple[int, str]:
    """Exit status, and all that was said."""
    command = [sys.executable, ".ci/release_check.py", *words]
    done = subprocess.run(command, cwd=folder, env={**OUTSIDE, **env}, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it stands here, with a changelog and a README that are ready for 0.2.0, and 0.1.0 released before."""
    folder = copied(tmp_path_factory.mktemp("release") / "it")
    git(folder, "tag", "v0.1.0")
    (folder / "README.md").write_text(README)
    (folder / "CHANGELOG.md").write_text("# Changes\n\n## [Unreleased]\n\n## [0.2.0] - 2026-11-26\n\n### Added\n\n- A thing.\n")
    commit(folder)
    return folder


@pytest.fixture
def clone(ready: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "--quiet", str(ready), "clone")
    return tmp_path / "clone"


def test_ready(clone: Path) -> None:
    status, said = asked(clone, "0.2.0", "--only", *QUICK)
    assert status == 0, said
    assert re.findall(r"^yes +(\w+)", said, re.MULTILINE) == list(QUICK)
    assert "0.2.0 is ready. Next: git tag --annotate v0.2.0" in said
    git(clone, "tag", "v0.2.0")
    status, said = asked(clone, "--only", *QUICK)  # the commit's tag says which
    assert (status, "0.2.0 is ready, and tagged." in said) == (0, True)


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    commit(folder)


def change(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    write(folder, name, text.replace(old, new))


# What is done to the clone; the item that then doesn't hold; what is said. Registry and folder are put together here, so that no file has them.
BROKEN = {
    "a file that isn't committed": (lambda it: (it / "new.py").write_text(""), "tree", "new.py"),
    "the version is an older commit": (lambda it: (git(it, "tag", "v0.2.0"), write(it, "a", "")), "tag", "v0.2.0 is another commit"),
    "a later version is there": (lambda it: git(it, "tag", "v1.10.0"), "tag", "0.2.0 is older than v1.10.0"),
    "no changelog": (lambda it: (git(it, "rm", "-q", "CHANGELOG.md"), commit(it)), "changelog", 'has no "## [0.2.0] - YYYY-MM-DD"'),
    "no entry": (lambda it: change(it, "CHANGELOG.md", "[0.2.0]", "[0.3.0]"), "changelog", 'has no "## [0.2.0] - YYYY-MM-DD"'),
    "no day": (lambda it: change(it, "CHANGELOG.md", " - 2026-11-26", ""), "changelog", "has no day"),
    "nothing said": (lambda it: change(it, "CHANGELOG.md", "- A thing.", ""), "changelog", "says nothing of 0.2.0"),
    "more than is released": (lambda it: change(it, "CHANGELOG.md", "d]\n", "d]\n\n- B\n"), "changelog", "lines under Unreleased"),
    "a registry": (lambda it: write(it, "a.txt", "x\nhttps://files.python" + "hosted.org/x\n"), "strings", "a.txt:2 names 'python"),
    "somebody's folder": (lambda it: write(it, "conf/a.yaml", "# a\npath: /ho" + "me/ada/x\n"), "strings", "conf/a.yaml:2 names '/ho"),
    "a scratch folder": (lambda it: write(it, "größe.txt", "file:///t" + "mp/w/mlruns\n"), "strings", "größe.txt:1 names"),
    "this checkout's folder": (lambda it: write(it, "a.txt", str(it)), "strings", "a.txt:1 names"),
    "a key": (lambda it: write(it, "a.pem", "-----BEGIN RSA PRIV" + "ATE KEY-----\n"), "strings", "a.pem:1 names"),
    "numbers without a day": (lambda it: change(it, "README.md", "2026-11-24", "today"), "figures", '"Levels": a table of numbers without'),
    "a level that nobody names": (lambda it: change(it, "README.md", "`portable`", "portable"), "figures", "lacks `portable`"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_not_ready(case: str, clone: Path) -> None:
    break_it, item, says = BROKEN[case]
    break_it(clone)
    status, said = asked(clone, "v0.2.0", "--only", *QUICK)
    assert status == 1, said
    (line,) = [line for line in said.splitlines() if line.startswith("no ")]
    assert re.match(rf"no +{item} ", line)
    assert says in line
    assert "0.2.0 is not ready: 1 of 5 items don't hold." in said


def test_the_hosts_that_this_machine_gets_packages_from_are_no_business_of_the_projects(clone: Path) -> None:
    write(clone, "a.txt", "ask wheels.example.test for it")
    assert asked(clone, "0.2.0", "--only", "strings")[0] == 0
    status, said = asked(clone, "0.2.0", "--only", "strings", PIP_INDEX_URL="https://user:word@wheels.example.test/simple")
    assert status == 1
    assert "a.txt:1 names 'wheels.example.test'" in said
    assert "word" not in said


def environment(clone: Path) -> None:
    """This environment as the clone's own, so that make doesn't set another one up."""
    (clone / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (clone / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    for name in (".uv", ".train", ".package", ".dev"):
        (clone / ".venv" / name).touch()


def test_lint_that_fails(clone: Path) -> None:
    environment(clone)
    write(clone, "src/example/wrong.py", "import os\n")
    status, said = asked(clone, "0.2.0", "--only", "tree", "lint")
    assert status == 1
    assert "yes  tree" in said
    assert re.search(r"^no +lint +`make --no-print-directory lint` fails \(.+\): call it, and mend what it says$", said, re.MULTILINE)


def test_what_an_item_writes_anew_is_not_committed_and_make_s_words_are_not_the_inner_make_s(clone: Path) -> None:
    """Another Makefile: what `docs` says is asked for here, not whether these documents can be built."""
    write(
        clone,
        "Makefile",
        '.PHONY: docs\ndocs:\n\t@[ -z "$(ARGS)" ] || { echo "ARGS=$(ARGS)"; exit 1; }\n\t@echo another >docs/architecture.svg\n',
    )
    status, said = asked(clone, "0.2.0", "--only", "tree", "docs", MAKEFLAGS=" -- ARGS=--only\\ docs")
    assert status == 1
    assert "yes  tree" in said
    assert re.search(r"^no +docs +it has written files anew \(docs/architecture\.svg, …\)", said, re.MULTILINE), said
    assert "ARGS=" not in said
    assert "0.2.0 is not ready" in said


@pytest.mark.slow
def test_a_lock_that_is_not_what_is_asked_for(clone: Path) -> None:
    environment(clone)
    assert asked(clone, "0.2.0", "--only", "lock")[0] == 0
    change(clone, "pyproject.toml", '"pandas>=2.3"', '"pandas>=2.3,<3"')
    status, said = asked(clone, "0.2.0", "--only", "lock")
    assert status == 1
    assert "make lock" in said


@pytest.mark.parametrize(("words", "says"), [
    ([], "This commit has no tags of a version. Say which"),
    (["0.2"], "VERSION=0.2 is not accepted. Accepted: three numbers"),
    (["../x"], "VERSION=../x is not accepted"),
])  # fmt: skip
def test_what_can_not_be_asked(words: list[str], says: str, clone: Path) -> None:
    status, said = asked(clone, *words)
    assert status == 2
    assert says in said
    assert "make release-check VERSION=0.2.0" in said


def test_without_git_there_is_nothing_to_ask(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci" / "release_check.py", tmp_path / ".ci")
    status, said = asked(tmp_path, "0.2.0", GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert status == 2
    assert "is no git checkout" in said
