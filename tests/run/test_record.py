"""The key, the record, and what a crash leaves of them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from run import records

from seedbed import Refused
from seedbed.run import config as configs
from seedbed.run import record, training
from seedbed.run.record import Record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@given(st.dictionaries(st.text(), JSON, min_size=1))
def test_a_key_depends_on_what_the_inputs_are_and_not_on_their_order(inputs: dict[str, Any]) -> None:
    assert record.key_of(inputs) == record.key_of(dict(reversed(list(inputs.items()))))
    assert record.key_of(inputs) == record.key_of(json.loads(json.dumps(inputs)))
    name = next(iter(inputs))
    assert record.key_of(inputs) != record.key_of({**inputs, name: [inputs[name], 1]})
    assert record.key_of(inputs) != record.key_of({k: v for k, v in inputs.items() if k != name})


class Known(Exception):
    """The key of a run, which is known before anything is trained."""


def key(config: Any) -> str:
    """The key that a run of this config has; nothing is trained for it."""

    def stop(found: record.Record) -> None:
        raise Known(found.key)

    with pytest.raises(Known) as known:
        training.run(config, started=stop)
    return str(known.value)


@pytest.fixture
def quick(config: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *overrides: config("training.epochs=1", *overrides)


def test_what_changes_a_key(quick: Callable[..., Any]) -> None:
    changes = [
        "seeds.init=3",
        "seeds.hash=0",
        "training.epochs=2",
        "model.hidden=[3]",
        "optimizer.learning_rate=0.1",
        "data.source.length=9",
    ]
    keys = [key(quick())] + [key(quick(change)) for change in changes]
    assert keys[2] == keys[0]  # seeds.hash=0 is what it was
    assert len(set(keys)) == len(keys) - 1


def test_what_does_not_change_a_key(quick: Callable[..., Any], tmp_path: Path) -> None:
    base = key(quick())
    for same in ("name=other", "training.engine=fit", "checkpoint.every_epochs=1", "tracking.experiment=x", f"runs='{tmp_path}/elsewhere'"):
        assert key(quick(same)) == base, same


def test_the_key_covers_code_that_the_config_names_and_not_where_it_lies(quick: Callable[..., Any], plugin: Callable[..., Path]) -> None:
    plugin("helper", "UNITS = 3")
    source = """
        def model(spec):
            import keras
            from helper import UNITS
            return keras.Sequential([keras.Input(spec.inputs), keras.layers.Dense(UNITS), keras.layers.Dense(1)])
        """
    plugin("mine", source)
    named = "model={_target_: mine.model}"
    inputs = training.run(quick("~model", f"+{named}")).inputs
    assert {"mine", "helper", "seedbed.run.loop"} <= set(inputs["code"])
    assert "example.models" not in inputs["code"]
    assert str(Path.home()) not in json.dumps(inputs["code"])
    plugin("helper", "UNITS = 3  # other")
    assert training.run(quick("~model", f"+{named}")).key != record.key_of(inputs)


def test_a_finished_key_is_not_trained_again(quick: Callable[..., Any]) -> None:
    first, second = training.run(quick()), training.run(quick())
    assert (first.reused, second.reused) == (False, True)
    assert second.digests == first.digests
    assert second.content == first.content


def test_force_trains_again_beside_the_record_and_compares(quick: Callable[..., Any]) -> None:
    first, again = training.run(quick()), training.run(quick("force=true"))
    assert again.agrees is True
    assert again.path == first.path / "again"
    assert again.id != first.id
    # shown failing: a record whose bits are others
    tampered = record.Record.read(first.path)
    tampered.update(digests={**tampered.digests, "final_weights": "0" * 64})
    assert training.run(quick("force=true")).agrees is False


def test_nothing_of_the_environment_leaks_into_a_record(quick: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    secret = os.urandom(8).hex()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("SEEDBED_TOKEN", secret)
    found = training.run(quick("tracking=server", f"tracking.uri='http://anna:{secret}@127.0.0.1:9'"))
    assert not [path for path in found.path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_cut_off_line_of_history_does_not_count(quick: Callable[..., Any]) -> None:
    found = training.run(quick("training.epochs=3"))
    file = found.path / "history.jsonl"
    file.write_text(file.read_text()[:-9])
    assert len(found.history()) == 2


def test_a_record_that_cannot_be_read_is_named(quick: Callable[..., Any]) -> None:
    found = training.run(quick())
    (found.path / "record.json").write_text('{"key": ')
    with pytest.raises(Refused, match=f"{found.path}/record.json can't be read"):
        training.run(quick())


def test_an_atomic_write_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    record.write_atomically(file, "old")
    with pytest.raises(TypeError):
        record.write_atomically(file, 3)  # type: ignore[arg-type]
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(os.fstat(handle).st_ino) or fsync(handle))
    monkeypatch.setattr(Path, "replace", lambda self, target: done.append("named") or replace(self, target))
    record.write_atomically(tmp_path / "x", "new")
    assert done == [(tmp_path / "x").stat().st_ino, "named", tmp_path.stat().st_ino]
    done.clear()
    record.write_atomically(tmp_path / "x", "a note", durable=False)
    assert done == ["named"]


def test_a_new_record_can_be_seen_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: record.Record, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "no space is left")

    content = {"key": "1" * 64, "provenance": {"git": {}}}
    old = record.Record.create(tmp_path / "k", content, "name: old\n", "")
    with monkeypatch.context() as patch:
        patch.setattr(record.Record, "_write", full)
        for name in ("k", "new"):
            with pytest.raises(OSError, match="no space is left"):
                record.Record.create(tmp_path / name, content, "name: new\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["k"]
    assert record.Record.read(tmp_path / "k").content == old.content
    assert not old.damage()


def test_who_waits_for_a_key_holds_it_afterwards(tmp_path: Path) -> None:
    log: list[Any] = []

    def wait() -> None:
        with record.locked(tmp_path, "k"):
            log.append(record.is_held(tmp_path, "k"))

    with record.locked(tmp_path, "k"):
        other = threading.Thread(target=wait)
        other.start()
        other.join(0.3)
        log.append("first")
    other.join(60)
    assert log == ["first", True]


HOLD = """
import sys, time
from pathlib import Path
from seedbed.run import record
log = (Path(sys.argv[1]) / "log").open("a", buffering=1)
with record.locked(Path(sys.argv[1]), "k", lambda: None):
    log.write("in\\n")
    time.sleep(0.5)
    log.write("out\\n")
