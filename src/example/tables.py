"""A table of yours as a data set: any CSV file with a header line, through pandas."""

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
from seedbed.run import data_files
from seedbed.run.data import DataSet

# What stands in a table where there is no value.
NOTHING = ("", "na", "n/a", "nan", "null", "none", "?")


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
    if not os.path.lexists(file):
        raise Refused(f"{name}={path}: there is no such file (looked for {file.absolute()}).")
    data_files.check_all([file], f"{name}={path}")
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
