"""Child processes that end with their parent, however that one ends.

Two signs tell a child that its parent is gone:

- A pipe of which the parent alone holds the write end reads end-of-file. It works on every system, through programs in between, and
  for a child that was started by any thread. A thread of the child waits for it (`guard`).
- Linux's parent-death signal, PR_SET_PDEATHSIG of prctl(2), arrives at once, also where Python's threads get no turn. The kernel
  sends it when the *thread* that started the child ends, so it is asked for only where that is the main thread. Where the parent
  ended before the child asked for it, the pipe says so.

A program that knows nothing of this (git, make, an older seedbed) runs below a small supervisor, which is this file as a script:
it ends the program's process group. Imports the standard library alone, since `guard` is the first thing that a process does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

# Handed to a child: "descriptor:inode:parent:ending:grace:main", see `Line`.
LIFELINE = "SEEDBED_LIFELINE"

# Handed to the workers of a launcher on this machine: "process id:time of its start".
COMMAND = "SEEDBED_COMMAND"

# How long a child that is asked to end (SIGTERM: it writes a checkpoint) may take, in seconds, before it is killed.
GRACE = 20.0

PR_SET_PDEATHSIG = 1

_PRCTL = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None) if sys.platform == "linux" else None

# The write ends that this process holds. A forked child closes them, or it would keep its siblings alive.
_HELD: set[int] = set()
_LOCK = threading.RLock()  # a finalizer may run while its own thread holds it

# What this process was told of its parent.
_MINE: list[Line] = []


class Line:
    """A child's end of the pipe, and what the child does at end-of-file.

    read: the descriptor. parent: its process id. ending: the signal that the child sends itself (0: none); SIGKILL follows after
    `grace` seconds. main: whether the parent's main thread started the child.
    """

    def __init__(self, read: int, parent: int, ending: int, grace: float, main: bool) -> None:
        self.read, self.parent, self.ending, self.grace, self.main = read, parent, ending, grace, main

    def text(self) -> str:
        return f"{self.read}:{os.fstat(self.read).st_ino}:{self.parent}:{self.ending}:{self.grace}:{int(self.main)}"

    @staticmethod
    def of(text: str) -> Line | None:
        """The line that `text` names; None if the descriptor is another one by now, or not a pipe."""
        with suppress(ValueError, OSError):
            read, inode, parent, ending, grace, main = text.split(":")
            found = os.fstat(int(read))
            if stat.S_ISFIFO(found.st_mode) and found.st_ino == int(inode):
                return Line(int(read), int(parent), int(ending), float(grace), main == "1")
        return None


def start(
    command: Sequence[Any], ending: int = signal.SIGKILL, grace: float = GRACE, foreign: bool = False, **given: Any
) -> subprocess.Popen[Any]:
    """Start a process that ends with this one.

    Args:
        command: what to start: seedbed itself, whose first act is `guard`, or with `foreign` any program.
        ending: the signal that ends it; with SIGTERM it has `grace` seconds for a checkpoint. 0: it ends by itself, and is killed
            after `grace` seconds.
        foreign: whether the program knows nothing of this; it then has a process group of its own, with the supervisor at its head.
        given: arguments of `subprocess.Popen`.
    """
    env = dict(os.environ if given.get("env") is None else given["env"])
    given["env"] = env
    if foreign:
        if shutil.which(command[0], path=env.get("PATH")) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(command[0]))
        command = [sys.executable, "-I", "-S", os.path.abspath(__file__), *command]  # noqa: PTH100
        given["start_new_session"] = True
    line, write = _new(ending, grace)
    try:
        env[LIFELINE] = line.text()
        child = subprocess.Popen([os.fspath(word) for word in command], pass_fds=(line.read, *given.pop("pass_fds", ())), **given)
    except BaseException:
        _close(write)
        raise
    finally:
        os.close(line.read)
    weakref.finalize(child, _close, write)
    return child


def run(command: Sequence[Any], *, input: Any = None, timeout: float | None = None, **given: Any) -> subprocess.CompletedProcess[Any]:
    """Run any program to its end, as `subprocess.run` does; it and what it has started end with this process."""
    if given.pop("capture_output", False):
        given |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        given["stdin"] = subprocess.PIPE
    with start(command, foreign=True, **given) as child:
        try:
            out, err = child.communicate(input, timeout)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # the program is in no terminal's group: it is told by us
                child.terminate()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(GRACE)
            kill_group(child)
            raise
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def kill_group(child: subprocess.Popen[Any]) -> None:
    """Kill a child that heads a process group, with all that it has started, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@contextmanager
