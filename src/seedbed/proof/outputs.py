"""What differs between the outputs of two records: metrics, the first epoch at which the histories part, digests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seedbed.proof.apart import apart
from seedbed.proof.side import Side

# Digests in the order in which a run comes by them; `run` is the sum of all but the metrics.
ORDER = ("initial_weights", "history", "final_weights", "generators", "optimizer", "predictions", "metrics")


@dataclass(frozen=True)
class Apart:
    """Two values of a metric; None where a side has none. ulps: units in the last place, of float32 where both values are float32."""

    name: str
    a: float | None
    b: float | None
    absolute: float | None
    relative: float | None
    ulps32: int | None
    ulps64: int | None


@dataclass(frozen=True)
class Parting:
    """Where two histories part. epoch: counted from 0; metrics: those that differ in it, in the history's order.

    metrics is empty where one history is the beginning of the other one.
    """

    epoch: int
    metrics: tuple[Apart, ...]


@dataclass(frozen=True)
class Outputs:
    """epochs: of A and B. agree, differ: digests that both have. only: those that one has, by side."""

    status: tuple[str, str]
    epochs: tuple[int, int]
    parting: Parting | None
    metrics: tuple[Apart, ...]
    agree: tuple[str, ...]
    differ: tuple[str, ...]
    only: Mapping[str, tuple[str, ...]]

    @property
    def same(self) -> bool:
        """Whether nothing differs; a metric is the same if its bits are."""
        only = any(self.only.values())
        return self.status[0] == self.status[1] and not (self.parting or self.differ or only or any(not is_same(m) for m in self.metrics))

    def as_json(self) -> dict[str, Any]:
        return {
            "status": list(self.status), "epochs": list(self.epochs), "history": asdict(self.parting) if self.parting else None,
            "metrics": [asdict(metric) for metric in self.metrics],
            "digests": {"agree": self.agree, "differ": self.differ, **{f"only_{side}": names for side, names in self.only.items()}},
        }  # fmt: skip


def compared(a: Side, b: Side) -> Outputs:
    digests = sorted({*a.digests, *b.digests}, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    both = [name for name in digests if name in a.digests and name in b.digests]
    metrics = [*a.content["metrics"], *(name for name in b.content["metrics"] if name not in a.content["metrics"])]
    return Outputs(
        status=(a.status, b.status),
        epochs=(len(a.history), len(b.history)),
        parting=parting(a.history, b.history),
        metrics=tuple(how_far(name, a.content["metrics"].get(name), b.content["metrics"].get(name)) for name in metrics),
        agree=tuple(name for name in both if a.digests[name] == b.digests[name]),
        differ=tuple(name for name in both if a.digests[name] != b.digests[name]),
        only={
            "a": tuple(name for name in digests if name not in b.digests),
            "b": tuple(name for name in digests if name not in a.digests),
        },
    )


def parting(a: Sequence[Mapping[str, float]], b: Sequence[Mapping[str, float]]) -> Parting | None:
    """The first epoch at which two histories differ in a bit; None if they don't."""
    for epoch, (left, right) in enumerate(zip(a, b, strict=False)):
        names = [*left, *(name for name in right if name not in left)]
        found = tuple(metric for metric in (how_far(name, left.get(name), right.get(name)) for name in names) if not is_same(metric))
        if found:
            return Parting(epoch, found)
    return None if len(a) == len(b) else Parting(min(len(a), len(b)), ())


def how_far(name: str, a: float | None, b: float | None) -> Apart:
    """relative: the difference by the larger of the two. Whatever can't be said (a side is missing, or not finite) is None."""
    if a is None or b is None or not (math.isfinite(a) and math.isfinite(b)):
        return Apart(name, a, b, None, None, None, None)
    absolute, largest = abs(a - b), max(abs(a), abs(b))
    single = all(_is_single(value) for value in (a, b))
    return Apart(name, a, b, absolute, absolute / largest if largest and math.isfinite(absolute) else 0.0 if not largest else None,
                 _ulps(a, b, "float32") if single else None, _ulps(a, b, "float64"))  # fmt: skip


def is_same(metric: Apart) -> bool:
    """Whether both sides have the value, with the same bits (NaN is NaN, and 0.0 isn't -0.0)."""
    if metric.a is None or metric.b is None:
        return False
    return np.float64(metric.a).tobytes() == np.float64(metric.b).tobytes()


def _is_single(value: float) -> bool:
    with np.errstate(over="ignore"):
        return float(np.float32(value)) == value


def _ulps(a: float, b: float, dtype: str) -> int:
    found = apart(np.array([a], dtype), np.array([b], dtype))
    return 0 if found is None else int(found.ulps or 0)
