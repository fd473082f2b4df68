"""Commands that seedbed prints: they run as printed, in the folder where the user is, with all that was said.

Texts write a command between backticks as `seedbed VERB WORDS`; `runnable` makes of it what can be typed here, and everything that
is printed goes through it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from seedbed import project_root
from seedbed.run.redaction import without_credentials

# The commands that the Makefile has, too.
OF_MAKE = ("train", "repeat", "compare", "variance", "report", "verify", "diagnose", "replay", "diff", "audit", "ui", "doctor", "sync",
           "fsck")  # fmt: skip

# What make or a shell's double quotes would take for their own.
NOT_FOR_MAKE = frozenset('"$`\\!\n\r')

# Words about one run or one output of it, which another command doesn't take over.
OF_ONE_RUN = ("hydra.run.dir=", "hydra.sweep", "hydra.mode=", "hydra.output_subdir=")
FLAGS_OF_ONE_RUN = ("--json", "-m", "--multirun")

# Hydra's flags that take a value in the next word, with those that seedbed's own commands add.
TAKE_A_VALUE = frozenset({"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
                          "--experimental-rerun"})  # fmt: skip

IN_A_TEXT = re.compile(r"`(seedbed|make) ([a-z][a-z-]*)((?: [^`…]*)?)`")


def command(verb: str, words: Sequence[str] = ()) -> str:
    """Return a command that can be typed where this process was started.

    In the project's folder it is one of make's, or the script where make would take some of the words for its own; elsewhere the
    program is named by its path, so that relative paths among the words stay what they are. In an image the words begin with
    what has started it. Credentials of addresses are left out: MLflow takes them from the environment.
    """
    words = [without_credentials(word) for word in words]
    if "SEEDBED_IMAGE" in os.environ:
        return " ".join([os.environ.get("SEEDBED_STARTED_BY", "seedbed"), verb, *map(shlex.quote, words)])
    root, script = project_root(), Path(sys.prefix) / "bin" / "seedbed"
    if Path.cwd() == root and Path(sys.prefix) == root / ".venv" and (root / "Makefile").is_file():
        return in_project(verb, words)
    found = shutil.which("seedbed")
    if found and Path(found).parent == script.parent:
        program = ["seedbed"]
    else:
        program = [str(script)] if script.is_file() else [sys.executable, "-P", "-m", "seedbed"]
    return shlex.join([*program, verb, *words])


def in_project(verb: str, words: Sequence[str] = ()) -> str:
    """Return a command that can be typed in a project's folder on any machine: for what is kept or sent."""
    joined = shlex.join(words)
    if "SEEDBED_IMAGE" in os.environ:
        return command(verb, words)
    if verb not in OF_MAKE or set(joined) & NOT_FOR_MAKE:
        return f".venv/bin/seedbed {verb} {joined}".strip()
    return f'make {verb} ARGS="{joined}"' if words else f"make {verb}"


def make(target: str, words: Sequence[str] = ()) -> str:
    """Return a command of make's that is none of seedbed's (`test`, `emulation`); words: what is handed on, with paths in the project."""
    if "SEEDBED_IMAGE" in os.environ or Path.cwd() == project_root():
        where = ""
    else:
        where = f"-C {shlex.quote(str(project_root()))} "
    return f'make {where}{target} ARGS="{shlex.join(words)}"' if words else f"make {where}{target}"


def runnable(text: str) -> str:
    """Return a text with the commands in it (`seedbed sync`, `make audit`) as they can be typed here."""
    return IN_A_TEXT.sub(_typed, text)


def _typed(match: re.Match[str]) -> str:
    program, verb, rest = match.groups()
    try:
        words = shlex.split(rest)
    except ValueError:  # not a command
        return match.group()
    if program == "seedbed" or (verb in OF_MAKE and not words):
        return f"`{command(verb, words)}`"
    return f"`{make(verb)}`" if not words else match.group()


def split(words: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Return the flags among a command's words, each with its value, and the overrides."""
    flags: list[list[str]] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            overrides.append(word)
        else:
            flags.append([word, *([next(rest, "")] if word in TAKE_A_VALUE else [])])
    return flags, overrides


def changed(words: Sequence[str], without: Sequence[str] = (), more: Sequence[str] = ()) -> list[str]:
    """Return the words of another command like this one.

    Args:
        words: all that was said, flags too; those about one run (`--json`, `hydra.run.dir=`) are left out.
        without: beginnings of overrides that are left out, however they are given (`+x=1`, `~x`).
        more: overrides that are added.
    """
    flags, overrides = split(words)
    left_out = (*OF_ONE_RUN, *without)
    kept = [word for word in overrides if not word.lstrip("+~").startswith(left_out)]
    return [*(word for flag in flags if flag[0] not in FLAGS_OF_ONE_RUN for word in flag), *kept, *more]
