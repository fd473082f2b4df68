"""A study as one HTML file that needs no server and no other file: the same study gives the same bytes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jinja2

from seedbed import Refused
from seedbed.command_line import in_project
from seedbed.printed import telling
from seedbed.run import record
from seedbed.run.plain_text import harmless
from seedbed.study import origin, tables
from seedbed.study.folder import PICTURES, Kept, read

# What each kind of study is, for somebody who has never seen one.
KINDS = {
    "repeat": "One configuration, trained once for each of {asked} seeds.",
    "compare": "Several configurations, each trained with the same {asked} seeds.",
    "variance": "One configuration, trained {asked} times: each source of randomness gets other seeds, one at a time, then all together.",
}

# How to read the sentence.
READING = {
    "repeat": "A seed decides whatever is random in a training: the initial weights, the order of the examples, dropout. With other "
    "seeds the same configuration gives another number. The interval says where the average over all seeds lies, as far as these can "
    "tell; a single run with a seed of its own can be further away.",
    "compare": "Each seed was used for all of them, so what a seed does to both cancels out. A difference is claimed only where the "
    "interval and the test agree; “no difference shown” is not “they are equal”: more seeds may show one.",
    "variance": "The standard deviation says how far results spread. A source that makes most of it is worth more seeds, or a fix; one "
    "without effect can be left alone.",
}

# The pictures: what they show, and how to read them.
CAPTIONS = {
    "distribution": (
        "Results over seeds",
        "Each dot is a seed. The box holds the middle half of them, its line is the median. The diamond is the mean, the bar its "
        "interval: short means that these seeds tell enough.",
    ),
    "learning_curves": (
        "Learning curves",
        "From left to right the training goes on; the thick line is the median of all seeds, the bands hold half and nine tenths of "
        "them. Wide bands: the seed matters. Lines that still move at the end: train longer.",
    ),
    "interval_width": (
        "What more seeds would buy",
        "How wide the interval of the mean is with so many seeds. Four times the seeds halve it; where the line is flat, more seeds "
        "tell little more.",
    ),
    "differences": (
        "Differences, seed by seed",
        "Each dot is a seed: the result of A less that of the other. The diamond is the mean, the bar its interval. If the bar crosses "
        "0, which one is better stays open.",
    ),
    "components": (
        "Sources of the spread",
        "A bar a source of randomness: how far results spread when it alone gets other seeds. The whisker is its interval: where "
        "whiskers overlap, the order of the bars may be chance.",
    ),
}

# What a level promises.
PROMISES = {
    "off": "no seed is set, so nothing repeats", "seeded": "the same seeds, but not necessarily the same bits",
    "strict": "the same seeds give the same bits on the same kind of machine",
    "portable": "the same seeds give the same bits on every machine that the level names",
}  # fmt: skip
OF_BITS = ("strict", "portable")

REPEATING = "Trains what is missing, nothing twice, and writes the study anew; in a fresh clone it trains all of it."
DRAWING = "Trains all of it again, with seeds of its own: the level is off."


@dataclass(frozen=True)
class Picture:
    title: str
    uri: str
    reading: str


def html(kept: Kept) -> str:
    """The page. All that is not the template's own is escaped."""
    pictures = [
        Picture(CAPTIONS[name][0], f"data:image/png;base64,{base64.b64encode(kept.pictures[name]).decode()}", CAPTIONS[name][1])
        for name in PICTURES if name in kept.pictures
    ]  # fmt: skip
    templates = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=templates, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    finished, asked = kept.facts["finished"], kept.facts["asked"]
    page = environment.get_template("page.html").render(
        kept=kept, kind=KINDS[kept.verb].format(asked=asked), promise=PROMISES.get(kept.level, ""), reading=READING[kept.verb],
        finished=finished, asked=asked, pictures=pictures, commands=commands(kept),
        summary=[*origin.differences(kept), *tables.summary(kept)], results=tables.results(kept),
        provenance=origin.provenance(kept), packages=origin.packages(kept), config=origin.config(kept), digests=tables.digests(kept),
    )  # fmt: skip
    return _plain(page)


def _plain(page: str) -> str:
    """Without characters that a page may not hold or that turn the text around."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in page)


def commands(kept: Kept) -> list[tuple[str, str]]:
    """(command, what it does): how to make the study again, and one of its runs. Words are quoted for a shell."""
    words = [harmless(word, 1000) for word in telling(kept.words)]
    found = [(in_project(kept.verb, words), DRAWING if kept.level == "off" else REPEATING)]
    if kept.sides and kept.level in OF_BITS:
        run, side = kept.sides[0]
        said = f"Trains the run of seed {run.master} again and compares every bit; any other key of the tables will do."
        found.append((in_project("replay", [side.key[:12]]), said))
        if commit := origin.commit(side):
            said = f"Does so with the code of the commit {commit[:12]}, in a folder beside your own tree."
            found.append((in_project("replay", ["--checkout", side.key[:12]]), said))
    return found


def write(kept: Kept, out: Path) -> None:
    """Write the page to the file `out`; raises Refused where that can't be."""
    if out.is_dir():
        raise Refused(f"--out {out} is a folder. Accepted: the name of a file, which may be new.")
    if not out.absolute().parent.is_dir():
        raise Refused(f"--out {out}: there is no folder {out.absolute().parent}.")
    try:
        record.write_atomically(out, html(kept))
    except OSError as error:
        raise Refused(f"{record.hindrance(error)}. {record.remedy(error)}, or say another file: --out FILE.") from None


def keep(path: Path) -> None:
    """Write the page beside the other files of the study in the folder `path`, for MLflow; what is in its way isn't worth a word."""
    with suppress(Exception):  # the study itself has finished, and `seedbed report` says what is wrong with its page
        record.write_atomically(path / "report.html", html(read(path)))


def missing(kept: Kept) -> Sequence[str]:
    """What the page lacks, for the person who made it: a line each."""
    lacking = [run for run in kept.runs if run.side is None]
    lines = [f"{len(lacking)} of {len(kept.runs)} runs are without a record here; the page lists them"] if lacking else []
    if kept.verb != "repeat" and not kept.parts:
        lines.append(f"an older version made this study: the same `seedbed {kept.verb}` again (it trains nothing) adds runs and provenance")
    return lines
