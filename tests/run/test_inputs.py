"""How batches reach a model: sizes, order and augmentation of each epoch, of every kind of input; nothing is trained."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import batches_of

from seedbed import Refused
from seedbed.run import inputs
from seedbed.run.data import DataSet, Examples
from seedbed.run.py_dataset import Governed

SEEDS = {"shuffle": 3, "augment": 4}
X = np.arange(10, dtype="float32")


def batches(
    part: Any, epochs: range, kind: str = "auto", batch: int = 4, shuffle: bool = True, steps: int | None = None
) -> list[list[float]]:
    """What each batch of the training part holds."""
    feed = inputs.training(part, SEEDS, epochs, batch, shuffle, steps, kind)
    wanted = feed.steps * len(epochs)  # a ready-made pipeline goes on without an end
    found = [np.asarray(one[0]).tolist() for one in itertools.islice(feed.x, wanted)]
    assert len(found) == wanted
    return found


@pytest.mark.parametrize("kind", ["arrays", "tf_data", "py_dataset", "examples"])
def test_the_last_batch_of_an_epoch_may_be_short(kind: str) -> None:
    part = Examples(X, load=lambda x: (x, x)) if kind == "examples" else (X, X)
    way = "auto" if kind in ("examples", "arrays") else kind
    found = batches(part, range(1, 3), way)
    assert [len(batch) for batch in found] == [4, 4, 2] * 2
    assert [*itertools.chain(*found[:3])] == inputs.order_of(SEEDS, 1, 10, True).tolist()
    assert [*itertools.chain(*found[3:])] == inputs.order_of(SEEDS, 2, 10, True).tolist()
    assert batches(part, range(1), way, shuffle=False) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [len(batch) for batch in batches(part, range(2), way, batch=5)] == [5] * 4
    assert batches(part, range(1, 2), way, steps=2) == found[:2]
    with pytest.raises(Refused, match="steps_per_epoch=4 is more than the data have: 3 batches of 4 examples"):
        batches(part, range(1), way, steps=4)


def test_each_example_is_changed_otherwise_in_each_epoch_and_as_before_when_a_run_goes_on() -> None:
    def seed(x: Any, y: Any, seed: Any) -> Any:
        return tf.cast(seed[0], tf.int64) * 2**32 + tf.cast(seed[1], tf.int64), y

    part = Examples(X, load=lambda x: (x, x), augment=seed)

    def drawn(epochs: range, order: int = 3, batch: int = 4) -> dict[tuple[int, float], int]:
        feed = inputs.training(part, {**SEEDS, "shuffle": order}, epochs, batch, True, None, "auto")
        seen = [(int(s), float(y)) for one in feed.x for s, y in zip(*one, strict=True)]
        return {(epochs[number // 10], example): value for number, (value, example) in enumerate(seen)}

    whole = drawn(range(3))
    assert len(set(whole.values())) == len(whole) == 30
    assert drawn(range(1, 3)) == {place: value for place, value in whole.items() if place[0] >= 1}
    assert drawn(range(3), order=5, batch=3) == whole  # no batch before it matters


def test_a_ready_made_pipeline_goes_on_where_a_run_was_stopped() -> None:
    part = batches_of(*range(6))
    assert batches(part, range(2)) == [[0, 1], [2, 3], [4, 5]] * 2
    endless = tf.data.Dataset.range(100).map(lambda n: (n, n)).batch(1)
    assert batches(endless.take(7), range(2, 4), steps=2) == [[4], [5], [6], [0]]
    assert batches(endless.repeat(), range(3, 4), steps=2) == [[6], [7]]


def test_a_held_out_part_is_taken_in_its_own_order() -> None:
    taken = [np.asarray(batch[0]).tolist() for batch in inputs.held_out((X, X), 4)]
    assert taken == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(list(inputs.held_out(batches_of(*range(6)), None, steps=2))) == 2
    with pytest.raises(Refused, match="has no end"):
        inputs.held_out(batches_of(*range(6)).repeat(), None)


class Counted(tf.keras.utils.PyDataset):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        return np.full(2, index, "float32"), np.full(2, np.random.random(), "float32")


def test_of_a_pydataset_the_training_part_alone_is_shuffled() -> None:
    data = inputs.govern(DataSet(Counted(), validation=Counted(), test=(X, X)), SEEDS, shuffle=True)
    assert isinstance(data.train, Governed)
    assert (data.train.shuffle, data.validation.shuffle) == (True, False)
    assert inputs.govern(data, SEEDS, shuffle=False) is data
    order = [int(batch[0]) for batch in batches(data.train, range(1, 2))]
    assert sorted(order) == list(range(5)) != order
    held = [int(np.asarray(batch[0])[0]) for batch in inputs.held_out(data.validation, None)]
    assert held == list(range(5))


def test_a_first_look_moves_no_generator_on() -> None:
    from seedbed.run import seeds

    data = inputs.govern(DataSet(Counted()), SEEDS, shuffle=True)
    before = seeds.state_hash()
    for part in (data.train, (X, X), batches_of(*range(6)), Examples(X, load=lambda x: (x, x))):
        inputs.first_batch(part, 4)
        assert seeds.state_hash() == before
    assert len(inputs.first_batch((X, X), 4)[0]) == 4


def test_what_a_pipeline_draws_can_be_drawn_again_in_the_training_part_alone() -> None:
    noisy = batches_of(*range(6)).map(lambda x, y: (x + tf.random.uniform([], seed=1), y))
    python = batches_of(*range(6)).map(lambda x, y: (tf.ensure_shape(tf.numpy_function(lambda a: a, [x], tf.float32), (None,)), y))
    assert inputs.hidden_state(DataSet(noisy, validation=(X, X))) is None
    assert "RandomUniform in the validation part" in str(inputs.hidden_state(DataSet((X, X), validation=noisy)))
    assert "PyFunc in the train part" in str(inputs.hidden_state(DataSet(python)))
