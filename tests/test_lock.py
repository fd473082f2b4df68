"""The lock against what TensorFlow asks for: the CUDA, cuDNN and NCCL that are pinned can serve the TensorFlow that is pinned.

TensorFlow's CPU wheel carries the CUDA build's requirements as the extra and-cuda, so that this fails on machines without a GPU,
too. Its ranges begin at the versions that TensorFlow was compiled with.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
from conftest import ROOT

from seedbed.run import accelerator, cuda

LOCKS = {path.stem: path for path in sorted((ROOT / "requirements").glob("*.txt"))}
GPU = LOCKS["gpu"].read_text()
PINS = {name: accelerator.pins(path.read_text()) for name, path in LOCKS.items()}

# What `tf.sysconfig.get_build_info()` of the CUDA wheel said (TensorFlow 2.21.0), for machines that have the CPU wheel.
BUILT_WITH = {"cuda_version": "12.5.1", "cudnn_version": "9"}
BUILD_OF = "2.21.0"


def required() -> list[str]:
    """TensorFlow's own requirements, from whichever wheel is installed."""
    for name in ("tensorflow", "tensorflow-cpu"):
        try:
            return importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
    raise AssertionError("no TensorFlow is installed")


def entries(text: str) -> list[str]:
    """A requirements file's entries, each with the lines that follow it."""
    return re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE)[1:]


def test_both_builds_are_of_one_version_and_that_is_the_one_that_is_asked() -> None:
    assert PINS["cpu"]["tensorflow-cpu"] == PINS["cpu"]["tensorflow"] == PINS["gpu"]["tensorflow"]
    installed = [version for name in ("tensorflow", "tensorflow-cpu") if (version := cuda.installed(name))]
    assert installed == [PINS["gpu"]["tensorflow"]]


def test_every_nvidia_package_that_tensorflow_asks_for_is_pinned_within_its_range() -> None:
    asked = [line for line in required() if line.startswith("nvidia-")]
    assert len(asked) >= 10  # the extra is there at all
    assert accelerator.unserved(required(), PINS["gpu"]) == []
    for line in asked:
        name = re.match(r"[\w-]+", line)
        assert name
        (entry,) = [entry for entry in entries(GPU) if entry.startswith(f"{name[0]}==")]  # once
        assert "--hash=sha256:" in entry


def test_the_pins_serve_what_tensorflow_was_built_with() -> None:
    assert PINS["gpu"]["tensorflow"] == BUILD_OF, "ask the new wheel: tf.sysconfig.get_build_info()"
    assert accelerator.unserved_build(BUILT_WITH, PINS["gpu"]) == []
    if accelerator.build().get("is_cuda_build"):
        assert {name: accelerator.build()[name] for name in BUILT_WITH} == BUILT_WITH


def test_the_libraries_that_are_looked_at_come_from_the_lock() -> None:
    assert {package for _, package, *_ in cuda.LIBRARIES} <= set(PINS["gpu"])


@pytest.mark.parametrize("cudnn", ["8.9.7.29", "9.1.0.70", "10.0.0.1", None])
def test_a_lock_that_cannot_serve_tensorflow_is_found_out(cudnn: str | None) -> None:
    version = PINS["gpu"]["nvidia-cudnn-cu12"]
    line = f"nvidia-cudnn-cu12=={version}"
    assert GPU.count(line) == 1
    wrong = accelerator.unserved(required(), accelerator.pins(GPU.replace(line, f"nvidia-cudnn-cu12=={cudnn}" if cudnn else "# none")))
    assert len(wrong) == 1
    assert wrong[0].startswith("TensorFlow asks for nvidia-cudnn-cu12")
    assert wrong[0].endswith(f", and {cudnn or 'nothing'} is pinned.")
    assert "9.3.0.75" in wrong[0]


def test_a_cuda_of_another_major_version_is_found_out() -> None:
    pinned = {**PINS["gpu"], "nvidia-cuda-runtime-cu12": "13.0.48"}
    assert [line.split()[3] for line in accelerator.unserved(required(), pinned)] == ["nvidia-cuda-runtime-cu12<13.0,>=12.5.82,"]
    assert len(accelerator.unserved_build(BUILT_WITH, pinned)) == 1


@pytest.mark.parametrize("file", LOCKS.values(), ids=LOCKS)
def test_every_entry_is_one_version_with_hashes_and_nothing_else(file: Path) -> None:
    found = entries(file.read_text())
    assert found
    assert [entry for entry in found if not re.match(r"[a-z0-9][a-z0-9._-]*==[^\s;\\]+ .*\\\n +--hash=sha256:[0-9a-f]{64}", entry)] == []
    # no address, no place to look, no option of pip's: only `-c requirements/cpu.txt` in comments
    told = re.sub(r"#.*", "", file.read_text())
    assert re.findall(r"\S*(?:://|@)\S*|(?<!\S)--?(?!hash=)[a-z]\S*", told) == []
    assert "://" not in file.read_text()


def test_the_files_agree_where_they_name_the_same_package() -> None:
    named: dict[str, dict[str, list[str]]] = {}
    for file, found in PINS.items():
        for name, version in found.items():
            named.setdefault(name, {}).setdefault(version, []).append(file)
    assert {name: versions for name, versions in named.items() if len(versions) > 1} == {}
