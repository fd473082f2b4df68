"""Servers that do not answer as MLflow does, on real sockets of this machine."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

BOMB = gzip.compress(bytes(100_000_000), 1)
RUN = "0123456789abcdef0123456789abcdef"


@dataclass
class Server:
    """Answers each connection with `answer(socket, path)`; keeps what it was asked."""

    answer: Callable[[socket.socket, str], None]
    port: int = 0
    asked: list[str] = field(default_factory=list)  # whole requests' heads

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(answer: Callable[[socket.socket, str], None]) -> Iterator[Server]:
    server = Server(answer)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        server.port = listener.getsockname()[1]
        threading.Thread(target=_accept, args=(listener, server), daemon=True).start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, server: Server) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_one, args=(connection, server), daemon=True).start()


def _one(connection: socket.socket, server: Server) -> None:
    with suppress(OSError), connection:
        head = connection.recv(65536).decode(errors="replace")
        server.asked.append(head)
        server.answer(connection, head.split(" ")[1] if " " in head else "")


def send(connection: socket.socket, body: bytes, kind: str = "application/json", status: str = "200 OK", more: str = "") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    connection.sendall(head.encode() + body)


def silent(connection: socket.socket, path: str) -> None:
    time.sleep(60)


def drip_head(connection: socket.socket, path: str) -> None:
    """A byte at a time, before there is an answer at all."""
    for letter in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000:
        connection.sendall(bytes([letter]))
        time.sleep(0.05)


def drip_body(connection: socket.socket, path: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(10_000):
        connection.sendall(b" ")
        time.sleep(0.05)


def endless(connection: socket.socket, path: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" " * 1_000_000)


def bomb(connection: socket.socket, path: str) -> None:
    """A hundred kilobytes that stand for a hundred megabytes."""
    send(connection, BOMB, more="Content-Encoding: gzip\r\n")


def later(connection: socket.socket, path: str) -> None:
    send(connection, b"{}", status="503 Service Unavailable", more="Retry-After: 3600\r\n")


def constant(value: Any) -> Callable[[socket.socket, str], None]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda connection, path: send(connection, body)


def redirect(to: str) -> Callable[[socket.socket, str], None]:
    return lambda connection, path: send(connection, b"", status="307 Temporary Redirect", more=f"Location: {to}{path}\r\n")


def of_a_run(artifact_uri: str, files: list[dict[str, Any]], answers: Callable[[socket.socket, str], None]) -> Callable[..., None]:
    """A server that has one run, whose files are `files`, of which each is given by `answers`."""
    run = {"info": {"run_id": RUN, "run_uuid": RUN, "artifact_uri": artifact_uri, "lifecycle_stage": "active", "status": "FINISHED"},
           "data": {"tags": [{"key": "seedbed.key", "value": "0" * 64}]}}  # fmt: skip

    def answer(connection: socket.socket, path: str) -> None:
        if "runs/get" in path:
            send(connection, json.dumps({"run": run}).encode())
        elif "path=" in path:
            send(connection, json.dumps({"files": files}).encode())
        else:
            answers(connection, path)

    return answer
