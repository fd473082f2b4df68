"""The page of a study: it says what the folder and the records say, needs nothing else, and lets nothing of theirs be run."""

from __future__ import annotations

import base64
import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from study.pages import Seen, made, rewrite, runs, study

from seedbed import Refused, cli
from seedbed.study import figures, folder, page
from seedbed.study.folder import Kept

__all__ = ["made", "runs"]

EVIL = "\"'><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">{{ 7*7 }}\u202e"


def of(runs: Path, beginning: str) -> tuple[Kept, str]:
    kept = folder.read(study(runs, beginning))
    return kept, page.html(kept)


@pytest.mark.parametrize("kind", ["sequence-", "compare-", "variance-"])
def test_it_holds_what_the_study_and_its_records_say(kind: str, made: Path) -> None:
    kept, html = of(made, kind)
    seen = Seen(html)
    assert kept.facts["sentence"] in seen.text
    assert len(kept.sides) == len(kept.runs) > 0
    for _, side in kept.sides:
        for word in (side.key, side.digests["run"], *map(str, side.content["seeds"].values())):
            assert word in seen.text, word
        assert f"{side.content['metrics']['train_loss']:.6g}" in seen.text
    side = kept.sides[0][1]
    for word in (side.inputs["data"], f"numpy {side.inputs['environment']['packages']['numpy']}", "_target_: example.models.mlp", "strict"):
        assert word in seen.text, word
    pictures = [str(attrs["src"]).removeprefix("data:image/png;base64,") for tag, attrs in seen.tags if tag == "img"]
    assert [base64.b64decode(one) for one in pictures] == [kept.pictures[name] for name in folder.PICTURES if name in kept.pictures]
    assert f'make replay ARGS="{side.key[:12]}"' in seen.text


def test_each_table_and_picture_says_how_to_read_it(made: Path) -> None:
    for kind in ("sequence-", "compare-", "variance-"):
        seen = Seen(of(made, kind)[1])
        shown = [tag for tag, _ in seen.tags if tag in ("table", "img")]
        assert sum(attrs.get("class") == "reading" for tag, attrs in seen.tags if tag in ("p", "figcaption")) >= len(shown)


def test_the_summary_has_the_terminal_s_digits(made: Path) -> None:
    kept, html = of(made, "sequence-")
    row = kept.tables["summary"][0]
    mean, low, high = (figures.text(float(row[name]), float(row["std"])) for name in ("mean", "minimum", "maximum"))
    assert f"train_loss {mean} on average" in kept.facts["sentence"]
    results = Seen(html).text.split("Results")[1]
    assert f"{low} … {high}" in results
    assert mean in results.split("interval of the mean")[0]


def test_a_comparison_goes_seed_by_seed_and_names_what_differs(made: Path) -> None:
    kept, html = of(made, "compare-")
    text = Seen(html).text
    assert "optimizer.learning_rate: 0.1" in text
    values = {(run.part, run.master): side.content["metrics"]["train_loss"] for run, side in kept.sides}
    a, b = kept.parts
    for master in (1, 2, 3):
        assert f"{values[a, master] - values[b, master]:.6g}" in text


@pytest.mark.parametrize("kind", ["sequence-", "compare-", "variance-"])
def test_it_needs_nothing_else(kind: str, made: Path) -> None:
    html = of(made, kind)[1]
    seen = Seen(html)
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base", "a", "svg"})
    for tag, attrs in seen.tags:
        assert all(not name.startswith("on") and name not in ("href", "srcset", "style") for name in attrs), (tag, attrs)
        assert str(attrs.get("src") or "data:image/png").startswith("data:image/png"), attrs
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_the_same_study_gives_the_same_bytes_wherever_it_lies(runs: Path, made: Path, tmp_path: Path) -> None:
    for kind in ("sequence-", "compare-", "variance-"):
        assert of(runs, kind)[1] == of(made, kind)[1]
        assert str(tmp_path) not in of(runs, kind)[1]


