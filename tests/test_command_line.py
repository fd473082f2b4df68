"""What is printed as a command runs as printed: quoted for make and a shell, with all that was said, wherever the user is."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import OUTSIDE, ROOT

from seedbed import cli, command_line, printed, proofs, show
from seedbed.command_line import changed, command, in_project, runnable
from seedbed.run import redaction

WORDS: list[list[str]] = [
    [], ["data=digits", "seeds.master=2"], ["model.hidden=[8, 8]"], ["name='a b'"], ['name="a b"'], ["name=a$HOME"], ["name=`id`"],
    ["name=a!b"], ["name=a#b"], ["name=a%b"], ["name=~/x"], ["name=ä 猫"], ["name=a;b", "runs=/tmp/a b"], ["name=a\\b"], ["name=a\nb"],
    ["--config-dir", "my conf", "+x={a: 1}"], ["name='it'\"'\"'s'"], ["a=*", "b=?", "c=[1,2]"], ["a=<b>|c&d"], ["name=$$(shell id)"],
]  # fmt: skip

SAYS = "import json, os, sys; print(json.dumps([os.getcwd(), sys.argv[1:]]))"
SCRIPT = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(SAYS)} "$@"\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose script says how it was called, with the recipes of the real Makefile."""
    root = tmp_path / "my project"
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / "conf").mkdir()
    script = root / ".venv" / "bin" / "seedbed"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    lines = (ROOT / "Makefile").read_text().splitlines()
    recipes = [line for line in lines if re.fullmatch(r'\t@(PORT=\S+ )?"\$\(BIN\)/seedbed" \w+ \$\(ARGS\)', line)]
    assert {line.split()[-2] for line in recipes} == set(command_line.OF_MAKE)
    rules = "".join(f"{line.split()[-2]}:\n{line}\n" for line in recipes)
    (root / "Makefile").write_text(f"SHELL := /bin/bash\n.SHELLFLAGS := -eu -o pipefail -c\nARGS ?=\nBIN := .venv/bin\n{rules}")
    monkeypatch.setenv("SEEDBED_ROOT", str(root))
    monkeypatch.delenv("SEEDBED_IMAGE", raising=False)
    monkeypatch.setattr(sys, "prefix", str(root / ".venv"))
    return root


