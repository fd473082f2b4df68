"""The sizes of the CPU's caches as TensorFlow sees them, fixed: sums are cut by them, and a sum cut elsewhere rounds otherwise.

Eigen cuts matrix products by the sizes that it asks the CPU for, once; they are kept in a variable (`m_cacheSizes` of
`manage_caching_sizes` in its GeneralBlockPanelKernel.h; `Eigen::setCpuCacheSizes` would set it, and TensorFlow has no way to call
that). oneDNN cuts the channels of convolutions by the caches that its `cpu()` has found; told that it has found none, it takes
32 KiB, 512 KiB and 1 MiB (`get_per_core_cache_size` in its platform.cpp). Each of TensorFlow's libraries has its own Eigen, one has
oneDNN; the variables are found by their names in the libraries' tables of symbols (TensorFlow 2.21, wheels for Linux).
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from seedbed import Refused

FRAMEWORK, COMPUTING = "libtensorflow_framework.so", "libtensorflow_cc.so"

# struct CacheSizes {ptrdiff_t l1, l2, l3}, and the guard of the static variable: its first byte says that the sizes are there.
EIGEN = b"_ZZN5Eigen8internal20manage_caching_sizesENS_6ActionEPlS2_S2_E12m_cacheSizes"
EIGENS_GUARD = EIGEN.replace(b"_ZZ", b"_ZGVZ", 1)

# `dnnl::impl::cpu::x64::cpu()`, which makes a static Xbyak::util::Cpu and returns it: 144 bytes, in which the uint32 dataCacheLevels_
# stands at 108, and the sizes that go with it at 28 (Xbyak as oneDNN has it in TensorFlow 2.21).
ONEDNN = b"_ZN4dnnl4impl3cpu3x643cpuEv"
LEVELS, SIZES, MOST_LEVELS = 108, 28, 10

# The ELF-64 format, as far as it is read here: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.symtab.html
SECTION = "<IIQQQQIIQQ"
SYMBOL = np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")])
SYMBOL_TABLE = 2

_FOUND: list[int] = []  # oneDNN's number of levels, as it was


def fix(sizes: Sequence[int]) -> None:
    """Tell Eigen the sizes of L1, L2 and L3, in bytes, and oneDNN to take its own for an unknown CPU.

    To be called when TensorFlow has been imported, and before it has computed. Raises Refused where something isn't found.
    """
    _eigen(sizes)
    levels = _onednn()
    if levels.value:
        _FOUND[:] = [levels.value]
        levels.value = 0


def forget() -> None:
    """Have them ask the CPU again."""
    _eigen((0, 0, 0))
    if _FOUND:
        _onednn().value = _FOUND.pop()


def _eigen(sizes: Sequence[int]) -> None:
    for library in (FRAMEWORK, COMPUTING):
        variable, guard = _addresses(library, EIGEN, EIGENS_GUARD)
        (ctypes.c_int64 * 3).from_address(variable)[:] = list(sizes)
        ctypes.c_uint8.from_address(guard).value = int(any(sizes))  # so that Eigen doesn't ask; without sizes it asks anew


def _onednn() -> ctypes.c_uint32:
    (function,) = _addresses(COMPUTING, ONEDNN)
    cpu = ctypes.CFUNCTYPE(ctypes.c_void_p)(function)()
    levels = ctypes.c_uint32.from_address(cpu + LEVELS)
    held = list((ctypes.c_uint32 * MOST_LEVELS).from_address(cpu + SIZES))
    count = levels.value or (_FOUND[0] if _FOUND else 0)
    if count > MOST_LEVELS or not all(held[:count]) or any(held[count:]):
        raise _strange(COMPUTING, "oneDNN keeps them in another way")
    return levels


def _addresses(library: str, *names: bytes) -> list[int]:
    """Where symbols of a library lie in this process's memory."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and Path(fields[5]).name.startswith(library) and int(fields[2], 16) == 0:
            return [int(fields[0].partition("-")[0], 16) + address for address in _symbols(Path(fields[5]), names)]
    raise _strange(library, "this TensorFlow has no such library")


@cache
def _symbols(path: Path, names: tuple[bytes, ...]) -> list[int]:
    """The addresses of symbols in a library, before it is loaded somewhere. Takes 0.2 s for 800 MB."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start, size, count = *struct.unpack_from("<Q", content, 0x28), *struct.unpack_from("<HH", content, 0x3A)
        sections = [struct.unpack_from(SECTION, content, start + number * size) for number in range(count)]
        for _, kind, _, _, offset, length, link, *_ in sections:
            if kind != SYMBOL_TABLE:
                continue
            _, _, _, _, strings, end, *_ = sections[link]
            places = [content.find(b"\0" + name + b"\0", strings, strings + end) + 1 - strings for name in names]
            symbols = np.frombuffer(content[offset : offset + length], SYMBOL)
            found = [symbols["value"][(symbols["name"] == place) & (symbols["section"] > 0)] for place in places]
            if min(places) > 0 and all(len(values) == 1 for values in found):
                return [int(values[0]) for values in found]
    raise _strange(path.name, "this build of TensorFlow doesn't say where they are")


def _strange(library: str, why: str) -> Refused:
    return Refused(
        f"determinism=portable fixes the sizes of caches in {library}, and {why}. "
        "Accepted: the TensorFlow of requirements/, on Linux; or determinism=strict."
    )
