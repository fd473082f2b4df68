"""What one execution shows of itself, as hashes that can be compared with those of another one.

Written into the execution's folder: `trace.json` (the process's surroundings, data, initial weights, each epoch's end, predictions),
`rows.npz` (a hash for each example), `arrays.npz` (small data themselves), `steps.npz` (each step's points, if they are wanted) and
`draws.json` (who drew from the system's entropy). Nothing but `steps` touches what is computed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.run import data as data_sets
from seedbed.run import digest, fingerprint, json_text, process
from seedbed.run.config import BACKENDS
from seedbed.run.data import DataSet, flat
from seedbed.run.record import write_atomically
from seedbed.run.watching import Watch

SMALL = 20_000_000  # bytes of data that are kept, so that the values that differ can be shown
MOST_BATCHES = 100_000  # of a ready-made pipeline that are hashed one by one

# Of whatever backend: what two processes of one config don't share may explain what parts them.
VARIABLES = {name: None for backend in BACKENDS for name in process.deciding(backend)}


class Trace(Watch):
    """Sees a run at the detail of epochs; from epoch `steps_from` (0-based) on, each step, too.

    until: after what nothing more is wanted, and the process ends: `data`, `model`, or the number of an epoch. predictions: the
    steps of evaluation and prediction, too, after training. budget, only: which values are kept; see `steps.Steps`.
    stop: the run is stopped by SIGTERM at the end of so many epochs; the trace of the process that goes on begins with this one's.
    """

    def __init__(
        self, folder: Path, draws: Any, steps_from: int | None = None, until: int | str | None = None, predictions: bool = False,
        budget: int = 0, only: int | None = None, stop: int | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.draws, self.halt = folder, draws, stop
        self.steps_from, self.until, self.predictions, self.budget, self.only = steps_from, until, predictions, budget, only
        self.steps: Any = None
        self.stepped: dict[str, Any] = {}
        self.found: dict[str, Any] = {"epochs": [], "batches": {}}

    def begun(self) -> None:
        self.draws.phase = "data"
        self.found["process"] = {"variables": {name: os.environ[name] for name in VARIABLES if name in os.environ}}

    def batch(self, part: str, batch: Any) -> None:
        hashes = self.found["batches"].setdefault(part, [])
        if len(hashes) < MOST_BATCHES:
            hashes.append(digest.arrays(flat(batch))[:16])

    def loaded(self, data: DataSet) -> None:
        self.found["fingerprint"] = data.fingerprint
        self.found["data"] = {name: _described(part) for name, part in data.parts().items()}
        rows: dict[str, Any] = {}
        arrays: dict[str, Any] = {}
        for name, part in data.parts().items():
            if data_sets.is_arrays(part):
                leaves = flat(part)
                rows[name] = fingerprint.row_hashes(leaves)
                if sum(leaf.nbytes for leaf in leaves) <= SMALL:
                    arrays |= {f"{name}.{number}": leaf for number, leaf in enumerate(leaves)}
        np.savez(self.folder / "rows.npz", **rows)
        np.savez(self.folder / "arrays.npz", **arrays)

    def split(self, data: DataSet) -> None:
        self.draws.phase = "model"
        self.found["split"] = {
            name: digest.arrays(flat(part if data_sets.is_arrays(part) else part.items))
            for name, part in data.parts().items()
            if not data_sets.is_ready_made(part)
        }
        if self.until == "data":
            self.stop()

    def built(self, model: Any, engine: Any) -> Sequence[Any]:
        self.draws.phase = "training"
        self.found["layers"] = _layers(model)
        file = self.folder / "trace.json"
        if file.exists():
            self.found |= {
                name: value for name, value in json.loads(file.read_text()).items() if name in ("weights", "generators", "epochs")
            }
            return self._followers(model, engine)
        self.found["weights"] = [[weight.path, digest.arrays([weight])[:16]] for weight in model.weights]
        self.found["generators"] = digest.arrays(digest.generators(model))[:16]
        if self.until == "model":
            self.stop()
        return self._followers(model, engine)

    def _followers(self, model: Any, engine: Any) -> Sequence[Any]:
        from seedbed.proof import following

        return [(following.EachBatch if model.jit_compile else following.Follower)(self, model, engine)]

    def fitted(self, model: Any, history: Sequence[Mapping[str, float]]) -> None:
        from seedbed.proof import following

        self.draws.phase = "evaluation"
        self.found["trained"] = following.state(model)

    def evaluated(self, metrics: Mapping[str, float], predictions: Any) -> None:
        self.found["metrics"] = {name: float(value).hex() for name, value in metrics.items()}
        self.found["predictions"] = [digest.arrays([leaf])[:16] for leaf in flat(predictions)]
        if self.steps is not None:
            for phase in ("test", "predict"):
                self.keep(f"after {phase}", self.steps.flush(phase))

    def keep(self, name: str, rows: Sequence[tuple[tuple[str, ...], np.ndarray]]) -> None:
        """Steps' points: `<name>.names` (the points of each tracing) and `<name>.rows` (tracing, then hashes padded with 0)."""
        tracings = list(dict.fromkeys(names for names, _ in rows))
        width = 1 + max((len(names) for names in tracings), default=0)
        table = np.zeros((len(rows), width), np.int32)
        for number, (names, row) in enumerate(rows):
            table[number, 0] = tracings.index(names)
            table[number, 1 : 1 + len(row)] = row
        self.stepped[f"{name}.rows"] = table
        self.stepped[f"{name}.names"] = np.frombuffer(json_text.dumps(tracings).encode(), np.uint8)

    def ended(self) -> None:
        """Write what was seen."""
        if self.stepped:
            np.savez(self.folder / "steps.npz", **self.stepped)
        write_atomically(self.folder / "draws.json", json_text.dumps([dataclasses.asdict(draw) for draw in self.draws.found]))
        write_atomically(self.folder / "trace.json", json_text.dumps(self.found))

    def stop(self) -> None:
        """Everything that was wanted has been seen: end the process."""
        self.found["stopped"] = True
        self.ended()
        write_atomically(self.folder / "outcome.json", json_text.dumps({"status": "stopped"}))
        sys.stdout.flush()
        os._exit(0)


def _described(part: Any) -> dict[str, Any]:
    if data_sets.is_arrays(part):
        return {"kind": "arrays", "examples": len(flat(part)[0]),
                "arrays": [[leaf.dtype.str, list(leaf.shape), digest.arrays([leaf])[:16]] for leaf in flat(part)]}  # fmt: skip
    if not data_sets.is_ready_made(part):
        return {"kind": "examples", "examples": len(part), "items": digest.arrays(flat(part.items))[:16]}
    inner = getattr(part, "inner", part)
    described = {"kind": "py_dataset" if hasattr(inner, "on_epoch_end") else "tf_data", "class": type(inner).__name__}
    if described["kind"] == "py_dataset":
        return {**described, "workers": inner.workers, "processes": bool(inner.use_multiprocessing), "module": type(inner).__module__}
    from seedbed.run import inputs

    try:
        return {**described, "operations": sorted(inputs.operations_of(part))}
    except Exception:  # a pipeline that can't be written down
        return described


def _layers(model: Any) -> dict[str, str]:
    """The class of each layer, by its path; the user's own with their module."""
    found = {}
    for layer in model._flatten_layers():
        kind = type(layer)
        found[str(getattr(layer, "path", None) or layer.name)] = (
            kind.__name__ if kind.__module__.startswith("keras.") else f"{kind.__module__}.{kind.__name__}"
        )
    return found
