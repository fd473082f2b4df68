"""State that a PyDataset keeps and a resumed run couldn't bring back."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from seedbed.run import seeds
from seedbed.run.py_dataset import Governed

SEEDS = {name: seeds.derive(1, name) for name in seeds.STREAMS}


class Plain(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return np.full((2, 1), index, "float32")


class Iterating(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.rows = iter(np.zeros((9, 2, 1), "float32"))

    def __getitem__(self, index: int) -> Any:
        return next(self.rows)


class Counting(Plain):
    count = 0

    def __getitem__(self, index: int) -> Any:
        self.count += 1
        return super().__getitem__(index)


@pytest.mark.parametrize(("kind", "hidden"), [(Plain, None), (Iterating, "an iterator"), (Counting, "count")])
def test_what_it_keeps_is_seen(kind: type[Plain], hidden: str | None) -> None:
    governed = Governed(kind(), SEEDS, shuffle=True)
    list(governed.epochs(range(2), 3))
    assert (governed.hidden is None) == (hidden is None), governed.hidden
    assert hidden is None or hidden in str(governed.hidden)
