"""`verify` from the outside: what holds, what doesn't, goldens, and what can't be asked. The faults are in test_causes.py."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE

from seedbed.proof import golden, verify
from seedbed.proof.execution import Execution
from seedbed.run.record import Record

QUICK = ["data=digits", "model=mlp", "training.epochs=2", "tracking=none"]
Seedbed = Callable[..., Any]


@pytest.mark.integration
def test_a_clean_run_holds_under_all_that_is_perturbed(seedbed: Seedbed, tmp_path: Path) -> None:
    """With a relative path, augmentation, dropout, validation; stopped and gone on with; with another engine and kind of input."""
    (tmp_path / "table.csv").write_text("a,b,y\n" + "".join(f"{i},{i * i % 7},{i % 5}\n" for i in range(80)))
    words = ["data=csv", "data.source.path=table.csv", "data.source.target=y", "model.dropout=0.2", "training.epochs=4", "tracking=none"]
    runs = f"runs='{tmp_path / 'runs'}'"
    alone = seedbed("train", *words, "--json", runs=tmp_path / "runs")
    done = seedbed("verify", *words, runs, "--resume", "--against", "data.input=py_dataset training.engine=fit", "--json")
    assert done.status == 0, done.err
    assert done.json["holds"]
    assert [one["changes"] for one in done.json["executions"]] == ["nothing", "surroundings", "resume", "config"]
    assert done.json["chance"] == {"executions": 4, "share": 0.5, "seen": 0.875}
    assert [one["digests"] for one in done.json["executions"]] == [alone.json["digests"]] * 4
    assert done.json["record"] == alone.json["record"]  # the record that was there took part
    assert not (tmp_path / "runs" / ".proof").exists()  # and nothing else was left
    assert len(list((tmp_path / "runs").glob("[0-9a-f]*/record.json"))) == 1


@pytest.mark.integration
def test_a_record_with_other_bits_is_named(seedbed: Seedbed, tmp_path: Path) -> None:
    runs = f"runs='{tmp_path / 'runs'}'"
    record = Record.read(Path(seedbed("train", *QUICK, "--json", runs=tmp_path / "runs").json["record"]))
    record.update(digests={**record.digests, "history": "0" * 64})  # with a hash that fits: else it would be damaged, and left out
    done = seedbed("verify", *QUICK, runs)
    assert done.status == 1
    assert "other bits" in done.out
    assert "NO: history differ" in done.out


@pytest.mark.integration
def test_stopped_it_leaves_nothing(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "seedbed", "verify", *QUICK, "training.epochs=100000", f"runs='{runs}'"]
    process = subprocess.Popen(command, env=OUTSIDE, cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 120
        while not list(runs.glob(".proof/*/execution 1/runs/*/record.json")):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143
    assert not (runs / ".proof").exists()
    assert not [path for path in Path("/proc").glob("[0-9]*/cwd") if str(tmp_path) in _link(path)]  # no process of it goes on


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # it has ended, or isn't ours
        return ""


@pytest.mark.integration
def test_goldens(seedbed: Seedbed, tmp_path: Path) -> None:
    file, runs = tmp_path / "goldens" / "mlp.json", f"runs='{tmp_path / 'runs'}'"
    call = lambda *words: seedbed("verify", *QUICK, runs, "--times", "1", *words)  # noqa: E731
    assert call("--golden", str(file)).status == 2  # there is none yet, and the message says what to do
    written = call("--write-golden", str(file))
    assert written.status == 0, written.err
    assert str(file) in written.out
    same = call("--golden", str(file), "--json")
    assert same.status == 0, same.err
    assert same.json["golden"]["agrees"] is True
    content = json.loads(file.read_text())
    content["goldens"][0]["digests"]["final_weights"] = "0" * 64
    content["goldens"][0]["inputs"]["config.optimizer"] = {"learning_rate": 7}
    file.write_text(json.dumps(content))
    other = call("--golden", str(file))
    assert other.status == 1
    assert "OTHER bits" in other.out
    assert "final_weights; changed since: config.optimizer" in other.out


@pytest.fixture
def record(tmp_path: Path) -> Record:
    environment = {"python": "3.11", "cpu": {"model": "one", "isa": ["avx2"]}, "packages": {"keras": "3"}, "variables": {}}
    inputs = {
        "environment": environment,
        "seeds": {"master": 1},
        "config": {"model": "m"},
        "code": {"mine": "c"},
        "data": "d",
        "determinism": {},
    }
    content = {
        "key": "1" * 64,
        "name": "n",
        "level": "strict",
        "seeds": {"master": 1},
        "inputs": inputs,
        "provenance": {},
        "metrics": {},
        "digests": {},
    }
    found = Record.create(tmp_path / "record", content, "{}", "")
    found.finish(
        {"loss": 1.0}, dict.fromkeys(("initial_weights", "history", "final_weights", "generators", "optimizer", "predictions"), "1" * 64)
    )
    return found


def test_a_golden_from_another_environment_is_not_compared(tmp_path: Path, record: Record) -> None:
    file = tmp_path / "golden.json"
    golden.write(file, record)
    record.inputs["environment"]["cpu"]["model"] = "two"
    record.inputs["environment"]["packages"]["keras"] = "4"
    found = golden.compared(file, record)
    assert found.agrees is None
    assert found.why == ["cpu model: one, here two", "packages keras: 3, here 4"]
    golden.write(file, record)  # an entry of its own, beside the other
    assert golden.compared(file, record).agrees is True
    record.inputs["environment"]["cpu"]["model"] = "one"
    record.inputs["environment"]["packages"]["keras"] = "3"
    assert golden.compared(file, record).agrees is True
    assert len(json.loads(file.read_text())["goldens"]) == 2


@pytest.mark.parametrize("name", ["initial_weights", "history", "final_weights", "generators", "optimizer", "predictions", "metrics"])
def test_each_output_is_compared(name: str, tmp_path: Path, record: Record) -> None:
    shutil.copytree(record.path, tmp_path / "other")
    other = Record.read(tmp_path / "other")
    first, second = (Execution(str(one.path), one.path, "finished", one, None, 1.0) for one in (record, other))
    assert verify.compared(first, second) == []
    other.update(digests={**other.digests, name: "2" * 64})
    assert verify.compared(first, second) == [name]


def test_how_a_run_ended_and_what_its_data_were_is_compared(tmp_path: Path, record: Record) -> None:
    shutil.copytree(record.path, tmp_path / "other")
    other = Record.read(tmp_path / "other")
    other.inputs["data"] = "e"
    first, second = (Execution(str(one.path), one.path, "finished", one, None, 1.0) for one in (record, other))
    assert verify.compared(first, second) == ["data"]
    assert verify.compared(first, replace(first, status="failed")) == ["status"]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": 1}', '{"format": 1, "goldens": [{}]}', '{"format": 2, "goldens": []}', '{"goldens": 3}']
)
def test_a_broken_golden_is_refused(tmp_path: Path, record: Record, content: str) -> None:
    from seedbed import Refused

    file = tmp_path / "golden.json"
    file.write_text(content)
    with pytest.raises(Refused, match="golden"):
        golden.compared(file, record)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["determinism=off"], "promises nothing"),
        (["--times", "1"], "nothing to compare"),
        (["--leave", "moon"], "invalid choice"),
        (["training.epochs=1", "--resume"], "two epochs or more"),
        (["-m", "seeds.master=1,2"], "takes no --multirun"),
        (["trainng.epochs=1"], "trainng"),
        (["data.source._target_=nowhere.data"], "nowhere.data"),
        pytest.param(["model.hidden=[-1]"], "before it has trained anything", marks=pytest.mark.integration),
    ],
)
def test_what_can_not_be_asked(seedbed: Seedbed, tmp_path: Path, words: list[str], message: str) -> None:
    done = seedbed("verify", *QUICK, f"runs='{tmp_path / 'runs'}'", *words)
    assert done.status == 2, done.out
    assert message in done.err
    assert "Traceback" not in done.err
    assert not done.out.strip()
