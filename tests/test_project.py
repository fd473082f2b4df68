"""The project's own files: the verbs, the documents."""

from __future__ import annotations

import re
import subprocess

from conftest import ROOT


def test_make_lists_every_verb_with_a_line_of_help() -> None:
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    for verb in phony.group(1).split():
        assert re.search(rf"^  make {verb} +\S", listed, re.MULTILINE), verb


def test_what_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    for path in set(re.findall(r"`((?:src|conf|tests|requirements)/[\w./]+)`", text)):
        assert (ROOT / path).exists(), path
    verbs = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)[`\s]", text)) - {"alone"} <= verbs | {"and"}


def test_configs_are_documentation() -> None:
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert path.read_text().startswith("#"), f"{path} doesn't say what it is"
