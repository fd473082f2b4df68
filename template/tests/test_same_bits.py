"""The promise of `strict`: the same bits from fresh processes, whatever is around them; and other bits from other seeds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

QUICK = ["experiment=quick", "--json"]


def test_fresh_processes_have_the_same_bits(seedbed: Callable[..., Any], tmp_path: Path) -> None:
    first = seedbed("train", *QUICK, env={"PYTHONHASHSEED": "1"}, runs=tmp_path / "one")
    assert first.status == 0, first.err
    second = seedbed("train", *QUICK, env={"PYTHONHASHSEED": "2", "TZ": "Asia/Kathmandu"}, cwd=Path("/"), runs=tmp_path / "two")
    assert second.json["key"] == first.json["key"]
    assert second.json["digests"] == first.json["digests"]
    other = seedbed("train", *QUICK, "seeds.master=2", runs=tmp_path / "one").json
    assert other["digests"]["final_weights"] != first.json["digests"]["final_weights"]
