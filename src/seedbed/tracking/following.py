"""The process that sends records to MLflow while they grow: told of them on standard input, whose end says the trainer is gone."""

from __future__ import annotations

import json
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from seedbed import Refused, notes
from seedbed.run.record import RUNNING, Record
from seedbed.tracking.runs import push
from seedbed.tracking.store import warm


def follow(lines: IO[str], uri: str, experiment: str, every: float = 1.0) -> bool:
    """Read a record's path, as JSON, from `lines`, then send the record as it grows until it is over or its trainer is gone.

    Returns whether all of it was sent; why not is noted beside the record.
    """
    with suppress(Exception):  # `push` meets it again, and notes it
        warm(uri, experiment)
    line = lines.readline().strip()
    if not line:
        return True
    path = json.loads(line)  # a path may hold a newline
    failures, trainer = 0, True
    while True:
        try:
            record = Record.read(Path(path))
        except Refused:  # removed, or being trained anew: who does that follows it
            return True
        try:
            push(record, uri, experiment, gone=not trainer)
            failures = 0
        except Exception as error:  # whatever a server can do; the record is safe and `sync` sends it later
            failures += 1
            with suppress(OSError):  # a full disk
                notes.note(record, uri, error=notes.reason(error, uri))
        over = record.status != RUNNING or not trainer
        if over and (failures == 0 or failures > 1):
            return failures == 0
        # the trainer holds the other end of `lines`: it can be read when the trainer ends, however it does
        if trainer and select.select([lines], [], [], 0.2 if over else min(every * 2 ** min(failures, 5), 30))[0]:
            trainer = bool(lines.readline())
        elif not trainer:
            time.sleep(1)
