"""Where a recorded run is trained again: the project as it is, or a worktree of the recorded commit that is gone afterwards.

The user's index, branches and files are left alone: git keeps a worktree's index of its own (https://git-scm.com/docs/git-worktree).
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import seedbed
from seedbed import Refused, project_root
from seedbed.run import children, provenance
from seedbed.run.plain_text import harmless
from seedbed.run.record import Record

COMMIT = re.compile("[0-9a-f]{40}([0-9a-f]{24})?")

CUT = b"# cut: the diff is larger than this"  # what `provenance.diff` writes below a diff that it has cut

# Set by git in its hooks, and by whoever has called us: they would lead another `git` back to the user's own tree.
GITS_OWN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")

# What the set-up of an environment must not see of this one.
NOT_FOR_MAKE = ("PYTHONPATH", "PYTHONHOME", "VENV", "VIRTUAL_ENV", "SEEDBED_ROOT", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")

# Says where Python finds each of the packages named, without importing them.
ORIGINS = "import importlib.util, sys\nfor name in sys.argv[1:]: print(getattr(importlib.util.find_spec(name), 'origin', None))"


@dataclass(frozen=True)
class Place:
    """A project that trains. modules: the folders that its modules are in, as Python looks through them. python: the interpreter."""

    root: Path
    modules: tuple[Path, ...]
    commit: str | None = None  # of the worktree; None: the project as it is
    python: str = sys.executable

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """`env` for a process that is to train here."""
        if self.commit is None:
            return dict(env)
        return {**env, "SEEDBED_ROOT": str(self.root), "PYTHONPATH": os.pathsep.join(str(folder) for folder in self.modules)}


def here() -> Place:
    """This project as it is."""
    source = Path(seedbed.__file__).resolve().parents[1]
    return Place(project_root(), tuple(dict.fromkeys([*_python_path(), project_root() / "src", source])))


def _python_path() -> list[Path]:
    return [Path(entry).absolute() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


@dataclass(frozen=True)
class Trust:
    """Which code of a record may run: its diff; and its commit, should that be on no branch of the user's."""

    diff: bool
    commit: bool


@contextmanager
def worktree(record: Record, folder: Path, trust: Trust, said: Callable[[str], None]) -> Iterator[Place]:
    """The recorded commit with the recorded diff, in `folder`; taken away again whatever happens.

    Raises:
        Refused: this repository doesn't have the commit, the commit or the diff is not trusted, or the diff doesn't apply.
    """
    root, tree, commit = project_root(), folder / "tree", _commit(record)
    if not trust.commit and not _is_mine(root, commit):
        raise Refused(
            f"The recorded commit {commit} is on no branch of yours: it was fetched from elsewhere, and its code would run here. "
            f"Read it (git log -p HEAD..{commit[:12]}). If it may run here: merge it, or make it a branch "
            f"(git branch NAME {commit[:12]}), or say --trust-commit."
        )
    prefix = _git(root, "rev-parse", "--show-prefix").strip()  # the project may be a folder of a larger repository
    try:
        _git(root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(tree), commit)
        place = tree / prefix
        if (record.path / "code.diff").exists():
            _apply(record, tree, prefix, trust.diff, said)
        source = place / "src"
        yield Place(place, tuple(dict.fromkeys([source, *_python_path()])), commit)
    finally:
        _remove(root, tree)


def _commit(record: Record) -> str:
    commit = (record.provenance.get("git") or {}).get("commit")
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise Refused(f"The record names no commit ({harmless(commit)}): it was trained outside of a git checkout. Leave out --checkout.")
    if not _succeeds(project_root(), "rev-parse", "--git-dir"):
        raise Refused(
            f"{project_root()} is no git checkout, so the recorded commit {commit} can't be had here. Next: git clone the project."
        )
    if not _succeeds(project_root(), "cat-file", "-e", f"{commit}^{{commit}}"):
        raise Refused(
            f"This repository doesn't have the recorded commit {commit}. Next: git fetch (in a shallow clone: git fetch --unshallow)."
        )
    return commit


def _is_mine(root: Path, commit: str) -> bool:
    """Whether a commit is on a branch of the user's, or under what is checked out; what was merely fetched is not."""
    if _succeeds(root, "merge-base", "--is-ancestor", commit, "HEAD"):
        return True
    return bool(_git(root, "for-each-ref", f"--contains={commit}", "--count=1", "refs/heads").strip())


