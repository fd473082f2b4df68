"""What seedbed costs, as ratios, side by side in one run: `make bench`, `make bench ARGS="--only a c --rounds 5"`.

Machines are shared and noisy, so both sides take turns and medians are compared; this is a report, never a test.
    run   one run against bare Keras: the whole command, and fit alone
    a     repeat of the tutorial, 30 seeds, against 30 fresh processes of a bare script and against a loop in one process
    b     the same for a CNN on digits
    c     two joblib workers against one
    d     strict against seeded against off, per step
    e     the share of tracking and of recording in a run
    f     how cost grows with seeds, epochs and model size
    g     what tracing costs: a run whose epochs, or whose every step, are hashed; a whole `verify`
    h     portable against strict, per step
    i     what it costs a study that one of its seeds is trained a second time in a fresh process (study.check)
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

# The tutorial's first answer as people write it: a new model for each seed, in one process.
NAIVE = """
import sys, keras, pandas as pd
s = pd.Series([i / 10 for i in range(10)])
pairs = pd.concat([s.shift(1), s], axis=1).dropna().to_numpy()
for seed in range(1, int(sys.argv[1]) + 1):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(10), keras.layers.Dense(1)])
    model.compile(loss="mean_squared_error", optimizer="adam")
    model.fit(pairs[:, :1], pairs[:, 1], epochs=100, batch_size=9, verbose=0)
    model.evaluate(pairs[:, :1], pairs[:, 1], verbose=0)
print("done")
"""

# A loop over seeds with the same network, data, split and level as experiment=digits_cnn.
NAIVE_CNN = """
import sys
from omegaconf import OmegaConf
from seedbed.run import config, determinism, targets, training
cfg = config.composed("experiment=digits_cnn", f"training.epochs={sys.argv[2]}")
level = OmegaConf.to_container(cfg.determinism, resolve=True)
determinism.apply(level)
from seedbed.run import building
for seed in range(1, int(sys.argv[1]) + 1):
    cfg.seeds.master = seed
    seeds = training.resolved_seeds(cfg, None)
    data = training.prepared(cfg, targets.target(cfg.data.source, "data.source"), seeds, level)
    model = building.build(cfg, seeds, data)
    model.fit(*data.train, batch_size=32, epochs=cfg.training.epochs, validation_data=data.validation, verbose=0)
    model.evaluate(*data.validation, verbose=0), model.evaluate(*data.test, verbose=0)
print("done")
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


