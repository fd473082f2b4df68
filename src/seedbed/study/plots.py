"""Pictures of many runs: plain numbers in, one PNG out; the same numbers give the same bytes.

Each picture has a public function that writes it and an inner one that returns the Figure, so that tests can look at what
is drawn; what they have in common is in `drawing`. Whoever sees the picture alone must come to the right conclusion: the
words and numbers are in it. Importing this module imports matplotlib (about half a second), so import it where a picture is
drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator

from seedbed.study import drawing
from seedbed.study.drawing import ACCENT, AXES, DARK, DPI, GREY, OTHER, QUARTILES_FROM, Interval

LINES_UP_TO = 10  # seeds; with more, single lines hide the band


def distribution(values: Mapping[str, np.ndarray], intervals: Mapping[str, Interval | None], title: str, path: Path) -> None:
    """How each metric is spread over the seeds: every seed a dot, a box, and the mean with its 95 % interval.

    `values`: metric → float64 of shape (seeds,). `intervals`: metric → the mean's interval; None or absent where there is none.
    Values that aren't finite can't be drawn; the panel says how many there are. No file is written without a metric.
    """
    with drawing.style():
        drawing.save(_distribution(values, intervals, title) if values else None, path)


def learning_curves(histories: Sequence[Sequence[Mapping[str, float]]], title: str, path: Path) -> None:
    """Each metric over the epochs: the median of the seeds, with bands for the middle half and for 5 % to 95 %.

    `histories`: one a seed; of each epoch its metrics, as `Record.history()` gives them. Runs may differ in length, and
    metrics may be absent in some epochs: each epoch shows the runs that have a value there. No file without any metric.
    """
    with drawing.style():
        drawing.save(_learning_curves(histories, title) if _metrics(histories) else None, path)


def widths(points: Mapping[str, Sequence[tuple[int, float, float]]], title: str, path: Path) -> None:
    """What more seeds would buy: the interval's width after the first k seeds, and what 1/√n promises up to 4 times as many.

    `points`: metric → (k, low, high) for growing k; the largest k counts as the seeds that there are now.
    """
    with drawing.style():
        drawing.save(_widths(points, title) if points else None, path)


def differences(
    pairs: Mapping[str, np.ndarray], intervals: Mapping[str, Interval | None], better: Mapping[str, str], title: str, path: Path,
    claims: Mapping[str, bool] | None = None,
) -> None:  # fmt: skip
    """A − B seed by seed: on which side of zero they fall, who won how often, and the mean difference with its interval.

    `pairs`: label → float64 of shape (seeds,), A − B. `better`: label → 'higher' or 'lower', which values of the metric are
    the better ones; ValueError for another word. `claims`: label → whether a difference is claimed (unless said, it is where
    the interval leaves out 0); an interval without 0 alone is no claim, where a test disagrees with it. The title should say
    who A and B are.
    """
    with drawing.style():
        drawing.save(_differences(pairs, intervals, better, title, claims) if pairs else None, path)


def components(
    names: Sequence[str], variances: Sequence[float], intervals: Sequence[Interval | None],
    together: tuple[float, Interval | None], metric: str, title: str, path: Path,
) -> None:  # fmt: skip
    """How far each stream of randomness alone spreads a metric, as standard deviations, beside all of them together.

    `variances` and all `intervals` are variances (the metric's unit, squared); their square roots are drawn, and an estimate
    below zero as zero. Shares are those of `together`'s variance.
    """
    with drawing.style():
        drawing.save(_components(names, variances, intervals, together, metric, title) if names else None, path)


def _distribution(values: Mapping[str, np.ndarray], intervals: Mapping[str, Interval | None], title: str) -> Figure:
    figure, panels = drawing.panels([drawing.wrapped(name, AXES) for name in values], title, height=2.7)
    for axes, (name, column) in zip(panels, values.items(), strict=True):
        finite = drawing.finite(column)
        interval = drawing.usable(intervals.get(name)) if len(finite) > 1 else None
        scale = drawing.scale(axes, "x", finite, interval or ())
        drawing.lanes(axes, finite, interval, [GREY] * len(finite), ACCENT)
        axes.set_xlabel(drawing.wrapped(name + scale, AXES))
        axes.set_title(drawing.wrapped(drawing.mean_in_words(finite, interval) + drawing.lost(column, finite), AXES, 10.5))
    return figure


def _differences(
    pairs: Mapping[str, np.ndarray], intervals: Mapping[str, Interval | None], better: Mapping[str, str], title: str,
    claims: Mapping[str, bool] | None = None,
) -> Figure:  # fmt: skip
    figure, panels = drawing.panels([drawing.wrapped(label + " (A − B)", AXES) for label in pairs], title, height=3.5)
    for axes, (label, column) in zip(panels, pairs.items(), strict=True):
        if better[label] not in ("higher", "lower"):
            raise ValueError(f"better[{label!r}] is {better[label]!r}; it must be 'higher' or 'lower'.")
        finite = drawing.finite(column)
        interval = drawing.usable(intervals.get(label)) if len(finite) > 1 else None
        sign = 1 if better[label] == "higher" else -1
        drawing.scale(axes, "x", np.append(finite, 0.0), interval or ())
        # room on both sides of zero for the words that stand there
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.4 * high), max(high, -0.4 * low))
        colours = [ACCENT if sign * value > 0 else OTHER if sign * value < 0 else GREY for value in finite]
        top = drawing.lanes(axes, finite, interval, colours, DARK)  # neither of the winners' colours
        axes.set_ylim(-0.1, top + 0.6)
        axes.axvline(0, color=DARK, linewidth=1.6, zorder=1.5)
        for side, words, aligned in ((-sign, "B better", OTHER), (sign, "A better", ACCENT)):
            words = f"{words} →" if side > 0 else f"← {words}"
            axes.annotate(
                words, (0, top + 0.55), (8 * side, 0), textcoords="offset points", color=aligned, fontsize=10.5, fontweight="bold",
                ha="left" if side > 0 else "right", va="top",
            )  # fmt: skip
        axes.set_xlabel(drawing.wrapped(label + " (A − B)", AXES))
        words = drawing.winner_in_words(finite, sign, interval, (claims or {}).get(label, True)) + drawing.lost(column, finite)
        axes.set_title(drawing.wrapped(words, AXES, 10.5))
    return figure


def _learning_curves(histories: Sequence[Sequence[Mapping[str, float]]], title: str) -> Figure:
    names, number, longest = _metrics(histories), len(histories), max(map(len, histories))
    figure, panels = drawing.panels([""] * len(names), title, height=3.3, legend=3)
    shown: set[str] = set()
    for axes, name in zip(panels, names, strict=True):
        drawn, diverged = [], np.zeros(number, bool)
        for column, word, colour in ((name, "training", GREY), (f"val_{name}", "validation", ACCENT)):
            table, bad = _table(histories, column)
            diverged |= bad
            if np.isfinite(table).any():
                values, dotted = _curve(axes, table, colour, word)
                drawn.append(values)
                shown |= {word, "dotted"} if dotted else {word}
        values = np.concatenate([*drawn, np.empty(0)])
        scale = drawing.scale(axes, "y", values)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]) if longest > 2 else FixedLocator([1, 2]))
        margin = 0.04 * (longest - 1) if longest > 2 else 0.5
        axes.set(xlabel="epoch", ylabel=drawing.wrapped(name + scale, 2.3), xlim=(1 - margin, longest + margin))
        if diverged.any():
            words = f"{diverged.sum()} of {drawing.seeds(number)} gave values that aren't finite: left out there"
            axes.set_title(drawing.wrapped(words, AXES, 10.5))
        axes.grid()
    middle = "1 seed" if number == 1 else f"median of {number} seeds"
    keys: list[Line2D | Patch] = [
        Line2D([], [], color=colour, linewidth=2, label=f"{word}, {middle}")
        for word, colour in (("training", GREY), ("validation", ACCENT)) if word in shown
    ]  # fmt: skip
    if "dotted" in shown:
        keys.append(Line2D([], [], color=DARK, linewidth=2, linestyle=":", label="fewer than half of the seeds are left"))
    if number >= QUARTILES_FROM:
        keys += [Patch(color=DARK, alpha=0.42, linewidth=0, label="the middle half of the seeds"),
                 Patch(color=DARK, alpha=0.16, linewidth=0, label="the middle 90 % (quantiles 5 % to 95 %)")]  # fmt: skip
    if 1 < number <= LINES_UP_TO:
        keys.append(Line2D([], [], color=DARK, linewidth=0.7, alpha=0.6, label="one seed"))
    drawing.key(figure, keys)
    return figure


def _table(histories: Sequence[Sequence[Mapping[str, float]]], column: str) -> tuple[np.ndarray, np.ndarray]:
    """`column` as float64 of shape (seeds, epochs), NaN where there is no finite value; and which seeds gave others, (seeds,)."""
    table, bad = np.full((len(histories), max(map(len, histories))), np.nan), np.zeros(len(histories), bool)
    for run, history in enumerate(histories):
        for epoch, row in enumerate(history):
            if column in row:
                finite = math.isfinite(row[column])
                table[run, epoch] = row[column] if finite else np.nan
                bad[run] |= not finite
    return table, bad


def _curve(axes: Axes, table: np.ndarray, colour: str, word: str) -> tuple[np.ndarray, bool]:
    """Draw one column's median, bands and single lines; returns the heights drawn, and whether a part is dotted."""
    (number, longest), left = table.shape, np.isfinite(table).sum(axis=0)
    table, epochs, left = table[:, left > 0], np.flatnonzero(left) + 1.0, left[left > 0]
    if longest == 1:
        epochs += 0.05 if word == "validation" else -0.05  # beside one another, not one over the other
    low, lower, median, upper, high = np.nanquantile(table, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    heights = [median]
    if number >= QUARTILES_FROM:
        heights += [low, high]
        if len(epochs) == 1:
            axes.vlines(epochs, low, high, color=colour, alpha=0.16, linewidth=16)
            axes.vlines(epochs, lower, upper, color=colour, alpha=0.32, linewidth=16)
        else:
            axes.fill_between(epochs, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.fill_between(epochs, lower, upper, color=colour, alpha=0.32, linewidth=0)
    if 1 < number <= LINES_UP_TO:
        heights.append(table[np.isfinite(table)])
        for line in table:
            held = np.isfinite(line)
            dot = "." if held.sum() < 3 else None
            axes.plot(epochs[held], line[held], color=colour, linewidth=0.7, alpha=0.6, marker=dot, label="_one seed")
    marker, few = "o" if len(epochs) < 3 else None, 2 * left < number
    if few.any():
        axes.plot(epochs, median, color=colour, linewidth=2, linestyle=":", marker=marker, label=f"_{word}, few")
    axes.plot(epochs, np.where(few, np.nan, median), color=colour, linewidth=2, marker=marker, label=word)
    return np.concatenate(heights), bool(few.any())


def _metrics(histories: Sequence[Sequence[Mapping[str, float]]]) -> list[str]:
    """The metrics' names without `val_`, in the order in which they first appear."""
    found = dict.fromkeys(name.removeprefix("val_") for history in histories for row in history for name in row)
    return [name for name in found if name != "learning_rate"]


def _widths(points: Mapping[str, Sequence[tuple[int, float, float]]], title: str) -> Figure:
    figure, panels = drawing.panels([""] * len(points), title, height=3.8, legend=2)
    for axes, (name, rows) in zip(panels, points.items(), strict=True):
        held = sorted((k, high - low) for k, low, high in rows if k > 0 and math.isfinite(high - low))
        label = drawing.wrapped(name, 2.3) + "\nwidth of the 95 % interval"
        axes.set_xlabel("number of seeds")
        axes.set_ylabel(label, fontsize=10)
        axes.grid()
        if not held:
            axes.set(xticks=[], yticks=[])
            axes.set_title("no interval: too few seeds with a finite value")
            continue
        seeds, width = np.array([k for k, _ in held]), np.array([one for _, one in held])
        now, last = int(seeds[-1]), float(width[-1])
        axes.set_xscale("log")
        guide = np.geomspace(seeds[0], 4 * now, 100)
        promised = last * np.sqrt(now / guide)
        drawn = np.concatenate([width, [last * math.sqrt(now / seeds[0]), last / 2]])
        # the first few seeds' intervals can be ten times as wide, and now is what matters
        scale = drawing.scale(axes, "y", drawn, fold=10)
        axes.set_ylabel(label + scale, fontsize=10)
        if not scale:
            axes.set_ylim(0, 1.08 * drawn.max() or 1)
        axes.plot(guide, promised, color=GREY, linestyle="--", linewidth=1.4, label="guide")
        axes.plot(seeds, width, color=DARK, linewidth=1.8, marker="." if len(seeds) <= 60 else None, label="width")
        axes.plot([2 * now, 4 * now], [last / math.sqrt(2), last / 2], "o", color=GREY, markerfacecolor="white", markersize=7,
                  clip_on=False, label="more")  # fmt: skip
        axes.plot([now], [last], color=ACCENT, marker="D", markersize=9, markeredgecolor="white", linestyle="none", clip_on=False,
                  label="now")  # fmt: skip
        drawing.seed_ticks(axes, int(seeds[0]), now)
        half, two, one = (drawing.number(value, last / 20 or 1, last) for value in (last / 2, last / math.sqrt(2), last))
        words = f"now, {drawing.seeds(now)}: {one} wide\nabout {two} with {2 * now}, {half} with {4 * now} seeds"
        axes.set_title(words if last > 0 else f"now, {drawing.seeds(now)}: width 0, all seeds gave the same")
    drawing.key(figure, [
        Line2D([], [], color=DARK, linewidth=1.8, marker=".", label="the first k seeds"),
        Line2D([], [], color=ACCENT, marker="D", markersize=8, markeredgecolor="white", linestyle="none", label="all seeds so far"),
        Line2D([], [], color=GREY, linestyle="--", marker="o", markerfacecolor="white",
               label="expected, as 1/√n: 4 times the seeds halve it"),
    ])  # fmt: skip
    return figure


def _components(
    names: Sequence[str], variances: Sequence[float], intervals: Sequence[Interval | None],
    together: tuple[float, Interval | None], metric: str, title: str,
) -> Figure:  # fmt: skip
    total, whole = together
    rows = sorted(zip(names, variances, intervals, strict=True), key=lambda row: (-row[1] if math.isfinite(row[1]) else math.inf, row[0]))
    labels = [drawing.wrapped(name, 2.2) for name, _, _ in rows] + ["all together"]
    deviations = [_root(variance) for variance in (*(variance for _, variance, _ in rows), total)]
    ends = [[_root(bound) for bound in held] if (held := drawing.usable(one)) else None for one in (*(one for _, _, one in rows), whole)]
    heights = np.array([*range(len(rows)), len(rows) + 0.35])
    figure = drawing.blank(8.4, 1.9 + len(labels) * (0.46 + 0.16 * max(label.count("\n") for label in labels)), title)
    axes = figure.add_subplot()
    drawn = np.array([0.0, *deviations, *(end for pair in ends if pair for end in pair)])
    drawing.scale(axes, "x", drawn)
    axes.barh(heights, deviations, height=0.62, color=[*["#a8a8a8"] * len(rows), ACCENT])
    texts, reach = [], []
    for height, deviation, pair, variance in zip(heights, deviations, ends, [*(one for _, one, _ in rows), total], strict=True):
        if pair and math.isfinite(variance):
            axes.plot(pair, [height, height], color=DARK, linewidth=1.6, marker="|", markersize=9, markeredgewidth=1.6, label="interval")
        words = drawing.number(deviation, deviation / 10 or 1, deviation) if math.isfinite(variance) else "not known"
        if height < len(rows) and math.isfinite(variance) and total > 0 and math.isfinite(total):
            words += f"  ({_percent(variance / total)})"
        reach.append(max(deviation, *(pair or ())) if pair else deviation)
        texts.append(axes.annotate(words, (reach[-1], height), (6, 0), textcoords="offset points", va="center"))
    axes.set_yticks(heights, labels)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(drawing.wrapped(f"standard deviation of {metric} over seeds", 5.5))
    axes.grid(axis="x")
    words = "Bar: what this stream alone causes; whisker: its 95 % interval; %: share of the variance of all together."
    if total > 0 and math.isfinite(total):
        shares = sum(max(variance, 0.0) for variance in variances if math.isfinite(variance)) / total
        words += f" The shares add up to {_percent(shares)}: streams can act on one another, so they need not make 100 %."
    figure.supxlabel(drawing.wrapped(words, 7.9, 9.5), fontsize=9.5, color="#595959")
    # the axis must reach as far as the words at the bars' ends, whose width in data units is known after the layout only
    figure.draw_without_rendering()
    room = axes.get_window_extent().width
    wide = [text.get_window_extent().width + 0.1 * DPI for text in texts]
    axes.set_xlim(0, max([end / max(1 - one / room, 0.2) for end, one in zip(reach, wide, strict=True)]) or 1)
    return figure


def _percent(share: float) -> str:
    if share <= 0:
        return "0 %"
    return "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _root(variance: float) -> float:
    return math.sqrt(variance) if math.isfinite(variance) and variance > 0 else 0.0
