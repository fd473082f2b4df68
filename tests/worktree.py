"""This project as it stands in its folder, changes included, as a repository of its own somewhere else; git without a person's settings."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOMEBODY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(folder: Path, *words: str) -> str:
    """What git says in `folder`, without anything of the repository that the caller's environment may name."""
    around = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *words], cwd=folder, env={**around, **SOMEBODY}, capture_output=True, text=True, check=True)
    return done.stdout


def commit(folder: Path, message: str = "a change") -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--message", message)


def files() -> list[str]:
    """The paths below ROOT of what is tracked, or would be."""
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    return [name for name in listed.split("\0") if name and os.path.lexists(ROOT / name)]


def copied(folder: Path, *only: str) -> Path:
    """A copy in `folder`, with one commit; of the files and folders `only` at its top, if there are any."""
    for name in files():
        if not only or name.partition("/")[0] in only:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "one")
    return folder
