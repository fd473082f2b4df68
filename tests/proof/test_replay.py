"""A record trained again: from a path, a key, or a server's run id; refused where it can't be the same; and never at a record's mercy.

Runs are real ones, of a copy of this project in a git repository of its own (`Project`), in fresh processes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import worktree
import yaml
from conftest import OUTSIDE, ROOT, Done
from end_to_end.test_tracking_server import Server

from seedbed import Refused, proofs
from seedbed.proof import checkout, conf_targets, config_policy, data_locations, finding, naming, retrain, untrusted
from seedbed.run import claims, integrity, training
from seedbed.run.record import Record, key_of

TINY = ["training.epochs=3"]  # of the default job: the tutorial's network


class Project:
    """A copy of this project, committed, whose `seedbed` trains and replays in fresh processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def seedbed(self, *words: str, env: Mapping[str, str] | None = None) -> Done:
        return Done(subprocess.run(self.command(*words), env=self.env(env), cwd=self.folder, capture_output=True, text=True, timeout=200))

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "seedbed", *words]

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**OUTSIDE, "PYTHONPATH": str(self.folder / "src"), **(more or {})}

    def train(self, *words: str, tracking: str = "tracking=none", env: Mapping[str, str] | None = None) -> dict[str, Any]:
        done = self.seedbed("train", tracking, "--json", *words, env=env)
        assert done.status == 0, done.err
        return done.json

    def git(self, *words: str) -> str:
        return worktree.git(self.folder, *words)

    def clone(self, folder: Path) -> Project:
        self.git("clone", "--quiet", str(self.folder), str(folder))
        return Project(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    needed = ("src", "conf", "requirements", "pyproject.toml", "Makefile", ".gitignore")
    return Project(worktree.copied(tmp_path_factory.mktemp("copy") / "project", *needed))


@pytest.fixture(scope="module")
def trained(project: Project) -> dict[str, Any]:
    """What `seedbed train --json` says of a run of the clean project, tracked in its own SQLite store."""
    return project.train(*TINY, "tracking.wait_seconds=240", tracking="tracking=local")  # a busy machine takes longer than 30


@pytest.fixture
def record(trained: dict[str, Any], tmp_path: Path) -> Record:
    """A copy of that run's record, as somebody might send it."""
    path = tmp_path / "sent" / trained["key"]
    shutil.copytree(trained["record"], path, ignore=shutil.ignore_patterns("model.keras", "again", ".*"))
    return Record.read(path)


def forged(record: Record, config: Callable[[dict[str, Any]], Any] | None = None, **inputs: Any) -> Path:
    """The record with another config, or other parts of its inputs (functions of the part), and a key that fits them."""
    plain = record.config()
    if config is not None:
        config(plain)
        (record.path / "config.yaml").write_text(yaml.safe_dump(plain))
        record.inputs["config"] = json.loads(json.dumps(training.kept_of(plain)))
        record.inputs["determinism"] = plain["determinism"]
    for name, change in inputs.items():
        change(record.inputs[name])
    record.update(inputs=record.inputs, key=key_of(record.inputs), level=record.inputs["determinism"]["level"])
    return rehashed(record).path


def rehashed(record: Record) -> Record:
    """The record with the hashes of its files as they are now: whoever forges one does that, too."""
    record.update(files=integrity.table(record.path))
    return record


def here(*words: str | Path) -> int:
    """`seedbed replay` in this process; what it refuses is raised."""
    return proofs.replay([str(word) for word in words])


@contextmanager
def untouched(project: Project) -> Iterator[None]:
    """Nothing of the user's is changed meanwhile: his tree, index, commits, records; and nothing is left behind."""

    def state() -> tuple[Any, ...]:
        files = {path: path.read_bytes() for path in (project.folder / "runs").glob("[0-9a-f]*/**/*") if path.is_file()}
        index = (project.folder / ".git" / "index").read_bytes()
        left = [path.name for path in (project.folder / "runs").glob(".proof")]
        return project.git("status", "--porcelain"), project.git("rev-parse", "HEAD"), project.git("worktree", "list"), files, index, left

    before = state()
    yield
    assert state() == before


# --- the same bits ------------------------------------------------------------------------------------------------


@pytest.mark.integration
def test_a_key_replays_to_the_same_digests(project: Project, trained: dict[str, Any]) -> None:
    with untouched(project):
        done = project.seedbed("replay", trained["key"][:10])
    assert done.status == 0, done.err
    assert "the same bits: 8 of 8 digests agree" in done.out
    assert "NOT" not in done.out
    for name in trained["digests"]:
        assert any(line.split()[:1] == [name] and line.split()[-1] == "same" for line in done.out.splitlines()), name


@pytest.mark.integration
def test_an_mlflow_id_is_enough_in_a_fresh_clone(project: Project, trained: dict[str, Any], tmp_path: Path) -> None:
    fresh = project.clone(tmp_path / "fresh")
    store = f"sqlite:///{project.folder}/runs/mlflow/mlflow.db"
    done = fresh.seedbed("replay", trained["mlflow_run_id"], "--json", env={"MLFLOW_TRACKING_URI": store})
    assert done.status == 0, done.err
    assert (done.json["replay"], done.json["agrees"], done.json["key"]) == (True, True, trained["key"])
    assert {name: row["here"] for name, row in done.json["digests"].items()} == trained["digests"]
    assert done.json["inputs"]["code"]["same"]
    assert not list((fresh.folder / "runs").glob("[0-9a-f]*"))


@pytest.mark.integration
def test_a_real_server_s_run_from_before_the_code_changed(project: Project, trained: dict[str, Any], tmp_path: Path) -> None:
    """Last month's run: the project has moved on, all that is known is an id, and --checkout goes back."""
    server, fresh = Server(tmp_path / "server"), project.clone(tmp_path / "fresh")
    models = fresh.folder / "src" / "example" / "models.py"
    models.write_text(models.read_text().replace("layers.Dense(units)", "layers.Dense(units, use_bias=False)"))
    fresh.git("commit", "--quiet", "-am", "since then")
    try:
        server.start()
        sent = project.seedbed("sync", trained["key"], "--uri", server.secret)
        assert sent.status == 0, sent.err
        (run,) = server.runs()
        with untouched(fresh):
            done = fresh.seedbed("replay", run.info.run_id, "--uri", server.secret, "--checkout", "--json")
    finally:
        server.kill()
    assert done.status == 0, done.err
    assert (done.json["replay"], done.json["agrees"]) == (True, True)
    assert "open-sesame" not in done.out + done.err
    assert done.json["commit"] == project.git("rev-parse", "HEAD").strip() != fresh.git("rev-parse", "HEAD").strip()


@pytest.mark.integration
def test_checkout_brings_back_the_diff_too(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = project.clone(tmp_path / "mine")
    models = mine.folder / "src" / "example" / "models.py"
    was = models.read_text()
    models.write_text(was.replace("layers.Dense(units)(x)", "layers.Dense(units, use_bias=False)(x)"))
    (mine.folder / "conf" / "model" / "other.yaml").write_text("_target_: example.other.net\n")
    (mine.folder / "src" / "example" / "other.py").write_text("from example.models import mlp as net\n")
    made = mine.train(*TINY, "model=other", "data=sequence")
    diff = Path(made["record"]) / "code.diff"
    assert "use_bias" in diff.read_text()
    models.write_text("raise RuntimeError('another time')\n")
    (mine.folder / "src" / "example" / "other.py").unlink()
    mine.git("add", "src")  # the user's index has something in it, and other things lie beside it
    with untouched(mine):
        done = mine.seedbed("replay", made["key"], "--checkout", "--json")
        assert done.status == 0, done.err
        assert (done.json["replay"], done.json["agrees"]) == (True, True)

        monkeypatch.setenv("SEEDBED_ROOT", str(mine.folder))
        sent = tmp_path / "sent" / made["key"]
        shutil.copytree(made["record"], sent)
        Record.read(sent).update(origin=None)
        with pytest.raises(Refused, match=r"3 files.*--trust-diff"):  # from elsewhere, it is somebody's code
            here(sent, "--checkout")
        text = diff.read_text()
        for change, said in {
            text.replace("(units)", "(unknown)"): "doesn't apply",
            text + "\n# cut: the diff is larger than this\n": "too large to be recorded whole",
            "diff --git a/src/x b/src/x\n@@ what": "can't be read",
            _new_file("Makefile"): "changes Makefile",
            _new_file(".git/hooks/post-checkout"): r"invalid path|changes \.git",
            _new_file("../x"): r"invalid path|changes \.\./x",
            _new_file("src/../../x"): r"invalid path|changes \.\./x",
            _new_file("src/link", "120000").replace("+all", "+/etc") + _new_file("src/link/x"): "beyond a symbolic link|doesn't apply",
        }.items():
            (sent / "code.diff").write_text(change)
            rehashed(Record.read(sent))
            with pytest.raises(Refused, match=said):
                here(sent, "--checkout", "--trust-diff")
            assert not list(tmp_path.glob("**/x"))


def _new_file(name: str, mode: str = "100644") -> str:
    return f"diff --git a/{name} b/{name}\nnew file mode {mode}\n--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+all\n"


@pytest.mark.integration
def test_a_stopped_replay_leaves_nothing(project: Project, trained: dict[str, Any]) -> None:
    with untouched(project):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen(
                project.command("replay", trained["key"], "--checkout"), env=project.env(), cwd=project.folder,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
            try:
                end = time.monotonic() + 180
                while not list((project.folder / "runs").glob(".proof/*/log.txt")):
                    assert process.poll() is None, process.communicate()
                    assert time.monotonic() < end
                    time.sleep(0.02)
                process.send_signal(number)
                process.communicate(timeout=60)
            finally:
                process.kill()
            assert process.returncode == 128 + number
            assert not [line for line in _commands() if str(project.folder / "runs" / ".proof") in line]


def _commands() -> list[str]:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()


# --- from elsewhere, in real processes ----------------------------------------------------------------------------


def sent(made: Mapping[str, Any], folder: Path) -> Path:
    """A copy of a record, as from somebody else."""
    shutil.copytree(made["record"], folder / made["key"])
    Record.read(folder / made["key"]).update(origin=None)
    return folder / made["key"]


PEEKING = """
import os
from pathlib import Path

import numpy as np


def data():
    file = Path.home() / "planted.txt"
    seen = os.environ.get("PLAN" + "TED", "") + (file.read_text() if file.exists() else "")
    x = np.ones((8, 1), "float32") * len(seen)
    return x, x[:, 0]
"""


@pytest.mark.integration
def test_the_training_of_a_record_from_elsewhere_sees_no_secret(project: Project, tmp_path: Path) -> None:
    """A variable and a file of the home directory, which the project's own code would read."""
    fresh = project.clone(tmp_path / "fresh")
    (fresh.folder / "src" / "example" / "peeking.py").write_text(PEEKING)
    (fresh.folder / "conf" / "data" / "peeking.yaml").write_text(
        "name: peeking\nsource: {_target_: example.peeking.data}\nloss: mean_squared_error\nbatch_size: 4\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    words = ["data=peeking", "training.epochs=1"]
    blind = fresh.train(*words, "runs=blind", env={"HOME": str(home)})
    (home / "planted.txt").write_text("from a file")
    env = {"PLANTED": "from a variable", "HOME": str(home)}
    seeing = fresh.train(*words, env=env)
    fingerprints = [Record.read(fresh.folder / Path(made["record"])).inputs["data"] for made in (blind, seeing)]
    assert fingerprints[0] != fingerprints[1]
    foreign = sent(seeing, tmp_path / "sent")
    with untouched(fresh):
        done = fresh.seedbed("replay", str(foreign), "--json", env=env)
        assert (done.status, done.json["trained"]) == (2, False)
        assert done.json["inputs"]["data"]["here"] == fingerprints[0][:16]  # those of a run without either secret
    assert fresh.seedbed("replay", str(sent(blind, tmp_path / "sent")), "--json", env=env).status == 0


@pytest.mark.integration
def test_the_code_of_a_commit_that_was_only_fetched_runs_by_name_alone(project: Project, tmp_path: Path) -> None:
    fresh = project.clone(tmp_path / "fresh")
    start = fresh.git("rev-parse", "--abbrev-ref", "HEAD").strip()
    fresh.git("checkout", "--quiet", "-b", "theirs")
    models = fresh.folder / "src" / "example" / "models.py"
    models.write_text(models.read_text().replace("layers.Dense(units)", "layers.Dense(units, use_bias=False)"))
    fresh.git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "-am", "theirs")
    commit = fresh.git("rev-parse", "HEAD").strip()
    made = fresh.train(*TINY)
    fresh.git("checkout", "--quiet", start)
    fresh.git("update-ref", "refs/remotes/origin/pull", commit)
    fresh.git("branch", "--quiet", "-D", "theirs")
    foreign = sent(made, tmp_path / "sent")
    with untouched(fresh):
        done = fresh.seedbed("replay", str(foreign), "--checkout", "--json")
        assert done.status == 2
        assert f"The recorded commit {commit} is on no branch of yours" in done.err
        assert "--trust-commit" in done.err
        done = fresh.seedbed("replay", str(foreign), "--checkout", "--trust-commit", "--json")
        assert done.status == 0, done.out
        assert (done.json["replay"], done.json["agrees"], done.json["commit"]) == (True, True, commit)


@pytest.mark.integration
def test_data_behind_a_link_are_where_the_link_leads(project: Project, tmp_path: Path) -> None:
    fresh = project.clone(tmp_path / "fresh")
    (fresh.folder / "data").mkdir(exist_ok=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.csv").write_text("a,b,y\n" + "".join(f"{i},{i % 7},{i * 2.5}\n" for i in range(40)))
    (fresh.folder / "data" / "a.csv").symlink_to(elsewhere / "a.csv")
    made = fresh.train("data=csv", "data.source.path=data/a.csv", "data.source.target=y", "training.epochs=1")
    assert fresh.seedbed("replay", made["key"], "--json").status == 0  # one's own
    foreign = sent(made, tmp_path / "sent")
    done = fresh.seedbed("replay", str(foreign), "--json")
    assert done.status == 2
    assert "data.source.path" in done.err
    assert "outside of the record and of the data that this project declares" in done.err
    assert fresh.seedbed("replay", str(foreign), "--data", str(elsewhere), "--json").status == 0


# --- where the promise can't hold ---------------------------------------------------------------------------------


@pytest.mark.integration
def test_changed_code_is_named_and_anyway_is_no_replay(project: Project, record: Record, tmp_path: Path) -> None:
    fresh = project.clone(tmp_path / "fresh")
    models = fresh.folder / "src" / "example" / "models.py"
    models.write_text(models.read_text().replace("layers.Dense(units)", "layers.Dense(units, use_bias=False)"))
    done = fresh.seedbed("replay", str(record.path), "--json")
    assert (done.status, done.json["replay"], done.json["trained"], done.json["agrees"]) == (2, False, False, None)
    (why,) = done.json["why_not"]
    assert "example.models (changed)" in why

    done = fresh.seedbed("replay", str(record.path))
    assert done.status == 2
    assert re.search(rf"seedbed'? replay {re.escape(str(record.path))} --checkout", done.out), done.out

    done = fresh.seedbed("replay", str(record.path), "--anyway")
    assert done.status == 1
    assert "NOT a replay" in done.out
    assert "OTHER bits" in done.out
    assert "final_weights" in done.out.split("result")[1]


@pytest.mark.integration
def test_changed_data_are_named_before_anything_is_trained(project: Project, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b,y\n" + "".join(f"{i},{i % 7},{i * 2.5}\n" for i in range(40)))
    words = ["data=csv", f"data.source.path={table}", "data.source.target=y", "training.epochs=1"]
    made = project.train(*words)
    fingerprint = Record.read(Path(made["record"])).inputs["data"]
    table.write_text(table.read_text().replace("12,5,30.0", "12,5,30.5"))
    with untouched(project):
        done = project.seedbed("replay", made["key"], "--json")
    assert (done.status, done.json["trained"]) == (2, False)
    (why,) = done.json["why_not"]
    assert "changed data" in why
    assert fingerprint in why
    assert done.json["inputs"]["data"]["here"] != done.json["inputs"]["data"]["recorded"] == fingerprint[:16]
    assert done.json["inputs"]["data.source.path"] == {"recorded": str(table), "here": "is here", "same": None}
    table.unlink()
    done = project.seedbed("replay", made["key"])
    assert done.status == 2
    assert str(table) in done.err


@pytest.mark.integration
def test_another_value_of_a_variable_that_the_run_has_read_is_named(project: Project, tmp_path: Path) -> None:
    fresh = project.clone(tmp_path / "fresh")
    (fresh.folder / "src" / "example" / "mine.py").write_text(
        "import os\nimport numpy as np\n\n"
        "def data():\n    x = np.ones((8, 1), 'float32') * float(os.environ['UN' + 'ITS'])\n    return x, x[:, 0]\n"
    )
    (fresh.folder / "conf" / "data" / "mine.yaml").write_text(
        "name: mine\nsource: {_target_: example.mine.data}\nloss: mean_squared_error\nbatch_size: 4\n"
    )
    made = fresh.train("data=mine", "training.epochs=1", env={"UNITS": "3"})
    with untouched(fresh):
        done = fresh.seedbed("replay", made["key"], "--json", env={"UNITS": "4"})
    assert (done.status, done.json["trained"]) == (2, False)
    assert [why for why in done.json["why_not"] if "UNITS 4 (3 recorded)" in why]
    assert fresh.seedbed("replay", made["key"], "--json", env={"UNITS": "3"}).status == 0


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("packages", lambda packages: packages.update(numpy="2.4.5", keras="3.0.0"), ["(2.4.5 recorded)", "(3.0.0 recorded)", "--checkout"]),
        ("cpu", lambda cpu: cpu.update(model="Another CPU", vendor="Elsewhere"), ["(Another CPU recorded)", "kind of machine"]),
        ("gpu", lambda gpu: gpu.append({"name": "H100", "driver": "1"}), ["H100"]),
        ("variables", lambda variables: variables.update(NVIDIA_TF32_OVERRIDE="1"), ["NVIDIA_TF32_OVERRIDE none (1 recorded)"]),
    ],
)  # fmt: skip
def test_another_environment_is_named(record: Record, part: str, change: Any, said: list[str], capsys: Any) -> None:
    assert here(forged(record, environment=lambda environment: change(environment[part])), "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert not found["trained"]
    for words in said:
        assert [why for why in found["why_not"] if words in why], found["why_not"]


@pytest.mark.integration
def test_the_seeds_that_were_drawn_then_are_used_again(record: Record, capsys: Any) -> None:
    """At level `off` nothing is promised, and with --anyway it is tried: with the recorded seeds, not with others."""
    assert here(forged(record, lambda config: config["determinism"].update(level="off")), "--anyway", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["replay"], found["agrees"]) == (False, True)
    assert "the level `off` draws its seeds anew and promises nothing" in found["why_not"]


@pytest.mark.slow
def test_a_portable_record_of_another_machine_is_comparable_and_said_to_be(project: Project, tmp_path: Path) -> None:
    """Its key holds no CPU; at `strict` the same record from another CPU is no replay (`test_another_environment_is_named`)."""
    found = project.train("determinism=portable", "training.epochs=2", f"runs='{tmp_path / 'theirs'}'")
    there = Record.read(Path(found["record"]))
    assert there.inputs["environment"]["cpu"] == {"baseline": "x86-64-v3"}
    there.update(provenance={**there.provenance, "cpu": {**there.provenance["cpu"], "model": "AMD EPYC 7B12"}})
    done = project.seedbed("replay", str(there.path))
    assert done.status == 0, done.out + done.err
    assert "the same bits: 8 of 8 digests agree" in done.out
    assert "AMD EPYC 7B12" in done.out
    assert "at portable the same bits whatever it is" in " ".join(done.out.split()).replace(" (R)", "(R)")


@pytest.mark.integration
@pytest.mark.parametrize("chosen", ["-1", pytest.param("1", marks=pytest.mark.slow)])
def test_the_gpus_that_are_chosen_outside_are_those_of_the_replay(chosen: str, project: Project, tmp_path: Path) -> None:
    """A driver's list of two GPUs stands in for them; there is none that TensorFlow could use."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'A, 570.1, 9.0'\necho 'B, 570.1, 8.0'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": chosen}
    found = project.train("training.epochs=2", f"runs='{tmp_path / 'runs'}'", env=env)
    assert [one["name"] for one in Record.read(Path(found["record"])).inputs["environment"]["gpu"]] == ([] if chosen == "-1" else ["B"])
    done = project.seedbed("replay", found["record"], env=env)
    assert done.status == 0, done.out + done.err
    refused = project.seedbed("replay", found["record"], env={**env, "CUDA_VISIBLE_DEVICES": "0"})
    assert refused.status == 2
    assert "other GPU" in refused.out


@pytest.mark.parametrize("level", ["seeded", "off"])
def test_a_level_without_a_promise_is_no_replay(record: Record, level: str, capsys: Any) -> None:
    assert here(forged(record, lambda config: config["determinism"].update(level=level))) == 2
    assert f"the level `{level}` promises" in " ".join(capsys.readouterr().out.split()).replace("draws its seeds anew and ", "")


def test_a_config_that_is_not_the_key_s_is_named(record: Record, capsys: Any) -> None:
    """config.yaml says how it is trained, and the key what was: a changed file alone must not go through."""
    (record.path / "config.yaml").write_text(
        (record.path / "config.yaml").read_text().replace("learning_rate: 0.001", "learning_rate: 0.002")
    )
    assert here(rehashed(record).path) == 2
    assert "optimizer.learning_rate 0.002 (0.001 recorded)" in " ".join(capsys.readouterr().out.split())


def test_a_commit_that_is_not_here(record: Record) -> None:
    record.update(provenance={**record.provenance, "git": {"commit": "5" * 40, "dirty": False}})
    with pytest.raises(Refused, match=r"5{40}.*git fetch"):
        here(record.path, "--checkout")


def test_a_config_that_is_refused_leaves_no_worktree_and_has_no_environment_made(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worktree is what the config is judged by; all else comes after the judgement (docs/security.md)."""
    gone: list[bool] = []

    @contextmanager
    def worktree_of(*words: Any) -> Iterator[checkout.Place]:
        try:
            yield checkout.here()
        finally:
            gone.append(True)

    monkeypatch.setattr(checkout, "worktree", worktree_of)
    for module, name in ((checkout, "interpreter"), (retrain, "trained")):
        monkeypatch.setattr(module, name, lambda *words: pytest.fail("before the judgement"))
    path = forged(record, lambda config: config["model"].update(_target_="os.system"))
    Record.read(path).update(origin=None)
    with pytest.raises(Refused, match="nothing of it was called"):
        here(path, "--checkout")
    assert gone == [True]


def _history(record: Record, text: str) -> None:
    (record.path / "history.jsonl").write_text(text)
    rehashed(record)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(status="running"), "running"),
        (lambda record: record.update(digests={}), "digests"),
        (lambda record: record.update(digests={**record.digests, "final_weights": "0" * 64}), "digests don't belong"),
        (lambda record: record.update(key="0" * 64), "its key is not that of its inputs"),
        (lambda record: record.update(seeds={**record.seeds, "init": 5}), "seeds"),
        (lambda record: record.update(level="seeded"), "level"),
        (lambda record: record.update(inputs=[1]), "inputs"),
        (lambda record: record.update(provenance={"git": "a"}), "provenance.git"),
        (lambda record: (record.path / "history.jsonl").write_text('{"epoch": 0, "metrics": {"loss": 1.0}}\n'), "damaged: history.jsonl"),
        (lambda record: _history(record, '{"epoch": 0, "time": 1.0, "metrics": {"loss": 1.0}}\n'), "history"),
        (lambda record: _history(record, '{"epoch": 0, "time": 1.0, "metrics": {"loss": "x"}}\n'), "history"),
        (lambda record: (record.path / "record.json").write_text("[]"), "record.json"),
        (lambda record: (record.path / "record.json").write_text('{"a":' * 100_000), "record.json"),
        (lambda record: (record.path / "config.yaml").unlink(), "config.yaml is missing"),
        (lambda record: (record.path / "config.yaml").write_text(" " * 1_000_001), "at most"),
    ],
)  # fmt: skip
def test_a_record_that_is_not_whole_or_lies(record: Record, change: Any, said: str) -> None:
    change(record)
    with pytest.raises(Refused, match=said):
        here(record.path)


# --- hostile records ----------------------------------------------------------------------------------------------


def touch(marker: Path) -> dict[str, Any]:
    """A node that makes `marker` when it is instantiated."""
    return {"_target_": "os.makedirs", "name": str(marker)}  # Hydra 1.3.8 refuses some others by itself, os.system among them


def callback(node: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda config: config["training"].update(callbacks={"mine": node})


def _exec(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w')"


HOSTILE: dict[str, Callable[[Path], Callable[[dict[str, Any]], Any]]] = {
    "a function of the system as the model": lambda marker: lambda config: config.update(model=touch(marker)),
    "a function of the system as the data": lambda marker: lambda config: config["data"].update(
        source={"_target_": "subprocess.call", "args": ["touch", str(marker)]}
    ),
    "a program": lambda marker: lambda config: config.update(model={"_target_": "os.system", "command": f"touch '{marker}'"}),
    "exec": lambda marker: lambda config: config.update(model={"_target_": "builtins.exec", "_args_": [_exec(marker)]}),
    "eval as a partial": lambda marker: lambda config: config["training"].update(
        metrics=[{"_target_": "builtins.eval", "_partial_": True, "_args_": [_exec(marker)]}]
    ),
    "a module that the project has imported": lambda marker: lambda config: config["data"].update(
        source={**touch(marker), "_target_": "example.data.os.makedirs"}
    ),
    "nested in an argument": lambda marker: lambda config: config["optimizer"].update(learning_rate=touch(marker)),
    "nested in a list": lambda marker: lambda config: config["model"].update(hidden=[touch(marker)]),
    "the machinery's own functions": lambda marker: lambda config: config.update(
        model={"_target_": "seedbed.run.record.write_atomically", "path": str(marker), "content": "x"}
    ),
    "a function by hydra": lambda marker: callback(
        {"_target_": "keras.callbacks.LearningRateScheduler", "schedule": {"_target_": "hydra.utils.get_method", "path": "os.abort"}}
    ),
    "hydra's instantiate": lambda marker: lambda config: config.update(
        model={"_target_": "hydra.utils.instantiate", "_recursive_": False, "config": touch(marker)}
    ),
    "an installed package that isn't in the lock": lambda marker: lambda config: config.update(
        model={"_target_": "pytest.console_main"}
    ),
    "a pickle by a package of the lock": lambda marker: lambda config: config["data"].update(
        source={"_target_": "joblib.load", "filename": str(marker)}
    ),
    "a lambda layer": lambda marker: lambda config: config.update(
        model={"_target_": "keras.Sequential", "layers": [{"_target_": "keras.layers.Lambda", "function": touch(marker)}]}
    ),
    "Keras's downloads": lambda marker: lambda config: config["data"].update(
        source={"_target_": "keras.utils.get_file", "origin": "http://127.0.0.1:9/x", "fname": str(marker)}
    ),
    "Keras's loading": lambda marker: lambda config: config.update(
        model={"_target_": "keras.saving.load_model", "filepath": str(marker), "safe_mode": False}
    ),
    "Keras's way to name code": lambda marker: lambda config: config["model"].update(
        activation={"class_name": "function", "module": "os", "config": "system", "registered_name": "system"}
    ),
    "a callback that calls": lambda marker: callback(
        {"_target_": "keras.callbacks.LambdaCallback", "on_train_begin": {**touch(marker), "_partial_": True}}
    ),
    "a callback that sends": lambda marker: callback(
        {"_target_": "keras.callbacks.RemoteMonitor", "root": "http://127.0.0.1:9"}
    ),
    "a callback that writes elsewhere": lambda marker: callback({"_target_": "keras.callbacks.CSVLogger", "filename": str(marker)}),
    "a callback that writes beside the record": lambda marker: callback(
        {"_target_": "keras.callbacks.ModelCheckpoint", "filepath": "{record}/../../../../" + marker.name}
    ),
    "a callback that writes above": lambda marker: callback({"_target_": "keras.callbacks.TensorBoard", "log_dir": f"../{marker.name}"}),
    "a callback by position": lambda marker: callback({"_target_": "keras.callbacks.CSVLogger", "_args_": [str(marker)]}),
    "a callback by another name": lambda marker: callback({"_target_": "tensorflow.keras.callbacks.CSVLogger", "filename": str(marker)}),
    "a callback with an attribute in its place": lambda marker: callback(
        {"_target_": "keras.callbacks.ModelCheckpoint", "filepath": "{record}/{epoch.__class__}"}
    ),
    "a secret": lambda marker: lambda config: config["model"].update(activation="${oc.env:SECRET}"),
    "a secret in an address": lambda marker: lambda config: config["data"]["source"].update(url="http://x/?${oc.env:SECRET}"),
    "a resolver": lambda marker: lambda config: config["model"].update(activation="${absolute:.}"),
    "an interpolation with a default": lambda marker: lambda config: config["model"].update(activation="${oc.env:NOTHING,${project:}}"),
    "a library put before others": lambda marker: lambda config: config["determinism"]["environment"].update(LD_PRELOAD=str(marker)),
    "Python's own start": lambda marker: lambda config: config["determinism"]["environment"].update(PYTHONPATH="x"),
    "a library, as a backend's": lambda marker: lambda config: config["determinism"].update(backends={"jax": {"LD_PRELOAD": str(marker)}}),
    "a library, as another's": lambda marker: lambda config: config["determinism"].update(backends={"x.y": {"LD_PRELOAD": str(marker)}}),
    "a backend's flags that write": lambda marker: lambda config: config["determinism"].update(backends={"jax": {"XLA_FLAGS": "--xla_dump_to=x"}}),
    "flags that write": lambda marker: lambda config: config["determinism"]["environment"].update(XLA_FLAGS="--xla_dump_to=x"),
    "a part for Hydra": lambda marker: lambda config: config.update(hydra={"callbacks": {"mine": touch(marker)}}),
    "defaults for Hydra": lambda marker: lambda config: config.update(defaults=["/x"]),
    "data without an end": lambda marker: lambda config: config["data"]["source"].update(path="/dev/zero"),
    "a file of the user's as a model's": lambda marker: lambda config: config["model"].update(weights="~/.ssh/id_rsa"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_config_is_refused_and_nothing_runs(
    record: Record, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("SECRET", "s3cr3t-of-the-user")
    marker = tmp_path / "hostile"
    monkeypatch.setattr(subprocess, "Popen", _forbidden(subprocess.Popen))
    path = forged(record, HOSTILE[kind](marker))
    # as sly as can be: the record says that it was made with whatever it names
    names = ["os", "subprocess", "builtins", "pytest", "joblib", "hydra.utils", "example.data.os", "keras.utils", "seedbed.run.record"]
    forged(Record.read(path), code=lambda code: code.update(dict.fromkeys(names, "0" * 64)))
    with pytest.raises(Refused, match="nothing of it was called") as refused:
        here(path, "--anyway")
    assert "--trust-config" in str(refused.value)
    assert "s3cr3t" not in str(refused.value)
    assert not marker.exists()
    assert not list(tmp_path.parent.glob(f"*/{marker.name}"))


def _forbidden(popen: Any) -> Any:
    """Git may be asked; a training must not be started."""

    class Asked(popen):  # type: ignore[misc]
        def __init__(self, command: Any, *rest: Any, **more: Any) -> None:
            assert "train" not in command, f"started {command}"
            super().__init__(command, *rest, **more)

    return Asked


def test_that_payload_would_have_run(record: Record, tmp_path: Path) -> None:
    """The tests above mean something: the same config, trusted, does run what it names."""
    marker = tmp_path / "marker"
    path = forged(record, HOSTILE["a function of the system as the model"](marker))
    with pytest.raises(Refused, match="NoneType"):  # what makedirs returns is no model
        here(path, "--trust-config", "--anyway")
    assert marker.exists()


YAML = {
    "an object of Python's": lambda marker: f"data: !!python/object/apply:os.system [\"touch '{marker}'\"]\n",
    "aliases that grow": lambda marker: "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)),
    "very deep lists": lambda marker: "data: " + "[" * 5000 + "]" * 5000,
    "very many values": lambda marker: "data: [" + "1, " * 100_000 + "1]",
    "a set": lambda marker: "name: !!set {a, b}\n",
    "a list": lambda marker: "- name\n",
    "not even YAML": lambda marker: "\x00\x01",
}  # fmt: skip


@pytest.mark.parametrize("kind", YAML)
def test_a_hostile_yaml_is_refused_at_once(record: Record, kind: str, tmp_path: Path) -> None:
    text = (record.path / "config.yaml").read_text()
    (record.path / "config.yaml").write_text(text + YAML[kind](tmp_path / "marker") if kind != "a list" else YAML[kind](tmp_path))
    rehashed(record)
    begun = time.monotonic()
    with pytest.raises(Refused, match=r"config\.yaml"):
        here(record.path, "--trust-config", "--anyway")
    assert time.monotonic() - begun < 5
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", ["record.json", "config.yaml", "history.jsonl", "code.diff"])
def test_files_of_a_record_are_no_links(record: Record, name: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes((record.path / name).read_bytes() if (record.path / name).exists() else b"x")
    (record.path / name).unlink(missing_ok=True)
    (record.path / name).symlink_to(elsewhere)
    with pytest.raises(Refused, match="no plain file"):
        here(record.path)


@pytest.mark.parametrize("commit", ["--upload-pack=touch marker", "HEAD", "main; touch marker", "-h", ["a"], "../../x"])
def test_a_commit_is_a_hash_and_nothing_else(record: Record, commit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record.update(provenance={**record.provenance, "git": {"commit": commit, "dirty": False}})
    with pytest.raises(Refused, match="names no commit"):
        here(record.path, "--checkout", "--trust-diff")
    assert not (tmp_path / "marker").exists()


def test_control_characters_don_t_reach_the_terminal(record: Record, capfd: Any) -> None:
    record.update(name="x\x1b]0;y\x07")
    path = forged(
        record,
        lambda config: config["data"]["source"].update(path="/x\x1b[2J"),
        environment=lambda part: part["packages"].update({"a\x1b[0m": "1"}),
    )
    for change in (lambda config: None, lambda config: config["model"].update(hidden="${x\x1b[2J}")):
        with pytest.raises(Refused) as refused:
            here(forged(Record.read(path), change))
        assert "\x1b" not in str(refused.value) + capfd.readouterr().out
    assert here(forged(Record.read(path), lambda config: config["data"]["source"].pop("path") and config["model"].update(hidden=[10]))) == 2
    assert "\x1b" not in capfd.readouterr().out


def test_a_module_that_conf_doesn_t_name(record: Record, plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on PYTHONPATH here, and the record says that it was part of the run."""
    monkeypatch.setenv("PYTHONPATH", str(plugin("other", "import os\ndef net(spec): os._exit(3)\nalias = os.system\n")))
    for name in ("other.net", "other.alias"):
        listed = forged(
            record, lambda config, name=name: config.update(model={"_target_": name}), code=lambda code: code.update(other="0" * 64)
        )
        with pytest.raises(Refused, match=f"{name}: is named by no file of conf/"):
            here(listed)


# --- what is accepted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=digits_cnn", "optimizer=adamw", "training.jit_compile=true"],
        ["data=digits", "model=gru", "optimizer=sgd"],
        ["data=keras", "model=transformer", "optimizer=rmsprop"],
        ["data=csv", "data.source.path=/data/a.csv", "data.source.target=y", "data.source.separator=/"],
        ["data=images", "data.source.path=/data/pictures", "model=cnn", "determinism=seeded"],
        ["+training.callbacks.stop={_target_: keras.callbacks.EarlyStopping, patience: 3}",
         "+training.callbacks.log={_target_: keras.callbacks.CSVLogger, filename: log.csv}",
         "+training.callbacks.best={_target_: keras.callbacks.ModelCheckpoint, filepath: '{record}/best-{epoch:02d}-{loss:.2f}.keras'}"],
        ["optimizer.learning_rate={_target_: keras.optimizers.schedules.CosineDecay, initial_learning_rate: 0.1, decay_steps: 9}",
         "training.metrics=[{_target_: keras.metrics.RootMeanSquaredError}]", "training.loss={_target_: tensorflow.keras.losses.Huber}"],
    ],
)  # fmt: skip
def test_what_this_project_s_own_configs_say_is_accepted(
    config: Any, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from omegaconf import OmegaConf

    from seedbed.run import config as configs

    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    (tmp_path / "data" / "a.csv").write_text("x,y\n")
    composed = config(*(word.replace("/data/", f"{tmp_path}/data/") for word in words))
    plain = training.shown(configs.without_environment(composed))
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(plain) + OmegaConf.to_yaml({"seeds": {"master": 1}}))
    found = untrusted.config_of(tmp_path)
    assert {name: value for name, value in found.items() if name != "seeds"} == plain
    judged(found, data=[str(tmp_path / "data")])
    if any("/data/" in word for word in words):
        with pytest.raises(Refused, match="--data PATH"):
            judged(found)


def judged(found: dict[str, Any], conf: Path = ROOT / "conf", data: Sequence[str] = ()) -> None:
    config_policy.refuse(found, conf_targets.read(conf, [ROOT / "src"]), data_locations.of(ROOT, data))


def test_a_variable_that_this_project_s_conf_reads_there_is_accepted(config: Any, tmp_path: Path) -> None:
    plain = {**training.shown(_plain(config())), "model": {"_target_": "example.models.mlp", "activation": "${oc.env:ACTIVATION}"}}
    with pytest.raises(Refused, match=r"model\.activation=\$\{oc\.env:ACTIVATION\}"):
        judged(plain)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("_target_: example.models.mlp\nactivation: ${oc.env:ACTIVATION,'relu'}\n")
    judged(plain, tmp_path / "conf")
    assert config_policy.variables(plain) == ["ACTIVATION"]
    plain["model"]["activation"] = "${oc.env:HOME}"
    with pytest.raises(Refused, match="HOME"):
        judged(plain, tmp_path / "conf")


def _plain(config: Any) -> dict[str, Any]:
    from seedbed.run import config as configs

    return configs.without_environment(config)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("mine.net", "mine"), ("mine.Net", "mine"), ("mine.Net.small", None), ("mine.Net.made", "mine"), ("mine.again", "mine"), ("pack.net", "pack.inner"),
        ("pack.renamed", "pack.inner"), ("pack.starred", "pack.more"), ("mine.Net.missing", None), ("mine.alias", None), ("mine.os.system", None),
        ("mine.system", None), ("mine.Net.small.__globals__", None), ("mine.covered", None), ("mine.nothing", None), ("mine", None),
        ("pack.circle", None), ("broken.net", None),
    ],
)  # fmt: skip
def test_where_a_name_is_defined(tmp_path: Path, name: str, module: str | None) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\nfrom os import system\n\ndef net(): covered = 1\nclass Net:\n    def small(self): pass\n    @classmethod\n    def made(cls): pass\n"
        "alias = os.system\nagain = 1\ndef again(): pass\ndef covered(): pass\ncovered = system\n"
    )
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text(
        "from .inner import net\nfrom pack.inner import net as renamed\nfrom .more import *\nfrom .inner import circle\n"
    )
    (tmp_path / "pack" / "inner.py").write_text("def net(): pass\nfrom . import circle\n")
    (tmp_path / "pack" / "more.py").write_text("def starred(): pass\n")
    (tmp_path / "broken.py").write_text("def net(:\n")
    found = naming.definition(name, [tmp_path])
    assert (found.module if found else None) == module


# --- which record is meant ----------------------------------------------------------------------------------------


def test_a_record_is_found_by_what_people_call_it(record: Record) -> None:
    runs, key = record.path.parent, record.key
    for name in (str(record.path), f"{record.path}/", str(record.path / "record.json"), key, key[:8]):
        assert finding.found(name, runs) == record.path
    with pytest.raises(Refused, match="again"):
        finding.found(f"{key[:8]}/again", runs)
    shutil.copytree(record.path, record.path / "again")
    assert finding.found(f"{key[:8]}/again", runs) == record.path / "again"

    other = key[:5] + ("0" if key[5] != "0" else "1") + key[6:]
    shutil.copytree(record.path, runs / other)
    with pytest.raises(Refused, match=rf"2 records .*{key[:12]}.*|2 records .*{other[:12]}.*"):
        finding.found(key[:5], runs)
    assert finding.found(key[:6], runs) == record.path
    for name, said in (("g", "no such record"), ("../x", "no such record"), ("f" * 64, "No record"), ("", "no such record")):
        with pytest.raises(Refused, match=said):
            finding.found(name, runs)


def test_what_a_server_doesn_t_have(project: Project, trained: dict[str, Any], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    from seedbed.tracking import fetching

    store = tmp_path / "store"
    shutil.copytree(project.folder / "runs" / "mlflow", store)
    uri, run_id = f"sqlite:///{store}/mlflow.db", trained["mlflow_run_id"]
    with pytest.raises(Refused, match="no MLflow store"):
        fetching.bring(run_id, f"sqlite:///{tmp_path}/nowhere.db", tmp_path)
    assert not (tmp_path / "nowhere.db").exists()
    with pytest.raises(Refused, match=r"no MLflow run 0{32}"):
        fetching.bring("0" * 32, uri, tmp_path)
    with pytest.raises(Refused, match="did not give"):
        fetching.bring(run_id, "http://someone:open-sesame@127.0.0.1:9", tmp_path)

    client = MlflowClient(uri)
    (tmp_path / "evil.py").write_text("raise SystemExit")
    client.log_artifact(run_id, str(tmp_path / "evil.py"), "record")
    folder = tmp_path / "brought"
    folder.mkdir()
    path = fetching.bring(run_id, uri, folder)
    assert {file.name for file in path.iterdir()} <= set(claims.FILES)
    assert Record.read(path).digests == trained["digests"]

    plain = client.create_run("0")
    with pytest.raises(Refused, match="not the run of a record"):
        fetching.bring(plain.info.run_id, uri, tmp_path)
    client.set_tag(plain.info.run_id, "seedbed.key", trained["key"])
    with pytest.raises(Refused, match="holds no record"):
        fetching.bring(plain.info.run_id, uri, tmp_path / "brought" / "..")
    client.set_tag(run_id, "seedbed.key", "0" * 64)
    with pytest.raises(Refused, match="another key"):
        fetching.bring(run_id, uri, Path(_fresh(tmp_path)))


def _fresh(folder: Path) -> str:
    (folder / "another").mkdir()
    return os.fspath(folder / "another")


def test_a_record_is_trained_again_on_this_machine_alone() -> None:
    recorded = {"strategy": {"name": "multi_worker", "replicas": 2, "addresses": ["elsewhere:1", "here:2"], "index": 1}, "training": {}}
    assert retrain.stated({**recorded, "determinism": {}})["strategy"] == {"name": "multi_worker", "replicas": 2}
