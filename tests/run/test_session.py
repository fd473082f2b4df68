"""What a run leaves in its process is seen, and named, wherever it is."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from run.leftovers import FIRST, PROGRAMS, Program

from seedbed.run import training
from seedbed.run.data import DataSet
from seedbed.run.record import Record
from seedbed.run.session import Session, Worn


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What a program may change in this process is put back."""
    import locale

    monkeypatch.chdir(tmp_path)
    mask, language, errors = os.umask(0o022), locale.setlocale(locale.LC_ALL), np.geterr()
    path, build, variables = list(sys.path), keras.layers.Dense.build, dict(os.environ)
    custom = dict(keras.saving.get_custom_objects())
    with warnings.catch_warnings():
        yield
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    keras.layers.Dense.build, sys.path[:] = build, path
    keras.config.set_epsilon(1e-7)
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(custom)
    np.seterr(**errors)
    locale.setlocale(locale.LC_ALL, language)
    os.umask(mask)
    if hold := getattr(sys.modules.get("leaving"), "HOLD", None):
        hold.set()
    for name in ("leaving", "helping"):
        with suppress(KeyError):
            del sys.modules[name]


@pytest.fixture
def trained(surroundings: None, config: Callable[..., Any], plugin: Callable[..., Path]) -> Callable[..., Record]:
    """`trained(program, session, seed)`: a run of a program in this process."""

    def run(program: Program, session: Session, seed: int = 1) -> Record:
        if "leaving" not in sys.modules:
            if program.helper:
                plugin("helping", program.helper)
            plugin("leaving", FIRST + program.source)
        words = [
            "data=digits",
            "data.source={_target_: leaving.data}",
            "data.loss=mean_squared_error",
            "data.metrics=null",
            "data.validation_split=0",
            "data.test_split=0",
        ]
        words += ["~model", "+model={_target_: leaving.model}", "training.epochs=2", "+training.callbacks.own={_target_: leaving.Each}"]
        return training.run(config(*words, *program.words, f"seeds.master={seed}"), session=session)

    return run


# Places of which another one of the same kind is among the rest; with them it is `make test-slow`.
MORE = frozenset({
    "private attribute of the model", "attribute of Keras's own layer", "list and dictionary of a layer", "global variable",
    "dunder variable", "attribute of a function", "default argument", "umask", "sys.path", "warnings", "Keras's float type",
    "closure of a module's function", "weak reference", "context variable", "NumPy's error handling", "cache of a method",
})  # fmt: skip


# One of each kind of place: an object of Keras's, of the user's, of a module, of the process, of a library, what can't be seen.
ALWAYS = frozenset({
    "counter of a layer", "attribute of the optimizer", "closure in a layer", "array of the module, in place", "environment variable",
    "function of a library, replaced", "number in C",
})  # fmt: skip
MARKS = {name: pytest.mark.slow if name in MORE else pytest.mark.integration for name in PROGRAMS if name not in ALWAYS}


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in PROGRAMS])
def test_what_a_run_leaves_behind_is_named(trained: Callable[..., Record], name: str) -> None:
    session = Session(many=True)
    assert trained(PROGRAMS[name], session).status == "finished"
    assert PROGRAMS[name].says in str(session.worn or session._spoilt), (session.worn, session._spoilt)


def test_a_program_that_leaves_nothing_is_shared(trained: Callable[..., Record]) -> None:
    session = Session(many=True)
    records = [trained(Program("", ""), session, seed) for seed in (1, 2, 3)]
    assert session.worn is None
    assert [record.content["not_shared"] for record in records[1:]] == [{}, {}]
    assert [record.content["earlier_runs"] for record in records] == [0, 1, 2]


def made(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A data function as a session calls it: the values are the fingerprint."""
    return lambda seeds: DataSet((np.ones(2), np.ones(2)), fingerprint=str(function(seeds)), drawn="drawn" in str(function(seeds)))


def test_data_that_are_the_same_for_all_seeds_are_made_three_times_and_then_shared() -> None:
    session, calls = Session(many=True), []
    load = made(lambda seeds: "same")
    found = [session.data(lambda seeds: calls.append(seeds["master"]) or load(seeds), {"master": master}, False) for master in (1, 2, 3, 4)]
    assert calls == [1, 1, 2]  # the first once more, and under another seed
    assert all(one is found[0] for one in found)
    assert session.why.get("data") == "this process's first run"


@pytest.mark.parametrize(("load", "takes"), [
    (made(lambda seeds: seeds["master"]), False), (made(lambda seeds: "same, and drawn"), False), (made(lambda seeds: "same"), True),
])  # fmt: skip
def test_data_that_may_follow_the_seeds_are_made_for_each(load: Callable[[Any], Any], takes: bool) -> None:
    session = Session(many=True)
    found = [session.data(load, {"master": master}, takes) for master in (1, 2, 3, 4)]
    assert len({id(one) for one in found}) == 4
    assert "depend on the seeds" in session.why["data"]
    assert session.worn is None


def test_data_that_are_others_when_they_are_made_again_need_a_process_of_their_own() -> None:
    session, count = Session(many=True), iter(range(9))
    session.data(made(lambda seeds: next(count) // 2), {"master": 1}, False)
    with pytest.raises(Worn, match="other data when it is called again with the same seeds"):
        session.data(made(lambda seeds: next(count) // 2), {"master": 2}, False)
    assert session.worn


def test_what_is_the_same_for_all_seeds_is_made_once_where_runs_share() -> None:
    for many, follows, count in ((True, False, 1), (True, True, 2), (False, False, 2)):
        session, calls = Session(many=many), []
        for _ in range(2):
            session.once("code", lambda calls=calls: calls.append(1), follows)
        assert len(calls) == count
