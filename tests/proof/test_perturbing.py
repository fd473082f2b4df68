"""The surroundings that an execution is given are really other ones, and whatever is changed in a process is put back."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from seedbed.proof import perturbing
from seedbed.proof.perturbing import PARTS, Way, perturbed

LOOK = """
import json, os, sys, time
print(json.dumps({"cwd": os.getcwd(), "here": sorted(os.listdir(".")), "zone": time.timezone, "tmp": os.environ.get("TMPDIR"),
                  "locale": os.environ.get("LC_ALL"), "padding": len(os.environ.get("SEEDBED_PADDING", "")),
                  "cores": len(os.sched_getaffinity(0))}))
"""


def look(way: Way, folder: Path, config: Any) -> dict[str, Any]:
    with way.outside(folder, config) as given:
        env = {**os.environ, **given.pop("env")}
        done = subprocess.run([sys.executable, "-c", LOOK], env=env, capture_output=True, text=True, check=True, **given)
    return json.loads(done.stdout)


def test_all_is_changed(config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "table.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path / "here")
    before, after = look(perturbing.AS_IT_IS, tmp_path, config()), look(perturbed(), tmp_path, config())
    assert before["here"] == after["here"] == ["table.csv"]  # relative paths lead to the same files
    for name in ("cwd", "zone", "tmp", "locale", "padding"):
        assert before[name] != after[name], name
    assert after["cores"] == 1


def test_one_part_alone(config: Callable[..., Any], tmp_path: Path) -> None:
    before = look(perturbing.AS_IT_IS, tmp_path, config())
    after = look(Way("zone", frozenset({"zone"})), tmp_path, config())
    assert {name for name in before if before[name] != after[name]} == {"zone"}


def test_variables_that_a_run_does_not_read_get_other_values(
    config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "USER": "me",
        "UNITS": "16",
        "TF_NUMBER": "1",
        "SERVER_PORT": "80",
        "LDAP": "3",
        "PORTAL": "8",
        "HOME": "/home/me",
    }.items():
        monkeypatch.setenv(name, value)

    def given(*read: str) -> dict[str, str]:
        way = Way("environment", frozenset({"environment"}), read=frozenset(read))
        with way.outside(tmp_path, config()) as found:
            return dict(found["env"])

    here = {**os.environ, **given()}
    assert {name: here[name] for name in ("USER", "UNITS", "LDAP", "PORTAL")} == {
        "USER": "elsewhere", "UNITS": "17", "LDAP": "4", "PORTAL": "9",
    }  # fmt: skip
    assert {name: here[name] for name in ("TF_NUMBER", "SERVER_PORT", "HOME")} == {
        "TF_NUMBER": "1",
        "SERVER_PORT": "80",
        "HOME": "/home/me",
    }
    assert given()[perturbing.UNRELATED]
    assert {"USER", "UNITS"}.isdisjoint(given("USER", "UNITS"))  # they are in the key
    assert "OMP_NUM_THREADS" not in given()
    assert given("*") == {}  # the run's code goes through all of them


def test_what_is_in_the_key_stays(config: Callable[..., Any], tmp_path: Path) -> None:
    """At `seeded` the number of cores decides that of threads, and is in the key; a path above is one that a mirror hasn't."""
    seeded = look(perturbed(), tmp_path, config("determinism=seeded"))
    assert seeded["cores"] == len(os.sched_getaffinity(0))
    upwards = look(perturbed(), tmp_path, config("data=csv", "data.source.path=../table.csv", "data.source.target=a"))
    assert upwards["cwd"] == str(Path.cwd())


def test_inside_and_put_back(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02d}").touch()
    names = sorted(os.listdir(tmp_path))  # noqa: PTH208 (what is tested)
    was = os.listdir, os.scandir, time.time()
    with ExitStack() as stack:
        perturbing.inside(stack, listing=1, days=403)
        listed = os.listdir(tmp_path)  # noqa: PTH208
        assert sorted(listed) == names
        assert listed != names
        assert [path.name for path in tmp_path.iterdir()] == listed
        with os.scandir(tmp_path) as entries:
            assert [entry.name for entry in entries] == listed
        assert [Path(path).name for path in glob.glob(f"{tmp_path}/*")] == listed  # noqa: PTH207
        assert next(os.walk(tmp_path))[2] == listed
        assert time.time() - was[2] > 400 * 86_400
        assert (datetime.now() - datetime.fromtimestamp(was[2])).days >= 402
    assert (os.listdir, os.scandir) == was[:2]
    assert time.time() - was[2] < 3600


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def _parent(stat: Path) -> int:
    fields = _read(stat).rpartition(")")[2].split()
    return int(fields[1]) if fields else 0


def test_load_ends(config: Callable[..., Any], tmp_path: Path) -> None:
    with Way("load", frozenset({"load"})).outside(tmp_path, config()):
        mine = [path.parent for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == os.getpid()]
        busy = [path for path in mine if "while" in _read(path / "cmdline")]
        assert len(busy) == 2
    assert not [path for path in busy if path.exists()]


def test_what_is_left_stays() -> None:
    assert perturbed(1, frozenset({"clock"})).parts == frozenset(PARTS) - {"clock"}
    assert perturbed(1, frozenset({"clock"})).inside["days"] == 0


def test_variables_of_the_backend_are_in_the_key_and_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PJRT_NPROC", "2")
    assert "PJRT_NPROC" not in perturbing.other_variables([], "jax")
    assert perturbing.other_variables([], "tensorflow")["PJRT_NPROC"] == "3"


def test_another_order_follows_from_the_number_and_not_from_the_file_system() -> None:
    names = [f"{number:02d}" for number in range(20)]
    first = perturbing._reordered(lambda: list(names), 1)
    assert perturbing._reordered(lambda: names[::-1], 1) == first
    assert perturbing._reordered(lambda: list(names), 2) != first


def test_each_perturbed_execution_is_at_another_time_with_other_orders() -> None:
    assert [perturbed(number).inside for number in (1, 2)] == [{"listing": 1, "days": 403}, {"listing": 2, "days": 806}]


@pytest.mark.parametrize(("here", "there", "found"), [
    ("C.UTF-8", ["C", "C.utf8", "POSIX", "tr_TR.utf8"], "tr_TR.utf8"), ("tr_TR.UTF-8", ["C", "C.utf8", "tr_TR.utf8"], "C.utf8"),
    ("de_DE.UTF-8", ["de_DE.utf8", "tr_TR.utf8"], "tr_TR.utf8"), ("C", ["C"], "C"),
])  # fmt: skip
def test_another_locale_than_the_one_in_force(here: str, there: list[str], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", here)
    monkeypatch.setattr(perturbing.subprocess, "run", lambda *words, **more: subprocess.CompletedProcess(words, 0, "\n".join(there)))
    assert perturbing._locale.__wrapped__() == found