def bare(script: str, *given: str, strict: bool = False, words: int = 1) -> str:
    """Run a script in a fresh process, at level strict if asked for; the last `words` words that it printed."""
    level = {"PYTHONHASHSEED": "0", "TF_DETERMINISTIC_OPS": "1", "TF_CUDNN_USE_AUTOTUNE": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
             "TF_ENABLE_ONEDNN_OPTS": "1", "KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} if strict else {}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script, *given], env={**os.environ, **level}, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split()[-words:])


def repeat(runs: Path, *words: str) -> dict[str, Any]:
    """A study from the beginning, in the folder `runs`, whose store in MLflow is there already."""
    for old in [*runs.glob("[0-9a-f]*/"), runs / "studies"]:
        shutil.rmtree(old, ignore_errors=True)
    command = [sys.executable, "-m", "seedbed", "repeat", f"runs='{runs}'", "--json", *words]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


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


def one_run(runs: Path, options: argparse.Namespace) -> None:
    def cnn(key: str) -> Callable[[], float]:
        def once() -> float:
            words = ["experiment=digits_cnn", f"training.epochs={options.epochs}", "checkpoint.every_seconds=2"]
            timing = json.loads((Path(str(seedbed(runs, *words)["record"])) / "record.json").read_text())["timing"]
            return timing["fit_seconds"] + (timing["after_fit_seconds"] if key == "all" else 0)

        return once

    fit = lambda: float(bare(CNN, str(ROOT / "conf"), str(options.epochs), strict=True))  # noqa: E731
    whole, script = (lambda: timed(lambda: seedbed(runs))), (lambda: timed(lambda: bare(TUTORIAL)))
    compared("tutorial: the whole command / a bare script", options.rounds, whole, script, 1.3)
    compared("digits CNN: fit, epochs recorded, checkpoints / model.fit", options.rounds, cnn("fit"), fit, 1.05)
    compared("  the same, evaluation, digests and model file too", options.rounds, cnn("all"), fit, 1.05)


def faster(name: str, ratios: list[float], goal: str) -> None:
    single = "  ".join(f"{ratio:.1f}" for ratio in ratios)
    print(f"{name:66} {statistics.median(ratios):6.1f}   {goal}   (rounds: {single})", flush=True)


def tutorial_study(runs: Path, options: argparse.Namespace) -> None:
    seeds, sample = 30, 10
    repeat(runs, "study.n=2")  # the store
    processes, loop, limit = [], [], []
    for _ in range(options.rounds):
        script = statistics.median(timed(lambda: bare(TUTORIAL)) for _ in range(3))
        ours = timed(lambda: repeat(runs, f"study.n={seeds}"))
        few, many = timed(lambda: bare(NAIVE, "1")), timed(lambda: bare(NAIVE, str(sample)))
        start = timed(lambda: bare("import tensorflow, keras; print(1)"))
        # 30 processes by the median of 3; the loop over 30 by those over 1 and over 10
        processes.append(seeds * script / ours)
        loop.append((few + (many - few) * (seeds - 1) / (sample - 1)) / ours)
        times = [json.loads((path / "record.json").read_text())["timing"] for path in runs.glob("[0-9a-f]*/")]
        limit.append((start + seeds * statistics.median(t["fit_seconds"] for t in times)) / ours)
    faster("a  tutorial, 30 seeds: 30 bare processes / repeat, tracking and all", processes, "goal at least 25")
    faster("   a loop that builds, compiles, fits in one process / repeat", loop, "goal at least 10")
    faster("   one start plus 30 times the arithmetic / repeat", limit, "the limit is 1")
    alone = {seed: seedbed(runs, f"seeds.master={seed}", "tracking=none")["agrees"] for seed in (1, 17, 30)}
    print(f"   the digests of seeds {', '.join(map(str, alone))} trained alone: {'equal' if all(alone.values()) else 'OTHERS'}", flush=True)


CNN_STUDY = ["experiment=digits_cnn", "training.epochs=5", "study.n=10"]


def cnn_study(runs: Path, options: argparse.Namespace) -> None:
    loop = []
    for _ in range(options.rounds):
        ours = timed(lambda: repeat(runs, *CNN_STUDY))
        loop.append(timed(lambda: bare(NAIVE_CNN, "10", "5", strict=True)) / ours)
    faster("b  digits CNN, 10 seeds, 5 epochs: a loop in one process / repeat", loop, "goal at least 1")


def two_workers(runs: Path, options: argparse.Namespace) -> None:
    ratios, words = [], ["experiment=digits_cnn", "model.filters=[64,128]", "training.epochs=150", "study.n=6", "hydra/launcher=joblib"]
    for _ in range(options.rounds):
        one = timed(lambda: repeat(runs, *words, "hydra.launcher.n_jobs=1"))
        ratios.append(one / timed(lambda: repeat(runs, *words, "hydra.launcher.n_jobs=2")))
    faster("c  a larger CNN, 6 seeds of 10 s: one joblib worker / two", ratios, "goal at least 1.7")


def levels(runs: Path, options: argparse.Namespace) -> None:
    for model in ("mlp", "cnn", "gru", "transformer"):
        seconds: dict[str, list[float]] = {"strict": [], "seeded": [], "off": []}
        for _ in range(options.rounds):
            for level, found in seconds.items():
                record = seedbed(runs, "data=digits", f"model={model}", "training.epochs=12", f"determinism={level}", "tracking=none")
                rows = [json.loads(line)["time"] for line in (Path(str(record["record"])) / "history.jsonl").read_text().splitlines()]
                found.append((rows[-1] - rows[1]) / (len(rows) - 2))  # the first epochs pay for tracing
        medians = {level: statistics.median(found) for level, found in seconds.items()}
        print(f"d  {model:12} a step at strict / seeded {medians['strict'] / medians['seeded']:5.2f}   strict / off {medians['strict'] / medians['off']:5.2f}",
              flush=True)  # fmt: skip


def shares(runs: Path, options: argparse.Namespace) -> None:
    compared("e  tutorial: the whole command with tracking / tracking=none", options.rounds, lambda: timed(lambda: seedbed(runs)),
             lambda: timed(lambda: seedbed(runs, "tracking=none")), 1.1)  # fmt: skip
    with_, without = [], []
    for _ in range(options.rounds):
        with_.append(timed(lambda: repeat(runs, "study.n=30")))
        without.append(timed(lambda: repeat(runs, "study.n=30", "tracking=none")))
    print(f"   30 seeds of it with tracking / tracking=none {statistics.median(with_) / statistics.median(without):26.2f}", flush=True)
    times = [json.loads((path / "record.json").read_text())["timing"] for path in runs.glob("[0-9a-f]*/")]
    share = statistics.median(1 - (t["fit_seconds"] + t["after_fit_seconds"]) / t["seconds"] for t in times)
    print(f"   of each of these runs, building the model and keeping the record {100 * share:5.0f} %", flush=True)


def growth(runs: Path, options: argparse.Namespace) -> None:
    series = {
        "seeds (10, 30, 100)": [[f"study.n={n}"] for n in (10, 30, 100)],
        "epochs (100, 300, 1000), 10 seeds": [["study.n=10", f"training.epochs={n}"] for n in (100, 300, 1000)],
        "units (10, 100, 1000), 10 seeds": [["study.n=10", f"model.hidden=[{n}]"] for n in (10, 100, 1000)],
    }
    for name, jobs in series.items():
        times = [statistics.median(timed(lambda job=job: repeat(runs, *job)) for _ in range(options.rounds)) for job in jobs]
        print(f"f  {name:40} " + "  ".join(f"{one / times[0]:5.2f}" for one in times), flush=True)


def tracing(runs: Path, options: argparse.Namespace) -> None:
    words = ["experiment=digits_cnn", f"training.epochs={options.epochs}", "tracking=none"]

    def once(trace: dict[str, object] | None) -> tuple[float, float]:
        """Seconds of the run in its process, and of training, evaluation and digests alone."""
        shutil.rmtree(runs / "trace", ignore_errors=True)
        (runs / "trace").mkdir()
        script = bare(TRACED, str(ROOT / "conf"), str(runs / "trace"), json.dumps(words), json.dumps(trace), strict=True, words=2)
        whole, fit = script.split()
        return float(whole), float(fit)

    details: dict[str, dict[str, object] | None] = {"plain": None, "epochs": {}, "steps": {"steps_from": 0}}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in details}
    for _ in range(options.rounds):
        for name, trace in details.items():
            found[name].append(once(trace))
    for name, goal in (("epochs", 1.1), ("steps", 2.0)):
        for number, what in enumerate(("the whole run", "training alone")):
            ratios = [traced[number] / plain[number] for traced, plain in zip(found[name], found["plain"], strict=True)]
            single = "  ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"g  digits CNN, {what}: traced at {name} / plain {statistics.median(ratios):8.2f}   goal at most {goal}   (rounds: {single})",
                  flush=True)  # fmt: skip
    command = [sys.executable, "-m", "seedbed", "verify", *words, f"runs='{runs}'"]
    twice = timed(lambda: subprocess.run(command, capture_output=True, check=True)) / (2 * timed(lambda: seedbed(runs / "one", *words)))
    print(f"   verify (two executions, one under load) / two runs {twice:26.2f}", flush=True)


