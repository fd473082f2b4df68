"""YAML that is none, or that would hang who reads it: one sentence with file and line, before anything is made of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seedbed import Refused
from seedbed.run import config as configs
from seedbed.run import yaml_files

BOMB = "a: &a [1,2,3,4,5,6,7,8,9]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
WRONG = {
    "never closed": ("a: 1\nb: [1, 2\n", 3),
    "a tab": ("a:\n\tb: 1\n", 2),
    "two documents": ("a: 1\n---\nb: 2\n", 2),
    "an object": ("a: 1\nb: !!python/object/apply:os.system [echo]\n", 2),
    "an unknown tag": ("a: !mine 1\n", 1),
    "a day that isn't": ("a: 1\nb: !!timestamp 2026-13-45\n", 2),
    "a number that isn't": ("a: 1\n\nb: !!int twelve\n", 3),
    "a number of 5,000 digits": (f"a: 1\nb: {'9' * 5000}\n", 2),
    "a number by sixties of a megabyte": (f"a: 1\nb: 1{':1' * 400_000}\n", 2),
    "such a number with a fraction": (f"a: 1\nb: 1{':1' * 400_000}.5\n", 2),
    "such a number by its tag": (f"a: 1\nb: !!int '1{':1' * 400_000}'\n", 2),
    "a number of sixteens that can't be printed": (f"a: 1\nb: 0x{'f' * 5000}\n", 2),
    "a number of eights that can't be printed": (f"a: 1\nb: 0{'7' * 5000}\n", 2),
    "a number of twos that can't be printed": (f"a: 1\nb: -0b{'1' * 50_000}\n", 2),
    "a key that is such a number": (f"a: 1\n0x{'f' * 5000}: 1\n", 2),
    "a fraction without end": (f"a: 1\nb: 1.{'3' * 5000}\n", 2),
    "a number of nothing": ("a: 1\nb: !!int ''\n", 2),
    "a number of a sign": ("a: 1\nb: !!float '+'\n", 2),
    "a truth value that isn't": ("a: 1\nb: !!bool maybe\n", 2),
    "a time that isn't": ("a: 1\nb: !!timestamp soon\n", 2),
    "a time before all times": ("a: 1\nb: !!timestamp 0000-01-01T00:00:00Z\n", 2),
    "an alias bomb": (BOMB, 5),
    "a list of itself": ("a: &a [*a]\n", 1),
    "an alias of nothing": ("a: *b\n", 1),
    "a huge list": ("a:\n" + "- 1\n" * 60_000, 49_999),
    "deep": ("a: " + "[" * 5000 + "]" * 5000, 1),
    "deep, and never closed": ("a: " + "[" * 100_000, 1),
    "a control character": ("a: \x07\n", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_it_is_refused_with_file_and_line(name: str, tmp_path: Path) -> None:
    text, line = WRONG[name]
    (tmp_path / "conf.yaml").write_text(text)
    with pytest.raises(Refused) as refused:
        yaml_files.load(tmp_path / "conf.yaml")
    assert str(refused.value).startswith(f"{tmp_path / 'conf.yaml'}, line {line}: ")
    assert str(refused.value).isprintable()


def test_bytes_that_are_no_text_a_fifo_a_folder_and_what_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(Refused, match="line 2: this is no UTF-8"):
        yaml_files.load(path)
    path.write_bytes(b"#" * (yaml_files.LARGEST + 1))
    with pytest.raises(Refused, match="at most"):
        yaml_files.load(path)
    path.unlink()
    with pytest.raises(Refused, match="No such file"):
        yaml_files.load(path)
    os.mkfifo(path)  # opening it would wait for ever
    with pytest.raises(Refused, match="no plain file"):
        yaml_files.load(path)
    with pytest.raises(Refused, match="no plain file"):
        yaml_files.load(tmp_path)


def test_what_people_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    numbers = f"hash: '{'1' * 64}'\nname: {'a1' * 50}\nhalf: 1:30\n"
    path.write_text(f"day: 2026-11-30\n{numbers}float: 1.5e-3\nbase: &base {{a: 1}}\nmore: {{<<: *base, b: [x, null, true]}}\n")
    found = yaml_files.load(path)
    assert found["day"] == "2026-11-30"  # text, as for OmegaConf
    assert (found["hash"], found["name"]) == ("1" * 64, "a1" * 50)
    assert found["half"] == 90  # as for OmegaConf: what conf/ says is compared with what a record says
    assert found["more"] == {"a": 1, "b": ["x", None, True]}
    with pytest.raises(Refused, match=r"line 7: \*base is an alias"):
        yaml_files.load(path, of_record=True)


@pytest.mark.parametrize("name", WRONG)
def test_so_is_a_config_file_that_hydra_reads(name: str, tmp_path: Path, config_dir: Path) -> None:
    text, line = WRONG[name]
    (config_dir / "experiment" / "mine.yaml").write_text("# @package _global_\n" + text)
    with pytest.raises(Refused) as refused:
        configs.composed("experiment=mine", f"hydra.searchpath=[file://{config_dir}]")
    assert f"mine.yaml, line {line + 1}: " in str(refused.value)


def test_defaults_that_lead_back_to_themselves_are_named(config_dir: Path) -> None:
    for name, other in (("one", "two"), ("two", "three"), ("three", "two")):
        (config_dir / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\ndefaults: [{other}]\n")
    with pytest.raises(Refused, match=r"experiment/two.yaml → experiment/three.yaml → experiment/two.yaml"):
        configs.composed("experiment=one", f"hydra.searchpath=[file://{config_dir}]")


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    (tmp_path / "more" / "experiment").mkdir(parents=True)
    return tmp_path / "more"
