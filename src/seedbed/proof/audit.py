"""The static half of `seedbed audit`: which lines of the code make runs differ.

Ours are the rules that nobody has (`rules/`); the others are ruff's, which is asked for those that are about differing runs and
for nothing else. Code is read and never imported. A notebook's code cells are read as one module; lines that are IPython's own
(`%…`, `!…`) count as empty.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from seedbed import Refused, project_root
from seedbed.proof import rules
from seedbed.proof.rules import reading

# Folders that hold no code of the user's.
LEFT_OUT = {"__pycache__", "node_modules", "site-packages"}


@dataclass(frozen=True, order=True)
class Finding:
    """One line that makes runs differ. line and column count from 1; in a notebook the line counts within the cell."""

    file: str
    cell: int | None
    line: int
    column: int
    code: str
    what: str
    why: str
    mend: str

    def as_dict(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if name != "cell" or value is not None}

    @property
    def place(self) -> str:
        cell = f"cell {self.cell}:" if self.cell is not None else ""
        return f"{self.file}:{cell}{self.line}:{self.column}"


@dataclass(frozen=True, order=True)
class Hit:
    """A finding by its place in the module's text."""

    line: int
    column: int
    code: str
    what: str


def files(paths: Sequence[str]) -> list[Path]:
    """The Python files and notebooks below `paths`, each once, in order. Without paths, the user's code: src/ without src/seedbed.

    Raises Refused for a path that isn't there, and where there is nothing to look at.
    """
    root = project_root() / "src"
    found: dict[Path, Path] = {}
    for path in [Path(word).expanduser() for word in paths] or [root]:
        if not path.exists():
            raise Refused(f"{path}: there is no such file or folder. Accepted: Python files, notebooks, and folders that hold some.")
        below = [path] if path.is_file() else sorted(one for suffix in ("*.py", "*.ipynb") for one in path.rglob(suffix))
        for one in below:
            inner = one.relative_to(path).parts[:-1]
            if any(part in LEFT_OUT or part.startswith(".") or part.endswith(".egg-info") for part in inner):
                continue
            if (paths or root / "seedbed" not in one.parents) and one.is_file():
                found.setdefault(one.resolve(), one)
    if not found:
        raise Refused(f"{', '.join(paths) or root}: no Python file and no notebook in there. Accepted: files, and folders that hold some.")
    return list(found.values())


def examine(paths: Sequence[Path], said: Callable[[str], None]) -> list[Finding]:
    """All findings in these files, by place. said: is told once if ruff isn't there; our rules are asked all the same."""
    modules: list[reading.Module] = []
    found: list[Finding] = []
    for path in paths:
        try:
            modules.append(reading.read(path))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:
            found.append(_unreadable(path, error))
    theirs = _ruff(modules, said)
    for module in modules:
        try:
            hits = {_hit(*one) for one in rules.findings(module.tree)}
        except RecursionError as error:
            found.append(_unreadable(module.path, error))
            continue
        # one fault, one finding: where another rule has the same place, that one says more
        places = {(hit.line, hit.column) for hit in hits if hit.code not in rules.SAY_LESS}
        both = hits | (theirs or {}).get(module.path, set())
        kept, unused = _suppressed(module, both, asked_ruff=theirs is not None)
        kept = {hit for hit in kept if hit.code not in rules.SAY_LESS or (hit.line, hit.column) not in places}
        found += [_finding(module, hit) for hit in kept | unused]
    return sorted(found, key=lambda one: (one.file, one.cell or 0, one.line, one.column, one.code))


def report(found: Sequence[Finding], count: int) -> str:
    """Findings as people read them, and the number of them in the last line. count: of the files that were looked at."""
    blocks = [f"{one.place} {one.code} {one.what}\n    why   {one.why}\n    mend  {one.mend}" for one in found]
    files = f"{count} file{'s' if count != 1 else ''}"
    return "\n".join([*blocks, f"{len(found) or 'no'} finding{'s' if len(found) != 1 else ''} in {files}."])


def listing() -> str:
    """All rules as people read them."""
    by = "SB… are seedbed's; the others are ruff's, which finds them for us."
    return "\n".join([*(f"{one.code} {one.what}\n    why   {one.why}\n    mend  {one.mend}" for one in rules.RULES.values()), by])


