"""Example data sets. Each function returns what `seedbed.run.data` describes: arrays, or examples made on demand."""

from __future__ import annotations

import csv as csv_lines
import gzip
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seedbed import Refused
from seedbed.run.data import DataSet, Examples

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
# What stands in a table where there is no value.
NOTHING = ("", "na", "n/a", "nan", "null", "none", "?")
SIGNATURES = (b"BM", b"GIF8", b"\xff\xd8\xff", b"\x89PNG")
KERAS_DATASETS = ("mnist", "fashion_mnist", "cifar10", "imdb")


def sequence(length: int = 10) -> Any:
    """The tutorial's task: 0.0, 0.1, …; x is a value and y the next one. float32 (length-1, 1) and (length-1,)."""
    if length < 2:
        raise Refused(f"data.source.length={length} leaves no pair to learn from. Accepted: 2 or more.")
    values = pd.Series([i / 10.0 for i in range(length)])
    # as the tutorial does: the series beside itself, shifted by one, without the row that has no predecessor
    pairs = pd.concat([values.shift(1), values], axis=1).dropna().to_numpy()
    return pairs[:, :1], pairs[:, 1]


def digits() -> Any:
    """1,797 handwritten digits: x float32 (1797, 8, 8, 1) in 0 … 1, y int64 (1797,) in 0 … 9.

    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI 1998; the copy that scikit-learn ships.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images[..., np.newaxis] / 16.0).astype("float32"), bunch.target.astype("int64")


def csv(
    path: str,
    target: str | int,
    validation_path: str | None = None,
    test_path: str | None = None,
    separator: str = ",",
    classify: bool = False,
) -> DataSet:
    """A table: every column but `target` is an input; text columns become one 0/1 column a value (of the first file).

    x float32 (lines, columns); y float32 (lines,), or int64 class numbers (by sorted name) where the target is text or
    `classify` is set.
    """
    target = str(target)  # data.source.target=3 arrives as a number
    tables = {"train": _table(path, target, separator, "data.source.path")}
    for part, other in (("validation", validation_path), ("test", test_path)):
        if other is not None:
            tables[part] = _table(other, target, separator, f"data.source.{part}_path")
    train = tables["train"]
    text = {name for name in train.columns if not pd.api.types.is_numeric_dtype(train[name])}
    for part, table in tables.items():
        where = f"data.source.{part}_path"
        if list(table.columns) != list(train.columns):
            raise Refused(f"{where} has the columns {list(table.columns)}. Accepted: those of {path}: {list(train.columns)}.")
        for name in table.columns:
            if pd.api.types.is_numeric_dtype(table[name]) == (name in text):
                kinds = ("numbers", "text") if name in text else ("text", "numbers")
                raise Refused(f"{where}: column {name!r} holds {kinds[0]}, and {kinds[1]} in {path}. Accepted: the same in each file.")
    classes = sorted(set().union(*(set(table[target]) for table in tables.values()))) if classify or target in text else None
    values = {name: sorted(set(train[name])) for name in train.columns if name in text and name != target}

    def arrays(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        columns = []
        for name in train.columns.drop(target):
            same = [table[name] == value for value in values[name]] if name in values else [table[name]]
            columns += [column.to_numpy(dtype="float32") for column in same]
        x = np.stack(columns, axis=1)
        if classes is None:
            return x, table[target].to_numpy(dtype="float32")
        return x, pd.Categorical(table[target], classes).codes.astype("int64")

    parts: dict[str, Any] = {part: arrays(table) for part, table in tables.items()}
    return DataSet(**parts, outputs=len(classes) if classes else 1)


def _table(path: str, target: str, separator: str, name: str) -> pd.DataFrame:
    """The file as a table, each column numbers or text; Refused for whatever is wrong with it, with the line.

    Lines are read by the standard library's csv module: pandas fills short lines up and guesses types piece by piece.
    """
    if not isinstance(path, str):
        raise Refused(f"{name}={path} is not accepted. Accepted: the path of a file.")
    if len(separator) != 1:
        raise Refused(f"data.source.separator={separator!r} is not accepted. Accepted: one character.")
    file = Path(path).expanduser()
    if not file.is_file():
        raise Refused(f"{name}={path}: there is no such file (looked for {file.absolute()}).")
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as handle:
            lines = csv_lines.reader(io.TextIOWrapper(handle, "utf-8-sig", newline=""), delimiter=separator, strict=True)  # type: ignore[arg-type]
            rows = [(lines.line_num, row) for row in lines if row]
    except (OSError, EOFError, UnicodeDecodeError, csv_lines.Error) as error:
        raise Refused(f"{name}={path}: not a table: {error}") from None
    if not rows:
        raise Refused(f"{name}={path}: the file is empty. Accepted: a header line, then a line an example.")
    header = rows.pop(0)[1]
    for number, row in rows:
        if len(row) != len(header):
            raise Refused(f"{name}={path}: line {number} has {len(row)} values, the header {len(header)}. Accepted: as many in each line.")
    if not rows:
        raise Refused(f"{name}={path}: the file has a header and no examples.")
    if twice := {column for column in header if header.count(column) > 1}:
        raise Refused(f"{name}={path}: more than one column is called {', '.join(sorted(twice))}. Accepted: a name of its own for each.")
    if target not in header:
        raise Refused(f"data.source.target={target!r} is no column of {path}. Its columns: {', '.join(header)}.")
    if len(header) == 1:
        raise Refused(f"{name}={path} has no column but the target. Is {separator!r} the separator (data.source.separator)?")
    table = pd.DataFrame([row for _, row in rows], columns=header, dtype=str)
    holes = table.apply(lambda column: column.str.strip().str.lower().isin(NOTHING)).to_numpy()
    if holes.any():
        row, column = np.argwhere(holes)[0]
        raise Refused(
            f"{name}={path}: no value in line {rows[row][0]}, column {header[column]!r} ({int(holes.sum())} missing in all). "
            "Accepted: a value in every field; fill them in, or drop the lines."
        )
    return table.apply(_numbers_or_text)


def _numbers_or_text(column: pd.Series) -> pd.Series:
    try:
        return column.astype("float64")
    except ValueError:
        return column


def images(
    path: str, size: tuple[int, int] = (64, 64), channels: int = 3, flip: bool = True, shift: float = 0.1, brightness: float = 0.1
) -> DataSet:
    """Pictures in one subfolder a class: x float32 (height, width, channels) in 0 … 1, y the class's number, by name."""
    import tensorflow as tf

    if len(size) != 2 or min(size) < 1:
        raise Refused(f"data.source.size={list(size)} is not accepted. Accepted: [height, width], each 1 or more.")
    if channels not in (1, 3):
        raise Refused(f"data.source.channels={channels} is not accepted. Accepted: 1 (grey) or 3 (colours).")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise Refused(f"data.source.path={path}: there is no such folder (looked for {folder.absolute()}).")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    files = [
        (file, number)
        for number, name in enumerate(names)
        for file in sorted((folder / name).rglob("*"))
        if file.suffix.lower() in PICTURES
    ]
    counts = {name: sum(number == i for _, number in files) for i, name in enumerate(names)}
    if len(names) < 2 or not all(counts.values()):
        raise Refused(
            f"data.source.path={path}: pictures by class {counts}. Accepted: two or more folders of pictures ({', '.join(PICTURES)})."
        )
    for file, _ in files:
        with file.open("rb") as handle:
            if not handle.read(8).startswith(SIGNATURES):
                raise Refused(f"{file} is no picture, whatever its name says. Accepted: BMP, GIF, JPEG, PNG. Remove it or mend it.")
    height, width = size

    def load(file: Any, label: Any) -> Any:
        picture = tf.io.decode_image(tf.io.read_file(file), channels=channels, expand_animations=False)
        picture.set_shape((None, None, channels))
        # antialiased bilinear: one operation with a deterministic implementation
        return tf.image.resize(picture, (height, width), antialias=True) / 255.0, label

    def augment(x: Any, y: Any, seed: Any) -> Any:
        flips, down, across, light = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
        if flip:
            x = tf.image.stateless_random_flip_left_right(x, flips)
        if shift:
            rows, columns = int(height * shift), int(width * shift)
            padded = tf.pad(x, [[rows, rows], [columns, columns], [0, 0]], mode="SYMMETRIC")
            top = tf.random.stateless_uniform((), down, 0, 2 * rows + 1, tf.int32)
            left = tf.random.stateless_uniform((), across, 0, 2 * columns + 1, tf.int32)
            x = tf.slice(padded, [top, left, 0], [height, width, channels])
        if brightness:
            x = tf.clip_by_value(tf.image.stateless_random_brightness(x, brightness, light), 0.0, 1.0)
        return x, y

    items = (np.array([str(file) for file, _ in files]), np.array([number for _, number in files], dtype="int64"))
    return DataSet(Examples(items, load, augment, tuple(file for file, _ in files)), outputs=len(names), classes=True)


