"""What a process leaves behind when it is killed: nothing, whichever way it started its children."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest
from conftest import OUTSIDE

from seedbed.run import children

WITHIN = 180.0  # seconds; a busy machine takes many

MARK = "SEEDBED_TEST_MARK"


def left(mark: str) -> list[str]:
    """The processes whose environment holds the mark, but those that have ended and are waited for by nobody yet."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(f"{folder.name} {(folder / 'cmdline').read_bytes().replace(bytes(1), b' ').decode()}")
        except OSError:
            continue
    return found


def until_none_is_left(mark: str, seconds: float = WITHIN) -> None:
    end = time.monotonic() + seconds
    while there := left(mark):
        assert time.monotonic() < end, f"still there: {there}"
        time.sleep(0.05)


def killed(tmp_path: Path, code: str, count: int, **given: object) -> str:
    """Run `code` until `count` files are in the folder, its argument; kill it. Returns the mark of its processes."""
    mark = uuid.uuid4().hex
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(code))
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env={**OUTSIDE, MARK: mark})
    try:
        end = time.monotonic() + WITHIN
        while len(list(tmp_path.glob("at-*"))) < count:
            assert parent.poll() is None
            assert time.monotonic() < end, "the children have not begun"
            time.sleep(0.01)
        assert len(left(mark)) > count
    finally:
        parent.kill()
        parent.wait()
    return mark


CHILD = '''
CHILD = """
import os, pathlib, signal, sys, time
from seedbed.run import children
children.guard()
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: pathlib.Path(sys.argv[1], "asked").touch())
pathlib.Path(sys.argv[1], f"at-{os.getpid()}").touch()
while True:
    time.sleep(600)
"""
import shlex, signal, sys, threading, time
from seedbed.run import children
folder = sys.argv[1]
def start(*how, **given):
    return children.start([sys.executable, "-c", CHILD, folder], *how, **given)
'''


@pytest.mark.parametrize(
    "how",
    [
        "kept = [start() for _ in range(3)]",
        "kept = [start(start_new_session=True, stdin=-1)]",
        "kept = [start(signal.SIGTERM, 0.3)]",
        "kept = [start(0, 0.3)]",
        # below a program that knows nothing of this, which is in between or heads a pipeline
        """line = [sys.executable, "-c", CHILD, folder]
kept = [start(), children.start(["sh", "-c", f"{shlex.join(line)} & sleep 600 | cat"], foreign=True)]""",
        # started by a thread that ends at once; by the parent's pipe alone
        """kept = []
thread = threading.Thread(target=lambda: kept.append(start()))
thread.start()
thread.join()""",
        # a process that runs to its end
        'threading.Thread(target=children.run, args=([sys.executable, "-c", CHILD, folder],)).start()',
    ],
    ids=["three", "session", "asked", "itself", "foreign", "thread", "run"],
)
def test_children_end_with_a_parent_that_is_killed(how: str, tmp_path: Path) -> None:
    until_none_is_left(killed(tmp_path, f"{CHILD}\n{how}\ntime.sleep(600)\n", 3 if "range(3)" in how else 2 if "sh" in how else 1))
    assert (tmp_path / "asked").exists() == ("SIGTERM" in how)  # before it was killed


def test_a_child_that_holds_pythons_lock_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Its thread that waits for the parent's end has no turn: the kernel's signal ends it."""
    code = CHILD.replace("    time.sleep(600)", "    import ctypes; ctypes.PyDLL(None).sleep(600)", 1)
    until_none_is_left(killed(tmp_path, f"{code}\nkept = start()\ntime.sleep(600)\n", 1))


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    code = f"""{CHILD}
kept = []
thread = threading.Thread(target=lambda: kept.append(start()))
thread.start()
thread.join()
time.sleep(1)
print(kept[0].poll(), flush=True)
kept[0].kill()
kept[0].wait()
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=OUTSIDE, capture_output=True, text=True, timeout=WITHIN)
    assert done.stdout.strip() == "None", done.stderr


FORKED = """
import multiprocessing, os, pathlib, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from seedbed.run import children

def wait(number):
    pathlib.Path(sys.argv[1], f"at-{os.getpid()}").touch()
    time.sleep(600)

signal.signal(signal.SIGTERM, lambda number, frame: None)
with children.forks() as line, ProcessPoolExecutor(3, multiprocessing.get_context("fork"), children.hold_on, (line,)) as pool:
    list(pool.map(wait, range(3)))
"""


