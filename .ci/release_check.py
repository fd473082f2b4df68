"""What must hold before a release: `make release-check VERSION=0.2.0`, or without VERSION on a commit that has its tag.

An item that doesn't hold is a line with what is wrong and what to do. Exit status: 0 ready, 1 not ready, 2 could not be asked.
`--only tree changelog` asks for some of the items. Nothing is tagged or sent; a drawing in docs/ that is not that of the code is made anew.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
VERSION = re.compile(r"\d+\.\d+\.\d+")
DAY = r"\d{4}-\d{2}-\d{2}"

# What no file that git keeps may hold; written so that this file doesn't either.
REGISTRIES = r"\b(?:py[p]i|python[h]osted|npm[j]s|ana[c]onda)[.](?:org|com)\b|\b(?:gh[c]r|qua[y]|registry-1[.]docker|index[.]docker)[.]io\b"
HOMES = r"/home/(?!seedbed/|me\b)[a-z][\w.-]*/|/Users/\w+/|/root/\w|/tmp/\w+/"  # the container's own user is no person's
KEYS = r"-----BEGIN [A-Z ]*PRIVATE KEY"

# By which a make hands its words and flags to one that it starts.
OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS")


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, errors="replace")
    return done.stdout.strip() if done.returncode == 0 else ""


def tree(version: str) -> Iterator[str]:
    """All that is released is committed."""
    if changed := git("status", "--porcelain").splitlines():
        yield f"{len(changed)} files are changed or new ({changed[0].split(maxsplit=1)[-1]}, …): commit them, or have git ignore them"


def tag(version: str) -> Iterator[str]:
    """The version is new, and its tag, if it is there, is this commit's."""
    at = git("rev-list", "-n", "1", f"v{version}")
    if at and at != git("rev-parse", "HEAD"):
        yield f"v{version} is another commit, {at[:9]}: say a version that isn't taken, or check that commit out"
    released = [found for name in git("tag", "--list", "v*").splitlines() if VERSION.fullmatch(found := name.removeprefix("v"))]
    newest = max((numbers(found) for found in released if found != version), default=(0,))
    if not at and numbers(version) < newest:
        yield f"{version} is older than v{'.'.join(map(str, newest))}, which is there: say a later version"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def changelog(version: str) -> Iterator[str]:
    """CHANGELOG.md says what a user gets, and since which day."""
    file = ROOT / "CHANGELOG.md"
    text = file.read_text() if file.exists() else ""
    entries = {
        found["name"]: found
        for found in re.finditer(r"^## \[(?P<name>[^\]]+)\](?P<day>.*)$(?P<body>[\s\S]*?)(?=^## |\Z)", text, re.MULTILINE)
    }
    entry = entries.get(version)
    if entry is None:
        yield f'CHANGELOG.md has no "## [{version}] - YYYY-MM-DD": head what a user gets with it'
    elif not re.fullmatch(rf" - {DAY}", entry["day"]):
        yield f'CHANGELOG.md: "## [{version}]{entry["day"]}" has no day: "## [{version}] - YYYY-MM-DD"'
    elif not re.search(r"^- \S", entry["body"], re.MULTILINE):
        yield f"CHANGELOG.md says nothing of {version}: a line for each thing that a user will notice"
    if (rest := entries.get("Unreleased")) and re.search(r"^- \S", rest["body"], re.MULTILINE):
        yield f"CHANGELOG.md has lines under Unreleased: move them to {version}"


def strings(version: str) -> Iterator[str]:
    """No file names a machine's folders, a package registry, or a key."""
    words = [REGISTRIES, HOMES, KEYS, *(re.escape(word) for word in of_this_machine())]
    pattern = re.compile("|".join(words))
    for name in filter(None, git("ls-files", "-z").split("\0")):
        path = ROOT / name
        if name == ".copier-answers.yml":
            continue  # says where the template is
        if path.is_symlink() or not path.is_file() or b"\0" in (content := path.read_bytes()):
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
            if found := pattern.search(line):
                yield f"{name}:{number} names {found[0]!r}: a path or host of one machine doesn't belong into the project"
                break


def of_this_machine() -> Iterator[str]:
    """Where this checkout lies, and the hosts that its environment names for packages."""
    if len(ROOT.parts) > 2:
        yield str(ROOT)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "npm_config_registry", "GOPROXY"):
        for word in os.environ.get(name, "").split():
            host = urlsplit(word).hostname
            if host and "." in host:
                yield host


