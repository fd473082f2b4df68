"""Whole trainings on this CPU, with fewer cores, with masked features, and on emulated CPUs: `make portable-test`.

Each in a fresh process, through `seedbed verify --against-cpu`. An emulated training takes two to five minutes, so these have a
marker of their own. That the comparison can fail is shown by `strict`, which parts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import conftest
import pytest
from conftest import Done

from seedbed.proof import emulation

CPUS = ("Haswell", "EPYC-Rome", "max")

MODELS = {
    "tutorial": ["training.epochs=20"],
    "mlp": [
        "data=digits",
        "model=mlp",
        "model.hidden=[32]",
        "model.activation=gelu",
        "model.batch_normalization=true",
        "training.epochs=1",
    ],
    "cnn": ["data=digits", "model=cnn", "model.filters=[4,8]", "training.epochs=1"],
    "gru": ["data=digits", "model=gru", "model.units=12", "training.epochs=1"],
    "transformer": ["data=digits", "model=transformer", "model.width=16", "model.heads=2", "training.epochs=1"],
}

NO = emulation.obstacle()
needs_emulation = pytest.mark.skipif(NO is not None, reason=f"no other CPU can be emulated here: {NO}")


def verified(seedbed: Callable[..., Done], *words: str) -> Done:
    return seedbed("verify", *words, "tracking=none", "--no-diagnosis", "--json", timeout=3600)


@pytest.mark.emulation
@needs_emulation
@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("model", MODELS)
def test_the_same_bits_on_an_emulated_cpu(model: str, cpu: str, seedbed: Callable[..., Done], tmp_path: Path) -> None:
    done = verified(seedbed, "determinism=portable", *MODELS[model], f"runs='{tmp_path / 'runs'}'", "--against-cpu", cpu)
    native, other = done.json["executions"]
    print(
        f"{model:12} {cpu:10} {native['digests']['run'][:16]} {other['digests']['run'][:16]}  {native['seconds']:.0f} s, {other['seconds']:.0f} s"
    )
    assert other["name"] == f"on {cpu}, emulated"
    assert native["status"] == other["status"] == "finished"
    assert native["digests"] == other["digests"]
    assert done.status == 0


@pytest.mark.emulation
@needs_emulation
def test_strict_parts_on_another_cpu_and_diagnose_names_the_place(seedbed: Callable[..., Done], tmp_path: Path) -> None:
    """The comparison can fail; and the difference is the CPU's, since `portable` agrees on the same model."""
    words = [*MODELS["mlp"], "determinism=strict", "tracking=none", f"runs='{tmp_path / 'runs'}'"]
    done = seedbed("diagnose", *words, "--against-cpu", "Haswell", "--json", timeout=3600)
    assert done.status == 1, done.err
    assert not done.json["holds"]
    found = done.json["diagnosis"]
    assert found["place"]["kind"] in ("output", "gradient", "backward", "loss", "weights", "update"), found
    assert any("the CPU (Haswell" in cause["what"] for cause in found["causes"])


@pytest.mark.emulation
@pytest.mark.skipif(not shutil.which("taskset"), reason="taskset is not installed (util-linux)")
@pytest.mark.parametrize("model", MODELS)
def test_the_same_bits_on_fewer_cores_and_with_masked_features(model: str, tmp_path: Path) -> None:
    """On one core, on all, and with the C library told that this CPU has neither AVX-512 nor FMA4."""
    masked = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-FMA4"}
    digests = {}
    for name, before, env in (
        ("all cores", [], {}),
        ("one core", ["taskset", "-c", str(min(os.sched_getaffinity(0)))], {}),
        ("masked", [], masked),
    ):
        command = [*before, sys.executable, "-m", "seedbed", "train", "determinism=portable", *MODELS[model], "tracking=none", "--json"]
        done = subprocess.run(
            [*command, f"runs='{tmp_path / name}'"], env={**conftest.OUTSIDE, **env}, capture_output=True, text=True, check=True
        )
        digests[name] = json.loads(done.stdout.splitlines()[-1])["digests"]
    assert digests["one core"] == digests["all cores"] == digests["masked"]
