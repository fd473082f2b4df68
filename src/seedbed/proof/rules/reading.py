"""Files as the audit reads them: Python in any encoding, notebooks, and the comments that suppress a finding.

A notebook's code cells are read as one module; lines that are IPython's own (`%…`, `!…`) count as empty.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
import warnings
from dataclasses import dataclass, field
from pathlib import Path

IGNORE = re.compile(r"#\s*seedbed:\s*ignore(?:\[([^\]]*)\])?")
CELL_MAGIC = re.compile(r"\s*[%!?]|.*\?\s*$")


@dataclass
class Module:
    """A file as it was read: its text, and what is needed to say where in it something stands.

    cells: for each line of a notebook's text (cell, line in the cell). statements: (first, last line) of each statement or, if
    it holds others, of its head. ignores: by line, the codes that a comment there names.
    """

    path: Path
    text: str
    tree: ast.Module = field(default_factory=lambda: ast.Module([], []))
    cells: list[tuple[int, int]] = field(default_factory=list)
    statements: list[tuple[int, int]] = field(default_factory=list)
    ignores: dict[int, list[str]] = field(default_factory=dict)


def read(path: Path) -> Module:
    """A file's text, statements and comments. Raises OSError, SyntaxError, ValueError, RecursionError or tokenize.TokenError."""
    if path.suffix == ".ipynb":
        module = _notebook(path)
    else:
        with tokenize.open(path) as handle:  # the encoding that the file names
            module = Module(path, handle.read())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `"\d"` is the author's matter
        module.tree = ast.parse(module.text)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.stmt | ast.ExceptHandler):
            body = getattr(node, "body", None)
            end = int(node.end_lineno or node.lineno)
            module.statements.append((node.lineno, max(node.lineno, body[0].lineno - 1) if isinstance(body, list) and body else end))
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT and (match := IGNORE.search(token.string)):
            codes = [code.strip() for code in (match[1] or "").split(",")]
            module.ignores[token.start[0]] = [code for code in codes if code]
    return module


def _notebook(path: Path) -> Module:
    lines: list[str] = []
    places: list[tuple[int, int]] = []
    try:
        cells = json.loads(path.read_text(encoding="utf-8")).get("cells", [])
        for number, cell in enumerate(cells, 1):
            if cell.get("cell_type") == "code":
                text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
                foreign = text.lstrip().startswith("%%")  # another language
                for row, line in enumerate(text.splitlines(), 1):
                    lines.append("" if foreign or CELL_MAGIC.match(line) else line)
                    places.append((number, row))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a notebook of format 4 ({type(error).__name__}: {error})") from None
    return Module(path, "\n".join(lines) + "\n", cells=places)


def lines_of(module: Module, line: int) -> set[int]:
    """The lines on which a comment counts for a finding: its own, and the first and last of its statement."""
    around = [span for span in module.statements if span[0] <= line <= span[1]]
    return {line, *min(around, key=lambda span: span[1] - span[0], default=(line, line))}
