"""A data set's fingerprint: what it depends on, and what it doesn't."""

from __future__ import annotations

import hashlib
import io
import json
import random
import timeit
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import batches_of
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seedbed import Refused
from seedbed.run import fingerprint
from seedbed.run.data import DataSet, Examples

X, Y = np.arange(12, dtype="float32").reshape(6, 2), np.arange(6, dtype="int64")


dtypes = st.sampled_from(["float32", "int64", "int32", "uint8", "bool"])
arrays = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)))


def print_of(*part: Any) -> str:
    return fingerprint.of(DataSet(part))


def test_the_fingerprint_can_be_computed_by_another_program() -> None:
    expected = hashlib.sha256()
    expected.update(b"None None None\n" + b"part train\n" + b"<f4 (6, 2)\n" + X.tobytes() + b"<i8 (6,)\n" + Y.tobytes())
    expected.update(b"part test\n" + b"<f4 (1, 2)\n" + X[:1].tobytes() + b"<i8 (1,)\n" + Y[:1].tobytes())
    assert fingerprint.of(DataSet((X, Y), test=(X[:1], Y[:1]))) == expected.hexdigest()


@given(arrays, st.data())
def test_any_bit_changes_the_fingerprint(array: np.ndarray, data: st.DataObject) -> None:
    flipped = bytearray(array.tobytes())
    bit = data.draw(st.integers(0, 8 * len(flipped) - 1))
    flipped[bit // 8] ^= 1 << (bit % 8)
    other = np.frombuffer(bytes(flipped), array.dtype).reshape(array.shape)
    assert print_of(other, Y) != print_of(array, Y)
    assert print_of(Y, other) != print_of(Y, array)


@given(arrays)
def test_the_same_bytes_of_another_dtype_or_shape_are_other_data(array: np.ndarray) -> None:
    assert print_of(array.view("uint8")) != print_of(array) or array.dtype == "uint8"
    assert print_of(array[np.newaxis]) != print_of(array)
    assert print_of(array[..., np.newaxis]) != print_of(array)


@given(hnp.arrays("int32", hnp.array_shapes(min_dims=1, max_dims=2, min_side=2, max_side=5)), st.randoms(use_true_random=False))
def test_the_order_of_the_examples_belongs_to_the_data(array: np.ndarray, shuffler: random.Random) -> None:
    order = list(range(len(array)))
    shuffler.shuffle(order)
    assert (print_of(array[order]) == print_of(array)) == np.array_equal(array[order], array)


@given(hnp.arrays("float32", hnp.array_shapes(min_dims=2, max_dims=3, max_side=4), elements=st.floats(-1, 1, width=32)))
def test_how_an_array_lies_in_memory_does_not_count(array: np.ndarray) -> None:
    assert print_of(np.asfortranarray(array)) == print_of(array)
    assert print_of(np.repeat(array, 2, axis=0)[::2]) == print_of(array)


@given(st.lists(st.text(max_size=3), min_size=1, max_size=3), st.lists(st.text(max_size=3), min_size=1, max_size=3))
@example(["a\0b", "c"], ["a", "b\0c"])
def test_other_texts_are_other_data(one: list[str], other: list[str]) -> None:
    assert (print_of(np.array(one)) == print_of(np.array(other))) == (np.array(one).tolist() == np.array(other).tolist())


def test_what_compares_equal_can_be_other_data() -> None:
    assert print_of(np.array([0.0], "float32")) != print_of(np.array([-0.0], "float32"))
    assert print_of(np.array([1], "int64")) != print_of(np.array([1.0], "float64"))


def test_the_place_of_an_array_belongs_to_the_data() -> None:
    held = DataSet((X[:4], Y[:4]), validation=(X[4:], Y[4:]))
    prints = {
        fingerprint.of(held),
        fingerprint.of(DataSet((X[:4], Y[:4]), test=(X[4:], Y[4:]))),
        fingerprint.of(DataSet((X[:5], Y[:5]), validation=(X[5:], Y[5:]))),
        print_of(X, Y),
        print_of(Y, X),
    }
    assert len(prints) == 5
    assert print_of({"left": X, "right": Y}) != print_of({"left": Y, "right": X})


def test_bytes_that_are_no_text_have_a_fingerprint() -> None:
    """Undecoded pictures in a pipeline, say: tf.string tensors come out of TensorFlow as objects of bytes."""
    one, other = (np.array([b"\xff\xd8" + end], dtype=object) for end in (b"1", b"2"))
    assert print_of(one) != print_of(other)


def pictures(folder: Path, *contents: bytes) -> Examples:
    folder.mkdir()
    files = [folder / f"{i}.png" for i in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    labels = np.arange(len(files))
    return Examples((np.array([str(file) for file in files]), labels), load=lambda file, label: (file, label), files=files)


def test_files_count_by_what_they_hold_and_not_by_where_they_lie(tmp_path: Path) -> None:
    here = fingerprint.of(DataSet(pictures(tmp_path / "here", b"one", b"two")))
    assert fingerprint.of(DataSet(pictures(tmp_path / "there", b"one", b"two"))) == here
    assert fingerprint.of(DataSet(pictures(tmp_path / "changed", b"one", b"twO"))) != here
    assert fingerprint.of(DataSet(pictures(tmp_path / "swapped", b"two", b"one"))) != here


def test_labels_of_files_count(tmp_path: Path) -> None:
    part = pictures(tmp_path / "pictures", b"one", b"two")
    relabelled = Examples((part.items[0], part.items[1][::-1]), part.load, files=part.files)
    assert fingerprint.of(DataSet(relabelled)) != fingerprint.of(DataSet(part))


def test_items_without_files_count_by_their_values() -> None:
    def of(*names: str) -> str:
        return fingerprint.of(DataSet(Examples(np.array(names), load=lambda name: name)))

    assert of("a", "b") == of("a", "b") != of("b", "a")


def test_a_pipeline_counts_by_its_batches() -> None:
    assert fingerprint.of(DataSet(batches_of(1, 2, 3))) == fingerprint.of(DataSet(batches_of(1, 2, 3)))
    assert fingerprint.of(DataSet(batches_of(1, 2, 3))) != fingerprint.of(DataSet(batches_of(1, 3, 2)))


def test_an_endless_pipeline_needs_steps() -> None:
    endless = DataSet(batches_of(1, 2, 3, 4).repeat())
    with pytest.raises(Refused, match=r"no end.*training\.steps_per_epoch"):
        fingerprint.of(endless)
    assert fingerprint.of(endless, steps=2) == fingerprint.of(DataSet(batches_of(1, 2, 3, 4)))


def test_named_files_stand_for_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.bin", "a.bin", "c.txt"):
        (tmp_path / name).write_bytes(name.encode())
    endless = DataSet(batches_of(1).repeat())
    whole = fingerprint.of(endless, [str(tmp_path / "*.bin")])
    assert fingerprint.of(DataSet(batches_of(7)), [str(tmp_path / "a.bin"), str(tmp_path / "b.bin")]) == whole
    monkeypatch.chdir(tmp_path)
    assert fingerprint.of(endless, ["*.bin"]) == whole
    (tmp_path / "a.bin").write_bytes(b"changed")
    assert fingerprint.of(endless, ["*.bin"]) != whole


@pytest.mark.parametrize("pattern", ["no-such-file", "*.none", "", "folder"])
def test_a_pattern_without_a_file_is_refused(pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=r"data\.files names .*(no such file|not a plain file)"):
        fingerprint.matching([pattern])


def test_a_pipeline_with_an_end_counts_whole_whatever_an_epoch_is() -> None:
    """An epoch of `steps` batches goes on where the one before it ended."""
    four = DataSet(batches_of(1, 2, 3, 4))
    assert fingerprint.of(four, steps=1) == fingerprint.of(four)
    assert fingerprint.of(four, steps=1) != fingerprint.of(DataSet(batches_of(1, 2, 3, 5)), steps=1)


def test_texts_and_labels_beside_files_count(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_text("a"), two.write_text("b")

    def of(names: list[Path], captions: list[str], **more: Any) -> str:
        items = (np.array([str(name) for name in names]), np.array(captions))
        return fingerprint.of(DataSet(Examples(items, load=lambda *item: item, files=(one, two)), **more))

    first = of([one, two], ["cat", "dog"])
    assert of([one, two], ["dog", "cat"]) != first
    assert of([two, one], ["cat", "dog"]) != first
    assert of([one, two], ["cat", "dog"], outputs=3) != first


@pytest.mark.parametrize("text", ["one sentence. " * 50, "~nobodyhere/x.h5", "a\0b.c", "relu", ""])
def test_any_text_may_stand_in_a_config(text: str) -> None:
    assert fingerprint.with_contents({"a": [text]}) == {"a": [text]}


# --- a hash for each row -------------------------------------------------------------------------------------------------

element_types = st.sampled_from(["float32", "float64", "int64", "int16", "uint8", "bool", "complex64", "<U3", ">f4", "datetime64[s]"])
tables = element_types.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9)))


