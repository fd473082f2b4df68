"""The project's habits: each module says in its first line what it is for, and CONTRIBUTING.md leads to files and verbs that are there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from conftest import ROOT

MODULES = sorted(path for folder in ("src", "tests", "docker") for path in (ROOT / folder).rglob("*.py"))
SCRIPTS = sorted(
    path
    for folder in (".ci", "docker", "docker/legacy", "tests/image")
    for path in (ROOT / folder).iterdir()
    if path.is_file() and path.suffix != ".py" and path.read_text(errors="replace").startswith("#!")
)


def purpose(path: Path) -> str:
    """The first line of a module's docstring, or of the comment below a script's `#!`."""
    text = path.read_text()
    first, _, rest = text.partition("\n")
    if path.suffix == ".py" or "python" in first:
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return rest.partition("\n")[0].removeprefix("# ") if rest.startswith("# ") else ""


SAID = {str(path.relative_to(ROOT)): purpose(path) for path in [*MODULES, *SCRIPTS]}


def test_each_says_what_it_is_for() -> None:
    assert len(MODULES) > 150
    assert {".ci/run", "docker/build", "docker/pin"} <= set(SAID)
    assert {path: line for path, line in SAID.items() if len(line.split()) < 4} == {}


def test_the_first_line_does_not_go_on_in_the_second() -> None:
    assert {path: line for path, line in SAID.items() if not line.endswith((".", "?", ":"))} == {}


def test_no_two_say_the_same() -> None:
    times = Counter(SAID.values())
    assert {path: line for path, line in SAID.items() if times[line] > 1} == {}


def test_what_contributing_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text))
    assert len(paths) > 40
    assert [path for path in paths if not any((root / path).exists() for root in (ROOT, ROOT / "src" / "seedbed"))] == [
        "conf/determinism/NAME.yaml"
    ]
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b", text)) <= verbs


def test_the_licence_is_the_machinery_s_too() -> None:
    """A copy has a licence of its own, and the machinery keeps this one: its text goes where src/seedbed goes."""
    text = (ROOT / "LICENSE").read_bytes()
    assert b"Apache License" in text
    assert (ROOT / "src" / "seedbed" / "LICENSE").read_bytes() == text