def _poison(node: Any) -> Any:
    """Every text of a JSON file, names included, but those that must be of one kind."""
    if isinstance(node, dict):
        return {name: _poison(value) for name, value in node.items()}
    return [*map(_poison, node)] if isinstance(node, list) else EVIL if isinstance(node, str) else node


def _poisoned(runs: Path, kind: str) -> Path:
    """A study of which every text that may be anything is `EVIL`, in its own files and in its records."""
    path = study(runs, kind)

    def of_study(content: dict[str, Any]) -> dict[str, Any]:
        parts = {f"{name}{EVIL}": folder for name, folder in content.get("parts", {}).items()}
        return {**_poison(content), "verb": content.get("verb", "repeat"), **({"parts": parts} if parts else {})}

    def of_record(content: dict[str, Any]) -> dict[str, Any]:
        return {
            **_poison(content), **{name: content[name] for name in ("key", "id", "level", "status", "digests")},
            "metrics": {f"{name}{EVIL}": value for name, value in content["metrics"].items()},
            "seeds": {**content["seeds"], EVIL: 1},
            "inputs": {**_poison(content["inputs"]), "environment": {"packages": {EVIL: EVIL}, "variables": {EVIL: EVIL}}},
        }  # fmt: skip

    rewrite(path / "study.json", of_study)
    rewrite(path / "report.json", lambda facts: facts.update(sentence=EVIL))
    for file in path.glob("*.csv"):
        with file.open() as handle:
            rows = list(csv.DictReader(handle))
        names = ("metric", "a", "b", "key", "digest")
        rows = [{name: EVIL if name in names else value for name, value in row.items()} for row in rows]
        with file.open("w") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    for file in runs.glob("[0-9a-f]*/record.json"):
        (file.parent / "config.yaml").write_text(
            (file.parent / "config.yaml").read_text().replace("name: sequence", f"name: {json.dumps(EVIL)}")
        )
        rewrite(file, of_record)
    note = min((path / "seeds").glob("[0-9]*.json"), default=None)
    if note is not None:
        rewrite(note, lambda noted: noted.update(status="failed", error=EVIL))
    return path


@pytest.mark.parametrize("kind", ["sequence-", "compare-", "variance-"])
def test_nothing_from_a_record_becomes_part_of_the_page(kind: str, runs: Path, made: Path) -> None:
    path = _poisoned(runs, kind)
    kept = folder.read(path)
    html = page.html(kept)
    seen = Seen(html)
    allowed = Seen(of(made, kind)[1]).kinds | Seen(of(made, "sequence-")[1]).kinds | {("p", ("class",)), ("table", ("class",))}
    assert seen.kinds <= allowed
    assert len(kept.sides) >= 2
    for shown in (kept.facts["sentence"], kept.name, kept.words[0]):
        assert shown.rstrip("\u202e") in seen.text  # as text, whole
    assert seen.text.count("document.title") > 20  # names of metrics, seeds, packages, errors, config
    assert "{{ 7*7 }}" in seen.text
    assert "\u202e" not in html


