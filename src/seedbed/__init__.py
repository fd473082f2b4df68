"""seedbed: a run is a function, (code, environment, config, seeds, data) to (weights, history, metrics)."""

from __future__ import annotations

import os
from pathlib import Path


class Refused(Exception):
    """A mistake or a limit that the user can mend: one message, no traceback, exit status 2.

    The message names the offending value, what is accepted, and what to do next.
    """


def project_root() -> Path:
    """The project's folder (it holds `conf/`, `src/` and `runs/`), whatever the working directory.

    SEEDBED_ROOT names it where the package doesn't lie in the project's own `src/`, as in an image.
    """
    return Path(os.environ.get("SEEDBED_ROOT") or Path(__file__).resolve().parents[2])
