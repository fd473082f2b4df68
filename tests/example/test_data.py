"""The example data sets: what they hold, and what is said about files that can't be used."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
import stat
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from example import data as example
from example import pictures, tables
from seedbed import Refused
from seedbed.run import data as data_sets
from seedbed.run import fingerprint, inputs
from seedbed.run import seeds as streams

SEEDS = {"master": 1, **{stream: streams.derive(1, stream) for stream in streams.STREAMS}}
TABLE = "height,colour,width\n1.5,red,3\n2.5,blue,4\n3.5,red,5\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """`write(text, "name.csv")`: the path of a file with these contents."""

    def written(content: str | bytes, name: str = "table.csv") -> str:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return written


def checked(data: Any) -> data_sets.DataSet:
    return data_sets.load(lambda: data, SEEDS, lambda: None)


# --- sequence, digits ----------------------------------------------------------------------------------------------


def test_sequence_is_the_tutorials_pairs() -> None:
    x, y = checked(example.sequence()).train
    assert (x.shape, y.shape, x.dtype, y.dtype) == ((9, 1), (9,), "float32", "float32")
    np.testing.assert_array_equal(x[:, 0], np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], "float32"))
    np.testing.assert_array_equal(y, np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "float32"))


@pytest.mark.parametrize("length", [1, 0, -3])
def test_a_sequence_too_short(length: int) -> None:
    with pytest.raises(Refused, match=f"data.source.length={length} .*2 or more"):
        example.sequence(length)


def test_shortest_sequence() -> None:
    x, y = checked(example.sequence(2)).train
    assert (x.tolist(), y.tolist()) == ([[0.0]], [np.float32(0.1)])


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data = checked(example.digits())
    x, y = data.train
    assert (x.shape, x.dtype, y.dtype, x.min(), x.max()) == ((1797, 8, 8, 1), "float32", "int64", 0.0, 1.0)
    np.testing.assert_array_equal(x.reshape(1797, 64) * 16, load_digits().data)
    np.testing.assert_array_equal(y, load_digits().target)
    assert (data_sets.spec(data).outputs, data_sets.spec(data).classes) == (10, True)


# --- csv: what is accepted -----------------------------------------------------------------------------------------


def test_a_table_of_numbers(write: Callable[..., str]) -> None:
    data = checked(tables.csv(write("a,y,b\n1,2,3\n4,5.5,-6e1\n"), "y"))
    x, y = data.train
    np.testing.assert_array_equal(x, np.array([[1, 3], [4, -60]], "float32"))
    np.testing.assert_array_equal(y, np.array([2, 5.5], "float32"))
    assert (x.dtype, y.dtype, data.outputs, data_sets.spec(data).classes) == ("float32", "float32", 1, False)


def test_text_becomes_a_column_a_value(write: Callable[..., str]) -> None:
    x, y = checked(tables.csv(write(TABLE), "width")).train
    np.testing.assert_array_equal(x, [[1.5, 0, 1], [2.5, 1, 0], [3.5, 0, 1]])
    np.testing.assert_array_equal(y, [3, 4, 5])


def test_a_target_of_text_is_a_class(write: Callable[..., str]) -> None:
    data = checked(tables.csv(write(TABLE), "colour"))
    assert data.train[1].tolist() == [1, 0, 1]
    assert data.train[1].dtype == "int64"
    assert (data_sets.spec(data).outputs, data_sets.spec(data).classes) == (2, True)


@pytest.mark.parametrize(("classify", "targets", "outputs"), [(False, [3, 9, 3], 1), (True, [0, 1, 0], 2)])
def test_numbers_are_classes_only_if_asked(write: Callable[..., str], classify: bool, targets: list[int], outputs: int) -> None:
    data = checked(tables.csv(write("a,y\n1,3\n2,9\n3,3\n"), "y", classify=classify))
    assert data.train[1].tolist() == targets
    assert (data_sets.spec(data).outputs, data_sets.spec(data).classes) == (outputs, classify)


def test_parts_from_files_of_their_own(write: Callable[..., str]) -> None:
    other = write("height,colour,width\n9,blue,7\n8,green,6\n", "other.csv")
    data = checked(tables.csv(write(TABLE), "width", validation_path=other, test_path=other))
    assert list(data.parts()) == ["train", "validation", "test"]
    # a value that the first file hasn't is none of its columns
    np.testing.assert_array_equal(data.validation[0], [[9, 1, 0], [8, 0, 0]])
    np.testing.assert_array_equal(data.test[1], [7, 6])


def test_classes_of_all_files_count(write: Callable[..., str]) -> None:
    other = write("height,colour,width\n9,amber,7\n", "other.csv")
    data = checked(tables.csv(write(TABLE), "colour", test_path=other))
    assert (data.train[1].tolist(), data.test[1].tolist(), data.outputs) == ([2, 1, 2], [0], 3)


@pytest.mark.parametrize(
    ("content", "name", "separator"),
    [
        pytest.param(gzip.compress(TABLE.encode()), "table.csv.gz", ",", id="gzip"),
        pytest.param(b"\xef\xbb\xbf" + TABLE.encode(), "bom.csv", ",", id="byte order mark"),
        pytest.param(b"\xef\xbb\xbf" + TABLE.replace("height", '"height"').encode(), "bom.csv", ",", id="byte order mark and quotes"),
        pytest.param(TABLE.replace("\n", "\r\n"), "windows.csv", ",", id="CRLF"),
        pytest.param(TABLE.rstrip(), "cut.csv", ",", id="no newline at the end"),
        pytest.param("\n" + TABLE.replace("\n", "\n\n"), "blank.csv", ",", id="blank lines"),
        pytest.param(TABLE.replace(",", ";"), "semicolon.csv", ";", id="semicolon"),
        pytest.param(TABLE.replace(",", "\t"), "tabs.tsv", "\t", id="tab"),
        pytest.param(TABLE.replace("red", '"red"').replace("width", '"width"'), "quoted.csv", ",", id="quotes"),
    ],
)
def test_the_same_table_in_other_clothes(write: Callable[..., str], content: Any, name: str, separator: str) -> None:
    plain = checked(tables.csv(write(TABLE), "width"))
    dressed = checked(tables.csv(write(content, name), "width", separator=separator))
    assert fingerprint.of(dressed) == fingerprint.of(plain)


def test_quotes_hold_separators_and_newlines(write: Callable[..., str]) -> None:
    x, _ = checked(tables.csv(write('\ufeff"a, b",text,y\n1,"two\nlines",3\n4,"one, line",6\n'), "y")).train
    np.testing.assert_array_equal(x, [[1, 0, 1], [4, 1, 0]])


def test_a_long_table_with_text_far_down(write: Callable[..., str]) -> None:
    """pandas reads in pieces of 256 KiB and guesses the type of each: a column must not be numbers here and text there."""
    x, _ = checked(tables.csv(write("code,y\n" + "1,2\n" * 300_000 + "x,3\n"), "y")).train
    assert x.shape == (300_001, 2)
    assert x.sum(axis=0).tolist() == [300_000, 1]


# --- csv: what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("", "the file is empty", id="empty"),
        pytest.param("\n\n", "the file is empty", id="newlines alone"),
        pytest.param("a,b,y\n", "a header and no examples", id="header alone"),
        pytest.param("a,b,y\n1,2,3\n4,5\n", "line 3 has 2 values, the header 3", id="a short line"),
        pytest.param("a,b,y\n1,2,3\n4,5,6,7\n", "line 3", id="a long line"),
        pytest.param("a,b,y\n1,2,3,4\n4,5,6\n", "line 2 has 4 values, the header 3", id="a long first line"),
        pytest.param("a,b,y\n1,2,3,4\n4,5,6,7\n", "line 2 has 4 values, the header 3", id="all lines too long"),
        pytest.param("a,b,y\n1,NaN,3\n4,5,6\n", "no value in line 2, column 'b'", id="NaN"),
        pytest.param("a,b,y\n1,2,3\n4,,\n", r"no value in line 3, column 'b' \(2 missing in all\)", id="empty fields"),
        pytest.param("a,b,y\n1,2,\n4,5,6\n", "no value in line 2, column 'y'", id="no target"),
        pytest.param('a,b,y\n\n"1\n2",2,3\n4,,6\n', "no value in line 5, column 'b'", id="the line that an editor shows"),
        pytest.param("a,b,y\n1,inf,3\n4,5,6\n", "hold inf in 'train', example 0", id="infinite"),
        pytest.param("a,b\n1,2\n", "'y' is no column .*: a, b", id="unknown target"),
        pytest.param("a;b;y\n1;2;3\n", "'y' is no column .*: a;b;y", id="another separator"),
        pytest.param("y\n1\n", "no column but the target", id="target alone"),
        pytest.param('a,b,y\n"1,2,3\n4,5,6\n', "not a table", id="a quote that stays open"),
        pytest.param("a,b,y\ncaf\xe9,2,3\n".encode("latin1"), "not a table", id="not UTF-8"),
        pytest.param(TABLE.encode("utf-16"), "not a table", id="UTF-16"),
        pytest.param(gzip.compress(TABLE.encode()), "not a table", id="gzip without its name"),
    ],
)
def test_a_table_that_cannot_be_used(write: Callable[..., str], content: Any, words: str) -> None:
    path = write(content)
    with pytest.raises(Refused, match=words) as refused:
        checked(tables.csv(path, "y"))
    assert path in str(refused.value) or "hold inf" in words


@pytest.mark.parametrize("name", ["missing.csv", "missing.csv.gz"])
def test_a_missing_table(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=r"data\.source\.path=.*no such file") as refused:
        tables.csv(name, "y")
    assert str(tmp_path) in str(refused.value), "where it was looked for, for a relative path"


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "no such file", id="missing"),
        pytest.param("a,y\n", "no examples", id="header alone"),
        pytest.param("a,b,y\n1,2,3\n", "has the columns", id="other columns"),
        pytest.param("y,a\n1,2\n", "has the columns", id="other order"),
        pytest.param("a,y\nx,3\n", "'a'", id="text where the first file has numbers"),
        pytest.param("a,y\n1,x\n", "'y'", id="a target of text where the first file has numbers"),
    ],
)
def test_another_part_that_does_not_fit(write: Callable[..., str], tmp_path: Path, part: str, content: str | None, words: str) -> None:
    other = str(tmp_path / "none.csv") if content is None else write(content, "other.csv")
    with pytest.raises(Refused, match=words) as refused:
        checked(tables.csv(write("a,y\n1,2\n3,4\n"), "y", **{f"{part}_path": other}))
    assert f"data.source.{part}_path" in str(refused.value)


def test_a_class_of_numbers_where_the_first_file_has_text(write: Callable[..., str]) -> None:
    with pytest.raises(Refused, match=r"data\.source\.test_path.*'y'"):
        tables.csv(write("a,y\n1,u\n3,v\n"), "y", test_path=write("a,y\n1,7\n", "other.csv"))


@pytest.mark.parametrize("separator", ["", "::", "\\t"])
def test_a_separator_is_one_character(write: Callable[..., str], separator: str) -> None:
    with pytest.raises(Refused, match=r"data\.source\.separator.*one character"):
        tables.csv(write(TABLE), "width", separator=separator)


def test_not_gzip_in_spite_of_its_name(write: Callable[..., str]) -> None:
    with pytest.raises(Refused, match="not a table"):
        tables.csv(write(TABLE, "table.csv.gz"), "width")


def test_a_gzip_that_was_cut_off(write: Callable[..., str]) -> None:
    with pytest.raises(Refused, match="not a table"):
        tables.csv(write(gzip.compress(TABLE.encode())[:-12], "table.csv.gz"), "width")


@pytest.mark.parametrize("path", [None, 5])
def test_a_path_that_is_none(path: Any) -> None:
    with pytest.raises(Refused, match=r"data\.source\.path"):
        tables.csv(path, "y")


def test_a_column_whose_name_is_a_number(write: Callable[..., str]) -> None:
    """`data.source.target=3` reaches the function as the number 3."""
    assert checked(tables.csv(write("1,2,3\n4,5,6\n7,8,9\n"), 3)).train[1].tolist() == [6, 9]  # type: ignore[arg-type]


STRANGE = {
    "FIFO": (os.mkfifo, "is a FIFO, not a plain file"),
    "socket": (lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), "is a socket, not a plain file"),
    "device": (lambda path: Path(path).symlink_to("/dev/zero"), "is a device, not a plain file"),
    "folder": (os.mkdir, "is a folder, not a plain file"),
    "dangling link": (lambda path: Path(path).symlink_to("nowhere"), "is a link to something that isn't there"),
    "circular link": (lambda path: Path(path).symlink_to(Path(path).name), "can't be read: Too many levels of symbolic links"),
}


@pytest.mark.parametrize(("make", "words"), STRANGE.values(), ids=STRANGE)
def test_what_is_no_plain_file_is_refused_by_name(make: Callable[[str], Any], words: str, tmp_path: Path, folder: Path) -> None:
    """As a table, among pictures, as a data file by its name and by a pattern, as what an example is made of."""
    from seedbed.run import fingerprint

    (tmp_path / "data").mkdir()
    table, data = str(tmp_path / "data" / "x.csv"), Path(shutil.copytree(folder, tmp_path / "pictures"))
    make(table)
    with pytest.raises(Refused, match=words) as refused:
        tables.csv(table, "y")
    assert f"data.source.path={table}" in str(refused.value)
    with pytest.raises(Refused, match=words):
        fingerprint.matching([table])
    with pytest.raises(Refused, match=words) if make is not os.mkdir else pytest.raises(Refused, match="no such file"):
        fingerprint.matching([f"{tmp_path}/data/*.csv"])  # a pattern leaves folders out
    with pytest.raises(Refused, match=words):
        fingerprint.file_hash(table)
    make(str(data / "class1" / "a.png"))
    with pytest.raises(Refused, match=f"a.png {words}"):
        pictures.images(str(data))


def test_names_that_are_not_utf8_and_folders_that_are_links(tmp_path: Path, folder: Path) -> None:
    data = Path(shutil.copytree(folder, tmp_path / "pictures"))
    strange = os.fsdecode(bytes(data / "class1") + b"/\xff\x1b.png")
    shutil.copy(data / "class1" / "0.png", strange)
    with pytest.raises(Refused, match=r"/\\xff\\x1b\.png has a name that is not UTF-8"):
        pictures.images(str(data))
    Path(strange).unlink()
    (data / "class1" / "x.png").touch()
    with pytest.raises(Refused, match=r"x\.png is no picture"):
        pictures.images(str(data))
    (data / "class1" / "x.png").unlink()
    (data / "again").symlink_to("class1")  # a class may be a link to a folder
    assert checked(pictures.images(str(data), (8, 8), 1)).outputs == 4
    (data / "lost").symlink_to("elsewhere")  # or lead nowhere: a class would be missing without a word
    with pytest.raises(Refused, match="lost is a link to something that isn't there"):
        pictures.images(str(data))


# --- images --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six digits of three classes as PNG files, and things beside them that are no pictures."""
    import tensorflow as tf

    root = tmp_path_factory.mktemp("pictures")
    x, y = example.digits()
    for label in (2, 0, 1):
        (root / f"class{label}").mkdir()
        for number, picture in enumerate(x[y == label][:2]):
            encoded = tf.io.encode_png(tf.cast(np.round(picture * 255), tf.uint8))
            (root / f"class{label}" / f"{number}.{'PNG' if number else 'png'}").write_bytes(encoded.numpy())
    (root / "class0" / "notes.txt").write_text("no picture")
    (root / "readme.md").write_text("no class")
    return root


def batches(part: Any, epochs: range = range(1), **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """All batches of the training part over `epochs`, as a model gets them."""
    feed = inputs.training(part, SEEDS, epochs, options.get("batch", 2), options.get("shuffle", False), None, "auto")
    return [(x.numpy(), y.numpy()) for x, y in feed.x]


def test_pictures_come_by_class_and_name(folder: Path) -> None:
    data = checked(pictures.images(str(folder), size=(8, 8), channels=1))
    assert [Path(path).relative_to(folder).as_posix() for path in data.train.items[0]] == [
        "class0/0.png", "class0/1.PNG", "class1/0.png", "class1/1.PNG", "class2/0.png", "class2/1.PNG",
    ]  # fmt: skip
    assert data.train.items[1].tolist() == [0, 0, 1, 1, 2, 2]
    spec = data_sets.spec(data)
    assert (spec.inputs, spec.dtypes, spec.outputs, spec.classes) == ((8, 8, 1), "float32", 3, True)


def test_pictures_without_changes_are_the_pictures(folder: Path) -> None:
    data = checked(pictures.images(str(folder), size=(8, 8), channels=1, flip=False, shift=0.0, brightness=0.0))
    x, y = example.digits()
    expected = np.concatenate([x[y == label][:2] for label in range(3)])
    got = np.concatenate([batch for batch, _ in batches(data.train)])
    np.testing.assert_allclose(got, expected, atol=1 / 255)
    held = np.concatenate([batch.numpy() for batch, _ in inputs.held_out(data.train, 4)])
    np.testing.assert_array_equal(held, got)


def test_pictures_get_the_size_and_channels_that_were_asked_for(folder: Path) -> None:
    data = checked(pictures.images(str(folder), size=(12, 20), channels=3))
    (x, y), *_ = batches(data.train)
    assert (x.shape, y.tolist()) == ((2, 12, 20, 3), [0, 0])
    assert x.min() >= 0.0
    assert x.max() <= 1.0


def test_each_picture_in_each_epoch_is_changed_in_its_own_way(folder: Path) -> None:
    part = checked(pictures.images(str(folder), size=(8, 8), channels=1, shift=0.25)).train
    one_picture = data_sets.take(part, np.zeros(6, dtype=int))
    changed = [picture.tobytes() for x, _ in batches(one_picture, range(2)) for picture in x]
    assert len(changed) == 12
    assert len(set(changed)) > 9, "of twelve random changes hardly two are the same"


def test_changes_are_the_same_in_two_loads_and_in_any_order(folder: Path) -> None:
    def loaded(**options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        return batches(checked(pictures.images(str(folder), size=(8, 8), channels=1)).train, range(2), **options)

    once, again = loaded(), loaded()
    assert all(np.array_equal(a, b) for one, other in zip(once, again, strict=True) for a, b in zip(one, other, strict=True))
    # the change belongs to the picture and the epoch, whatever batch it is in
    shuffled = loaded(shuffle=True, batch=3)
    assert {picture.tobytes() for x, _ in shuffled for picture in x} == {picture.tobytes() for x, _ in once for picture in x}
    assert [y.tolist() for _, y in shuffled] != [y.tolist() for _, y in loaded(batch=3)]


def test_held_out_pictures_are_not_changed(folder: Path) -> None:
    data = data_sets.split(checked(pictures.images(str(folder), size=(8, 8), channels=1)), 0.0, 0.5, 1)
    plain = data_sets.split(checked(pictures.images(str(folder), (8, 8), 1, flip=False, shift=0.0, brightness=0.0)), 0.0, 0.5, 1)
    for (x, y), (same, label) in zip(inputs.held_out(data.test, 2), inputs.held_out(plain.test, 2), strict=True):
        np.testing.assert_array_equal(x, same)
        np.testing.assert_array_equal(y, label)


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ([], r"pictures by class \{\}"),
        (["a/1.png"], r"\{'a': 1\}.*two or more"),
        (["a/1.png", "b/notes.txt"], r"\{'a': 1, 'b': 0\}"),
        (["1.png", "2.png"], r"pictures by class \{\}"),
    ],
)
def test_a_folder_without_classes(tmp_path: Path, layout: list[str], words: str) -> None:
    for name in layout:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    with pytest.raises(Refused, match=words):
        pictures.images(str(tmp_path))


