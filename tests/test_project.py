"""The project's own files: the lock, the verbs, the documents."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.parametrize("file", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_every_pin_has_a_hash_and_no_host_is_named(file: Path) -> None:
    text = file.read_text()
    pins = re.findall(r"^[a-z0-9][^\s=]*==[^\s;]+.*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert pins
    assert all("--hash=sha256:" in pin for pin in pins)
    assert not re.search(r"https?://|--index-url|--find-links", text)


def test_the_locks_agree_with_one_another() -> None:
    versions: dict[str, set[str]] = {}
    for file in (ROOT / "requirements").glob("*.txt"):
        for name, version in re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", file.read_text(), re.MULTILINE):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


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
