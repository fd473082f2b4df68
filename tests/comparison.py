"""What people use today beside seedbed: `make comparison` (a quarter of an hour). It prints the figures of docs/comparison.md.

Each cell is measured: a Keras script of a few lines is trained in fresh processes by each recipe, with one thing changed at a
time, and the digests of its final weights are compared. seedbed trains the same functions. A report, never a test.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPES = ("tutorial", "set_random_seed", "op_determinism", "seedbed")
EPOCHS = {"arrays": 20, "pipeline": 4, "vocabulary": 4, "large": 6}

# What a person has: data and a model, three times. seedbed and the recipes import the same functions.
USUAL = """
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.datasets import load_digits


def arrays():
    digits = load_digits()
    return (digits.images[..., None] / 16).astype("float32"), digits.target


def pipeline():
    x, y = arrays()

    def jitter(image, label):
        return image + tf.random.uniform(tf.shape(image), 0, 0.1), label

    return tf.data.Dataset.from_tensor_slices((x, y)).map(jitter, num_parallel_calls=tf.data.AUTOTUNE).batch(32)


def vocabulary():
    draw = np.random.default_rng(0)
    sentences = [[f"word{number}" for number in draw.integers(0, 200, 8)] for _ in range(600)]
    words = list({word for sentence in sentences for word in sentence})
    numbers = {word: number for number, word in enumerate(words)}
    x = np.array([[numbers[word] for word in sentence] for sentence in sentences])
    return x, np.array([int("word7" in sentence or "word11" in sentence) for sentence in sentences])


def large():
    draw = np.random.default_rng(0)
    return draw.random((1024, 32, 32, 3), "float32"), draw.integers(0, 10, 1024)


def cnn(filters=(16, 32), outputs=10, spec=None):
    stack = [layer for n in filters for layer in (layers.Conv2D(n, 3, padding="same", activation="relu"), layers.MaxPooling2D())]
    start = keras.Input(spec.inputs if spec else (8, 8, 1) if filters[0] == 16 else (32, 32, 3))
    return keras.Sequential([start, *stack, layers.Flatten(), layers.Dropout(0.3), layers.Dense(outputs, "softmax")])


def embedding(spec=None):
    return keras.Sequential([keras.Input((8,)), layers.Embedding(200, 16), layers.GlobalAveragePooling1D(), layers.Dense(2, "softmax")])
"""

# The script around them, by recipe: argv = recipe, data, batch size, epochs, and where to keep a backup (or nothing).
SCRIPT = """
import hashlib, os, sys, time
recipe, kind, batch, epochs, backup = sys.argv[1:6]
import keras, numpy as np, tensorflow as tf
if recipe == "tutorial":
    np.random.seed(1)
    tf.random.set_seed(2)
else:
    keras.utils.set_random_seed(1)
if recipe == "op_determinism":
    tf.config.experimental.enable_op_determinism()
if os.environ.get("AUTOLOG"):
    import mlflow
    mlflow.set_tracking_uri(os.environ["AUTOLOG"])
    mlflow.autolog(silent=True)
import usual
data = getattr(usual, kind)()
model = {"vocabulary": usual.embedding, "large": lambda: usual.cnn((64, 128))}.get(kind, usual.cnn)()
model.compile("adam", "sparse_categorical_crossentropy")
ends = []
class Watch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        ends.append(time.perf_counter())
        if os.environ.get("STOP") == str(epoch + 1):
            os._exit(3)
