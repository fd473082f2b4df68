"""The door: quiet libraries first, then the command line. `python -m seedbed` and the script `seedbed` come in here."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    from seedbed.run import children

    children.guard()
    # The first process of a container ignores what it has no handler for: `docker stop` would wait for nothing, and then kill.
    if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Only what is printed, never what is computed; what decides bits is in conf/determinism/.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from seedbed import cli, quiet

    quiet.install()
    sys.exit(cli.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
