"""What the data are, as one hash: the same data in another place have the same, any other bit another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seedbed import Refused
from seedbed.run.data import DataSet, Examples, flat


def of(data: DataSet, files: Sequence[str] = (), steps: int | None = None) -> str:
    """sha256 over what the data are: for each part its name and, for arrays, each one's dtype, shape and bytes (C order).

    Examples: their items, and the contents of their files. A ready-made pipeline: the contents of `files` (paths or
    glob patterns, config `data.files`) if any are named, else one pass over its batches (`steps` of them, if given).
    """
    digest = hashlib.sha256()
    for name, part in data.parts().items():
        digest.update(f"part {name}\n".encode())
        if isinstance(part, tuple):
            _hash_arrays(digest, part)
        elif isinstance(part, Examples):
            # names of files say where they lie; their contents are what counts
            _hash_arrays(digest, [array for array in flat(part.items) if not part.files or np.asarray(array).dtype.kind not in "SUO"])
            _hash_files(digest, part.files)
        elif not files:
            for batch in batches(part, steps):
                _hash_arrays(digest, batch)
    if files:
        _hash_files(digest, matching(files))
    return digest.hexdigest()


def batches(part: Any, steps: int | None) -> Iterator[Any]:
    """The batches of a ready-made pipeline, once through; raises Refused for an endless one without `steps`."""
    count = part.num_batches if hasattr(part, "num_batches") else int(part.cardinality())
    if steps is None and (count is None or count == -1):
        raise Refused("The input pipeline has no end. Say how many batches are an epoch: training.steps_per_epoch=N.")
    if hasattr(part, "num_batches"):
        yield from (part[index] for index in range(min(number for number in (count, steps) if number is not None)))
    else:
        yield from (part if steps is None else part.take(steps)).as_numpy_iterator()


def matching(patterns: Sequence[str]) -> list[Path]:
    """The files that `patterns` name, sorted; raises Refused for a pattern without a file."""
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern or "(nothing)").expanduser()
        files = (
            [path]
            if path.is_file()
            else sorted(p for p in Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))) if p.is_file())
        )
        if not files:
            raise Refused(f"data.files names {pattern!r}, and no such file exists.")
        found += files
    return found


def _hash_arrays(digest: Any, structure: Any) -> None:
    for leaf in flat(structure):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        if array.dtype.kind in "OSU":
            for text in array.ravel().tolist():
                content = text if isinstance(text, bytes) else str(text).encode(errors="surrogatepass")
                digest.update(f"{len(content)} ".encode() + content)
        else:
            digest.update(np.ascontiguousarray(array).data)


def _hash_files(digest: Any, files: Sequence[str | Path]) -> None:
    """Each file's contents, in the given order; not its path, so that a folder may move."""
    for path in files:
        with Path(path).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
