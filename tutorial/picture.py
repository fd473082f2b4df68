"""The picture at the end of `make tutorial`: a panel for each question, from what its parts have computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from seedbed.study import drawing
from seedbed.study.drawing import ACCENT, AXES, DARK, GREY, LIGHT, OTHER

Drawn = Mapping[str, Mapping[str, Any]]

# What is closer than this is drawn here: the published digits end.
LEAST = 1e-9

TITLE = "The tutorial of 2017, nine years later: one small network, trained again and again"


def draw(drawn: Drawn, path: Path) -> None:
    """A PNG. drawn: by part, its numbers; a panel whose parts are all missing is left out."""
    panels = [panel for panel, needs in PANELS if any(name in drawn for name in needs)]
    with drawing.style():
        figure, axes = drawing.panels([""] * len(panels), TITLE, height=3.8)
        for panel, place in zip(panels, axes, strict=True):
            panel(place, drawn)
        drawing.save(figure, path)


def _again(axes: Axes, drawn: Drawn) -> None:
    """Errors of runs that should have been the same, a lane each; the same seed in two lanes is joined by a line."""
    lanes: list[tuple[str, Sequence[float], str]] = []
    if "unseeded" in drawn:
        lanes.append(("no seeds,\nten runs", drawn["unseeded"]["errors"], OTHER))
    if "recipe_2017" in drawn:
        lanes.append(("recipe of 2017,\nfour runs", drawn["recipe_2017"]["errors"], OTHER))
    if "repeatable" in drawn:
        lanes += [
            ("seedbed,\nseeds 1 … 10", drawn["repeatable"]["first"], ACCENT),
            ("the same ten\nagain", drawn["repeatable"]["again"], ACCENT),
        ]
    scale = drawing.scale(axes, "x", np.array([error for _, errors, _ in lanes for error in errors]))
    heights = np.arange(len(lanes))[::-1]
    for height, (_, errors, colour) in zip(heights, lanes, strict=True):
        axes.scatter(errors, np.full(len(errors), height), s=46, c=colour, alpha=0.75, linewidths=0.4, edgecolors="white", zorder=3)
    if "repeatable" in drawn:
        for first, again in zip(lanes[-2][1], lanes[-1][1], strict=True):
            axes.plot([first, again], heights[-2:], color=ACCENT, linewidth=1, alpha=0.6)
    axes.set_ylim(-0.5, len(lanes) - 0.5)
    axes.set_yticks(heights, [name for name, _, _ in lanes])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("error (mean squared)" + scale)
    words = f"\nthe same seed is joined by a line: {drawn['repeatable']['same']} of 10 equal to the bit" if "repeatable" in drawn else ""
    axes.set_title(f"Does a run repeat?{words}")


def _thirty(axes: Axes, drawn: Drawn) -> None:
    errors, interval = np.array(drawn["thirty"]["errors"]), drawn["thirty"]["interval"]
    scale = drawing.scale(axes, "x", errors, interval)
    drawing.lanes(axes, errors, interval, [GREY] * len(errors), ACCENT)
    axes.set_xlabel("error (mean squared)" + scale)
    axes.set_title("How good is it?\n" + drawing.wrapped(drawing.mean_in_words(errors, interval), AXES, 10.5))


def _neurons(axes: Axes, drawn: Drawn) -> None:
    differences, interval = np.array(drawn["neurons"]["differences"]), drawn["neurons"]["interval"]
    drawing.scale(axes, "x", np.append(differences, 0.0), interval)
    axes.axvline(0, color=DARK, linewidth=1)
    drawing.lanes(axes, differences, interval, [ACCENT if one > 0 else OTHER for one in differences], DARK)
    axes.set_xlabel("error with ten neurons − error with fifty, same seed")
    words = f"fifty better on {int((differences > 0).sum())} of {len(differences)} seeds, ten on {int((differences < 0).sum())}"
    axes.set_title(f"Is a wider layer better?\n{words}")


def _tables(axes: Axes, drawn: Drawn) -> None:
    """How far each row of the published tables is from what comes out today."""
    theano, tensorflow = drawn.get("theano_2017", {}), drawn.get("tensorflow_2017", {})
    series = (("Theano, as published", theano.get("theano"), ACCENT, "o", ACCENT),
              ("TensorFlow, as published", tensorflow.get("tensorflow"), OTHER, "s", OTHER),
              ("TensorFlow, without the races", tensorflow.get("race_free"), OTHER, "s", "white"))  # fmt: skip
    rows, handles = np.arange(1, 11), []
    for label, values, colour, marker, face in series:
        if values:
            handles += axes.plot(rows, np.maximum(values, LEAST), marker, color=colour, markerfacecolor=face, markersize=7, label=label)
    axes.set_yscale("log")
    axes.set_ylim(1e-13, 1)
    axes.set_yticks([10.0**power for power in (-9, -7, -5, -3, -1)], ["1e−9", "1e−7", "1e−5", "0.001", "0.1"])
    axes.minorticks_off()
    axes.set_xticks(rows)
    axes.set(xlabel="row of the published table", ylabel="relative difference, log scale")
    axes.grid(color=LIGHT)
    axes.legend(handles=handles, loc="lower left", frameon=True, framealpha=1, edgecolor=LIGHT)
    words = []
    if theano:
        words.append(f"Theano's: {theano['agree']} of 10 rows agree, to the rounding of float32")
    if tensorflow:
        apart = tensorflow["tensorflow"]
        words.append(f"TensorFlow's run raced: rows are {min(apart):.1%} to {max(apart):.1%} off".replace("%", " %"))
    axes.set_title("\n".join(["Do the tables of 2017 come out today?", *words]))


# Each panel, and the parts of which it shows what there is.
PANELS: Sequence[tuple[Callable[[Axes, Drawn], None], Sequence[str]]] = (
    (_again, ("unseeded", "recipe_2017", "repeatable")),
    (_thirty, ("thirty",)),
    (_neurons, ("neurons",)),
    (_tables, ("theano_2017", "tensorflow_2017")),
)
