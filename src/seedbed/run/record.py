"""The run key and the record: what a run's result depends on, and the folder that the run leaves.

`<runs>/<key>/` holds
    record.json      key, status, level, seeds, the key's inputs, provenance, metrics, digests, timing
    config.yaml      the config with every value resolved
    code.diff        what the working tree had that the commit hadn't (absent if clean)
    history.jsonl    one line an epoch: its number, when it ended, its metrics; written as it happens
    checkpoints/     where a killed run goes on from; gone when the run has finished
    model.keras      the trained model (weights.npz where Keras can't save it as a whole)
    again/           the same key trained again with force=true, a record of its own
Status: running, interrupted (goes on when started again), failed, finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from seedbed import Refused
from seedbed.run import digest

FORMAT = 1
SHORTEST_SECRET = 4  # characters; a shorter value is no secret, and to replace it would make errors unreadable
FINISHED, FAILED, INTERRUPTED, RUNNING = "finished", "failed", "interrupted", "running"


def key_of(inputs: Mapping[str, Any]) -> str:
    """The run key: sha256 of the inputs as JSON with sorted keys and no spaces."""
    return hashlib.sha256(canonical(inputs).encode()).hexdigest()


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


class Record:
    """One run's folder. `reused`, `resumed_at` and `agrees` tell what this call did with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {}
        self.secrets: dict[str, str] = {}  # values from the environment that an error may quote, and what is written instead
        self.reused = False
        self.resumed_at: int | None = None  # the epoch from which a killed run went on
        self.agrees: bool | None = None  # force=true: whether the bits are those of the record that was there

    @classmethod
    def read(cls, path: Path) -> Record:
        """The record in `path`; raises Refused if there is none or it can't be read."""
        record = cls(path)
        try:
            record.content = json.loads((path / "record.json").read_text())
        except FileNotFoundError:
            raise Refused(f"{path} holds no record (no record.json). Records are the folders under runs/.") from None
        except (ValueError, OSError) as error:
            raise Refused(f"The record {path} can't be read: {error}. Remove the folder to train it again.") from None
        if record.content.get("format") != FORMAT:
            raise Refused(f"The record {path} has format {record.content.get('format')}; this version reads {FORMAT}.")
        return record

    @classmethod
    def create(cls, path: Path, content: Mapping[str, Any], config: str, diff: str) -> Record:
        """A new record in `path`, which becomes visible only when it is whole."""
        record = cls(path)
        record.content = {"format": FORMAT, "id": uuid.uuid4().hex, "status": RUNNING, **content}
        record.content["timing"] = {"started": time.time()}
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        (fresh / "config.yaml").write_text(config)
        if diff:
            (fresh / "code.diff").write_text(diff)
        (fresh / "history.jsonl").touch()
        write_atomically(fresh / "record.json", json.dumps(record.content, indent=1))
        if path.exists():
            shutil.rmtree(path)
        fresh.rename(path)
        return record

    def __getattr__(self, name: str) -> Any:
        if name in ("key", "id", "status", "level", "seeds", "metrics", "digests", "timing", "inputs", "provenance", "name"):
            return self.content.get(name)
        raise AttributeError(name)

    def update(self, **values: Any) -> None:
        """Set fields of record.json, atomically."""
        self.content.update(values)
        write_atomically(self.path / "record.json", json.dumps(self.content, indent=1))

    def config(self) -> dict[str, Any]:
        """config.yaml, with nothing resolved: a value from the environment is its name."""
        found: dict[str, Any] = yaml.safe_load((self.path / "config.yaml").read_text())
        return found

    def history(self) -> list[dict[str, float]]:
        """The metrics of each epoch so far; a line that a crash cut off does not count."""
        return [row["metrics"] for row in self.rows()]

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for line in (self.path / "history.jsonl").read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def append_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        with (self.path / "history.jsonl").open("a") as file:
            file.write(json.dumps({"epoch": epoch, "time": time.time(), "metrics": metrics}) + "\n")

    def flush(self) -> None:
        """Bring the history to the disk: a checkpoint must never know of epochs that it doesn't."""
        with (self.path / "history.jsonl").open("a") as file:
            os.fsync(file.fileno())

    def keep_epochs(self, count: int) -> None:
        """Forget the epochs after the first `count`: a resumed run writes them again."""
        write_atomically(self.path / "history.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows()[:count]))

    def finish(self, metrics: Mapping[str, float], digests: Mapping[str, str], **values: Any) -> None:
        """The run is over: metrics, digests (with `run`, their sum), the end time, status finished."""
        whole = {**digests, "run": digest.combined(digests)}
        self._end(FINISHED, metrics=dict(metrics), digests=whole, **values)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)

    def fail(self, error: str, status: str = FAILED) -> None:
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= SHORTEST_SECRET:
                error = error.replace(secret, self.secrets[secret])
        self._end(status, error=error)

    def _end(self, status: str, **values: Any) -> None:
        ended = time.time()
        timing = {**self.content["timing"], "ended": ended, "seconds": ended - self.content["timing"]["started"]}
        self.update(status=status, timing={**timing, **values.pop("timing", {})}, **values)

    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "key": self.key, "record": str(self.path), "status": self.status, "level": self.level, "seeds": self.seeds,
            "metrics": self.metrics or {}, "digests": self.digests or {}, "reused": self.reused, "resumed_at": self.resumed_at,
            "agrees": self.agrees,
        }  # fmt: skip


@contextmanager
def locked(runs: Path, key: str, waiting: Any = None) -> Iterator[None]:
    """Hold a key: whoever else starts it waits here, calls `waiting` once, and then finds what the first one left."""
    lock = FileLock(runs / ".locks" / f"{key}.lock")
    try:
        (runs / ".locks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"Records can't be kept in {runs}: {error}. Say a folder that can be written to: runs=DIR.") from None
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting:
            waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_held(runs: Path, key: str) -> bool:
    """Whether a process trains this key now."""
    (runs / ".locks").mkdir(exist_ok=True)
    lock = FileLock(runs / ".locks" / f"{key}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def all_records(runs: Path) -> list[Record]:
    """Every readable record under `runs`, oldest first, those of force=true included."""
    records = []
    for file in [*runs.glob("[0-9a-f]*/record.json"), *runs.glob("[0-9a-f]*/again/record.json")]:
        with suppress(Refused):
            records.append(Record.read(file.parent))
    return sorted(records, key=lambda record: record.timing["started"])


def write_atomically(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file so that a reader, or (if durable) the next start after a power cut, sees the old or the new content, whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(path)
        if not durable:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        partial.unlink(missing_ok=True)
