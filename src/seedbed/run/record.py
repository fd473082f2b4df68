"""The run key and the record: what a run's result depends on, and the folder that the run leaves.

`<runs>/<key>/` holds
    record.json      key, status, level, seeds, the key's inputs, provenance, metrics, digests, timing; the mark of its
                     origin, and the hash of every file here
    config.yaml      the config with every value resolved
    code.diff        what the working tree had that the commit hadn't (absent if clean)
    history.jsonl    one line an epoch: its number, when it ended, its metrics; written as it happens
    checkpoints/     where a killed run goes on from; gone when the run has finished
    model.keras      the trained model (weights.npz where Keras can't save it as a whole)
    again/           the same key trained again with force=true, a record of its own
Status: running, interrupted (goes on when started again), failed, finished. A run whose disk says no is interrupted; its
record.json says `running` where not even that could be written, as after `kill -9`, and it goes on just as well.
All other files are on the disk before record.json says `finished`; what it says of them is in `integrity`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import signal
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seedbed import Refused
from seedbed.run import digest, integrity, json_text, origin, plain_files, record_schema, redaction, yaml_files
from seedbed.run.json_text import canonical as canonical

FORMAT = record_schema.FORMAT
FINISHED, FAILED = record_schema.FINISHED, record_schema.FAILED
INTERRUPTED, RUNNING = record_schema.INTERRUPTED, record_schema.RUNNING

KEY = re.compile("[0-9a-f]{64}")
AGAIN = "again"  # the folder inside a record that force=true trains in
LARGEST_HISTORY = 200_000_000  # bytes

# What the system says where nothing can be written any more. It is nobody's mistake, and over when there is room again.
FULL = {
    errno.ENOSPC: "{path} can't be written: the disk is full",
    errno.EDQUOT: "{path} can't be written: the disk quota is used up",
    errno.EROFS: "{path} can't be written: the file system is read-only",
    errno.EFBIG: "{path} can't be written: a file may not be that large here (ulimit -f)",
}
# The same of a file that is seedbed's own; of any other it may be a mistake in what somebody reads.
DENIED = {
    errno.EACCES: "{there} is not writable by uid {uid} (it belongs to uid {owner}, mode {mode:o})",
    errno.EPERM: "{there} is not writable by uid {uid} (it belongs to uid {owner}, mode {mode:o})",
    errno.ENOTDIR: "{there} is a file and no folder",
    errno.EEXIST: "{there} is a file and no folder",
    errno.EIO: "{path} can't be written: the disk has errors",
    errno.ESTALE: "{path} can't be written: the disk's server is gone",
    errno.ENOTCONN: "{path} can't be written: the disk's server is gone",
}


class BrokenOff(Refused):
    """What hinders a command that has done some of its work: its exit status is 1 and not 2."""


def key_of(inputs: Mapping[str, Any]) -> str:
    """The run key: sha256 of the inputs as JSON with sorted keys and no spaces."""
    return hashlib.sha256(canonical(inputs).encode()).hexdigest()


class Record:
    """One run's folder. `reused`, `resumed_at` and `agrees` tell what this call did with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {}
        self.reused = False
        self.resumed_at: int | None = None  # the epoch from which a killed run went on
        self.agrees: bool | None = None  # force=true: whether the bits are those of the record that was there

    @classmethod
    def read(cls, path: Path) -> Record:
        """The record in `path`; raises Refused if there is none, it can't be read, or it is not what seedbed writes."""
        record = cls(path)
        if not os.path.lexists(path / "record.json"):
            raise Refused(f"{path} holds no record (no record.json). Records are the folders under runs/.")
        record.content = record_schema.read(path / "record.json")
        return record

    @classmethod
    def kept(cls, path: Path) -> Record:
        """The record in `path`, a folder under the folder of records (KEY or KEY/again), which has the name of its key.

        One that says another key would have that key's lock and its run in MLflow. Raises Refused, as `read` does.
        """
        record, folder = cls.read(path), path.absolute()
        name = folder.parent.name if folder.name == AGAIN else folder.name
        if record.key != name:
            raise Refused(
                f"{path} holds the record of another key ({record.key[:12] or 'none'}) than the one that the folder is named after: "
                f"it was copied or moved. {record_schema.NEXT.format(path=path)}"
            )
        return record

    @classmethod
    def create(cls, path: Path, content: Mapping[str, Any], config: str, diff: str, rows: bytes = b"") -> Record:
        """A new record in `path`, which becomes visible only when it is whole. rows: `fingerprint.rows` of the data."""
        record = cls(path)
        record.content = {"format": FORMAT, "id": uuid.uuid4().hex, "status": RUNNING, **content}
        record.content["timing"] = {"started": time.time()}
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        files = {"config.yaml": config.encode(), "code.diff": diff.encode(errors="surrogateescape"), "rows.npz": rows}
        files = {name: data for name, data in files.items() if data or name == "config.yaml"}
        record.content["files"] = {name: integrity.entry(data) for name, data in files.items()}
        integrity.remove_leftovers(path)
        try:
            with naming(path):
                fresh.mkdir(parents=True)
                for name, data in files.items():
                    (fresh / name).write_bytes(data)
                (fresh / "history.jsonl").touch()
                record.content[origin.FIELD] = origin.mark(record.content, fresh)
                record._write(fresh)
                if path.exists():
                    shutil.rmtree(path)
                fresh.rename(path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return record

    def __getattr__(self, name: str) -> Any:
        if name in ("key", "id", "status", "level", "seeds", "metrics", "digests", "timing", "inputs", "provenance", "name"):
            return self.content.get(name)
        raise AttributeError(name)

    def update(self, **values: Any) -> None:
        """Set fields of record.json, atomically."""
        self.content.update(values)
        self._write(self.path)

    def _write(self, folder: Path) -> None:
        self.content["sha256"] = integrity.own_hash(self.content)
        write_atomically(folder / "record.json", json_text.dumps(self.content, indent=1))

    def damage(self, whole: bool = False) -> list[integrity.Damage]:
        """What is damaged in it; see `integrity.damage`."""
        return integrity.damage(self.path, self.content, whole)

    def surplus(self) -> list[str]:
        """What lies in its folder and is not of it; see `integrity.surplus`."""
        return integrity.surplus(self.path, self.content)

    def all_digests(self) -> dict[str, str]:
        """Its digests, with that of its metrics also where it is of a format that didn't hold it."""
        return digest.completed(self.digests or {}, self.metrics or {})

    def files(self) -> dict[str, tuple[str, int]]:
        """(sha256, size) of each of its files by name, as they were when it was finished; record.json as it is now."""
        kept = self.content.get("files") if self.content.get("format") == FORMAT and self.status == FINISHED else None
        found = integrity.table(self.path) if kept is None else kept
        own = integrity.entry((self.path / "record.json").read_bytes())
        return {name: (str(one["sha256"]), int(one["size"])) for name, one in {**found, "record.json": own}.items()}

    def config(self) -> dict[str, Any]:
        """config.yaml, with nothing resolved: a value from the environment is its name."""
        found = yaml_files.load(self.path / "config.yaml", of_record=True)
        if not isinstance(found, dict):
            raise Refused(f"{self.path / 'config.yaml'} is no config: it holds no mapping.")
        return found

    def history(self) -> list[dict[str, float]]:
        """The metrics of each epoch so far; a line that a crash cut off does not count."""
        return [row["metrics"] for row in self.rows()]

    def rows(self) -> list[dict[str, Any]]:
        """The lines of the history up to the first that is cut off, damaged or not in its place."""
        rows: list[dict[str, Any]] = []
        content = plain_files.read(self.path / "history.jsonl", LARGEST_HISTORY, optional=True) or b""
        for line in content.splitlines():
            try:
                row = json_text.loads(line.decode("utf-8"))
                if row["epoch"] != len(rows) or not all(type(value) in (int, float) for value in row["metrics"].values()):
                    break
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                break
            rows.append(row)
        return rows

    def append_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        path = self.path / "history.jsonl"
        with naming(path), path.open("a") as file:
            file.write(json_text.dumps({"epoch": epoch, "time": time.time(), "metrics": metrics}) + "\n")

    def flush(self) -> None:
        """Bring the history to the disk: a checkpoint must never know of epochs that it doesn't."""
        path = self.path / "history.jsonl"
        with naming(path), path.open("a") as file:
            os.fsync(file.fileno())

    def keep_epochs(self, count: int) -> None:
        """Forget the epochs after the first `count`: a resumed run writes them again."""
        write_atomically(self.path / "history.jsonl", "".join(json_text.dumps(row) + "\n" for row in self.rows()[:count]))

    def finish(self, metrics: Mapping[str, float], digests: Mapping[str, str], **values: Any) -> None:
        """The run is over: metrics, digests (with `run`, their sum), the end time, the files' hashes, status finished."""
        whole = {**digests, "run": digest.combined(digests), "metrics": digest.metrics(metrics)}
        files = integrity.table(self.path, self.content.get("files"))
        integrity.flush(self.path, files)
        self._end(FINISHED, metrics=dict(metrics), digests=whole, files=files, **values)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)

    def fail(self, error: str, status: str = FAILED) -> None:
        with suppress(OSError):  # of the disk that the run fails at, perhaps; the record on it goes on saying `running`
            self._end(status, error=redaction.redacted(error))

    def broken_off(self, error: OSError, epochs: int) -> str | None:
        """What is to be said of a run of so many epochs that `error` ended, if the disk is to blame for it; else None."""
        if error.errno not in FULL and not (error.errno in DENIED and Path(str(error.filename)).is_relative_to(self.path)):
            return None
        done, saved = "", sorted((self.path / "checkpoints").glob("*.npz"))
        with suppress(OSError):  # a disk that can't be read any more, either
            count = len(self.rows())
            done = f" after epoch {count} of {epochs}" if count else " before the end of its first epoch"
        rest = f"goes on after epoch {int(saved[-1].name[:6])}" if saved else "starts from the beginning"
        return f"The run was broken off{done}: {hindrance(error)}. {remedy(error)}; the same command then {rest}."

    def exit_status(self) -> int:
        """What a command that trains this record ends with: 130 or 143 if a signal stopped it, 1 if it failed or was broken off."""
        if self.status == FINISHED:
            return 0
        stopped = re.fullmatch("stopped by (SIG[A-Z]+)", str(self.content.get("error")))
        return 128 + signal.Signals[stopped[1]] if stopped else 1

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
        lock.acquire(timeout=0)
    except Timeout:
        if waiting:
            waiting()
        lock.acquire()
    except OSError as error:
        raise Refused(not_kept(error)) from None
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


