"""Names and values as people read them on a terminal, for every command."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text


def lines(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, a line each and never broken: a path can be copied."""
    width = max(len(name) for name, _ in rows) + 2
    console = Console(soft_wrap=True, highlight=False)
    for name, value in rows:
        console.print(Text(name.ljust(width), style="bold") + Text(value))
