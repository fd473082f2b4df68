"""What a user can get wrong on the command line, and what plain Hydra promises there.

A mistake is one message that names it, exit status 2, nothing on standard output and no record. What isn't understood as a
mistake ends with a traceback and another status.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pytest
import tensorflow  # noqa: F401  (what it prints when it is imported is not what is tested here)
from omegaconf import OmegaConf
from tiers import sampled

from seedbed import Refused, cli
from seedbed.run import config as configs
from seedbed.run import seeds as streams
from seedbed.run import training


class Said(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def quiet_logs() -> Iterator[None]:
    """Hydra hangs handlers on the root logger, with the standard error that pytest takes away after the test.

    It also closes every handler that it finds, and absl's closes the standard error that it was imported with: pytest's.
    """
    import absl.logging

    absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], quiet_logs: None) -> Callable[..., Said]:
    """`train("seeds.master=3 --json")`: `seedbed train` in this process, in a folder and with records of its own."""

    def never(*arguments: Any) -> NoReturn:
        raise AssertionError(f"the process would be replaced: {arguments[1]}")

    monkeypatch.setattr(os, "execve", never)
    monkeypatch.setattr(sys, "argv", ["seedbed"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> Said:
        words = shlex.split(line)
        if not any(word.startswith("tracking") for word in words):
            words.append("tracking=none")
        capfd.readouterr()
        try:
            status = cli.main(["train", *words, f"runs='{tmp_path / 'runs'}'"])
        except SystemExit as left:  # Hydra, after --help and after a flag that it doesn't know
            status = left.code
        return Said(status, *capfd.readouterr())

    return call


def records(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("[0-9a-f]*/record.json")]


def assert_refused(said: Said, *words: str) -> None:
    assert said.status == 2, said
    assert said.out == ""
    assert said.err.startswith("seedbed train: ")
    assert said.err.count("seedbed train: ") == 1
    assert len(said.err.splitlines()) < 16
    for word in words:
        assert word in said.err


# --- unknown names, wrong types ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "named"),
    sampled(
        [
            ("training.epoch=3", "training.epoch"),
            ("data.sauce=1", "data.sauce"),
            ("data.source.lenght=3", "data.source.lenght"),
            ("seeds.initt=3", "seeds.initt"),
            ("determinism.threads.intra=1", "determinism.threads.intra"),
            ("checkpoint.every_second=3", "checkpoint.every_second"),
            ("nonsense=1", "nonsense"),
            # Hydra's message for an unknown key advises a plus: nobody would read such a key
            ("+training.epoch=3", "training.epoch"),
            ("+seeds.initt=3", "seeds.initt"),
            ("+nonsense=1", "nonsense"),
            ("model=resnet", "transformer"),
            ("optimizer=adamm", "adamw"),
            ("data=nope", "sequence"),
            ("determinism=stricter", "seeded"),
            ("experiment=nope", "digits_cnn"),
            ("tracking=nope", "server"),
            ("determinism.level=stricter", "off, seeded, strict"),
            ("data=null", "Config group override must be a string"),
            ("seeds=null", "Config group override must be a string"),
            ("training.epochs", "training.epochs"),
            ("training.epochs=[1", "[1"),
        ]
    ),
)
def test_unknown_names(train: Callable[..., Said], tmp_path: Path, line: str, named: str) -> None:
    assert_refused(train(line), named)
    assert records(tmp_path) == []


@pytest.mark.parametrize(
    "override",
    sampled(
        [
            "training.epochs=ten",
            "training.epochs=1.5",
            "training.epochs=null",
            "training.epochs=",
            "training.batch_size=big",
            "training.shuffle=maybe",
            "training.jit_compile=fast",
            "training.callbacks=3",
            "training.callbacks=[a]",
            "+training.callbacks.stop=3",
            "training.class_weight={a:1}",
            "training.class_weight={0:x}",
            "data.validation_split=half",
            "data.files=3",
            "checkpoint.keep=two",
            "determinism.threads.intra_op=many",
            "force=perhaps",
            "runs=null",
            "data.source=null",
            "data.source.length=abc",
            "model.hidden=abc",
            "model.hidden=3",
            "model.dropout=much",
            "optimizer.learning_rate=fast",
        ]
    ),
)
def test_wrong_types(train: Callable[..., Said], override: str) -> None:
    assert_refused(train(override), override.split("=")[0].lstrip("+").split(".")[0])


# --- seeds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", sampled(["-1", "4294967296", "1.5", "1.0", "true", "abc", "null", "\"'7'\"", "[1]"]))
@pytest.mark.parametrize("name", ["master", "init", "hash"])
def test_what_is_no_seed(train: Callable[..., Said], tmp_path: Path, name: str, value: str) -> None:
    assert_refused(train(f"seeds.{name}={value}"), f"seeds.{name}=", "from 0 to 4294967295")
    assert records(tmp_path) == []


@pytest.mark.parametrize("value", [0, streams.LARGEST])
@pytest.mark.parametrize("name", ["master", *streams.STREAMS])
def test_the_smallest_and_the_largest_seed(config: Callable[..., Any], name: str, value: int) -> None:
    resolved = training.resolved_seeds(config(f"seeds.{name}={value}"), None)
    assert resolved[name] == value
    master = resolved["master"]
    others = {stream for stream in streams.STREAMS if stream not in (name, "hash")}
    assert all(resolved[stream] == streams.derive(master, stream) for stream in others)


def test_bytes_that_are_no_utf_8(train: Callable[..., Said], tmp_path: Path) -> None:
    assert_refused(train(f"\"training.loss='{tmp_path}/a\udcff'\""), f"training.loss={tmp_path}/a\\xff: these bytes", "another name")
    assert records(tmp_path) == []


def test_a_line_break_in_the_records_folder(config: Callable[..., Any]) -> None:
    """MLflow's store lies there, if no other one is named."""
    composed = config("tracking=local")
    composed.runs = "/a/b\nc"
    composed.tracking.uri = "sqlite:////elsewhere/mlflow.db"
    configs.check(composed)
    composed.tracking.uri = "sqlite:////a/b\nc/mlflow/mlflow.db"
    with pytest.raises(Refused, match=r"runs=/a/b\\x0ac: .* another name"):
        configs.check(composed)