def test_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(Refused, match="no such folder") as refused:
            pictures.images(name)
        assert str(tmp_path / name) in str(refused.value)


@pytest.mark.parametrize("options", [{"size": (0, 8)}, {"size": (8,)}, {"channels": 2}])
def test_pictures_of_no_size(folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=f"data.source.{next(iter(options))}"):
        pictures.images(str(folder), **options)


# --- keras.datasets ------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of Keras's, and a network that refuses. Keras reads KERAS_HOME when it is imported, so it is told here."""
    import keras  # noqa: F401
    from keras.src.backend import config

    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # made, with its proxies, at the first use in a process
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets"


@pytest.fixture
def any_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras takes a file of its format, though it isn't the published one."""
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils, "validate_file", lambda *arguments, **options: True)


def some_pictures(count: int, size: int = 28) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(count)
    return generator.integers(0, 256, (count, size, size), dtype="uint8"), generator.integers(0, 10, count, dtype="uint8")


@pytest.mark.usefixtures("any_hash")
def test_mnist(cache: Path) -> None:
    (x, y), (x_test, y_test) = some_pictures(7), some_pictures(3)
    np.savez(cache / "mnist.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    data = checked(example.keras_dataset("mnist"))
    np.testing.assert_array_equal(data.train[0], x[..., None].astype("float32") / 255)
    np.testing.assert_array_equal(data.test[0], x_test[..., None].astype("float32") / 255)
    np.testing.assert_array_equal(data.train[1], y)
    np.testing.assert_array_equal(data.test[1], y_test)
    spec = data_sets.spec(data)
    assert (data.train[0].dtype, data.train[1].dtype, data.validation) == ("float32", "int64", None)
    assert (spec.inputs, spec.outputs, spec.classes, spec.vocabulary) == ((28, 28, 1), 10, True, None)


def test_fashion_mnist(cache: Path) -> None:
    (cache / "fashion-mnist").mkdir()
    parts = {"train": some_pictures(6), "t10k": some_pictures(2)}
    for name, (x, y) in parts.items():
        (cache / "fashion-mnist" / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + x.tobytes()))
        (cache / "fashion-mnist" / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + y.tobytes()))
    data = checked(example.keras_dataset("fashion_mnist"))
    for part, (x, y) in zip((data.train, data.test), parts.values(), strict=True):
        np.testing.assert_array_equal(part[0], x[..., None].astype("float32") / 255)
        np.testing.assert_array_equal(part[1], y)


