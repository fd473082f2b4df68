"""What comes from the process environment, and what may be shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from seedbed.run import config as configs
from seedbed.run.record import Record


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {"PASSWORD": "open sesame", "HOST": "db", "WIDTH": "7", "OPTIMIZER": "adam"}.items():
        monkeypatch.setenv(f"OF_THE_TEST_{name}", value)
    return OmegaConf.create({
        "password": "${oc.env:OF_THE_TEST_PASSWORD}",
        "again": {"same": "${password}", "inside": ["${oc.env:OF_THE_TEST_HOST}:${password}@x", 1]},
        "width": "${oc.decode:${oc.env:OF_THE_TEST_WIDTH}}",
        "default": "${oc.env:OF_THE_TEST_NOT_SET,plain}",
        "same": "${oc.env:OF_THE_TEST_OPTIMIZER,adam}",
        "missing": "???",
    })  # fmt: skip


def test_a_value_from_the_environment_is_kept_as_its_name(composed: Any) -> None:
    name = "${oc.env:OF_THE_TEST_PASSWORD}"
    assert configs.without_environment(composed) == {
        "password": name,
        "again": {"same": name, "inside": ["${oc.env:OF_THE_TEST_HOST}:" + name + "@x", 1]},
        "width": 7,
        "default": "plain",
        "same": "adam",  # the config says so by itself
        "missing": "???",
    }
    assert OmegaConf.to_container(composed, resolve=True)["password"] == "open sesame"  # type: ignore[index,call-overload]


def test_a_stamp_tells_values_apart_without_showing_them(composed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = configs.without_environment(composed, stamped=True)
    assert configs.without_environment(composed, stamped=True) == first
    assert "sesame" not in str(first)
    monkeypatch.setenv("OF_THE_TEST_PASSWORD", "another")
    assert configs.without_environment(composed, stamped=True)["password"] != first["password"]


def test_an_error_is_kept_without_them_and_stays_readable(composed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_TEST_HOST", "")
    record = Record.create(tmp_path / "k", {}, "", "")
    assert OmegaConf.to_container(composed, resolve=True)  # what is taken from the environment is known from then on
    record.fail("7 tries: open sesame was refused")
    assert Record.read(record.path).content["error"] == "7 tries: ${oc.env:OF_THE_TEST_PASSWORD} was refused"
