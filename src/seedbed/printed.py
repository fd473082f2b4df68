"""What every command prints alike: names and values, remarks on standard error, one JSON object instead; and how it ends."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import NoReturn

from rich.console import Console
from rich.text import Text

# Words that say where things are kept, and not what is trained; an address may hold a password.
ELSEWHERE = ("tracking", "runs=", "hydra.run", "hydra.sweep", "--json")


def about(word: str, parts: tuple[str, ...]) -> bool:
    """Whether an override is of one of these parts of the config, however it is given: `+x=1`, `++x=1`, `~x`."""
    return word.lstrip("+~").startswith(parts)


def telling(words: Sequence[str]) -> list[str]:
    """The words of a command that say what is trained, as they may be kept and sent."""
    return [word for word in words if not about(word, ELSEWHERE)]


def lines(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, a line each and never broken: a path can be copied."""
    width = max(len(name) for name, _ in rows) + 2
    console = Console(soft_wrap=True, highlight=False)
    for name, value in rows:
        console.print(Text.assemble((name.ljust(width), "bold"), value))  # `+` would keep the first one's style for all


def sentence(words: str) -> None:
    """What a study says, in bold: broken between words where somebody reads it, and not at all in a file."""
    console = Console(highlight=False)
    console.print(Text(words, style="bold"), soft_wrap=not console.is_terminal)


def command(verb: str, words: Sequence[str]) -> str:
    """A command that can be typed: by make, or by the script where make would take some of it for its own.

    In an image the words begin with whatever has started it: `docker/run` says so; else it is what the image understands.
    """
    joined = shlex.join(words)
    if "SEEDBED_IMAGE" in os.environ:
        return f"{os.environ.get('SEEDBED_STARTED_BY', 'seedbed')} {verb} {joined}".strip()
    return f".venv/bin/seedbed {verb} {joined}" if set(joined) & set('"$`\\!') else f'make {verb} ARGS="{joined}"'


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
    print(line, file=sys.stderr, flush=True)


def leave(status: int) -> NoReturn:
    """End this process at once: taking TensorFlow or MLflow down in order takes half a second, and nothing is left to be done."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
