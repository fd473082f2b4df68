"""`diff(a, b)`: what differs between two records; inputs first, then outputs, then which input can explain which output.

Only what the two folders hold is read: no code of a record is run, no data function called, no path in a record followed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seedbed.command_line import command
from seedbed.proof import explaining, inputs, outputs, rows, side, trees
from seedbed.proof.explaining import Verdict
from seedbed.proof.inputs import Inputs
from seedbed.proof.outputs import Outputs
from seedbed.proof.rows import Data
from seedbed.proof.side import Side
from seedbed.proof.trees import Code
from seedbed.run import origin


@dataclass(frozen=True)
class Difference:
    """next: the command that finds the place where the runs part; None where the inputs explain it."""

    a: Side
    b: Side
    inputs: Inputs
    code: Code
    data: Data
    outputs: Outputs
    verdict: Verdict
    next: str | None

    @property
    def inputs_differ(self) -> bool:
        found = self.inputs
        return bool(
            found.seeds
            or found.config
            or found.determinism
            or found.packages
            or found.environment
            or self.code.modules
            or not self.data.same
        )

    @property
    def differs(self) -> bool:
        """Whether anything that counts differs: an input that is part of the key, or an output."""
        return self.inputs_differ or not self.outputs.same

    def as_json(self) -> dict[str, Any]:
        found = self.inputs
        named = {"seeds": found.seeds, "config": found.config, "determinism": found.determinism, "packages": found.packages,
                 "environment": found.environment}  # fmt: skip
        return _plain({
            "differs": self.differs,
            "a": _named(self.a), "b": _named(self.b),
            "inputs": {name: [change.as_json() for change in changed] for name, changed in named.items()}
            | {"code": asdict(self.code), "data": self.data.as_json()},
            "not_counted": [change.as_json() for change in found.also],
            "outputs": self.outputs.as_json(),
            "verdict": self.verdict.as_json(),
            "next": self.next,
        })  # type: ignore[no-any-return]  # fmt: skip


def diff(a: Path, b: Path) -> Difference:
    """Compare the records in two folders. Raises Refused for a record that is broken, naming the file."""
    left, right = side.read(a), side.read(b)
    found, code, data, out = (
        inputs.compared(left, right),
        trees.compared(left, right),
        rows.compared(left, right),
        outputs.compared(left, right),
    )
    verdict = explaining.verdict(left, right, found, code, data, out)
    return Difference(left, right, found, code, data, out, verdict, _next(left) if verdict.undetermined else None)


def _next(one: Side) -> str:
    """The command that finds where the runs part. Of a record from elsewhere none is made that holds its config, which may name
    any code: `replay` judges that first."""
    from seedbed.proof.overrides import overrides

    if origin.doubt(one.content, one.path) is not None:
        return command("replay", [str(one.path)])
    words = overrides(one)
    return "verify, with the words that trained them" if words is None else command("diagnose", words)


def _named(one: Side) -> dict[str, Any]:
    return {"record": str(one.path), "key": one.key, "name": one.content["name"], "status": one.status, "level": one.level,
            "doubts": list(one.doubts), "error": one.content.get("error")}  # fmt: skip


def _plain(node: Any) -> Any:
    """As JSON can say it: numbers that are none as text."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return repr(node) if isinstance(node, float) and not math.isfinite(node) else node
