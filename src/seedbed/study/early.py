"""A process that imports TensorFlow while the command is still composing its config: half a second of every short study.

It is started with the environment of the level that most studies have. If the config turns out to need another one, it is
ended, and another process is started as usual. Imports nothing but the standard library, since time is what it is for.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from seedbed.run import children, process
from seedbed.run.process import COMMAND

Process = subprocess.Popen[bytes]

# conf/determinism/strict.yaml with its own values; a test compares. A guess: where it is wrong, time is lost and nothing else.
GUESS: dict[str, str | None] = {
    "PYTHONHASHSEED": "0", "TF_DETERMINISTIC_OPS": "1", "TF_CUDNN_USE_AUTOTUNE": "0", "TF_CUDNN_RNN_USE_AUTOTUNE": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "NCCL_ALGO": "Ring", "TF_ENABLE_ONEDNN_OPTS": "1", "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1", "KERAS_BACKEND": "tensorflow", "TF_MATMUL_AUTOTUNE_ENABLE": None,
    "TF_DISABLE_SCATTER_OP_DETERMINISM": None, "TF_DISABLE_SEGMENT_REDUCTION_OP_DETERMINISM_EXCEPTIONS": None,
}  # fmt: skip


class Early:
    """The process, until somebody takes it."""

    def __init__(self, argv: Sequence[str]) -> None:
        likely = not any(word.startswith(("-", "hydra/launcher", "determinism", "backend", "seeds.hash")) for word in argv)
        self.process = start(GUESS) if likely else None

    def take(self, environment: Mapping[str, str | None]) -> Process | None:
        """The process if it has this environment; else it is ended."""
        ready, self.process = self.process, None
        if ready is not None and dict(environment) != GUESS:
            ready.kill()
            ready.wait()
            return None
        return ready

    def end(self) -> None:
        """End the process if nobody has taken it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def ahead(argv: Sequence[str]) -> Iterator[Early]:
    """Start the process, and end it if nobody has taken it by the end."""
    found = Early(argv)
    try:
        yield found
    finally:
        found.end()


def start(environment: Mapping[str, str | None]) -> Process:
    """Start a process that imports TensorFlow, then waits for what it is to train."""
    # a session of its own: Ctrl-C is handed on by us, once. It writes into the study's log as soon as it knows which that is.
    return children.start(
        [*COMMAND, "repeat", "--worker"], signal.SIGTERM, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env=process.environment(environment), start_new_session=True,
    )  # fmt: skip