@pytest.mark.parametrize("value", [0, streams.LARGEST])
def test_training_with_the_smallest_and_the_largest_seed(train: Callable[..., Said], value: int) -> None:
    every = " ".join(f"seeds.{stream}={value}" for stream in ("master", *streams.STREAMS) if stream != "hash")
    said = train(f"{every} training.epochs=1 --json")
    assert said.status == 0
    assert {**json.loads(said.out)["seeds"], "hash": value} == dict.fromkeys(["master", *streams.STREAMS], value)


# --- values that make no sense -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override",
    sampled(
        [
            "training.epochs=0",
            "training.epochs=-1",
            "training.batch_size=0",
            "training.steps_per_epoch=0",
            "training.steps_per_execution=0",
            "training.engine=turbo",
            "data.input=parquet",
            "data.validation_split=-0.1",
            "data.validation_split=1",
            "data.validation_split=nan",
            "data.test_split=1.5",
            "checkpoint.keep=0",
            "checkpoint.every_seconds=-1",
            "checkpoint.every_epochs=0",
            "tracking.wait_seconds=-1",
        ]
    ),
)
def test_values_that_are_not_accepted(train: Callable[..., Said], tmp_path: Path, override: str) -> None:
    assert_refused(train(f"tracking=none {override}"), override.split("=")[0], "is not accepted. Accepted: ")
    assert records(tmp_path) == []


