"""What every picture of many runs is drawn with: panels, scales, dots and bars in lanes, and words that fit their place.

Plain matplotlib without pyplot, which has global state. Nothing is left to a user's settings or to chance, so that the same
numbers give the same bytes. Importing this module imports matplotlib, as with `plots`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, Formatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

Interval = tuple[float, float]

# Blue and vermillion can be told apart with every kind of colour blindness (Okabe & Ito, https://jfly.uni-koeln.de/color/).
ACCENT, OTHER, DARK, GREY, LIGHT = "#0072B2", "#D55E00", "#262626", "#808080", "#d4d4d4"
DPI = 120
# A user's matplotlibrc must not change the bytes: everything starts from matplotlib's own defaults.
STYLE: Any = {
    "figure.dpi": DPI, "savefig.dpi": "figure", "font.size": 10, "figure.titlesize": 13, "axes.titlesize": 10.5,
    "axes.titlelocation": "left", "axes.titlepad": 8, "axes.labelsize": 11, "legend.fontsize": 9.5, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY, "axes.axisbelow": True,
    "grid.color": LIGHT, "grid.linewidth": 0.6, "text.color": DARK, "axes.labelcolor": DARK, "xtick.color": DARK,
    "ytick.color": DARK, "figure.constrained_layout.h_pad": 0.12, "figure.constrained_layout.w_pad": 0.12,
}  # fmt: skip
QUARTILES_FROM = 5  # seeds; with fewer, the dots say more than quartiles would
AXES = 4.3  # inches: the width of a panel without what stands at its left; titles and labels are broken to fit it


@contextmanager
def style() -> Iterator[None]:
    """matplotlib with its own defaults and STYLE; the caller's settings come back at the end."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def save(figure: Figure | None, path: Path) -> None:
    """`figure` as a PNG that says nothing of what made it, or when; None: nothing is written."""
    if figure is not None:
        figure.savefig(path, format="png", metadata={"Software": None})


