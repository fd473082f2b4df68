"""A disk that says no: one line that names the file and the way out, and nothing lost.

Real full disks: small file systems in memory, filled up in mid-run; where none can be mounted, the system's limit on the size of
files says no in their place.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import OUTSIDE

from seedbed import Refused, cli
from seedbed.run import record, training

pytestmark = pytest.mark.integration

# What fills a disk before an epoch, if a file says so (a variable that it read would be part of the key); in the `after`th run of these records.
FULL = """
import os, resource
from pathlib import Path
import keras

class Full(keras.callbacks.Callback):
    def __init__(self, folder, epoch, leave, how="disk", after=0):
        super().__init__()
        self.folder, self.epoch, self.leave, self.how, self.after = Path(folder), epoch, leave, how, after

    def on_epoch_begin(self, epoch, logs=None):
        if epoch != self.epoch or not Path(__file__).with_name("switched-on").exists() or len(list(self.folder.glob("runs/*/model.keras"))) != self.after:
            return
        if self.how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.leave, resource.RLIM_INFINITY))
            return
        free = os.statvfs(self.folder)
        with (self.folder / "filler").open("ab", buffering=0) as file:
            left = free.f_bavail * free.f_frsize - self.leave
            while left > 0:
                left -= file.write(bytes(min(left, 1 << 16)))
"""
SIX = ["model.hidden=[300,300]", "training.epochs=6"]  # a checkpoint of 1.1 MB, a model as large
LEAVE = 500_000  # bytes: room for everything but these two


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True) if shutil.which("mount") else None
    if mounted is None or mounted.returncode:
        why = mounted.stderr.strip().splitlines()[0] if mounted else "there is no mount"
        assert os.environ.get("CI") != "true" or os.geteuid(), f"CI's root is to have a disk that can be filled: {why}"
        pytest.skip(f"a disk that can be filled takes a mount: {why}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leave: int) -> None:
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - leave))


def full(folder: Path, epoch: int, leave: int = LEAVE, how: str = "disk", after: int = 0) -> str:
    arguments = f"folder: '{folder}', epoch: {epoch}, leave: {leave}, how: {how}, after: {after}"
    return f"+training.callbacks.full={{_target_: full.Full, {arguments}}}"


def seedbed(*words: str, prefix: tuple[str, ...] = (), **env: str) -> tuple[int, dict[str, Any], str]:
    """(exit status, the JSON object if there is one, standard error) of a fresh process."""
    command = [*prefix, sys.executable, "-m", "seedbed", *words, "--json"]
    done = subprocess.run(command, env={**OUTSIDE, **env}, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}, done.stderr


@pytest.fixture
def trained(config: Callable[..., Any]) -> Callable[..., record.Record]:
    """`trained(folder, *words)`: a run in this process, with records in that folder."""
    return lambda folder, *words: training.run(config(*words, f"runs='{folder}/runs'"))


# What can't be written, with what words, when; what is said of that file, and from where the same command goes on.
BROKEN = {
    "checkpoint": ([*SIX, "checkpoint.every_epochs=1"], {"epoch": 3}, "checkpoints can't be written: the disk is full", 3),
    "model": ([*SIX, "checkpoint.every_epochs=4"], {"epoch": 5}, "model.keras can't be written: the disk is full", 4),
    "history": (["training.epochs=60"], {"epoch": 5, "leave": 0}, "history.jsonl can't be written: the disk is full", None),
    "record": ([*SIX, "checkpoint.every_epochs=2"], {"epoch": 5, "leave": 0}, "record.json can't be written: the disk is full", 4),
    "limit": ([*SIX, "checkpoint.every_epochs=1"], {"epoch": 3, "how": "limit"}, "checkpoints can't be written: a file may not be", 3),
}


NOT_TRACKED = SimpleNamespace(tracking=SimpleNamespace(uri=None))
STRAIGHT: dict[str, dict[str, str]] = {}  # the digests of runs that nothing has stopped, by what they train
VARIANTS = ("history", "record", "limit")


@pytest.mark.parametrize("what", [pytest.param(what, marks=[pytest.mark.slow] if what in VARIANTS else []) for what in BROKEN])
def test_a_run_is_broken_off_and_goes_on_as_if_nothing_had_been(
    what: str, request: pytest.FixtureRequest, trained: Callable[..., record.Record], plugin: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words, when, says, resumed = BROKEN[what]
    disk = tmp_path if what == "limit" else request.getfixturevalue("disk")
    switch = plugin("full", FULL) / "switched-on"
    words = [*words, full(disk, **when)]
    switch.touch()
    broken = trained(disk, *words)
    switch.unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert cli._report(broken, NOT_TRACKED, words, as_json=True) == 1
    out, error = capsys.readouterr()
    assert json.loads(out)["status"] == "interrupted"
    assert error.startswith("seedbed train: The run was broken off after epoch ")
    assert f": {broken.path}/{says}" in error
    assert error.endswith(f"; the same command then {f'goes on after epoch {resumed}' if resumed else 'starts from the beginning'}.\n")
    assert error.count("\n") == 1
    assert record.Record.read(broken.path).status in ("interrupted", "running")  # where there was no room to say so
    assert not (broken.path / "model.keras").exists()
    assert [file for file in broken.path.rglob(".*") if file.is_file()] == []  # nothing that was begun and isn't whole
    (disk / "filler").unlink(missing_ok=True)
    again, same = trained(disk, *words), [word for word in words if word.startswith(("model", "training"))]
    assert (again.status, again.key, again.resumed_at) == ("finished", broken.key, resumed)
    if str(same) not in STRAIGHT:
        STRAIGHT[str(same)] = trained(tmp_path / "straight", *same).digests
    assert again.digests == STRAIGHT[str(same)]
    assert again.content["error"] is None


def test_a_disk_that_is_full_at_the_start(disk: Path) -> None:
    (disk / "runs").mkdir()
    fill(disk, 0)
    status, told, error = seedbed("train", "training.epochs=1", f"runs='{disk}/runs'")
    assert (status, told) == (2, {})
    assert error.startswith(f"seedbed train: Records can't be kept: {disk}/runs/")
    assert error.endswith(" the disk is full. Free some space, or say another folder (runs=DIR), then the same command again.\n")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_disk_with_no_room_for_a_record(disk: Path) -> None:
    """Hydra's few files still find a place; what there is of a record by then is removed."""
    fill(disk, 7 * os.statvfs(disk).f_frsize)
    status, _, error = seedbed("train", "training.epochs=1", "tracking=none", f"runs='{disk}/runs'")
    assert status == 2
    assert error.count("\n") == 1
    assert "can't be written: the disk is full" in error
    assert [path.name for path in (disk / "runs").iterdir() if path.name not in (".hydra", ".locks")] == []


