"""Example data sets. Each function returns what `seedbed.run.data` describes: arrays, or examples made on demand."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd

from seedbed import Refused
from seedbed.run.data import DataSet

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
        home = os.environ.get("KERAS_HOME") or "~/.keras"  # seedbed: ignore[SB406] where data lie, and Keras's own name for it
        raise Refused(f"data.source.dataset={dataset}: not in Keras's cache ({home}/datasets), and the download failed: {error}") from error
    if dataset == "imdb":
        pad = keras.utils.pad_sequences
        x, x_test = pad(x, maxlen=length), pad(x_test, maxlen=length)
        return DataSet((x, y.astype("int64")), test=(x_test, y_test.astype("int64")), outputs=2, vocabulary=tokens)

    def pictures(array: np.ndarray) -> np.ndarray:
        scaled = array.astype("float32") / 255.0
        return scaled if scaled.ndim == 4 else scaled[..., np.newaxis]

    return DataSet((pictures(x), y.reshape(-1).astype("int64")), test=(pictures(x_test), y_test.reshape(-1).astype("int64")), outputs=10)
