"""What stands between the pinned CUDA and a run on a GPU.

TensorFlow asks for ranges of CUDA, cuDNN and NCCL, and takes what the loader finds; requirements/gpu.txt pins one version of
each. `check` refuses what isn't as pinned (at levels that promise bits), `remark` says why no GPU is used, `told` is for doctor.
The rules are functions over plain data, and a test holds the lock against them. On TensorFlow's CPU build there is nothing to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from seedbed import Refused, project_root
from seedbed.run import cuda, provenance
from seedbed.run.cuda import Library

RUNTIME, CUDNN = "nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu12"

# The oldest Linux driver for every minor version of a CUDA major version: NVIDIA's minor version compatibility
# (docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, and the table in the CUDA Toolkit's release notes).
OLDEST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580"}

INSTALL = "`uv pip sync --require-hashes requirements/gpu.txt`"


def check(level: str) -> None:
    """Raise Refused if a GPU driver is in sight and what stands between it and TensorFlow isn't as pinned; all in one message."""
    if _usable():
        _held(level)


@cache  # what has been loaded stays loaded
def _held(level: str) -> None:
    if wrong := problems():
        listed = "\n  ".join(wrong)
        raise Refused(f"determinism={level} can't be kept on this machine's GPU:\n  {listed}\nOr leave it alone: CUDA_VISIBLE_DEVICES=-1.")


def problems() -> list[str]:
    """What stands against a run on a GPU here, where a driver is in sight (imports TensorFlow)."""
    lock = project_root() / "requirements" / "gpu.txt"
    locked = {name: version for name, version in pins(lock.read_text()).items() if name.startswith("nvidia-")} if lock.exists() else {}
    packages = {name: cuda.installed(name) for name in {*locked, *(package for _, package, *_ in cuda.LIBRARIES)}}
    wrong = [*driver_too_old(cuda.driver(), packages[RUNTIME]), *unlike_lock(packages, locked), *unlike_packages(cuda.look(), packages)]
    if not wrong:
        wrong = unserved_build(build(), packages)
    if not wrong and not _gpus():
        wrong = [f"There is an NVIDIA driver, and TensorFlow has no GPU: {_why_none()}."]
    elif not wrong and not provenance.gpu():
        wrong = ["nvidia-smi is missing or fails, so nobody can record the kind of GPU that the bits depend on. "
                 "A container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility."]  # fmt: skip
    return wrong


def driver_too_old(driver: str, pinned: str) -> list[str]:
    """driver: the greatest CUDA version that it supports. pinned: the CUDA runtime's. By NVIDIA's rule the same major is enough."""
    if not driver:
        return ["There is an NVIDIA driver, and its libcuda.so.1 can't be loaded. A container gets it by `docker run --gpus all`, with "
                "NVIDIA_DRIVER_CAPABILITIES=compute,utility."]  # fmt: skip
    major = _numbers(pinned)[:1]
    if _numbers(driver)[:1] >= major:
        return []
    oldest = OLDEST_DRIVER.get(major[0], f"one for CUDA {major[0]}")
    return [f"The driver supports CUDA {driver}, and CUDA {pinned} is pinned ({RUNTIME}): update the host's driver to {oldest} or newer."]


def unlike_lock(packages: Mapping[str, str], locked: Mapping[str, str]) -> list[str]:
    """Packages (name to installed version, "" if there is none) that aren't those of the lock."""
    return [
        f"{name} {packages.get(name) or 'is not'} installed, and requirements/gpu.txt pins {version}: {INSTALL}."
        for name, version in sorted(locked.items())
        if packages.get(name) != version
    ]


def unlike_packages(libraries: Iterable[Library], packages: Mapping[str, str]) -> list[str]:
    """Libraries in this process that aren't those of the installed packages."""
    searched, wrong = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep), []
    for library in libraries:
        pinned = f"{packages.get(library.package) or 'nothing'} is pinned ({library.package})"
        said = _numbers(library.version)
        if not library.version:
            wrong.append(f"{library.name} can't be loaded, {pinned}: {library.path}. Set up anew: {INSTALL}.")
        elif library.strange:
            way = (
                "LD_LIBRARY_PATH" if str(Path(library.path).parent) in searched else "the loader's way (LD_PRELOAD, a module that loads it)"
            )
            found = f"{library.name} {library.version} comes from {library.path}, outside of this environment"
            wrong.append(f"{found}; {pinned}: take it out of {way}.")
        elif said != _numbers(packages.get(library.package, ""))[: len(said)]:
            wrong.append(f"{library.name} {library.version} comes from {library.path}; {pinned}: {INSTALL}.")
    return wrong


