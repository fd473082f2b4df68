"""`seedbed ui`: MLflow's real server on a free port, ended by one Ctrl-C; and the ports that can't be had."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import OUTSIDE, Done

pytestmark = pytest.mark.integration


def processes_of(group: int) -> list[str]:
    """The command lines of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            if os.getpgid(int(folder.name)) == group:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def status_by(name: str, port: int) -> int:
    """The status that the server on `port` answers with, called by this name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(
        "POST", "/ajax-api/2.0/mlflow/experiments/search", '{"max_results": 1}', {"Host": name, "Content-Type": "application/json"}
    )
    return connection.getresponse().status


def test_it_says_where_the_table_is_serves_and_ends(seedbed: Callable[..., Done], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert seedbed("train", "training.epochs=2", "tracking=local", runs=runs).status == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "seedbed", "ui", "--runs", str(runs), "--port", str(port)]
    process = subprocess.Popen(
        command, env=OUTSIDE, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(2)]
        assert f"http://127.0.0.1:{port}" in said[0]
        assert "seedbed" in said[1]
        assert f"http://127.0.0.1:{port}/#/experiments/" in said[1]
        ends, answer = time.monotonic() + 120, 0
        while answer != 200 and time.monotonic() < ends:
            time.sleep(0.5)
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
                answer = reply.status
        assert answer == 200
        # called by another name, as a page elsewhere may have a browser do, it gives nothing
        names = {f"127.0.0.1:{port}": 200, f"localhost:{port}": 200, "10.evil.com": 403, f"192.168.evil.com:{port}": 403, "0.0.0.0": 403}
        assert {name: status_by(name, port) for name in names} == names
        assert not [line for line in processes_of(process.pid) if "huey" in line]
        taken = seedbed("ui", "--runs", str(runs), "--port", str(port))
        assert taken.status == 2
        assert f"Port {port} can't be had" in taken.err
        assert "make ui PORT=" in taken.err
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
        process.wait(60)
        assert not processes_of(process.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("port", ["x", "70000"])
def test_what_is_no_port_is_refused(port: str, seedbed: Callable[..., Done]) -> None:
    done = seedbed("ui", env={"PORT": port})
    assert done.status == 2
    assert f"PORT={port} is no port. Accepted: 1 … 65535." in done.err
