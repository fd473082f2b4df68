"""Example data sets. Each function returns what `seedbed.run.data` describes: arrays, or examples made on demand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seedbed import Refused
from seedbed.run.data import DataSet, Examples

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
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
    path: str, target: str, validation_path: str | None = None, test_path: str | None = None, separator: str = ",", classify: bool = False
) -> DataSet:
    """A table: every column but `target` is an input; text columns become one 0/1 column a value (of the first file)."""
    tables = {"train": _table(path, target, separator, "data.source.path")}
    for name, other in (("validation", validation_path), ("test", test_path)):
        if other:
            tables[name] = _table(other, target, separator, f"data.source.{name}_path")
    train = tables["train"]
    for name, table in tables.items():
        if list(table.columns) != list(train.columns):
            raise Refused(
                f"data.source.{name}_path has the columns {list(table.columns)}. Accepted: those of {path}: {list(train.columns)}."
            )
    classes = None
    if classify or train[target].dtype == object or pd.api.types.is_string_dtype(train[target]):
        classes = sorted(set().union(*(set(table[target]) for table in tables.values())))
    inputs = train.columns.drop(target)
    texts = [name for name in inputs if not pd.api.types.is_numeric_dtype(train[name])]
    values = {name: sorted(set(train[name])) for name in texts}

    def arrays(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        columns = [
            np.stack([table[name] == value for value in values[name]], axis=1) if name in values else table[[name]].to_numpy()
            for name in inputs
        ]
        x = np.concatenate([np.asarray(column, dtype="float32") for column in columns], axis=1)
        if classes is None:
            return x, table[target].to_numpy(dtype="float32")
        return x, np.array([classes.index(value) for value in table[target]], dtype="int64")

    parts: dict[str, Any] = {name: arrays(table) for name, table in tables.items()}
    return DataSet(**parts, outputs=len(classes) if classes else 1)


def _table(path: str, target: str, separator: str, name: str) -> pd.DataFrame:
    """The file as a table, checked: there, not empty, every line as long as the header, the target among its columns."""
    if not Path(path).expanduser().is_file():
        raise Refused(f"{name}={path}: there is no such file (looked for {Path(path).expanduser().absolute()}).")
    try:
        # index_col=False: pandas would take a line that is one value too long as an index and shift every column
        table = pd.read_csv(Path(path).expanduser(), sep=separator, index_col=False, on_bad_lines="error", float_precision="round_trip")
    except pd.errors.EmptyDataError:
        raise Refused(f"{name}={path}: the file is empty. Accepted: a header line, then a line an example.") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise Refused(f"{name}={path}: not a table: {str(error).strip()}") from None
    _same_length(path, separator, name)
    if table.empty:
        raise Refused(f"{name}={path}: the file has a header and no examples.")
    if target not in table.columns:
        raise Refused(f"data.source.target={target!r} is no column of {path}. Its columns: {', '.join(map(str, table.columns))}.")
    if len(table.columns) == 1:
        raise Refused(f"{name}={path} has no column but the target. Is {separator!r} the separator (data.source.separator)?")
    holes = table.isna()
    if holes.to_numpy().any():
        row, column = np.argwhere(holes.to_numpy())[0]
        raise Refused(
            f"{name}={path}: no value in line {row + 2}, column {table.columns[column]!r} ({int(holes.to_numpy().sum())} missing in all). "
            "Accepted: a value in every field; fill them in, or drop the lines."
        )
    return table


def _same_length(path: str, separator: str, name: str) -> None:
    """pandas fills a short line up with NaN and cuts a long one after the first rows in silence; here both are errors."""
    import csv as lines
    import gzip

    file = Path(path).expanduser()
    with gzip.open(file, "rt", newline="") if file.suffix == ".gz" else file.open(newline="") as handle:  # type: ignore[operator]
        reader = lines.reader(handle, delimiter=separator)
        header = next(reader)
        for row in reader:
            if row and len(row) != len(header):
                raise Refused(f"{name}={path}: line {reader.line_num} has {len(row)} values, the header {len(header)}. Accepted: as many.")


def images(
    path: str, size: tuple[int, int] = (64, 64), channels: int = 3, flip: bool = True, shift: float = 0.1, brightness: float = 0.1
) -> DataSet:
    """Pictures in one subfolder a class: x float32 (height, width, channels) in 0 … 1, y the class's number, by name."""
    import tensorflow as tf

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
