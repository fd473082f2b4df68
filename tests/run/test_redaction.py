"""What is known to be secret stands in no text, however a message quotes it; and what is none stays readable."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from seedbed import Refused, composing
from seedbed.run import config as configs
from seedbed.run import redaction


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", {})


@pytest.mark.parametrize("secret", ["hunter22", "with 'quotes\"", "back\\slash", "line\nfeed", "p@ss:w/rd?", "größe", "a%41b"])
@pytest.mark.parametrize("quoted", [str, repr, json.dumps, lambda text: quote(text, safe=""), lambda text: f"<{text}>"])
def test_a_secret_in_each_form_that_a_message_may_quote_it_in(secret: str, quoted: Any) -> None:
    assert quoted(secret) in f"said no to {quoted(secret)}!"
    redaction.know(secret, "${oc.env:NAME}")
    shown = redaction.redacted(f"said no to {quoted(secret)}!")
    assert "${oc.env:NAME}" in shown
    assert secret not in shown
    assert quoted(secret).strip("\"'<>") not in shown


def test_a_secret_that_holds_another_one_is_replaced_as_a_whole() -> None:
    redaction.know("sword", "${SHORT}")
    redaction.know("swordfish-9", "${LONG}")
    assert redaction.redacted("swordfish-9, sword") == "${LONG}, ${SHORT}"


def test_variables_whose_names_say_so(tmp_path: Path) -> None:
    redaction.know_environment(
        {"AWS_SECRET_ACCESS_KEY": "abcdefgh", "MLFLOW_TRACKING_PASSWORD": "swordfish", "HF_TOKEN": "hf_123456", "USE_TOKEN": "true",
         "TOKEN_FILE": str(tmp_path), "HOME": "/home/somebody"}
    )  # fmt: skip
    assert redaction.redacted("abcdefgh swordfish hf_123456") == "${AWS_SECRET_ACCESS_KEY} ${MLFLOW_TRACKING_PASSWORD} ${HF_TOKEN}"
    assert redaction.redacted(f"true {tmp_path} /home/somebody") == f"true {tmp_path} /home/somebody"  # a place must be named


NAMES = {
    True: ("DB_PASSWORD", "DB_PASS", "PASS", "MYSQL_PWD", "GPG_PASSPHRASE", "SSH_PRIVATE_KEY", "privateKey", "PRIVATE_KEY_PEM", "CARD_PIN", "NPM_AUTH",
           "HTTP_BASIC_AUTH", "AUTH", "HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "db_pass"),
    False: ("PWD", "OLDPWD", "SSH_AUTH_SOCK", "XAUTHORITY", "PATH", "PRIVATE_KEY_PATH", "PASSPHRASE_FILE", "SSH_ASKPASS", "BYPASS", "COMPASS", "SPIN",
            "AUTHOR", "GIT_AUTHOR_NAME", "PASSES", "KEYBOARD", "MLFLOW_TRACKING_AUTH", "PINNED", "AUTH_METHOD", "UNITS"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "secret"), [(name, secret) for secret, names in NAMES.items() for name in names])
def test_which_names_say_that_the_value_is_a_secret(name: str, secret: bool) -> None:
    redaction.know_environment({name: "swordfish-9"})
    assert ("swordfish-9" not in redaction.redacted("swordfish-9")) is secret


ADDRESSES = {
    "postgresql://me:pw@host/db": "postgresql://…@host/db",
    "postgresql://me:p@ss:w@host:5432/db?sslmode=on": "postgresql://…@host:5432/db?sslmode=on",
    "https://token@host/x": "https://…@host/x",
    "s3://bucket/key@2": "s3://bucket/key@2",
    "https://host/?a=1&password=x%20y&b=2": "https://host/?a=1&password=…&b=2",
    "https://host/?token=abc": "https://host/?token=…",
    "http://localhost:5000": "http://localhost:5000",
    "sqlite:///runs/mlflow.db": "sqlite:///runs/mlflow.db",
    "mail me@example.org": "mail me@example.org",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_lose_their_credentials_and_nothing_else(address: str) -> None:
    assert redaction.redacted(f"can't reach {address} today") == f"can't reach {ADDRESSES[address]} today"
    assert redaction.redacted(ADDRESSES[address]) == ADDRESSES[address]
    assert redaction.has_credentials(address) == (address != ADDRESSES[address])


name = st.text("abcxyz019._-", min_size=1)


@given(user=name, password=st.text("abcXYZ019.:@!$&*()+,;=%~-_", min_size=1), host=name)
def test_of_no_address_that_can_be_parsed_does_the_password_stay(user: str, password: str, host: str) -> None:
    address = f"postgresql://{user}:{password}@{host}/db"
    assert urlsplit(address).password == password
    assert redaction.redacted(address) == f"postgresql://…@{host}/db"


def test_words_of_a_command_have_them_by_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    words = ["tracking.uri='postgresql://me:pw@host/db?password=two'", "model=cnn", "data.source.url='https://x:y@z'"]
    referred = redaction.by_reference(words)
    assert referred == [
        "tracking.uri='postgresql://${oc.env:SEEDBED_CREDENTIALS_1,hidden}@host/db?password=${oc.env:SEEDBED_CREDENTIALS_2,hidden}'",
        "model=cnn",
        "data.source.url='https://${oc.env:SEEDBED_CREDENTIALS_3,hidden}@z'",
    ]
    assert redaction.by_reference(referred) == referred  # once is enough
    composed = configs.composed(referred[0])
    assert composed.tracking.uri == "postgresql://me:pw@host/db?password=two"  # and mean the same


def test_a_password_that_a_config_file_holds_is_refused() -> None:
    with pytest.raises(Refused, match=r"data.source.url=https://…@host/x: .* \$\{oc.env:NAME\}") as refused:
        configs.check(configs.composed("+data.source.url=https://me:hunter22@host/x"))
    assert "hunter22" not in str(refused.value)
    configs.check(configs.composed("+data.source.url=https://host/x", "tracking.uri=postgresql://me:pw@host/db"))


@pytest.mark.parametrize("word", ["seeds.master=1,2", "seeds.none_such=1,2"], ids=["trained", "refused"])
def test_a_multirun_keeps_no_password_of_a_config_file(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra writes the whole config into the sweep's folder, before it looks at the jobs, and each job's into its own."""
    (tmp_path / "conf" / "tracking").mkdir(parents=True)
    (tmp_path / "conf" / "tracking" / "mine.yaml").write_text(
        "uri: postgresql://me:planted-six@127.0.0.1:1/runs\nexperiment: x\nwait_seconds: 0\n"
    )
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    told: list[str] = []
    words = ["--multirun", "--config-dir", str(tmp_path / "conf"), "tracking=mine", word, f"runs={tmp_path}/runs"]
    with suppress(Exception) if "none_such" in word else nullcontext():
        composing.hydra(lambda config: told.append(config.tracking.uri), words)
    assert told == ([] if "none_such" in word else ["postgresql://me:planted-six@127.0.0.1:1/runs"] * 2)
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert [path.name for path in written].count("multirun.yaml") == 1
    assert not [path for path in written if b"planted-six" in path.read_bytes()]
    assert OmegaConf.save.__module__ == "omegaconf.omegaconf"


