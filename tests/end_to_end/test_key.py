"""The modules of this project that training processes have really imported, beside those that the key names."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

pytestmark = pytest.mark.integration

# What a command imports around a run: it composes the config, prints, and sends what the record says. No bit depends on it.
AROUND = {
    "seedbed.__main__", "seedbed.cli", "seedbed.command_line", "seedbed.composing", "seedbed.follower", "seedbed.fsck", "seedbed.new", "seedbed.notes", "seedbed.printed",
    "seedbed.proofs", "seedbed.show", "seedbed.studies", "seedbed.ui",
}  # fmt: skip

NOTING = """
import atexit, json, os, sys, uuid
import keras, numpy as np

def note():
    found = {name: str(getattr(module, "__file__", "")) for name, module in list(sys.modules.items())}
    with open(os.path.join(os.path.dirname(__file__), f"imported-{uuid.uuid4().hex}.json"), "w") as file:
        json.dump(found, file)

atexit.register(note)

def data():
    x = np.arange(32, dtype="float32").reshape(32, 1)
    return {"train": (x, x), "test": (x, x)}

class StopOnce(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        import signal
        mark = os.path.join(os.path.dirname(__file__), "stopped")
        if not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGTERM)
"""


def unnamed(folder: Path, key: dict[str, str]) -> set[str]:
    """The modules of this project and of the plugin that were imported and stand neither in the key nor among AROUND."""
    mine = (str(ROOT / "src"), str(folder))
    found: set[str] = set()
    for file in folder.glob("imported-*.json"):
        found |= {name for name, path in json.loads(file.read_text()).items() if path.startswith(mine)}
    assert "seedbed.run.fitting" in found
    return found - set(key) - AROUND - {"__main__", "__mp_main__"}


def trained(seedbed: Callable[..., Any], folder: Path, runs: Path, *words: str) -> dict[str, Any]:
    (folder / "conf" / "data").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "data" / "mine.yaml").write_text(
        "name: mine\nsource: {_target_: noting.data}\nloss: mean_squared_error\nbatch_size: 4\n"
    )
    done = seedbed("train", "--config-dir", str(folder / "conf"), "data=mine", "training.epochs=2", *words, "--json",
                   env={"PYTHONPATH": str(folder)}, runs=runs)  # fmt: skip
    assert done.status in (0, 143), done.err
    (file,) = runs.glob("[0-9a-f]*/record.json")
    record: dict[str, Any] = json.loads(file.read_text())
    return record


def test_the_key_names_what_workers_import(seedbed: Callable[..., Any], plugin: Callable[..., Path], tmp_path: Path) -> None:
    folder = plugin("noting", NOTING)
    record = trained(seedbed, folder, tmp_path / "runs", "strategy=multi_worker")
    assert record["status"] == "finished"
    assert len(list(folder.glob("imported-*.json"))) == 3
    assert unnamed(folder, record["inputs"]["code"]) == set()


@pytest.mark.slow
@pytest.mark.parametrize("words", [("strategy=single",), ("strategy=mirrored",), ("backend=jax",), ("backend=torch",)], ids=str)
def test_the_key_names_what_a_process_imports(
    seedbed: Callable[..., Any], plugin: Callable[..., Path], tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Stopped and gone on with, too."""
    if (name := words[0].removeprefix("backend=")) in ("jax", "torch") and find_spec(name) is None:
        pytest.skip(f"{name} can't be had here")
    folder = plugin("noting", NOTING)
    stopping = ("++training.callbacks.stop={_target_: noting.StopOnce}", "checkpoint.every_epochs=1")
    assert trained(seedbed, folder, tmp_path / "runs", *words, *stopping)["status"] == "interrupted"
    record = trained(seedbed, folder, tmp_path / "runs", *words, *stopping)
    assert (record["status"], record["resumed"]) == ("finished", [1])
    assert unnamed(folder, record["inputs"]["code"]) == set()