def panels(labels: Sequence[str], title: str, height: float, legend: int = 0) -> tuple[Figure, list[Axes]]:
    """One panel a label, two in a row; `height` in inches for each, more for labels of several lines and for the legend."""
    columns = min(len(labels), 2)
    rows = -(-len(labels) // columns)
    extra = sum(0.18 * max(label.count("\n") for label in labels[row * columns : (row + 1) * columns]) for row in range(rows))
    figure = blank(6.6 if columns == 1 else 11.6, rows * height + extra + 0.2 * legend + 0.3, title)
    grid = figure.add_gridspec(rows, columns)
    return figure, [figure.add_subplot(grid[divmod(place, columns)]) for place in range(len(labels))]


def blank(width: float, height: float, title: str) -> Figure:
    """A figure with its title, and as much higher as the title has lines; sizes in inches."""
    words = wrapped(title, width - 0.5, 13)
    figure = Figure(figsize=(width, height + 0.2 * words.count("\n")), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(words)
    return figure


def key(figure: Figure, keys: Sequence[Line2D | Patch]) -> None:
    """One legend for all panels, below them."""
    figure.legend(handles=list(keys), loc="outside lower center", ncols=2 if figure.get_figwidth() < 8 else 3)


def wrapped(text: str, inches: float, size: float = 11) -> str:
    """`text` broken into lines of at most `inches`: between words, else after _ / - and the like, else anywhere."""
    font = FontProperties(size=size)

    def fits(words: str) -> bool:
        return text_to_path.get_text_width_height_descent(words, font, False)[0] <= 72 * inches

    lines: list[str] = []
    for line in text.expandtabs(1).splitlines():
        lines.append("")
        for piece in re.findall(r"[^\s_/:;=-]*[\s_/:;=-]*", line):
            if lines[-1] and not fits(lines[-1] + piece.rstrip()):
                lines.append("")
            for letter in piece:
                if lines[-1] and not fits(lines[-1] + letter.rstrip()):
                    lines.append("")
                lines[-1] += letter
    # a dollar sign in a metric's name is not mathematics
    return "\n".join(line.strip() for line in lines).replace("$", r"\$")


def lanes(axes: Axes, values: np.ndarray, interval: Interval | None, colours: Sequence[str], mean: str) -> float:
    """Dots above a box above the mean, each named at the left; returns the height at which the dots end."""
    lanes, number = {}, len(values)
    if number:
        lanes["1 seed" if number == 1 else f"{number} seeds,\none dot each"] = 1.0
    if number >= QUARTILES_FROM:
        lanes = {"middle half,\nmedian, range": 1.0} | lanes
    if number > 1:
        lanes = {"mean and its\n95 % interval" if interval else "mean": 0.8} | lanes
    edges = np.concatenate([[0.0], np.cumsum(list(lanes.values()))])
    middles = (edges[:-1] + edges[1:]) / 2
    left = axes.get_xlim()[0]
    for middle, lane in zip(middles, lanes, strict=True):
        if lane.startswith("middle half"):
            # by hand: Axes.boxplot asks for the backend, which imports pyplot and looks for a display (matplotlib 3.11.2)
            least, lower, median, upper, most = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
            axes.plot([least, most], [middle, middle], color=GREY, linewidth=1.2, marker="|", markersize=11, zorder=1.8, label="range")
            axes.add_patch(Rectangle((lower, middle - 0.22), upper - lower, 0.44, facecolor=LIGHT, edgecolor=GREY, zorder=1.9))
            axes.plot([median, median], [middle - 0.22, middle + 0.22], color=DARK, linewidth=1.8, solid_capstyle="butt", label="median")
        elif lane.startswith("mean"):
            if interval:
                # an interval that reaches zero has no end on a log scale
                axes.plot([max(interval[0], left), interval[1]], [middle, middle], color=mean, marker="|", markersize=13,
                          markeredgewidth=2, linewidth=3, label="interval")  # fmt: skip
            axes.plot([values.mean()], [middle], color=mean, marker="D", markersize=9, markeredgecolor="white", label="mean")
        else:
            size = 34 if number <= 60 else 18
            axes.scatter(values, middle + 0.7 * _jitter(values), s=size, c=list(colours), alpha=0.75, linewidths=0.4, edgecolors="white")
    axes.set_ylim(-0.1, edges[-1] + 0.1 if lanes else 1)
    axes.set_yticks(middles, list(lanes))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return float(edges[-1])


def _jitter(values: np.ndarray) -> np.ndarray:
    """Heights in -0.5 … 0.5, one a value: neighbours by value land far apart (multiples of the golden ratio), the same each time."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return (ranks * ((math.sqrt(5) - 1) / 2) + 0.5) % 1 - 0.5


def scale(axes: Axes, which: str, values: np.ndarray, besides: Sequence[float] = (), fold: float = 50) -> str:
    """Limits, scale and ticks of one axis for finite `values`; returns what to add to its label.

    A log scale if the values are positive and span more than `fold`; `besides` must fit in, but don't decide.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if not len(values):
        axis.set_ticks([])
        return ""
    drawn = np.concatenate([values, np.asarray(besides, dtype=np.float64)])
    log = bool(values.min() > 1e-300 and values.max() / fold > values.min())  # below that, limits round to 0
    if log:
        drawn = np.log10(drawn[drawn > 0])
    low, high = float(drawn.min()), float(drawn.max())
    margin = 0.06 * (high - low)
    same = high - low <= 1e-14 * max(abs(low), abs(high))
    if same:
        margin = 0.05 * abs(high) or 1.0
    limits = (10 ** (low - margin), 10 ** (high + margin)) if log else (low - margin, high + margin)
    axes.set(**{f"{which}scale": "log" if log else "linear", f"{which}lim": limits})
    if log:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high - low < 2.5 else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, value, value)))
        axis.set_minor_formatter(NullFormatter())
        return ", log scale"
    # a narrow spread needs long labels, and there is room for few of those
    digits = 0.0 if same else math.log10(max(abs(low), abs(high)) / (high - low))
    if digits < 8 and not same:
        axis.set_major_locator(MaxNLocator(6 if digits < 2.5 else 4 if digits < 5 else 3, steps=[1, 2, 2.5, 5, 10]))
    else:
        axis.set_major_locator(FixedLocator([high] if same else [low, high]))
    axis.set_major_formatter(_Plain())
    return ""