@pytest.mark.usefixtures("any_hash")
def test_cifar10(cache: Path, tmp_path: Path) -> None:
    """One picture a batch of 10,000: Keras's loader repeats it, which spares this test 180 MB of files."""
    pictures = np.random.default_rng(1).integers(0, 256, (6, 3072), dtype="uint8")
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    with tarfile.open(cache / "cifar-10-batches-py-target_archive", "w:gz") as archive:
        for label, name in enumerate(names):
            (tmp_path / name).write_bytes(pickle.dumps({b"data": pictures[label : label + 1], b"labels": [label]}, protocol=4))
            archive.add(tmp_path / name, f"cifar-10-batches-py/{name}")
    data = example.keras_dataset("cifar10")
    assert (data.train[0].shape, data.train[1].shape, data.test[0].shape) == ((50_000, 32, 32, 3), (50_000,), (1, 32, 32, 3))
    expected = pictures.reshape(6, 3, 32, 32).transpose(0, 2, 3, 1).astype("float32") / 255
    np.testing.assert_array_equal(data.train[0][::10_000], expected[:5])
    np.testing.assert_array_equal(data.test[0], expected[5:])
    assert data.train[1][::10_000].tolist() == [0, 1, 2, 3, 4]
    assert (data.train[0].dtype, data.train[1].dtype, data.test[1].tolist(), data.outputs) == ("float32", "int64", [5], 10)


