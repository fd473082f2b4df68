"""The usual causes of a difference, in the order of their weight; and which of two configs' values may be one. Nothing is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seedbed.proof import causes, diagnose
from seedbed.proof.execution import Execution
from seedbed.proof.places import Place


def usual(place: str, trace: Any = None, draws: Any = (), surrounding: str | None = None, differing: Any = (), findings: Any = (),
          **more: Any) -> list[str]:  # fmt: skip
    """What is said of a difference at a place of that kind."""
    found = causes.usual(Place(place, "there", part="train"), [trace or {}, {}], draws, surrounding, differing, findings, **more)
    return [cause.what for cause in found]


def draw(line: int, phase: str, source: str = "numpy.random.default_rng") -> dict[str, Any]:
    return {"file": "mine.py", "line": line, "function": "f", "phase": phase, "source": source, "package": None, "user": None}


def test_what_is_known_to_decide_bits_comes_first_of_what_the_configs_differ_in() -> None:
    names = ["zeal", "seeds.init", "model.hidden", "determinism.threads.intra_op", "seeds.hash", "database"]
    found = [what.partition(":")[0] for what in usual("run", differing=names)]
    assert found[:6] == ["determinism.threads.intra_op", "seeds.hash", "seeds.init", "model.hidden", "zeal", "database"]
    (other, *_) = usual("run", differing=["database"])
    assert "the two configs differ in it" in other  # and is no `data`


def test_draws_up_to_the_place_are_named_the_nearest_first() -> None:
    draws = [draw(1, "data"), draw(2, "model"), draw(3, "training"), draw(4, "evaluation")]
    wanted = {"data": [1], "weights": [2, 1], "epoch": [3, 2, 1], "predictions": [4, 3, 2, 1]}
    for place, lines in wanted.items():
        assert [what.split(",")[0] for what in usual(place, draws=draws) if what.startswith("mine.py")] == [f"mine.py:{n}" for n in lines]


def test_a_look_at_the_clock_is_named_after_what_was_drawn() -> None:
    found = usual("epoch", draws=[draw(1, "training", "time.time"), draw(2, "data")])
    assert [what.split(",")[0] for what in found[:2]] == ["mine.py:2", "mine.py:1"]
    assert "reads another value each time" in found[1]
    assert "unseeded" in found[0]


def test_what_the_audit_finds_is_named_once() -> None:
    findings = [SimpleNamespace(file="there/mine.py", line=line, what="a draw", code="SB1", mend="mend") for line in (1, 2, 7)]
    found = usual("epoch", draws=[draw(1, "training"), draw(2, "training", "time.time")], findings=findings)
    assert [what for what in found if "SB1" in what] == ["there/mine.py:2: a draw (SB1)", "there/mine.py:7: a draw (SB1)"]


@pytest.mark.parametrize(("operations", "words"), [
    (["ParallelMapDatasetV2", "RandomUniform"], "parallel map with random augmentation"), (["ParallelMapDatasetV2"], None), (["RandomUniform"], None),
    (["ParallelMapDatasetV2", "StatelessRandomUniformV2"], None), (["PyFunc"], "Python code"), (["ShuffleDatasetV3"], "a shuffle"),
])  # fmt: skip
def test_what_a_pipeline_is_made_of(operations: list[str], words: str | None) -> None:
    trace = {"data": {"train": {"kind": "tf_data", "operations": operations}}}
    plain = usual("batch")
    found = [what for what in usual("batch", trace) if what not in plain]
    assert (found == []) if words is None else found[0].startswith(words)
    assert usual("epoch", trace) == usual("epoch")


def test_what_was_enough_is_named_before_what_may_be() -> None:
    found = usual("epoch", draws=[draw(1, "data")], surrounding="clock", resumed=True, shared=True, cpu="Haswell")
    assert [
        any(word in what for what in found[at : at + 1])
        for at, word in enumerate(("checkpoint", "earlier runs", "Haswell", "date", "mine.py"))
    ] == [True] * 5


def test_the_layer_of_the_place_is_named() -> None:
    trace = {"layers": {"net/drop": "Dropout", "net/own": "mine.Noise"}}
    for layer, words in (("net/drop", "a dropout mask"), ("net/own", "the layer's own code (mine.Noise)"), ("net/none", None)):
        found = [cause.what for cause in causes.usual(Place("output", "there", layer=layer), [trace, {}], [], None, [], [])]
        assert [what.startswith(str(words)) for what in found] == ([] if words is None else [True])


def test_values_in_which_two_configs_differ(config: Callable[..., Any]) -> None:
    """Where things are kept decides nothing, and PYTHONHASHSEED is the stream `hash` once more."""
    a = config("training.epochs=2", "seeds.hash=1", "study.n=4", "checkpoint.keep=3", "name=one")
    b = config("training.epochs=3", "seeds.hash=2", "+training.callbacks.early={_target_: keras.callbacks.EarlyStopping}")
    b.runs = "elsewhere"
    assert set(diagnose.config_differences(a, b)) == {"training.epochs", "seeds.hash", "name", "training.callbacks.early._target_"}
    assert diagnose.config_differences(a, a) == []


def test_an_execution_that_failed_where_the_other_did_not_is_the_place(tmp_path: Path) -> None:
    well, ill = (
        Execution(name, tmp_path, name, None, error, 1.0) for name, error in (("finished", None), ("failed", "Traceback\nValueError: no"))
    )
    assert diagnose._failure(well, well) is None
    assert diagnose._failure(ill, ill) is None
    for pair in ((well, ill), (ill, well)):
        assert diagnose._failure(*pair) == Place("run", "the execution 'failed' failed: ValueError: no")