def _browser(file: Path, folder: Path) -> str:
    """The page as a browser has it after its scripts, if it had any, have run."""
    name = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)
    if name is None:
        pytest.skip("there is no Chromium here")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--dump-dom"]
    return subprocess.run([name, *flags, file.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout


def test_a_browser_runs_nothing_of_it(runs: Path, tmp_path: Path) -> None:
    kept = folder.read(_poisoned(runs, "sequence-"))
    page.write(kept, tmp_path / "page.html")
    dom = _browser(tmp_path / "page.html", tmp_path / "browser")
    assert "<title>owned" not in dom
    assert "<h1>" in dom
    (tmp_path / "control.html").write_text(f"<!DOCTYPE html><title>x</title>{EVIL}")
    assert "<title>owned" in _browser(tmp_path / "control.html", tmp_path / "browser")  # the same text, not escaped


def test_commands_are_quoted_and_hold_no_place_and_no_address(made: Path) -> None:
    kept = folder.read(study(made, "sequence-"))
    words = [
        "model.hidden=[5]",
        "tracking.uri=http://me:secret@host",
        "++tracking.uri=http://me:secret@host",
        "runs=/home/me",
        "a=$(rm -rf ~); b",
        "study.n=3",
    ]
    said = page.commands(Kept(**{**vars(kept), "words": words}))
    assert said[0][0] == ".venv/bin/seedbed repeat 'model.hidden=[5]' 'a=$(rm -rf ~); b' study.n=3"
    off = page.commands(Kept(**{**vars(kept), "level": "off"}))
    assert len(off) == 1
    assert "level is off" in off[0][1]


def test_runs_on_two_machines_are_told_apart(runs: Path) -> None:
    kept = folder.read(study(runs, "sequence-"))
    record = runs / kept.sides[0][1].key / "record.json"
    rewrite(record, lambda content: content["provenance"].update(platform="Plan 9"))
    text = Seen(page.html(folder.read(kept.path))).text
    assert "Plan 9 (1 runs)" in text
    assert "(2 runs)" in text


@pytest.mark.parametrize("git", [None, [], {"commit": 5}, {"commit": "; rm"}])
def test_provenance_of_any_kind(git: Any, runs: Path) -> None:
    for file in runs.glob("[0-9a-f]*/record.json"):
        rewrite(file, lambda content: content["provenance"].update(git=git, cpu=[1], gpu=None, threads="x", image=3))
    assert "code, git commit" in of(runs, "sequence-")[1]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", ""])
def test_numbers_of_any_kind(value: str, runs: Path) -> None:
    for kind, name in (("sequence-", "summary"), ("compare-", "pairs"), ("variance-", "summary")):
        file = study(runs, kind) / f"{name}.csv"
        with file.open() as handle:
            rows = list(csv.DictReader(handle))
        for row in rows:
            row.update({column: value for column in row if column not in ("metric", "a", "b", "interval")})
        with file.open("w") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        assert "</html>" in of(runs, kind)[1]


def test_a_table_without_numbers_is_refused(runs: Path) -> None:
    (study(runs, "sequence-") / "summary.csv").write_text("metric,mean\nloss,much\n")
    with pytest.raises(Refused, match=r"summary\.csv is not what seedbed writes: mean is no number"):
        of(runs, "sequence-")


def test_the_command(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study(runs, "compare-")
    assert cli.main(["report", "compare", "--runs", str(runs)]) == 0
    assert str(path / "report.html") in capsys.readouterr().out
    assert cli.main(["report", str(path), "--out", str(tmp_path / "other.html"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"study": str(path), "report": str(tmp_path / "other.html"), "missing": []}
    assert (tmp_path / "other.html").read_bytes() == (path / "report.html").read_bytes()
    assert cli.main(["report", str(path), "--out", str(tmp_path / "other.html")]) == 0  # written over


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "There is no study nonsense. Accepted: a folder, its name"),
        ([], "Which study?"),
        (["compare", "--out", "{tmp}"], "is a folder. Accepted: the name of a file"),
        (["compare", "--out", "{tmp}/no/such/file.html"], "there is no folder"),
        (["compare", "--out", "/proc/file.html"], "can't be written"),
    ],
)
def test_a_user_s_mistake_is_one_message(
    words: list[str], said: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", *(word.format(tmp=tmp_path) for word in words), "--runs", str(made)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("seedbed report: ")
    assert said in printed.err
    assert "Traceback" not in printed.err


def test_what_lacks_a_record_is_said(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = folder.read(study(runs, "sequence-"))
    shutil.rmtree(runs / kept.sides[0][1].key)
    assert cli.main(["report", str(kept.path)]) == 0
    assert "1 of 3 runs are without a record here" in capsys.readouterr().out
    text = Seen((kept.path / "report.html").read_text()).text
    assert "Without a record here" in text


def test_without_any_record_the_study_s_own_words_are_left(runs: Path) -> None:
    kept: Kept = folder.read(study(runs, "sequence-"))
    for _, side in kept.sides:
        shutil.rmtree(runs / side.key)
    html = page.html(folder.read(kept.path))
    assert kept.facts["sentence"] in Seen(html).text
    assert "Where it comes from" not in html
