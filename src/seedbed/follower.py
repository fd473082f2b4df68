"""The process that copies records into MLflow while they grow: started before TensorFlow is imported, waited for at the end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from seedbed import notes
from seedbed.run import children, json_text
from seedbed.run.process import COMMAND, REPLACED
from seedbed.run.record import Record

# How long, in seconds, it may go on sending what a process that has ended has left: it ends by itself unless a server holds it.
SECONDS_MORE = 600.0


@contextmanager
def following(tracking: Any, runs: str, said: Callable[[str], None]) -> Iterator[Callable[[Any], None]]:
    """A process that copies the record into MLflow as it grows; it is told the record's path once there is one."""
    if not tracking.uri:
        yield lambda path: None
        return
    follower, log = _started("--follow", tracking, runs)
    assert follower.stdin is not None
    told = None

    def tell(path: Any) -> None:
        nonlocal told
        told = path
        _tell(follower, json_text.dumps(str(path)), log, said)

    try:
        yield tell
    finally:
        with suppress(BrokenPipeError):
            follower.stdin.close()
        if told is None or notes.is_complete(Record.read(told), str(tracking.uri)):
            follower.kill()  # nothing to send: nobody waits for MLflow's import
        elif _wait_for(follower, tracking, said) and not notes.error(Path(told), str(tracking.uri)):
            said(_unsent(f"its process ended with status {follower.returncode}, see {log}"))  # what is noted stands in the table


@contextmanager
def following_studies(tracking: Any, runs: str, said: Callable[[str], None]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A process that copies studies into MLflow; it is told of each as `seedbed.tracking.follow_studies` wants it.

    At the end it is waited for: `wait_seconds`, and one more for each run.
    """
    if not tracking.uri:
        yield lambda told: None
        return
    follower, log = _started("--follow-studies", tracking, runs)
    assert follower.stdin is not None
    seeds, studies = 0, set()

    def tell(told: dict[str, Any]) -> None:
        nonlocal seeds
        studies.add(Path(told.get("study") or told["report"]))
        seeds += len(told.get("masters", ()))
        _tell(follower, json_text.dumps(told), log, said)

    try:
        yield tell
    finally:
        with suppress(BrokenPipeError):
            follower.stdin.close()
        if seeds:
            if _wait_for(follower, tracking, said, seeds):
                noted = dict.fromkeys(error for study in sorted(studies) if (error := notes.error(study, str(tracking.uri))))
                said(_unsent("; ".join(noted) or f"its process ended with status {follower.returncode}, see {log}"))
        else:
            follower.kill()


def _started(how: str, tracking: Any, runs: str) -> tuple[subprocess.Popen[str], Path]:
    log = Path(runs).expanduser() / "tracking.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if name != REPLACED} | {"SEEDBED_TRACKING_URI": str(tracking.uri)}
    with log.open("a") as output:
        # its own session: Ctrl-C is for the training, and what the training leaves is still to be sent
        follower = children.start(
            [*COMMAND, "sync", how, "--experiment", tracking.experiment], 0, SECONDS_MORE,
            stdin=subprocess.PIPE, stdout=output, stderr=output, env=env, text=True, start_new_session=True,
            preexec_fn=partial(os.nice, 10),  # after whoever trains
        )  # fmt: skip
    return follower, log


def _tell(follower: subprocess.Popen[str], line: str, log: Path, said: Callable[[str], None]) -> None:
    try:
        follower.stdin.write(f"{line}\n")  # type: ignore[union-attr]
        follower.stdin.flush()  # type: ignore[union-attr]
    except BrokenPipeError:
        said(f"Tracking ended early; see {log}. What is recorded is complete all the same: `seedbed sync` sends it.")


def _wait_for(follower: subprocess.Popen[str], tracking: Any, said: Callable[[str], None], more: float = 0) -> bool:
    """Wait until everything is in MLflow, its server has failed, or `wait_seconds` (and `more`) are over; whether it has failed."""
    try:
        return follower.wait(timeout=tracking.wait_seconds + more) != 0
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        said(f"MLflow has not taken everything within tracking.wait_seconds={tracking.wait_seconds:g}; it goes on in the background, "
            "and `seedbed sync` sends what is missing then.")  # fmt: skip
        return False


def _unsent(why: str) -> str:
    return f"MLflow has not taken everything: {why}. Nothing is lost; `seedbed sync` sends what is missing."
