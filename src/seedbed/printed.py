"""What every command prints alike: names and values, remarks on standard error, one JSON object instead; and how it ends.

Nothing else prints what people read: text from elsewhere is made harmless here, and secrets are taken out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, NoReturn

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from seedbed.command_line import runnable
from seedbed.run.plain_text import harmless_lines
from seedbed.run.redaction import redacted

# Words that say where things are kept, and not what is trained; an address may hold a password.
ELSEWHERE = ("tracking", "runs=", "hydra.run", "hydra.sweep", "--json")


def about(word: str, parts: tuple[str, ...]) -> bool:
    """Whether an override is of one of these parts of the config, however it is given: `+x=1`, `++x=1`, `~x`."""
    return word.lstrip("+~").startswith(parts)


def telling(words: Sequence[str]) -> list[str]:
    """The words of a command that say what is trained, as they may be kept and sent."""
    return [word for word in words if not about(word, ELSEWHERE)]


class _Harmless:
    """A renderable of rich's whose text is made harmless; what rich itself adds for colours stays."""

    def __init__(self, inner: RenderableType) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.inner, options):
            yield segment if segment.control else Segment(safe(segment.text), segment.style)


class _Hook(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Harmless(one) for one in renderables]  # type: ignore[misc]


def console(**options: Any) -> Console:
    """Return a console of rich's for text that may come from elsewhere: no markup in it, nothing that a terminal acts on."""
    made = Console(highlight=False, markup=False, emoji=False, **options)
    made.push_render_hook(_Hook())
    return made


def safe(text: object) -> str:
    """Return text as it may be printed: without secrets, and with an escape for what a terminal would act on."""
    return harmless_lines(redacted(str(text)))


def lines(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, a line each and never broken: a path can be copied."""
    width = max(len(name) for name, _ in rows) + 2
    to = console(soft_wrap=True)
    for name, value in rows:
        to.print(Text.assemble((name.ljust(width), "bold"), runnable(value)))  # `+` would keep the first one's style for all


def sentence(words: str) -> None:
    """What a study says, in bold: broken between words where somebody reads it, and not at all in a file."""
    to = console()
    to.print(Text(words, style="bold"), soft_wrap=not to.is_terminal)


def without(argv: list[str], flag: str) -> tuple[bool, list[str]]:
    return flag in argv, [word for word in argv if word != flag]


@contextmanager
def json_alone(as_json: bool) -> Iterator[None]:
    """With --json, whatever else is printed goes to standard error."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def say(line: str) -> None:
    """A remark, on standard error."""
    print(safe(runnable(line)), file=sys.stderr, flush=True)


def table(grid: Table, width: int | None = None) -> None:
    """A table of rich's."""
    console(width=width).print(grid)


def leave(status: int) -> NoReturn:
    """End this process at once: taking TensorFlow or MLflow down in order takes half a second, and nothing is left to be done."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