def test_all_of_them_at_once(train: Callable[..., Said]) -> None:
    said = train("training.epochs=0 checkpoint.keep=0 data.validation_split=0.5 data.test_split=0.5")
    assert_refused(said, "training.epochs=0", "checkpoint.keep=0", "data.validation_split + data.test_split=1")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("data=csv", ("data.source.path=…", "data.source.target=…")),
        ("data=csv data.source.path=a.csv", ("data.source.target=…",)),
        ("data=images", ("data.source.path=…",)),
        ("seeds.master=???", ("seeds.master",)),
        ("model._target_=???", ("model._target_",)),
    ],
)
def test_missing_values(train: Callable[..., Said], tmp_path: Path, line: str, words: tuple[str, ...]) -> None:
    said = train(line)
    assert_refused(said, *words)
    assert "data.source.path=…" not in said.err or "data.source.path=…" in words


@pytest.mark.parametrize(
    ("line", "words"),
    sampled([
        ("training.loss=nonsense", ("training.loss", "nonsense")),
        ("training.metrics=[nonsense]", ("training.metrics", "nonsense")),
        ("training.metrics=accuracy", ("training.metrics", "list")),
        ("+training.loss._target_=keras.losses.Nope", ("training.loss", "Nope")),
        ("+training.callbacks.stop={patience:3}", ("training.callbacks.stop", "_target_")),
        ("+training.callbacks.stop={_target_:keras.callbacks.Nope}", ("training.callbacks.stop", "keras.callbacks.Nope")),
        ("training.callbacks.stop._target_=keras.callbacks.Nope", ("training.callbacks.stop", "keras.callbacks.Nope")),
        ("training.callbacks={stop:{_target_:keras.callbacks.Nope}}", ("training.callbacks.stop", "keras.callbacks.Nope")),
        ("+training.callbacks.stop={_target_:builtins.dict}", ("training.callbacks.stop", "dict")),
        ("+training.callbacks.stop={_target_:keras.callbacks.EarlyStopping,patiense:3}", ("patiense", "patience")),
        ("data.source._target_=no.such", ("data.source", "no.such")),
        ("data.source._target_=example.data.none", ("data.source", "example.data.none")),
        ("data.source._target_=example.data", ("data.source", "example.data")),
        ("data.source._target_=3", ("data.source", "3")),
        ("model._target_=null", ("model", "None")),
        ("model._target_=builtins.dict", ("model", "dict", "keras.Model")),
        ("+model.depth=3", ("model", "depth", "hidden, activation")),
        ("+data.source.foo=1", ("data.source", "foo", "It takes: length")),
        ("data.source={_target_:example.tables.csv}", ("data.source", "path", "target")),
        ("optimizer._target_=keras.optimizers.Nope", ("optimizer", "keras.optimizers.Nope")),
        ("optimizer._target_=builtins.dict", ("optimizer", "dict")),
        ("+optimizer.foo=1", ("optimizer", "foo")),
        ("training.engine=loop training.class_weight={0:1.0}", ("training.engine=loop", "class_weight")),
        ("model=cnn", ("model=cnn", "model=mlp")),
        ("data.source.length=1", ("data.source.length=1", "2 or more")),
        ("data=keras data.source.dataset=nope", ("data.source.dataset=nope", "mnist")),
    ]),
)  # fmt: skip
def test_names_and_arguments_of_targets(train: Callable[..., Said], line: str, words: tuple[str, ...]) -> None:
    assert_refused(train(line), *words)


def test_an_error_in_ones_own_code_keeps_its_traceback(train: Callable[..., Said], plugin: Callable[..., Path], tmp_path: Path) -> None:
    """A bug in a model function is no mistake in the config: whoever wrote it needs the line where it happened."""
    plugin("buggy", "def model(spec, **rest):\n    return spec.no_such_field\n")
    said = train("~model +model={_target_:buggy.model}")
    assert said.status == 1
    assert re.search(r'buggy\.py", line 2.*AttributeError.*no_such_field', said.err, re.DOTALL)
    (record,) = records(tmp_path)
    assert record["status"] == "failed"
    assert "buggy.py" in record["error"]