"""


def test_one_process_at_a_time_holds_a_key(tmp_path: Path) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)]) for _ in range(3)]
    assert [worker.wait(300) for worker in workers] == [0, 0, 0]
    assert (tmp_path / "log").read_text().split() == ["in", "out"] * 3


def test_files_that_a_config_names_count_by_what_is_in_them_and_not_where_callbacks_write(
    config: Callable[..., Any], tmp_path: Path
) -> None:
    def key(*words: str) -> str:
        composed = config(*words)
        seeds = training.resolved_seeds(composed, None)
        level: Any = OmegaConf.to_container(composed.determinism, resolve=True)
        plain = configs.without_environment(composed, stamped=True)
        data = training.prepared(composed, lambda: (np.ones((4, 1)), np.ones(4)), seeds, level)
        return record.key_of(training.key_inputs(plain, seeds, level, data, training.code_of(composed)))

    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    one.write_text("a"), two.write_text("a")
    first = key(f"+model.start={one}")
    assert key(f"+model.start={two}") == first
    two.write_text("b")
    assert key(f"+model.start={two}") != first
    log = "+training.callbacks.log={{_target_: keras.callbacks.CSVLogger, filename: {}}}"
    assert key(log.format("a.csv")) == key(log.format("b.csv"))
    mine = f"+training.callbacks.mine={{_target_: mine.Callback, out: {tmp_path}/out.txt}}"
    before = key(mine)
    (tmp_path / "out.txt").write_text("what a run has written")
    assert key(mine) == before


def test_epochs_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    found = records.made(tmp_path, finished=False)
    found.keep_epochs(2)
    assert found.history() == records.HISTORY[:2]
    found.append_epoch(2, {"loss": 0.125})
    assert found.history() == [*records.HISTORY[:2], {"loss": 0.125}]
    found.keep_epochs(0)
    assert found.history() == []


def test_a_record_says_finished_when_its_files_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = records.made(tmp_path, finished=False)
    (found.path / "checkpoints").mkdir()
    order: list[str] = []
    real, write = os.fsync, record.write_atomically

    def fsync(handle: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)  # noqa: PTH115
        real(handle)

    def written(path: Path, content: Any, durable: bool = True) -> None:
        if '"finished"' in str(content):
            order.append("says finished")
            assert (found.path / "checkpoints").exists()  # what a run would go on from, until then
        write(path, content, durable)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(record, "write_atomically", written)
    found.finish({}, {"history": "1"})
    before = order[: order.index("says finished")]
    assert {"model.keras", "mine.csv", "history.jsonl", "log", found.path.name, found.path.parent.name} <= set(before)
    assert not (found.path / "checkpoints").exists()


def test_whether_a_key_is_held_is_asked_without_holding_it(tmp_path: Path) -> None:
    key, other = "a" * 64, "a" * 63 + "b"
    assert [record.is_held(tmp_path, key) for _ in range(2)] == [False, False]
    with record.locked(tmp_path, key):
        assert record.is_held(tmp_path, key)
        assert not record.is_held(tmp_path, other)
    assert not record.is_held(tmp_path, key)


def test_all_records_the_oldest_first_and_those_that_were_forced_too(tmp_path: Path) -> None:
    for name, started in (("b" * 64, 1.0), ("a" * 64, 3.0), (f"{'a' * 64}/again", 2.0)):
        made = Record.create(tmp_path / name, {"key": name[:64]}, "", "")
        made.update(timing={"started": started})
    (tmp_path / "studies").mkdir()
    assert [one.path.relative_to(tmp_path).as_posix()[-7:] for one in record.all_records(tmp_path)] == ["bbbbbbb", "a/again", "aaaaaaa"]


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [("finished", None, 0), ("failed", "the loss", 1), ("interrupted", "stopped by SIGTERM", 143), ("interrupted", "stopped by SIGINT", 130),
     ("interrupted", "The run was broken off: stopped by SIGTERM", 1)],
)  # fmt: skip
def test_the_exit_status_of_a_record(status: str, error: str | None, expected: int, tmp_path: Path) -> None:
    one = Record(tmp_path)
    one.content = {"status": status, "error": error}
    assert one.exit_status() == expected
