"""The CUDA libraries in this process: which version each says it has, where it lies, and how TensorFlow comes to find them.

The standard library alone; where there is no NVIDIA driver, nothing is loaded.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


def _number(call: Any) -> int:
    value = ctypes.c_int()
    call(ctypes.byref(value))
    return value.value


def _cuda(call: Any) -> str:
    """12090 is 12.9."""
    number = _number(call)
    return f"{number // 1000}.{number % 1000 // 10}"


def _nccl(call: Any) -> str:
    """23203 is 2.32.3."""
    number = _number(call)
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _cudnn(call: Any) -> str:
    """92800, returned and not written, is 9.28.0."""
    call.restype = ctypes.c_size_t
    number = call()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _pair(call: Any) -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    call(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def _property(call: Any) -> str:
    """Part 0 is the major version, 1 the minor one, 2 the patch level (libraryPropertyType)."""
    return ".".join(str(_number(lambda value, part=part: call(part, value))) for part in range(3))


# What TensorFlow 2.21 loads by name, after what that needs: name, package, file in it, the function that tells the version.
LIBRARIES: tuple[tuple[str, str, str, str, Callable[[Any], str]], ...] = (
    ("CUDA runtime", "nvidia-cuda-runtime-cu12", "cuda_runtime/lib/libcudart.so.12", "cudaRuntimeGetVersion", _cuda),
    ("nvJitLink", "nvidia-nvjitlink-cu12", "nvjitlink/lib/libnvJitLink.so.12", "nvJitLinkVersion", _pair),
    ("NVRTC", "nvidia-cuda-nvrtc-cu12", "cuda_nvrtc/lib/libnvrtc.so.12", "nvrtcVersion", _pair),
    ("cuBLASLt", "nvidia-cublas-cu12", "cublas/lib/libcublasLt.so.12", "cublasLtGetProperty", _property),
    ("cuBLAS", "nvidia-cublas-cu12", "cublas/lib/libcublas.so.12", "cublasGetProperty", _property),
    ("cuSPARSE", "nvidia-cusparse-cu12", "cusparse/lib/libcusparse.so.12", "cusparseGetProperty", _property),
    ("cuSOLVER", "nvidia-cusolver-cu12", "cusolver/lib/libcusolver.so.11", "cusolverGetProperty", _property),
    ("cuFFT", "nvidia-cufft-cu12", "cufft/lib/libcufft.so.11", "cufftGetProperty", _property),
    ("cuDNN", "nvidia-cudnn-cu12", "cudnn/lib/libcudnn.so.9", "cudnnGetVersion", _cudnn),
    ("NCCL", "nvidia-nccl-cu12", "nccl/lib/libnccl.so.2", "ncclGetVersion", _nccl),
)


@dataclass(frozen=True)
class Library:
    """A library as it is in this process."""

    name: str
    package: str
    version: str  # what it says; "" if it can't be loaded
    path: str  # where it lies, or what the loader said
    strange: bool = False  # it doesn't come from this environment's package


@cache
def load() -> None:
    """Load the environment's own libraries, so that TensorFlow finds them loaded; to be called before it looks for GPUs.

    TensorFlow 2.21's own search path lacks cuSOLVER's folder: it says 'Cannot dlopen some GPU libraries' and goes on without a
    GPU (seen with its wheel). What somebody has loaded before stays what it is, for `look` to see.
    """
    if hidden() or not in_sight():
        return
    for _, package, file, _, _ in LIBRARIES:
        if (own := _own(package, file)) is not None:
            with suppress(OSError):  # `look` says why
                ctypes.CDLL(str(own))


def look() -> list[Library]:
    """The libraries as they are in this process; one that nobody has loaded yet is loaded."""
    found = []
    for name, package, file, function, told in LIBRARIES:
        own = _own(package, file)
        strangers = [path for path in _mapped(Path(file).name) if own is None or path.parent != own.resolve().parent]
        asked = next((path for path in strangers if path.name.startswith(Path(file).name)), own)
        if asked is None:
            found.append(Library(name, package, "", f"nvidia/{file} is not installed"))
            continue
        try:
            version = told(getattr(ctypes.CDLL(str(asked)), function))
        except (OSError, AttributeError) as error:
            found.append(Library(name, package, "", str(error), bool(strangers)))
        else:
            found.append(Library(name, package, version, str(strangers[0] if strangers else asked), bool(strangers)))
    return found


def hidden() -> bool:
    """Whether CUDA_VISIBLE_DEVICES leaves no GPU, which is somebody's will."""
    return re.match(r"\s*(-\d+|NoDevFiles)?\s*(,|$)", os.environ.get("CUDA_VISIBLE_DEVICES", "0")) is not None


def in_sight() -> bool:
    """Whether there is anything of an NVIDIA driver."""
    return _libcuda() is not None or Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def driver() -> str:
    """The greatest CUDA version that the driver supports; "" where its library can't be loaded."""
    libcuda = _libcuda()
    return _cuda(libcuda.cuDriverGetVersion) if libcuda is not None else ""


def obstacle() -> str:
    """What the driver says to somebody who looks for GPUs, as TensorFlow does; "" if there is one."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")  # TensorFlow 2.21 finds no GPU without it
    except OSError as error:
        return f"{error}; a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    libcuda, count = _libcuda(), ctypes.c_int()
    if libcuda is None:
        return "libcuda.so.1 can't be loaded"
    status = libcuda.cuInit(0) or libcuda.cuDeviceGetCount(ctypes.byref(count)) or (0 if count.value else 100)
    if not status:
        return ""
    text = ctypes.c_char_p()
    libcuda.cuGetErrorString(status, ctypes.byref(text))
    return f"the driver says '{(text.value or b'?').decode()}' (error {status})"


def installed(package: str) -> str:
    """An installed package's version; "" if there is none."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""


def _libcuda() -> Any:
    with suppress(OSError):
        return ctypes.CDLL("libcuda.so.1")
    return None


def _own(package: str, file: str) -> Path | None:
    """A file of an installed package; None if it isn't there."""
    with suppress(importlib.metadata.PackageNotFoundError):
        path = Path(str(importlib.metadata.distribution(package).locate_file(f"nvidia/{file}")))
        return path if path.exists() else None
    return None


def _mapped(file: str) -> list[Path]:
    """The files in this process that have a library's name, or that of a part of it: libcudnn_graph.so.9.28 for libcudnn.so.9."""
    stem, _, suffix = file.partition(".so")
    named = re.compile(rf"{re.escape(stem)}(_\w+)?\.so{re.escape(suffix)}(\.[\d.]+)?")
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    files = {Path(fields[5]) for line in lines if len(fields := line.split(maxsplit=5)) == 6}
    return sorted(path for path in files if named.fullmatch(path.name))
