"""From two traces the first point at which they part; the traces are written by hand here, as `trace.Trace` writes them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedbed.proof.places import Place, Seen, coarse, fine

X = np.arange(12, dtype="float32").reshape(6, 2)
Write = Callable[..., Seen]
TRAINED: dict[str, Any] = {"weights": [["net/first/kernel", "2"]], "optimizer": "o", "generators": "g"}
TRACE: dict[str, Any] = {
    "fingerprint": "f", "batches": {}, "split": {"train": "s"}, "generators": "g", "layers": {"net/noise": "mine.Noise"},
    "data": {"train": {"kind": "arrays", "examples": 6, "arrays": [["<f4", [6, 2], "h"]]}},
    "weights": [["net/first/kernel", "1"], ["net/second/kernel", "2"]],
    "epochs": [{"epoch": number, "weights": [["net/first/kernel", f"{number}"]], "optimizer": "o", "generators": "g",
                "logs": {"loss": (0.5).hex()}} for number in range(3)],
    "trained": TRAINED, "predictions": ["p"], "metrics": {"loss": (0.25).hex()},
}  # fmt: skip
STEP = ["batch x", "start weights", "output net/first", "output net/noise", "loss ", "backward net/noise", "computed net/second/kernel",
        "computed net/first/kernel", "gradient net/second/kernel", "gradient net/first/kernel", "update net/first/kernel", "state adam/iteration", "logs loss"]  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Write:
    def write(name: str, rows: Any = None, arrays: Any = None, steps: Any = None, values: Any = None, **changed: Any) -> Seen:
        folder = tmp_path / name
        (folder / "values").mkdir(parents=True)
        (folder / "trace.json").write_text(json.dumps(copy.deepcopy(TRACE) | changed))
        np.savez(folder / "rows.npz", train=np.arange(6, dtype=np.uint64) if rows is None else rows)
        np.savez(folder / "arrays.npz", **{"train.0": X if arrays is None else arrays})
        if steps is not None:
            names = np.frombuffer(json.dumps([STEP]).encode(), np.uint8)
            np.savez(folder / "steps.npz", **{"epoch 1 train.rows": steps, "epoch 1 train.names": names})
        for step, value in (values or {}).items():
            np.savez(folder / "values" / f"train-{step:06d}.npz", names=np.array(["output net/noise"]), **{"0": value})
        return Seen(folder)

    return write


def test_equal_traces_do_not_part(written: Write) -> None:
    assert coarse(written("a"), written("b")) is None


def test_rows_of_the_data(written: Write) -> None:
    other = X.copy()
    other[4, 1] += 1
    changed = {"fingerprint": "e", "data": {"train": {"kind": "arrays", "examples": 6, "arrays": [["<f4", [6, 2], "i"]]}}}
    rows = np.arange(6, dtype=np.uint64)
    rows[4] = 99
    place = coarse(written("a"), written("b", rows=rows, arrays=other, **changed))
    assert place is not None
    assert place.said.startswith("the data, part train: 1 of 6 rows differ, the first is row 4 (array 0: 1 of 12 values differ, by up to 1")
    moved = coarse(Seen(written("c").folder), written("d", rows=np.arange(6, dtype=np.uint64)[::-1].copy(), arrays=X[::-1], **changed))
    assert moved is not None
    assert "the same 6 examples in another order, from row 0 on" in moved.where


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        (["1", "3", "2"], "the same batches in another order, from batch 2"),
        (["1", "2"], "3 and 2 batches, from batch 3"),
        (["1", "9", "3"], "another batch, from batch 2"),
    ],
)
def test_batches_of_a_pipeline(written: Write, batches: list[str], words: str) -> None:
    pipeline = {"data": {"train": {"kind": "tf_data", "class": "_Map"}}}
    a = written("a", **pipeline, batches={"train": ["1", "2", "3"]})
    place = coarse(a, written("b", **pipeline, batches={"train": batches}, fingerprint="other"))
    assert place is not None
    assert words in place.where


# In the order of a run; what comes after a place differs, too, and is not named.
OTHERS = {"weights": [["net/first/kernel", "z"], ["net/second/kernel", "2"]], "optimizer": "z", "generators": "z"}
LATER: dict[str, Any] = {
    "split": {"train": "z"}, "weights": OTHERS["weights"], "generators": "z", "epochs": [{**epoch, **OTHERS} for epoch in TRACE["epochs"]],
    "trained": OTHERS, "predictions": ["z"], "metrics": {"loss": (9.0).hex()},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "kind", "layer"),
    [
        ({"split": {"train": "t"}}, "split", None),
        ({"weights": [["net/first/kernel", "1"], ["net/second/kernel", "3"]]}, "weights", "net/second"),
        ({"weights": [["net/first/kernel", "1"]]}, "weights", None),
        ({"generators": "h"}, "generators", None),
        ({"trained": TRAINED | {"weights": [["net/first/kernel", "7"]]}}, "trained", "net/first"),
        ({"trained": TRAINED | {"optimizer": "p"}}, "trained", None),
        ({"predictions": ["q"]}, "predictions", None),
        ({"metrics": {"loss": (0.5).hex()}}, "metrics", None),
        ({"epochs": TRACE["epochs"][:2]}, "run", None),
    ],
)
def test_the_order_of_places(written: Write, changed: dict[str, Any], kind: str, layer: str | None) -> None:
    later = dict(list(LATER.items())[list(LATER).index(next(iter(changed))) + 1 :])
    place = coarse(written("a"), written("b", **{**later, **changed}))
    assert place is not None
    assert (place.kind, place.layer) == (kind, layer)


def test_an_execution_that_was_ended_early_is_compared_as_far_as_it_came(written: Write) -> None:
    assert coarse(written("a"), written("b", epochs=TRACE["epochs"][:2], stopped=True, predictions=None, metrics={})) is None


def test_epochs(written: Write) -> None:
    epochs = copy.deepcopy(TRACE["epochs"])
    epochs[1]["logs"]["loss"] = (0.75).hex()
    place = coarse(written("a"), written("b", epochs=epochs))
    assert place is not None
    assert (place.kind, place.epoch, place.size) == ("logs", 2, "0.5 and 0.75")
    epochs[1]["weights"][0][1] = "other"
    assert coarse(Seen(written("c").folder), written("d", epochs=epochs)) == Place(
        "epoch", "epoch 2: net/first/kernel at its end", epoch=2, layer="net/first", tensor="net/first/kernel"
    )


def rows(*differing: str, step: int = 1, steps: int = 3) -> np.ndarray:
    table = np.tile(np.arange(1, 1 + len(STEP), dtype=np.int32), (steps, 1))
    for name in differing:
        table[step:, STEP.index(name)] += 100
    return np.concatenate([np.zeros((steps, 1), np.int32), table], axis=1)


def test_what_is_said_of_gradients(written: Write) -> None:
    def said(name: str, *differing: str) -> str:
        place = fine(written(f"{name} a", steps=rows()), written(f"{name} b", steps=rows(*differing)), "epoch 1 train", 2)
        assert place is not None
        return place.where

    both = ["gradient net/second/kernel", "gradient net/first/kernel"]
    computed = said("computed", *both, "computed net/second/kernel", "computed net/first/kernel")
    assert "as it is computed, as those of 1 other layers" in computed
    assert "changed between" not in computed
    assert "as it was computed it agrees: changed between the two" in said("changed", *both)


@pytest.mark.parametrize(
    ("differing", "kind", "layer"),
    [
        (["batch x", "output net/first"], "batch", None),
        (["start weights", "loss "], "start", None),
        (["output net/noise", "loss ", "gradient net/first/kernel"], "output", "net/noise"),
        (["backward net/noise", "gradient net/first/kernel"], "backward", "net/noise"),
        (["computed net/first/kernel", "gradient net/first/kernel", "update net/first/kernel"], "gradient", "net/first"),
        (["gradient net/first/kernel", "update net/first/kernel"], "gradients", "net/first"),
        (["gradient net/second/kernel", "gradient net/first/kernel"], "gradients", None),
        # a convolution's sums over the batch, with another number of threads: each layer's own
        (
            ["computed net/second/kernel", "computed net/first/kernel", "gradient net/second/kernel", "gradient net/first/kernel"],
            "gradient",
            "net/second",
        ),
        (["update net/first/kernel"], "update", "net/first"),
        (["logs loss"], "logs", None),
    ],
)
def test_points_within_a_step(written: Write, differing: list[str], kind: str, layer: str | None) -> None:
    place = fine(written("a", steps=rows()), written("b", steps=rows(*differing)), "epoch 1 train", 2)
    assert place is not None
    assert (place.kind, place.layer, place.epoch, place.step) == (kind, layer, 2, 2)


def test_the_size_of_a_difference(written: Write) -> None:
    value = np.ones((2, 2), "float32")
    other = value.copy()
    other[0, 1] = np.nextafter(np.float32(1), np.float32(2))
    a = written("a", steps=rows(), values={1: value})
    place = fine(a, written("b", steps=rows("output net/noise"), values={1: other}), "epoch 1 train", 2)
    assert place is not None
    assert place.said.startswith("epoch 2, step 2: the output of the layer (mine.Noise) net/noise (1 of 4 values differ")
    assert "(1 ulp)" in place.said


def test_no_difference_within_the_steps(written: Write) -> None:
    assert fine(written("a", steps=rows()), written("b", steps=rows()), "epoch 1 train", 2) is None
    fewer = fine(Seen(written("c", steps=rows()).folder), written("d", steps=rows(steps=2)), "epoch 1 train", 2)
    assert fewer is not None
    assert (fewer.kind, fewer.step) == ("run", 2)
