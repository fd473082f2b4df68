"""Limits of every HTTP request to a tracking server: its host, a total time, a total size.

A read timeout is no limit: a server that sends a byte a second never meets it. Here each request is made in a thread
that is given up, with its connection closed, when its time is over; bodies are counted while they arrive. A request to
another host than the one that was asked for is refused, since MLflow sends its credentials wherever a redirect or a
run's artifact location points.
"""

from __future__ import annotations

import queue
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from seedbed import Refused

ANSWER = 50_000_000  # bytes of an answer; 500 runs with all their parameters are 5 MB
TIMES = 3  # a request's total time, in MLFLOW_HTTP_REQUEST_TIMEOUT, which is one wait's: two attempts, and a body
SLOWEST = 100_000  # bytes a second; a large body has more time, but not for ever
IN_MEMORY = 1_000_000  # bytes; a larger body waits in a temporary file
PORTS = {"http": 80, "https": 443}


class Limit(Refused):
    """What ends a request; the words go on from "MLflow at ADDRESS did not …: "."""


@dataclass(frozen=True)
class Limits:
    """What holds for the requests of one operation. ends: on the monotonic clock."""

    uri: str
    ends: float
    answer: int


def ended(error: BaseException) -> bool:
    """Whether a limit has ended the request that `error` is about; MLflow puts errors of its own around it."""
    at: BaseException | None = error
    for _ in range(20):
        if isinstance(at, Limit):
            return True
        at = at and (at.__cause__ or at.__context__)
    return False


_HELD: ContextVar[Limits | None] = ContextVar("limits", default=None)
_WORKING = threading.local()  # the connection that a thread's request uses


class _Connection:
    """Remembers itself, and its socket, for whoever gives the request up. A mix-in for urllib3's connections."""

    def connect(self) -> None:
        _WORKING.used.append(self)
        super().connect()  # type: ignore[misc]
        _WORKING.used.append(self.sock)  # type: ignore[attr-defined]

    def request(self, *args: Any, **values: Any) -> Any:
        _WORKING.used.append(getattr(self, "sock", None))
        return super().request(*args, **values)  # type: ignore[misc]


@contextmanager
def asking(uri: str, seconds: float, answer: int = ANSWER) -> Iterator[None]:
    """Hold every HTTP request meanwhile to the host of `uri`, to `seconds` in all, and to `answer` bytes of each answer.

    Inside of another `asking`, what is left of that one's time counts, too. A store that is no HTTP server has no such limits.
    """
    install()
    outer = _HELD.get()
    ends = min(time.monotonic() + seconds, outer.ends if outer else float("inf"))
    held = _HELD.set(Limits(uri, ends, answer))
    try:
        yield
    finally:
        _HELD.reset(held)


def is_server(uri: str) -> bool:
    """Whether `uri` is the address of a server that MLflow asks by HTTP."""
    return urlsplit(uri).scheme in PORTS


def same_place(asked: str, other: str) -> bool:
    """Whether two addresses have one scheme, host and port, or the second is the first one's by HTTPS."""
    if _origin(asked) == _origin(other):
        return True
    scheme, host, port = _origin(asked)
    return (scheme, port) == ("http", PORTS["http"]) and _origin(other) == ("https", host, PORTS["https"])


def _origin(uri: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(uri)
        return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:  # no port
        return "", uri, None


def install() -> None:
    """Let MLflow's HTTP client use the adapter that holds the limits, in this process; twice is harmless."""
    from mlflow.utils import request_utils

    base = request_utils.TCPKeepAliveHTTPAdapter
    if not hasattr(base, "seedbed_limits"):
        request_utils.TCPKeepAliveHTTPAdapter = _limited(base)
        request_utils._cached_get_request_session.cache_clear()


def _limited(base: Any) -> Any:
    """MLflow's adapter for `requests`, with limits."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Http(_Connection, HTTPConnection):
        pass

    class Https(_Connection, HTTPSConnection):
        pass

    class HttpPool(HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(HTTPSConnectionPool):
        ConnectionCls = Https

    class Limited(base):  # type: ignore[misc]
        seedbed_limits = True

        def init_poolmanager(self, *args: Any, **values: Any) -> None:
            super().init_poolmanager(*args, **values)
            self.poolmanager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}

        def proxy_manager_for(self, *args: Any, **values: Any) -> Any:
            manager = super().proxy_manager_for(*args, **values)
            manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
            return manager

        def send(self, request: Any, stream: bool = False, **values: Any) -> Any:
            wait = _allowed(request)

            def answered() -> Any:
                return _whole(super(Limited, self).send(request, stream=True, **values), wait)

            return _in_time(answered, wait)

    return Limited


@dataclass
class _Wait:
    """How long a request may take, and how far it has come."""

    seconds: float  # in which there must be an answer, or at least SLOWEST bytes a second of one
    longest: float  # seconds in all
    answer: int  # bytes of the answer, at most
    arrived: int = 0


def _allowed(request: Any) -> _Wait:
    """What this request may take; raises Limit if it is not to be made at all."""
    held = _HELD.get()
    if held and not same_place(held.uri, request.url):
        raise Limit(f"it leads to another address, {_shown(request.url)}, which nobody has named: nothing was sent there")
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    seconds = TIMES * float(MLFLOW_HTTP_REQUEST_TIMEOUT.get())
    with suppress(TypeError, ValueError):  # what is sent has its time, too
        seconds += int(request.headers.get("Content-Length") or 0) / SLOWEST
    answer = held.answer if held else ANSWER
    left = held.ends - time.monotonic() if held else float("inf")
    if left <= 0:
        raise Limit("it took too long in all, and was not asked any further")
    return _Wait(min(seconds, left), min(seconds + answer / (10 * SLOWEST), left), answer)


def _whole(answer: Any, wait: _Wait) -> Any:
    """The answer with its body read, into memory or a temporary file; raises Limit if that is longer than allowed."""
    body: Any = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)
    try:
        for part in answer.raw.stream(65536, decode_content=True):
            wait.arrived += len(part)
            if wait.arrived > wait.answer:
                raise Limit(f"it answers with more than {wait.answer:,} bytes, and was not read any further")
            body.write(part)
    except BaseException:
        body.close()
        answer.raw.close()  # what is still to come is not wanted
        raise
    answer.raw.release_conn()
    body.seek(0)
    answer.raw = body
    return answer


def _in_time(work: Callable[[], Any], wait: _Wait) -> Any:
    """What `work` returns or raises; raises Limit when its time is over, and closes the connection that it uses."""
    done: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    used: list[Any] = []

    def run() -> None:
        _WORKING.used = used
        try:
            done.put((True, work()))
        except BaseException as error:
            done.put((False, error))

    threading.Thread(target=run, daemon=True, name="seedbed-request").start()
    begun = time.monotonic()
    while True:
        before, now = wait.arrived, time.monotonic()
        try:
            fine, found = done.get(timeout=max(0.0, min(wait.seconds, begun + wait.longest - now)))
            break
        except queue.Empty:
            over = time.monotonic() - begun
            if over < wait.longest and wait.arrived - before >= SLOWEST * wait.seconds:
                continue
            _close(used)
            raise Limit(f"it did not end its answer within {over:.0f} s, and was not waited for any longer") from None
    if fine:
        return found
    raise found


def _close(used: list[Any]) -> None:
    """Shut the sockets that a request has used, so that the thread which waits for them ends."""
    for one in list(used):
        found = one if isinstance(one, socket.socket) else getattr(one, "sock", None)
        if found is not None:
            with suppress(OSError):
                socket.socket.shutdown(found, socket.SHUT_RDWR)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
