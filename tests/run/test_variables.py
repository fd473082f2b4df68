"""Environment variables that the user's code reads: what is seen of them, and that they stand in key and record."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedbed.proof import promise
from seedbed.run import origin, record, redaction, training, variables
from seedbed.run.record import Record
from seedbed.run.session import Session

READING = """
import os
from os import environ as around, getenv

NAME = "UNI" + "TS"
WAYS = {
    "subscript": lambda: os.environ[NAME],
    "get": lambda: os.environ.get(NAME),
    "alias": lambda: around.get(NAME, "3"),
    "getenv": lambda: getenv(NAME),
    "bytes": lambda: os.environb[NAME.encode()],
    "in": lambda: NAME in os.environ,
    "expandvars": lambda: os.path.expandvars("$" + NAME),
    "template": lambda: __import__("string").Template("$" + NAME).substitute(os.environ),
    "setdefault": lambda: os.environ.setdefault(NAME, "5"),
    "format": lambda: "{UNITS}".format_map(os.environ),
    "resolver": lambda: __import__("omegaconf").OmegaConf.create({"n": "${oc.env:" + NAME + "}"}).n,
    "items": lambda: dict(os.environ.items()),
    "copy": lambda: os.environ.copy(),
    "or": lambda: os.environ | {"A": "1"},
    "iteration": lambda: [name for name in os.environ if name.startswith("UNI")],
    "length": lambda: len(os.environ),
}
"""


@pytest.mark.parametrize("way", ["subscript", "get", "alias", "getenv", "bytes", "in", "expandvars", "template", "setdefault", "format",
                                 "resolver"])  # fmt: skip
def test_a_read_by_a_name_is_seen(way: str, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    plugin("reading", READING)
    monkeypatch.setenv("UNITS", "16")
    import reading

    read: dict[str, str | None] = {}
    with variables.watched(read):
        reading.WAYS[way]()
    assert read == {"UNITS": "16"}


@pytest.mark.parametrize("way", ["items", "copy", "or", "iteration", "length"])
def test_whoever_goes_through_the_environment_reads_all_of_it(
    way: str, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin("reading", READING)
    import reading

    read: dict[str, str | None] = {}
    with variables.watched(read):
        reading.WAYS[way]()
        assert variables.WHOLE in read
        inputs: dict[str, Any] = {"code": {}, "determinism": {"environment": {}}, "environment": {"variables": {}}}
        before = variables.late(inputs)
        assert list(before) == [variables.WHOLE]
    monkeypatch.setenv("SHLVL", "77")
    assert variables.shown(variables.WHOLE, None) == before[variables.WHOLE]
    monkeypatch.setenv("NEWS", "1")
    assert variables.shown(variables.WHOLE, None) != before[variables.WHOLE]


def test_what_libraries_read_for_themselves_and_what_a_run_wrote_is_left_alone(plugin: Callable[..., Path]) -> None:
    plugin(
        "writing",
        """
        import os, tempfile, locale
        from pathlib import Path

        def work():
            tempfile._candidate_tempdir_list()
            Path("~/x").expanduser()
            os.environ["MINE"] = "1"
            return os.environ["MINE"]
    """,
    )
    import writing

    read: dict[str, str | None] = {}
    try:
        with variables.watched(read):
            writing.work()
        assert read == {"MINE": None}
        assert variables.present("MINE") is None
    finally:
        del os.environ["MINE"]


def test_values_are_kept_as_numbers_or_as_stamps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert variables.shown("UNITS", "16") == "16"
    assert variables.shown("UNITS", None) is None
    assert variables.shown("FAST", "true") == "true"
    kept = variables.shown("MODE", "hunter2 and more")
    assert kept != variables.shown("MODE", "hunter3 and more")
    assert "hunter" not in str(kept)
    assert "1234" not in str(variables.shown("DB_PASSWORD", "1234"))
    file = tmp_path / "weights.txt"
    file.write_text("1")
    first = variables.shown("WEIGHTS", str(file))
    file.write_text("2")
    assert variables.shown("WEIGHTS", str(file)) != first


def test_a_secret_is_known_as_soon_as_it_is_read(plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have come after the start, and the next thing may be an error that quotes it."""
    plugin("asking", "import os\ndef asked(name):\n    return os.environ[name]\ndef put(name, value):\n    os.environ[name] = value\n")
    monkeypatch.setattr(redaction, "_known", {})
    import asking

    with variables.watched({}):
        monkeypatch.setenv("DB_PASS", "swordfish-9")
        monkeypatch.setenv("SHOAL", "herring-12")
        assert [asking.asked(name) for name in ("DB_PASS", "SHOAL")] == ["swordfish-9", "herring-12"]
        asking.put("DB_PASS", "swordfish-10")
        asking.asked("DB_PASS")
    assert redaction.redacted("swordfish-9, swordfish-10, herring-12") == "${DB_PASS}, ${DB_PASS}, herring-12"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import os\nos.environ['A']; os.environ.get('B', 1); os.getenv('C'); 'D' in os.environ", {"A", "B", "C", "D"}),
        ("import os as o\nfrom os import environ as e, getenv as g\ne['A']; o.environ.pop('B'); g(key='C')", {"A", "B", "C"}),
        ("import os\nN = 'A'\ndef f():\n    return os.environ[N]", {"A"}),
        ("import os\nos.environb[b'A']", {"A"}),
        ("import os\nos.environ['A'] = '1'; os.environ.update(B='2'); del os.environ['C']", set()),
        ("environ = {}\nenviron['A']", set()),
        ("import os\n'A' not in os.environ; os.environ.setdefault('B', '1'); os.environ.__getitem__('C')", {"A", "B", "C"}),
    ],
)
def test_names_that_stand_in_the_source(source: str, names: set[str]) -> None:
    assert variables.asked_for(source.encode()) == names


