"""Text from elsewhere where people read it: a terminal acts on nothing, a page shows what was there."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.table import Table

from seedbed import printed
from seedbed.run import plain_text

WINDOW_TITLE = "\x1b]0;owned\x07"
HIDDEN = "\x1b[2K\rdone\x9b31m\x7f\u202egnp.\u2066\u200b\x00"
HOSTILE = [WINDOW_TITLE, HIDDEN, "[link=https://x.example]click[/link]", "line\nfeed", os.fsdecode(b"not utf-8: \xff\x1b[5m")]


@pytest.mark.parametrize("text", HOSTILE)
def test_one_line_without_anything_that_a_terminal_acts_on(text: str) -> None:
    shown = plain_text.harmless(text, None)
    assert shown.isprintable()
    shown.encode()  # no half of a surrogate pair, which no terminal takes


def test_what_is_harmless_stays_as_it_is_and_the_rest_can_be_told() -> None:
    assert plain_text.harmless("größer, 損失, 🙂 [x] {y}") == "größer, 損失, 🙂 [x] {y}"
    assert plain_text.harmless("\x1b]0;x\x07") == r"\x1b]0;x\x07"
    assert plain_text.harmless("a\u202eb\U000e0001") == r"a\u202eb\U000e0001"
    assert plain_text.harmless(os.fsdecode(b"caf\xe9.csv")) == r"caf\xe9.csv"
    assert plain_text.harmless_lines("a\n\tb\r\x1b") == "a\n\tb\\x0d\\x1b"


def test_a_long_text_is_cut() -> None:
    assert plain_text.harmless("x" * 400) == "x" * 299 + "…"
    assert len(plain_text.harmless("x" * 400, None)) == 400


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_is_printed_holds_it(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    grid = Table("head", text)
    grid.add_row(text, "plain")
    printed.table(grid, 200)
    printed.lines([(text, text), ("record", f"/runs/{text}")])
    printed.sentence(text)
    printed.say(text)
    shown = "".join(capsys.readouterr())
    assert all(letter == "\n" or letter.isprintable() for letter in shown)
    assert "\x1b" not in shown
    if "[link" in text:
        assert "[link=https://x.example]" in shown  # words, and no link


def test_colours_of_our_own_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    to = printed.console(file=file, force_terminal=True, color_system="standard")
    to.print("plain", style="bold")
    to.print("\x1b[31mred")
    assert "\x1b[1mplain" in file.getvalue()
    assert "\x1b[31m" not in file.getvalue()
    assert r"\x1b[31mred" in file.getvalue()


def test_markdown_shows_words_and_no_marks() -> None:
    shown = plain_text.markdown("<img src=x onerror=alert(1)> [a](javascript:b) `c` *d* |\x1b[1m\n# e")
    assert not set("<[]`*|\x1b\n") & set(shown)


def test_no_module_prints_by_itself() -> None:
    """What people read goes through `printed`: elsewhere there are JSON for machines, and lines of a child for a log."""
    source = Path(plain_text.__file__).resolve().parents[1]
    consoles = [file.relative_to(source).as_posix() for file in source.rglob("*.py") if "Console(" in file.read_text()]
    assert sorted(consoles) == ["printed.py", "run/recorder.py", "study/progress.py"]  # the latter: progress bars of our own words
