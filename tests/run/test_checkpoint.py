"""Checkpoints: written whole, known by their hash, and everything in them comes back as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seedbed.run import checkpoint
from seedbed.run import seeds as streams
from seedbed.run import state as states

PYTHON = {
    "changed": {"Callback": {"kind": "object", "gone": ["old"], "attributes": {
        "best": states.Inside("scalar", np.array(0.5, "float32")), "seen": [1, 2.5, None, "x", (True, np.arange(3))],
        "nested": {"a": {"b": np.zeros((2, 2), "float16")}}, "function": states.Named("mine:function"),
    }}},
    "new": {},
}  # fmt: skip


def state(epochs: int = 3) -> checkpoint.State:
    import ml_dtypes

    weights = [np.arange(6, dtype="float32").reshape(2, 3), np.array(7, "int64"), np.ones(2, ml_dtypes.bfloat16)]
    return checkpoint.State(epochs, weights, [np.zeros(0, "float32")], [True, False], PYTHON, streams.generator_states())


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, states.Inside):
        return isinstance(b, states.Inside) and a.kind == b.kind and same(a.value, b.value)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    before = state()
    checkpoint.write(tmp_path / "c", before, keep=2)
    after, damaged = checkpoint.read_newest(tmp_path / "c", 9)
    assert damaged == []
    assert after is not None
    assert same(vars(before), vars(after))
    streams.put_generator_states(after.generators)


def test_a_damaged_file_is_named_and_the_one_before_it_used(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, state(3), keep=2)
    newest = checkpoint.write(tmp_path, state(4), keep=2)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(bytes(content))
    found, (line,) = checkpoint.read_newest(tmp_path, 9)
    assert found is not None
    assert found.epochs == 3
    assert str(newest) in line
    newest.write_bytes(b"")
    assert checkpoint.read_newest(tmp_path, 9)[0] is not None


def test_all_damaged(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, state(), keep=2).write_bytes(b"x")
    found, damaged = checkpoint.read_newest(tmp_path, 9)
    assert found is None
    assert len(damaged) == 1


def test_a_damaged_file_does_not_count_as_the_newest_any_more(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, state(9), keep=1).write_bytes(b"x")
    checkpoint.read_newest(tmp_path, 9)
    checkpoint.write(tmp_path, state(2), keep=1)
    found, damaged = checkpoint.read_newest(tmp_path, 9)
    assert found is not None
    assert (found.epochs, damaged) == (2, [])


def test_a_checkpoint_that_is_ahead_of_the_history_is_passed_over(tmp_path: Path) -> None:
    for epochs in (3, 4):
        checkpoint.write(tmp_path, state(epochs), keep=2)
    found, (line,) = checkpoint.read_newest(tmp_path, 3)
    assert found is not None
    assert found.epochs == 3
    assert "from epoch 4, and the history ends with epoch 3" in line


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for epochs in range(1, 6):
        checkpoint.write(tmp_path, state(epochs), keep=2)
    assert [path.name[:6] for path in sorted(tmp_path.iterdir())] == ["000004", "000005"]


def test_a_checkpoint_of_another_version_is_passed_over(tmp_path: Path) -> None:
    older = state()
    older.format = checkpoint.FORMAT - 1
    path = checkpoint.write(tmp_path, older, keep=2)
    found, (line,) = checkpoint.read_newest(tmp_path, 9)
    assert found is None
    assert line == f"{path} was written by another version of seedbed"


def test_no_pickle_is_read(tmp_path: Path) -> None:
    """A checkpoint is data: an array of Python objects in it is refused."""
    import hashlib
    import io

    buffer = io.BytesIO()
    np.savez(buffer, index=np.array([{"a": 1}], dtype=object))
    content = buffer.getvalue()
    (tmp_path / f"000001.{hashlib.sha256(content).hexdigest()}.npz").write_bytes(content)
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoint.read_newest(tmp_path, 9)


@pytest.fixture
def model() -> Any:
    """With moving averages, a generator, and a second optimizer as a GAN has it."""
    import keras

    layers = keras.layers
    found = keras.Sequential([keras.Input((2,)), layers.Dense(3), layers.BatchNormalization(), layers.Dropout(0.5, seed=1)])
    found.compile(keras.optimizers.Adam())
    found.other = keras.optimizers.SGD(momentum=0.9)
    for optimizer in (found.optimizer, found.other):
        optimizer.build(found.trainable_variables)
    return found


def taken(model: Any, epochs: int = 2) -> checkpoint.State:
    reached: Any = SimpleNamespace(changes=dict, built_tokens={}, first_tokens={})
    return checkpoint.take(model, epochs, reached)


def test_all_variables_are_taken_and_put_back(model: Any) -> None:
    """Moving averages, generators (Keras's global one, too), and what each optimizer remembers."""
    import keras
    from keras.src.random.seed_generator import global_seed_generator

    held = [*model.variables, *model.optimizer.variables, *model.other.variables, global_seed_generator().state]
    assert len({variable.path for variable in model.variables}) == 2 + 4 + 1
    state = taken(model)
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in held]
    for variable in held:
        variable.assign(variable + keras.ops.ones_like(variable))
    checkpoint.put_variables(model, state)
    for variable, value in zip(held, before, strict=True):
        assert keras.ops.convert_to_numpy(variable).tobytes() == value.tobytes(), variable.path


def test_whether_a_callback_has_stopped_it_is_taken(model: Any) -> None:
    model.stop_training = False
    assert taken(model).stopped is False
    model.stop_training = True
    assert taken(model).stopped is True


def test_layers_that_were_frozen_since_are_no_place_for_a_checkpoint(model: Any) -> None:
    state = taken(model)
    model.layers[0].trainable = False
    with pytest.raises(states.CannotRestore, match="frozen"):
        checkpoint.put_variables(model, state)


def test_nothing_is_put_where_anything_does_not_fit(model: Any) -> None:
    state, first = taken(model), model.variables[0]
    state.optimizer.pop()
    first.assign(first + 1)
    changed = np.asarray(first).tobytes()
    with pytest.raises(states.CannotRestore):
        checkpoint.put_variables(model, state)
    assert np.asarray(first).tobytes() == changed
