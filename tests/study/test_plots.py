"""Pictures of studies: what is drawn, that every word of it can be read, and the same bytes from the same numbers.

`python test_plots.py FOLDER` writes every case's picture there, for eyes and for the test across processes.
"""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from tiers import sampled

from seedbed.study import drawing, plots

LONG = "a_very_long_metric_name_that_somebody_wrote/with_slashes/categorical_crossentropy_on_the_held_out_part_$x_1$ and words"
MODEL = "Seeds of efficientnet_v2_with_stochastic_depth_and_label_smoothing, trained on a data set with a name that is as long, on 4 GPUs"


def interval(values: Any) -> tuple[float, float] | None:
    finite = np.asarray(values, float)[np.isfinite(values)]
    if len(finite) < 2:
        return None
    half = 2.1 * finite.std(ddof=1) / math.sqrt(len(finite))
    return float(finite.mean() - half), float(finite.mean() + half)


def normal(number: int, mean: float = 0.0, spread: float = 1.0) -> np.ndarray:
    return mean + spread * np.random.default_rng(number).standard_normal(number)


def history(seed: int, epochs: int, columns: Sequence[str] = ("loss", "val_loss", "accuracy", "val_accuracy")) -> list[dict[str, float]]:
    noise = np.random.default_rng(seed).lognormal(0, 0.1, (epochs, len(columns)))
    return [
        {"learning_rate": 1e-3, **{name: math.exp(-epoch / 8) * noise[epoch, i] for i, name in enumerate(columns)}}
        for epoch in range(epochs)
    ]


def growing(values: np.ndarray) -> list[tuple[int, float, float]]:
    return [(k, *found) for k in range(2, len(values) + 1) if (found := interval(values[:k]))]


VALUES = {
    "test_loss": np.random.default_rng(1).lognormal(-2, 0.3, 30), "test_accuracy": normal(30, 0.97, 0.004), "error": np.geomspace(1e-4, 1, 30),
    "tiny": normal(200, 1e-12, 3e-13), "large": normal(200, 0, 1e12), "equal": np.full(30, 0.97), "zero": np.zeros(7), "negative": normal(9, -5),
    "one": np.array([0.5]), "two": np.array([-3.0, 4.0]), "three": np.array([1.0, 2.0, np.nan]), "none": np.full(3, np.inf),
    "narrow": normal(9, 0.97, 1e-9), "narrower": normal(9, 0.97, 1e-13), LONG: normal(30), "x" * 90: np.geomspace(1e-9, 1e9, 12),
}  # fmt: skip
PAIRS = {"test_accuracy": normal(30, 0.002, 0.003), "loss": np.round(normal(30, -1, 3)), "far": normal(30, 0.5, 0.001), "far below": normal(30, -9e9, 1e3),
         "equal": np.zeros(30), "one": np.array([-0.3]), "one equal": np.zeros(1), "two": np.array([1.0, -2.0, np.nan]),
         "none": np.array([np.nan]), "tiny": normal(200, 0, 1e-12), LONG: normal(30)}  # fmt: skip
VARIANCES = {"init": 4e-6, "shuffle": 2.5e-6, "dropout": 1e-6, "augment": -1e-8, "split": 6e-6}


