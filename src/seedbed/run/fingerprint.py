"""What the data are, as one hash: the same data in another place have the same, any other bit another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seedbed import Refused
from seedbed.run.data import DataSet, Examples, batches, flat


def of(data: DataSet, files: Sequence[str] = (), steps: int | None = None) -> str:
    """sha256 over what the data are: for each part its name and, for arrays, each one's dtype, shape and bytes (C order).

    Before that the line `<outputs> <classes> <vocabulary>`, as the data function says them. Examples: their items, where the
    hash of a file of theirs stands for its name, then the hashes of files that no item names. A ready-made pipeline: those
    of `files` (paths or glob patterns, config `data.files`) if any are named, else one pass over its batches (`steps` of
    them, if given).
    """
    digest = hashlib.sha256()
    digest.update(f"{data.outputs} {data.classes} {data.vocabulary}\n".encode())
    for name, part in data.parts().items():
        digest.update(f"part {name}\n".encode())
        if isinstance(part, tuple):
            _hash_arrays(digest, part)
        elif isinstance(part, Examples):
            _hash_examples(digest, part)
        elif not files:
            for batch in batches(part, steps):
                _hash_arrays(digest, batch)
    if files:
        _hash_files(digest, matching(files))
    return digest.hexdigest()


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


def _hash_examples(digest: Any, part: Examples) -> None:
    contents = {str(path): file_hash(path) for path in part.files}
    named: set[str] = set()
    for leaf in flat(part.items):
        array = np.asarray(leaf)
        if array.dtype.kind in "OSU":
            texts = [text.decode(errors="surrogateescape") if isinstance(text, bytes) else str(text) for text in array.ravel().tolist()]
            named.update(texts)
            array = np.array([contents.get(text, text) for text in texts]).reshape(array.shape)
        _hash_arrays(digest, array)
    _hash_files(digest, [path for path in part.files if str(path) not in named])


def with_contents(node: Any) -> Any:
    """A part of a config in which the contents of a file stand for its name, wherever one is named that exists."""
    if isinstance(node, Mapping):
        return {key: with_contents(value) for key, value in node.items()}
    if isinstance(node, list):
        return [with_contents(item) for item in node]
    if isinstance(node, str) and (os.sep in node or "." in node) and os.path.isfile(os.path.expanduser(node)):  # noqa: PTH111, PTH113 (no errors)
        return f"file {file_hash(Path(node).expanduser())}"
    return node


def file_hash(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_files(digest: Any, files: Sequence[str | Path]) -> None:
    """Each file's contents, in the given order; not its path, so that a folder may move."""
    for path in files:
        digest.update(bytes.fromhex(file_hash(path)))
