"""The code of two records: which modules differ, and the difference itself, from this repository's commits and the recorded diffs.

Nothing of the user's repository is touched: each side is put together in an index of its own in a temporary folder, and whatever objects
that makes lie there, too. Nothing is checked out, and nothing of a record is run.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedbed import project_root
from seedbed.proof.checkout import COMMIT, GITS_OWN
from seedbed.proof.side import Side
from seedbed.run import provenance
from seedbed.run.claims import at
from seedbed.run.scratch import folder as scratch_folder

SECONDS = 60  # that git may take
LARGEST_BINARY = 100_000_000  # bytes that the binary pieces of a recorded diff may unpack to
LONGEST = 20_000  # lines of recorded diffs that are compared with one another


@dataclass(frozen=True)
class Code:
    """changed, only_a, only_b: modules by name. diff: theirs, as a unified diff from A to B. why_not: why there is none, or not all.

    unlike: modules whose source, as it was put together, isn't the one that the record has the hash of. also: changed files that
    are none of these modules.
    """

    changed: tuple[str, ...] = ()
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    diff: str = ""
    why_not: str | None = None
    unlike: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        return (*self.changed, *self.only_a, *self.only_b)


class CannotTell(Exception):
    """Why a side's code can't be put together."""


def compared(a: Side, b: Side) -> Code:
    left, right = a.inputs["code"], b.inputs["code"]
    changed = tuple(sorted(name for name in left if name in right and left[name] != right[name]))
    only_a, only_b = (tuple(sorted(set(x) - set(y))) for x, y in ((left, right), (right, left)))
    if not (changed or only_a or only_b):
        return Code()
    modules = [*changed, *only_a, *only_b]
    try:
        with scratch_folder("diff") as scratch:
            repository = _Repository(Path(scratch))
            tree_a, tree_b = repository.tree("A", a), repository.tree("B", b)
            files = repository.changed(tree_a, tree_b)
            paths = [path for module in modules for path in repository.paths(module) if path in files]
            hashes = [repository.hashes(tree, modules) for tree in (tree_a, tree_b)]
            unlike = tuple(name for name in modules if any(name in code and code[name] not in there[name]
                                                           for there, code in zip(hashes, (left, right), strict=True)))  # fmt: skip
            diff = repository.diff(tree_a, tree_b, paths) if paths else ""
    except CannotTell as reason:
        diff, why_not = _of_diffs(a, b, str(reason))
        return Code(changed, only_a, only_b, diff, why_not)
    why = None
    if unlike:
        why = f"the source of {', '.join(unlike)} isn't in the repository as it was when it ran (outside of src/, or edited meanwhile)"
    return Code(changed, only_a, only_b, diff, why, unlike, tuple(sorted(set(files) - set(paths))))


def _of_diffs(a: Side, b: Side, reason: str) -> tuple[str, str]:
    """The difference of the two recorded diffs, where they are taken from one commit."""
    commits = [at(side.provenance, "git.commit") for side in (a, b)]
    left, right = (side.diff.decode(errors="replace").splitlines() for side in (a, b))
    if commits[0] is None or commits[0] != commits[1] or len(left) + len(right) > LONGEST:
        return "", reason
    lines = difflib.unified_diff(left, right, "A/code.diff", "B/code.diff", lineterm="")
    return "\n".join(lines), f"{reason}; below, how the two recorded diffs differ"


class _Repository:
    """This project's repository, read with objects and an index that lie in `scratch`."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.count = scratch, 0
        self.env = {name: value for name, value in os.environ.items() if name not in GITS_OWN}
        self.env |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
        self.root = project_root()
        top = self._try("rev-parse", "--show-toplevel")
        if top is None:
            raise CannotTell("this project is no git checkout")
        self.prefix = os.fsdecode(self._git("rev-parse", "--show-prefix")).rstrip("\n")
        objects = self.root / os.fsdecode(self._git("rev-parse", "--git-path", "objects")).rstrip("\n")
        self.root = Path(os.fsdecode(top).rstrip("\n"))
        (scratch / "objects").mkdir()
        # quoted: a colon would begin another folder (git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES)
        self.env |= {
            "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": json.dumps(str(objects.resolve()), ensure_ascii=False),
        }

    def tree(self, name: str, side: Side) -> str:
        """The tree of a side's commit with its recorded diff. Raises CannotTell if that can't be had."""
        commit = at(side.provenance, "git.commit")
        if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
            raise CannotTell(f"{name} names no commit")
        if self._try("cat-file", "-e", f"{commit}^{{commit}}") is None:
            raise CannotTell(f"this repository doesn't have {name}'s commit {commit[:12]} (git fetch may bring it)")
        if side.diff.rstrip().endswith(b"# cut: the diff is larger than this"):
            raise CannotTell(f"{name}'s recorded diff was cut, since it was larger than {provenance.LARGEST_DIFF:,} bytes")
        unpacked = sum(int(size) for size in re.findall(rb"^(?:literal|delta) (\d{1,18})\s*$", side.diff, re.MULTILINE))
        if unpacked > LARGEST_BINARY:
            raise CannotTell(f"{name}'s recorded diff would unpack to {unpacked:,} bytes")
        self.count += 1
        self.env["GIT_INDEX_FILE"] = str(self.scratch / f"index-{self.count}")
        self._git("read-tree", commit)
        if side.diff and self._try("apply", "--cached", "--whitespace=nowarn", "-", given=side.diff) is None:
            raise CannotTell(f"{name}'s recorded diff doesn't apply to its commit")
        return os.fsdecode(self._git("write-tree")).strip()

    def changed(self, a: str, b: str) -> list[str]:
        """The files of a run's code that differ between two trees, by their paths in the repository."""
        places = [f"{self.prefix}{place}" for place in provenance.CODE]
        return [os.fsdecode(path) for path in self._git("diff-tree", "-r", "-z", "--name-only", a, b, "--", *places).split(b"\0") if path]

    def diff(self, a: str, b: str, paths: Sequence[str]) -> str:
        flags = ("-r", "-p", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--src-prefix=A/", "--dst-prefix=B/")
        return self._git("diff-tree", *flags, a, b, "--", *dict.fromkeys(paths)).decode(errors="replace")

    def paths(self, module: str) -> list[str]:
        """Where a module's source may lie; its name is the record's, and may be anything."""
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module):
            return []
        base = f"{self.prefix}src/{module.replace('.', '/')}"
        return [f"{base}.py", f"{base}/__init__.py"]

    def hashes(self, tree: str, modules: Sequence[str]) -> dict[str, list[str]]:
        """By module, the sha256 of each source in a tree that may be its."""
        asked = [(module, path) for module in modules for path in self.paths(module)]
        answer = self._try("cat-file", "--batch", given="".join(f"{tree}:{path}\n" for _, path in asked).encode()) or b""
        found: dict[str, list[str]] = {module: [] for module in modules}
        for module, _ in asked:  # `<id> blob <bytes>`, then the bytes; or `<name> missing`
            line, _, answer = answer.partition(b"\n")
            words = line.rsplit(b" ", 2)
            if words[-1].isdigit():
                source, answer = answer[: int(words[-1])], answer[int(words[-1]) + 1 :]
                if words[-2] == b"blob":
                    found[module].append(hashlib.sha256(source).hexdigest())
        return found

    def _git(self, *words: str) -> bytes:
        found = self._try(*words)
        if found is None:
            raise CannotTell(f"git {words[0]} fails here")
        return found

    def _try(self, *words: str, given: bytes = b"") -> bytes | None:
        """What git prints; None if it fails."""
        command = ["git", "-C", str(self.root), "--literal-pathspecs", "-c", "core.quotePath=false", "-c", "core.fsmonitor=false", *words]
        try:
            done = subprocess.run(command, env=self.env, input=given, capture_output=True, timeout=SECONDS)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout if done.returncode == 0 else None