def typed(line: str, folder: Path) -> Any:
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=OUTSIDE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("words", WORDS, ids=range(len(WORDS)))
def test_a_command_hands_on_the_words_as_they_are(project: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    elsewhere = project / "else where"
    elsewhere.mkdir()
    for folder in (project, elsewhere):
        monkeypatch.chdir(folder)
        assert typed(command("train", words), folder) == [str(folder), ["train", *words]]
    assert typed(in_project("repeat", words), project) == [str(project), ["repeat", *words]]


def test_make_is_named_where_it_can_be(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert command("train", ["model.hidden=[8, 8]", "force=true"]) == """make train ARGS="'model.hidden=[8, 8]' force=true\""""
    assert command("train", ["name='a b'"]).startswith(".venv/bin/seedbed train ")
    assert command("sync") == "make sync"
    monkeypatch.setenv("PATH", f"{project}/.venv/bin")
    monkeypatch.chdir(project.parent)
    assert command("train", ["data=digits"]) == "seedbed train data=digits"


def test_another_command_keeps_every_flag() -> None:
    words = ["--config-dir", "my conf", "-cn", "other", "data=digits", "++seeds.master=3", "runs=a b", "hydra.searchpath=[file://x]",
             "hydra.run.dir=y", "--json", "tracking.uri=http://me:secret@host/?token=abc&a=1"]  # fmt: skip
    found = changed(words, ("seeds.master=",), ["seeds.master=4"])
    assert found[:4] == ["--config-dir", "my conf", "-cn", "other"]
    assert found[4:7] == ["data=digits", "runs=a b", "hydra.searchpath=[file://x]"]
    assert found[-1] == "seeds.master=4"
    assert not {"--json", "hydra.run.dir=y", "++seeds.master=3"} & set(found)


@pytest.mark.parametrize("address", ["http://me:secret@host/p?a=1", "http://host/p?token=secret7&a=1", "http://host/p?a=1&password=secret"])
def test_a_password_is_left_out(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction.os, "environ", dict(redaction.os.environ))
    words = [f"tracking.uri={address}"]
    for given in (words, redaction.by_reference(words)):
        [word] = shlex.split(shlex.split(command("train", given))[-1].removeprefix("ARGS="))
        assert word == "tracking.uri=http://host/p?a=1"


def test_texts_name_commands_that_run_here(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(project)
    assert runnable("`seedbed sync` sends it") == "`make sync` sends it"
    assert runnable("`seedbed train --cfg job` shows it") == '`make train ARGS="--cfg job"` shows it'
    monkeypatch.chdir(project.parent)
    script = f"'{project}/.venv/bin/seedbed'"
    assert runnable("`seedbed sync`, `make audit`") == f"`{script} sync`, `{script} audit`"
    assert runnable("`make emulation`") == f"`make -C '{project}' emulation`"
    for text in ("`seedbed train … force=true`", "`seedbed it's`", "seedbed says", "`seedbed`"):
        assert runnable(text) == text
    printed.say("`seedbed sync`")
    printed.lines([("next", "`seedbed sync`")])
    said = capsys.readouterr()
    assert f"{script} sync" in said.err
    assert f"{script} sync" in said.out


# --- the commands in messages --------------------------------------------------------------------------------------------


def in_messages() -> dict[str, str]:
    """The commands that stand between backticks or after "Next:" in the texts of the sources, each with a place that says it."""
    found = {}
    for path in sorted((ROOT / "src" / "seedbed").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        told = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # a docstring is no message
        for node in (node for node in nodes if id(node) not in told):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
            else:
                text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            for one in re.findall(r"(?:`|Next: )((?:seedbed|make) [a-z][a-z-]*+(?![\w={])[^`,;:()…]*)", text):
                found.setdefault(one.strip(" ."), f"{path.name}:{node.lineno}")
    return found


def test_each_command_in_a_message_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Its verb is there, and takes its flags. (What stands behind them comes from the run that prints it.)"""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    of_hydra = {*command_line.TAKE_A_VALUE, "--help", "--multirun"}
    found = in_messages()
    assert {"seedbed sync", "seedbed fsck VALUE", "make emulation", "seedbed train --cfg job"} <= set(found)
    for one, place in found.items():
        program, verb, *words = one.split()
        assert verb in (targets if program == "make" else cli.VERBS), f"{place}: {one}"
        flags = {word for word in words if word.startswith("--") and word != "--"}
        if flags and verb in cli.COMPOSE and verb != "audit":
            assert flags <= of_hydra, f"{place}: {one}"
        elif flags:
            with suppress(SystemExit):
                cli.main([verb, "--help"])
            said = capsys.readouterr()
            assert flags <= set(re.findall(r"--[a-z-]+", said.out + said.err)), f"{place}: {one}"


# --- what the commands print, run as printed -----------------------------------------------------------------------------


def commands(line: str) -> list[str]:
    """The commands in a `next` line, without what is said of them in brackets."""
    parts = re.split(r"(?<=\))   ", line)
    return [re.sub(r"   ?\([^()]*\)$", "", part).strip() for part in parts]


def record(**more: Any) -> Any:
    return SimpleNamespace(status="finished", seeds={"master": 3}, content={}, **more)


def printed_lines(words: Sequence[str]) -> dict[str, str]:
    """What each command prints as the next one, when these words were said."""
    from seedbed.proof import dynamic, show_replay
    from seedbed.proof import show as proof_show
    from seedbed.study import show as study_show

    study = SimpleNamespace(stopped=False, complete=True, study=SimpleNamespace(masters=range(5)))
    options = Namespace(against=["training.engine=fit seeds.hash=1"], against_cpu=[], leave=["load"], resume=True, study=False)
    verdict = SimpleNamespace(diagnosis=None, holds=True, sides=[1, 2, 3])
    again = proofs._again(words, options)
    refused: Any = SimpleNamespace(trained=False, commit=None, reasons=[], inputs=[SimpleNamespace(what="code", same=False)], digests=[])
    audit = dynamic.Audit([], ["history"], 3, unexplained=True)
    replayed = dict(show_replay._verdict(refused, ["a b/KEY", "--runs", "my runs", "--uri", "http://host"]))
    return {
        "train": show._next(record(), words), "repeat": study_show._next(study, words),  # type: ignore[arg-type]
        "verify": proof_show._next(verdict, again, "verify"),  # type: ignore[arg-type]
        "differs": proof_show._next(SimpleNamespace(**{**vars(verdict), "holds": False}), again, "verify"),  # type: ignore[arg-type]
        "audit": dict(dynamic._lines(audit, words))["next"], "replay": replayed["next"],
    }  # fmt: skip


SAID = ["--config-dir", "my conf", "--config-name", "other", "data=digits", "runs=my runs/ä", "name='it is'", "force=true"]


def test_next_lines_say_all_that_was_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (project, project.parent):
        monkeypatch.chdir(folder)
        found = printed_lines(SAID)
        assert {name: len(commands(line)) for name, line in found.items()} == {
            "train": 2, "repeat": 2, "verify": 1, "differs": 1, "audit": 1, "replay": 2
        }  # fmt: skip
        for name, line in found.items():
            for one in commands(line):
                cwd, words = typed(one, folder)
                assert cwd == str(folder)
                kept = SAID[:-1] if name == "train" else SAID
                if name == "replay":
                    assert words[:6] == ["replay", "a b/KEY", "--runs", "my runs", "--uri", "http://host"]
                else:
                    assert set(kept) <= set(words), (name, one)
                if name in ("verify", "differs"):
                    assert words[words.index("--against") + 1] == "training.engine=fit seeds.hash=1"
                    assert {"--resume", "--leave", "load"} <= set(words)


@pytest.mark.processes
def test_next_lines_compose_as_printed(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    """A run of a project's own config, elsewhere than in the project: what it prints runs, and so does what others print."""
    (tmp_path / "my conf" / "data").mkdir(parents=True)
    (tmp_path / "my conf" / "other.yaml").write_text("defaults: [train, _self_]\nname: other\ntraining: {epochs: 1}\n")
    words = ["--config-dir", "my conf", "--config-name", "other", "model=mlp", "data.name='a b'", "tracking=none"]
    done = seedbed("train", *words, runs=Path("my runs/ä"))
    assert done.status == 0, done.err
    line = next(line for line in done.out.splitlines() if line.startswith("next")).removeprefix("next").strip()
    assert len(commands(line)) == 2
    runs = f"{tmp_path}/my runs/ä"
    for one in commands(line):
        shown = subprocess.run(["bash", "-c", f"{one} --cfg job"], cwd=tmp_path, env=OUTSIDE, capture_output=True, text=True)
        assert shown.returncode == 0, f"{one}\n{shown.stderr}"
        assert "name: other" in shown.stdout
        assert "name: a b" in shown.stdout
        assert "my runs/ä" in shown.stdout
    assert Path(runs).is_dir()