@given(tables, st.data())
def test_a_row_that_moves_takes_its_hash_along(array: np.ndarray, data: st.DataObject) -> None:
    labels = np.arange(len(array))
    order = data.draw(st.permutations(range(len(array))))
    hashes = fingerprint.row_hashes([array, labels])
    assert hashes.dtype == np.uint64
    assert hashes.shape == (len(array),)
    assert np.array_equal(fingerprint.row_hashes([array[order], labels[order]]), hashes[order])
    assert len(set(hashes.tolist())) == len(array)


@given(tables, st.data())
def test_an_element_that_changes_changes_its_rows_hash_and_no_other(array: np.ndarray, data: st.DataObject) -> None:
    changed = array.copy()
    place = tuple(data.draw(st.integers(0, side - 1)) for side in array.shape)
    changed[place] = data.draw(hnp.from_dtype(array.dtype))
    assume(changed.tobytes() != array.tobytes())
    beside = np.arange(len(array), dtype="float32")
    for pair in ([array, changed], [np.stack([array] * 2, 1), np.stack([array, changed], 1)]):
        one, other = (fingerprint.row_hashes([beside, table]) for table in pair)
        assert np.flatnonzero(one != other).tolist() == [place[0]]


def test_a_row_hash_can_be_computed_by_another_program() -> None:
    def mix(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    def row(*arrays: bytes) -> int:
        total = 0
        for i, content in enumerate(arrays):
            for j in range(0, len(content), 8):
                k = mix(2**32 * i + j // 8 + 1)
                total += mix(int.from_bytes(content[j : j + 8], "little") ^ k) - mix(k)
        return total % 2**64

    wide = np.arange(6 * 5, dtype="float32").reshape(6, 5)
    expected = [row(wide[i].tobytes(), Y[i].tobytes()) for i in range(6)]
    assert fingerprint.row_hashes([wide, Y]).tolist() == expected


@pytest.mark.parametrize("flipped", ["signs", "swapped", "moved along"])
def test_changes_that_might_cancel_in_a_sum_do_not(flipped: str) -> None:
    x = np.random.default_rng(1).normal(size=(50, 16)).astype("float32")
    y = x.copy()
    if flipped == "signs":
        y[:, [1, 3, 5]] *= -1
    elif flipped == "swapped":
        y[:, [2, 9]] = x[:, [9, 2]]
    else:
        y = np.roll(x, 2, axis=1)
    assert (fingerprint.row_hashes([x]) != fingerprint.row_hashes([y])).all()


def test_text_counts_by_what_it_says_and_not_by_the_width_of_its_array() -> None:
    short, long = np.array([["a", "b"], ["c", ""]]), np.array([["a", "b"], ["c", ""], ["d", "a long one"]])
    assert fingerprint.row_hashes([long])[:2].tolist() == fingerprint.row_hashes([short]).tolist()
    assert fingerprint.row_hashes([short[:, ::-1]]).tolist() != fingerprint.row_hashes([short]).tolist()
    objects = np.array([b"\xff\xd8", "text", "text"], dtype=object)
    hashes = fingerprint.row_hashes([objects])
    assert hashes[1] == hashes[2] != hashes[0]


def test_rows_of_files_count_by_contents_and_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = pictures(tmp_path / "here", b"one", b"two", b"three")
    fingerprint.of(DataSet(part))
    monkeypatch.setattr(fingerprint, "file_hash", lambda path: pytest.fail(f"{path} was read again"))
    hashes = rows_of(fingerprint.rows(DataSet(part)))["train"]
    monkeypatch.undo()
    assert np.array_equal(rows_of(fingerprint.rows(DataSet(pictures(tmp_path / "there", b"one", b"two", b"three"))))["train"], hashes)
    changed = rows_of(fingerprint.rows(DataSet(pictures(tmp_path / "changed", b"one", b"twO", b"three"))))["train"]
    assert np.flatnonzero(changed != hashes).tolist() == [1]


def rows_of(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def test_rows_say_what_was_left_out_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "LARGEST_ROWS", 5 * 8)
    found = rows_of(fingerprint.rows(DataSet((X, Y), validation=batches_of(1, 2), test=(X[:5], Y[:5]), outputs=np.int64(3), classes=True)))
    about = json.loads(found.pop("about").tobytes())
    assert list(found) == ["test"]
    assert about["outputs"] == 3
    assert about["classes"] is True
    assert about["parts"]["train"] == {"kind": "arrays", "rows": 6, "arrays": [["<f4", [2]], ["<i8", []]], "left_out": "more than 5 rows"}
    assert about["parts"]["validation"]["left_out"] == "a ready-made pipeline has no rows"
    assert about["parts"]["test"]["left_out"] is None


def test_rows_of_one_fingerprint_are_made_once_and_of_another_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    hashes = fingerprint.row_hashes
    monkeypatch.setattr(fingerprint, "row_hashes", lambda *arguments: made.append(1) or hashes(*arguments))
    for name, x in (("one of these tests", X), ("one of these tests", X), ("another one", X + 1)):
        found = rows_of(fingerprint.rows(DataSet((x, Y), fingerprint=name)))["train"]
        assert np.array_equal(found, hashes([x, Y]))
    assert len(made) == 2


def test_hashing_rows_costs_less_than_five_nanoseconds_a_byte() -> None:
    x = np.random.default_rng(1).normal(size=(20_000, 28, 28)).astype("float32")
    seconds = min(timeit.repeat(lambda: fingerprint.row_hashes([x]), number=1, repeat=3))
    assert seconds * 1e9 / x.nbytes < 5


def test_a_file_that_no_item_names_counts_too(tmp_path: Path) -> None:
    """What `load` reads for all examples, say: a table of labels."""
    found = []
    for content in ("a", "b"):
        (tmp_path / "labels.csv").write_text(content)
        part = Examples(np.arange(3), load=lambda x: (x, x), files=[tmp_path / "labels.csv"])
        found.append(fingerprint.of(DataSet(part)))
    assert found[0] != found[1] != fingerprint.of(DataSet(Examples(np.arange(3), load=lambda x: (x, x))))


def test_the_contents_of_files_stand_for_their_names_wherever_a_config_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.npz").write_text("a")
    (tmp_path / "plain").write_text("b")
    (tmp_path / "folder.d").mkdir()
    stands = f"file {hashlib.sha256(b'a').hexdigest()}"
    said = {"a": "weights.npz", "b": ["./weights.npz", {"c": str(tmp_path / "weights.npz")}], "d": "plain", "e": "folder.d", "f": 1.5}
    assert fingerprint.with_contents(said) == {**said, "a": stands, "b": [stands, {"c": stands}]}  # a word is a word


def test_a_row_hash_depends_on_no_byte_order_and_on_no_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(70, dtype="<i4").reshape(35, 2)
    whole = fingerprint.row_hashes([array])
    assert len(set(whole.tolist())) == 35
    assert fingerprint.row_hashes([array.astype(">i4")]).tolist() == whole.tolist()
    monkeypatch.setattr(fingerprint, "BLOCK", 4)
    assert fingerprint.row_hashes([array]).tolist() == whole.tolist()