def test_a_module_that_lacks_an_import_says_which_and_where(seedbed: Callable[..., Any], plugin: Callable[..., Path]) -> None:
    """In a process of its own: whoever walks along the chain of exceptions must come to its end."""
    folder = plugin("lacking", "import no_such_library\ndef model(spec, **rest): ...\n")
    done = seedbed("train", "model={_target_:lacking.model}", env={"PYTHONPATH": str(folder)}, timeout=60)
    assert done.status not in (0, 2)
    assert done.out == ""
    assert "No module named 'no_such_library'" in done.err
    assert str(folder / "lacking.py") in done.err


# --- data files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    sampled(
        [
            (None, "no such file"),
            ("", "empty"),
            ("a,y\n", "no examples"),
            ("a,y\n1,2\n3\n", "line 3 has 1 values, the header 2"),
            ("a,y\n1,2\n3,4,5\n", "line 3"),
            ("a,y\n1,2\n,4\n", "no value in line 3, column 'a'"),
            ("a,y\n1,2\n3,nan\n", "no value in line 3, column 'y'"),
            ("a,y\n1,2\n3,inf\n", "hold inf"),
            ("a,b\n1,2\n", "'y' is no column"),
            ("a;y\n1;2\n", "'y' is no column"),
            ("a,y\n1,2\n3,4\n", "2 examples can't be split"),
        ]
    ),
)
def test_tables(train: Callable[..., Said], tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "table.csv").write_text(content)
    said = train("data=csv data.source.path=table.csv data.source.target=y")
    assert_refused(said, words)
    assert records(tmp_path) == []


