"""README.md and docs/: each command as it is printed, each path, each link; slow: the README's commands, run in order.

Words in capitals in a command are the reader's to fill in: A, B and RUN are records.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import worktree
from conftest import OUTSIDE, ROOT

from seedbed import cli
from seedbed.run import config
from seedbed.study import compare

pytestmark = pytest.mark.integration

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
OWN_TESTS = {"bring-your-own.md", "causes.md"}  # what they say is run there: test_bring_your_own.py, proof/test_causes.py
# files that the reader has just made, by the commands or blocks above
MADE = {"data=shop": "data=csv", "data=wine": "data=csv", "model=net": "model=mlp"}
TRAIN = ("train", "repeat", "variance", "compare", "verify", "diagnose")


def blocks(page: Path) -> list[list[str]]:
    """The commands of each block of sh on a page, without the remarks beside them."""
    found = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [[line for line in (re.sub(r"(^|\s+)#\s.*", "", line).strip() for line in block.splitlines()) if line] for block in found]


def commands(page: Path) -> list[str]:
    return [command for block in blocks(page) for line in block for command in line.split(" && ")]


def verb_and_words(command: str) -> tuple[str, list[str]]:
    """('make', 'repeat', words) as (verb, words): of make with its ARGS, of seedbed itself, and in the image."""
    words = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=.*", word) or word.startswith("ARGS=")]
    if words[0] == "make":
        args = [word.removeprefix("ARGS=") for word in words if word.startswith("ARGS=")]
        return words[1].removeprefix("docker-"), shlex.split(args[0]) if args else []
    if words[0] in (".venv/bin/seedbed", "docker/run"):
        return words[1], words[2:]
    if words[:2] == ["docker", "run"]:
        return words[words.index("seedbed:cpu") + 1], words[words.index("seedbed:cpu") + 2 :]
    return words[0], []


def configs(verb: str, words: list[str]) -> Iterator[list[str]]:
    """The overrides of each config that a command trains."""
    words = [MADE.get(word, word) for word in words]
    if verb == "compare":
        sides, common = compare.sides_of(words)
        yield from ([*overrides, *common] for overrides in sides.values())
        return
    plain = [word for word in words if not word.startswith("-") and "=" in word and " " not in word]
    yield plain
    for flag, value in itertools.pairwise(words):
        if flag == "--against":
            yield [*plain, *shlex.split(value)]


def test_every_command_is_one_that_there_is() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    seen = 0
    for page in PAGES:
        for command in commands(page):
            words = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=.*", word)]
            seen += 1
            if words[0] == "make":
                assert set(words[1:]) <= targets, f"{page.name}: {command}"
            elif words[0] == ".venv/bin/seedbed":
                assert words[1] in cli.VERBS, f"{page.name}: {command}"
            elif words[0] not in ("cd", "cp", "docker", "python", "kill", "taskset"):
                assert (ROOT / words[0]).exists() or words[0].startswith(".venv/"), f"{page.name}: {command}"
    assert seen > 60


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in OWN_TESTS], ids=lambda page: page.name)
def test_every_config_composes(page: Path) -> None:
    for command in commands(page):
        verb, words = verb_and_words(command)
        for overrides in configs(verb, words) if verb in TRAIN else ():
            launcher = [word for word in overrides if word.startswith(("hydra/", "hydra."))]
            for word in launcher:
                if word.startswith("hydra/launcher="):
                    assert (ROOT / "conf" / "hydra" / "launcher" / f"{word.partition('=')[2]}.yaml").is_file(), command
            sweep = [word for word in overrides if re.fullmatch(r"[\w.]+=[^\[{'\"]*,.*", word)]
            try:
                config.composed(*(word for word in overrides if word not in launcher + sweep))
            except Exception as error:
                raise AssertionError(f"{page.name}: {command}") from error


def anchors(page: Path) -> set[str]:
    """As GitHub and mkdocs name them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page: Path) -> None:
    """Here, and in a copy for the pages that it gets; pages link to pages and pictures alone, so that they are a site as well."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    copied = page.parent == ROOT / "docs" and (ROOT / "template" / "docs" / page.name).is_symlink()
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"
        if page.name != "README.md":
            assert target.resolve().is_relative_to(ROOT / "docs"), f"{page.name}: {link}"
        if copied:
            there = ROOT / "template" / "docs" / path
            assert there.is_file() or there.with_name(f"{there.name}.jinja").is_file(), f"a copy has {page.name}, and not {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_are_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for path in set(re.findall(r"`((?:src|conf|tests|requirements|docker|docs)/[\w./-]+)`", text)) - {"docker/.env"}:
        where = ROOT / path
        assert where.exists() or page.name in OWN_TESTS or (ROOT / "docs" / path).exists(), f"{page.name}: {path}"


def test_the_levels_are_told_alike() -> None:
    """The table with promise and price stands in two places, and its figures on a third page."""
    tables = [
        re.findall(r"^\| `(?:off|seeded|strict|portable)`.*", (ROOT / page).read_text(), re.MULTILINE)
        for page in ("README.md", "docs/determinism.md")
    ]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 4
    (line,) = [line for line in tables[0] if line.startswith("| `portable`")]
    figures = re.search(r"(\d\.\d+) to (\d\.\d+) times .* rounds (\d\.\d+) to (\d\.\d+)", line)
    assert figures
    (said,) = re.findall(r"mlp \d[\s\S]*?; goal", (ROOT / "docs" / "portable.md").read_text())
    medians = [float(number) for number in re.findall(r"(?:mlp|cnn|gru|transformer) (\d\.\d+)", said)]
    rounds = [float(number) for number in re.findall(r"\d\.\d+", said)]
    assert [float(number) for number in figures.groups()] == [min(medians), max(medians), min(rounds), max(rounds)]


def test_the_readme_is_read_in_some_minutes() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    assert len(text.split()) <= 1700


# --- the README's commands, as printed, in order --------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """This project as it stands, as a reader has it: nothing is set up, nothing was trained."""
    return worktree.copied(tmp_path / "seedbed")


def environment(command: str) -> dict[str, str]:
    env = {name: value for name, value in OUTSIDE.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH", "CI")}
    env["PATH"] = os.pathsep.join(part for part in env["PATH"].split(os.pathsep) if part != str(Path(sys.executable).parent))
    if command == "make test":  # the rest runs by itself
        env["PYTEST_ADDOPTS"] = "-n 0 tests/test_project.py"
    return env


def answer(address: str, seconds: float) -> str:
    """What a server says that may still be starting."""
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=20) as page:
                return page.read().decode()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def ran(command: str, folder: Path) -> str:
    """What a line prints; a page's server is asked once, and ended by Ctrl-C."""
    if command == "make ui":
        port = "5917"
        with subprocess.Popen(["make", "ui"], cwd=folder, env={**environment(command), "PORT": port}, start_new_session=True) as server:
            try:
                return answer(f"http://127.0.0.1:{port}", seconds=300)
            finally:
                for _ in range(5):  # one can come too early, while its own processes are starting
                    os.killpg(server.pid, signal.SIGINT)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        server.wait(30)
                        break
    dry = re.sub(r"^make (docker-)", r"make --dry-run \1", command)  # no engine here; `make image-test` has one
    done = subprocess.run(["bash", "-ec", dry], cwd=folder, env=environment(command), capture_output=True, text=True, timeout=3600)
    expected = (1, 2) if command.startswith("make diff ") else (0,)  # something differs: make says 2 for any status but 0
    assert done.returncode in expected, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def filled_in(line: str, runs: Path) -> str:
    """With the two first records for A and B, and the first for RUN."""
    if not re.search(r"\b(A|B|RUN)\b", line):
        return line
    first, second = sorted(runs.glob("*/record.json"), key=lambda path: path.parent.stat().st_mtime)[:2]
    names = {"A": first.parent.name, "B": second.parent.name, "RUN": first.parent.name}
    return re.sub(r"\b(A|B|RUN)\b", lambda found: names[found[0]], line)


@pytest.mark.slow
def test_the_readme_as_a_reader_runs_it(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(ROOT / "README.md"):
        folder = clone
        for line in block:
            command, begun = filled_in(line, clone / "runs"), time.monotonic()
            ran(command, folder)
            with capsys.disabled():
                print(f"  {time.monotonic() - begun:6.1f} s  {command[:120]}", flush=True)
            if "cd ../churn" in line:
                folder = clone.parent / "churn"
    assert (clone / "runs" / "mlflow" / "mlflow.db").is_file()
    assert list((clone.parent / "churn" / "runs").glob("*/record.json"))
