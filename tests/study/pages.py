"""Real studies for the tests of the page, made once for all of pytest's workers, and copies of them to spoil."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import forked
import pytest
from conftest import OUTSIDE, STRICT
from filelock import FileLock

from seedbed.run import integrity

WORDS = ("training.epochs=2", "study.n=3", "tracking=none")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, forks: forked.Parent) -> Path:
    """A folder of records with a comparison, its two studies of three seeds each, and a split of the variance."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "studies of the page"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            fresh = folder.with_name("in the making")
            for words in (
                ["compare", "optimizer.learning_rate=0.01", "optimizer.learning_rate=0.1", "--", *WORDS],
                ["variance", "optimizer.learning_rate=0.1", "study.streams=[init,shuffle]", *WORDS],
            ):
                forks.run([*words, f"runs='{fresh}'"], OUTSIDE | STRICT, base, 300).check_returncode()
            fresh.rename(folder)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of `made`, to spoil."""
    return shutil.copytree(made, tmp_path / "runs")


def study(runs: Path, beginning: str) -> Path:
    return next(path for path in sorted((runs / "studies").iterdir()) if path.name.startswith(beginning))


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Put `change` of a JSON file's content, or what it made of it, in its place; a record's hash as a forger would."""
    content = json.loads(path.read_text())
    content = change(content) or content
    if "sha256" in content:
        content["files"] = integrity.table(path.parent)
        content["sha256"] = integrity.own_hash(content)
    path.write_text(json.dumps(content))


class Seen(HTMLParser):
    """What a page holds: each tag with its attributes, and its text without the style."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._at = "", ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._at = tag

    def handle_data(self, data: str) -> None:
        self.text += data if self._at != "style" else ""

    @property
    def kinds(self) -> set[tuple[str, tuple[str, ...]]]:
        """The tags, each with the names of its attributes."""
        return {(tag, tuple(sorted(attrs))) for tag, attrs in self.tags}
