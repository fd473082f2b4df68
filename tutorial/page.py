"""`make tutorial`: the tutorial of 2017 as one page, each part computed here and now, and the sentence that it teaches."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import parts
import tables
from asking import Broken
from filelock import FileLock, Timeout
from parts import Part
from rich.console import Console
from rich.text import Text

from seedbed import Refused, project_root
from seedbed.command_line import command
from seedbed.printed import lines, say
from seedbed.run import record

PARTS = {
    "unseeded": parts.unseeded,
    "recipe_2017": parts.recipe_2017,
    "repeatable": parts.repeatable,
    "thirty": parts.thirty,
    "neurons": parts.neurons,
    "theano_2017": tables.theano_2017,
    "tensorflow_2017": tables.tensorflow_2017,
}
USAGE = f"""\
usage: make tutorial ARGS="[PART …] [runs=DIR]"      (without make: .venv/bin/python tutorial)

The tutorial of 2017 on today's software, or some parts of it: {", ".join(PARTS)}.
Exit status: 0 all that the page says holds, 1 something doesn't, or a training failed, 2 could not be asked."""

# Two at a time: parts that share records are in one chain, so that what one says of the runs that were there is so each time.
CHAINS = ("unseeded", "recipe_2017", "theano_2017", "tensorflow_2017"), ("repeatable", "thirty", "neurons")

WIDTH = 112


def main(words: list[str]) -> int:
    """The exit status of `python tutorial WORDS`."""
    try:
        return _asked(words)
    except (Refused, Broken) as error:
        say(f"tutorial: {error}")
        return error.status if isinstance(error, Broken) else 2
    except KeyboardInterrupt:
        say("\ntutorial: stopped.")
        return 130


def _asked(words: list[str]) -> int:
    if "-h" in words or "--help" in words:
        print(USAGE)
        return 0
    folders = [word.removeprefix("runs=") for word in words if word.startswith("runs=")]
    named = [word for word in words if not word.startswith("runs=")]
    if "" in folders:
        raise Refused("runs= names no folder. Accepted: runs=DIR.")
    if strange := [word for word in named if word not in PARTS]:
        raise Refused(f"There is no part {', '.join(map(repr, strange))}. Accepted: {', '.join(PARTS)}, runs=DIR; no part: all of them.")
    runs = Path(folders[-1]).expanduser().absolute() if folders else project_root() / "runs" / "tutorial"
    with _alone(runs):
        return _page([name for name in PARTS if name in named or not named], runs)


def _page(chosen: list[str], runs: Path) -> int:
    """Make these parts and print each as soon as it is there; the exit status."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text("The tutorial of 2017, nine years later", style="bold"))
    console.print("One network, 1 → 10 → 1 and linear, learns 0.0 → 0.1, 0.1 → 0.2 … from nine pairs; error: mean squared, on these.")
    done: dict[str, Part] = {}
    broken: list[BaseException] = []
    with ExitStack() as stack:
        coming: dict[str, Future[Part]] = {}
        for chain in CHAINS:
            pool = stack.enter_context(ThreadPoolExecutor(1))
            coming.update({name: pool.submit(_made, PARTS[name], runs, broken) for name in chain if name in chosen})
        stack.callback(lambda: broken.append(KeyboardInterrupt()))  # this process may be stopped before all of them are there
        for name in chosen:
            part = done[name] = coming[name].result()
            _show(console, list(PARTS).index(name) + 1, part)
    import picture

    path = runs / "tutorial.png"
    picture.draw({name: part.drawn for name, part in done.items()}, path)
    wrong = [claim.words for part in done.values() for claim in part.claims if not claim.holds]
    claims = sum(len(part.claims) for part in done.values())
    console.print()
    lines([
        ("claims", f"{claims - len(wrong)} of {claims} hold"),
        ("records", str(runs)),
        ("picture", str(path)),
        ("next", f"{command('variance', ['experiment=tutorial'])}  (which source of randomness is it?)"),
    ])  # fmt: skip
    return 1 if wrong else 0


def _made(make: Callable[[Path], Part], runs: Path, broken: list[BaseException]) -> Part:
    """broken: why no further part is begun, once there is a reason."""
    if broken:
        raise broken[0]
    try:
        return make(runs)
    except BaseException as error:
        broken.append(error)
        raise


def _show(console: Console, number: int, part: Part) -> None:
    console.print()
    console.print(Text(f"{number}  {part.title}", style="bold"))
    console.print(Text(f"   {part.command}", style="dim"))
    width = max(len(name) for name, _ in part.lines) + 2
    for name, value in part.lines:
        console.print(Text(f"   {name.ljust(width)}{value}"))
    for claim in part.claims:
        console.print(Text("   yes  " if claim.holds else "   NO   ", style="green" if claim.holds else "bold red") + Text(claim.words))
    wrong = [claim.words for claim in part.claims if not claim.holds]
    taught = f"This does NOT hold here: {'; '.join(wrong)}." if wrong else part.sentence
    for line in textwrap.wrap(taught, WIDTH, initial_indent="   → ", subsequent_indent="     "):
        console.print(Text(line, style="bold red" if wrong else "bold"))


def _alone(runs: Path) -> FileLock:
    """One page at a time in a folder: some of its records are made anew each time. Raises Refused where nothing can be written."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        lock = FileLock(runs / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"Another process makes this page in {runs}; waiting for it.")
            lock.acquire()
    except OSError as error:
        raise Refused(record.not_kept(error)) from None
    return lock