MODEL = """
import os
import keras, numpy as np

def data():
    x = np.arange(32, dtype="float32").reshape(32, 1)
    return x, x

def units(where):
    return int(os.environ.get("UNITS_" + where.upper(), "16"))

def model(spec):
    return keras.Sequential([keras.Input(spec.inputs), keras.layers.Dense(units("late")), keras.layers.Dense(1)])

def plainly(spec):
    return keras.Sequential([keras.Input(spec.inputs), keras.layers.Dense(int(os.environ.get("UNITS_EARLY", "16"))), keras.layers.Dense(1)])
"""


@pytest.mark.parametrize(
    ("function", "name"), [pytest.param("model", "UNITS_LATE", marks=pytest.mark.integration), ("plainly", "UNITS_EARLY")]
)
def test_another_value_is_another_run(
    function: str, name: str, config: Callable[..., Any], plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the source says the name or not; and the first value finds its record again, in a study's process, too."""
    plugin("around", MODEL)
    said = config("~model", f"+model={{_target_: around.{function}}}", "training.epochs=1", "training.loss=mean_squared_error")
    said.data.source = {"_target_": "around.data"}
    session = Session(many=True)
    found: dict[str | None, Record] = {}
    for value in (None, "64", "8"):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
        session = Session(many=True)
        found[value] = training.run(said, session=session)
        assert not found[value].reused
    assert len({record.key for record in found.values()}) == 3
    assert len({record.digests["final_weights"] for record in found.values()}) == 3
    for value in ("8", None, "64"):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
        again = training.run(said)
        assert (again.reused, again.key) == (True, found[value].key)
    read = {**found["64"].inputs["environment"].get("read", {}), **found["64"].content["read"]}
    assert read[name] == "64"
    if function == "plainly":
        rows = promise.compared(found["64"].inputs, found["8"].inputs)
        assert any(f"{name} 8 (64 recorded)" in reason for reason in rows.reasons)


def test_what_a_module_read_when_it_was_imported_counts_for_every_later_run(
    plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin("importing", "import os\nUNITS = os.environ.get('UN' + 'ITS')\n")
    monkeypatch.setenv("UNITS", "4")
    variables.install()
    import importing

    assert importing.UNITS == "4"
    inputs: dict[str, Any] = {"code": {"importing": ""}, "determinism": {"environment": {}}, "environment": {"variables": {}}}
    with variables.watched({}):
        assert variables.late(inputs) == {"UNITS": "4"}
    del sys.modules["importing"]


def test_what_the_key_names_already_is_not_listed_again() -> None:
    inputs: dict[str, Any] = {
        "code": {},
        "determinism": {"environment": {"OF_LEVEL": "1"}},
        "environment": {"variables": {"OF_BACKEND": "2"}, "read": {"EARLY": "3"}},
    }
    with variables.watched(dict.fromkeys(("OF_LEVEL", "OF_BACKEND", "EARLY", "SEEDBED_ROOT", "LATE"), "9")):
        assert variables.late(inputs) == {"LATE": "9"}


def test_a_record_is_used_where_what_it_has_read_is_as_it_was_and_else_the_key_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs: dict[str, Any] = {"environment": {"read": {"EARLY": "1"}}}
    monkeypatch.setenv("LATE", "2")
    first = record.key_of(inputs)
    with variables.settled(tmp_path, inputs, print) as found:
        assert found == (first, inputs)  # there is no record yet
    (tmp_path / first).mkdir()
    content = {"read": {"LATE": "2"}}
    (tmp_path / first / "record.json").write_text(json.dumps({**content, origin.FIELD: origin.mark(content, tmp_path / first)}))
    with variables.settled(tmp_path, inputs, print) as found:
        assert found == (first, inputs)
    monkeypatch.setenv("LATE", "3")
    with variables.settled(tmp_path, inputs, print) as (key, now):
        assert now == {"environment": {"read": {"EARLY": "1", "LATE": "3"}}}
        assert key == record.key_of(now) != first
        assert record.is_held(tmp_path, key)
        assert not record.is_held(tmp_path, first)
