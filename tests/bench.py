"""What seedbed costs, as ratios against bare Keras, side by side in one run: `make bench`, `make bench ARGS="--rounds 5"`.

Machines are shared and noisy, so both sides take turns and medians are compared; this is a report, never a test.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The tutorial as a bare script: no seeds, no record, no tracking.
TUTORIAL = """
import keras, pandas as pd
s = pd.Series([i / 10 for i in range(10)])
pairs = pd.concat([s.shift(1), s], axis=1).dropna().to_numpy()
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(10), keras.layers.Dense(1)])
model.compile(loss="mean_squared_error", optimizer="adam")
model.fit(pairs[:, :1], pairs[:, 1], epochs=100, batch_size=9, verbose=0)
print(model.evaluate(pairs[:, :1], pairs[:, 1], verbose=0))
"""

# The same network, data, split and level as experiment=digits_cnn, trained by model.fit alone.
CNN = """
import json, sys, time
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from seedbed.run import config, determinism, targets, training
config.register()
with initialize_config_dir(sys.argv[1], version_base="1.3"):
    cfg = compose("train", ["experiment=digits_cnn", f"training.epochs={sys.argv[2]}"])
level = OmegaConf.to_container(cfg.determinism, resolve=True)
determinism.apply(level)
from seedbed.run import building
seeds = training.resolved_seeds(cfg, None)
data = training.prepared(cfg, targets.target(cfg.data.source, "data.source"), seeds, level)
model = building.build(cfg, seeds, data)
begun = time.perf_counter()
model.fit(*data.train, batch_size=32, epochs=cfg.training.epochs, validation_data=data.validation, verbose=0)
print(time.perf_counter() - begun)
"""


def bare(script: str, *words: str) -> str:
    """Run a script in a fresh process at level strict; what it printed."""
    strict = {"PYTHONHASHSEED": "0", "TF_DETERMINISTIC_OPS": "1", "TF_CUDNN_USE_AUTOTUNE": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
              "TF_ENABLE_ONEDNN_OPTS": "1", "KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} if words else {}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script, *words], env={**os.environ, **strict}, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def seedbed(runs: Path, *words: str) -> dict[str, object]:
    command = [sys.executable, "-m", "seedbed", "train", f"runs='{runs}'", "force=true", "--json", *words]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def compared(name: str, rounds: int, ours: Callable[[], float], theirs: Callable[[], float], goal: float) -> None:
    ours(), theirs()  # the first of each pays for caches and for the store
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    ratio = statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)
    single = "  ".join(f"{a / b:.2f}" for a, b in pairs)
    print(f"{name:58} {ratio:5.2f}   goal at most {goal:.2f}   (rounds: {single})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)

        def cnn(key: str) -> Callable[[], float]:
            def once() -> float:
                words = ["experiment=digits_cnn", f"training.epochs={options.epochs}", "checkpoint.every_seconds=2"]
                timing = json.loads((Path(str(seedbed(runs, *words)["record"])) / "record.json").read_text())["timing"]
                return timing["fit_seconds"] + (timing["after_fit_seconds"] if key == "all" else 0)

            return once

        fit = lambda: float(bare(CNN, str(ROOT / "conf"), str(options.epochs)))  # noqa: E731
        print("ratios, medians over rounds; below 1 is faster than bare Keras")
        compared(
            "tutorial: the whole command / a bare script",
            options.rounds,
            lambda: timed(lambda: seedbed(runs)),
            lambda: timed(lambda: bare(TUTORIAL)),
            1.3,
        )
        compared("digits CNN: fit, epochs recorded, checkpoints / model.fit", options.rounds, cnn("fit"), fit, 1.05)
        compared("  the same, evaluation, digests and model file too", options.rounds, cnn("all"), fit, 1.05)


if __name__ == "__main__":
    main()