def some_reviews(count: int) -> tuple[np.ndarray, np.ndarray]:
    reviews = np.empty(count, dtype=object)
    reviews[:] = [[1 + (7 * i + j) % 40 for j in range(3 + 4 * i)] for i in range(count)]
    return reviews, np.arange(count) % 2


@pytest.mark.usefixtures("any_hash")
def test_imdb(cache: Path) -> None:
    (x, y), (x_test, y_test) = some_reviews(6), some_reviews(3)
    np.savez(cache / "imdb.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    data = checked(example.keras_dataset("imdb", tokens=20, length=10))
    spec = data_sets.spec(data)
    assert (spec.inputs, spec.dtypes, spec.outputs, spec.classes, spec.vocabulary) == ((10,), "int32", 2, True, 20)
    assert (data.train[0].shape, data.test[0].shape, data.train[1].dtype) == ((6, 10), (3, 10), "int64")
    assert 0 <= data.train[0].min() <= data.train[0].max() < 20, "every token has its place in the embedding"
    # Keras: a start token 1 in front, words moved up by 3, rarer ones 2; then filled up or cut at the front
    reviews = [([1] + [word + 3 if word + 3 < 20 else 2 for word in review], int(label)) for review, label in zip(x, y, strict=True)]
    expected = {(tuple(([0] * 10 + tokens)[-10:]), label) for tokens, label in reviews}
    assert {(tuple(tokens.tolist()), int(label)) for tokens, label in zip(*data.train, strict=True)} == expected
    assert fingerprint.of(checked(example.keras_dataset("imdb", tokens=20, length=10))) == fingerprint.of(data)


@pytest.mark.parametrize("name", example.KERAS_DATASETS)
def test_not_cached_and_no_network(name: str, cache: Path) -> None:
    with pytest.raises(Refused, match=f"data.source.dataset={name}: not in Keras's cache .*download failed: .*refused") as refused:
        example.keras_dataset(name)
    assert str(cache) in str(refused.value)


def test_a_damaged_cache_is_not_trained_on(cache: Path) -> None:
    """Keras checks the hash, and loads anew what isn't whole; here the network refuses."""
    np.savez(cache / "mnist.npz", x_train=np.zeros((1, 28, 28)))
    with pytest.raises(Refused, match="download failed"):
        example.keras_dataset("mnist")


@pytest.mark.parametrize("name", ["cifar100", "MNIST", "", "load_data"])
def test_an_unknown_data_set(name: str) -> None:
    with pytest.raises(Refused, match="is not one of mnist, fashion_mnist, cifar10, imdb"):
        example.keras_dataset(name)


@pytest.mark.parametrize("beginning", [b"BM", b"GIF87a", b"GIF89a", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n"])
def test_each_kind_of_picture_is_known_by_its_beginning(beginning: bytes, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(beginning + b"0123456789")
    assert pictures.is_picture(tmp_path / "picture")
    (tmp_path / "picture").write_bytes(b" " + beginning)
    assert not pictures.is_picture(tmp_path / "picture")
