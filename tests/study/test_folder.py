"""A study is found by its name, and its folder is read as data from anywhere: what isn't seedbed's own is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from study.pages import made, rewrite, runs, study

from seedbed import Refused
from seedbed.study import folder

__all__ = ["made", "runs"]


def test_a_study_by_path_name_or_beginning(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = study(made, "compare-")
    monkeypatch.chdir(made)
    for said in (str(wanted), f"studies/{wanted.name}/", wanted.name, "compare", "compare-"):
        assert folder.found(said, made) == wanted, said


def test_an_exact_name_is_no_beginning_of_another(runs: Path) -> None:
    wanted = study(runs, "compare-")
    shutil.copytree(wanted, wanted.with_name(f"{wanted.name}-more"))
    assert folder.found(wanted.name, runs) == wanted


@pytest.mark.parametrize("said", ["nonsense", None, "sequence", "x" * 5000, "\x1b[31mred", "../studies"])
def test_a_wrong_name_is_answered_with_what_there_is(said: str | None, made: Path) -> None:
    with pytest.raises(Refused) as refused:
        folder.found(said, made)
    message = str(refused.value)
    assert "\x1b" not in message
    for path in (made / "studies").iterdir():
        assert (path.name in message) == (said != "sequence" or path.name.startswith("sequence")), path
    assert "3 seeds: train_loss" in message


def test_where_there_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"There is no study mine\. .* holds none; `seedbed repeat`"):
        folder.found("mine", tmp_path)


def test_what_is_read(made: Path) -> None:
    kept = folder.read(study(made, "compare-"))
    assert (kept.verb, list(kept.parts)) == ("compare", ["optimizer.learning_rate=0.01", "optimizer.learning_rate=0.1"])
    assert [(run.part[-4:], run.master, run.why) for run in kept.runs] == [(p, m, "") for p in ("0.01", "=0.1") for m in (1, 2, 3)]
    assert len(kept.sides) == 6
    assert set(kept.pictures) == {"differences"}
    kept = folder.read(study(made, "variance-"))
    assert (kept.verb, list(kept.parts), len(kept.sides)) == ("variance", ["all", "init", "shuffle"], 9)


def test_a_study_that_has_grown_since_is_the_comparison_s_own_seeds(runs: Path) -> None:
    path = study(runs, "compare-")
    rewrite(path / "report.json", lambda facts: facts.update(seeds=[1, 3]))
    assert [run.master for run in folder.read(path).runs] == [1, 3, 1, 3]


def test_an_older_version_s_folder_has_no_parts(runs: Path) -> None:
    path = study(runs, "compare-")
    rewrite(path / "study.json", lambda content: content.pop("parts") and None)
    assert folder.read(path).runs == []
    path = study(runs, "sequence-")
    rewrite(path / "report.json", lambda facts: facts.pop("seeds") and None)
    assert [run.master for run in folder.read(path).runs] == [1, 2, 3]


def test_runs_that_have_no_record_say_why(runs: Path) -> None:
    path = study(runs, "sequence-")
    first, second, third = sorted((path / "seeds").glob("[0-9]*.json"))
    rewrite(first, lambda noted: noted.update(status="failed", error="Traceback …\nValueError: no"))
    shutil.rmtree(runs / folder.read(path).sides[-1][1].key)
    second.unlink()
    whys = [run.why for run in folder.read(path).runs]
    assert whys[0] == "ValueError: no"
    assert whys[1] == "it was not begun"
    assert "is not under the folder of records any more" in whys[2]
    assert third.exists()


def _broken(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda path: (path / name).write_bytes(content) and None  # type: ignore[func-returns-value]


def _link(name: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        (path / name).unlink()
        (path / name).symlink_to("/etc/hostname")

    return link


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_broken("study.json", b"{"), "study.json can't be read"),
        (_broken("study.json", b"[]"), "study.json is not what seedbed writes: id, name, overrides, level"),
        (_broken("study.json", b"[" * 100_000), "study.json can't be read"),
        (_broken("report.json", b'{"sentence": 1, "finished": 3, "asked": 3}'), "report.json is not what seedbed writes: sentence"),
        (_broken("report.json", b'{"sentence": "", "finished": 3, "asked": 3, "seeds": [-1]}'), "seeds of another kind"),
        (_broken("summary.csv", b"a,b\n1,2,3\n"), "a line has more or fewer values"),
        (_broken("summary.csv", b"\xff\xfe"), "summary.csv is no table"),
        (_broken("distribution.png", b"<svg onload=alert(1)>"), "distribution.png is no PNG"),
        (_link("summary.csv"), "summary.csv can't be read"),
        (_link("distribution.png"), "distribution.png can't be read"),
        (lambda path: (path / "report.json").unlink(), "has no report yet"),
        (lambda path: rewrite(path / "study.json", lambda c: c.update(verb="evil")), "verb or overrides of another kind"),
        (lambda path: rewrite(path / "study.json", lambda c: c.update(parts={"A": "../../elsewhere-0123456789ab"})), "parts of another kind"),
    ],
)  # fmt: skip
def test_what_is_not_seedbed_s_is_refused(spoil: Callable[[Path], None], said: str, runs: Path) -> None:
    path = study(runs, "sequence-")
    spoil(path)
    with pytest.raises(Refused, match=said.replace(".", r"\.")):
        folder.read(path)


def test_a_note_s_own_path_is_not_followed(runs: Path, tmp_path: Path) -> None:
    """Records are looked for by key beside the study; what the note says of their place may be another machine's."""
    path = study(runs, "sequence-")
    for note in (path / "seeds").glob("[0-9]*.json"):
        rewrite(note, lambda noted: noted.update(record="/nowhere", key=f"../{noted['key'][3:]}"))
    assert [run.why for run in folder.read(path).runs] == ["its note names no key"] * 3
