"""Make text from elsewhere harmless where people read it: terminals, pages, descriptions.

A name, a message or a path can come from a record, a server or a file system, and may hold anything:
escape sequences that rename a terminal's window or hide a line, letters that turn the text around,
bytes that are no UTF-8, marks that Markdown or HTML act on.
"""

from __future__ import annotations

from collections.abc import Sequence

KEPT = frozenset("\n\t")  # in text of several lines

# What Markdown, HTML or a table's row would act on.
MARKS = {"<": "&lt;", "|": "&#124;", "`": "&#96;", "*": "&#42;", "[": "&#91;", "]": "&#93;"}


def harmless(text: object, longest: int | None = 300) -> str:
    """Return `text` in one line, with an escape (`\\x1b`) for each character that isn't printable.

    Args:
        text: anything; what is no string is converted by `str`.
        longest: the most characters to return; a longer text is cut and ends with `…`. None: all.
    """
    line = str(text)
    if not line.isprintable():
        line = "".join(letter if letter.isprintable() else _escaped(letter) for letter in line)
    return line if longest is None or len(line) <= longest else line[: longest - 1] + "…"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, harmless, and how many there are more."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(harmless, names[:most])) + more


def harmless_lines(text: object) -> str:
    """Return `text` with its lines and tabs, and an escape for each other character that isn't printable."""
    lines = str(text)
    if lines.isprintable():
        return lines
    return "".join(one if one.isprintable() or one in KEPT else _escaped(one) for one in lines)


def markdown(text: object) -> str:
    """Return `text` in one line that means nothing to Markdown, HTML or a table."""
    return "".join(MARKS.get(letter, letter) for letter in harmless(" ".join(str(text).split()), None))


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is no UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
