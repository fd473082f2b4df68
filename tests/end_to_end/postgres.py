"""PostgreSQL from the distribution's packages, which can be killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE
from end_to_end.gate import until
from filelock import FileLock

PASSWORD = "it's 100% $ecret:/?#[]@&=\\ \"x"
UNPACKED = Path("/var/cache/seedbed/postgresql")
ENV = {name: value for name, value in OUTSIDE.items() if not name.startswith("PG")}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Database:
    """PostgreSQL on loopback that asks for a password, as that of docker/compose.yaml does. root may not run it: nobody does."""

    def __init__(self) -> None:
        self.programs = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="postgres"))  # pytest's own folders are closed to other users
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.owner: dict[str, Any] = {}
        (self.folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (self.folder, self.folder / "password"):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        who = ["--username=seedbed", "--auth=scram-sha-256", f"--pwfile={self.folder}/password"]
        made = self.run("initdb", f"--pgdata={self.folder}/data", "--encoding=UTF8", "--locale=C", "--no-sync", *who).wait(60)
        assert made == 0, self.log()

    def run(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        folders = UNPACKED.glob("usr/lib/*-linux-gnu") if UNPACKED in self.programs.parents else ()
        libraries = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))} if folders else {}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self.programs / program, *words], env={**ENV, **libraries}, cwd=self.folder, stdout=log, stderr=log, **self.owner
            )

    def start(self) -> None:
        """Returns at once; who needs the database waits for it."""
        # without fsync a power cut may lose what is acknowledged, and a killed process may not
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        self.process = self.run("postgres", "-D", f"{self.folder}/data", "-k", str(self.folder), "-p", str(self.port), *settings)

    def kill(self) -> None:
        """kill -9 for PostgreSQL and all its processes, each of which leads a group of its own."""
        if self.process is None:
            return
        everybody = [self.process.pid, *children(self.process.pid)]
        for pid in everybody:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        until(lambda: not any(map(lives, everybody)), 10)  # none may hold the shared memory when the next one starts

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def log(self) -> str:
        return (self.folder / "log").read_text()


def children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((folder / "stat").read_text().rpartition(") ")[2].split()[1]) == parent:
                found.append(int(folder.name))
    return found


def lives(pid: int) -> bool:
    """Whether there is such a process, and it isn't one that has ended and that nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def programs() -> Path:
    """The folder with `initdb` and `postgres`. Where there is none the test is skipped; in CI, where one must be, it fails."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    why = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if not newest(Path("/")) and os.geteuid() == 0 and shutil.which("apt-get"):
        try:
            unpack()
        except (OSError, subprocess.CalledProcessError) as error:
            why += f", and could not be fetched: {error}"
    if found_folder := newest(Path("/")) or newest(UNPACKED):
        return found_folder
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def newest(root: Path) -> Path | None:
    """Debian has no `initdb` on PATH, but one folder for each version."""
    return max((file.parent for file in root.glob("usr/lib/postgresql/*/bin/initdb")), key=lambda path: int(path.parts[-2]), default=None)


def unpack() -> None:
    """The distribution's package and what it needs: unpacked and not installed, so that no service is set up."""
    UNPACKED.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{UNPACKED}.lock"), tempfile.TemporaryDirectory(dir=UNPACKED.parent) as folder:
        if UNPACKED.exists():
            return
        root, packages = Path(folder, "root"), Path(folder, "packages")
        (packages / "partial").mkdir(parents=True)
        root.mkdir(mode=0o755)
        apt = ["apt-get", "-qq", "-o", f"Dir::Cache::archives={packages}", "-o", "APT::Sandbox::User=root"]
        get = [*apt, "install", "--yes", "--no-install-recommends", "--download-only", "postgresql"]
        if subprocess.run(get, capture_output=True).returncode:  # a machine that has no lists of packages yet
            subprocess.run([*apt, "update"], check=True, capture_output=True)
            subprocess.run(get, check=True, capture_output=True)
        for package in packages.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, root], check=True, capture_output=True)
        root.rename(UNPACKED)
