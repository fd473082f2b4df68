"""The process: what is wrong with it, what the user's environment contradicts, and the one replacement."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OUTSIDE, STRICT

from seedbed import Refused
from seedbed.run import config as configs
from seedbed.run import determinism, process

NEEDED = {"PYTHONHASHSEED": "7", "TF_DETERMINISTIC_OPS": "1", "UNWANTED": None}


def test_differing() -> None:
    assert process.differing(NEEDED, {"PYTHONHASHSEED": "7", "TF_DETERMINISTIC_OPS": "1"}) == {}
    assert process.differing(NEEDED, {"PYTHONHASHSEED": "8", "UNWANTED": "x"}) == NEEDED


def test_a_variable_that_the_user_set_otherwise_is_named_with_value_and_remedy() -> None:
    assert process.conflicts(NEEDED, {"PYTHONHASHSEED": "8", "UNWANTED": "x"}) == []  # the hash seed is a stream: ours
    (clash,) = process.conflicts(NEEDED, {"TF_DETERMINISTIC_OPS": "0"})
    assert clash == "TF_DETERMINISTIC_OPS=0 is set, TF_DETERMINISTIC_OPS=1 is needed: `unset TF_DETERMINISTIC_OPS`"
    (clash,) = process.conflicts({"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "8"})
    assert "determinism.threads.intra_op=8" in clash


def test_check_names_the_library_that_came_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", object())
    monkeypatch.delenv("TF_DETERMINISTIC_OPS")
    with pytest.raises(Refused, match=r"needs TF_DETERMINISTIC_OPS=1, and .*torch.* was imported before that"):
        process.check({"TF_DETERMINISTIC_OPS": "1"}, "strict")


def test_only_the_standard_library_is_imported() -> None:
    """The import contract can't see the standard library's own imports of heavy things; a fresh interpreter can."""
    code = "import sys, seedbed.run.process; print(*sorted(m for m in sys.modules if m.split('.')[0] in set(sys.argv[1:])))"
    heavy = ["numpy", "tensorflow", "keras", "hydra", "omegaconf", "mlflow", "pandas", "rich"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, env=OUTSIDE)
    assert done.stdout.strip() == ""


PROBE = """
import os, sys
from seedbed.run import process
def execve(path, argv, env):
    print("replaced", os.getpid(), flush=True)  # what is buffered is gone with the process
    os._execve(path, [path, __file__, *argv[3:]], env)
os._execve, os.execve = os.execve, execve
process.replace({"PYTHONHASHSEED": "7", "UNWANTED": None}, ["x"], entropy=5)
print("ready", os.getpid(), os.environ["PYTHONHASHSEED"], "UNWANTED" in os.environ, hash("seedbed"), os.environ.get(process.REPLACED))
"""


def probe(tmp_path: Path, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "probe.py"
    script.write_text(PROBE)
    return subprocess.run([sys.executable, *flags, str(script)], capture_output=True, text=True, env={**OUTSIDE, **env})


def test_a_process_is_replaced_once_keeping_its_id(tmp_path: Path) -> None:
    wrong = probe(tmp_path, PYTHONHASHSEED="3", UNWANTED="x").stdout.split()
    assert wrong[0] == "replaced"
    assert wrong[1] == wrong[3]
    assert wrong[4:6] == ["7", "False"]
    right = probe(tmp_path, PYTHONHASHSEED="7").stdout.split()
    assert right[0] == "ready"  # not at all where the environment is right
    assert right[4] == wrong[6]  # the same order of sets
    assert wrong[-1] == "None"  # its children are judged afresh


def test_an_interpreter_that_ignores_its_environment_is_refused_not_replaced_for_ever(tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[2] / "src"
    script = tmp_path / "probe.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(source)!r})\n{PROBE}")
    done = subprocess.run([sys.executable, "-E", str(script)], capture_output=True, text=True, env=OUTSIDE)
    assert "does not take its environment over" in done.stderr


def test_the_test_process_is_what_strict_asks_for() -> None:
    """conftest.py sets these by hand, before anything is imported; this is what keeps the two the same."""
    needed = determinism.of(configs.composed("determinism=strict"))["environment"]
    assert {name: value for name, value in needed.items() if value is not None} == STRICT
    assert all(os.environ[name] == value for name, value in STRICT.items())


def test_what_an_image_has_set_itself_is_nobodys_word() -> None:
    of_image = {process.IMAGE_SETS: "OMP_NUM_THREADS=1 KERAS_BACKEND=tensorflow", "OMP_NUM_THREADS": "1"}
    assert process.conflicts({"OMP_NUM_THREADS": "4"}, of_image) == []
    assert len(process.conflicts({"OMP_NUM_THREADS": "4"}, {**of_image, "OMP_NUM_THREADS": "2"})) == 1


def test_a_child_gets_what_is_needed_and_is_judged_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (process.REPLACED, process.ENTROPY, "UNWANTED", "MINE", "PYTHONHASHSEED"):
        monkeypatch.setenv(name, "3")
    env = process.environment(NEEDED)
    assert {name: env.get(name) for name in (*NEEDED, "MINE")} == {**NEEDED, "MINE": "3"}
    assert not {process.REPLACED, process.ENTROPY, "UNWANTED"} & set(env)


def test_signals_are_handed_on_meanwhile_and_put_back() -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(-1))
    try:
        with process.signals_to(lambda number, frame: got.append(number)):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM, signal.SIGINT, -1]


def test_variables_of_a_backend_decide_its_bits_alone() -> None:
    assert "MKL_NUM_THREADS" in process.deciding("torch")
    assert "MKL_NUM_THREADS" not in process.deciding("tensorflow")
