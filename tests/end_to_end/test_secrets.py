"""Secrets planted at every input, looked for in every output: files, terminal, MLflow's database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import data_config

pytestmark = pytest.mark.integration

# each is given in another way, and each is in what the data function's error says
IN_CONFIG, BY_NAME, IN_ADDRESS, IN_QUERY = "pl@nted 'one\"", "planted-two", "planted-three", "planted-four"
IN_STORE, IN_FILE = "planted-five", "planted-six"
SECRETS = (IN_CONFIG, BY_NAME, IN_ADDRESS, IN_QUERY, IN_STORE, IN_FILE)

FAILING = """
    import os, sys
    import numpy as np

    def data(token, address, seeds):
        if seeds["master"] == 2:
            words = f"{token} {token!r} {os.environ['SHOP_PASSWORD']} {address}"
            raise RuntimeError(f"the shop said no to {words}")
        x = np.linspace(0, 1, 8, dtype="float32")
        return x, x
"""


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def found_in(content: bytes) -> list[str]:
    forms = {secret: (secret, repr(secret)[1:-1], secret.replace("'", "''"), secret.replace('"', '\\"')) for secret in SECRETS}
    return [secret for secret, spelled in forms.items() if any(form.encode() in content for form in spelled)]


@pytest.fixture
def words(tmp_path: Path, plugin: Callable[..., Path]) -> tuple[list[str], dict[str, str]]:
    folder = plugin("shop", FAILING)
    chosen = data_config(tmp_path / "own", "shop.data")
    (tmp_path / "own" / "conf" / "tracking").mkdir()
    store = f"uri: postgresql://me:{IN_FILE}@127.0.0.1:1/runs\nexperiment: x\nwait_seconds: 0\n"
    (tmp_path / "own" / "conf" / "tracking" / "mine.yaml").write_text(store)
    given = f"https://me:{IN_ADDRESS}@127.0.0.1:1/x?a=1&token={IN_QUERY}"
    own = [*chosen, "+data.source.token=${oc.env:SHOP}", f"+data.source.address='{given}'", "training.epochs=1", "study.n=2"]
    return own, {"SHOP": IN_CONFIG, "SHOP_PASSWORD": BY_NAME, "PYTHONPATH": str(folder)}


def test_a_study_whose_runs_fail_keeps_none(seedbed: Callable[..., Any], words: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    own, env = words
    (tmp_path / "cwd").mkdir()
    store = f"tracking.uri=sqlite:///{tmp_path}/cwd/store.db"
    done = seedbed("repeat", *own, store, env=env, cwd=tmp_path / "cwd", runs=tmp_path / "cwd" / "runs")
    assert done.status == 1, done.err
    outputs = {**everything_below(tmp_path / "cwd"), "out": done.out.encode(), "err": done.err.encode()}
    assert {name: found for name, content in outputs.items() if (found := found_in(content))} == {}
    note = next(content for name, content in outputs.items() if name.endswith("seeds/0000000002.json"))
    assert b"the shop said no to ${oc.env:SHOP}" in note  # and what it was about can be told
    assert b"${SHOP_PASSWORD}" in note
    assert b"https://\\u2026@127.0.0.1:1/x" in note or b"${oc.env:SEEDBED_CREDENTIALS_" in note
    assert any(name.endswith("store.db") and b"the shop said no" in content for name, content in outputs.items())


@pytest.mark.parametrize("given", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["word", "file"])
def test_so_does_a_run_that_fails_and_whose_store_has_a_password(
    seedbed: Callable[..., Any], words: tuple[list[str], dict[str, str]], tmp_path: Path, given: bool
) -> None:
    own, env = words
    (tmp_path / "cwd").mkdir()
    store = ["seeds.master=2", "tracking=mine"]
    if given:
        store += [f"tracking.uri=postgresql://me:{IN_STORE}@127.0.0.1:1/runs", "tracking.wait_seconds=0"]
    done = seedbed("train", *own, *store, env=env, cwd=tmp_path / "cwd", runs=tmp_path / "cwd" / "runs")
    assert done.status == 1, done.err
    outputs = {**everything_below(tmp_path / "cwd"), "out": done.out.encode(), "err": done.err.encode()}
    assert {name: found for name, content in outputs.items() if (found := found_in(content))} == {}
    overrides = next(content for name, content in outputs.items() if name.endswith("overrides.yaml"))
    assert (b"tracking.uri=postgresql://${oc.env:SEEDBED_CREDENTIALS_" in overrides) is given
    assert "on the command line" in done.err  # the address that the data function is given is


def test_the_search_finds_what_is_there() -> None:
    assert found_in(b"x planted-two y") == [BY_NAME]
    assert found_in(repr(IN_CONFIG).encode()) == [IN_CONFIG]
