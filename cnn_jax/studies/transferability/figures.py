"""The figures of the study: accuracy against layers taken, and what they cost on similar and on dissimilar halves."""

import math
from collections.abc import Callable, Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cnn_jax.report import plots
from cnn_jax.report.cells import number
from cnn_jax.report.plots import COLOURS, GREY, STYLE
from cnn_jax.report.tables import spread
from cnn_jax.studies.transferability.cells import BASE, SOURCE, Cell, error_above_base
from cnn_jax.train.record import Run

FIG2 = (
    "Accuracy on B against the number of layers taken, after Fig. 2 of Yosinski et al. 2014: a line for the mean over "
    "seeds, a dot for every seed. Dashed: the network of B alone, its band one sample standard deviation."
)
FIG3 = (
    "What layers that are kept cost against the network of B alone, in points of accuracy, after Fig. 3: those of A "
    "where A and B are similar or dissimilar, and those that are as they were drawn. Lines are means over seeds, bars "
    "one sample standard deviation."
)
STYLES = {"BnB": ("#56B4E9", "-"), "BnB+": ("#56B4E9", "--"), "AnB": ("#D55E00", "-"), "AnB+": ("#D55E00", "--")}
"""Blue is B's own network, red A's, as in the paper; dashed is fine-tuned."""


def accuracy(run: Run) -> float:
    """On the test images; NaN where the run is not finished."""
    return 1 - number((run.result or {}).get("test_error"))


def accuracy_against_layers(groups: Mapping[Cell, Sequence[Run]], cuts: Mapping[str, int]) -> Figure:
    """Fig. 2: BnB, BnB+, AnB, AnB+ on similar halves, or on the only ones there are."""
    halves = next((cell.halves for cell in groups if cell.kind == BASE), "")
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        figure = Figure(figsize=(6.4, 4), layout="constrained")
        axes = figure.subplots()
        base = spread([accuracy(run) for run in groups.get(Cell(halves, BASE, ""), [])])
        if base["mean"] is not None:
            axes.axhline(base["mean"], color="black", linewidth=1, linestyle=(0, (4, 3)), label="B alone (base)")
            low, high = (base["mean"] + sign * (base["sd"] or 0) for sign in (-1, 1))
            axes.axhspan(low, high, color=GREY, alpha=0.15, linewidth=0)
        for index, (kind, (colour, dashes)) in enumerate(STYLES.items()):
            cells = {cut: groups.get(Cell(halves, kind, cut), []) for cut in cuts}
            plot_line(axes, cells, cuts, accuracy, (colour, dashes, kind), shift=0.06 * (index - 1.5))
        style_axes(axes, cuts, "accuracy on B")
        figure.suptitle(plots.title(members for cell, members in groups.items() if cell.kind != SOURCE), fontsize=10)
    return figure


def loss_against_layers(groups: Mapping[Cell, Sequence[Run]], cuts: Mapping[str, int]) -> Figure:
    """Fig. 3: AnB on similar and on dissimilar halves, and random layers, each less the network of B alone."""
    above = error_above_base(groups)
    lines = (("similar", "AnB", COLOURS[2]), ("dissimilar", "AnB", COLOURS[3]), ("similar", "random", GREY))
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        figure = Figure(figsize=(6.4, 4), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color="black", linewidth=1, linestyle=(0, (4, 3)), label="B alone (base)")
        for index, (halves, kind, colour) in enumerate(lines):
            cells = {cut: groups.get(Cell(halves, kind, cut), []) for cut in cuts}
            name = "random layers" if kind == "random" else f"layers of A, {halves}"
            plot_line(
                axes, cells, cuts, lambda run: -above(run), (colour, "-", name), shift=0.06 * (index - 1), dots=False
            )
        style_axes(axes, cuts, "accuracy on B less that of B alone")
        figure.suptitle(plots.title(members for cell, members in groups.items() if cell.kind != SOURCE), fontsize=10)
    return figure


def plot_line(
    axes: Axes,
    cells: Mapping[str, Sequence[Run]],
    cuts: Mapping[str, int],
    metric: Callable[[Run], float],
    style: tuple[str, str, str],
    shift: float,
    dots: bool = True,
) -> None:
    """The mean of each cut, with a dot a seed or a bar of one deviation, a little to the side of the others'."""
    colour, dashes, name = style
    points = []
    for cut, runs in cells.items():
        values = [value for value in map(metric, runs) if math.isfinite(value)]
        place, found = cuts[cut] + shift, spread(values)
        if found["mean"] is None:
            continue
        points.append((place, found["mean"]))
        if dots:
            axes.plot([place] * len(values), values, "o", color=colour, markersize=3, alpha=0.5, label="_seeds")
        elif found["sd"] is not None:
            axes.errorbar(place, found["mean"], found["sd"], color=colour, elinewidth=0.8, capsize=2)
    if points:
        axes.plot(*zip(*points, strict=True), dashes, color=colour, linewidth=1.4, marker="o", markersize=4, label=name)


def style_axes(axes: Axes, cuts: Mapping[str, int], label: str) -> None:
    axes.set_xticks(list(cuts.values()), [f"{count}\n{cut}" for cut, count in cuts.items()])
    axes.set(xlabel="layers taken, and the endpoint after which the network is cut", ylabel=label)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
