"""Provenance: what goes into the key, what is only told, and what is never read."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import worktree

import seedbed
from seedbed.run import provenance, training

LEVEL: dict[str, Any] = {"environment": {"KERAS_BACKEND": "tensorflow"}, "threads": {"intra_op": 1, "inter_op": 1}}


def test_the_number_of_cores_counts_only_where_threads_follow_it() -> None:
    assert "cores" not in provenance.environment(LEVEL)["cpu"]
    for threads in ({"intra_op": None, "inter_op": None}, {"intra_op": 1, "inter_op": None}, {"intra_op": 0, "inter_op": 1}):
        assert "cores" in provenance.environment({**LEVEL, "threads": threads})["cpu"]


def test_variables_that_decide_bits_are_in_the_environment_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    variables = provenance.environment(LEVEL)["variables"]
    assert variables["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert "SECRET_TOKEN" not in variables


def test_test_tools_are_no_part_of_the_environment() -> None:
    packages = provenance.packages("tensorflow")
    assert packages["keras"]
    assert packages["numpy"]
    assert "pytest" not in packages
    assert not {"jax", "torch"} & set(packages)
    assert ("jax" in provenance.packages("jax")) == (find_spec("jax") is not None)  # the default tier does without it


def test_code_follows_imports_wherever_they_stand(plugin: Callable[..., Path]) -> None:
    folder = plugin("outer", "def f():\n    from package.inner import g\n    import json, numpy\n")
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "inner.py").write_text("from . import sibling\nfrom .sibling import h\n")
    (folder / "package" / "sibling.py").write_text("import outer\n")
    (folder / "package" / "unused.py").write_text("")
    found = provenance.code(["outer.f"])
    mine = {name for name in found if not name.startswith("seedbed")}
    assert mine == {"outer", "package", "package.inner", "package.sibling"}


def test_the_module_that_trains_a_worker_counts_where_there_are_workers(config: Callable[..., Any]) -> None:
    assert "seedbed.run.worker" in training.code_of(config("strategy=multi_worker"))
    assert "seedbed.run.worker" not in training.code_of(config("strategy=mirrored"))


def test_installed_packages_are_covered_by_their_versions() -> None:
    assert not [
        name for name in provenance.code(["keras.optimizers.Adam", "sklearn.svm.SVC", "json.loads"]) if not name.startswith("seedbed")
    ]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own under git."""
    monkeypatch.setenv("SEEDBED_ROOT", str(tmp_path))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("runs/\n")
    worktree.git(tmp_path, "init", "--quiet")
    worktree.commit(tmp_path)
    assert seedbed.project_root() == tmp_path
    return tmp_path


def test_a_clean_tree_has_no_diff(checkout: Path) -> None:
    assert provenance.diff() == ""
    assert provenance.git()["dirty"] is False
    assert len(provenance.git()["commit"]) == 40


def test_a_diff_holds_changes_and_new_code_and_leaves_the_users_index_alone(checkout: Path) -> None:
    (checkout / "src" / "a.py").write_text("x = 2\n")
    (checkout / "src" / "new.py").write_text("y = 3\n")
    (checkout / ".env").write_text("PASSWORD=z")
    before = subprocess.run(["git", "-C", str(checkout), "status", "--porcelain"], capture_output=True, text=True).stdout
    text = provenance.diff()
    assert "+x = 2" in text
    assert "+y = 3" in text
    assert "PASSWORD" not in text
    assert provenance.git()["dirty"] is True
    assert subprocess.run(["git", "-C", str(checkout), "status", "--porcelain"], capture_output=True, text=True).stdout == before
    # it can be applied again
    subprocess.run(["git", "-C", str(checkout), "stash", "-uq"], check=True)
    subprocess.run(["git", "-C", str(checkout), "apply"], input=text, text=True, check=True)
    assert (checkout / "src" / "new.py").read_text() == "y = 3\n"


