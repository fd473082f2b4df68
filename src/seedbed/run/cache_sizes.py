"""The sizes of the CPU's caches as Eigen sees them, fixed: it cuts matrix products by them, and a sum cut elsewhere rounds otherwise.

Eigen asks the CPU once and keeps the answer in a variable (`m_cacheSizes` in `manage_caching_sizes` of its
GeneralBlockPanelKernel.h; `Eigen::setCpuCacheSizes` would set it, and TensorFlow has no way to call that). Each of TensorFlow's
libraries has one of its own, found here by its name in the library's table of symbols (TensorFlow 2.21, wheels for Linux).
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

LIBRARIES = ("libtensorflow_framework.so", "libtensorflow_cc.so")

# struct CacheSizes {ptrdiff_t l1, l2, l3}, and the guard of the static variable: its first byte says that the sizes are there.
VARIABLE = b"_ZZN5Eigen8internal20manage_caching_sizesENS_6ActionEPlS2_S2_E12m_cacheSizes"
GUARD = VARIABLE.replace(b"_ZZ", b"_ZGVZ", 1)

# The ELF-64 format, as far as it is read here: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.symtab.html
SECTION = "<IIQQQQIIQQ"
SYMBOL = np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")])
SYMBOL_TABLE = 2


def fix(sizes: Sequence[int]) -> list[list[int]]:
    """Tell Eigen the sizes of L1, L2 and L3, in bytes; what it had, a library at a time ([0, 0, 0]: not asked yet).

    To be called when TensorFlow has been imported. Raises Refused where a library or its variable isn't found.
    """
    before = []
    for library in LIBRARIES:
        base, path = _loaded(library)
        variable, guard = (base + address for address in _addresses(path))
        held = (ctypes.c_int64 * 3).from_address(variable)
        before.append(list(held))
        held[:] = list(sizes)
        ctypes.c_uint8.from_address(guard).value = int(any(sizes))  # so that Eigen doesn't ask; with zeros it asks anew
    return before


def _loaded(library: str) -> tuple[int, Path]:
    """Where a library lies in this process's memory, and its file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and Path(fields[5]).name.startswith(library) and int(fields[2], 16) == 0:
            return int(fields[0].partition("-")[0], 16), Path(fields[5])
    raise Refused(f"determinism=portable fixes the sizes of caches in {library}, and this TensorFlow has no such library. "
                  "Accepted: the TensorFlow of requirements/, on Linux; or determinism=strict.")  # fmt: skip


@cache
def _addresses(path: Path) -> tuple[int, int]:
    """The addresses of VARIABLE and GUARD in a library, before it is loaded somewhere. Takes 0.2 s for 800 MB."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start, size, count = *struct.unpack_from("<Q", content, 0x28), *struct.unpack_from("<HH", content, 0x3A)
        sections = [struct.unpack_from(SECTION, content, start + number * size) for number in range(count)]
        for _, kind, _, _, offset, length, link, *_ in sections:
            if kind != SYMBOL_TABLE:
                continue
            _, _, _, _, names, end, *_ = sections[link]
            at = [content.find(b"\0" + name + b"\0", names, names + end) + 1 - names for name in (VARIABLE, GUARD)]
            symbols = np.frombuffer(content[offset : offset + length], SYMBOL)
            found = [symbols["value"][(symbols["name"] == place) & (symbols["section"] > 0)] for place in at]
            if min(at) > 0 and all(len(values) == 1 for values in found):
                return int(found[0][0]), int(found[1][0])
    raise Refused(f"determinism=portable fixes the sizes of caches in {path.name}, and this build of TensorFlow doesn't say where they "
                  "are kept. Accepted: the TensorFlow of requirements/; or determinism=strict.")  # fmt: skip