def all_records(runs: Path, unreadable: dict[str, str] | None = None) -> list[Record]:
    """Every readable record under `runs`, oldest first, those of force=true included.

    unreadable: gets the others, by the folder's name: why they can't be read, or how they are damaged.
    """
    records = []
    for folder in folders(runs):
        try:
            record = Record.kept(folder)
            if unreadable is not None and (wrong := record.damage()):
                raise Refused(f"The record {folder} is damaged: {integrity.listed(wrong)}. Next: seedbed fsck {folder}")
            records.append(record)
        except Refused as error:
            if unreadable is not None:
                unreadable[folder.relative_to(runs).as_posix()] = str(error)
    return sorted(records, key=lambda record: record.timing["started"])


def folders(runs: Path) -> list[Path]:
    """The folders under `runs` that have a key's name and hold a record.json, or something by that name.

    A user's copy of a record, or a link to one, has another name, and is none.
    """
    found = [*runs.glob("[0-9a-f]*/record.json"), *runs.glob(f"[0-9a-f]*/{AGAIN}/record.json")]
    return [file.parent for file in found if KEY.fullmatch(file.relative_to(runs).parts[0])]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """The system doesn't say which file it was that found no room: an OSError gets the name of this one."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def hindrance(error: OSError) -> str:
    """What can't be written, and why: the beginning of a message."""
    if isinstance(error.filename, str | bytes):
        path = Path(os.fsdecode(error.filename)).absolute()
    else:  # a callback's file, say, of which the system has a number alone
        frame = traceback.extract_tb(error.__traceback__)[-1]
        path = Path(f"{frame.filename}:{frame.lineno}")
    there = next(folder for folder in (path, *path.parents) if os.access(folder, os.F_OK))
    words = (FULL | DENIED).get(error.errno or 0, "{path} can't be written: {why}")
    if error.errno == errno.ENOSPC and (left := os.statvfs(there)).f_files and not left.f_favail:
        words = "{path} can't be written: there may be space, but no inode is left for another file"
    stat = there.stat()
    return words.format(path=path, there=there, why=error.strerror, uid=os.geteuid(), owner=stat.st_uid, mode=stat.st_mode & 0o7777)


def remedy(error: OSError) -> str:
    """What to do about it, the beginning of a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space"
    if "SEEDBED_IMAGE" in os.environ:
        return 'Mount a folder that this uid may write to (docker run --user "$(id -u):$(id -g)" -v "$PWD/runs:/seedbed/runs" …)'
    return "Make it writable"


def not_kept(error: OSError) -> str:
    """The message where records can't be kept, before anything was done."""
    return f"Records can't be kept: {hindrance(error)}. {remedy(error)}, or say another folder (runs=DIR), then the same command again."


def write_atomically(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write a file so that a reader, or (if durable) the next start after a power cut, sees the old or the new content, whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path), partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        with naming(path):
            partial.replace(path)
        if not durable:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        with suppress(OSError):  # a file system that has become read-only: what it said first counts
            partial.unlink()
