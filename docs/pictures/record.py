"""The README's pictures, made by running what they show: `make pictures`, `make pictures ARGS=train`.

Each command runs as a person types it, in a terminal of its own (pseudo-terminal, pyte) and in a scratch copy of this project; the
screen at its end becomes an SVG (rich). The pictures of a study are those that the command drew. tests/test_pictures.py compares
what a command prints today with what its picture shows.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from itertools import groupby
from pathlib import Path

import pyte
import worktree  # tests/
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "docs" / "pictures"
COLUMNS, LINES = 117, 200
SHOWN_AS = "~/seedbed"  # where a reader's own project lies

# picture → the command, and what else of its study is kept: file in the study's folder → picture
COMMANDS: dict[str, tuple[str, dict[str, str]]] = {
    "train": ("make train", {}),
    "verify": ("make verify", {}),
    "compare": ('make compare ARGS="tutorial/ten_neurons tutorial/fifty_neurons"', {"differences.png": "differences.png"}),
    "repeat": ('make repeat ARGS="study.n=20 experiment=digits_cnn"', {"learning_curves.png": "learning_curves.png"}),
}

# rich's own has a font that is fetched from a server
SVG = """<svg class="{unique_id}" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<!-- made by docs/pictures/record.py -->
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def scratch(folder: Path) -> Path:
    """A copy of this project as it stands, without records; make in it finds nothing to set up.

    Its environment is made of links, with a script and marks of its own: a set-up there would write into this one.
    """
    copy = worktree.copied(folder / "seedbed")
    ours, its = Path(sys.prefix), copy / ".venv"
    (its / "bin").mkdir(parents=True)
    for path in (*ours.iterdir(), *(ours / "bin").iterdir()):
        if path.name not in ("bin", "seedbed", ".place", ".package", ".seedbed", ".unfinished"):
            (its / path.relative_to(ours)).symlink_to(path)
    (its / "bin" / "seedbed").write_text(f'#!/bin/sh\nexec {shlex.quote(str(its / "bin" / "python"))} -m seedbed "$@"\n')
    (its / "bin" / "seedbed").chmod(0o755)
    (its / ".place").write_bytes(os.fsencode(its.resolve()))
    (its / ".package").touch()  # done, with what isn't said
    return copy


def environment(copy: Path) -> dict[str, str]:
    """What a new terminal has, and where the project's own environment is."""
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LOGNAME", "PATH", "TMPDIR", "USER")}
    return {**kept, "LANG": "C.UTF-8", "TERM": "xterm-256color", "PYTHONPATH": str(copy / "src")}


def screen(command: str, copy: Path) -> pyte.Screen:
    """`command` in a terminal of that width, to its end; its screen then, with the line that was typed."""
    shown = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(shown)
    stream.feed(f"$ \x1b[1m{command}\x1b[0m\r\n".encode())
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    with subprocess.Popen(
        shlex.split(command), cwd=copy, env=environment(copy), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        said = b""
        while piece := _read(ours):
            said += piece
    os.close(ours)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}:\n{said.decode(errors='replace')}")
    stream.feed(said.replace(str(copy).encode(), SHOWN_AS.encode()))
    return shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the last process at the other end is gone
        return b""


def drawn(shown: pyte.Screen, name: str) -> str:
    """A screen as SVG, as many lines high as were written."""
    height = max(row for row, line in enumerate(shown.display) if line.strip()) + 1
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor", legacy_windows=False)
        for row in range(height):
            line = Text()
            for style, characters in groupby((shown.buffer[row][column] for column in range(COLUMNS)), _style):
                line.append("".join(character.data for character in characters), style)
            line.rstrip()
            console.print(line, soft_wrap=True, highlight=False)
        return console.export_svg(title="seedbed", code_format=SVG, unique_id=f"seedbed-{name}")


def _style(character: pyte.screens.Char) -> Style:
    name = {"default": None, "brown": "yellow"}.get(character.fg, character.fg)
    colour = f"#{name}" if name and re.fullmatch(r"[0-9a-f]{6}", name) else name
    return Style(color=colour, bold=character.bold, italic=character.italics, underline=character.underscore)


def main(names: list[str]) -> None:
    if unknown := set(names) - set(COMMANDS):
        raise SystemExit(f"{', '.join(sorted(unknown))}: there is no such picture. Accepted: {', '.join(COMMANDS)}; none: all.")
    with tempfile.TemporaryDirectory() as folder:
        copy = scratch(Path(folder))
        for name in names or COMMANDS:
            command, pictures = COMMANDS[name]
            print(command, flush=True)
            before = set((copy / "runs" / "studies").glob("*"))
            (HERE / f"{name}.svg").write_text(drawn(screen(command, copy), name))
            for file, picture in pictures.items():
                (found,) = [path / file for path in (copy / "runs" / "studies").glob("*") if path not in before and (path / file).exists()]
                shutil.copyfile(found, HERE / picture)


if __name__ == "__main__":
    main(sys.argv[1:])