def keras_dataset(dataset: str, tokens: int = 10_000, length: int = 200) -> DataSet:
    """A data set of `keras.datasets`: pictures as float32 in 0 … 1 with a channel axis, reviews as int32 (length,)."""
    if dataset not in KERAS_DATASETS:
        raise Refused(f"data.source.dataset={dataset} is not one of {', '.join(KERAS_DATASETS)}.")
    import keras

    try:
        if dataset == "imdb":
            (x, y), (x_test, y_test) = keras.datasets.imdb.load_data(num_words=tokens)
        else:
            (x, y), (x_test, y_test) = getattr(keras.datasets, dataset).load_data()
    except Exception as error:  # get_file wraps whatever the network says in a plain Exception
        home = os.environ.get("KERAS_HOME") or "~/.keras"
        raise Refused(f"data.source.dataset={dataset}: not in Keras's cache ({home}/datasets), and the download failed: {error}") from error
    if dataset == "imdb":
        pad = keras.utils.pad_sequences
        x, x_test = pad(x, maxlen=length), pad(x_test, maxlen=length)
        return DataSet((x, y.astype("int64")), test=(x_test, y_test.astype("int64")), outputs=2, vocabulary=tokens)

    def pictures(array: np.ndarray) -> np.ndarray:
        scaled = array.astype("float32") / 255.0
        return scaled if scaled.ndim == 4 else scaled[..., np.newaxis]

    return DataSet((pictures(x), y.reshape(-1).astype("int64")), test=(pictures(x_test), y_test.reshape(-1).astype("int64")), outputs=10)
