"""What this machine can promise: each level tried on it, and the provenance that a run here would have."""

from __future__ import annotations

import os
import sys
from typing import Any

from seedbed import Refused, project_root
from seedbed.run import accelerator, children, config, cuda, determinism, json_text, process, provenance, training

# Enough of a run to need every switch of a level: TensorFlow set up by it, and one product computed.
PROBE = """
import json, sys
from seedbed import Refused
from seedbed.run import determinism
try:
    determinism.apply(json.loads(sys.argv[1]))
except Refused as error:
    print(error)
    sys.exit(2)
import numpy as np, tensorflow as tf
x = tf.constant(np.arange(4096, dtype="float32").reshape(64, 64) / 4096)
print(bool(tf.reduce_all(tf.matmul(x, x) == tf.matmul(x, x)).numpy()), len(tf.config.list_physical_devices("GPU")))
"""


def examine() -> dict[str, Any]:
    """{"levels": {name: {"kept", "why"}}, "provenance": {...}, "accelerator": [line]} for the levels under conf/determinism/."""
    levels, provenances = {}, {}
    for path in sorted((project_root() / "conf" / "determinism").glob("*.yaml")):
        composed = config.composed(f"determinism={path.stem}")
        level = determinism.of(composed)
        provenances[path.stem] = provenance.describe(level)
        kept, why = _tried(level, training.resolved_seeds(composed, None))
        levels[path.stem] = {"kept": kept, "why": why}
    cuda.load()
    facts = {**provenances["strict"], **accelerator.libraries()}
    return {"levels": levels, "provenance": facts, "accelerator": accelerator.told()}


def _tried(level: dict[str, Any], seeds: dict[str, int]) -> tuple[bool, list[str]]:
    """Whether a fresh process with the level's environment can be set up, and what stands against it or what it does."""

    level["environment"]["PYTHONHASHSEED"] = str(seeds["hash"])
    needed = level["environment"]
    if clash := process.conflicts(needed):
        return False, clash
    try:
        determinism.check(level)
    except Refused as error:
        return False, [str(error)]
    env = {name: value for name, value in os.environ.items() if needed.get(name, value) is not None}
    env |= {name: value for name, value in needed.items() if value is not None}
    done = children.run([sys.executable, "-P", "-c", PROBE, json_text.dumps(level)], env=env, capture_output=True, text=True)
    if done.returncode == 2:
        return False, done.stdout.splitlines()
    if done.returncode != 0:
        return False, [(done.stderr.strip().splitlines() or ["the probe ended without a word"])[-1]]
    many = level["threads"]["intra_op"]
    threads = f"{many} thread{'s' * (many > 1)} an operation" if many else f"as many threads as cores ({provenance.cores()})"
    return True, [f"{threads}, operations {'deterministic' if level['op_determinism'] else 'as they come'}"]
