"""docs/causes.md holds: each program's fault is caught, placed and, where code can tell, found by the audit; cured it holds."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE, QUIET, ROOT, STRICT

from seedbed.proof import audit

CATALOGUE = ROOT / "docs" / "causes.md"


@dataclass(frozen=True)
class Entry:
    title: str
    chapter: str
    program: str
    words: list[str]
    line: str  # what is said of place, surroundings, draws and audit
    cure: str

    def said(self, what: str) -> str | None:
        found = re.search(rf"{what}: ([^.]+(?:\.\w[^.]*)*)\.", self.line)
        return found.group(1) if found else None

    @property
    def cured(self) -> str:
        replaced = re.match(r"`(.+)` in place of `(.+)`\.", self.cure)
        if not replaced:
            return self.program
        new, old = replaced.groups()
        assert old in self.program, f"{self.title}: the cure replaces {old!r}, which isn't there"
        return self.program.replace(old, new)


def entries() -> list[Entry]:
    found = []
    chapter = ""
    for section in re.split(r"^(?=##)", CATALOGUE.read_text(), flags=re.MULTILINE)[1:]:
        title, _, body = section.lstrip("# ").partition("\n")
        if section.startswith("## "):
            chapter = title
            continue
        program = re.search(r"```python\n(.*?)```", body, re.DOTALL)
        shown = re.search(r"^- Shown by: `(.+)`$", body, re.MULTILINE)
        line = re.search(r"^- (Place: .+)$", body, re.MULTILINE)
        cure = re.search(r"^- Cure: (.+)$", body, re.MULTILINE)
        assert program is not None, title
        assert shown is not None, title
        assert line is not None, title
        assert cure is not None, title
        found.append(Entry(title, chapter, program.group(1), shlex.split(shown.group(1)), line.group(1), cure.group(1)))
    return found


ENTRIES = entries()


def test_there_are_enough_causes() -> None:
    assert len(ENTRIES) >= 20
    assert len({entry.title for entry in ENTRIES}) == len(ENTRIES)
    assert set(SLOW) <= {entry.title for entry in ENTRIES}


# Of each kind (the arithmetic, the surroundings, generators, order, workers, state) some are always run; these are `make test-slow`.
SLOW = (
    "The order of a directory's listing", "A loss, a gradient or an update that draws", "Worker processes that draw for themselves",
    "XLA", "Mixed precision", "Another library for the same operation", "Batch normalisation and the order of examples",
    "A budget of time", "An estimator without random_state, in worker processes", "An iterator that is used up",
    "Python code in a parallel map", "A generator of TensorFlow's that begins anywhere", "The working directory", "The date", "The locale",
    "How many digits a number is written with", "A layer at the top of a module", "What a run has left for the next one",
    "The number of threads", "A callback that draws", "A generator of Python's own without a seed", "The system's entropy as a seed",
    "The time zone", "Random operations in a parallel map", "The order of a set of objects", "Results in the order in which they are ready",
)  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize(
    "entry", [pytest.param(entry, id=entry.title, marks=[pytest.mark.slow] if entry.title in SLOW else []) for entry in ENTRIES]
)
def test_a_cause_is_caught_placed_and_found(seedbed: Callable[..., Any], tmp_path: Path, entry: Entry) -> None:
    (tmp_path / "cause.py").write_text(entry.program)
    quiet = [] if entry.chapter == "Who is ready first" else ["--leave", "load"]  # what isn't about timing needn't wait for others
    quiet += ["--times", "1"] if {"--against", "--resume"} & set(entry.words) else []  # what is perturbed is asked elsewhere
    words = ["verify", *quiet, "--config-dir", str(ROOT / "docs" / "causes"), *entry.words, f"runs='{tmp_path / 'runs'}'", "--json"]
    done = seedbed(*words, env={"PYTHONPATH": str(tmp_path)})
    assert done.status == 1, f"{done.out}\n{done.err}"
    diagnosis = done.json["diagnosis"]
    kinds, _, layer = str(entry.said("Place")).partition(", layer ")
    assert diagnosis["place"]["kind"] in kinds.split(" or "), diagnosis
    if layer:
        assert str(diagnosis["place"]["layer"]).split("/")[-1] == layer, diagnosis
    assert diagnosis["surrounding"] == entry.said("Enough"), diagnosis
    causes = " ".join(f"{cause['what']} {cause['remedy']}" for cause in diagnosis["causes"])
    assert causes
    if draws := entry.said("Draws"):
        line = next(number for number, text in enumerate(entry.program.splitlines(), 1) if draws.strip("`") in text)
        assert f"cause.py:{line}," in causes
    if found := entry.said("Audit"):
        code, snippet = re.fullmatch(r"([A-Z]+\d+), `(.+)`", found).groups()  # type: ignore[union-attr]
        line = next(number for number, text in enumerate(entry.program.splitlines(), 1) if snippet in text)
        assert (code, line) in {(one.code, one.line) for one in audit.examine([tmp_path / "cause.py"], print)}
        if not entry.words.count("--against"):
            assert f"cause.py:{line}" in causes  # diagnose names it, too


# Trains each program in turn, in one process, or only makes its data: {title: digests, or the data's fingerprint}.
DRIVER = """
import json, sys
from contextlib import ExitStack
from pathlib import Path
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from seedbed.proof import perturbing
from seedbed.run import config, targets, training
folder, jobs, number, root = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
sys.path.insert(0, str(folder))
config.register()
found = {}
with ExitStack() as stack, initialize_config_dir(root + "/conf", version_base="1.3"):
    perturbing.inside(stack, listing=number, days=403 * number)
    for name, (words, whole) in jobs.items():
        where = [f"hydra.searchpath=[file://{root}/docs/causes]", "tracking=none", f"runs='{folder}/runs {number}/{name}'"]
        composed = compose("train", [*where, *(word.replace("cause.", f"{name}.") for word in words)])
        if whole:
            found[name] = training.run(composed).digests
            continue
        level = OmegaConf.to_container(composed.determinism, resolve=True)
        seeds = training.resolved_seeds(composed, None)
        call = targets.target(composed.data.source, "data.source")
        found[name] = training.loaded(composed, call, seeds, level).fingerprint
