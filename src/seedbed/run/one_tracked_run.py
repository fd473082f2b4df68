"""One run of MLflow for each record: code of the user's starts no second one while a tracked run trains.

seedbed's own run of MLflow is made by another process, which copies the record. `mlflow.autolog()`, an `MlflowCallback` or
`mlflow.log_metric` in a callback would start another one, in whatever store is the default in the working directory.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from seedbed import Refused
from seedbed.run import provenance

# Where every way to make a run comes through (MLflow 3), as long as it has been imported at all.
MODULE, CLASS, FUNCTION = "mlflow.tracking._tracking_service.client", "TrackingServiceClient", "create_run"

REMEDY = (
    "seedbed keeps one run of MLflow for each record. Leave out mlflow.start_run, mlflow.log_*, mlflow.autolog and MlflowCallback: what a "
    "callback puts into `logs` is in the history, and goes to MLflow with it. To log into a run that is there already: "
    "mlflow.start_run(run_id=…); to track by yourself: tracking=none."
)


@contextmanager
def of_mlflow(tracked: bool) -> Iterator[None]:
    """Refuse to start a run of MLflow meanwhile, if the run is `tracked` by seedbed; MLflow is not imported for that."""
    if not tracked:
        yield
        return
    undo: list[Callable[[], None]] = []

    def close(module: ModuleType) -> None:
        owner: Any = getattr(module, CLASS, None)
        real = getattr(owner, FUNCTION, None)
        if real is not None:
            setattr(owner, FUNCTION, _refusing)
            undo.append(lambda: setattr(owner, FUNCTION, real))

    late = _Late(close)
    if MODULE in sys.modules:
        close(sys.modules[MODULE])
    sys.meta_path.insert(0, late)
    try:
        yield
    finally:
        sys.meta_path.remove(late)
        for one in reversed(undo):
            one()


def _refusing(*arguments: Any, **named: Any) -> Any:
    raise Refused(f"The run starts a run of MLflow by itself{_place()}. {REMEDY}")


def _place() -> str:
    """The line of the user's that has led here; "" if none has."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name, file = str(frame.f_globals.get("__name__")), frame.f_code.co_filename
        if name.partition(".")[0] != "seedbed" and not file.startswith("<") and provenance.is_first_party(Path(file)):
            return f" ({file}:{frame.f_lineno})"
        frame = frame.f_back
    return ""


class _Late(importlib.abc.MetaPathFinder):
    """Finds MLflow's module as others find it, and closes it as soon as it is loaded."""

    def __init__(self, close: Callable[[ModuleType], None]) -> None:
        self.close = close

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        if name != MODULE:
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def executed(module: ModuleType) -> None:
                execute(module)
                self.close(module)

            spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec
