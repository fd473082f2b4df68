"""The documentation as a site: it builds without a warning, and a browser finds its way in it, with no network."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml
from conftest import OUTSIDE, ROOT
from filelock import FileLock

pytestmark = pytest.mark.integration

MKDOCS = Path(sys.executable).parent / "mkdocs"
MAKING = ROOT / "docs" / "making"
PAGES = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md") if path.parts[-2] != "causes"}


def build(folder: Path, site: Path, status: int = 0) -> str:
    done = subprocess.run([MKDOCS, "build", "--site-dir", site], cwd=folder, env=OUTSIDE, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stderr


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Built once for all workers."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    folder = shared / "site"
    with FileLock(shared / "site.lock"):
        if not (folder / "built").exists():
            build(ROOT, folder)
            (folder / "built").touch()
    return folder


class Seen(HTMLParser):
    """What a page names (`ids`), where it leads (`links`), and what a browser fetches for it (`loaded`)."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.ids, self.links, self.loaded, self.menu = set[str](), list[str](), list[str](), list[str]()
        self.text = page.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {name: value or "" for name, value in attrs}
        self.ids |= {have[name] for name in ("id", "name") if name in have}
        if tag == "a" and "href" in have:
            self.links.append(have["href"])
            if "md-nav__link" in have.get("class", ""):
                self.menu.append(have["href"])
        elif tag == "link" and have.get("rel") not in ("prev", "next", "canonical"):
            self.loaded.append(have["href"])
        elif have.get("src"):
            self.loaded.append(have["src"])


def test_every_page_is_there_and_leads_where_it_says(site: Path) -> None:
    """All of it read as files: the links of all pages, their anchors, their pictures and scripts."""
    pages = {path: Seen(path) for path in site.rglob("*.html") if path.name != "404.html"}
    named = re.findall(r"- (api/[\w.]+\.md)", (ROOT / "mkdocs.yml").read_text())
    assert len(named) > 20
    there = {path.relative_to(site).as_posix().removesuffix(".html") + ".md" for path in pages}
    assert PAGES | {*named} <= there
    assert there - PAGES - {*named} <= {"CONTRIBUTING.md", "CHANGELOG.md"}
    menu = {unquote(link) for link in pages[site / "index.html"].menu}
    assert {page.removesuffix(".md") + ".html" for page in there} <= menu
    assert ">More<" not in re.sub(r"\s", "", pages[site / "index.html"].text), "a page of docs/ has no place in `nav` of mkdocs.yml"
    read = pages[site / "index.html"].links
    assert all(page.removesuffix(".md") + ".html" in read for page in PAGES)
    for path, seen in pages.items():
        for link in [*seen.links, *seen.loaded]:
            address, anchor = urldefrag(link)
            if urlsplit(link).scheme:
                assert link not in seen.loaded, f"{path.name} loads {link}"
                continue
            target = (path.parent / unquote(address)) if address else path
            target = Path(os.path.normpath(target))
            assert target.exists(), f"{path.name} leads to {link}"
            if anchor and target.suffix == ".html":
                assert unquote(anchor) in pages[target].ids, f"{path.name} leads to {link}"
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?https?:|@import", style.read_text()), style
    house = pages[site / "architecture.html"].text
    for module in (ROOT / "src" / "seedbed").rglob("*.py"):
        name = ".".join(module.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        assert f"<code>{name}</code>" in house, name


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project with two pages and two modules, whose site is made as this one's."""
    (tmp_path / "docs").mkdir()
    shutil.copytree(MAKING, tmp_path / "docs" / "making")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    config |= {
        "nav": [
            "index.md",
            {"Guide": [{"Inside": ["CONTRIBUTING.md", "CHANGELOG.md"]}, {"Nothing": ["CHANGELOG.md"]}]},
            "api/seedbed.one.md",
        ],
        "site_dir": "site",
    }
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "docs" / "index.md").write_text("# One\n\nSee [other](other.md#more).\n\n<!-- pages -->\n")
    (tmp_path / "docs" / "other.md").write_text("# Other\n\nThe [`config`](../mkdocs.yml), as it is.\n\n## More\n\n<!-- modules -->\n")
    (tmp_path / "CONTRIBUTING.md").write_text("# How to change it\n\n[Other](docs/other.md#more), [a module](src/seedbed/one.py)\n")
    source = tmp_path / "src" / "seedbed"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text('"""The package."""\n')
    (source / "one.py").write_text(
        '"""One module."""\n\n# At most.\nMOST = 5\n\n\ndef add(left: int, right: int) -> int:\n'
        '    """The sum.\n\n    left: one number; right: the other. Raises Refused for none.\n    """\n    return left + right\n'
    )
    return tmp_path


