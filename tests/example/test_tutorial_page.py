"""`make tutorial`: its parts say what was computed, its exit status says whether all of it holds."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import asking
import page
import parts
import pytest
from asking import Broken, Study
from conftest import OUTSIDE, ROOT
from parts import Claim, Part


def tutorial(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(ROOT / "tutorial"), *words], env=OUTSIDE, cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["theano"], "tutorial: There is no part 'theano'. Accepted: unseeded, recipe_2017, repeatable, thirty, neurons, theano_2017, "
                     "tensorflow_2017, runs=DIR; no part: all of them.\n"),
        (["thirty", "a", "study.n=3"], "'a', 'study.n=3'"),
        (["runs="], "tutorial: runs= names no folder. Accepted: runs=DIR.\n"),
    ],
)  # fmt: skip
def test_words_that_are_no_part(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert page.main(words) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_the_command_itself(tmp_path: Path) -> None:
    done = tutorial("nonsense", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tutorial: There is no part 'nonsense'.")
    assert list(tmp_path.iterdir()) == []


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert page.main(["--help"]) == 0
    assert "theano_2017, tensorflow_2017" in capsys.readouterr().out


def test_each_part_is_a_config() -> None:
    named = set(page.PARTS) - {"neurons"} | {"ten_neurons", "fifty_neurons"}
    assert {path.stem for path in (ROOT / "conf/experiment/tutorial").glob("*.yaml")} == named
    assert sorted(name for chain in page.CHAINS for name in chain) == sorted(page.PARTS)


DRAWN = {"errors": [0.1, 0.2], "first": [0.1], "again": [0.1], "same": 1}


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`fakes(unseeded=True, thirty=False)`: parts with one claim each, which holds or doesn't; an exception is raised.

    The list has the names of those that were begun."""
    begun: list[str] = []

    def make(**held: bool | Exception) -> list[str]:
        def part(name: str) -> Callable[[Path], Part]:
            def computed(runs: Path) -> Part:
                begun.append(name)
                holds = held.get(name, True)
                if isinstance(holds, Exception):
                    raise holds
                return Part(
                    f"title of {name}", f"command of {name}", [("line", "value")], [Claim(f"claim of {name}", holds)], "taught " * 40, DRAWN
                )

            return computed

        monkeypatch.setattr(page, "PARTS", {name: part(name) for name in page.PARTS})
        return begun

    monkeypatch.setattr("picture.PANELS", (importlib.import_module("picture").PANELS[0],))
    return make


