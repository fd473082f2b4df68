"""Which files a run reads that it or an earlier one has written."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from seedbed.run import file_access


def test_what_is_read_before_it_is_written(tmp_path: Path) -> None:
    counter, cache, log, data, kept = (tmp_path / name for name in ("counter", "cache", "log", "data", "runs"))
    counter.write_text("1")
    data.write_text("x")
    kept.mkdir()
    watch = file_access.watch()
    watch.begin((str(kept),))
    counter.write_text(str(int(counter.read_text()) + 1))
    data.read_text()
    cache.write_text("new")
    cache.read_text()  # its own
    with log.open("a") as file:
        file.write("a line")
    (kept / "record").write_text("seedbed's own")
    beside = tmp_path / "beside"
    beside.write_text("x")
    beside.rename(tmp_path / "moved")
    sqlite3.connect(tmp_path / "store").close()
    first = watch.end()
    assert first.rewritten() == [str(counter)]
    assert {str(counter), str(cache), str(log), str(tmp_path / "moved"), str(tmp_path / "store")} <= set(first.written)
    assert not [path for path in first.written if path.startswith(str(kept))]
    assert first.written[str(cache)].startswith(f"{__file__}:")
    watch.begin()
    cache.read_text()
    os.close(os.open(tmp_path / "moved", os.O_RDONLY))
    (tmp_path / "log").write_text("again")
    second = watch.end()
    assert second.found(first.written) == [str(cache), str(tmp_path / "moved")]
    assert second.rewritten() == []
    data.read_text()
    assert watch.end().read_first == {}  # nothing is noted between runs