def test_pages_that_nav_lacks_papers_links_and_docstrings(small: Path) -> None:
    build(small, small / "site")
    index, other, paper, module = (Seen(small / "site" / f"{name}.html") for name in ("index", "other", "CONTRIBUTING", "api/seedbed.one"))
    assert "other.html" in index.menu  # under "More"
    assert ">More<" in re.sub(r"\s", "", index.text)
    assert "CHANGELOG" not in index.text  # there is none
    assert "Nothing" not in index.text
    assert '<td><a href="CONTRIBUTING.html">How to change it</a></td>' in index.text
    assert "The <code>config</code>, as it is." in other.text
    assert '<a href="other.html#more">Other</a>, a module' in paper.text
    assert "<td>One module.</td>" in other.text
    assert '<a href="api/seedbed.one.html"><code>seedbed.one</code></a>' in other.text
    for words in (
        "<li><code>left</code>: one number;</li>",
        "<li><code>right</code>: the other.",
        "<p>Raises Refused for none.</p>",
        "<p>At most.</p>",
    ):
        assert words in module.text, words


def test_a_mistake_stops_the_build(small: Path) -> None:
    (small / "docs" / "other.md").write_text("# Other\n\n[a](nowhere.md) [b](index.md#nowhere) ![c](nowhere.svg)\n")
    (small / "CONTRIBUTING.md").write_text("# How to\n\n[d](docs/nowhere.md)\n")
    said = build(small, small / "site", status=1)
    for message in ("'nowhere.md', but the target is not found", "does not contain an anchor '#nowhere'",
                    "'nowhere.svg', but the target is not found", "'docs/nowhere.md', but the target is not found"):  # fmt: skip
        assert message in said
    assert "Traceback" not in said


def test_a_module_that_is_not_there_stops_the_build(small: Path) -> None:
    config = (small / "mkdocs.yml").read_text()
    (small / "mkdocs.yml").write_text(config.replace("api/seedbed.one.md", "api/seedbed.nowhere.md"))
    said = build(small, small / "site", status=1)
    assert "mkdocs.yml names api/seedbed.nowhere.md, and there is no module seedbed.nowhere in src/" in said
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def making() -> Iterator[Any]:
    sys.path.insert(0, str(MAKING))
    import architecture

    yield architecture
    sys.path.remove(str(MAKING))


def test_the_drawing_is_that_of_today(making: Any) -> None:
    """Of today's contracts and imports, and it is another one if any of them changes."""
    house = making.read()
    drawn, page = making.draw(house), making.page(house, making.PAGE.read_text())
    assert drawn == making.DRAWING.read_text(), "docs/architecture.svg is of other contracts or imports: make docs"
    assert page == making.PAGE.read_text(), "the table in docs/architecture.md is of other contracts or imports: make docs"
    house.imports["seedbed.show"].add("seedbed.tracking")
    assert making.draw(house) != drawn
    house = making.read()
    house.floors[3], house.floors[2] = house.floors[2][:-1], [*house.floors[3], house.floors[2][-1]]
    assert making.draw(house) != drawn
    assert making.page(house, page) != page


