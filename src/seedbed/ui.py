"""`seedbed ui`: MLflow's page on this machine, and the addresses at which it shows runs with their seeds."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from seedbed import Refused, composing, notes, printed
from seedbed.run import children

PORT = 5001


def ui(argv: list[str]) -> int:
    """Print where each experiment's table is and become MLflow's server; where the runs are on a server already, only print."""
    parser = argparse.ArgumentParser("seedbed ui", description="MLflow's page of all runs, on this machine alone")
    parser.add_argument("--port", default=os.environ.get("PORT") or str(PORT), help=f"where it listens on 127.0.0.1 ({PORT}, or PORT)")
    parser.add_argument("--runs", help="the folder of records")
    options = parser.parse_args(argv)
    from seedbed import tracking
    from seedbed.run import config as configs

    config = configs.composed(*([f"runs={composing.quoted(options.runs)}"] if options.runs else []))
    if options.runs and not Path(options.runs).is_dir():
        raise Refused(f"--runs {options.runs}: there is no such folder.")
    uri = str(config.tracking.uri or f"sqlite:///{Path(config.runs).expanduser().absolute()}/mlflow/mlflow.db")
    remote = uri.startswith(("http://", "https://"))
    base = notes.address(uri).rstrip("/") if remote else f"http://127.0.0.1:{_free(options.port)}"
    rows = [(name, f"{base}/{address}") for name, address in tracking.pages(uri)]
    printed.lines([("MLflow", base + ("" if remote else "  (Ctrl-C ends it)")), *rows] if rows else [("MLflow", f"{base}  (no runs yet)")])
    if not remote:
        _serve(uri, options.port)
    return 0


def _free(port: str) -> str:
    """The port, if nobody listens there; raises Refused."""
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Refused(f"PORT={port} is no port. Accepted: 1 … 65535.")
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", int(port)))
        except OSError as error:
            why, other = os.strerror(error.errno or 0), int(port) % 65535 + 1
            raise Refused(f"Port {port} can't be had: {why}. Say another: make ui PORT={other}") from None
    return port


def _serve(uri: str, port: str) -> NoReturn:
    sys.stdout.flush()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight more processes, for nothing that is shown here
    # exact names: MLflow's own list takes whatever begins like a private address, and so a name of somebody else's (10.example.com)
    names = [f"{name}{end}" for name in ("localhost", "127.0.0.1") for end in ("", f":{port}")]
    os.environ.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", ",".join(names))
    os.environ.setdefault("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "")
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # on the command line, a password in it could be read by others on this machine
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    sys.exit(children.run(command).returncode)  # MLflow starts processes of its own, which are to end with this one
