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
from end_to_end.test_tracking_server import Server

from seedbed.proof import emulation
from seedbed.run import config as configs
from seedbed.run import determinism

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
    native, *_, other = executions = done.json["executions"]  # between them: in other surroundings
    print(
        f"{model:12} {cpu:10} {native['digests']['run'][:16]} {other['digests']['run'][:16]}  {native['seconds']:.0f} s, {other['seconds']:.0f} s"
    )
    assert other["name"] == f"on {cpu}, emulated"
    assert {one["status"] for one in executions} == {"finished"}
    assert [one["digests"] for one in executions] == [native["digests"]] * len(executions)
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


def on(cpu: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Python on an emulated CPU ("": on this one) in the level's environment: a process that replaced itself would be a native one."""
    needed = determinism.of(configs.composed("determinism=portable"))["environment"]
    around = {name: value for name, value in {**conftest.OUTSIDE, **needed}.items() if value is not None}
    command = [*emulation.prefix(cpu), sys.executable, "-P", *map(str, words)]
    return subprocess.run(command, env=around, capture_output=True, text=True, timeout=3600)


TRAIN = ("-m", "seedbed", "train", "determinism=portable", "--json")


@pytest.mark.emulation
@needs_emulation
@pytest.mark.parametrize("cpu", CPUS)
def test_the_same_bits_for_shapes_that_nobody_chose(cpu: str, tmp_path: Path) -> None:
    """SHAPES=SEED,COUNT in the environment: others than 1,60."""
    seed, count = os.environ.get("SHAPES", "1,60").split(",")
    found = []
    for name in ("", cpu):
        done = on(name, Path(__file__).parent / "shapes.py", tmp_path / f"{name or 'native'}.json", seed, count)
        assert done.returncode == 0, done.stderr
        found.append(json.loads((tmp_path / f"{name or 'native'}.json").read_text()))
    assert len(found[0]) == int(count)
    assert not [name for name, one in found[0].items() if one["refused"]]
    assert found[0] == found[1], [name for name, one in found[0].items() if one != found[1][name]]


@pytest.mark.emulation
@needs_emulation
def test_what_another_machine_has_trained_is_replayed_and_reused(seedbed: Callable[..., Done], tmp_path: Path) -> None:
    """A Haswell sends its run to a server; here it is replayed by its id alone, and a study takes it as it is."""
    server = Server(tmp_path / "server")
    try:
        server.start()
        words = ["training.epochs=20", "tracking=server", f"tracking.uri={server.uri}"]
        theirs = on("Haswell", *TRAIN, *words, "tracking.wait_seconds=600", f"runs='{tmp_path / 'theirs'}'")
        assert theirs.returncode == 0, theirs.stderr
        found = json.loads(theirs.stdout.splitlines()[-1])
        replayed = seedbed("replay", found["mlflow_run_id"], env={"MLFLOW_TRACKING_URI": server.uri}, runs=tmp_path / "mine")
        assert replayed.status == 0, replayed.out + replayed.err
        assert "the same bits" in replayed.out
        study = seedbed("repeat", "determinism=portable", *words, "study.seeds=[1,2]", "--json", runs=tmp_path / "mine")
        assert study.status == 0, study.err
        assert (study.json["trained"], study.json["finished"]) == (1, 2), study.err
        assert study.json["digests"]["1"] == found["digests"]["run"]
    finally:
        server.kill()


@pytest.mark.emulation
@needs_emulation
def test_a_cpu_below_the_baseline_trains_nothing(tmp_path: Path) -> None:
    """An IvyBridge has AVX and neither AVX2 nor FMA. The CPU itself is asked: in /proc/cpuinfo, QEMU shows what it runs on."""
    done = on("IvyBridge", *TRAIN, "training.epochs=2", "tracking=none", f"runs='{tmp_path}'")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "determinism=portable can't be kept: this CPU lacks AVX2, BMI, BMI2, FMA3" in done.stderr
    assert not list(tmp_path.glob("*/history.jsonl"))


@pytest.mark.emulation
@pytest.mark.skipif(not (shutil.which("taskset") and shutil.which("gcc")), reason="taskset (util-linux) or gcc is not installed")
@pytest.mark.parametrize("model", MODELS)
def test_the_same_bits_whatever_cores_and_features_are_seen(model: str, tmp_path: Path) -> None:
    """On one core; on two, three and four, which cores.c pretends; with the C library told that there is neither AVX-512 nor FMA4."""
    pretended = tmp_path / "cores.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O", "-o", pretended, Path(__file__).parent / "cores.c", "-ldl"], check=True)
    around: dict[str, tuple[list[str], dict[str, str]]] = {
        "as it is": ([], {}),
        "one core": (["taskset", "-c", str(min(os.sched_getaffinity(0)))], {}),
        "masked": ([], {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-FMA4"}),
    }
    for cores in (2, 3, 4):
        around[f"{cores} cores"] = ([], {"LD_PRELOAD": str(pretended), "CORES": str(cores)})
    digests, seen = {}, {}
    for name, (before, env) in around.items():
        command = [*before, sys.executable, "-m", "seedbed", "train", "determinism=portable", *MODELS[model], "tracking=none", "--json"]
        done = subprocess.run(
            [*command, f"runs='{tmp_path / name}'"], env={**conftest.OUTSIDE, **env}, capture_output=True, text=True, check=True
        )
        said = json.loads(done.stdout.splitlines()[-1])
        digests[name], seen[name] = said["digests"], json.loads((Path(said["record"]) / "record.json").read_text())["provenance"]["cores"]
    assert [seen[name] for name in ("one core", "2 cores", "3 cores", "4 cores")] == [1, 2, 3, 4]
    assert all(one == digests["as it is"] for one in digests.values()), digests