@pytest.mark.parametrize("place", ["plain", 'a:b "c" \\d'])
def test_a_diff_writes_nothing_into_the_project(
    place: str, checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the contents of new files as git's objects; its own folder is gone afterwards."""
    project = checkout / place
    worktree.git(checkout, "init", "--quiet", place)
    (project / "src").mkdir()
    (project / "src" / "a.py").write_text("x = 1\n")
    worktree.commit(project)
    monkeypatch.setenv("SEEDBED_ROOT", str(project))
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (project / "src" / "a.py").write_text("x = 2\n")
    (project / "src" / "new.bin").write_bytes(bytes(range(256)))
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    text = provenance.diff()
    assert "+x = 2" in text
    assert "GIT binary patch" in text
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before
    assert list(temporary.iterdir()) == []


def test_without_git_the_images_commit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDBED_ROOT", str(tmp_path))
    monkeypatch.setenv("SEEDBED_COMMIT", "abc")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git() == {"commit": "abc", "dirty": None}
    assert provenance.diff() == ""


def test_an_installed_package_outside_the_lock_counts_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that somebody has installed beside the lock's, with and without the record of its installation."""
    site = tmp_path / "site-packages"
    (site / "theirs").mkdir(parents=True)
    (site / "theirs" / "__init__.py").write_text("from theirs import nets\n")
    (site / "theirs" / "nets.py").write_text("def net():\n    return 1\n")
    monkeypatch.syspath_prepend(str(site))
    provenance._distributions.cache_clear()
    loose = provenance.code(["theirs.net"])
    assert {name for name in loose if not name.startswith("seedbed")} == {"theirs", "theirs.nets"}
    (site / "theirs-1.0.dist-info").mkdir()
    (site / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    codes = []
    for content in ("abc", "abd"):
        (site / "theirs-1.0.dist-info" / "RECORD").write_text(
            f"theirs/__init__.py,sha256={content},3\ntheirs-1.0.dist-info/RECORD,,\ntheirs/x.pyc,,\n"
        )
        (site / "theirs-1.0.dist-info" / "top_level.txt").write_text("theirs\n")
        provenance._distributions.cache_clear()
        codes.append(provenance.code(["theirs.nets.net"]))
    provenance._distributions.cache_clear()
    assert {name for name in codes[0] if not name.startswith("seedbed")} == {"theirs"}
    assert codes[0]["theirs"] != codes[1]["theirs"]


@pytest.mark.parametrize(("chosen", "left"), [
    (None, "ab"), ("", ""), ("0", "a"), ("1", "b"), ("1,0", "ba"), ("-1", ""), ("0,7,1", "a"), ("GPU-3f", None), ("0,GPU-3f", None),
])  # fmt: skip
def test_which_gpu_a_scheduler_gives_is_not_what_counts_but_of_which_kind(chosen: str | None, left: str | None) -> None:
    gpus = [{"name": "a"}, {"name": "b"}]
    found = provenance.visible(gpus, chosen)
    assert found == (None if left is None else [{"name": name} for name in left])
    assert provenance.visible([], chosen) == []  # nothing to choose from: no launcher's variable gives another key


def test_the_kind_of_cpu_counts_but_at_portable() -> None:
    assert provenance.environment({**LEVEL, "level": "portable"})["cpu"] == {"baseline": "x86-64-v3"}
    assert provenance.environment({**LEVEL, "level": "strict"})["cpu"] == provenance.cpu()


def test_which_gpus_are_seen_counts_and_the_variable_only_where_it_says_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [{"name": "a"}, {"name": "b"}]
    monkeypatch.setattr(provenance, "gpu", lambda: gpus)
    for chosen, seen, left in (("1", gpus[1:], {}), ("GPU-3f", gpus, {"CUDA_VISIBLE_DEVICES": "GPU-3f"}), (None, gpus, {})):
        variables = {"OTHER": "1", **({} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen})}
        assert provenance.left_by(variables) == seen
        assert variables == {"OTHER": "1", **left}


def test_an_images_commit_may_be_one_of_a_changed_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_git", lambda *words, **more: "")
    for told, found in (("abc-dirty", {"commit": "abc", "dirty": True}), ("unknown", {"commit": None, "dirty": None})):
        monkeypatch.setenv("SEEDBED_COMMIT", told)
        assert provenance.git() == found


def test_a_diff_that_is_too_large_is_cut_and_says_so(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "LARGEST_DIFF", 100)
    (checkout / "src" / "a.py").write_text("x = 2\n" * 100)
    assert provenance.diff() == provenance.diff()[:100] + "\n# cut: the diff is larger than this\n"
