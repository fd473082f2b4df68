"""Many jobs, each with several seeds, trained in one process that was started with the environment of level `strict`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import OUTSIDE, QUIET, ROOT, STRICT

MODELS = {
    "mlp": ["model=mlp", "model.dropout=0.2", "model.batch_normalization=true"],
    "cnn": ["model=cnn", "model.augment=true"],
    "gru": ["model=gru"],
    "transformer": ["model=transformer"],
}
# Trains each job with each seed in one process: {job: [[digests, engine, what wasn't shared, why the process is worn] by seed]}.
DRIVER = """
import json, sys
from hydra import compose, initialize_config_dir
from seedbed.run import config, training
from seedbed.run.session import Session
jobs, conf, runs, many, seeds = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "many", json.loads(sys.argv[5])
config.register()
found = {}
with initialize_config_dir(conf, version_base="1.3"):
    for name, words in jobs.items():
        session = Session(many)
        for seed in seeds:
            composed = compose("train", [*words, "tracking=none", f"runs='{runs}/{name}'", f"seeds.master={seed}"])
            record = training.run(composed, session=session)
            found.setdefault(name, []).append([record.digests, record.content["engine"], record.content["not_shared"], session.worn])
print(json.dumps(found))
"""


def trained(jobs: dict[str, list[str]], folder: Path, way: str, seeds: tuple[int, ...] = (1,), **env: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-c", DRIVER, json.dumps(jobs), str(ROOT / "conf"), str(folder / "runs"), way, json.dumps(seeds)]
    done = subprocess.run(words, env={**OUTSIDE, **STRICT, **QUIET, **env}, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
