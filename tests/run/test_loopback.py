"""A port that listens on all interfaces and takes connections from this machine alone."""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OUTSIDE

from seedbed import Refused
from seedbed.run import loopback


def listening(family: int = socket.AF_INET6) -> socket.socket:
    one = socket.socket(family)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    one.bind(("", 0))
    one.listen()
    return one


def answers(one: socket.socket) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", one.getsockname()[1]), timeout=2):
            return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_kernel_drops_what_comes_by_another_interface(family: int) -> None:
    with listening(family) as one:
        loopback.filter_by_interface(one, socket.if_nametoindex("lo"))
        assert answers(one)
        loopback.filter_by_interface(one, 9999)  # to this one, the loopback interface is another one
        assert not answers(one)


def test_only_this_port_of_this_process_is_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    filtered: list[int] = []
    monkeypatch.setattr(loopback, "filter_by_interface", lambda one, index: filtered.append(one.getsockname()[1]))
    with listening() as one, listening() as other:
        port = one.getsockname()[1]
        with socket.create_connection(("127.0.0.1", other.getsockname()[1])), Path("/proc/self/stat").open() as file:
            before = len(list(Path("/proc/self/fd").iterdir()))
            assert loopback.attach(port)
            assert file.read()
            assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert set(filtered) == {port}
    assert not loopback.attach(port)


# Opens a port as TensorFlow does, with Python's lock held the while; says whether it is confined before the lock is given back.
OPENS = """
import ctypes, socket, sys, time
from seedbed.run import loopback
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
with loopback.confined(port) as opening:
    opening()
    one = socket.socket()
    one.bind(("", port))
    one.listen()
    ctypes.PyDLL(None).usleep(500_000)
    kept, length = ctypes.create_string_buffer(64), ctypes.c_uint32(8)
    ctypes.PyDLL(None).getsockopt(one.fileno(), socket.SOL_SOCKET, loopback.SO_GET_FILTER, kept, ctypes.byref(length))
    print(length.value)
import os
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child is left")
"""


def test_it_is_confined_although_the_process_holds_pythons_lock() -> None:
    done = subprocess.run([sys.executable, "-c", OPENS], env=OUTSIDE, capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[:2] == ["4", "no child is left"], done.stderr


def test_where_it_cannot_be_confined_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(Refused, match=r"would be open to other machines.*strategy.addresses"), loopback.confined(1):
        pytest.fail("was opened")


def test_a_stranger_that_was_there_before_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as one:
        port = one.getsockname()[1]
        monkeypatch.setattr(loopback, "_start_helper", lambda port, asleep: subprocess.Popen(["sleep", "600"]).pid)
        monkeypatch.setattr(loopback, "_connections", lambda: iter([(port, "0100000A", "01"), (port, "0100007F", "01")]))
        with pytest.raises(Refused, match="1 other machine connected"), loopback.confined(port):
            pass
        with pytest.raises(Refused, match="its socket was not found"), loopback.confined(1):
            pass


@pytest.mark.parametrize(
    ("address", "loops"),
    {"0100007F": True, "0000000000000000FFFF00000100007F": True, "00000000000000000000000001000000": True, "0100000A": False,
     "0000000000000000FFFF00000100000A": False, "000080FE00000000000000000100007F": False}.items(),
)  # fmt: skip
def test_addresses(address: str, loops: bool) -> None:
    assert loopback._is_loopback(address) == loops
