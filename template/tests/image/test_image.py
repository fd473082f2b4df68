"""The image: the same bits in and out."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

pytestmark = pytest.mark.image


def test_the_bits_are_the_same_in_and_out(engine: Any, build: Callable[..., str], seedbed: Callable[..., Any], tmp_path: Path) -> None:
    image, (env, _) = build(), engine
    runs = tmp_path / "in"
    command = [ROOT / "docker" / "run", "train", "experiment=quick", "tracking=none", "--json"]
    inside = subprocess.run(command, env={**env, "IMAGE": image, "RUNS": str(runs)}, capture_output=True, text=True)
    assert inside.returncode == 0, inside.stderr
    outside = seedbed("train", "experiment=quick", "--json", runs=tmp_path / "out").json
    assert json.loads(inside.stdout.splitlines()[-1])["digests"] == outside["digests"]
