"""Processes that begin where TensorFlow, Keras and seedbed have been imported: a fork instead of a start of seven seconds.

Run as a program, with the environment of level `strict`, it imports them, executes nothing, and forks a child for each line
on its standard input: a JSON object with the command's words, its environment, its folder and two files for its output. A
child goes through `seedbed.__main__.main` as a fresh process would; where it needs another environment than this one has
(another level, hash seed or backend), it replaces itself by a fresh process, as it would at home.
What is about the start itself, the hash seed, cores, locales, kills and proofs has real processes (`start=True`, the marker
`fresh`). Measured on a busy machine: 5.8 s of processor time for the tutorial's `train`, against 17 s of a start.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# What a process reads when it starts: with one of these set, nothing but a start will do.
AT_START = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "TF_", "KERAS_", "CUDA_", "OMP_", "OPENBLAS_", "ONEDNN_", "NPY_", "XLA_",
            "MKL_", "MPL", "GOTO_", "JAX_", "HOME", "TMPDIR", "PATH", "COVERAGE", "NO_COLOR", "COLUMNS", "TERM")  # fmt: skip


class Parent:
    """The process that forks; one a test worker, started when it is first needed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.process: subprocess.Popen[str] | None = None

    def can(self, environment: Mapping[str, str]) -> bool:
        """Whether a fork will do for a command with this added to its environment."""
        rest = {name for name in environment if name != "PYTHONPATH"}
        return not any(name.startswith(AT_START) for name in rest)

    def run(self, words: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float) -> subprocess.CompletedProcess[str]:
        """Call `seedbed WORDS`; as `subprocess.run` with `capture_output` and `text`."""
        import tiers  # which the process that forks has no use for

        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-P", __file__]
            self.process = subprocess.Popen(command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with tempfile.TemporaryDirectory() as outputs:
            out, err = Path(outputs) / "out", Path(outputs) / "err"
            order = {"words": list(words), "environment": dict(environment), "folder": str(folder), "out": str(out), "err": str(err),
                     "timeout": timeout}  # fmt: skip
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            told = self.process.stdout.readline()
            assert told, "the parent of all forks has ended"
            status, seconds = json.loads(told)
            tiers.forked_seconds += seconds
            if status is None:
                raise subprocess.TimeoutExpired(["seedbed", *words], timeout, out.read_text(), err.read_text())
            return subprocess.CompletedProcess(["seedbed", *words], status, out.read_text(), err.read_text())

    def end(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait()


def main() -> None:
    from seedbed import cli, follower, proofs, studies  # noqa: F401 (imported so that a child needn't)
    from seedbed.run import determinism, fitting, provenance, training  # noqa: F401

    provenance.code(())  # which package is whose, and the imports in each source: found once a process, the same in each child
    own = os.dup(1)  # what a child prints goes elsewhere
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        before = used.ru_utime + used.ru_stime
        child = os.fork()
        if child == 0:
            os.close(own)
            _be_the_command(order)
        status = waited_for(child, order["timeout"])
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.write(own, (json.dumps([status, used.ru_utime + used.ru_stime - before]) + "\n").encode())


def _be_the_command(order: Mapping[str, Any]) -> None:
    """Become the process that a shell would have started; does not return."""
    status = 1
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for number, name in ((1, "out"), (2, "err")):
            file = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, number)
            os.close(file)
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.path[:0] = [path for path in order["environment"].get("PYTHONPATH", "").split(os.pathsep) if path]
        sys.argv = ["seedbed", *order["words"]]
        from seedbed.__main__ import main as command

        command()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def waited_for(child: int, timeout: float) -> int | None:
    """The exit status of a child, as `subprocess` has it; None if it took longer, and was killed with all that it started."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    main()
