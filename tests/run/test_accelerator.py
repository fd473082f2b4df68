"""The GPU's side of a level: what is pinned, what is loaded, what the driver can; asked of stand-ins, since CI has no GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE, ROOT
from omegaconf import OmegaConf

from seedbed import Refused
from seedbed.run import accelerator, cuda, determinism, provenance, training
from seedbed.run.cuda import Library

PINS = {name: version for name, version in accelerator.pins((ROOT / "requirements" / "gpu.txt").read_text()).items() if "nvidia-" in name}
RUNTIME, CUDNN = PINS["nvidia-cuda-runtime-cu12"], PINS["nvidia-cudnn-cu12"]


@pytest.mark.parametrize("driver", ["12.0", "12.4", "12.9", "13.1"])
def test_a_driver_of_the_same_major_version_or_a_newer_one_will_do(driver: str) -> None:
    assert accelerator.driver_too_old(driver, "12.9.79") == []


def test_a_driver_that_is_too_old_is_named_with_what_is_pinned_and_what_is_needed() -> None:
    (wrong,) = accelerator.driver_too_old("11.8", "12.9.79")
    assert wrong == (
        "The driver supports CUDA 11.8, and CUDA 12.9.79 is pinned (nvidia-cuda-runtime-cu12): "
        "update the host's driver to 525.60.13 or newer."
    )
    assert "docker run --gpus all" in accelerator.driver_too_old("", "12.9.79")[0]


def test_packages_that_are_not_the_locks() -> None:
    locked = {"nvidia-cudnn-cu12": "9.28.0.42", "nvidia-nccl-cu12": "2.32.3"}
    assert accelerator.unlike_lock(locked, locked) == []
    old, missing = accelerator.unlike_lock({"nvidia-cudnn-cu12": "9.10.2.21", "nvidia-nccl-cu12": ""}, locked)
    assert old.startswith("nvidia-cudnn-cu12 9.10.2.21 installed, and requirements/gpu.txt pins 9.28.0.42")
    assert missing.startswith("nvidia-nccl-cu12 is not installed, and requirements/gpu.txt pins 2.32.3")


@pytest.mark.parametrize(("version", "path", "strange", "said"), [
    ("9.28.0", "/env/libcudnn.so.9", False, None),
    ("9.10.2", "/env/libcudnn.so.9", False, "cuDNN 9.10.2 comes from /env/libcudnn.so.9; 9.28.0.42 is pinned (nvidia-cudnn-cu12)"),
    ("9.2.0", "/env/libcudnn.so.9", False, "cuDNN 9.2.0 comes from"),  # no prefix of a number
    ("9.28.0", "/usr/lib/libcudnn.so.9", True,
     "cuDNN 9.28.0 comes from /usr/lib/libcudnn.so.9, outside of this environment; 9.28.0.42 is pinned (nvidia-cudnn-cu12): take it out of LD_LIB"),
    ("", "no such file", False, "cuDNN can't be loaded, 9.28.0.42 is pinned (nvidia-cudnn-cu12): no such file"),
])  # fmt: skip
def test_libraries_that_are_not_the_packages(
    version: str, path: str, strange: bool, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib")
    library = Library("cuDNN", "nvidia-cudnn-cu12", version, path, strange)
    wrong = accelerator.unlike_packages([library], {"nvidia-cudnn-cu12": "9.28.0.42"})
    assert (wrong == []) if said is None else wrong[0].startswith(said)


@pytest.mark.parametrize(("cuda_version", "cudnn_version", "runtime", "cudnn", "wrong"), [
    ("12.5.1", "9", "12.9.79", "9.28.0.42", []),
    ("12.5.1", "9", "12.5.82", "9.3.0.75", []),
    ("12.5.1", "9", "12.4.127", "9.28.0.42", ["TensorFlow was built with CUDA 12.5.1, and 12.4.127 is pinned"]),
    ("12.5.1", "9", "13.0.48", "9.28.0.42", ["TensorFlow was built with CUDA 12.5.1, and 13.0.48 is pinned"]),
    ("12.5.1", "9.3", "12.9.79", "9.1.0.70", ["TensorFlow was built with cuDNN 9.3, and 9.1.0.70 is pinned"]),
    ("12.5.1", "9", "12.9.79", "8.9.7.29", ["TensorFlow was built with cuDNN 9, and 8.9.7.29 is pinned"]),
    ("12.5.1", "9", "12.9.79", "", ["TensorFlow was built with cuDNN 9, and nothing is pinned"]),
])  # fmt: skip
def test_what_tensorflow_was_built_with(cuda_version: str, cudnn_version: str, runtime: str, cudnn: str, wrong: list[str]) -> None:
    pinned = {accelerator.RUNTIME: runtime, accelerator.CUDNN: cudnn}
    found = accelerator.unserved_build({"cuda_version": cuda_version, "cudnn_version": cudnn_version}, pinned)
    assert len(found) == len(wrong)
    assert all(line.startswith(start) for line, start in zip(found, wrong, strict=True))
    assert accelerator.unserved_build({}, {}) == []  # a CPU build


@pytest.mark.parametrize(("chosen", "hidden"), [
    (None, False), ("", True), ("-1", True), (" -1", True), ("-1,0", True), ("-2", True), ("NoDevFiles", True), ("0", False), ("1,0", False), ("GPU-3f", False),
])  # fmt: skip
def test_a_gpu_that_is_hidden_on_purpose(chosen: str | None, hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert cuda.hidden() is hidden


@pytest.fixture
def cuda_build(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if TensorFlow were built with CUDA, and this machine had a driver."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(accelerator, "build", lambda: {"is_cuda_build": True, "cuda_version": "12.5.1", "cudnn_version": "9"})
    monkeypatch.setattr(cuda, "in_sight", lambda: True)
    monkeypatch.setattr(cuda, "obstacle", lambda: "the driver says 'no'")
    monkeypatch.setattr(accelerator, "_gpus", lambda: [])
    return monkeypatch


@pytest.mark.parametrize(("chosen", "driver"), [("-1", True), ("0", False)])
def test_nothing_is_loaded_for_a_gpu_that_nobody_will_use(chosen: str, driver: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    monkeypatch.setattr(cuda, "in_sight", lambda: driver)
    monkeypatch.setattr(cuda, "_own", lambda package, file: pytest.fail(file))
    cuda.load.__wrapped__()


def test_a_cpu_build_has_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "build", lambda: {"is_cuda_build": False})
    accelerator.check("strict")
    assert accelerator.libraries() == {}
    assert accelerator.remark() is None
    assert accelerator.told() == ["No GPU: this TensorFlow was built without CUDA."]


def test_strict_ends_before_training_and_says_all_that_is_wrong(cuda_build: pytest.MonkeyPatch) -> None:
    cuda_build.setattr(accelerator, "problems", lambda: ["one thing", "another"])
    loaded: list[bool] = []
    cuda_build.setattr(cuda, "load", lambda: loaded.append(True))
    level: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "determinism" / "strict.yaml"))
    environment = {name: os.environ[name] for name in level["environment"] if name in os.environ}
    with pytest.raises(
        Refused, match=r"determinism=strict can't be kept on this machine's GPU:\n  one thing\n  another\n.*VISIBLE_DEVICES=-1"
    ):
        determinism.apply({**level, "environment": environment})
    assert loaded
    cuda_build.setenv("CUDA_VISIBLE_DEVICES", "-1")  # what the message says
    determinism.apply({**level, "environment": environment})
    assert accelerator.told() == ["No GPU: CUDA_VISIBLE_DEVICES=-1."]


def test_a_driver_without_a_gpu_for_tensorflow(cuda_build: pytest.MonkeyPatch) -> None:
    cuda_build.setattr(cuda, "driver", lambda: "12.9")
    cuda_build.setattr(cuda, "look", lambda: [])
    cuda_build.setattr(cuda, "installed", lambda name: PINS[name])
    cuda_build.setattr(provenance, "gpu", lambda: [])
    assert accelerator.problems() == ["There is an NVIDIA driver, and TensorFlow has no GPU: the driver says 'no'."]
    cuda_build.setattr(accelerator, "_gpus", lambda: [0])
    assert accelerator.problems()[0].startswith("nvidia-smi is missing or fails")
    cuda_build.setattr(provenance, "gpu", lambda: [{"name": "a"}])
    assert accelerator.problems() == []
    cuda_build.setattr(accelerator, "build", lambda: {"is_cuda_build": True, "cuda_version": "12.99.0", "cudnn_version": "9"})
    assert accelerator.problems()[0].startswith("TensorFlow was built with CUDA 12.99.0, and")


def test_why_no_gpu_is_used(cuda_build: pytest.MonkeyPatch) -> None:
    assert accelerator.remark() == "No GPU: the driver says 'no'."
    cuda_build.setattr(cuda, "in_sight", lambda: False)
    cuda_build.setenv("SEEDBED_IMAGE", "seedbed:gpu")
    assert accelerator.remark() == "No GPU: no NVIDIA driver in this container (docker run --gpus all)."
    assert accelerator.told() == [accelerator.remark()]
    accelerator.check("strict")  # no error: a GPU image may run anywhere
    cuda_build.setenv("CUDA_VISIBLE_DEVICES", "")
    assert accelerator.remark() is None


def test_a_run_says_once_why_it_uses_no_gpu(config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "remark", lambda: "No GPU: nobody has one.")
    said: list[str] = []
    training.run(config("training.epochs=1"), said=said.append)
    assert said == ["No GPU: nobody has one."]


# --- stand-ins for the libraries, so that the calls, the decoding and the loader are the real ones -----------------------------

NUMBER = "int {0}(int *v) {{ *v = {1}; return 0; }}"
PROPERTY = "int {0}(int part, int *v) {{ int parts[] = {{{1}}}; *v = parts[part]; return 0; }}"
PAIR = "int {0}(int *major, int *minor) {{ int parts[] = {{{1}}}; *major = parts[0]; *minor = parts[1]; return 0; }}"
RETURNED = "unsigned long {0}(void) {{ return {1}; }}"


def stand_in(path: Path, function: str, version: str) -> None:
    """A shared library that has one function, which tells a version as NVIDIA's would."""
    major, minor, patch = (int(part) for part in [*version.split("."), "0", "0"][:3])
    if function in ("cudaRuntimeGetVersion", "cuDriverGetVersion"):
        source = NUMBER.format(function, major * 1000 + minor * 10)
    elif function == "ncclGetVersion":
        source = NUMBER.format(function, major * 10000 + minor * 100 + patch)
    elif function == "cudnnGetVersion":
        source = RETURNED.format(function, major * 10000 + minor * 100 + patch)
    else:
        source = (PROPERTY if function.endswith("Property") else PAIR).format(function, f"{major}, {minor}, {patch}")
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{path.name}", "-o", str(path)]
    subprocess.run(command, input=source, text=True, check=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages: all that requirements/gpu.txt pins of NVIDIA, with libraries that say so."""
    site = tmp_path_factory.mktemp("site") / "site-packages"
    for name, version in PINS.items():
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for _, package, file, function, _ in cuda.LIBRARIES:
        stand_in(site / "nvidia" / file, function, PINS[package])
    return site


PROBE = """
import ctypes, json, sys
from seedbed.run import accelerator, cuda, provenance
accelerator.build = lambda: {"is_cuda_build": True, "cuda_version": "12.5.1", "cudnn_version": "9"}
accelerator._gpus = lambda: [0]
provenance.gpu = lambda: [{"name": "x"}]
for library in sys.argv[1:]:
    ctypes.CDLL(library)  # as TensorFlow would, before anybody could load another
cuda.load()
ctypes.CDLL("libcudnn.so.9")  # as TensorFlow does: whichever copy the loader has under that name
print(json.dumps([accelerator.told(), accelerator.libraries(), [library.path for library in cuda.look()]]))
"""


def probe(site: Path, *first: str, paths: tuple[Path, ...]) -> Any:
    python, loader = (os.pathsep.join(map(str, folders)) for folders in ((site, ROOT / "src"), paths))
    env = {**OUTSIDE, "PYTHONPATH": python, "LD_LIBRARY_PATH": loader, "SEEDBED_ROOT": str(ROOT)}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run([sys.executable, "-c", PROBE, *first], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


needs_compiler = pytest.mark.skipif(not shutil.which("gcc") or sys.platform != "linux", reason="stand-ins are compiled")


@needs_compiler
def test_libraries_are_asked_for_their_versions(site: Path, tmp_path: Path) -> None:
    stand_in(tmp_path / "new" / "libcuda.so.1", "cuDriverGetVersion", "12.9")
    stand_in(tmp_path / "older" / "libcuda.so.1", "cuDriverGetVersion", "12.4")
    stand_in(tmp_path / "old" / "libcuda.so.1", "cuDriverGetVersion", "11.8")
    said, recorded, paths = probe(site, paths=(tmp_path / "new",))
    assert said[0] == "driver for CUDA 12.9"
    assert len(said) == 2  # nothing is wrong
    assert all(path.startswith(str(site / "nvidia")) for path in paths)
    versions = recorded["accelerator"]
    assert versions["driver"] == "12.9"
    assert (versions["cuDNN"], versions["NCCL"]) == (CUDNN.rpartition(".")[0], PINS["nvidia-nccl-cu12"])
    assert versions["CUDA runtime"] == RUNTIME.rpartition(".")[0]
    assert all(PINS[package].startswith(versions[name]) for name, package, *_ in cuda.LIBRARIES)

    said, *_ = probe(site, paths=(tmp_path / "older",))
    assert said[0].startswith(f"driver for CUDA 12.4, older than the pinned {RUNTIME}: enough (same major)")
    assert len(said) == 2
    said, *_ = probe(site, paths=(tmp_path / "old",))
    assert said[2:] == accelerator.driver_too_old("11.8", RUNTIME)


@needs_compiler
def test_another_copy_in_the_loaders_way(site: Path, tmp_path: Path) -> None:
    stand_in(tmp_path / "libcuda.so.1", "cuDriverGetVersion", "12.9")
    stand_in(tmp_path / "libcudnn.so.9", "cudnnGetVersion", "9.10.2")
    stand_in(tmp_path / "libcudnn_graph.so.9.10", "cudnnGetVersion", "9.10.2")
    said, _, paths = probe(site, paths=(tmp_path,))
    assert len(said) == 2  # the environment's own was loaded first, by its path, and has the name
    assert not [path for path in paths if path.startswith(str(tmp_path))]
    said, *_ = probe(site, "libcudnn.so.9", paths=(tmp_path,))
    assert said[2:] == [
        f"cuDNN 9.10.2 comes from {tmp_path}/libcudnn.so.9, outside of this environment; {CUDNN} is pinned (nvidia-cudnn-cu12): "
        "take it out of LD_LIBRARY_PATH."
    ]
    said, *_ = probe(site, "libcudnn_graph.so.9.10", paths=(tmp_path,))  # a part of it that cuDNN loads by itself
    assert said[2:][0].startswith(f"cuDNN {CUDNN.rpartition('.')[0]} comes from {tmp_path}/libcudnn_graph.so.9.10, outside of")


@needs_compiler
def test_packages_and_libraries_that_part(site: Path, tmp_path: Path) -> None:
    stand_in(tmp_path / "libcuda.so.1", "cuDriverGetVersion", "12.9")
    other = tmp_path / "site-packages"
    shutil.copytree(site, other)
    (other / "nvidia" / "cusolver" / "lib" / "libcusolver.so.11").write_text("no library")
    stand_in(other / "nvidia" / "nccl" / "lib" / "libnccl.so.2", "ncclGetVersion", "2.18.1")
    for info in other.glob("nvidia_cudnn*"):
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nvidia-cudnn-cu12\nVersion: 9.10.2.21\n")
    said, *_ = probe(other, paths=(tmp_path,))
    package, solver, cudnn, nccl = said[2:]
    assert package.startswith(f"nvidia-cudnn-cu12 9.10.2.21 installed, and requirements/gpu.txt pins {CUDNN}")
    assert solver.startswith(f"cuSOLVER can't be loaded, {PINS['nvidia-cusolver-cu12']} is pinned (nvidia-cusolver-cu12): {other}")
    assert cudnn.startswith(f"cuDNN {CUDNN.rpartition('.')[0]} comes from {other}/nvidia/cudnn/lib/libcudnn.so.9; 9.10.2.21 is pinned")
    assert nccl.startswith("NCCL 2.18.1 comes from")