def cases() -> dict[str, tuple[Callable[..., None], tuple[Any, ...]]]:
    """Name → (public function, all its arguments but the path)."""
    ends = {name: interval(column) for name, column in VALUES.items()}
    found: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {}
    usual = ("test_loss", "test_accuracy")
    groups = {"usual": usual, "one panel": usual[:1], "three": (*usual, "error"), "extreme": tuple(VALUES)}
    for word, names in groups.items():
        found[f"distribution, {word}"] = plots.distribution, ({name: VALUES[name] for name in names}, ends, MODEL)
    found["distribution, no intervals"] = plots.distribution, ({name: VALUES[name] for name in usual}, {}, "")
    found["distribution, interval to below zero"] = plots.distribution, ({"error": VALUES["error"]}, {"error": (-0.1, 0.3)}, "30 seeds")
    histories = {
        "usual": [history(seed, 20) for seed in range(30)],
        "early stopping": [history(seed, 6 + seed) for seed in range(12)],
        "four seeds": [history(seed, 8) for seed in range(4)],
        "one seed": [history(1, 8)],
        "one epoch": [history(seed, 1) for seed in range(12)],
        "two seeds, two epochs": [history(seed, 2) for seed in range(2)],
        "eight metrics": [history(seed, 5, [f"metric_{i}" for i in range(7)] + [LONG, f"val_{LONG}"]) for seed in range(12)],
        "not finite": [[{"loss": math.nan}], [{"loss": 1.0}, {"loss": math.inf}], []],
        "never finite": [[{"loss": math.nan}]],
        "gaps": [[row if epoch % 3 == 2 else {"loss": 9.0} for epoch, row in enumerate(history(seed, 12))] for seed in range(6)],
    }
    for word, runs in histories.items():
        found[f"learning_curves, {word}"] = plots.learning_curves, (runs, MODEL if word == "usual" else "Learning curves")
    found["widths, usual"] = plots.widths, ({name: growing(VALUES[name]) for name in usual}, MODEL)
    found["widths, extreme"] = plots.widths, ({name: growing(column) for name, column in VALUES.items()}, "What more seeds would buy")
    found["differences, usual"] = plots.differences, (
        {name: PAIRS[name] for name in ("test_accuracy", "loss")},
        {name: interval(column) for name, column in PAIRS.items()}, {"test_accuracy": "higher", "loss": "lower"}, "A = cnn, B = mlp: 30 seeds, paired",
    )  # fmt: skip
    found["differences, extreme"] = plots.differences, (
        PAIRS, {name: interval(column) for name, column in PAIRS.items()}, dict.fromkeys(PAIRS, "lower"), MODEL,
    )  # fmt: skip
    found["differences, one not claimed"] = plots.differences, (
        {name: PAIRS[name] for name in ("test_accuracy", "far")},
        {name: interval(column) for name, column in PAIRS.items()}, {"test_accuracy": "higher", "far": "lower"}, "A = cnn, B = mlp",
    )  # fmt: skip
    found["differences, no interval"] = plots.differences, ({"far": PAIRS["far"]}, {"far": None}, {"far": "lower"}, "")
    variances, whole = list(VARIANCES.values()), (1.2e-5, (8e-6, 2e-5))
    bounds = [(0.6 * one, 1.8 * one) if one > 0 else (-2e-7, 1e-7) for one in variances]
    found["components, usual"] = (
        plots.components,
        (list(VARIANCES), variances, bounds, whole, "test_accuracy", "Where the spread comes from"),
    )
    found["components, long"] = plots.components, ([LONG, "y" * 60], [1e18, 1.0], [None, (0.5, 1e19)], (1e18, None), LONG, MODEL)
    found["components, nothing"] = plots.components, (["init", "b"], [0.0, math.nan], [None, (0.0, 0.0)], (0.0, None), "loss", "No spread")
    return found


CASES = cases()
# Optional arguments of cases.
NAMED: dict[str, dict[str, Any]] = {"differences, one not claimed": {"claims": {"test_accuracy": False}}}


def write_all(folder: Path) -> None:
    for name, (function, arguments) in CASES.items():
        function(*arguments, folder / f"{name}.png", **NAMED.get(name, {}))


@pytest.fixture
def drawn() -> Iterator[Callable[[str], tuple[Figure, list[Axes]]]]:
    """`drawn("widths, usual")`: the Figure after its layout, and its panels."""
    with drawing.style():

        def figure(name: str) -> tuple[Figure, list[Axes]]:
            function, arguments = CASES[name]
            result: Figure = getattr(plots, f"_{function.__name__}")(*arguments, **NAMED.get(name, {}))
            result.canvas.draw()
            return result, result.axes

        yield figure


def panel(panels: list[Axes], label: str) -> Axes:
    return next(axes for axes in panels if axes.get_xlabel().split(",")[0].removesuffix(" (A − B)") == label)


