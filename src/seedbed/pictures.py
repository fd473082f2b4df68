"""Pictures of one run, drawn from its record."""

from __future__ import annotations

from pathlib import Path

from seedbed.run.record import Record


def learning_curves(record: Record, path: Path) -> None:
    """A PNG with a panel for each metric over the epochs, training and validation in one panel; none without epochs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = record.history()
    if not rows:
        return
    names = [name for name in rows[0] if not name.startswith("val_") and name != "learning_rate"]
    if not names:
        return
    figure = Figure(figsize=(5.2 * len(names), 3.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for label, column in (("training", name), ("validation", f"val_{name}")):
            points = [(epoch + 1, row[column]) for epoch, row in enumerate(rows) if column in row]
            if points:
                axes.plot(*zip(*points, strict=True), label=label, marker="o" if len(points) < 3 else None)
        values = [value for row in rows for column, value in row.items() if column in (name, f"val_{name}")]
        if min(values) > 0 and max(values) > 50 * min(values):
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        if any(f"val_{name}" in row for row in rows):
            axes.legend()
    figure.suptitle(f"{record.name}, master seed {record.seeds['master']}, {record.level}", fontsize=11)
    figure.savefig(path, dpi=110)