def test_other_names_and_forms_of_secrets() -> None:
    redaction.know_environment(
        {"S3_ACCESS_KEY": "abcdefgh", "API_KEY": "ijklmnop", "APIKEY": "qrstuvwx", "db_passwd": "12345678", "GCP_CREDENTIALS": "87654321"}
    )
    assert redaction.redacted("abcdefgh ijklmnop qrstuvwx 12345678 87654321") == (
        "${S3_ACCESS_KEY} ${API_KEY} ${APIKEY} ${db_passwd} ${GCP_CREDENTIALS}"
    )
    assert redaction.redacted("https://host/?Password=x&API_KEY=y&sig=z") == "https://host/?Password=…&API_KEY=…&sig=…"
    redaction.know("swo%40rd", "${QUOTED}")
    assert redaction.redacted("swo@rd") == "${QUOTED}"
    redaction.know("on", "${SHORT}")
    assert redaction.redacted("go on") == "go on"  # no message could be read


def test_a_word_is_told_without_its_credentials_and_with_all_else() -> None:
    told = {
        "tracking.uri=https://me:pw@host/x?a=1&token=t&b=2": "tracking.uri=https://host/x?a=1&b=2",
        "tracking.uri=https://host/x?password=t": "tracking.uri=https://host/x",
        "url=https://${oc.env:SEEDBED_CREDENTIALS_1,hidden}@host": "url=https://host",
        "model=cnn": "model=cnn",
    }
    assert {word: redaction.without_credentials(word) for word in told} == told