def test_forked_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    until_none_is_left(killed(tmp_path, FORKED, 3))


def test_a_forked_worker_does_not_keep_a_sibling_alive(tmp_path: Path) -> None:
    """The sibling waits for the end of the pipe that their parent holds, of which a fork has a copy."""
    code = f"""{CHILD}
import os, pathlib
kept = start()
if os.fork() == 0:
    time.sleep(600)
time.sleep(600)
"""
    mark = killed(tmp_path, code, 1)
    end = time.monotonic() + WITHIN
    while len(there := left(mark)) > 1:  # the fork itself was started by no means of ours
        assert time.monotonic() < end, there
        time.sleep(0.05)
    os.kill(int(there[0].split()[0]), signal.SIGKILL)


def test_a_program_that_takes_the_process_s_place_ends_with_the_parent(tmp_path: Path) -> None:
    code = CHILD + textwrap.dedent('''
    BEFORE = """
    import os, sys
    from seedbed.run import children
    children.guard()
    os.execve(sys.executable, [sys.executable, "-c", sys.argv[1], sys.argv[2]], {**os.environ, **children.handed_on()})
    """
    kept = []
    def begin():
        kept.append(children.start([sys.executable, "-c", BEFORE, CHILD, folder]))
    thread = threading.Thread(target=begin)  # without the parent-death signal, which survives by itself
    thread.start()
    thread.join()
    time.sleep(600)
    ''')
    until_none_is_left(killed(tmp_path, code, 1))


def test_workers_of_a_launcher_end_with_the_command(tmp_path: Path) -> None:
    code = '''
    WORKER = """
    import os, pathlib, sys, time
    from seedbed.run import children
    children.follow_command()
    pathlib.Path(sys.argv[1], f"at-{os.getpid()}").touch()
    time.sleep(600)
    """
    import subprocess, sys, textwrap, time
    from seedbed.run import children
    with children.launching():
        kept = subprocess.Popen(["sh", "-c", 'python=$1; shift; "$python" "$@"; true', "sh", sys.executable, "-c",
                                 textwrap.dedent(WORKER), sys.argv[1]], start_new_session=True)
        time.sleep(600)
    '''
    until_none_is_left(killed(tmp_path, code, 1))


def test_a_foreign_program_s_end_is_passed_on(tmp_path: Path) -> None:
    for code, status in {"exit 7": 7, "kill -9 $$": -9, "kill -15 $$": -15, "true": 0}.items():
        assert children.run(["sh", "-c", code]).returncode == status
    done = children.run(["sh", "-c", 'cat; echo "$SEEDBED_LIFELINE" >&2'], input="said", capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("said", "\n")
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        children.run(["no-such-program"])
    with pytest.raises(subprocess.TimeoutExpired):
        children.run(["sh", "-c", f"sleep 600 & echo $! >{tmp_path / 'sleeps'}; wait"], timeout=1)
    end = time.monotonic() + WITHIN
    while Path(f"/proc/{(tmp_path / 'sleeps').read_text().strip()}/cmdline").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_ctrl_c_asks_a_foreign_program_to_end(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, signal, threading, time
from seedbed.run import children
ready = pathlib.Path({str(tmp_path)!r}, "ready")
def stop():
    while not ready.exists():
        time.sleep(0.01)
    time.sleep(0.5)  # by then the main thread waits for the program
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=stop).start()
children.run(["sh", "-c", 'trap "echo asked; exit" TERM; touch "$1"; while :; do sleep 0.1; done', "sh", ready])
"""
    done = subprocess.run([sys.executable, "-c", code], env=OUTSIDE, capture_output=True, text=True, timeout=60)
    assert done.stdout == "asked\n"
    assert "KeyboardInterrupt" in done.stderr


def test_a_descriptor_that_is_another_one_by_now_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        for text in ("", "x", f"{file.fileno()}:{os.fstat(file.fileno()).st_ino}:1:9:1:1", "99:1:1:9:1:1"):
            monkeypatch.setenv(children.LIFELINE, text)
            children.guard()
            assert children.LIFELINE not in os.environ
    assert children.handed_on() == {}


def test_no_descriptor_is_left() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(3):
        children.run(["true"])
        with children.forks() as line:
            process = multiprocessing.get_context("fork").Process(target=os.fstat, args=(line.read,))
            process.start()
            process.join()
            process.close()
    assert count() == before