NOBODY = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]  # root that must ask like everybody else


@pytest.mark.parametrize(
    "verb", ["train", *[pytest.param(verb, marks=pytest.mark.slow) for verb in ("repeat", "variance", "verify", "train in an image")]]
)
def test_a_folder_that_may_not_be_written_to(verb: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    runs.chmod(0o555)
    if os.geteuid() == 0 and not shutil.which(NOBODY[0]):
        pytest.skip("root may write anywhere, and there is no setpriv to take that from it")
    image = {"SEEDBED_IMAGE": "seedbed:cpu"} if "image" in verb else {}
    words = [verb.split()[0], "training.epochs=1", f"runs='{runs}'"]
    status, told, error = seedbed(*words, prefix=tuple(NOBODY) if os.geteuid() == 0 else (), **image)
    uid = os.geteuid()
    do = 'Mount a folder that this uid may write to (docker run --user "$(id -u):$(id -g)"' if image else "Make it writable"
    assert (status, told) == (2, {})
    assert f"Records can't be kept: {runs} is not writable by uid {uid} (it belongs to uid {uid}, mode 555). {do}" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    status, _, error = seedbed("train", "training.epochs=1", f"runs='{tmp_path}/runs'")
    assert status == 2
    assert f"{tmp_path}/runs is a file and no folder" in error
    assert error.count("\n") == 1


def test_a_study_stops_at_the_seed_that_found_no_room_and_goes_on_there(
    disk: Path, plugin: Callable[..., Path], trained: Callable[..., record.Record], tmp_path: Path
) -> None:
    env = {"PYTHONPATH": str(plugin("full", FULL))}
    switch = Path(env["PYTHONPATH"], "switched-on")
    config = [*SIX, "checkpoint.every_epochs=1", full(disk, 3, after=1), "tracking=none"]
    words = ["repeat", "study.n=2", *config, f"runs='{disk}/runs'"]
    switch.touch()
    status, told, error = seedbed(*words, **env)
    switch.unlink()
    assert status == 1, error
    assert error.startswith("The study stops here. The run was broken off after epoch 4 of 6: ")
    assert error.count("\n") == 1
    assert (told["finished"], list(told["failed"])) == (1, ["2"])
    assert "checkpoints can't be written: the disk is full" in told["failed"]["2"]
    (disk / "filler").unlink()
    status, told, error = seedbed(*words, **env)
    assert (status, told["finished"], told["trained"]) == (0, 2, 1), error
    assert told["digests"]["2"] == trained(tmp_path, *config, "seeds.master=2").digests["run"]


def test_verify_compares_nothing_that_a_full_disk_has_broken_off(disk: Path, plugin: Callable[..., Path]) -> None:
    """Two executions that end at other places, because of the disk, say nothing of the run: it could not be asked (2), not 'NO' (1)."""
    words = [*SIX, full(disk, 5), f"runs='{disk}/runs'"]
    folder = plugin("full", FULL)
    (folder / "switched-on").touch()
    status, said, error = seedbed("verify", *words, PYTHONPATH=str(folder))
    assert (status, said) == (2, {})
    assert error.splitlines()[:-1] == ["Execution 1: as it is."]
    assert "the disk is full. Free some space, then the same command again." in error


@pytest.mark.slow
def test_a_study_on_a_disk_with_no_byte_left(disk: Path, plugin: Callable[..., Path]) -> None:
    """Not even how the seed stands can be written down."""
    env = {"PYTHONPATH": str(plugin("full", FULL))}
    switch = Path(env["PYTHONPATH"], "switched-on")
    switch.touch()
    words = ["repeat", "study.n=3", *SIX, "checkpoint.every_epochs=1", full(disk, 3, 0, after=1), "tracking=none", f"runs='{disk}/runs'"]
    status, told, error = seedbed(*words, **env)
    switch.unlink()
    assert status == 1, error
    assert error.startswith("The study stops here.")
    assert "the disk is full. Free some space" in error
    assert error.count("\n") == 1
    assert (told["finished"], told["failed"]) == (1, {"2": "it was broken off", "3": "it was not begun"})
    (disk / "filler").unlink()
    status, told, error = seedbed(*words, **env)
    assert (status, told["finished"], told["trained"]) == (0, 3, 2), error


@pytest.mark.slow
def test_a_store_with_no_room_costs_the_run_nothing(disk: Path, tmp_path: Path) -> None:
    fill(disk, 1_500_000)  # the store's tables need 1 MB, and the model as much again
    words = ["train", *SIX, f"runs='{tmp_path}/runs'", f"tracking.uri='sqlite:///{disk}/store/mlflow.db'"]
    status, told, error = seedbed(*words)
    assert (status, told["status"]) == (0, "finished"), error
    (file,) = (tmp_path / "runs").glob("*/tracking.json")
    (noted,) = json.loads(file.read_text()).values()
    assert noted.get("status") != "finished"
    (disk / "filler").unlink()
    status, told, error = seedbed("sync", "--runs", f"{tmp_path}/runs")
    assert (status, len(told["sent"]), told["failed"]) == (0, 1, {}), error


STOPS = ["+training.callbacks.early={_target_: keras.callbacks.EarlyStopping, monitor: loss, min_delta: 9, restore_best_weights: true}"]


@pytest.mark.parametrize("stops", [pytest.param([], marks=pytest.mark.slow), STOPS], ids=["all epochs", "early stopping"])
def test_a_finished_training_that_cannot_be_saved_is_not_trained_again(
    stops: list[str], trained: Callable[..., record.Record], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import keras

    words = ["training.epochs=5", "checkpoint.every_epochs=1", *stops]
    whole = trained(tmp_path / "whole", *words)
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save", _no_room)
        broken = trained(tmp_path, *words)
    last = len(whole.history())
    assert (broken.status, broken.exit_status()) == ("interrupted", 1)
    assert broken.content["error"].startswith(f"The run was broken off after epoch {last} of 5: {broken.path}/model.keras can't be written")
    assert broken.content["error"].endswith(f"Free some space; the same command then goes on after epoch {last}.")
    again = trained(tmp_path, *words)
    assert (again.status, again.resumed_at, len(again.history())) == ("finished", last, last)
    assert again.digests == whole.digests


def _no_room(*arguments: Any, **named: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_users_own_error_is_none_of_the_disks(trained: Callable[..., record.Record], plugin: Callable[..., Path], tmp_path: Path) -> None:
    """A file that may not be read fails the run; a callback's file that found no room breaks it off, and is named by its line."""
    source = """
        import errno, keras

        class Reads(keras.callbacks.Callback):
            def __init__(self, number):
                super().__init__()
                self.number = number

            def on_epoch_end(self, epoch, logs=None):
                raise OSError(self.number, "no") if self.number == errno.ENOSPC else OSError(self.number, "no", "/data/x.csv")
        """
    plugin("reads", source)
    callback = "+training.callbacks.reads={{_target_: reads.Reads, number: {}}}"
    with pytest.raises(PermissionError):
        trained(tmp_path, "training.epochs=2", callback.format(errno.EACCES))
    broken = trained(tmp_path, "training.epochs=2", callback.format(errno.ENOSPC))
    assert broken.status == "interrupted"
    assert "reads.py:10 can't be written: the disk is full" in broken.content["error"]


@pytest.mark.parametrize(("number", "says"), [
    (errno.EDQUOT, "x can't be written: the disk quota is used up. Free some space, or"), (errno.EROFS, "x can't be written: the file system is read-only. Make"),
    (errno.EIO, "x can't be written: the disk has errors"), (errno.ENOENT, "x can't be written: No such file or directory. Make it writable, or"),
])  # fmt: skip
def test_what_the_system_says_is_said_in_words(number: int, says: str, tmp_path: Path) -> None:
    assert f"Records can't be kept: {tmp_path}/{says}" in record.not_kept(OSError(number, os.strerror(number), str(tmp_path / "x")))


def test_a_lock_that_cannot_be_had_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record.FileLock, "acquire", _no_room)
    with pytest.raises(Refused, match="the disk is full"), record.locked(tmp_path, "k"):
        pass