print(json.dumps(found))
"""


@pytest.mark.integration
def test_cured_they_hold(tmp_path: Path) -> None:
    """All cured programs in one process, and in another one in other surroundings: the same bits."""
    jobs = {}
    for number, entry in enumerate(ENTRIES):
        if entry.chapter == "Arithmetic":
            continue  # nothing to cure: the other value is another input
        words = entry.words[: entry.words.index("--against")] if "--against" in entry.words else entry.words
        words = [word for word in words if not word.startswith(("--", "determinism="))]  # at strict
        targets = [f"data.source._target_=cause{number}.data"]
        targets += [f"model._target_=cause{number}.model"] if "model=cause" in words else []
        (tmp_path / f"cause{number}.py").write_text(entry.cured)
        jobs[f"cause{number}"] = [*words, *targets], entry.said("Place") != "data"

    def trained(number: int, **env: str) -> dict[str, Any]:
        (tmp_path / f"here {number}").mkdir()
        command = [sys.executable, "-c", DRIVER, str(tmp_path), json.dumps(jobs), str(number), str(ROOT)]
        given = {**OUTSIDE, **STRICT, **QUIET, **env}
        done = subprocess.run(command, env=given, cwd=tmp_path / f"here {number}", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    first, second = trained(0), trained(1, TZ="NPT-5:45", LC_ALL="C", TMPDIR=str(tmp_path))
    differing = [ENTRIES[int(name.removeprefix("cause"))].title for name in jobs if first[name] != second[name]]
    assert not differing
