"""What the data are, as one hash: the same data in another place have the same, any other bit another."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seedbed import Refused
from seedbed.run import data_files
from seedbed.run.data import DataSet, Examples, batches, flat

LARGEST_ROWS = 50_000_000  # bytes of row hashes that a record keeps for one part; a part with more rows goes without
BLOCK = 1 << 15  # words that are mixed at a time: what a core's own cache holds

# What was last read of each file, so that the row hashes, which come after the fingerprint, need not read it again.
_READ: dict[str, int] = {}

# The last data set's rows: the runs of a study mostly share one.
_ROWS: dict[str, bytes] = {}


def of(
    data: DataSet, files: Sequence[str] = (), steps: int | None = None, seen: Callable[[str, Any], None] = lambda part, batch: None
) -> str:
    """sha256 over what the data are: for each part its name and, for arrays, each one's dtype, shape and bytes (C order).

    Before that the line `<outputs> <classes> <vocabulary>`, as the data function says them. Examples: their items, where the
    hash of a file of theirs stands for its name, then the hashes of files that no item names. A ready-made pipeline: those
    of `files` (paths or glob patterns, config `data.files`) if any are named, else one pass over its batches (`steps` of
    them, if given), each of which `seen` is shown with the part's name.
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
                seen(name, batch)
                _hash_arrays(digest, batch)
    if files:
        _hash_files(digest, matching(files))
    return digest.hexdigest()


def matching(patterns: Sequence[str]) -> list[Path]:
    """The files that `patterns` name, sorted; raises Refused for a pattern without a file."""
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern or "(nothing)").expanduser()
        # by its name, or all that a pattern finds but folders
        files = [path] if os.path.lexists(path) else sorted(p for p in _found(path) if not p.is_dir())
        data_files.check_all(files, f"data.files names {pattern!r}")
        if not files:
            raise Refused(f"data.files names {pattern!r}, and no such file exists.")
        found += files
    return found


def _found(pattern: Path) -> Iterator[Path]:
    try:
        yield from Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor)))
    except (OSError, ValueError) as error:  # a part of it that is longer than a name may be, `a**b`
        raise Refused(f"data.files names {str(pattern)!r}, which is no path and no pattern: {error}.") from None


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
    data_files.check(path)
    with Path(path).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _READ[str(path)] = int(found[:16], 16)
    return found


def _hash_files(digest: Any, files: Sequence[str | Path]) -> None:
    """Each file's contents, in the given order; not its path, so that a folder may move."""
    for path in files:
        digest.update(bytes.fromhex(file_hash(path)))


def rows(data: DataSet) -> bytes:
    """A record's `rows.npz`: for each part, as the data function gave it, a hash of each row, so that two records can be compared.

    `<part>`: uint64 (rows,), see `row_hashes`; of Examples their items, where the hash of a file of theirs stands for its name.
    `about`: JSON in UTF-8 as uint8: outputs, classes, vocabulary and, by part, its kind, rows, arrays (dtype and shape of a row
    each), and why it was left out: a ready-made pipeline has no rows, and more than LARGEST_ROWS bytes of hashes aren't kept.
    """
    if data.fingerprint and data.fingerprint in _ROWS:
        return _ROWS[data.fingerprint]
    found: dict[str, np.ndarray] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, part in data.parts().items():
        kind = "arrays" if isinstance(part, tuple) else "examples" if isinstance(part, Examples) else "pipeline"
        if kind == "pipeline":
            parts[name] = {"kind": kind, "rows": None, "arrays": [], "left_out": "a ready-made pipeline has no rows"}
            continue
        leaves = [np.asarray(leaf) for leaf in flat(part.items if isinstance(part, Examples) else part)]
        count, large = len(leaves[0]), 8 * len(leaves[0]) > LARGEST_ROWS
        parts[name] = {"kind": kind, "rows": count, "arrays": [[leaf.dtype.str, list(leaf.shape[1:])] for leaf in leaves],
                       "left_out": f"more than {LARGEST_ROWS // 8} rows" if large else None}  # fmt: skip
        if not large:
            found[name] = row_hashes(leaves, [str(path) for path in part.files] if isinstance(part, Examples) else ())
    told = {"outputs": (data.outputs, int), "classes": (data.classes, bool), "vocabulary": (data.vocabulary, int)}
    about = {name: None if value is None else kind(value) for name, (value, kind) in told.items()}
    buffer = io.BytesIO()
    np.savez(buffer, about=np.frombuffer(json.dumps({**about, "parts": parts}).encode(), np.uint8), **found)  # type: ignore[arg-type]
    _ROWS.clear()
    _ROWS[data.fingerprint] = buffer.getvalue()
    return buffer.getvalue()


