"""A folder of pictures as a data set: one subfolder a class, decoded on demand and changed at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seedbed import Refused
from seedbed.run import data_files
from seedbed.run.data import DataSet, Examples

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
SIGNATURES = (b"BM", b"GIF8", b"\xff\xd8\xff", b"\x89PNG")


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
    where = f"data.source.path={path}"
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise Refused(f"{where}: the folder can't be read: {error.strerror}.") from None
    data_files.check_all((entry for entry in entries if entry.is_symlink() and not entry.is_dir()), where)
    names = sorted(entry.name for entry in entries if entry.is_dir())
    files = [
        (file, number)
        for number, name in enumerate(names)
        for file in data_files.below(folder / name, where)
        if file.suffix.lower() in PICTURES
    ]
    data_files.check_all((file for file, _ in files), where)
    counts = {name: sum(number == i for _, number in files) for i, name in enumerate(names)}
    if len(names) < 2 or not all(counts.values()):
        raise Refused(
            f"data.source.path={path}: pictures by class {counts}. Accepted: two or more folders of pictures ({', '.join(PICTURES)})."
        )
    if broken := [str(file) for file, _ in files if not is_picture(file)]:
        more = f"; {len(broken)} such files in all: {', '.join(broken[1:20])}{', …' * (len(broken) > 20)}" if len(broken) > 1 else ""
        raise Refused(f"{broken[0]} is no picture, whatever its name says{more}. Accepted: BMP, GIF, JPEG, PNG. Remove them or mend them.")
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


def is_picture(file: Path) -> bool:
    """Whether a file begins as a picture does."""
    with file.open("rb") as handle:
        return handle.read(8).startswith(SIGNATURES)