def unserved_build(build: Mapping[str, Any], pinned: Mapping[str, str]) -> list[str]:
    """What of `tf.sysconfig.get_build_info()` the pinned packages can't serve: TensorFlow needs the same major, and no lesser minor."""
    wrong = []
    for name, key, package in (("CUDA", "cuda_version", RUNTIME), ("cuDNN", "cudnn_version", CUDNN)):
        wanted, there = _numbers(build.get(key, ""))[:2], _numbers(pinned.get(package, ""))[:2]
        if wanted and (there[:1] != wanted[:1] or there < wanted):
            wrong.append(f"TensorFlow was built with {name} {build[key]}, and {pinned.get(package) or 'nothing'} is pinned ({package}).")
    return wrong


def unserved(required: Iterable[str], pinned: Mapping[str, str]) -> list[str]:
    """What TensorFlow asks for (`importlib.metadata.requires`, the extra and-cuda) and a lock's pins don't serve."""
    from packaging.requirements import Requirement

    wrong = []
    for requirement in map(Requirement, required):
        if requirement.name.startswith("nvidia-"):
            version = pinned.get(requirement.name)
            if version is None or not requirement.specifier.contains(version):
                wrong.append(f"TensorFlow asks for {requirement.name}{requirement.specifier}, and {version or 'nothing'} is pinned.")
    return wrong


def pins(lock: str) -> dict[str, str]:
    """The packages and versions of a requirements file."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", lock, re.MULTILINE))


def libraries() -> dict[str, Any]:
    """For the record: what TensorFlow was built with, and what is loaded (imports TensorFlow); empty for a CPU build.

    No part of the key: that has the packages' versions and the driver's, and `check` holds what is loaded against the packages.
    """
    known: dict[str, Any] = {name: str(build()[name]) for name in ("cuda_version", "cudnn_version") if build().get(name)}
    if _usable():
        known["accelerator"] = {"driver": cuda.driver(), **{library.name: library.version for library in cuda.look()}}
    return known


def remark() -> str | None:
    """Why no GPU is used although this TensorFlow could use one (imports it); None if one is, or is hidden on purpose."""
    if not build().get("is_cuda_build") or cuda.hidden() or (cuda.in_sight() and _gpus()):
        return None
    if cuda.in_sight():
        return f"No GPU: {_why_none()}."
    contained = "SEEDBED_IMAGE" in os.environ or any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))
    return f"No GPU: no NVIDIA driver in this {'container (docker run --gpus all)' if contained else 'machine'}."


def told() -> list[str]:
    """For `seedbed doctor`, a line each: the driver, the libraries, and what is wrong with them (imports TensorFlow)."""
    if not build().get("is_cuda_build"):
        return ["No GPU: this TensorFlow was built without CUDA."]
    if cuda.hidden():
        return [f"No GPU: CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']}."]
    if not cuda.in_sight():
        return [str(remark())]
    line, pinned, driver = f"driver for CUDA {cuda.driver() or '?'}", cuda.installed(RUNTIME), _numbers(cuda.driver())
    if driver and driver[:1] == _numbers(pinned)[:1] and driver < _numbers(pinned)[:2]:
        line += f", older than the pinned {pinned}: enough (same major), but for code that the driver itself has to compile (PTX)"
    return [line, "  ".join(f"{library.name} {library.version or '-'}" for library in cuda.look()), *problems()]


@cache
def build() -> dict[str, Any]:
    """What TensorFlow says of its build (imports it)."""
    import tensorflow as tf

    return dict(tf.sysconfig.get_build_info())


def _usable() -> bool:
    return bool(build().get("is_cuda_build")) and not cuda.hidden() and cuda.in_sight()


def _gpus() -> list[Any]:
    import tensorflow as tf

    return list(tf.config.list_physical_devices("GPU"))


def _why_none() -> str:
    return cuda.obstacle() or "a library that it needs is missing; TF_CPP_MIN_LOG_LEVEL=0 TF_CPP_VMODULE=dso_loader=1 shows which"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]