def test_a_mistake_in_a_fresh_process(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,y\n1,2,3\n4,5\n")
    done = seedbed("train", "data=csv", "data.source.path=table.csv", "data.source.target=y", "--json")
    assert (done.status, done.out) == (2, "")
    assert done.err.count("\n") == 1, "what pandas thinks of it is no second message"
    assert done.err.startswith("seedbed train: data.source.path=table.csv: line 2 has 3 values, the header 2")


def test_a_table_that_is_right(train: Callable[..., Said], tmp_path: Path) -> None:
    lines = [f"{x},{'red' if x % 2 else 'blue'},{2 * x + 1}" for x in range(20)]
    (tmp_path / "table.csv").write_text("\n".join(["a,colour,y", *lines]))
    said = train("data=csv data.source.path=table.csv data.source.target=y training.epochs=1 --json")
    assert said.status == 0
    assert json.loads(said.out)["metrics"].keys() == {
        "validation_loss", "validation_mean_absolute_error", "test_loss", "test_mean_absolute_error",
    }  # fmt: skip
    assert len(said.out.splitlines()) == 1


def test_an_experiment_whose_first_line_is_another(train: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# mine\n# @package _global_\ndefaults:\n  - override /data: digits\n")
    assert_refused(train(f"--config-dir {tmp_path}/conf experiment=mine"), "experiment/mine", "first line", "# @package _global_")


def sweeping(tmp_path: Path, mode: str) -> list[str]:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\nhydra:\n  mode: {mode}\n  sweeper: {{params: {{seeds.master: '1,2'}}}}\n"
    )
    return ["--config-dir", f"{tmp_path}/conf", "experiment=mine", "tracking=none", f"runs='{tmp_path / 'runs'}'"]


@pytest.mark.parametrize("verb", ["repeat", "variance", "verify", "diagnose"])
def test_an_experiment_that_asks_for_a_sweep_is_refused_where_one_config_is_trained(
    verb: str, train: Callable[..., Said], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And not its first configuration trained in its place."""
    assert cli.main([verb, *sweeping(tmp_path, "MULTIRUN")]) == 2
    said = capfd.readouterr().err
    assert "hydra.mode=MULTIRUN, which this config says, asks for a sweep" in said
    assert "seedbed train" in said
    assert not records(tmp_path)


def test_a_sweep_that_no_multirun_would_make_is_refused(train: Callable[..., Said], tmp_path: Path) -> None:
    words = " ".join(sweeping(tmp_path, "RUN"))
    assert_refused(train(words), "hydra.sweeper.params (seeds.master=1,2)", "--multirun", "hydra.sweeper.params=null")


def test_a_missing_folder_of_pictures(train: Callable[..., Said]) -> None:
    assert_refused(train("data=images data.source.path=none"), "data.source.path=none", "no such folder")


def test_a_picture_that_is_none(train: Callable[..., Said], tmp_path: Path) -> None:
    import tensorflow as tf

    encoded = tf.io.encode_png(np.zeros((8, 8, 1), "uint8")).numpy()
    for name in "ab":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "pictures" / name / f"{number}.png").write_bytes(encoded)
    for file in ("a/1.png", "b/3.png"):
        (tmp_path / "pictures" / file).write_bytes(b"no picture")
    said = train("data=images data.source.path=pictures model=cnn training.epochs=1")
    assert_refused(said, "a/1.png is no picture", "2 such files in all", "b/3.png")


def test_a_download_that_fails_leaves_standard_output_alone(
    train: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras tells of downloads on standard output, where `--json` promises one object."""
    import keras  # noqa: F401
    from keras.src.backend import config

    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    said = train("data=keras --json")
    assert said.status == 2
    assert said.out == ""
    assert "data.source.dataset=mnist" in said.err
    assert "download failed" in said.err


# --- a loss that is no number --------------------------------------------------------------------------------------


def test_a_loss_that_turns_nan(train: Callable[..., Said], tmp_path: Path) -> None:
    def strictly(name: str) -> NoReturn:
        raise AssertionError(f"{name} is no JSON")

    said = train("optimizer=sgd optimizer.learning_rate=1e30 --json")
    assert said.status == 1
    printed = json.loads(said.out, parse_constant=strictly)
    (record,) = records(tmp_path)
    assert printed["status"] == record["status"] == "failed"
    assert "in epoch" in record["error"]
    assert "loss is" in said.err
    assert "optimizer.learning_rate" in said.err
    assert "Traceback" not in said.err
    history = Path(printed["record"], "history.jsonl").read_text().splitlines()
    assert len(history) >= 1, "the epochs up to there are kept"
    # a failed run is no result: the same call trains again, and fails again
    again = train("optimizer=sgd optimizer.learning_rate=1e30 --json")
    assert (again.status, json.loads(again.out)["reused"]) == (1, False)


# --- plain Hydra ---------------------------------------------------------------------------------------------------


def test_cfg_job_shows_the_config_and_runs_nothing(train: Callable[..., Said], tmp_path: Path) -> None:
    said = train("data=digits model=cnn seeds.init=3 --cfg job")
    shown = OmegaConf.create(said.out)
    assert (said.status, said.err) == (0, "")
    assert (shown.seeds.init, shown.data.source._target_, shown.model._target_) == (3, "example.data.digits", "example.models.cnn")
    assert not (tmp_path / "runs").exists()
    resolved = OmegaConf.create(train("seeds.master=7 seeds.init=3 --cfg job --resolve").out)
    assert dict(resolved.seeds) == {
        **{stream: streams.derive(7, stream) for stream in streams.STREAMS}, "master": 7, "hash": 0, "init": 3, "generator": "backend",
    }  # fmt: skip


@pytest.mark.integration
def test_help_shows_every_choice(train: Callable[..., Said], tmp_path: Path) -> None:
    said = train("--help")
    assert (said.status, said.err) == (0, "")
    for words in ("data: csv, digits, images, keras, sequence", "model: cnn, gru, mlp, transformer", "master: 1", "--json", "-m"):
        assert words in said.out
    assert not (tmp_path / "runs").exists()


def test_hydra_run_dir(train: Callable[..., Said], tmp_path: Path) -> None:
    assert train("training.epochs=1 \"hydra.run.dir='my own/it\\'s here'\"").status == 0
    overrides = OmegaConf.load(tmp_path / "my own" / "it's here" / ".hydra" / "overrides.yaml")
    assert "training.epochs=1" in overrides
    assert len(records(tmp_path)) == 1, "the record itself stays under runs/"


def test_ones_own_config_folder(train: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "data").mkdir()
    (tmp_path / "own" / "model" / "wide.yaml").write_text("_target_: example.models.mlp\nhidden: [50]\n")
    (tmp_path / "own" / "data" / "wrong.yaml").write_text("sauce: 1\n")
    assert train("--config-dir own model=wide training.epochs=1").status == 0
    assert_refused(train("--config-dir own data=wrong"), "sauce")
    said = train("--config-dir nowhere")
    assert said.status == 2
    assert "nowhere" in said.err


@pytest.mark.parametrize("words", [["--nope"], ["--cfg", "nope"]])
def test_unknown_flags(train: Callable[..., Said], words: list[str]) -> None:
    said = train(" ".join(words))
    assert said.status == 2
    assert "nope" in said.err


@pytest.mark.parametrize(
    ("argv", "status", "words"), [(["trian"], 2, "no command 'trian'"), ([], 0, "usage: seedbed COMMAND"), (["--help"], 0, "doctor")]
)
def test_commands(capsys: pytest.CaptureFixture[str], argv: list[str], status: int, words: str) -> None:
    assert cli.main(argv) == status
    said = capsys.readouterr()
    assert words in (said.err if status else said.out)
    assert (said.out if status else said.err) == ""


@pytest.mark.integration
def test_several_runs_each_in_a_process_of_its_own(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    done = seedbed("train", "-m", "training.epochs=2", "seeds.master=1,2,-1", "--json")
    printed = [json.loads(line) for line in done.out.splitlines()]
    assert [one["seeds"]["master"] for one in printed] == [1, 2]
    assert printed[0]["digests"]["run"] != printed[1]["digests"]["run"]
    assert {one["key"] for one in printed} == {record["key"] for record in records(tmp_path)}
    assert done.status == 2, "the worst of the jobs'"
    assert "seeds.master=-1 is not a seed" in done.err
    assert "Traceback" not in done.err


# --- tab completion ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (
            "seedbed ",
            {
                "train",
                "repeat",
                "compare",
                "variance",
                "verify",
                "replay",
                "diff",
                "diagnose",
                "audit",
                "report",
                "new",
                "ui",
                "sync",
                "fsck",
                "doctor",
            },
        ),
        ("seedbed verify study.n", {"study.n="}),
        ("seedbed repeat study.n", {"study.n="}),
        ("seedbed compare ", set()),
        ("seedbed train model=", {"model=cnn", "model=gru", "model=mlp", "model=transformer"}),
        ("seedbed train training.ep", {"training.epochs="}),
        ("seedbed train data=digits optimizer=adam", {"optimizer=adam", "optimizer=adamw", "optimizer=adam_2017"}),
        ("seedbed train seeds.mast", {"seeds.master="}),
        ("seedbed doctor ", set()),
    ],
)
def test_completion(
    line: str, offered: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quiet_logs: None
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["seedbed"])
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert cli.main(["-sc", "query=bash"]) == 0
    assert set(capsys.readouterr().out.split()) == offered


@pytest.mark.skipif(" " in sys.executable, reason="Hydra's completion splits a command at spaces")
def test_bash_completes(tmp_path: Path) -> None:
    """What the manual's `eval "$(seedbed -sc install=bash)"` puts into a shell, asked as bash asks it."""
    script = """
        eval "$(seedbed -sc install=bash)"
        complete -p seedbed >&2
        ask() { COMP_LINE="$1" COMP_POINT=${#1} COMP_CWORD=$2; COMPREPLY=(); hydra_bash_completion; echo "${COMPREPLY[*]}"; }
        ask "seedbed tr" 1
        ask "seedbed train model=" 2
        ask "seedbed train model=g" 2
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["train", "model=cnn model=gru model=mlp model=transformer", "model=gru"], done.stderr
    assert "hydra_bash_completion seedbed" in done.stderr
