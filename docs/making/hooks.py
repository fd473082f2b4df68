"""What the site has beside docs/*.md: the project's own papers, a page for each module that `nav` names, the list of all modules.

MkDocs calls `on_files` when it has found the pages, and `on_page_markdown` for each of them.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAPERS = ("CONTRIBUTING.md", "CHANGELOG.md")  # at the top of the repository, where people look for them
MODULES, PAGES = "<!-- modules -->", "<!-- pages -->"
LINK = re.compile(r"(?<!\\)(?P<image>!?)\[(?P<text>(?:[^\[\]\n]|\[[^\]\n]*\])*)\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for paper in PAPERS:
        if (ROOT / paper).is_file():
            files.append(File.generated(config, paper, content=(ROOT / paper).read_text()))
    for page in named(config.nav):
        if page.startswith("api/"):
            files.append(File.generated(config, page, content=_of_module(page.removeprefix("api/").removesuffix(".md"))))
    here = {file.src_uri for file in files.documentation_pages()}
    config.nav = _only(config.nav, here)
    more = sorted(here - set(named(config.nav)))
    if more:
        config.nav.append({"More": more})
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The list of modules in its place, and a link to what the site doesn't have (a config, a module) as its words alone."""
    name = page.file.src_uri
    folder = ROOT if name in PAPERS else (Path(config.docs_dir) / name).parent

    def link(found: re.Match[str]) -> str:
        target, _, anchor = found["target"].partition("#")
        path = (folder / target).resolve()
        if not target or ":" in target or not path.exists():
            return found[0]  # an anchor, an address; or a mistake, of which MkDocs says so
        inside = str(path.relative_to(ROOT)) if path.name in PAPERS else os.path.relpath(path, config.docs_dir)
        if files.get_file_from_path(inside) is None:
            return found["text"]
        relative = os.path.relpath(inside, Path(name).parent)
        return f"{found['image']}[{found['text']}]({relative}{'#' * bool(anchor)}{anchor})"

    if MODULES in markdown:
        markdown = markdown.replace(MODULES, _modules(named(config.nav)))
    if PAGES in markdown:
        markdown = markdown.replace(PAGES, _pages(config.nav, files))
    parts = FENCE.split(markdown)
    return "".join(part if FENCE.fullmatch(part) else LINK.sub(link, part) for part in parts)


def named(nav: Any) -> Iterator[str]:
    """Every page that `nav` names, at whatever depth."""
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from named(entry)


def _only(nav: Any, here: set[str]) -> Any:
    """`nav` without pages that aren't there, and without sections that have none."""
    if isinstance(nav, dict):
        return {title: kept for title, entry in nav.items() if (kept := _only(entry, here))}
    if isinstance(nav, list):
        return [kept for entry in nav if (kept := _only(entry, here))]
    return nav if nav in here else None


def _pages(nav: Any, files: Files) -> str:
    """What there is to read, section by section."""
    rows = ["| about | to read |", "|---|---|"]
    for tab in nav:
        for title, entries in tab.items() if isinstance(tab, dict) else ():
            if isinstance(entries, str):
                continue
            sections = [entry for entry in entries if isinstance(entry, dict)] or [{title: entries}]
            before = "API: " if title == "API" else ""
            rows += [
                f"| {before}{about} | {' · '.join(_link(page, files) for page in pages)} |"
                for one in sections
                for about, pages in one.items()
            ]
    return "\n".join(rows)


def _link(page: str, files: Files) -> str:
    file = files.get_file_from_path(page)
    heading = re.search(r"^# (?:seedbed\.)?(.*)$", file.content_string, re.MULTILINE) if file else None
    return f"[{heading[1] if heading else page}]({page})"


def _source(module: str) -> Path:
    path = ROOT / "src" / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _first_line(source: Path) -> str:
    return (ast.get_docstring(ast.parse(source.read_text())) or "").partition("\n\n")[0].replace("\n", " ")


def _of_module(module: str) -> str:
    if not _source(module).is_file():
        raise PluginError(f"mkdocs.yml names api/{module}.md, and there is no module {module} in src/")
    return f"---\ntitle: {module.removeprefix('seedbed.')}\n---\n\n# {module}\n\n::: {module}\n"


def _modules(pages: Iterator[str]) -> str:
    """A table for each package: its modules with their purpose, which is the first line of each; linked where there is a page."""
    linked = {page.removeprefix("api/").removesuffix(".md") for page in pages if page.startswith("api/")}
    tables: dict[str, list[str]] = {}
    for source in sorted((ROOT / "src").rglob("*.py")):
        path = source.relative_to(ROOT / "src").with_suffix("")
        package, module = ".".join(path.parts[:-1]), ".".join(path.parts).removesuffix(".__init__")
        name = f"[`{module}`](api/{module}.md)" if module in linked else f"`{module}`"
        tables.setdefault(package, []).append(f"| {name} | {_first_line(source).replace('|', chr(92) + '|')} |")
    return "\n\n".join("\n".join([f"### `{package}`", "", "| module | purpose |", "|---|---|", *rows]) for package, rows in tables.items())
