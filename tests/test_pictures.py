"""docs/pictures: what the README shows is what the commands print today, and no machine's own names are in it."""

from __future__ import annotations

import html
import importlib.util
import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

pytestmark = pytest.mark.integration

PICTURES = ROOT / "docs" / "pictures"


@pytest.fixture(scope="module")
def record() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", PICTURES / "record.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(svg: str) -> list[str]:
    """The lines of text in a terminal's picture, without its title."""
    rows: dict[float, str] = {}
    for y, text in re.findall(r'<text class="[\w-]*-r\d+"[^>]* y="([\d.]+)"[^>]*>(.*?)</text>', svg, re.DOTALL):
        rows[float(y)] = rows.get(float(y), "") + html.unescape(text).replace("\xa0", " ").rstrip("\n")
    return [rows[y].rstrip() for y in sorted(rows)]


def stable(lines: list[str]) -> list[str]:
    """Without what is another in each run: seconds, keys (they cover the code), MLflow's ids, and that MLflow was slow."""
    text = re.sub(r"^tracked .*", "tracked", "\n".join(lines), flags=re.MULTILINE)
    text = re.sub(r"^MLflow has not taken .*?missing then\.\n", "", text, flags=re.MULTILINE | re.DOTALL)
    for pattern, name in ((r"\b[0-9a-f]{64}\b", "KEY"), (r"\b[0-9a-f]{32}\b", "ID"), (r"\b\d+\.\d s\b", "SECONDS")):
        text = re.sub(pattern, name, text)
    return text.split("\n")


def test_the_pictures_are_those_of_the_script(record: ModuleType) -> None:
    drawn = {f"{name}.svg" for name in record.COMMANDS} | {picture for _, made in record.COMMANDS.values() for picture in made.values()}
    assert {path.name for path in PICTURES.iterdir() if path.suffix in (".svg", ".png")} == drawn
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert set(re.findall(r"pictures/([\w.]+)\)", "".join(page.read_text() for page in pages))) == drawn


@pytest.mark.parametrize("path", sorted(PICTURES.glob("*.svg")), ids=lambda path: path.stem)
def test_a_terminals_picture_names_no_machine(path: Path, record: ModuleType) -> None:
    text = path.read_text()
    ET.fromstring(text)
    assert re.findall(r"[a-z]+://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert not re.findall(r"/(?:tmp|home|root|work|Users|private)\b", text)
    command, _ = record.COMMANDS[path.stem]
    assert shown(text)[0] == f"$ {command}"
    assert len(text) < 40_000


@pytest.mark.parametrize("path", sorted(PICTURES.glob("*.png")), ids=lambda path: path.stem)
def test_a_studys_picture_is_small_and_names_no_maker(path: Path) -> None:
    content = path.read_bytes()
    assert len(content) < 150_000
    assert struct.unpack(">II", content[16:24])[0] <= 1400
    assert b"tEXt" not in content


def test_make_train_prints_what_the_readme_shows(record: ModuleType, tmp_path: Path) -> None:
    """In a terminal, in a copy of the project, as the picture was made: names, their order, streams, metrics and digests."""
    now = shown(record.drawn(record.screen(record.COMMANDS["train"][0], record.scratch(tmp_path)), "train"))
    committed = shown((PICTURES / "train.svg").read_text())
    assert stable(now) == stable(committed), "make pictures"
    assert any(line.startswith("digest   8e8662e5317f8500 ") for line in now)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["verify", "compare", "repeat"])
def test_the_other_commands_print_what_is_shown(name: str, record: ModuleType, tmp_path: Path) -> None:
    copy = record.scratch(tmp_path)
    if name == "verify":  # the picture's record was there
        record.screen(record.COMMANDS["train"][0], copy)
    now = shown(record.drawn(record.screen(record.COMMANDS[name][0], copy), name))
    study = [re.sub(r"\b(digits|compare)-[0-9a-f]{12}", "STUDY", line) for line in (stable(now))]
    committed = [
        re.sub(r"\b(digits|compare)-[0-9a-f]{12}", "STUDY", line) for line in stable(shown((PICTURES / f"{name}.svg").read_text()))
    ]
    assert study == committed, f'make pictures ARGS="{name}"'