# One run in this process, as `seedbed.proof.work` has it; prints its seconds, and those of training alone.
TRACED = """
import json, sys, time
from pathlib import Path
from hydra import compose, initialize_config_dir
from seedbed.proof import entropy
from seedbed.proof.trace import Trace
from seedbed.run import config, training
config.register()
trace = json.loads(sys.argv[4])
with initialize_config_dir(sys.argv[1], version_base="1.3"):
    cfg = compose("train", [*json.loads(sys.argv[3]), f"runs='{sys.argv[2]}/runs'"])
begun = time.perf_counter()
with entropy.watching() as draws:
    seen = None if trace is None else Trace(Path(sys.argv[2]), draws, **trace)
    timing = training.run(cfg, watch=seen).timing
    if seen:
        seen.ended()
print(time.perf_counter() - begun, timing["fit_seconds"])
"""


# A callback that notes the process's own seconds at each epoch's end: what other work on the machine takes is not among them.
CLOCK = """
import keras, time

class Clock(keras.callbacks.Callback):
    def __init__(self, filename):
        super().__init__()
        self.filename = filename

    def on_epoch_end(self, epoch, logs=None):
        with open(self.filename, "a") as file:
            print(time.process_time(), file=file)
"""


def portable(runs: Path, options: argparse.Namespace) -> None:
    """By processor time, since one thread works."""
    models = {
        "mlp": ["model.hidden=[256,256]"],
        "cnn": ["model.filters=[32,64]"],
        "gru": ["model.units=64"],
        "transformer": ["model.width=64"],
    }
    runs.mkdir(parents=True, exist_ok=True)
    (runs / "bench_clock.py").write_text(CLOCK)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(runs), os.environ.get("PYTHONPATH")]))
    noted = runs / "clock"
    for model, words in models.items():
        found: dict[str, list[float]] = {"strict": [], "portable": []}
        for _ in range(options.rounds):
            for level, seconds in found.items():
                noted.unlink(missing_ok=True)
                seedbed(runs, "data=digits", f"model={model}", *words, "training.epochs=12", f"determinism={level}", "tracking=none",
                        "training.engine=fit", f"+training.callbacks.clock={{_target_: bench_clock.Clock, filename: '{noted}'}}")  # fmt: skip
                rows = [float(line) for line in noted.read_text().split()]
                seconds.append(min(after - before for before, after in itertools.pairwise(rows[1:])))
        ratios = [ours / theirs for ours, theirs in zip(found["portable"], found["strict"], strict=True)]
        single = "  ".join(f"{ratio:.2f}" for ratio in ratios)
        fastest = {level: min(seconds) for level, seconds in found.items()}
        print(f"h  {model:12} a step at portable / strict {fastest['portable'] / fastest['strict']:5.2f}   goal at most 1.40   "
              f"(rounds: {single}; an epoch at strict: {fastest['strict']:.3f} s)", flush=True)  # fmt: skip


def check(runs: Path, options: argparse.Namespace) -> None:
    """Both on two cores or more: the second run is beside the others."""
    for name, words in (("tutorial, 30 seeds", ["study.n=30"]), ("digits CNN, 10 seeds, 5 epochs", CNN_STUDY)):
        repeat(runs, *words)  # the store
        with_ = lambda words=words: timed(lambda: repeat(runs, *words, "study.check=1"))  # noqa: E731
        without = lambda words=words: timed(lambda: repeat(runs, *words, "study.check=0"))  # noqa: E731
        compared(f"i  {name}: study.check=1 / study.check=0", options.rounds, with_, without, 1.5)


PARTS = {
    "run": one_run,
    "a": tutorial_study,
    "b": cnn_study,
    "c": two_workers,
    "d": levels,
    "e": shares,
    "f": growth,
    "g": tracing,
    "h": portable,
    "i": check,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    print("ratios, medians over rounds, both sides in turns; an idle machine gives steadier ones")
    for part in options.only:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder), options)


if __name__ == "__main__":
    main()