def test_all_that_it_says_holds(fakes: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes()
    assert page.main(["unseeded", "thirty", f"runs={tmp_path / 'runs'}"]) == 0
    out = capsys.readouterr().out
    assert "1  title of unseeded\n   command of unseeded\n   line  value\n   yes  claim of unseeded\n   → taught" in out
    assert "4  title of thirty" in out
    assert "title of neurons" not in out
    assert "2 of 2 hold" in out
    assert f"picture  {tmp_path / 'runs' / 'tutorial.png'}\n" in out
    assert (tmp_path / "runs" / "tutorial.png").stat().st_size > 5000
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 120


def test_something_does_not_hold(fakes: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes(thirty=False)
    assert page.main([f"runs={tmp_path}"]) == 1
    out = capsys.readouterr().out
    assert "   NO   claim of thirty\n   → This does NOT hold here: claim of thirty.\n" in out
    assert out.count("   → taught") == 6
    assert "6 of 7 hold" in out


@pytest.mark.parametrize(("code", "status"), [(1, 1), (2, 2), (3, 1), (130, 130), (-15, 143)])
def test_a_command_that_broke_off(
    code: int, status: int, fakes: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = fakes(recipe_2017=Broken(code, "`seedbed repeat` ended"))
    assert page.main([f"runs={tmp_path}"]) == status
    printed = capsys.readouterr()
    assert printed.err == "tutorial: `make repeat` ended\n"
    assert "title of unseeded" in printed.out
    assert "title of repeatable" not in printed.out
    assert "recipe_2017" in begun
    assert "theano_2017" not in begun, "what comes after it costs nobody's time"


def test_the_cause_is_said_and_not_what_comes_of_it(
    fakes: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part breaks off while an earlier one of the page hasn't begun."""
    fakes(repeatable=Broken(1, "the cause"))
    made = page.PARTS["unseeded"]

    def slow(runs: Path) -> Part:
        time.sleep(0.3)
        return made(runs)

    page.PARTS["unseeded"] = slow
    assert page.main([f"runs={tmp_path}"]) == 1
    printed = capsys.readouterr()
    assert printed.err == "tutorial: the cause\n"
    assert "title of unseeded" in printed.out
    assert "title of recipe_2017" not in printed.out


def test_a_folder_that_cannot_be_written(fakes: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes()
    (tmp_path / "file").touch()
    assert page.main([f"runs={tmp_path / 'file' / 'runs'}"]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


# --- the parts, over studies that were made up ---------------------------------------------------------------------


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`studies(a, b)`: what the next calls of `seedbed repeat` are made to have given, as (JSON, errors)."""

    def given(*wanted: tuple[Mapping[str, Any], Sequence[float]]) -> None:
        coming = iter(wanted)

        def repeat(experiment: str, runs: Path) -> Study:
            said, errors = next(coming)
            rows = []
            for seed, error in enumerate(errors):
                folder = tmp_path / f"{experiment}{seed}"
                folder.mkdir(exist_ok=True)
                (folder / "record.json").write_text(json.dumps({"digests": {"initial_weights": said.get("start", str(seed))}}))
                rows.append({"train_loss": repr(error), "key": folder.name})
            return Study({"path": str(tmp_path / "studies" / "x"), **said}, rows)

        monkeypatch.setattr(asking, "repeat", repeat)

    return given


TEN = [0.1 * number for number in range(1, 11)]


@pytest.mark.parametrize(("errors", "holds"), [(TEN, True), (TEN[:9] + TEN[:1], False), (TEN[:9], False)])
def test_unseeded(errors: list[float], holds: bool, studies: Callable[..., None], tmp_path: Path) -> None:
    studies(({}, errors))
    assert [claim.holds for claim in parts.unseeded(tmp_path).claims] == [holds]


@pytest.mark.parametrize("case", ["fails", "same error", "same start", "other source"])
def test_the_recipe(case: str, studies: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = iter(
        ["error 0.25  kernel seeds 1 2\n", "error 0.25  kernel seeds 1 2" if case == "same error" else "error 0.5  kernel seeds 3 4"]
    )
    monkeypatch.setattr(asking, "program", lambda file, *words: next(printed))
    studies(({"start": "same"} if case == "same start" else {}, [0.1, 0.2]))
    if case == "other source":
        monkeypatch.setattr(parts, "_seeds_after", lambda seed: [5, 6])
    held = [claim.holds for claim in parts.recipe_2017(tmp_path).claims]
    assert held == [case != "same error", case != "same start", case != "other source"]


def test_keras_takes_its_seeds_from_pythons_random() -> None:
    """Fails on the day when Keras doesn't any more: then part 2 tells something else."""
    import random

    before = random.getstate()
    generator = random.Random(11)
    assert parts._seeds_after(11) == [generator.randint(1, 10**9) for _ in range(2)]
    assert random.getstate() == before


@pytest.mark.parametrize("case", ["holds", "a bit", "not anew", "missing"])
def test_repeatable(case: str, studies: Callable[..., None], tmp_path: Path) -> None:
    digests = {str(seed): f"{seed:064x}" for seed in range(1, 11)}
    again = digests | ({"7": f"{1 << 200:064x}"} if case == "a bit" else {})
    if case == "missing":
        del again["7"]
    studies(({"digests": digests}, TEN), ({"digests": again, "trained": 0 if case == "not anew" else 10}, TEN))
    part = parts.repeatable(tmp_path)
    assert [claim.holds for claim in part.claims] == [case != "not anew", case in ("holds", "not anew"), True]
    assert part.drawn["same"] == (10 if case in ("holds", "not anew") else 9)


def summary(errors: Sequence[float]) -> dict[str, Any]:
    values = {
        "mean": sum(errors) / len(errors),
        "low": 0.4,
        "high": 0.6,
        "std": 0.1,
        "minimum": 0.0,
        "maximum": 1.0,
        "median": 0.5,
        "iqm": 0.5,
    }
    return {"metrics": {"train_loss": values}, "trained": 20, "sentence": "30 seeds: x."}


@pytest.mark.parametrize(("count", "holds"), [(30, True), (29, False)])
def test_thirty(count: int, holds: bool, studies: Callable[..., None], tmp_path: Path) -> None:
    errors = [0.5] * (count - 2) + [0.3, 0.7]
    studies((summary(errors), errors))
    part = parts.thirty(tmp_path)
    assert [claim.holds for claim in part.claims] == [holds, True]
    assert f"2 of {count} single runs are outside" in part.claims[1].words
    assert part.sentence.endswith("30 seeds: x.")


@pytest.mark.parametrize(("better", "wins", "against", "verdict"), [("tutorial/fifty_neurons", 22, 8, "fifty neurons are better"),
                                                                    ("tutorial/ten_neurons", 7, 7, "ten neurons are better"),
                                                                    (None, 20, 10, "no difference shown")])  # fmt: skip
def test_neurons(better: str | None, wins: int, against: int, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wins: on how many seeds fifty neurons have the smaller error."""
    pair = {"difference": 0.1, "low": 0.05, "high": 0.15, "p_permutation": 0.001, "claims": better is not None, "better": better}
    said = {"pairs": [pair], "means": {"a": 0.2, "b": 0.1}, "missing": 0}
    ten = Study({}, [{"train_loss": "0.2"}] * 30)
    fifty = Study({}, [{"train_loss": "0.1"}] * wins + [{"train_loss": "0.3"}] * (30 - wins))
    monkeypatch.setattr(asking, "compare", lambda a, b, runs: (said, ten, fifty))
    part = parts.neurons(tmp_path)
    assert part.claims[1].words == f"a single seed would have said the opposite in {against} of 30 cases"
    assert [claim.holds for claim in part.claims] == [True, True]
    assert ("verdict", verdict) in part.lines


# --- the whole page ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_whole_page(tmp_path: Path) -> None:
    done = tutorial(f"runs={tmp_path / 'runs'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "16 of 16 hold" in done.stdout
    assert " NO " not in done.stdout
    assert max(map(len, done.stdout.replace(str(tmp_path), "").splitlines())) <= 120
    for number in range(1, 8):
        assert f"\n{number}  " in done.stdout
    assert "10 of 10 equal to the bit" in done.stdout
    assert "20 trained now, 10 there before" in done.stdout
    assert (tmp_path / "runs" / "tutorial.png").stat().st_size > 30_000
    again = tutorial("repeatable", "thirty", f"runs={tmp_path / 'runs'}", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "10 of 10 trained anew the second time" in again.stdout
    assert "0 trained now, 30 there before" in again.stdout