def forks(ending: int = signal.SIGKILL) -> Iterator[Line]:
    """A line for children that are forked meanwhile (multiprocessing's); each calls `hold_on` with it."""
    line, write = _new(ending, GRACE)
    try:
        yield line
    finally:
        _close(write)
        os.close(line.read)


def guard() -> None:
    """End this process with the one that started it, if that was `start`. To be called before anything else."""
    line = Line.of(os.environ.pop(LIFELINE, ""))
    if line is not None:
        os.set_inheritable(line.read, False)
        hold_on(line)


def hold_on(line: Line) -> None:
    """End this process at the end of the one that holds the other end of `line`."""
    _MINE[:] = [line]
    if line.main and line.ending:
        _ask_for_signal(line.ending)
    threading.Thread(target=_wait, args=(line,), name="seedbed-parent", daemon=True).start()


def handed_on() -> dict[str, str]:
    """The environment with which a program that takes this process's place (`os.execve`) still ends with its parent."""
    if not _MINE:
        return {}
    with suppress(OSError):
        os.set_inheritable(_MINE[0].read, True)
        return {LIFELINE: _MINE[0].text()}
    return {}


@contextmanager
def launching() -> Iterator[None]:
    """Let a launcher's workers on this machine, which are not started by `start`, know this process: they call `follow_command`."""
    os.environ[COMMAND] = f"{os.getpid()}:{_started(os.getpid())}"
    try:
        yield
    finally:
        os.environ.pop(COMMAND, None)


def follow_command() -> None:
    """Kill this process when the command that launched it on this machine has ended; nothing where there was none."""
    number, _, started = os.environ.get(COMMAND, "").partition(":")
    if number.isdigit() and int(number) != os.getpid() and not any(one.name == "seedbed-command" for one in threading.enumerate()):
        threading.Thread(target=_outlive, args=(int(number), started), name="seedbed-command", daemon=True).start()


def _new(ending: int, grace: float) -> tuple[Line, int]:
    with _LOCK:  # no fork between the pipe and its name
        read, write = os.pipe()
        _HELD.add(write)
    return Line(read, os.getpid(), int(ending), grace, threading.current_thread() is threading.main_thread()), write


def _close(write: int) -> None:
    with _LOCK:
        if write in _HELD:
            _HELD.discard(write)
            with suppress(OSError):
                os.close(write)


def _forked() -> None:
    for write in list(_HELD):
        with suppress(OSError):
            os.close(write)
    _HELD.clear()
    _LOCK.release()


os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_forked)


def _ask_for_signal(number: int) -> None:
    if _PRCTL is not None:
        _PRCTL(PR_SET_PDEATHSIG, number)


def _wait(line: Line) -> None:
    """Wait for the parent's end, then end this process."""
    try:
        while os.read(line.read, 1):
            pass
    except OSError:  # a program that closes every descriptor has closed this one, too
        while os.getppid() == line.parent:
            time.sleep(1)
    if line.ending:
        os.kill(os.getpid(), line.ending)
    time.sleep(line.grace)
    os.kill(os.getpid(), signal.SIGKILL)


def _outlive(number: int, started: str) -> None:
    """Wait until process `number`, which began at `started`, has ended, then kill this one."""
    try:
        pidfd = os.pidfd_open(number)  # Linux 5.3
        if _started(number) == started:
            select.select([pidfd], [], [])
    except ProcessLookupError:
        pass
    except (OSError, AttributeError):
        while _lives(number) and _started(number) == started:
            time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _started(number: int) -> str:
    """When a process began, by the kernel's clock (proc(5), field 22 of stat); "" where that can't be read."""
    with suppress(OSError, IndexError), open(f"/proc/{number}/stat") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[19]
    return ""


def _supervise(command: Sequence[str]) -> NoReturn:
    """Run `command` in this process's group; at the parent's end kill the group. Ends as the command does."""
    line = Line.of(os.environ.pop(LIFELINE, ""))
    if line is not None:
        os.set_inheritable(line.read, False)
    ours = os.getpid()

    def begin() -> None:
        _ask_for_signal(signal.SIGKILL)
        if os.getppid() != ours:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        child = subprocess.Popen(command, preexec_fn=begin)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: child.send_signal(number))
    if line is not None:
        threading.Thread(target=_kill_group_at_end, args=(line,), daemon=True).start()
    code = child.wait()
    if code < 0:
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(ours, -code)
    sys.exit(code if code >= 0 else 128 - code)


def _kill_group_at_end(line: Line) -> None:
    while os.read(line.read, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    _supervise(sys.argv[1:])
