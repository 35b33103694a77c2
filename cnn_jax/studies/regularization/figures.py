"""The figures of a regularisation study, from its cells."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cnn_jax.report.plots import COLOURS, STYLE
from cnn_jax.studies.regularization.cells import (
    Cell,
    count_examples,
    example_counts,
    method_names,
    metric_values,
    number,
)

MARKERS = "osD^vP*X<>"


def line_style(study: Sequence[Cell], method: str) -> dict[str, Any]:
    """The colour, marker and dashes of a method, the same in every figure of the study."""
    index = method_names(study).index(method)
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": "-" if index < len(COLOURS) else "--",
        "label": method,
        "markersize": 3.5,
        "linewidth": 1.2,
    }


def make_panels(columns: int, height: float = 3.4) -> tuple[Figure, Sequence[Axes]]:
    """A figure of so many panels side by side."""
    page = Figure(figsize=(max(3.6 * columns, 5), height), layout="constrained")
    panels = page.subplots(1, columns, squeeze=False)[0]
    for axes in panels:
        axes.spines.top.set_visible(False)
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
        axes.set_axisbelow(True)
    return page, panels


def legend(page: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        page.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False)


def error_against_examples(study: Sequence[Cell], chosen: Sequence[Cell]) -> Figure:
    """Training (left) and test error (right) against the number of training examples, each method at its strength."""
    with matplotlib.rc_context(STYLE):
        page, panels = make_panels(2)
        for axes, metric in zip(panels, ("train_error", "test_error"), strict=True):
            for method in method_names(study):
                cells = [cell for cell in chosen if cell.method == method]
                plot_error_bars(
                    axes, [count_examples(cell) for cell in cells], cells, metric, line_style(study, method)
                )
            axes.set_xscale("log")
            counts = sorted({count_examples(cell) for cell in study})
            axes.set_xticks(counts, [f"{count:,}" for count in counts])
            axes.minorticks_off()
            axes.set(
                xlabel="training examples", title=f"{metric.partition('_')[0]}ing error".replace("testing", "test")
            )
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            axes.set_ylim(bottom=0)
        legend(page, panels[0])
    return page


def error_against_strength(study: Sequence[Cell]) -> Figure:
    """Test error against strength, a panel for each number of examples; the line across is no regulariser."""
    with matplotlib.rc_context(STYLE):
        counts = example_counts(study)
        page, panels = make_panels(len(counts))
        for axes, count in zip(panels, counts, strict=True):
            for method in method_names(study):
                cells = [cell for cell in study if (cell.method, cell.examples) == (method, count)]
                if method == "none" and cells:
                    errors = metric_values(cells[0], "test_error")
                    if errors:
                        axes.axhspan(min(errors), max(errors), color="#bbbbbb", alpha=0.3, linewidth=0)
                        axes.axhline(float(np.mean(errors)), color="#555555", linewidth=1, label="none")
                    continue
                cells = sorted((cell for cell in cells if cell.strength), key=lambda cell: cell.strength or 0)
                strengths = [cell.strength or 0 for cell in cells]
                plot_error_bars(axes, strengths, cells, "test_error", line_style(study, method))
            axes.set(xscale="log", xlabel="strength", title=f"{format_example_count(study, count)} training examples")
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            axes.set_ylim(bottom=0)
        panels[0].set_ylabel("test error")
        legend(page, panels[0])
    return page


def format_example_count(study: Sequence[Cell], count: int) -> str:
    """The number of examples of the cells with this setting, 0 being all there are."""
    return f"{max((count_examples(cell) for cell in study if cell.examples == count), default=0):,}"


def plot_error_bars(axes: Axes, x: Sequence[float], cells: Sequence[Cell], metric: str, style: dict[str, Any]) -> None:
    """Means over seeds, with bars of one sample standard deviation."""
    points = [(at, metric_values(cell, metric)) for at, cell in zip(x, cells, strict=True)]
    points = [(at, own) for at, own in points if own]
    if points:
        means = [float(np.mean(own)) for _, own in points]
        deviations = [float(np.std(own, ddof=1)) if len(own) > 1 else 0.0 for _, own in points]
        axes.errorbar([at for at, _ in points], means, deviations, elinewidth=0.8, capsize=2, **style)


def sparsity_against_strength(study: Sequence[Cell]) -> Figure:
    """The weights below 1e-3 (left) and exactly 0 (right) against strength, mean over seeds, most examples."""
    with matplotlib.rc_context(STYLE):
        page, panels = make_panels(2)
        most = [cell for cell in study if cell.examples == example_counts(study)[-1] and cell.strength]
        for axes, metric, title in zip(panels, ("small", "zero"), ("|w| < 0.001", "w = 0"), strict=True):
            for method in method_names(most):
                cells = [cell for cell in most if cell.method == method]
                plot_error_bars(axes, [cell.strength or 0 for cell in cells], cells, metric, line_style(study, method))
            axes.set(xscale="log", xlabel="strength", title=title, ylim=(-0.02, 1.02))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        panels[0].set_ylabel("weights")
        legend(page, panels[0])
    return page


def sparsity_by_layer(study: Sequence[Cell], chosen: Sequence[Cell]) -> Figure:
    """The weights of each layer that are below 1e-3 (left) and exactly 0 (right), mean over seeds, most examples."""
    with matplotlib.rc_context(STYLE):
        page, panels = make_panels(2, 4.2)
        most = [cell for cell in chosen if cell.examples == example_counts(study)[-1]]
        for axes, metric, title in zip(panels, ("small", "zero"), ("|w| < 0.001", "w = 0"), strict=True):
            names: list[str] = []
            for cell in most:
                layers = [
                    [number(layer[metric]) for layer in run.measured["layers"]] for run in cell.runs if run.measured
                ]
                if layers:
                    names = [layer["name"] for run in cell.runs if run.measured for layer in run.measured["layers"]]
                    names = list(dict.fromkeys(names))
                    order = sorted(range(len(names)), key=lambda index: names[index] == "fc")  # it is named first
                    names = [names[index] for index in order]
                    axes.plot(np.mean(layers, axis=0)[order], **line_style(study, cell.method))
            if names:
                axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
            axes.set(title=title, ylim=(-0.02, 1.02))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        panels[0].set_ylabel("weights of the layer")
        legend(page, panels[0])
    return page


def weight_histograms(study: Sequence[Cell], chosen: Sequence[Cell]) -> Figure:
    """How many weights have which magnitude, both axes logarithmic, mean over seeds; exact zeros stand at the left."""
    with matplotlib.rc_context(STYLE):
        page, (axes,) = make_panels(1, 3.8)
        for cell in (cell for cell in chosen if cell.examples == example_counts(study)[-1]):
            measured = [run.measured["histogram"] for run in cell.runs if run.measured]
            if not measured:
                continue
            style = line_style(study, cell.method)
            exponents = measured[0]["exponents"]
            counts = np.mean([one["counts"] for one in measured], axis=0)
            zeros = float(np.mean([one["zeros"] for one in measured]))
            axes.stairs(counts, 10.0 ** np.array(exponents), color=style["color"], label=cell.method, linewidth=1.2)
            if zeros:
                axes.plot(10.0 ** (exponents[0] - 0.4), zeros, color=style["color"], marker=style["marker"])
        axes.set(xscale="log", yscale="log", xlabel="|w|", ylabel="weights", ylim=(0.3, None), xlim=(10**-8.8, 10))
        axes.axvline(1e-3, color="#999999", linewidth=0.6, linestyle=":")
        legend(page, axes)
    return page


def error_under_perturbation(study: Sequence[Cell], chosen: Sequence[Cell], which: str, x: str, xlabel: str) -> Figure:
    """Test error after pruning or under noise, a panel for each number of examples; mean over seeds.

    Args:
      study: all cells.
      chosen: those drawn, a method at its strength.
      which: "pruned" or "noise", the list in what was measured.
      x: its field on the horizontal axis.
      xlabel: what to write there.
    """
    with matplotlib.rc_context(STYLE):
        counts = example_counts(study)
        page, panels = make_panels(len(counts))
        for axes, count in zip(panels, counts, strict=True):
            for cell in (cell for cell in chosen if cell.examples == count):
                measured = [run.measured[which] for run in cell.runs if run.measured]
                if measured:
                    errors = np.mean([[line["error"] for line in lines] for lines in measured], axis=0)
                    axes.plot([line[x] for line in measured[0]], errors, **line_style(study, cell.method))
            axes.set(xlabel=xlabel, title=f"{format_example_count(study, count)} training examples", ylim=(0, 1))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        panels[0].set_ylabel("test error")
        legend(page, panels[0])
    return page
