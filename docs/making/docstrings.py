"""Docstrings as Markdown reads them: names with their meanings as lists, indented lines as they stand, comments on constants.

A Griffe extension: mkdocstrings calls `on_package` with all that has been read, before pages are made of it.
"""

from __future__ import annotations

import re
from typing import Any

import griffe


class Markdown(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        _visit(pkg)


def _visit(obj: griffe.Object) -> None:
    if obj.docstring:
        names = [parameter.name for parameter in obj.parameters] if isinstance(obj, griffe.Function) else list(obj.members)
        obj.docstring.value = markdown(obj.docstring.value, names)
    for member in obj.members.values():
        if isinstance(member, griffe.Alias):
            continue
        if member.is_attribute and not member.docstring:
            comment = _comment(member)
            if comment and obj.is_module:
                member.docstring = griffe.Docstring(comment, parent=member)
            else:
                member.public = False  # a field stands in the class's signature, with its type
        elif member.is_special and not member.docstring:
            member.public = False
        _visit(member)


def _comment(obj: griffe.Object) -> str:
    """The comment above it."""
    lines = obj.lines_collection[obj.filepath][: (obj.lineno or 1) - 1]
    above = []
    while lines and lines[-1].startswith("# "):
        above.insert(0, lines.pop().removeprefix("# "))
    return "\n".join(above)


def markdown(text: str, names: list[str]) -> str:
    """`name: meaning` becomes an entry of a list, for each of `names`, whether it begins a line or follows a sentence."""
    if names:
        entry = re.compile(rf"(^|[.;] )({'|'.join(map(re.escape, names))}): ", re.MULTILINE)
        text = entry.sub(lambda found: (f"{found[1].strip()}\n" if found[1] else "") + f"- `{found[2]}`: ", text)
    out: list[str] = []
    for line in text.splitlines():
        before = out[-1] if out else ""
        indented = line.startswith("  ")
        if re.match(r" {2,3}\S", line) and not before.startswith("- "):
            line = f"- {line.strip()}"  # a list of sources
        begins = line.startswith(("- ", "Raises ")) or (indented and not before.startswith(("  ", "- ")))
        ends = before.startswith("    ") and not indented
        if before and (begins or ends) and not (line.startswith("- ") and before.startswith("- ")):
            out.append("")
        if line.startswith("- ") and ". Raises " in line:
            line = line.replace(". Raises ", ".\n\nRaises ", 1)
        out.append(line)
    return "\n".join(out)
