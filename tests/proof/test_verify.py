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

from seedbed import Refused
from seedbed.proof import golden, plan, verify
from seedbed.proof.execution import Execution
from seedbed.run import integrity
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


Play = Callable[..., tuple[verify.Verdict, list[dict[str, Any]]]]


@pytest.fixture
def play(record: Record, config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """`play(wanted, outcomes)`: what `verify` says of executions that are played: of each, digests that are others, or its status."""
    monkeypatch.setattr(verify, "diagnosed", lambda first, against, looking: against.execution.name)
    monkeypatch.setattr(verify, "left_out", lambda config: {"cores": "one core", "locale": "one locale"})
    for epoch in range(5):
        record.append_epoch(epoch, {"loss": float(epoch)})
    record.update(files=integrity.table(record.path))

    def played(wanted: plan.Wanted, outcomes: dict[int, Any], **more: Any) -> tuple[verify.Verdict, list[dict[str, Any]]]:
        asked: list[dict[str, Any]] = []

        def execute(config: Any, folder: Path, name: str, way: Any, trace: Any = None, stop: int | None = None) -> Execution:
            outcome = outcomes.get(len(asked), {})
            asked.append({"name": name, "way": way, "stop": stop})
            shutil.copytree(record.path, folder)
            found = Record.read(folder)
            if isinstance(outcome, str):
                return Execution(name, folder, outcome, None if outcome == "failed" else found, "no", 1.0)
            found.update(digests={**found.digests, **outcome})
            return Execution(name, folder, "finished", found, None, 1.0)

        composed = config("training.epochs=9", f"runs='{tmp_path / 'runs'}'")
        return verify.verified(verify.Asked(composed, wanted, **more), tmp_path / "work", lambda line: None, execute), asked

    return played


def test_all_that_agree_hold(play: Play, record: Record) -> None:
    record.update(read={"LATE": "1"}, inputs={**record.inputs, "environment": {**record.inputs["environment"], "read": {"EARLY": "1"}}})
    verdict, asked = play(plan.Wanted(times=3, resume=True), {})
    assert verdict.holds
    assert verdict.diagnosis is None
    assert [one["stop"] for one in asked] == [None, None, None, 2]  # the middle of the five epochs that there were, and not of nine
    assert [one["way"].read for one in asked] == [frozenset(), *[frozenset({"EARLY", "LATE"})] * 3]  # they stay as they are
    assert verdict.left_out == {"cores": "one core", "locale": "one locale"}


def test_the_first_that_differs_is_looked_into(play: Play) -> None:
    verdict, asked = play(plan.Wanted(times=4), {2: {"optimizer": "2"}, 3: {"history": "2", "optimizer": "3"}})
    assert (verdict.holds, verdict.differing) == (False, ["optimizer", "history"])
    assert list(map(list, verdict.differs)) == [[], [], ["optimizer"], ["history", "optimizer"]]
    assert str(verdict.diagnosis) == asked[2]["name"]


def test_what_was_to_be_left_is_not_said_to_be_impossible(play: Play, record: Record) -> None:
    record.update(read={"*": "stamp"})
    verdict, _ = play(plan.Wanted(leave=frozenset({"cores"})), {})
    assert verdict.left_out == {"locale": "one locale", "environment": "the run reads all variables of the environment"}


def test_a_run_that_fails_each_time_has_nothing_to_verify(play: Play) -> None:
    with pytest.raises(Refused, match="fails before it has trained anything"):
        play(plan.Wanted(), {0: "failed", 1: "failed"})


def test_a_run_that_fails_once_does_not_hold(play: Play) -> None:
    verdict, _ = play(plan.Wanted(), {1: "failed"}, diagnose=False)
    assert verdict.differing[0] == "status"


def test_a_record_that_was_there_takes_part_if_it_is_whole(
    play: Play, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    there = tmp_path / "runs" / str(record.key)
    shutil.copytree(record.path, there)
    assert play(plan.Wanted(), {})[0].record is not None
    Record.read(there).update(digests={**record.digests, "history": "2" * 64})
    shutil.rmtree(tmp_path / "work")
    verdict, _ = play(plan.Wanted(), {})
    assert verdict.differing == ["history"]
    assert verdict.record is not None
    shutil.rmtree(tmp_path / "work")
    monkeypatch.setattr(integrity, "SMALL", 1)  # a large file is hashed, too
    (there / "config.yaml").write_text("[]")
    assert play(plan.Wanted(), {})[0].record is None


def test_of_runs_that_fail_the_history_counts_as_far_as_it_came(tmp_path: Path, record: Record) -> None:
    record.append_epoch(0, {"loss": 1.0})
    shutil.copytree(record.path, tmp_path / "other")
    other = Record.read(tmp_path / "other")
    first, second = (Execution(str(one.path), one.path, "failed", one, None, 1.0) for one in (record, other))
    assert verify.compared(first, second) == []
    other.append_epoch(1, {"loss": 2.0})
    assert verify.compared(first, second) == ["history"]


def test_an_entry_of_a_golden_is_of_one_level_and_names_what_is_compared(tmp_path: Path, record: Record) -> None:
    file = tmp_path / "golden.json"
    golden.write(file, record)
    record.content["level"] = "portable"
    assert golden.compared(file, record).why == ["level strict, here portable"]
    record.content["level"] = "strict"
    content = json.loads(file.read_text())
    del content["goldens"][0]["digests"]["metrics"]  # of an older version
    file.write_text(json.dumps(content))
    assert golden.compared(file, record).agrees is True
    record.content["digests"] = {name: value for name, value in record.digests.items() if name != "optimizer"}
    assert golden.compared(file, record).differing == ["optimizer"]
    record.content["inputs"] = {**record.inputs, "data": "e", "seeds": {"master": 2}}
    assert golden.compared(file, record).inputs == ["seeds.master", "data"]