def _apply(record: Record, tree: Path, prefix: str, trusted: bool, said: Callable[[str], None]) -> None:
    diff = (record.path / "code.diff").absolute()
    if CUT in diff.read_bytes()[-200:]:
        raise Refused(f"The recorded diff ({diff}) was too large to be recorded whole, so the code of this run can't be had back.")
    try:
        touched = _touched(tree, diff)
    except Refused as error:
        raise Refused(f"The recorded diff ({diff}) can't be read by git: {error}") from None
    names = [name for name, _ in touched]
    words = f"{len(names)} files, {sum(lines for _, lines in touched)} lines: {harmless(', '.join(names))}"
    strange = [
        name for name in names if not any(name == f"{prefix}{part}" or name.startswith(f"{prefix}{part}/") for part in provenance.CODE)
    ]
    if strange:
        raise Refused(
            f"The recorded diff changes {harmless(', '.join(strange))}. Accepted: {', '.join(provenance.CODE)}; seedbed records no other."
        )
    if not trusted:
        raise Refused(f"The record comes with a diff, which is code from wherever the record is from ({words}). Read it "
                      f"(record/code.diff in MLflow, code.diff in the record's folder); if it may run here: --trust-diff.")  # fmt: skip
    for check in (["--check"], []):
        try:
            _git(tree, "apply", "--whitespace=nowarn", *check, str(diff))
        except Refused as error:
            raise Refused(f"The recorded diff doesn't apply to the recorded commit: {error}") from None
    said(f"The recorded diff is applied ({words}).")


def _touched(tree: Path, diff: Path) -> list[tuple[str, int]]:
    """Each file that a diff changes, both names of one that it renames, and how many lines."""
    found = []
    for entry in filter(None, _git(tree, "apply", "--numstat", "-z", str(diff)).split("\0")):
        added, deleted, name = entry.split("\t", 2)
        found.append((name, sum(int(count) for count in (added, deleted) if count.isdigit())))
    named = re.findall(r"^(?:rename|copy) (?:from|to) (.+)$", diff.read_text(errors="replace"), re.MULTILINE)
    return found + [(name, 0) for name in dict.fromkeys(named) if name not in dict(found)]


def interpreter(place: Place, record: Record, said: Callable[[str], None]) -> Place:
    """The worktree with an interpreter that has the recorded packages: this one, or an environment made there from its lock.

    Raises Refused if none can be made, or if Python would take modules from elsewhere.
    """
    recorded = record.inputs["environment"].get("packages") or {}
    if other := [name for name, version in recorded.items() if _version(name) != version]:
        said(f"Other packages are recorded than there are here ({harmless(', '.join(other))}): setting up the recorded ones by "
             f"`make .venv/.train` in the worktree (downloads; takes minutes).")  # fmt: skip
        minor = re.match(r"3\.\d+", str(record.inputs["environment"].get("python")))
        python = shutil.which(f"python{minor[0]}") if minor else None
        command = ["make", "-C", str(place.root), ".venv/.train", *([f"PYTHON={python}"] if python else [])]
        env = {name: value for name, value in os.environ.items() if name not in NOT_FOR_MAKE}
        done = children.run(command, env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Refused(
                f"The recorded environment can't be set up (`make .venv/.train` at {place.commit}):\n{done.stderr.strip()[-2000:]}"
            )
        place = replace(place, python=str(place.root / ".venv" / "bin" / "python"))
    _check_origins(place)
    return place


def _check_origins(place: Place) -> None:
    """Python must take the worktree's modules from the worktree: an installed copy, or an editable one, must not win."""
    source = place.root / "src"
    names = sorted(path.parent.name for path in source.glob("*/__init__.py"))
    if "seedbed" not in names:
        raise Refused(f"There is no seedbed at the recorded commit {place.commit} (src/seedbed).")
    command = [place.python, "-P", "-c", ORIGINS, *names]
    done = children.run(command, env=place.environment(os.environ), capture_output=True, text=True)
    for name, origin in zip(names, done.stdout.splitlines() or [done.stderr.strip()[-500:]], strict=False):
        if not Path(origin).resolve().is_relative_to(source.resolve()):
            raise Refused(
                f"Python takes {name} from {origin}, not from the worktree {source}: a .pth file or sitecustomize goes before PYTHONPATH."
            )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def _remove(root: Path, tree: Path) -> None:
    _run(root, "worktree", "remove", "--force", "--force", str(tree))
    shutil.rmtree(tree, ignore_errors=True)
    for line in _run(root, "worktree", "list", "--porcelain").stdout.decode(errors="surrogateescape").splitlines():
        left = Path(line.removeprefix("worktree "))  # also of replays that were killed; no other worktree is looked at
        if line.startswith("worktree ") and left.is_relative_to(tree.parents[1]) and not left.exists():
            _run(root, "worktree", "remove", "--force", "--force", str(left))


def _git(folder: Path, *words: str) -> str:
    """What git prints; raises Refused with what it says if it fails."""
    done = _run(folder, *words)
    if done.returncode:
        raise Refused(f"git {words[0]}: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return done.stdout.decode(errors="surrogateescape")


def _succeeds(folder: Path, *words: str) -> bool:
    return _run(folder, *words).returncode == 0


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    env = {name: value for name, value in os.environ.items() if name not in GITS_OWN}
    try:
        return subprocess.run(["git", "-C", str(folder), *words], env=env, stdin=subprocess.DEVNULL, capture_output=True)
    except OSError as error:
        raise Refused(f"git is needed for --checkout: {error}") from None