callbacks = [keras.callbacks.BackupAndRestore(backup)] if backup else []
feed = (data,) if kind == "pipeline" else data
model.fit(*feed, batch_size=None if kind == "pipeline" else int(batch), epochs=int(epochs), verbose=0, callbacks=[*callbacks, Watch()])
digest = hashlib.sha256(b"".join(np.ascontiguousarray(weight).tobytes() for weight in model.get_weights())).hexdigest()
took = sorted(b - a for a, b in zip(ends, ends[1:]))
print(digest[:16], took[len(took) // 2] if took else 0)
"""


class Place:
    """A scratch folder with the functions, the configs that name them for seedbed, and the records."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        (folder / "usual.py").write_text(USUAL)
        for kind in EPOCHS:
            (folder / "conf" / "data").mkdir(parents=True, exist_ok=True)
            (folder / "conf" / "model").mkdir(parents=True, exist_ok=True)
            batch = {"pipeline": "null", "large": "128"}.get(kind, "32")
            (folder / "conf" / "data" / f"{kind}.yaml").write_text(
                f"name: {kind}\nsource: {{_target_: usual.{kind}}}\nloss: sparse_categorical_crossentropy\nmetrics: []\n"
                f"validation_split: 0.0\ntest_split: 0.0\nepochs: {EPOCHS[kind]}\nbatch_size: {batch}\n"
            )
            model = {"vocabulary": "_target_: usual.embedding", "large": "_target_: usual.cnn\nfilters: [64, 128]"}
            (folder / "conf" / "model" / f"of_{kind}.yaml").write_text(model.get(kind, "_target_: usual.cnn") + "\n")

    def fresh(self) -> Path:
        self.count += 1
        return self.folder / f"work-{self.count}"

    def trained(
        self, recipe: str, kind: str, where: Path | None = None, stop: int | None = None, cores: str = "", **env: str
    ) -> tuple[str, float]:
        """One training in a fresh process: the weights' digest ('' where it was stopped) and seconds an epoch."""
        env = {**os.environ, "PYTHONPATH": str(self.folder), "TF_CPP_MIN_LOG_LEVEL": "3", **env}
        pin = ["taskset", "-c", cores] if cores else []
        if recipe != "seedbed":
            batch, epochs = "128" if kind == "large" else "32", str(EPOCHS[kind])
            command = [*pin, sys.executable, "-c", SCRIPT, recipe, kind, batch, epochs, str(where or "")]
            env |= {"STOP": str(stop)} if stop else {}
            done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, check=not stop)
            digest, seconds = done.stdout.split()[-2:] if not stop else ("", "0")
            return digest, float(seconds)
        runs = where or self.fresh()
        command = [*pin, sys.executable, "-m", "seedbed", "train", "--config-dir", str(self.folder / "conf"), f"data={kind}"]
        command += [f"model=of_{kind}", f"runs='{runs}'", "tracking=none", "training.engine=fit", "--json"]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while stop and process.poll() is None and not any(lines(path) >= stop for path in runs.glob("*/history.jsonl")):
                time.sleep(0.01)
            if stop:
                process.send_signal(signal.SIGTERM)
            out, err = process.communicate()
        said = json.loads(out.splitlines()[-1])
        if stop:
            assert said["status"] == "interrupted", f"it was not stopped half way: {said['status']}"
            return "", 0
        assert said["status"] == "finished", err
        times = [json.loads(line)["time"] for line in (Path(said["record"]) / "history.jsonl").read_text().splitlines()]
        return said["digests"]["final_weights"][:16], statistics.median(b - a for a, b in itertools.pairwise(times))


def lines(path: Path) -> int:
    return path.read_text().count("\n")


def told(digests: list[str]) -> str:
    """Of trainings that nothing was changed for."""
    different = len(set(digests))
    return "the same" if different == 1 else f"{different} results in {len(digests)}"


def beside(first: str, other: str) -> str:
    return "the same" if first == other else "another"


def measured(place: Place, recipe: str, processes: int) -> dict[str, str]:
    found = {}
    base = [place.trained(recipe, "arrays")[0] for _ in range(processes)]
    found["nothing; a CNN with dropout"] = told(base)
    found["nothing; a random operation in a parallel `tf.data` map"] = told(
        [place.trained(recipe, "pipeline")[0] for _ in range(processes)]
    )
    found["nothing; a vocabulary made from a set of words"] = told(
        [place.trained(recipe, "vocabulary", **({} if recipe == "seedbed" else {"PYTHONHASHSEED": "random"}))[0] for _ in range(processes)]
    )
    found["one core in place of two (`taskset`); the CNN"] = beside(base[0], place.trained(recipe, "arrays", cores="0")[0])
    where = place.fresh()
    place.trained(recipe, "arrays", where=where, stop=EPOCHS["arrays"] // 2)
    found["stopped half way, then gone on with; the CNN"] = beside(base[0], place.trained(recipe, "arrays", where=where)[0])
    return found


def recorded(place: Place) -> None:
    """What `mlflow.autolog()` keeps of the script, and whether a seed is in it."""
    import mlflow

    uri = f"sqlite:///{place.folder}/autolog.db"
    place.trained("op_determinism", "arrays", AUTOLOG=uri)
    mlflow.set_tracking_uri(uri)
    (run,) = mlflow.search_runs(output_format="list", search_all_experiments=True)
    inputs = [f"{one.dataset.source_type} {one.dataset.digest}" for one in run.inputs.dataset_inputs]
    kept = {"parameters": sorted(run.data.params), "metrics": sorted(run.data.metrics), "tags": sorted(run.data.tags), "inputs": inputs,
            "artifacts": [file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)]}  # fmt: skip
    print("mlflow.autolog() keeps", json.dumps(kept, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4, help="fresh processes a cell")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the timings, in which the recipes take turns")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=RECIPES)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        place = Place(folder)
        columns = {}
        for recipe in options.recipes:
            columns[recipe] = measured(place, recipe, options.processes)
            print(f"# {recipe}: {columns[recipe]}", flush=True)
        print(f"\n| what changes | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
        for row in next(iter(columns.values())):
            print(f"| {row} | {' | '.join(column[row] for column in columns.values())} |")
        for kind in ("arrays", "large"):
            rounds = [{recipe: place.trained(recipe, kind)[1] for recipe in options.recipes} for _ in range(options.rounds)]
            first = options.recipes[0] if "set_random_seed" not in options.recipes else "set_random_seed"
            ratios = {recipe: statistics.median(one[recipe] / one[first] for one in rounds) for recipe in options.recipes}
            print(f"| a step of the CNN, {kind} | {' | '.join(f'{ratio:.2f}' for ratio in ratios.values())} |", flush=True)
        print(f"\n{datetime.date.today()}, {len(os.sched_getaffinity(0))} cores, {options.processes} processes a cell\n")
        recorded(place)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
