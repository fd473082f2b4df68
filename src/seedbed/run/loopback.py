"""A listening port of this process, kept for this machine alone.

TensorFlow's gRPC server listens on all interfaces, whichever address it is given, and asks for no password. Where all workers are on
one machine, a filter of the kernel (socket(7), SO_ATTACH_FILTER) lets in packets of the loopback interface alone. It needs no rights.

A helper process that shares this one's descriptors attaches it as soon as the port has a socket: TensorFlow holds Python's lock while
it waits for the other workers, so a thread would come too late.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from seedbed import Refused

SO_ATTACH_FILTER = SO_GET_FILTER = 26
LISTENS = "0A"  # the state of a socket in /proc/net/tcp

# The interface that a packet came by: SKF_AD_OFF + SKF_AD_IFINDEX of linux/filter.h.
INTERFACE = 2**32 - 0x1000 + 8

# clone(2), by its number: no function of Python's or of the C library's makes a process that shares descriptors and no memory.
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE_FILES = 0x400

EVERY = 0.0005  # seconds between two looks of the helper

ADVICE = "Accepted: Linux on x86_64 or aarch64, or strategy.addresses=[…] on a network that you trust (docs/security.md)."


@contextmanager
def confined(port: int) -> Iterator[Callable[[], Any]]:
    """Confine this process's `port` to the loopback interface from when it has a socket. To be entered before TensorFlow is imported.

    Gives a function to be called just before the port is opened.

    Raises:
        Refused: if it can't be confined on this system, or somebody on another machine was connected before it was.
    """
    asleep, wakes = os.pipe()
    helper = _start_helper(port, asleep)
    try:
        yield lambda: os.write(wakes, b"1")
        try:
            there = attach(port)
        except OSError as error:
            raise Refused(f"The workers' port {port} would be open to other machines: {error}. {ADVICE}") from None
    finally:
        os.kill(helper, signal.SIGKILL)
        os.waitpid(helper, 0)
        os.close(asleep)
        os.close(wakes)
    if not there:
        raise Refused(f"The workers' port {port} would be open to other machines: its socket was not found. {ADVICE}")
    if strangers := [peer for local, peer, state in _connections() if local == port and state != LISTENS and not _is_loopback(peer)]:
        raise Refused(f"{len(strangers)} other machine{'s' * (len(strangers) > 1)} connected to the workers' port {port} while it was "
                      "opened. Nothing was trained. Next: the same command again.")  # fmt: skip


def attach(port: int) -> bool:
    """Let only packets of the loopback interface reach this process's sockets at `port`; whether one of them listens."""
    listens = False
    for number in _sockets():
        with socket.socket(fileno=number) as one:
            name = one.getsockname()
            if one.type == socket.SOCK_STREAM and isinstance(name, tuple) and len(name) > 1 and name[1] == port:
                filter_by_interface(one, socket.if_nametoindex("lo"))
                listens |= bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return listens


def filter_by_interface(listening: socket.socket, index: int) -> None:
    """Drop every packet that doesn't come by the interface of that index; raises OSError if the kernel has no such filter."""
    rows = [(0x20, 0, 0, INTERFACE), (0x15, 0, 1, index), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]  # load, compare, accept, drop
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(rows), ctypes.addressof(program)))
    kept = ctypes.create_string_buffer(len(program))
    length = ctypes.c_uint32(len(rows))
    call = ctypes.CDLL(None, use_errno=True).getsockopt
    if call(listening.fileno(), socket.SOL_SOCKET, SO_GET_FILTER, kept, ctypes.byref(length)) or length.value != len(rows):
        raise OSError(ctypes.get_errno(), "the kernel keeps no filter")


def _start_helper(port: int, asleep: int) -> int:
    """Start the process that attaches the filter once `asleep` can be read; its process id."""
    number = CLONE.get(platform.machine())
    if sys.platform != "linux" or number is None:
        raise Refused(f"The workers' port {port} would be open to other machines: this system can't confine it. {ADVICE}")
    call = ctypes.PyDLL(None, use_errno=True).syscall  # the child needs Python's lock
    call.restype = ctypes.c_long
    helper = int(call(number, CLONE_FILES | signal.SIGCHLD, 0, 0, 0, 0))
    if helper == 0:
        _help(port, asleep)
    if helper < 0:
        raise Refused(f"The workers' port {port} would be open to other machines: {os.strerror(ctypes.get_errno())}. {ADVICE}")
    return helper


def _help(port: int, asleep: int) -> NoReturn:
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        os.read(asleep, 1)
        while True:
            attach(port)
            time.sleep(EVERY)
    finally:
        os._exit(1)


def _sockets() -> list[int]:
    """Copies of the descriptors of this process's sockets. (Nothing else is copied: closing a copy of a file takes its locks away.)"""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):  # closed meanwhile
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):  # noqa: PTH115
                found.append(os.dup(int(name)))
    return found


def _connections() -> Iterator[tuple[int, str, str]]:
    """(local port, peer's address in hexadecimal, state) of each TCP socket of this network namespace."""
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]:
                words = line.split()
                yield int(words[1].rpartition(":")[2], 16), words[2].rpartition(":")[0], words[3]


def _is_loopback(peer: str) -> bool:
    """Whether an address, in the kernel's words of 32 bits each, is 127.0.0.0/8 (also as ::ffff:127.…) or ::1."""
    words = [int.from_bytes(bytes.fromhex(peer[i : i + 8])[::-1], "big") for i in range(0, len(peer), 8)]
    if len(words) == 1 or words[:3] == [0, 0, 0xFFFF]:
        return words[-1] >> 24 == 127
    return words == [0, 0, 0, 1]
