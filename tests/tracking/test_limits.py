"""Servers that drip, never end, never answer, or answer with something else: one sentence, within the time that a request has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tracking import hostile

from seedbed import Refused, cli, tracking
from seedbed.tracking import fetching, limits

GENEROUS = 60.0  # seconds on a busy machine; the limits here are 1 s


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tracking.PATIENCE:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(limits, "TIMES", 1)
    for name in ("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"):
        monkeypatch.setenv(name, "false")


def refusal(uri: str, folder: Path) -> str:
    begun = time.monotonic()
    with pytest.raises(Refused) as refused:
        fetching.bring(hostile.RUN, uri, folder)
    assert time.monotonic() - begun < GENEROUS
    said = str(refused.value)
    assert len(said.splitlines()) == 1
    assert said.isprintable()
    return said


@pytest.mark.parametrize("kind", ["silent", "drip_head", "drip_body", "endless", "bomb", "later"])
def test_a_request_ends(kind: str, tmp_path: Path) -> None:
    with hostile.serving(getattr(hostile, kind)) as server:
        said = refusal(server.uri, tmp_path)
    assert f"MLflow at {server.uri} did not give the run {hostile.RUN}" in said
    if kind.startswith("drip"):
        assert "did not end its answer within 1 s" in said
        end = time.monotonic() + GENEROUS
        while time.monotonic() < end and any(one.name == "seedbed-request" for one in threading.enumerate()):
            time.sleep(0.05)
        assert not [one for one in threading.enumerate() if one.name == "seedbed-request"]  # its connection was closed
    if kind in ("endless", "bomb"):
        assert f"more than {limits.ANSWER:,} bytes" in said or "did not end" in said


@pytest.mark.parametrize(
    "body",
    [b"<html><body>Log in</body></html>", b"", b"\xff\xfe", b"\x1b]0;mine\x07", [], None, "run", 3, {"run": 3}, {"run": {"info": []}},
     {"run": {"info": {"run_id": {}}, "data": "x"}}, {"run": {"data": {"tags": {"seedbed.key": "0"}}}}, {"error_code": 3}],
)  # fmt: skip
def test_what_is_no_answer_of_mlflow_s_is_one_sentence(body: Any, tmp_path: Path) -> None:
    with hostile.serving(hostile.constant(body)) as server:
        said = refusal(server.uri, tmp_path)
    assert "Traceback" not in said


def test_replay_ends_with_status_2_and_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with hostile.serving(hostile.drip_body) as server:
        assert cli.main(["replay", hostile.RUN, "--uri", server.uri, "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "did not end its answer" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["ui", "sync"])
def test_other_commands_end_too(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies" / "one").mkdir(parents=True)
    (tmp_path / "studies" / "one" / "study.json").write_text('{"id": "1", "name": "x", "vary": null, "level": "strict", "overrides": []}')
    (tmp_path / "studies" / "one" / "report.json").write_text('{"experiment": "x"}')
    with hostile.serving(hostile.drip_body) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        assert cli.main([command, "--runs", str(tmp_path)]) == (2 if command == "ui" else 1)
    assert "did not end its answer" in capsys.readouterr().err


# --- files --------------------------------------------------------------------------------------------------------

RECORD = {"path": "record.json", "is_dir": False, "file_size": 10}


def test_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    answer = hostile.of_a_run("mlflow-artifacts:/0/x", [{**RECORD, "is_dir": True}], hostile.constant({}))
    with hostile.serving(answer) as server:
        assert "record.json of the MLflow run" in (said := refusal(server.uri, tmp_path))
    assert "is a folder" in said


@pytest.mark.parametrize("files", [{}, "x", [3], [{"path": 3, "is_dir": False}], [{"path": "../../x", "is_dir": False}], [{}],
                                   [{**RECORD, "file_size": "many"}], [{**RECORD, "file_size": 1 << 60}]])  # fmt: skip
def test_a_list_of_files_that_is_none(files: Any, tmp_path: Path) -> None:
    with hostile.serving(hostile.of_a_run("mlflow-artifacts:/0/x", files, hostile.constant({}))) as server:
        refusal(server.uri, tmp_path)


@pytest.mark.parametrize("kind", ["drip_body", "endless", "silent"])
def test_a_file_ends(kind: str, tmp_path: Path) -> None:
    """A file of a record has its own size, and time as long as it arrives."""
    with hostile.serving(hostile.of_a_run("mlflow-artifacts:/0/x", [RECORD], getattr(hostile, kind))) as server:
        said = refusal(server.uri, tmp_path)
    if kind == "endless":
        assert "more than 20,000,000 bytes" in said or "did not end" in said


@pytest.mark.parametrize("body", [b"[]", b"null", b"<html>", b"\xff", b'{"format": 1, "status": []}'])
def test_a_record_of_another_shape(body: bytes, tmp_path: Path) -> None:
    with hostile.serving(hostile.of_a_run("mlflow-artifacts:/0/x", [RECORD], hostile.constant(body))) as server:
        refusal(server.uri, tmp_path)


@pytest.mark.parametrize("location", ["file:///etc", "/etc", "./here", "ftp://127.0.0.1/x", "sftp://127.0.0.1/x", "runs:/0/x", ""])
def test_a_server_chooses_no_folder_of_this_machine(location: str, tmp_path: Path) -> None:
    with hostile.serving(hostile.of_a_run(location, [RECORD], hostile.constant({}))) as server:
        assert "may not choose a folder here" in refusal(server.uri, tmp_path)


# --- other addresses ----------------------------------------------------------------------------------------------


def elsewhere(kind: str, other: str) -> Callable[..., None]:
    host = other.removeprefix("http://")
    answers: dict[str, Callable[..., None]] = {
        "a redirect": hostile.redirect(other),
        "a redirect of a file": hostile.of_a_run("mlflow-artifacts:/0/x", [RECORD], hostile.redirect(other)),
        "artifacts": hostile.of_a_run(f"mlflow-artifacts://{host}/0/x", [RECORD], hostile.constant({})),
        "http": hostile.of_a_run(f"{other}/api/2.0/mlflow-artifacts/artifacts/0/x", [RECORD], hostile.constant({})),
    }
    return answers[kind]


@pytest.mark.parametrize("kind", ["a redirect", "a redirect of a file", "artifacts", "http"])
def test_a_server_sends_nobody_elsewhere(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow would send its account's password to whatever address an answer names."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "someone")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "open-sesame")
    with hostile.serving(hostile.constant({})) as other, hostile.serving(elsewhere(kind, other.uri)) as server:
        said = refusal(server.uri, tmp_path)
        assert f"leads to another address, {other.uri}" in said
        assert server.asked
        assert not other.asked
    assert "open-sesame" not in said


def test_https_of_the_same_host_is_the_same_place() -> None:
    assert limits.same_place("http://host/x", "https://host/x")
    assert limits.same_place("http://me:word@Host:80/x", "http://host/")
    for other in ("https://host:8443/", "http://host.evil/", "http://host:81/", "https://evil/", "http://host:x/", "ftp://host/"):
        assert not limits.same_place("http://host/x", other)
    assert not limits.same_place("https://host/", "http://host/")


def test_the_search_for_a_study_s_runs_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says of every page that another follows."""
    monkeypatch.setattr(fetching, "PAGES", 5)
    folder = tmp_path / "studies" / "one"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text('{"study": "0", "vary": null}')
    answer = {"experiment": {"experiment_id": "1", "name": "x", "lifecycle_stage": "active"}, "runs": [], "next_page_token": "more"}
    with hostile.serving(hostile.constant(answer)) as server:
        assert fetching.fetch(folder, [1], server.uri, "x") == []


def test_what_is_asked_inside_of_something_else_has_what_is_left_of_its_time() -> None:
    with limits.asking("http://host", 100.0):
        outer = limits._HELD.get()
        assert outer is not None
        for seconds, less in ((1000.0, False), (1.0, True)):
            with limits.asking("http://host", seconds):
                inner = limits._HELD.get()
                assert inner is not None
                assert (inner.ends < outer.ends) is less
                assert inner.ends <= outer.ends
        assert limits._HELD.get() is outer