def seed_ticks(axes: Axes, first: int, now: int) -> None:
    """Ticks at now, twice and four times as many, and at round numbers before."""
    steps = (1, 2, 5) if now <= 200 * first else (1,)
    before = [step * 10**power for power in range(12) for step in steps if first <= step * 10**power <= 0.7 * now]
    axes.xaxis.set_major_locator(FixedLocator([*before, now, 2 * now, 4 * now]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_locator(FixedLocator([]))


class _Plain(Formatter):
    """Tick labels in full: no offset and no multiplier in a corner, where they are overlooked."""

    def __call__(self, value: float, position: int | None = None) -> str:
        return self.format_ticks([value])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:  # type: ignore[override]
        if len(values) < 2:
            return [_exact(value) for value in values]
        step, largest = float(np.diff(np.sort(values)).min()), float(np.abs(values).max())
        if abs(step / 10 ** math.floor(math.log10(step)) - 2.5) < 1e-6:
            step /= 10  # a step of 2.5 needs a digit more
        return [number(0.0 if abs(value) < 1e-6 * step else value, step, largest) for value in values]


def number(value: float, step: float, largest: float) -> str:
    """`value` with the digits that tell it from `value` ± `step`; as 1.2e−7 if `largest` is out of 1e-4 … 1e6."""
    if value == 0:
        return "0"
    place = math.floor(math.log10(step) + 1e-9) if step > 0 else 0
    if 1e-4 <= abs(largest) < 1e6:
        return _typeset(f"{value:.{min(max(-place, 0), 15)}f}")
    return _typeset(f"{value:.{min(max(math.floor(math.log10(abs(value)) + 1e-9) - place, 0), 15)}e}")


def _exact(value: float) -> str:
    """`value` by itself, with six digits at most."""
    return _typeset(f"{value:.6g}")


def _typeset(number: str) -> str:
    """A true minus sign, none before 0, and a short exponent."""
    mantissa, _, exponent = number.partition("e")
    sign = "−" if float(number) < 0 else ""
    return sign + mantissa.removeprefix("-") + (f"e{int(exponent)}".replace("-", "−") if exponent else "")


def mean_in_words(finite: np.ndarray, interval: Interval | None) -> str:
    """The mean and its interval with as many digits as the interval's width supports, or what there is instead."""
    if not len(finite):
        return "no seed gave a finite value"
    mean = float(finite.mean())
    if len(finite) == 1 or finite.min() == finite.max():
        value = _exact(float(finite[0]))
        return f"1 seed: {value}; it can't show a spread" if len(finite) == 1 else f"all {len(finite)} seeds gave {value}"
    if interval is None:
        return f"mean {number(mean, float(np.ptp(finite)) / 100, mean)}, no interval"
    width = interval[1] - interval[0]
    # more digits where a bound would look like 0 and isn't
    step = max(min(width / 20, *(abs(bound) or math.inf for bound in interval)), width / 1000) or abs(mean) * 1e-5
    numbers = [number(value, step, max(map(abs, interval))) for value in (mean, *interval)]
    return f"mean {numbers[0]}, 95 % interval {numbers[1]} to {numbers[2]}"


def winner_in_words(finite: np.ndarray, sign: int, interval: Interval | None, claimed: bool) -> str:
    """Who won how often, the mean difference, and whether the interval decides."""
    wins, ties = int((sign * finite > 0).sum()), int((finite == 0).sum())
    if not len(finite):
        return "no seed gave a finite difference"
    if ties == len(finite):
        return f"A and B are equal on {'the one seed' if ties == 1 else f'all {ties} seeds'}"
    words = f"A better on {wins} of {seeds(len(finite))}" + (f", {ties} equal" if ties else "")
    words += "\n" + mean_in_words(finite, interval)
    if interval is None:
        return words
    if interval[0] <= 0 <= interval[1]:
        return words + "\n0 is inside the interval: which is better stays open"
    if not claimed:
        return words + "\n0 is outside the interval, but the test disagrees: which is better stays open"
    return words + f"\n0 is outside the interval: {'A' if sign * interval[0] > 0 else 'B'} is better on average"


def lost(column: np.ndarray, finite: np.ndarray) -> str:
    """What to add to a panel's title where values of `column` aren't finite."""
    count = len(column) - len(finite)
    return f"\n{seeds(count)} gave values that aren't finite: not drawn" if count and len(finite) else ""


def seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"


def finite(values: np.ndarray) -> np.ndarray:
    """Those of `values` that can be drawn, as float64."""
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[np.isfinite(array)]


def usable(interval: Interval | None) -> Interval | None:
    """`interval` where both ends can be drawn, else None."""
    return (float(interval[0]), float(interval[1])) if interval is not None and all(map(math.isfinite, interval)) else None
