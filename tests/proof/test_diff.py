"""Two records: what differs, what explains it, and what a record that lies, breaks or attacks can do (nothing)."""

from __future__ import annotations

import copy
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import worktree
import yaml
from hypothesis import given
from hypothesis import strategies as st

from seedbed import Refused, proofs
from seedbed.proof import diff, explaining, inputs, outputs, overrides, rows, show_diff, side
from seedbed.run import claims, digest, fingerprint, record, seeds, training
from seedbed.run.data import DataSet
from seedbed.run.record import Record

X, Y = np.arange(40, dtype="float32").reshape(20, 2), np.arange(20, dtype="int64")
HISTORY = [{"loss": 0.5, "accuracy": 0.25}, {"loss": 0.25, "accuracy": 0.5}, {"loss": 0.125, "accuracy": 0.75}]
NAMES = ("initial_weights", "final_weights", "generators", "optimizer", "predictions")
SEEDS = {"master": 1, **{name: seeds.derive(1, name) for name in seeds.STREAMS}, "hash": 0}
INPUTS: dict[str, Any] = {
    "code": {"example.models": "1" * 64, "seedbed.run.loop": "2" * 64},
    "config": {
        "data": {"source": {"_target_": "example.data.digits"}, "validation_split": 0.1, "test_split": 0.0, "loss": "mse"},
        "model": {"_target_": "example.models.mlp", "hidden": [10], "dropout": 0.0},
        "optimizer": {"_target_": "keras.optimizers.Adam", "learning_rate": 0.001},
        "training": {"epochs": 3, "batch_size": 32, "shuffle": True, "callbacks": {}, "loss": "mse"},
    },
    "determinism": {"level": "strict", "environment": {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}, "threads": {"intra_op": 1}},
    "environment": {
        "python": "3.11.7", "platform": "Linux x86_64 glibc 2.36", "packages": {"keras": "3.15.1", "numpy": "2.4.6"},
        "cpu": {"model": "AMD EPYC", "isa": ["avx", "avx2"]}, "gpu": [],
        "variables": {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
    },
}  # fmt: skip


def put(node: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for part in parents:
        node = node[part]
    if value is None:
        del node[last]
    else:
        node[last] = value


class Maker:
    """`make("b", **{"config.model.hidden": [5]})`: a record in the test's folder, like all others but for what is said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, name: str, changed: dict[str, Any] | None = None, seeds: dict[str, int] | None = None, data: DataSet | None = None,
        history: list[dict[str, float]] = HISTORY, digests: dict[str, str] | None = None, metrics: dict[str, float] | None = None,
        diff: str = "", commit: str | None = None, config: dict[str, Any] | None = None, finished: bool = True, key: str | None = None,
    ) -> Path:  # fmt: skip
        data = data or DataSet((X, Y))
        found = copy.deepcopy(INPUTS) | {"data": fingerprint.of(data), "seeds": {**SEEDS, **(seeds or {})}}
        for where, value in (changed or {}).items():
            put(found, where, value)
        content = {
            "key": key or record.key_of(found), "name": "made", "level": found["determinism"]["level"], "seeds": found["seeds"],
            "inputs": found, "metrics": {}, "digests": {},
            "provenance": {**found["environment"], "lock": "3" * 64, "git": {"commit": commit, "dirty": bool(diff)}, "cores": 2, "image": {}},
        }  # fmt: skip
        kept = {"name": "made", "runs": str(self.folder), "determinism": found["determinism"], **found["config"], **(config or {})}
        text = yaml.safe_dump(json.loads(json.dumps({**kept, "seeds": found["seeds"]})))  # without aliases
        made = Record.create(self.folder / name, content, text, diff)
        (made.path / "rows.npz").write_bytes(fingerprint.rows(data))
        for epoch, logs in enumerate(history):
            made.append_epoch(epoch, logs)
        made.update(digests={"initial_weights": (digests or {}).get("initial_weights", "a" * 64)})
        if finished:
            whole = dict.fromkeys(NAMES, "a" * 64) | {"history": digest.history(history)} | (digests or {})
            made.finish(metrics or {"test_loss": 0.125}, whole, engine="loop")
        else:
            made.fail("stopped by SIGTERM", status=record.INTERRUPTED)
        return made.path


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


OTHER = dict.fromkeys(NAMES, "b" * 64)
LATER = dict.fromkeys(("final_weights", "optimizer", "predictions"), "b" * 64)
PARTED = [HISTORY[0], {"loss": 0.2500001, "accuracy": 0.5}, {"loss": 0.13, "accuracy": 0.75}]


# --- nothing differs -----------------------------------------------------------------------------------------------------


def test_nothing_differs(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make("a"), make("b")
    assert proofs.diff([str(a), str(b / "record.json"), "--runs", str(a.parent)]) == 0
    shown = capsys.readouterr().out
    assert "none differs" in shown
    assert "Nothing differs: the same inputs gave the same bits." in shown
    assert "the same 3 epochs" in shown


def test_what_has_no_part_in_the_key_is_shown_and_does_not_count(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make("a"), make("b", config={"checkpoint": {"keep": 3}}, commit="c" * 40)
    assert proofs.diff([str(a), str(b), "--runs", str(a.parent)]) == 0
    shown = capsys.readouterr().out
    assert "checkpoint.keep  3 in B alone" in shown
    assert "git.commit  null → " + "c" * 40 in shown


# --- inputs --------------------------------------------------------------------------------------------------------------

CHANGES: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"config.model.hidden": [50, 50]}, "config", {"name": "model.hidden", "a": [10], "b": [50, 50]}),
    ({"config.training.class_weight": 1}, "config", {"name": "training.class_weight", "b": 1}),
    ({"config.optimizer.learning_rate": None}, "config", {"name": "optimizer.learning_rate", "a": 0.001}),
    ({"config.training.shuffle": 1}, "config", {"name": "training.shuffle", "a": True, "b": 1}),
    ({"environment.packages.numpy": "2.4.7"}, "packages", {"name": "numpy", "a": "2.4.6", "b": "2.4.7"}),
    ({"environment.packages.scipy": "1"}, "packages", {"name": "scipy", "b": "1"}),
    ({"environment.packages.keras": None}, "packages", {"name": "keras", "a": "3.15.1"}),
    ({"environment.python": "3.12.1"}, "environment", {"name": "python", "a": "3.11.7", "b": "3.12.1"}),
    ({"environment.cpu.model": "Intel"}, "environment", {"name": "cpu.model", "a": "AMD EPYC", "b": "Intel"}),
    ({"environment.cpu.isa": ["avx", "avx2", "avx512f"]}, "environment", {"name": "cpu.isa.avx512f", "b": "yes"}),
    ({"environment.gpu": [{"name": "H100", "driver": "570"}]}, "environment", {"name": "gpu.0.name", "b": "H100"}),
    ({"environment.variables.XLA_FLAGS": "--x"}, "environment", {"name": "variables.XLA_FLAGS", "b": "--x"}),
    ({"determinism.threads.intra_op": 4}, "determinism", {"name": "threads.intra_op", "a": 1, "b": 4}),
]


@pytest.mark.parametrize(("changed", "kind", "expected"), CHANGES, ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_each_input_that_differs_is_named_with_both_values(
    changed: dict[str, Any], kind: str, expected: dict[str, Any], make: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make("a"), make("b", changed)
    found = diff.diff(a, b).as_json()
    named = {name: entries for name, entries in found["inputs"].items() if isinstance(entries, list) and entries}
    assert list(named) == [kind]
    assert expected.items() <= named[kind][0].items()
    if "a" not in expected:
        assert "a" not in named[kind][0]
    assert found["differs"]
    assert "made no difference to the bits" in found["verdict"]["said"]
    back = diff.diff(b, a).as_json()["inputs"][kind][0]
    assert back.get("a") == named[kind][0].get("b")
    assert proofs.diff([str(a), str(b), "--runs", str(a.parent)]) == 1
    assert expected["name"] in capsys.readouterr().out


def test_what_the_level_sets_is_named_once(make: Maker) -> None:
    changed = {"determinism.environment.OMP_NUM_THREADS": "4", "environment.variables.OMP_NUM_THREADS": "4",
               "determinism.environment.PYTHONHASHSEED": "7", "environment.variables.PYTHONHASHSEED": "7"}  # fmt: skip
    found = diff.diff(make("a"), make("b", changed, seeds={"hash": 7})).as_json()["inputs"]
    assert [change["name"] for change in found["determinism"]] == ["environment.OMP_NUM_THREADS"]
    assert found["environment"] == []
    assert [change["name"] for change in found["seeds"]] == ["hash"]


def test_each_stream_that_differs_is_named(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make("a"), make("b", seeds={"shuffle": 5, "dropout": 6})
    found = diff.diff(a, b).as_json()
    assert found["inputs"]["seeds"] == [
        {"name": "shuffle", "a": SEEDS["shuffle"], "b": 5},
        {"name": "dropout", "a": SEEDS["dropout"], "b": 6},
    ]
    proofs.diff([str(a), str(b), "--runs", str(a.parent)])
    assert f"shuffle {SEEDS['shuffle']} → 5  dropout {SEEDS['dropout']} → 6" in capsys.readouterr().out


def test_lists_are_cut_for_people_and_whole_in_json(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make("a"), make("b", {"environment.packages": {f"package{i:02}": "1" for i in range(30)}})
    arguments = [str(a), str(b), "--runs", str(a.parent)]
    assert proofs.diff(arguments) == 1
    assert "… 24 more: --json has them" in capsys.readouterr().out
    assert proofs.diff([*arguments, "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["inputs"]["packages"]) == 32


# --- data ----------------------------------------------------------------------------------------------------------------


def changed_rows(array: np.ndarray, *places: int) -> np.ndarray:
    found = array.copy()
    found[list(places)] += 100
    return found


ORDER = np.array([0, 1, 2, 3, 4, 7, 5, 6, *range(8, 20)])
DATA = [
    (X, changed_rows(X, 17), "1 of 20 rows of train differs; the first is row 17"),
    (X, changed_rows(X, 3, 17, 19), "3 of 20 rows of train differ; the first is row 3"),
    (X, X[ORDER], "train: the same rows in another order; the first that moved is row 5"),
    (X[:12], X, "train: 8 rows more in B, from row 12 on"),
    (X, X[:19], "train: 1 row more in A, from row 19 on"),
    (np.delete(X, [4, 5], axis=0), X, "train: 2 rows more in B, rows 4 … 5"),
    (X, X[1:], "train: 1 row more in A, row 0"),
    (X[:12], changed_rows(X, 2), "1 of the first 12 rows of train differs; the first is row 2; 8 rows more in B, from row 12 on"),
    (X, changed_rows(X, 9)[ORDER], "train: 1 row only A has and 1 row only B has, and others lie in another place; the first place that differs is row 5"),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right", "said"), DATA, ids=[said for _, _, said in DATA])
def test_how_many_rows_differ_and_where(left: np.ndarray, right: np.ndarray, said: str, make: Maker) -> None:
    parts = [DataSet((x, x[:, 0].astype("int64")), test=(X[:3], Y[:3])) for x in (left, right)]
    found = diff.diff(make("a", data=parts[0]), make("b", data=parts[1])).as_json()["inputs"]["data"]
    assert found["said"] == [said]
    expected = [i for i in range(min(len(left), len(right))) if not np.array_equal(left[i], right[i])]
    assert found["parts"][0]["differ"] == expected


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_rows_that_one_side_alone_has_are_those_of_a_multiset(a: list[int], b: list[int]) -> None:
    found = rows.compare("train", np.array(a, np.uint64), np.array(b, np.uint64))
    if a == b:
        assert found is None
        return
    assert found is not None
    for places, own, other in ((found.only_a, a, b), (found.only_b, b, a)):
        rest = list(other)
        alone = [value for value in own if not (value in rest and not rest.remove(value))]
        assert sorted(own[place] for place in places) == sorted(alone)
    assert found.moved == (sorted(a) == sorted(b))


def test_labels_count_as_part_of_their_row(make: Maker) -> None:
    found = diff.diff(make("a"), make("b", data=DataSet((X, changed_rows(Y, 6)))))
    assert found.data.said == ["1 of 20 rows of train differs; the first is row 6"]


def test_what_the_data_function_says_beside_the_rows(make: Maker) -> None:
    found = diff.diff(make("a", data=DataSet((X, Y), outputs=3)), make("b", data=DataSet((X, Y), outputs=4)))
    assert found.data.said == ["outputs: 3 in A, 4 in B"]
    found = diff.diff(make("c"), make("d", data=DataSet((X.astype("float64"), Y), test=(X, Y))))
    assert found.data.said[1:] == ["only B has a part test", "a row of train is float32 (2), int64 in A, float64 (2), int64 in B"]


def test_where_a_record_has_no_rows_it_says_so(make: Maker) -> None:
    a, b = make("a"), make("b", data=DataSet((changed_rows(X, 2), Y)))
    (b / "rows.npz").unlink()
    assert diff.diff(a, b).data.said == ["the fingerprints differ; which rows can't be said: B has no rows.npz"]


def test_rows_that_were_left_out(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    a = make("a")
    monkeypatch.setattr(fingerprint, "LARGEST_ROWS", 8)
    b = make("b", data=DataSet((changed_rows(X, 2), Y)))
    assert diff.diff(a, b).data.said == ["train: which rows differ can't be said: B's are left out (more than 1 rows)"]


# --- outputs -------------------------------------------------------------------------------------------------------------


def test_the_first_epoch_at_which_histories_part(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    nearly = float(np.nextafter(np.float32(0.5), np.float32(1)))
    other = [HISTORY[0], {"loss": 0.25, "accuracy": nearly}, {"loss": 3.0, "accuracy": 0.75}]
    a, b = make("a"), make("b", history=other, digests=LATER, metrics={"test_loss": 0.25})
    found = diff.diff(a, b).as_json()["outputs"]
    assert found["history"]["epoch"] == 1
    assert [metric["name"] for metric in found["history"]["metrics"]] == ["accuracy"]
    assert found["history"]["metrics"][0]["ulps32"] == 1
    assert found["history"]["metrics"][0]["ulps64"] == 2**29
    assert found["metrics"][0]["relative"] == 0.5
    assert found["digests"]["differ"] == ["history", "final_weights", "optimizer", "predictions", "metrics", "run"]
    assert found["digests"]["agree"] == ["initial_weights", "generators"]
    assert proofs.diff([str(a), str(b), "--runs", str(a.parent)]) == 1
    shown = capsys.readouterr().out
    assert "they part in epoch 2 (3 epochs in A, 3 in B)" in shown
    assert "accuracy  0.5 → 0.5000000596046448  (absolute 6e-08, relative 1.2e-07, 1 float32 ulp)" in shown
    assert "test_loss  0.125 → 0.25  (absolute 0.12, relative 0.5, 8,388,608 float32 ulps)" in shown
    assert "agree: initial_weights, generators" in shown


@pytest.mark.parametrize(
    ("a", "b", "same"), [(np.nan, np.nan, True), (0.0, -0.0, False), (1.0, 1.0, True), (np.inf, 1.0, False), (1.0, None, False)]
)
def test_metrics_are_the_same_if_their_bits_are(a: Any, b: Any, same: bool) -> None:
    found = outputs.how_far("loss", a, b)
    assert outputs.is_same(found) == same
    assert (found.absolute is None) == (b is None or not np.isfinite([a, b]).all())


def test_values_that_no_float32_has_are_measured_in_float64() -> None:
    found = outputs.how_far("loss", 0.1, float(np.nextafter(0.1, 1)))
    assert (found.ulps32, found.ulps64) == (None, 1)


def test_a_metric_that_is_not_a_number_is_json(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make("a"), make("b", history=[HISTORY[0], {"loss": float("nan"), "accuracy": 0.0}])
    proofs.diff([str(a), str(b), "--runs", str(a.parent), "--json"])
    found = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert found["outputs"]["history"]["metrics"][0]["b"] == "nan"


def test_a_run_that_was_stopped(make: Maker) -> None:
    found = diff.diff(make("a"), make("b", history=HISTORY[:2], finished=False))
    assert found.outputs.parting == outputs.Parting(2, ())
    assert found.differs
    assert found.verdict.said == "A is finished, B is interrupted; as far as both went (2 epochs) no output differs, and no input differs."
    assert not found.verdict.undetermined


def test_a_stopped_run_that_had_parted_before(make: Maker) -> None:
    found = diff.diff(make("a"), make("b", history=PARTED[:2], finished=False))
    assert found.verdict.undetermined


# --- what explains what --------------------------------------------------------------------------------------------------

FIRST = {
    "W": ("The first output that differs is the initial weights:", OTHER, PARTED),
    "H": ("The first output that differs is loss of epoch 2:", LATER, PARTED),
    "E": ("The first output that differs is final weights:", LATER, HISTORY),
    "P": ("The first output that differs is what comes after training (predictions, metrics):", {"predictions": "b" * 64}, HISTORY),
}
NOT = "so one of the two runs was not deterministic."
VERDICTS: list[tuple[str, dict[str, Any], str]] = [
    ("W", {}, f"no input differs, {NOT}"),
    ("H", {}, f"no input differs, {NOT}"),
    ("E", {}, f"no input differs, {NOT}"),
    ("P", {}, f"no input differs, {NOT}"),
    ("W", {"seeds": {"init": 1}}, "seeds.init can explain it."),
    ("W", {"seeds": {"init": 1, "shuffle": 2, "dropout": 3}}, "seeds.init can explain it."),
    ("W", {"seeds": {"shuffle": 1}}, f"seeds.shuffle differs and can't explain that, {NOT}"),
    ("W", {"seeds": {"dropout": 1, "augment": 2}}, f"seeds.dropout and seeds.augment differ and can't explain that, {NOT}"),
    ("W", {"seeds": {"split": 1}}, f"seeds.split differs and can't explain that, {NOT}"),
    ("W", {"seeds": {"master": 2}}, f"seeds.master differs and can't explain that, {NOT}"),
    ("W", {"seeds": {"numpy": 2}}, "seeds.numpy can explain it."),
    ("W", {"changed": {"config.model.hidden": [5]}}, "model.hidden can explain it."),
    ("W", {"changed": {"config.optimizer.learning_rate": 0.1}}, f"optimizer.learning_rate differs and can't explain that, {NOT}"),
    ("W", {"changed": {"config.training.epochs": 9}}, f"training.epochs differs and can't explain that, {NOT}"),
    ("W", {"changed": {"code.example\0models": "9" * 64}}, "the code of example.models can explain it."),
    ("W", {"changed": {"code.seedbed\0run\0loop": "9" * 64}}, "seedbed's own code can explain it."),
    ("W", {"changed": {"environment.packages.keras": "3.16"}}, "the versions of packages (keras) can explain it."),
    ("W", {"changed": {"environment.cpu.model": "Intel"}}, "the environment (cpu) can explain it."),
    ("W", {"data": DataSet((changed_rows(X, 1), Y))}, "the data can explain it."),
    ("W", {"seeds": {"init": 1}, "changed": {"config.model.hidden": [5], "environment.packages.keras": "3.16"}},
     "seeds.init, model.hidden or the versions of packages (keras) can explain it."),
    ("H", {"seeds": {"shuffle": 1}}, "seeds.shuffle can explain it."),
    ("H", {"seeds": {"dropout": 1}}, "seeds.dropout can explain it."),
    ("H", {"seeds": {"split": 1}}, "seeds.split can explain it."),
    ("H", {"changed": {"config.training.epochs": 9}}, f"training.epochs differs and can't explain that, {NOT}"),
    ("H", {"changed": {"config.training.batch_size": 9}}, "training.batch_size can explain it."),
    ("H", {"changed": {"config.data.loss": "mae"}}, f"data.loss differs and can't explain that, {NOT}"),
    ("H", {"data": DataSet((changed_rows(X, 1), Y))}, "the data can explain it."),
    ("E", {"seeds": {"split": 1}}, "seeds.split can explain it."),
    ("P", {"seeds": {"shuffle": 1}}, f"seeds.shuffle differs and can't explain that, {NOT}"),
    ("P", {"seeds": {"dropout": 1}}, "seeds.dropout can explain it."),
    ("P", {"data": DataSet((X, Y), test=(X, Y))}, "the data can explain it."),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "changed", "said"), VERDICTS, ids=[f"{stage} {said[:60]}" for stage, _, said in VERDICTS])
def test_one_sentence_says_what_explains_it(
    stage: str, changed: dict[str, Any], said: str, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "_next", lambda side: "composed from conf/, which takes a while")
    named = {**changed}
    code = dict(INPUTS["code"])
    for where in [where for where in named.get("changed", {}) if "\0" in where]:  # a dot inside of a name
        code[where.removeprefix("code.").replace("\0", ".")] = named["changed"][where]
        named["changed"] = {"code": code}
    first, digests, history = FIRST[stage]
    found = diff.diff(make("a"), make("b", **named, digests=digests, history=history))
    assert found.verdict.said == f"{first} {said}"
    assert found.verdict.undetermined == said.endswith(NOT)
    assert (found.next is not None) == found.verdict.undetermined
    assert set(found.verdict.can).isdisjoint(found.verdict.cannot)


def test_more_epochs_explain_a_longer_history(make: Maker) -> None:
    longer = [*HISTORY, {"loss": 0.1, "accuracy": 0.8}]
    found = diff.diff(make("a"), make("b", {"config.training.epochs": 4}, history=longer, digests=LATER))
    assert found.verdict.said == "The first output that differs is the number of epochs: training.epochs can explain it."
    assert diff.diff(make("c"), make("d", history=longer, digests=LATER)).verdict.undetermined


@pytest.mark.parametrize("off", [{"config.data.validation_split": 0.0}, {"config.training.shuffle": False}])
def test_a_stream_that_governs_nothing_explains_nothing(off: dict[str, Any], make: Maker) -> None:
    stream = "split" if "validation_split" in next(iter(off)) else "shuffle"
    a, b = make("a", off), make("b", off, seeds={stream: 1}, digests=LATER, history=PARTED)
    assert diff.diff(a, b).verdict.cannot == (f"seeds.{stream}",)
    assert diff.diff(a, b).verdict.undetermined


@pytest.mark.parametrize(("level", "words"), [("seeded", "doesn't promise the same bits"), ("off", "promises nothing")])
def test_a_weak_level_promises_no_bits(level: str, words: str, make: Maker) -> None:
    weak = {"determinism.level": level}
    found = diff.diff(make("a", weak), make("b", weak, digests=LATER, history=PARTED))
    assert found.verdict.said.endswith(f"no input differs; level {level} {words}, determinism=strict does.")
    assert not found.verdict.undetermined
    found = diff.diff(make("c"), make("d", weak, digests=LATER, history=PARTED))
    assert found.verdict.said.endswith(f"determinism.level can explain it. Besides, level {level} {words}.")


def test_every_input_of_a_config_has_a_reach() -> None:
    """The last pattern catches what nobody thought of; what stands in conf/ has been thought of."""
    from seedbed.run import config as configs

    plain = configs.without_environment(configs.composed())
    for name, _ in inputs.leaves(training.kept_of(plain)):
        pattern = next(pattern for pattern, _, _ in explaining.REACHES if explaining.fnmatch.fnmatchcase(name, pattern))
        assert pattern != "*", name
    assert {pattern for pattern, _, _ in explaining.REACHES} >= {f"seeds.{name}" for name in ("master", *seeds.STREAMS)}


# --- the words that train it again ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["determinism=seeded", "determinism.threads.intra_op=2", "seeds.master=7", "seeds.init=3"],
        pytest.param(["data=digits", "model=cnn", "optimizer=sgd"], marks=pytest.mark.integration),
        ["model.hidden=[50,50]", "optimizer.learning_rate=0.1", "training.class_weight={0:1.0,1:2.0}"],
        pytest.param(["backend=jax", "seeds.generator=numpy"], marks=pytest.mark.integration),
        pytest.param(["strategy=mirrored", "strategy.replicas=3"], marks=pytest.mark.integration),
        ["data=csv", "data.source.path=a b.csv", "data.source.target=y", "+training.callbacks.stop={_target_: keras.callbacks.EarlyStopping}"],
    ],
)  # fmt: skip
def test_a_config_is_said_in_words_that_compose_it(words: list[str], make: Maker) -> None:
    from omegaconf import OmegaConf

    from seedbed.run import config as configs

    config = configs.composed(*words)
    kept = training.shown(configs.without_environment(config))
    resolved: Any = OmegaConf.to_container(config.seeds, resolve=True)
    integers = {name: seed for name, seed in resolved.items() if name != "generator"}
    path = make("a", config=kept, seeds=integers)
    (path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.merge(OmegaConf.load(path / "config.yaml"), {"seeds": resolved})))
    found = overrides.overrides(side.read(path))
    assert found is not None
    assert len(found) <= len(words)
    again = configs.composed(*found)
    ours, theirs = (inputs.changes(training.kept_of(configs.without_environment(one)), {}) for one in (config, again))
    assert ours == theirs
    assert OmegaConf.to_container(again.seeds, resolve=True) == resolved
    assert again.determinism == config.determinism


def test_a_config_that_conf_cannot_say_has_no_words(make: Maker) -> None:
    assert overrides.overrides(side.read(make("a", config={"model": {"hidden": "${oc.env:HOME}"}}))) is None
    a, b = make("b"), make("c", digests=OTHER)
    assert str(diff.diff(a, b).next).startswith("verify, with the words")


# --- code ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`repository(**{"example/models.py": "x = 1\\n"})`: a commit of this project of the test's own; its id."""
    root = tmp_path / "project" / "within"
    root.mkdir(parents=True)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEEDBED_ROOT", str(root))
    worktree.git(root.parent, "init", "-q")

    def commit(**files: str) -> str:
        for name, content in files.items():
            (root / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "src" / name).write_text(content)
        worktree.commit(root.parent)
        return worktree.git(root.parent, "rev-parse", "HEAD").strip()

    return commit


def code(**sources: str) -> dict[str, Any]:
    import hashlib

    return {"code": {name.replace("__", "."): hashlib.sha256(text.encode()).hexdigest() for name, text in sources.items()}}


ONE, TWO, THREE = "x = 1\ny = 1\n", "x = 2\ny = 1\n", "x = 2\ny = 3\n"


def state_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_code_as_a_unified_diff(repository: Callable[..., str], make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = repository(**{"example/models.py": ONE, "example/other.py": ONE, "example/sub/__init__.py": ONE})
    second = repository(**{"example/models.py": TWO, "example/other.py": TWO})
    root = tmp_path / "project"
    (root / "within" / "src" / "example" / "models.py").write_text(THREE)
    dirty = worktree.git(root, "diff", "--binary", "HEAD", "--", "within/src")
    (root / "within" / "src" / "example" / "models.py").write_text("the user's own, not for us\n")
    (root / "within" / "staged.py").write_text("staged\n")
    worktree.git(root, "add", "within/staged.py")
    before = state_of(root)
    a = make("a", code(example__models=ONE, example__sub=ONE), commit=first)
    b = make("b", code(example__models=THREE, example__sub=ONE, example__new=ONE), commit=second, diff=dirty)
    found = diff.diff(a, b).code
    assert state_of(root) == before
    assert found.changed == ("example.models",)
    assert found.only_b == ("example.new",)
    assert found.unlike == ("example.new",)
    assert found.also == ("within/src/example/other.py",)
    assert found.diff.endswith(
        "--- A/within/src/example/models.py\n+++ B/within/src/example/models.py\n@@ -1,2 +1,2 @@\n-x = 1\n-y = 1\n+x = 2\n+y = 3\n"
    )
    assert proofs.diff([str(a), str(b), "--runs", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "  +y = 3" in shown
    assert "also changed, and not reached by these runs: within/src/example/other.py" in shown


def test_a_recorded_source_that_the_repository_never_had_is_said_to_be_so(repository: Callable[..., str], make: Maker) -> None:
    commit = repository(**{"example/models.py": ONE})
    a, b = make("a", code(example__models=ONE), commit=commit), make("b", code(example__models=THREE), commit=commit)
    found = diff.diff(a, b).code
    assert found.unlike == ("example.models",)
    assert "isn't in the repository as it was when it ran" in str(found.why_not)


@pytest.mark.parametrize(
    ("commit", "patch", "why"),
    [
        ("e" * 40, "", "this repository doesn't have B's commit eeeeeeeeeeee"),
        (None, "", "B names no commit"),
        ("--output=/tmp/x", "", "B names no commit"),
        ("HEAD", "", "B names no commit"),
        ("here", "nonsense", "B's recorded diff doesn't apply to its commit"),
        ("here", "x\n# cut: the diff is larger than this\n", "B's recorded diff was cut"),
        ("here", "diff --git a/x b/x\nGIT binary patch\nliteral 999999999999\n", "B's recorded diff would unpack to 999,999,999,999 bytes"),
    ],
)
def test_code_that_cannot_be_put_together(
    commit: str | None, patch: str, why: str, repository: Callable[..., str], make: Maker, tmp_path: Path
) -> None:
    here = repository(**{"example/models.py": ONE})
    a = make("a", code(example__models=ONE), commit=here)
    b = make("b", code(example__models=TWO), commit=here if commit == "here" else commit, diff=patch)
    before = state_of(tmp_path / "project")
    found = diff.diff(a, b).code
    assert state_of(tmp_path / "project") == before
    assert found.changed == ("example.models",)
    assert str(found.why_not).startswith(why)
    assert (found.diff != "") == (commit == "here")  # the two diffs themselves, where they are taken from one commit


def test_a_hostile_diff_reaches_nothing(repository: Callable[..., str], make: Maker, tmp_path: Path) -> None:
    here = repository(**{"example/models.py": ONE})
    names = ("../../escaped", ".git/hooks/pre-commit", "/tmp/escaped-from-seedbed")
    a = make("a", code(example__models=ONE), commit=here)
    for number, name in enumerate(names):
        patch = f"diff --git a/{name} b/{name}\nnew file mode 100755\n--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+touch x\n"
        before = state_of(tmp_path / "project")
        diff.diff(a, make(f"b{number}", code(example__models=TWO), commit=here, diff=patch))
        assert state_of(tmp_path / "project") == before
    assert not (tmp_path / "escaped").exists()
    assert not Path("/tmp/escaped-from-seedbed").exists()


def test_modules_with_names_of_any_kind(repository: Callable[..., str], make: Maker) -> None:
    here = repository(**{"example/models.py": ONE})
    hostile = {"../../../etc/passwd": "1" * 64, ":(glob)**": "1" * 64, "a\nb": "1" * 64, "": "1" * 64}
    found = diff.diff(make("a", code(example__models=ONE), commit=here), make("b", {"code": hostile}, commit=here)).code
    assert set(found.only_b) == set(hostile)
    assert found.diff == ""


# --- records that are broken, lie or attack ------------------------------------------------------------------------------


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("/tmp/unpickled-by-seedbed",)


ABOUT = npy(np.frombuffer(b'{"parts": {"train": {"kind": "arrays", "rows": 3, "arrays": [], "left_out": null}}}', np.uint8))
LIE = npy(np.zeros(3, "<u8")).replace(b"(3,)", b"(9,)")
BROKEN: list[tuple[str, bytes | None]] = [
    ("record.json", None),
    ("record.json", b""),
    ("record.json", b"[1]"),
    ("record.json", b'{"format": 2}'),
    ("record.json", b'{"format": 1}'),
    ("record.json", b"\xff\xfe"),
    ("record.json", b"[" * 100_000),
    ("config.yaml", None),
    ("config.yaml", b"a: [1"),
    ("config.yaml", b"a: !!python/object/apply:os.mkdir ['/tmp/unpickled-by-seedbed']"),
    ("config.yaml", b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]"),
    ("config.yaml", b"a: " + b"x" * 1_000_001),
    ("history.jsonl", None),
    ("history.jsonl", b'{"epoch": 0, "metrics": {"loss": 0.5}}\n{"epoch": 1, "met'),
    ("history.jsonl", b'{"epoch": 0, "metrics": {"loss": "high"}}\n'),
    ("history.jsonl", b'{"epoch": 5, "metrics": {}}\n'),
    ("history.jsonl", b'{"epoch": 0, "metrics": [1]}\n'),
    ("rows.npz", b""),
    ("rows.npz", b"PK\x03\x04 nothing"),
    ("rows.npz", npz(train=npy(np.zeros(3, "<u8")))),
    ("rows.npz", npz(about=ABOUT, train=npy(np.zeros(4, "<u8")))),
    ("rows.npz", npz(about=ABOUT, train=npy(np.zeros(3, "<f8")))),
    ("rows.npz", npz(about=ABOUT, train=npy(np.zeros((3, 1), "<u8")))),
    ("rows.npz", npz(about=ABOUT, train=LIE)),
    ("rows.npz", npz(about=ABOUT, train=npy(np.array([Bomb()] * 3, object), allow_pickle=True))),
    ("rows.npz", npz(about=npy(np.frombuffer(b'{"parts": 1}', np.uint8)))),
]


@pytest.mark.parametrize(("name", "content"), BROKEN, ids=[f"{name} {number}" for number, (name, _) in enumerate(BROKEN)])
def test_a_broken_record_is_refused_and_the_file_named(name: str, content: bytes | None, make: Maker) -> None:
    a, b = make("a"), make("b")
    (b / name).unlink()
    if content is not None:
        (b / name).write_bytes(content)
    with pytest.raises(Refused, match=name.replace(".", r"\.")):
        diff.diff(a, b)
    assert not Path("/tmp/unpickled-by-seedbed").exists()


def test_a_small_file_that_unpacks_to_a_large_one_is_not_unpacked(make: Maker) -> None:
    count = fingerprint.LARGEST_ROWS // 8 + 1000
    a, b = make("a"), make("b")
    (b / "rows.npz").write_bytes(npz(about=npy(np.frombuffer(ABOUT.partition(b"\n")[2].replace(b"3", str(count).encode()), np.uint8)),
                                     train=npy(np.zeros(count, "<u8"))))  # fmt: skip
    assert (b / "rows.npz").stat().st_size < 100_000
    with pytest.raises(Refused, match=r"rows\.npz can't be read: larger than what a record keeps"):
        diff.diff(a, b)


def test_values_within_values_without_end_are_refused(make: Maker) -> None:
    a, b = make("a"), make("b")
    deep: Any = 1
    for _ in range(400):
        deep = {"a": deep}
    content = json.loads((b / "record.json").read_text())
    content["inputs"]["config"]["model"]["hidden"] = deep
    (b / "record.json").write_text(json.dumps(content))
    with pytest.raises(Refused, match=r"record\.json can't be read: .* more than 60 deep"):
        diff.diff(a, b)


@pytest.mark.parametrize("name", ["config.yaml", "history.jsonl", "code.diff", "rows.npz"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_plain_file_is_not_opened(name: str, kind: str, make: Maker, tmp_path: Path) -> None:
    a, b = make("a"), make("b")
    (tmp_path / "secret").write_bytes((b / name).read_bytes() if (b / name).exists() else b"secret")
    (b / name).unlink(missing_ok=True)
    (b / name).symlink_to(tmp_path / "secret") if kind == "link" else os.mkfifo(b / name)
    with pytest.raises(Refused, match=name.replace(".", r"\.")):
        diff.diff(a, b)


FIELDS = ["key", "seeds", "inputs", "inputs.code", "inputs.environment.packages", "metrics", "digests", "level", "provenance"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [None, 7, "text", [1], {"a": [1]}])
def test_fields_of_another_kind_are_refused(field: str, value: Any, make: Maker) -> None:
    a, b = make("a"), make("b")
    content = json.loads((b / "record.json").read_text())
    if isinstance(value, str) and isinstance(claims.at(content, field), str):
        return
    put(content, field, 7.5 if value is None else value)
    (b / "record.json").write_text(json.dumps(content))
    if field == "provenance" and isinstance(value, dict):
        assert diff.diff(a, b).differs is False
        return
    with pytest.raises(Refused, match=r"record\.json is not what seedbed writes"):
        diff.diff(a, b)


@pytest.mark.parametrize("provenance", [{"git": 7, "lock": [1]}, {"git": {"commit": {"a": 1}}, "image": "x"}, {"git": None}])
def test_provenance_of_any_kind_is_survived(provenance: dict[str, Any], make: Maker) -> None:
    a, b = make("a"), make("b", code(example__models=ONE))
    content = json.loads((b / "record.json").read_text())
    (b / "record.json").write_text(json.dumps({**content, "provenance": provenance}))
    found = diff.diff(a, b)
    json.dumps(found.as_json())
    show_diff.show(found)


@pytest.mark.parametrize(
    ("where", "value", "doubt"),
    [
        ("inputs.config.model.hidden", [99], "its key is not that of its inputs"),
        ("seeds.init", 99, "its seeds are not those in its inputs"),
        ("digests.predictions", "c" * 64, "its digests don't belong to one another"),
        ("digests.history", "c" * 64, "its history is not the one of its digest"),
    ],
)
def test_a_record_that_was_changed_afterwards_is_doubtful(
    where: str, value: Any, doubt: str, make: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make("a"), make("b")
    content = json.loads((b / "record.json").read_text())
    put(content, where, value)
    (b / "record.json").write_text(json.dumps(content))
    assert doubt in diff.diff(a, b).b.doubts
    proofs.diff([str(a), str(b), "--runs", str(a.parent)])
    shown = capsys.readouterr().out
    assert "DOUBTFUL: " in shown
    assert doubt in shown


def test_values_of_a_record_cannot_write_to_the_terminal(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "[bold]x[/bold]\x1b[31m\x07\r\n\u202e[link=file:///etc]y"
    a = make("a")
    b = make("b", {"config.model.hidden": evil, "code": {evil: "1" * 64}, "environment.packages": {evil: evil}, "environment.python": evil},
             history=[{evil: 0.5}], metrics={evil: 1.0}, digests={evil: "2" * 64})  # fmt: skip
    content = json.loads((b / "record.json").read_text())
    (b / "record.json").write_text(json.dumps({**content, "name": evil, "error": evil}))
    assert proofs.diff([str(a), str(b), "--runs", str(a.parent)]) == 1
    shown = capsys.readouterr().out
    assert "[bold]x[/bold]" in shown
    assert all(letter == "\n" or letter.isprintable() for letter in shown)
    assert proofs.diff([str(a), str(b), "--runs", str(a.parent), "--json"]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_a_record_that_is_not_there_is_refused(make: Maker, tmp_path: Path) -> None:
    a = make("a")
    with pytest.raises(Refused, match="no such record"):
        proofs.diff([str(a), str(tmp_path / "nothing"), "--runs", str(tmp_path)])
    with pytest.raises(Refused, match=r"--runs .* no such folder"):
        proofs.diff([str(a), str(a), "--runs", str(tmp_path / "nothing")])


# --- real runs -----------------------------------------------------------------------------------------------------------


def table(path: Path, values: np.ndarray) -> str:
    path.write_text("a,b,y\n" + "".join(f"{a},{b},{y}\n" for a, b, y in values))
    return f"data.source.path={path}"


@pytest.mark.integration
def test_rows_of_a_real_table(config: Callable[..., Any], tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 1000, (200, 3))
    edited = values.copy()
    edited[[17, 90, 151], [0, 1, 2]] += 1
    moved = values[[*range(5), 6, 5, *range(7, 200)]]
    words = ["data=csv", "data.source.target=y", "training.epochs=1"]

    def trained(name: str, content: np.ndarray) -> Path:
        return training.run(config(*words, table(tmp_path / name, content))).path

    base = trained("base.csv", values)
    found = diff.diff(base, trained("edited.csv", edited))
    assert found.data.said == ["3 of 200 rows of train differ; the first is row 17"]
    assert found.data.parts[0].differ == (17, 90, 151)
    assert found.verdict.said.endswith("the data can explain it.")
    assert "the data" in found.verdict.can
    assert found.inputs.seeds == found.inputs.config == ()
    assert diff.diff(base, trained("moved.csv", moved)).data.said == [
        "train: the same rows in another order; the first that moved is row 5"
    ]
    longer = trained("longer.csv", np.concatenate([values, edited[:12]]))
    assert diff.diff(base, longer).data.said == ["train: 12 rows more in B, from row 200 on"]
    assert [change.name for change in diff.diff(base, longer).inputs.also] == ["data.source.path"]


@pytest.mark.integration
def test_two_seeds_in_fresh_processes(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    one, two = (seedbed("train", "training.epochs=2", f"seeds.master={seed}", "--json").json["key"] for seed in (1, 2))
    runs = str(tmp_path / "runs")
    done = seedbed("diff", one, two[:12], "--runs", runs)
    assert done.status == 1, done.err
    assert "The first output that differs is the initial weights: seeds.init can explain it." in done.out
    assert seedbed("diff", one, one, "--runs", runs, "--json").json["differs"] is False
    (tmp_path / "runs" / two / "history.jsonl").write_text("broken")
    done = seedbed("diff", one, two, "--runs", runs)
    assert (done.status, done.out) == (2, "")
    assert f"{two}/history.jsonl, line 1, can't be read" in done.err