def test_what_is_drawn_has_the_order_of_what_is_imported(making: Any) -> None:
    """Left out are arrows that follow from others, and no more."""
    house = making.read()
    shown = making.shown(house)

    def reached(imports: dict[str, set[str]], part: str) -> set[str]:
        return imports[part].union(*(reached(imports, other) for other in imports[part]))

    for part in house.parts:
        assert reached(shown, part) == reached(house.imports, part), part
        assert shown[part] <= house.imports[part]
    assert "seedbed.run" in house.imports["seedbed.cli"] - shown["seedbed.cli"]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def browsed(**settings: Any) -> Iterator[Any]:
    """A page of a browser that is there, and what went wrong in it (`page.wrong`) or was fetched (`page.fetched`)."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(**settings)
        page.set_default_timeout(60_000)
        page.wrong, page.fetched = [], []
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: page.fetched.append(request.url))
        yield page
        browser.close()


@pytest.mark.slow
def test_a_browser_opens_every_page_from_its_file(site: Path) -> None:
    with browsed(viewport={"width": 420, "height": 900}, color_scheme="dark") as page:
        for path in sorted(site.rglob("*.html")):
            if path.name == "404.html":
                continue
            page.goto(path.as_uri())
            assert page.locator("h1").count() == 1, path
            for image in page.locator("img").all():
                assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0, path
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 420, f"{path} is {wide} wide on a screen of 420"
            assert page.locator("body").evaluate("body => getComputedStyle(body).getPropertyValue('--md-hue')").strip(), path
        assert page.wrong == []
        assert {url for url in page.fetched if not url.startswith((site.as_uri(), "data:", "about:"))} == set()


@pytest.mark.parametrize("way", ["file", pytest.param("server", marks=pytest.mark.slow)])
def test_search_finds_what_pages_and_docstrings_say(way: str, site: Path) -> None:
    with served(site) as address, browsed(viewport={"width": 1400, "height": 900}) as page:
        page.goto(f"{site.as_uri() if way == 'file' else address}/architecture.html")
        box, found = page.get_by_role("textbox", name="Search"), page.locator(".md-search-result__link")
        for words, where in (
            ("execve", "architecture.html"),
            ("permutation", "api/seedbed.study.statistics.html"),
            ("cheque", "bring-your-own.html"),
        ):
            box.fill("")
            box.press_sequentially(words)
            page.locator(f".md-search-result__link[href*='{where}?h={words}']").first.wait_for()
        assert all("bring-your-own.html" in link.get_attribute("href") for link in found.all())
        page.locator(".md-search-result__link[href*='h=cheque']").first.click()
        page.locator("mark", has_text="cheque").first.wait_for()
        assert "/bring-your-own.html" in page.url
        assert page.wrong == []
        assert {urlsplit(url).hostname for url in page.fetched} <= {None, "127.0.0.1"}


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_the_drawing_is_legible(scheme: str, tmp_path: Path) -> None:
    """As a browser sets its words: each within its box, none on another, no box on another."""
    with browsed(color_scheme=scheme) as page:
        page.set_content((ROOT / "docs" / "architecture.svg").read_text())
        boxes = page.evaluate("""() => [...document.querySelectorAll("g")].map(group => {
          const of = element => { const {x, y, width, height} = element.getBBox(); return [x, y, x + width, y + height]; };
          return {rect: of(group.querySelector("rect")), words: [...group.querySelectorAll("text")].map(of),
                  ink: getComputedStyle(group.querySelector("text")).fill, paper: getComputedStyle(group.querySelector("rect")).fill};
        })""")
    assert len(boxes) > 15

    def apart(a: list[float], b: list[float]) -> bool:
        return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]

    for number, box in enumerate(boxes):
        for left, top, right, bottom in box["words"]:
            assert box["rect"][0] < left < right < box["rect"][2], box
            assert box["rect"][1] < top < bottom < box["rect"][3] + 1, box
        assert all(apart(box["rect"], other["rect"]) for other in boxes[:number])
        ink, paper = (sum(map(int, re.findall(r"\d+", box[name])[:3])) for name in ("ink", "paper"))
        assert abs(ink - paper) > 350, box