def row_hashes(arrays: Sequence[np.ndarray], files: Sequence[str] = ()) -> np.ndarray:
    """uint64 (rows,): a hash of each row over all arrays (rows, …); it doesn't depend on the other rows.

    A row of an array is its elements' bytes in C order, little-endian, filled up with zeros to words of 8 bytes. Word j of array i
    adds mix(w ^ k) - mix(k), where k = mix(2**32 * i + j + 1), modulo 2**64. Zeros add nothing, so how wide a text array is doesn't
    count; of texts each column is an array. A Python object, and a text that names one of `files`, is one word: the first
    8 bytes of the sha256 of its UTF-8, or of the file. mix is one-to-one: one word that changes always changes the hash.
    """
    total, number = np.zeros(len(arrays[0]), np.uint64), 0
    names = frozenset(files)
    for array in arrays:
        for words in _words(array, names):
            _add(total, words, number)
            number += 1
    return total


def _words(array: np.ndarray, files: frozenset[str]) -> Iterator[np.ndarray]:
    """(rows, bytes) of uint8 for each array that `array` counts as."""
    kind, table = array.dtype.kind, array.reshape(len(array), -1)
    if kind == "O" or (files and kind in "SU"):
        for column in table.T:
            yield np.array([_word(item, files) for item in column.tolist()], "<u8").view(np.uint8).reshape(len(array), -1)
        return
    if array.dtype.byteorder == ">":
        table = table.astype(array.dtype.newbyteorder("<"))
    for piece in np.hsplit(table, table.shape[1]) if kind in "SU" else (table,):
        contiguous = np.ascontiguousarray(piece)
        yield contiguous.view(np.uint8) if contiguous.size else np.zeros((len(array), 0), np.uint8)


def _word(item: Any, files: frozenset[str]) -> int:
    content = item if isinstance(item, bytes) else str(item).encode(errors="surrogateescape")
    name = os.fsdecode(content)
    if name in files:
        if name not in _READ:
            file_hash(name)
        return _READ[name]
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def _add(total: np.ndarray, content: np.ndarray, number: int) -> None:
    """Add to each row of `total` what its bytes say, as array `number`."""
    count, width = content.shape
    words = -(-width // 8)
    keys = _mixed(np.arange(1, words + 1, dtype=np.uint64) + np.uint64(number << 32))
    nothing = _mixed(keys.copy()).sum(dtype=np.uint64, keepdims=True)
    step = max(1, BLOCK // max(words, 1))
    block = np.zeros((step, words * 8), np.uint8)
    for start in range(0, count, step):
        piece = content[start : start + step]
        block[: len(piece), :width] = piece
        mixed = _mixed(block.view("<u8")[: len(piece)] ^ keys)
        total[start : start + step] += mixed.sum(axis=1, dtype=np.uint64) - nothing


def _mixed(words: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64, in place: one-to-one, and each bit reaches all others.

    Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014; constants: Stafford's variant 13.
    """
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words ^= words >> np.uint64(shift)
        words *= np.uint64(factor)
    words ^= words >> np.uint64(31)
    return words
