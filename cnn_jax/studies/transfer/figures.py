"""The figures of a transfer study, from its cells."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cnn_jax.report.plots import COLOURS, STYLE
from cnn_jax.studies.transfer.cells import Cell, Study, chosen, counts, sizes_shown, values
from cnn_jax.studies.transfer.ways import LINEAR, WAYS

MARKERS = "osD^vP"
DASHES = ("-", "--", ":", "-.")
PLOTTED: dict[str, Any] = {"elinewidth": 0.8, "capsize": 2, "linewidth": 1.2, "markersize": 4}


def error_against_examples(study: Study, sizes: dict[int, int]) -> Figure:
    """Test error against the training examples of a class, a line a way and cut; `sizes` says how many 0 stands for."""
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(6.5, 4.2), layout="constrained")
        axes = page.subplots()
        lines: dict[tuple[str, str], list[Cell]] = {}
        for cell in chosen(study):
            lines.setdefault((cell.way, "" if cell.way == LINEAR else cell.cut), []).append(cell)
        for (way, cut), cells in lines.items():
            told = f"{way} to {cut}" if cut else way
            style = line_style(way, [known for of, known in lines if of == way].index(cut))
            plot_spread(axes, [sizes[cell.examples] for cell in cells], cells, style | {"label": told})
        plot_unrelated(axes, study, sizes)
        ticks = sorted({sizes[count] for count in counts(study.cells)})
        axes.set(xscale="log", xlabel="training examples a class", ylabel="test error", ylim=(0, 1))
        axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
        axes.minorticks_off()
        style_errors(axes)
        axes.legend(frameon=False, loc="upper right")
    return page


def plot_unrelated(axes: Axes, study: Study, sizes: dict[int, int]) -> None:
    """The unrelated network's cells but the linear ones, which have many cuts, in grey."""
    cells = [cell for cell in study.unrelated if cell.way != LINEAR]
    if cells:
        label = f"{cells[0].way}, unrelated network"
        style: dict[str, Any] = {"color": "#8a8a8a", "marker": "x", "linestyle": "--", "label": label}
        plot_spread(axes, [sizes[cell.examples] for cell in cells], cells, style)


def error_against_cut(study: Study, sizes: dict[int, int]) -> Figure:
    """Test error against the endpoint up to which the network is used: of the linear way a line for each number of
    examples, of the ways with a frozen part markers where they were cut, with the most examples."""
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(6.5, 4.2), layout="constrained")
        axes = page.subplots()
        there = counts(study.cells)
        for index, count in enumerate(there):
            cells = [cell for cell in study.cells if (cell.way, cell.examples) == (LINEAR, count)]
            shade = {"color": COLOURS[5], "alpha": 0.35 + 0.65 * (index + 1) / len(there), "marker": MARKERS[index % 6]}
            for variant, size in enumerate(sizes_shown(cells) if count == there[-1] else [0]):
                own = [cell for cell in cells if cell.size == size]
                places = [study.endpoints.index(cell.cut) for cell in own]
                label = f"{LINEAR}, {sizes[count]:,} a class" + (f", {size} px" if size else "")
                plot_spread(axes, places, own, shade | {"label": label, "linestyle": DASHES[variant % len(DASHES)]})
        for way in ("frozen", "partial"):
            cells = [cell for cell in study.cells if (cell.way, cell.examples) == (way, there[-1])]
            cells = [cell for cell in cells if cell.cut in study.endpoints]
            places = [study.endpoints.index(cell.cut) for cell in cells]
            style = line_style(way, 0) | {"linestyle": "none", "markersize": 6}
            plot_spread(axes, places, cells, style | {"label": f"{way}, {sizes[there[-1]]:,} a class"})
        axes.set_xticks(range(len(study.endpoints)), study.endpoints, rotation=90)
        axes.set(xlabel="used up to", ylabel="test error", ylim=(0, 1))
        style_errors(axes)
        axes.legend(frameon=False)
    return page


def line_style(way: str, variant: int) -> dict[str, Any]:
    """The colour and marker of a way, the dashes of its cut, the same in every figure."""
    index = list(WAYS).index(way)
    return {
        "color": COLOURS[(index + 3) % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[variant % len(DASHES)],
    }


def plot_spread(axes: Axes, x: Sequence[float], cells: Sequence[Cell], style: dict[str, Any]) -> None:
    """Mean test errors over seeds, with bars of one sample standard deviation."""
    points = [(at, values(cell, "test_error")) for at, cell in zip(x, cells, strict=True)]
    points = sorted((at, np.mean(own), np.std(own, ddof=1) if len(own) > 1 else 0.0) for at, own in points if own)
    style = PLOTTED | style
    if points:
        at, means, deviations = zip(*points, strict=True)
        axes.errorbar(at, means, deviations, **style)


def style_errors(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.spines["top"].set_visible(False)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)