def listed() -> list[dict[str, str]]:
    """All rules for machines."""
    return [asdict(one) for one in rules.RULES.values()]


def _finding(module: reading.Module, hit: Hit) -> Finding:
    cell, line = module.cells[hit.line - 1] if module.cells else (None, hit.line)
    rule = rules.RULES[hit.code]
    return Finding(_shown(module.path), cell, line, hit.column, hit.code, hit.what, rule.why, rule.mend)


def _shown(path: Path) -> str:
    """A path as people would type it from where they are."""
    full = path.absolute()
    return str(full.relative_to(Path.cwd())) if full.is_relative_to(Path.cwd()) else str(full)


def _hit(code: str, node: ast.AST, what: str) -> Hit:
    line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
    called = node.func if isinstance(node, ast.Call) else None
    if isinstance(called, ast.Attribute) and called.lineno != called.end_lineno:
        # a chain of methods over several lines: the line of the method
        line, column = int(called.end_lineno or line), int(called.end_col_offset or 0) - len(called.attr)
    return Hit(line, column + 1, code, what)


def _unreadable(path: Path, error: Exception) -> Finding:
    rule = rules.RULES["SB001"]
    deep = isinstance(error, RecursionError | MemoryError)
    words = "nested too deeply" if deep else str(getattr(error, "msg", None) or error).splitlines()[0]
    line, column = (getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1)
    return Finding(_shown(path), None, line, column, rule.code, f"can't be read as Python: {words}", rule.why, rule.mend)


# --- ruff ----------------------------------------------------------------------------------------------------------------


def _ruff(modules: Sequence[reading.Module], said: Callable[[str], None]) -> dict[Path, set[Hit]] | None:
    """What ruff finds, by file; None if it can't be asked. It honours `# noqa`, as always."""
    if not modules:
        return {}
    if importlib.util.find_spec("ruff") is None:
        said(f"seedbed audit: ruff isn't installed, so {', '.join(rules.BY_RUFF)} are not looked for; `make audit` has it.")
        return None
    by_name = {str(module.path.absolute()): module for module in modules}
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--quiet", "--exit-zero", "--output-format", "json",
               "--select", ",".join(rules.BY_RUFF), "--", *by_name]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        reported = json.loads(done.stdout)
    except ValueError:
        said(f"seedbed audit: ruff failed, so {', '.join(rules.BY_RUFF)} are not looked for: {done.stderr.strip()[:300]}")
        return None
    found: dict[Path, set[Hit]] = {}
    for one in reported:
        if one["code"] in rules.BY_RUFF and one["filename"] in by_name:
            module = by_name[one["filename"]]
            place = (one.get("cell"), one["location"]["row"])
            line = module.cells.index(place) + 1 if place in module.cells else place[1]
            what = one["message"].partition("; ")[0].replace("Replace legacy ", "").partition(" with ")[0]
            found.setdefault(module.path, set()).add(Hit(line, one["location"]["column"], one["code"], what))
    return found


# --- comments that suppress ----------------------------------------------------------------------------------------------


def _suppressed(module: reading.Module, hits: set[Hit], asked_ruff: bool) -> tuple[set[Hit], set[Hit]]:
    """The findings that no comment suppresses, and one (SB000) for each comment or code that suppresses none."""
    kept: set[Hit] = set()
    used: set[tuple[int, str]] = set()
    for hit in hits:
        by = {line for line in reading.lines_of(module, hit.line) if hit.code in module.ignores.get(line, [])}
        used |= {(line, hit.code) for line in by}
        if not by:
            kept.add(hit)
    return kept, set(_unused(module, used, asked_ruff))


def _unused(module: reading.Module, used: set[tuple[int, str]], asked_ruff: bool) -> Iterator[Hit]:
    lines = module.text.splitlines()
    for line, codes in module.ignores.items():
        column = lines[line - 1].index("#") + 1
        if not codes:
            yield Hit(line, column, "SB000", "an ignore that names no code")
        for code in codes:
            if code not in rules.RULES or code == "SB000":
                yield Hit(line, column, "SB000", f"{code!r} is no rule's code (`seedbed audit --list` shows them)")
            elif (line, code) not in used and (asked_ruff or code not in rules.BY_RUFF):
                yield Hit(line, column, "SB000", f"there is no {code} here")