def figures(version: str) -> Iterator[str]:
    """Measured numbers have their day: a section of README.md with a table of decimals names one. All levels are in its table."""
    text = (ROOT / "README.md").read_text()
    for section in re.split(r"^(?=## )", text, flags=re.MULTILINE):
        rows = [line for line in section.splitlines() if line.startswith("|")]
        if any(re.search(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", row) for row in rows) and not re.search(DAY, section):
            yield f'README.md, "{section.splitlines()[0].lstrip("# ")}": a table of numbers without the day they were measured on'
    if (ROOT / "copier.yml").exists():
        for level in sorted((ROOT / "conf" / "determinism").glob("*.yaml")):
            if not re.search(rf"^\|\s*`{level.stem}`", text, re.MULTILINE):
                yield f"README.md's table of levels lacks `{level.stem}` (conf/determinism/{level.name})"


def passes(*command: str) -> Callable[[str], Iterator[str]]:
    """An item that holds if a command ends with exit status 0."""

    def asked(version: str) -> Iterator[str]:
        around = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
        done = subprocess.run(
            command, cwd=ROOT, env=around, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            said = [line.strip() for line in done.stdout.splitlines() if line.strip() and not line.startswith("make: ***")]
            why = said[-1][:160] if said else f"exit status {done.returncode}"
            yield f"`{shlex.join(command)}` fails ({why}): call it, and mend what it says"

    return asked


# In this order: what is quick comes first.
ITEMS: dict[str, tuple[str, Callable[[str], Iterator[str]]]] = {
    "tree": ("all is committed", tree),
    "tag": ("the version is new, or this commit's", tag),
    "changelog": ("CHANGELOG.md has its entry and its day", changelog),
    "strings": ("no file names a machine or a registry", strings),
    "figures": ("numbers in README.md have their day", figures),
    "lock": ("requirements/ is what pyproject.toml asks for", passes("make", "--no-print-directory", "lock-check")),
    "lint": ("lint passes", passes("make", "--no-print-directory", "lint")),
}
if (ROOT / "copier.yml").exists():
    copies = (sys.executable, "-m", "pytest", "-n", "0", "tests/test_template.py", "-k", "no_other or trains")
    ITEMS["template"] = ("a copy has its own names, and trains", passes(*copies))
if (ROOT / "mkdocs.yml").exists():
    ITEMS["docs"] = ("the documents can be built", passes("make", "--no-print-directory", "docs"))


def asked_version(said: str) -> str:
    """The version that is to be released; ends with exit status 2 where none can be told."""
    if not git("rev-parse", "HEAD"):
        refuse(f"{ROOT} is no git checkout with a commit: a release is a tag. Clone the project, and ask there.")
    version = said.removeprefix("v")
    if not version:
        here = [found for name in git("tag", "--points-at", "HEAD").splitlines() if VERSION.fullmatch(found := name.removeprefix("v"))]
        if len(here) != 1:
            refuse(f"This commit has {len(here) or 'no'} tags of a version. Say which is to be released: make release-check VERSION=0.2.0")
        version = here[0]
    if not VERSION.fullmatch(version):
        refuse(f"VERSION={said} is not accepted. Accepted: three numbers with dots (0.2.0). Next: make release-check VERSION=0.2.0")
    return version


def refuse(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(2)


def main() -> int:
    parser = argparse.ArgumentParser("make release-check", description="what must hold before a release")
    parser.add_argument("version", nargs="?", default="", help="the version that is to be released; without it, the commit's tag")
    parser.add_argument("--only", nargs="+", choices=list(ITEMS), default=list(ITEMS), metavar="ITEM", help=", ".join(ITEMS))
    options = parser.parse_args()
    version = asked_version(options.version)
    failed = 0
    before = git("status", "--porcelain")
    for name in options.only:
        title, item = ITEMS[name]
        wrong = list(item(version))
        if (after := git("status", "--porcelain")) != before:
            wrong.append(
                f"it has written files anew ({after.splitlines()[0].split(maxsplit=1)[-1]}, …): look at `git diff`, and commit them"
            )
            before = after
        failed += bool(wrong)
        for line in wrong:
            print(f"no   {name:9}  {line}", flush=True)
        if not wrong:
            print(f"yes  {name:9}  {title}", flush=True)
    if failed:
        print(f"{version} is not ready: {failed} of {len(options.only)} items don't hold.")
        return 1
    if git("rev-list", "-n", "1", f"v{version}"):
        print(f"{version} is ready, and tagged. Next: git push origin v{version}")
    else:
        print(f"{version} is ready. Next: git tag --annotate v{version} --message {version} && git push origin v{version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
