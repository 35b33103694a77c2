"""The figures of a study of one factor: error against iterations by value, and final errors with every seed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cnn_jax.report.cells import common_headline, number, state
from cnn_jax.report.curves import SPLITS, aggregate_seeds, rate_changes, steps_per_epoch
from cnn_jax.report.plots import COLOURS, GREY, STYLE, style_iteration_axis, style_value_axis
from cnn_jax.report.tables import mean_and_deviation
from cnn_jax.report.wording import TITLES
from cnn_jax.train.record import Run

CURVES = (
    "Error against iterations: mean over seeds with a band from the lowest to the highest seed; runs that failed or "
    "are unfinished are dotted. Training error is here the running one, over augmented batches since the point before. "
    "Vertical lines: changes of the learning rate."
)
FINAL_ERRORS = (
    "Final errors: a bar for the mean over seeds, a dot for every seed. Training error is here exact, over the whole "
    "training split without augmentation."
)


def curves(cells: Mapping[str, Sequence[Run]], heading: str) -> Figure:
    """Running training (left) and test headline (right) against iterations, a colour a cell."""
    runs = [run for members in cells.values() for run in members]
    headline = common_headline(runs)
    last = max((number(line.get("step")) for run in runs for line in run.metrics), default=1.0)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.6), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, split in zip(panels, SPLITS, strict=True):
            for index, (name, members) in enumerate(cells.items()):
                _cell_curves(axes, members, headline.name(split), COLOURS[index % len(COLOURS)], name)
            for step in rate_changes(runs):
                axes.axvline(step, color=GREY, linewidth=0.6, linestyle=(0, (4, 3)), zorder=0)
            style_iteration_axis(axes, last, steps_per_epoch(runs))
            axes.set_title(f"{TITLES[split]} {headline.title}")
            style_value_axis(axes, headline)
        handles, names = panels[1].get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4), frameon=False)
        figure.suptitle(heading, fontsize=10)
    return figure


def _cell_curves(axes: Axes, runs: Sequence[Run], metric: str, colour: str, name: str) -> None:
    finished = [run for run in runs if state(run) == "finished"]
    points = aggregate_seeds(finished, metric)
    if points:
        steps, mean, low, high = (list(column) for column in zip(*points, strict=True))
        axes.plot(steps, mean, color=colour, linewidth=1.4, label=name, marker="o" if len(steps) == 1 else "none")
        if len(finished) > 1:
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    for run in runs:
        points = aggregate_seeds([run], metric) if state(run) != "finished" else []
        if points:
            style: dict[str, Any] = {"linestyle": ":", "linewidth": 0.9, "label": f"{name} ({state(run)})"}
            axes.plot([point[0] for point in points], [point[1] for point in points], color=colour, **style)


def final_errors(cells: Mapping[str, Sequence[Run]], heading: str) -> Figure:
    """Final training (left) and test headline (right) of each cell: the mean a bar, every seed a dot."""
    headline = common_headline(run for members in cells.values() for run in members)
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        figure = Figure(figsize=(7.5, 1.2 + 0.28 * max(len(cells), 3)), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, split in zip(panels, SPLITS, strict=True):
            for index, members in enumerate(cells.values()):
                _final_row(axes, members, headline.name(split), index)
            axes.set_yticks(range(len(cells)), list(cells))
            axes.set_title(f"final {TITLES[split]} {headline.title}")
            if headline.unit == "%":
                axes.xaxis.set_major_formatter(PercentFormatter(1.0))
            axes.set_xlim(left=0)
            axes.grid(axis="x", color="#e4e4e4", linewidth=0.5)
            axes.set_axisbelow(True)
        panels[0].set_ylim(len(cells) - 0.4, -0.6)
        figure.suptitle(heading, fontsize=10)
    return figure


def _final_row(axes: Axes, runs: Sequence[Run], metric: str, index: int) -> None:
    errors = [number(run.result.get(metric)) for run in runs if run.result is not None]
    errors = [error for error in errors if math.isfinite(error)]
    if not errors:
        axes.annotate("no finished run", (0, index), color=GREY, va="center")
        return
    mean, _ = mean_and_deviation(errors)
    colour = COLOURS[index % len(COLOURS)]
    axes.plot([mean, mean], [index - 0.3, index + 0.3], color=colour, linewidth=2.2)
    axes.plot(errors, [index] * len(errors), "o", color=colour, markersize=4, alpha=0.6, label="_seeds")