def line(axes: Axes, label: str) -> Any:
    found = [one for one in axes.get_lines() if one.get_label() == label]
    assert len(found) == 1, f"{len(found)} lines are called {label!r}"
    return found[0]


def words(figure: Figure) -> list[Text]:
    """Every text that is drawn, tick labels in view included."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += [axes.title, axes._left_title, axes._right_title, *axes.texts, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            assert not axis.get_offset_text().get_text(), "an offset in a corner is overlooked"
            low, high = sorted(axis.get_view_interval())
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def size(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG whose chunks all have the right checksums, and which says nothing of when or by what it was made."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, kinds = 8, []
    while place < len(png):
        (length,), kind = struct.unpack(">I", png[place : place + 4]), png[place + 4 : place + 8]
        assert struct.unpack(">I", png[place + 8 + length : place + 12 + length])[0] == zlib.crc32(png[place + 4 : place + 8 + length])
        kinds.append(kind)
        place += 12 + length
    assert kinds[0] == b"IHDR"
    assert kinds[-1] == b"IEND"
    assert not {b"tEXt", b"iTXt", b"zTXt", b"tIME"} & set(kinds)
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize("name", sampled(CASES))
def test_every_word_is_inside_the_picture_and_none_lies_on_another(name: str, drawn: Any) -> None:
    figure, panels = drawn(name)
    boxes = [(text.get_text(), text.get_window_extent()) for text in words(figure)]
    for text, box in boxes:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert box.y1 <= figure.bbox.y1 + 1, text
    for (one, box), (other, beside) in combinations(boxes, 2):
        apart = min(box.x1, beside.x1) - max(box.x0, beside.x0) < 1 or min(box.y1, beside.y1) - max(box.y0, beside.y0) < 1
        assert apart, f"{one!r} lies on {other!r}"
    for axes in panels:
        assert axes.get_window_extent().width > 300
        assert axes.get_window_extent().height > 130


@pytest.mark.integration
def test_pictures_are_the_same_bytes_again_in_any_process(tmp_path: Path) -> None:
    """Another hash seed, another time zone and a matplotlibrc of the user's own change nothing."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (tmp_path / "matplotlibrc").write_text("font.size: 23\nfigure.dpi: 40\nsavefig.dpi: 40\naxes.grid: True\ntext.parse_math: False\n")
    write_all(here)
    environment = {**os.environ, "PYTHONHASHSEED": "77", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "TZ": "Asia/Tokyo"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    subprocess.run([sys.executable, __file__, str(there)], env=environment, check=True, cwd=tmp_path)
    for name in CASES:
        png = (here / f"{name}.png").read_bytes()
        width, height = size(png)
        assert 700 <= width <= 1500, name
        assert 300 <= height <= 5000, name
        assert len(png) < 1_000_000, name
        assert png == (there / f"{name}.png").read_bytes(), name


def test_nothing_to_draw_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    plots.distribution({}, {}, "", path)
    plots.learning_curves([], "", path)
    plots.learning_curves([[], [{"learning_rate": 0.1}]], "", path)
    plots.widths({}, "", path)
    plots.differences({}, {}, {}, "", path)
    plots.components([], [], [], (1.0, None), "loss", "", path)
    assert not path.exists()


def test_distribution_shows_every_seed_the_mean_and_its_interval(drawn: Any) -> None:
    _, panels = drawn("distribution, extreme")
    assert len(panels) == len(VALUES)
    for axes, (name, values) in zip(panels, VALUES.items(), strict=True):
        finite = values[np.isfinite(values)]
        dots = [float(x) for one in axes.collections for x in one.get_offsets()[:, 0]]
        assert dots == list(finite), name
        if len(finite) > 1:
            assert line(axes, "mean").get_xdata()[0] == finite.mean(), name
            assert len(finite) < 5 or list(line(axes, "range").get_xdata()) == [finite.min(), finite.max()], name
            assert len(finite) < 5 or line(axes, "median").get_xdata()[0] == np.median(finite), name
            low, high = interval(values) or (math.nan, math.nan)
            shown = line(axes, "interval").get_xdata()
            assert shown[1] == high
            assert shown[0] == max(low, axes.get_xlim()[0])
        low, high = axes.get_xlim()
        assert all(low < dot < high for dot in dots), name


def test_distribution_says_what_is_shown(drawn: Any) -> None:
    figure, panels = drawn("distribution, extreme")
    assert figure.get_suptitle().replace("\n", " ") == MODEL
    lanes = [label.get_text() for label in panels[0].get_yticklabels()]
    assert lanes == ["mean and its\n95 % interval", "middle half,\nmedian, range", "30 seeds,\none dot each"]
    titles = {name: panels[place].get_title(loc="left") for place, name in enumerate(VALUES)}
    assert titles["test_accuracy"].startswith("mean 0.97")
    assert titles["equal"] == "all 30 seeds gave 0.97"
    assert titles["one"] == "1 seed: 0.5; it can't show a spread"
    assert "1 seed gave values that aren't finite: not drawn" in titles["three"]
    assert titles["none"] == "no seed gave a finite value"
    assert [label.get_text() for label in panel(panels, "two").get_yticklabels()] == [
        "mean and its\n95 % interval",
        "2 seeds,\none dot each",
    ]
    assert "".join(panels[list(VALUES).index(LONG)].get_xlabel().split()).replace("\\", "") == LONG.replace(" ", "")


def test_without_an_interval_none_is_drawn_or_named(drawn: Any) -> None:
    _, panels = drawn("distribution, no intervals")
    for axes in panels:
        assert "interval" not in [one.get_label() for one in axes.get_lines()]
        assert not any("interval" in label.get_text() for label in axes.get_yticklabels())
    assert panels[0].get_title(loc="left").endswith(", no interval")


def test_wide_positive_values_get_a_log_scale_and_others_none(drawn: Any) -> None:
    _, panels = drawn("distribution, extreme")
    for axes, name in zip(panels, VALUES, strict=True):
        wide = name in ("error", "x" * 90)
        assert axes.get_xscale() == ("log" if wide else "linear"), name
        assert axes.get_xlabel().replace("\n", " ").endswith("log scale") == wide, name
    _, panels = drawn("learning_curves, early stopping")
    assert {axes.get_yscale() for axes in panels} == {"linear"}
    _, (axes,) = drawn("distribution, interval to below zero")
    assert axes.get_xscale() == "log"
    assert line(axes, "interval").get_xdata()[0] == axes.get_xlim()[0]


def test_equal_values_get_one_tick(drawn: Any) -> None:
    _, panels = drawn("distribution, extreme")
    assert [label.get_text() for label in panel(panels, "equal").get_xticklabels()] == ["0.97"]


def test_learning_curves_median_and_bands(drawn: Any) -> None:
    runs = CASES["learning_curves, early stopping"][1][0]
    figure, panels = drawn("learning_curves, early stopping")
    assert [axes.get_ylabel() for axes in panels] == ["loss", "accuracy"]
    assert {axes.get_xlabel() for axes in panels} == {"epoch"}
    for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
        for column, word in ((name, "training"), (f"val_{name}", "validation")):
            for epoch in range(17):
                left = [run[epoch][column] for run in runs if len(run) > epoch]
                solid, dotted = line(axes, word).get_ydata()[epoch], line(axes, f"_{word}, few").get_ydata()[epoch]
                assert dotted == pytest.approx(np.median(left))
                assert math.isnan(solid) if len(left) < len(runs) / 2 else solid == dotted
        outer, inner = axes.collections[0].get_paths()[0].vertices, axes.collections[1].get_paths()[0].vertices
        first = [run[0][name] for run in runs]
        for band, low, high in ((outer, 0.05, 0.95), (inner, 0.25, 0.75)):
            heights = band[band[:, 0] == 1, 1]
            assert (heights.min(), heights.max()) == pytest.approx((np.quantile(first, low), np.quantile(first, high)))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["training, median of 12 seeds", "validation, median of 12 seeds", "fewer than half of the seeds are left",
                      "the middle half of the seeds", "the middle 90 % (quantiles 5 % to 95 %)"]  # fmt: skip


def test_learning_curves_single_lines_for_few_seeds_only(drawn: Any) -> None:
    for name, lines, bands in (("usual", 0, 4), ("four seeds", 8, 0), ("one seed", 0, 0), ("two seeds, two epochs", 4, 0)):
        figure, panels = drawn(f"learning_curves, {name}")
        for axes in panels:
            assert sum(one.get_label() == "_one seed" for one in axes.get_lines()) == lines, name
            assert len(axes.collections) == bands, name
        assert ("one seed" in [text.get_text() for text in figure.legends[0].get_texts()]) == (lines > 0), name


def test_learning_curves_bridge_epochs_without_the_metric(drawn: Any) -> None:
    _, panels = drawn("learning_curves, gaps")
    assert list(line(panels[0], "training").get_xdata()) == list(range(1, 13))
    assert list(line(panels[0], "validation").get_xdata()) == [3, 6, 9, 12]


def test_learning_curves_tell_of_values_that_are_not_finite(drawn: Any) -> None:
    _, (axes,) = drawn("learning_curves, not finite")
    assert axes.get_title(loc="left") == "2 of 3 seeds gave values that aren't finite: left out there"
    _, panels = drawn("learning_curves, usual")
    assert {axes.get_title(loc="left") for axes in panels} == {""}


def test_learning_curves_log_scale(drawn: Any) -> None:
    with drawing.style():
        steep = plots._learning_curves([[{"loss": 1.0}, {"loss": 0.1}, {"loss": 0.01}]], "One seed")
    assert steep.axes[0].get_yscale() == "log"
    assert steep.axes[0].get_ylabel() == "loss, log scale"


def test_widths_mark_now_and_go_on_as_one_over_root_n(drawn: Any) -> None:
    points = CASES["widths, usual"][1][0]
    _, panels = drawn("widths, usual")
    for axes, (name, rows) in zip(panels, points.items(), strict=True):
        assert axes.get_ylabel().startswith(f"{name}\nwidth of the 95 % interval")
        last = rows[-1][2] - rows[-1][1]
        (now,), (width,) = line(axes, "now").get_data()
        assert (now, width) == (30, last)
        assert list(line(axes, "width").get_xdata()) == list(range(2, 31))
        x, y = line(axes, "guide").get_data()
        assert x[-1] == pytest.approx(120)
        np.testing.assert_allclose(y, last * np.sqrt(30 / x))
        assert {30, 60, 120} <= set(axes.get_xticks())
        assert axes.get_title(loc="left").startswith("now, 30 seeds: ")
        assert "with 120 seeds" in axes.get_title(loc="left")


def test_widths_without_spread_or_interval(drawn: Any) -> None:
    _, panels = drawn("widths, extreme")
    titles = {name: axes.get_title(loc="left") for name, axes in zip(VALUES, panels, strict=True)}
    assert titles["zero"] == "now, 7 seeds: width 0, all seeds gave the same"
    assert titles["one"] == titles["none"] == "no interval: too few seeds with a finite value"
    assert panels[list(VALUES).index("zero")].get_ylim() == (0, 1)


def test_differences_say_who_wins_where(drawn: Any) -> None:
    _, panels = drawn("differences, usual")
    for axes, name, sign in zip(panels, ("test_accuracy", "loss"), (1, -1), strict=True):
        values = PAIRS[name]
        assert axes.get_xlabel() == f"{name} (A − B)"
        (dots,) = axes.collections
        assert len(dots.get_offsets()) == 30
        for (x, _), colour in zip(dots.get_offsets(), dots.get_facecolors(), strict=True):
            assert to_hex(colour).upper() == (drawing.ACCENT if sign * x > 0 else drawing.OTHER if x else drawing.GREY).upper()
        zero = [one for one in axes.get_lines() if list(one.get_xdata()) == [0, 0] and list(one.get_ydata()) == [0, 1]]
        assert len(zero) == 1
        assert line(axes, "mean").get_xdata()[0] == values.mean()
        wins, ties = int((sign * values > 0).sum()), int((values == 0).sum())
        title = axes.get_title(loc="left")
        assert title.startswith(f"A better on {wins} of 30 seeds" + (f", {ties} equal\n" if ties else "\n"))
        middle = axes.transData.transform((0, 0))[0]
        for text in axes.texts:
            box = text.get_window_extent()
            right = text.get_text().endswith("→")
            assert (box.x0 > middle) if right else (box.x1 < middle)
            assert axes.bbox.x0 < box.x0 < box.x1 < axes.bbox.x1
            assert ("A better" in text.get_text()) == (right == (sign > 0))
    assert (PAIRS["loss"] == 0).any(), "the case has ties"


def test_a_difference_that_is_not_claimed_has_no_winner(drawn: Any) -> None:
    """Where a test disagrees with an interval that leaves out 0; what isn't mentioned is claimed by its interval."""
    for name in ("test_accuracy", "far"):
        low, high = interval(PAIRS[name]) or (0.0, 0.0)
        assert 0 < low < high, "the case's interval leaves out 0"
    _, panels = drawn("differences, one not claimed")
    unclaimed, claimed = (axes.get_title(loc="left").replace("\n", " ") for axes in panels)
    assert unclaimed.endswith("0 is outside the interval, but the test disagrees: which is better stays open")
    assert "is better on average" not in unclaimed
    assert claimed.endswith("0 is outside the interval: B is better on average")


def test_the_picture_in_the_file_is_the_one_with_the_claims(tmp_path: Path) -> None:
    function, arguments = CASES["differences, usual"]
    for name, claims in (("none", None), ("yes", {"test_accuracy": True}), ("no", {"test_accuracy": False})):
        function(*arguments, tmp_path / name, claims=claims)
    assert (tmp_path / "none").read_bytes() == (tmp_path / "yes").read_bytes() != (tmp_path / "no").read_bytes()


def test_differences_refuse_an_unknown_direction() -> None:
    with pytest.raises(ValueError, match="must be 'higher' or 'lower'"):
        plots._differences({"loss": np.ones(3)}, {}, {"loss": "smaller"}, "")


def test_components_are_sorted_standard_deviations_with_shares(drawn: Any) -> None:
    figure, (axes,) = drawn("components, usual")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["split", "init", "shuffle", "dropout", "augment", "all together"]
    lengths = [bar.get_width() for bar in axes.patches]
    assert lengths == pytest.approx([math.sqrt(v) for v in (6e-6, 4e-6, 2.5e-6, 1e-6, 0, 1.2e-5)])
    colours = [to_hex(bar.get_facecolor()).upper() for bar in axes.patches]
    assert len(set(colours[:-1])) == 1
    assert colours[-1] == drawing.ACCENT
    assert [text.get_text() for text in axes.texts] == [
        "0.0024  (50 %)", "0.0020  (33 %)", "0.0016  (21 %)", "0.0010  (8 %)", "0  (0 %)", "0.0035",
    ]  # fmt: skip
    whiskers = [tuple(one.get_xdata()) for one in axes.get_lines() if one.get_label() == "interval"]
    assert whiskers[0] == pytest.approx((math.sqrt(3.6e-6), math.sqrt(10.8e-6)))
    assert whiskers[-1] == pytest.approx((math.sqrt(8e-6), math.sqrt(2e-5)))
    assert axes.get_xlabel() == "standard deviation of test_accuracy over seeds"
    assert axes.yaxis_inverted()
    assert "add up to 112 %" in figure.get_supxlabel().replace("\n", " ")
    for text in axes.texts:
        assert text.get_window_extent().x1 <= axes.bbox.x1 + 1


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
    assert "matplotlib.pyplot" not in sys.modules, "pyplot has global state"
