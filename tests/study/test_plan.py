"""Which runs a study is made of, and which questions are the same one: they have one folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seedbed import Refused
from seedbed.run import provenance, training
from seedbed.study import launch, plan, variance
from seedbed.study.plan import Study
from seedbed.study.statistics import Component

Config = Callable[..., Any]


@pytest.fixture
def asked(config: Config, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Study]:
    """`asked("study.n=3")`: the study of these words; what the code is made of is not looked up."""
    monkeypatch.setattr(training, "code_of", lambda config: {"seedbed.run.training": "0" * 64})
    return lambda *words: plan.study_of(config(*words))


def test_seeds_are_counted_from_one_or_as_they_are_given(config: Config) -> None:
    assert plan.masters(config("study.n=3")) == (1, 2, 3)
    assert plan.masters(config("study.n=3", "study.seeds=[7,0,4294967295]")) == (7, 0, 4294967295)
    for wrong in ("[]", "[1,2,1]", "[-1]", "[4294967296]"):
        with pytest.raises(Refused, match=r"study\.seeds"):
            plan.masters(config(f"study.seeds={wrong}"))
    drawn = [plan.masters(config("determinism=off", "study.n=3")) for _ in range(2)]
    assert len(set(drawn[0] + drawn[1])) == 6


def test_the_same_question_has_the_same_folder(asked: Callable[..., Study]) -> None:
    first = asked("study.n=3")
    for words in (["study.n=30"], ["study.seeds=[5]"], ["seeds.master=9"], ["study.confidence=0.9"], ["training.engine=fit"]):
        assert asked(*words).path == first.path, words
    assert first.masters == (1, 2, 3)


def test_another_question_has_a_folder_of_its_own(asked: Callable[..., Study]) -> None:
    words = [["study.n=3"], ["training.epochs=3"], ["seeds.init=4"], ["study.vary=init"], ["study.vary=shuffle"],
             ["study.vary=init", "seeds.master=9"], ["study.vary=init", "seeds.shuffle=9"], ["data.source.length=12"], ["determinism=seeded"]]  # fmt: skip
    assert len({asked(*some).path for some in words}) == len(words)
    assert asked("study.vary=init", "seeds.init=3").path == asked("study.vary=init").path  # the seeds of it are the study's


def test_studies_of_two_files_are_two_though_their_runs_are_named_by_what_is_in_them(asked: Callable[..., Study]) -> None:
    paths = [asked("data=csv", f"data.source.path={name}.csv", "data.source.target=y").path for name in ("a", "b")]
    assert paths[0] != paths[1]


def test_what_is_no_study(asked: Callable[..., Study]) -> None:
    for words, message in ((["force=true"], "force=true"), (["determinism=off", "study.vary=init"], "holds none")):
        with pytest.raises(Refused, match=message):
            asked(*words)


def test_a_study_goes_on_on_machines_of_one_kind_alone(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch._other_machine(tmp_path, "tensorflow") is None
    assert launch._other_machine(tmp_path, "tensorflow") is None
    monkeypatch.setattr(provenance, "gpu", lambda: [{"name": "another"}])
    assert "gpu differs" in str(launch._other_machine(tmp_path, "tensorflow"))


def component(name: str, variance: float, interval: tuple[float, float] | None, share: float | None = 0.5) -> Component:
    return Component(name, 5, variance, interval, None, variance**0.5, share, None, None)


def test_the_stream_that_makes_most_of_the_spread_is_named_where_the_intervals_allow_it() -> None:
    whole, init, shuffle = component("all", 4.0, (3, 5)), component("init", 3.0, (2.0, 4.0)), component("shuffle", 1.0, (0.5, 1.5))
    rest, still = component("interaction", 9.0, None), component("dropout", 0.0, (0.0, 0.0))
    said = variance._sentence([shuffle, init, still, rest], whole, "loss", 5)
    assert "Most of it comes from init (50 % of the variance)." in said
    assert said.endswith("No effect: dropout.")
    near = component("shuffle", 1.0, (0.5, 2.5))
    assert "Too few seeds to say which stream makes most of it; those that may: init (" in variance._sentence(
        [near, init], whole, "loss", 5
    )
    assert "None of the streams" in variance._sentence([still, rest], whole, "loss", 5)
    assert "is the same with all of them" in variance._sentence([still], component("all", 0.0, None), "loss", 5)


def test_which_streams_are_varied_one_by_one(config: Config) -> None:
    assert variance.streams(config("study.streams=[init,shuffle]")) == ["init", "shuffle"]
    for words in (
        ["study.streams=[init,init]"],
        ["study.streams=[]"],
        ["study.streams=[init]", "study.n=1"],
        ["study.streams=[init]", "determinism=off"],
    ):
        with pytest.raises(Refused, match="Accepted"):
            variance.streams(config(*words))
