"""A study on MLflow's own page, as a person sees it in a browser: a real server, a real comparison, a real Chromium.

SEEDBED_SCREENSHOTS=DIR keeps pictures of what was seen.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import OUTSIDE
from end_to_end.test_tracking_server import Server

from seedbed.tracking import views

pytestmark = pytest.mark.slow

SIDES = ("model.hidden=[3]", "model.hidden=[4]")
WORDS = ["study.n=3", "training.epochs=5", "tracking=server"]


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium here")
    return found


@pytest.fixture(scope="module")
def compared(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, Any]]]:
    """A server that has a comparison of two configurations with three seeds each, and what the command said."""
    folder = tmp_path_factory.mktemp("page")
    server = Server(folder / "server")
    try:
        server.start()
        command = [sys.executable, "-m", "seedbed", "compare", *SIDES, "--", *WORDS, f"runs='{folder}/runs'", "--json"]
        env = {**OUTSIDE, "MLFLOW_TRACKING_URI": server.uri}
        done = subprocess.run([*command, "tracking.wait_seconds=300"], env=env, cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        yield server, json.loads(done.stdout.splitlines()[-1])
    finally:
        server.kill()


class Seen:
    """One tab of the browser."""

    def __init__(self, tab: Any, base: str, folder: Path) -> None:
        self.tab, self.base, self.folder = tab, base, folder

    def open(self, address: str) -> None:
        self.tab.goto("about:blank")
        self.tab.goto(f"{self.base}/{address}")

    def shows(self, text: str, exact: bool = False) -> Any:
        found = self.tab.get_by_text(text, exact=exact).first
        found.wait_for()
        return found

    def picture(self, name: str) -> None:
        self.tab.screenshot(path=self.folder / f"{name}.png")


@pytest.fixture
def seen(chromium: str, compared: tuple[Server, Any], tmp_path: Path) -> Iterator[Seen]:
    from playwright.sync_api import sync_playwright

    folder = Path(os.environ.get("SEEDBED_SCREENSHOTS", tmp_path))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1600, "height": 1000})
        tab.set_default_timeout(120_000)  # a busy machine
        yield Seen(tab, compared[0].uri, folder)
        browser.close()


def runs_of(server: Server) -> dict[str, Any]:
    return {run.info.run_name: run for run in server.runs()}


def test_the_table_has_runs_by_seed_below_their_studies(seen: Seen, compared: tuple[Server, Any]) -> None:
    runs = runs_of(compared[0])
    (whole,) = [name for name in runs if name.startswith("compare")]
    seen.open(views.of_table(runs[whole].info.experiment_id))
    row = seen.tab.get_by_role("row").filter(has_text=whole)
    row.get_by_role("button").first.click()
    (side,) = [name for name in runs if name.startswith("sequence · 3 seeds") and SIDES[0] in name]
    seen.tab.get_by_role("row").filter(has_text=side).get_by_role("button").first.click()
    for seed in (1, 2, 3):
        seen.shows(f"{SIDES[0]} · seed {seed}")
    seen.shows("seeds.master")
    seen.shows("train_loss")
    seen.picture("experiment")


def test_a_study_says_what_it_is_and_leads_to_its_runs(seen: Seen, compared: tuple[Server, Any]) -> None:
    runs = runs_of(compared[0])
    (name,) = [name for name in runs if name.startswith("sequence · 3 seeds") and SIDES[1] in name]
    run = runs[name]
    seen.open(views.of_run(run.info.experiment_id, run.info.run_id))
    seen.shows(run.data.tags["seedbed.sentence"])
    seen.shows(f"make repeat ARGS=\"'{SIDES[1]}' study.n=3 training.epochs=5\"")
    seen.picture("study")
    seen.tab.get_by_text("Show more").click()
    for name in ("distribution", "learning_curves"):
        picture = seen.tab.locator(f'img[src*="{name}.png"]')
        picture.scroll_into_view_if_needed()
        assert 300 < picture.evaluate("one => one.decode().then(() => one.naturalWidth)") <= 680
    seen.picture("study_whole")
    link = seen.shows("Its runs, with seeds as columns").evaluate("one => one.closest('a').href")  # a click opens a tab of its own
    seen.open(link.removeprefix(f"{seen.base}/"))
    for seed in (1, 2, 3):
        seen.shows(f"{SIDES[1]} · seed {seed}")
    assert seen.tab.get_by_text(f"{SIDES[0]} · seed").count() == 0  # the other study's
    for column in ("seeds.master", "seeds.init", "train_loss"):
        seen.shows(column)
    seen.picture("seeds")


def test_a_comparison_has_its_sentence_picture_and_report(seen: Seen, compared: tuple[Server, Any]) -> None:
    server, said = compared
    (run,) = [run for name, run in runs_of(server).items() if name.startswith("compare")]
    seen.open(views.of_run(run.info.experiment_id, run.info.run_id))
    seen.shows(said["sentence"])
    seen.picture("comparison")
    seen.open(views.of_run(run.info.experiment_id, run.info.run_id, "differences.png"))
    seen.tab.wait_for_function("[...document.images].some(one => one.complete && one.naturalWidth > 500)")
    seen.picture("artifact")
    seen.open(views.of_run(run.info.experiment_id, run.info.run_id, "report.html"))
    seen.tab.frame_locator("iframe").get_by_text(said["sentence"]).first.wait_for()
    seen.picture("report")


def test_a_run_says_how_it_is_replayed(seen: Seen, compared: tuple[Server, Any]) -> None:
    run = runs_of(compared[0])[f"{SIDES[0]} · seed 2"]
    seen.open(views.of_run(run.info.experiment_id, run.info.run_id))
    seen.shows(f"sequence, seed 2, has finished: train_loss {run.data.metrics['train_loss']:.6g}.")
    seen.shows(f'make replay ARGS="{run.info.run_id}"')
    seen.tab.get_by_text("Show more").click()
    seen.shows(run.data.tags["seedbed.key"], exact=True)
    seen.picture("run")
