"""The two figures of a degradation study: error against iterations (He et al. 2016, Fig. 6) and against depth."""

import math
import os
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator
from matplotlib.transforms import ScaledTranslation

from cnn_jax.report.cells import KINDS, cell, common_headline, dataset, group, label
from cnn_jax.report.curves import (
    SPLITS,
    Curve,
    published_curves,
    rate_changes,
    read_overlay,
    steps_per_epoch,
    study_curves,
)
from cnn_jax.report.plots import (
    COLOURS,
    GREY,
    KIND_COLOURS,
    STYLE,
    plot_paper_points,
    style_depth_axis,
    style_iteration_axis,
    title,
)
from cnn_jax.report.tables import results, summary
from cnn_jax.report.wording import TITLES
from cnn_jax.train.record import Run
from cnn_jax.train.task import ERROR, Headline

PAPER_LIMIT = 20.0  # percent, the top of the paper's Fig. 6


def fig6(runs: Sequence[Run], overlay: str | os.PathLike | None = None) -> Figure:
    """Headline against iterations, a panel a kind: training dashed, test solid, mean over seeds, min-max band.

    `overlay` names a CSV file of published curves, drawn thin; raises RecordError where it cannot be used. Failed and
    unfinished runs are drawn as far as they got and labelled so.
    """
    points = read_overlay(overlay) if overlay is not None else []
    with matplotlib.rc_context(STYLE):
        curves, headline = study_curves(runs), common_headline(runs)
        per_epoch = steps_per_epoch(runs)
        last = max((curve.steps[-1] for curve in curves), default=1.0)
        kinds = list(dict.fromkeys(kind for kind, _ in group(runs)))
        published = published_curves(points, per_epoch, last) if per_epoch and headline == ERROR else []
        top = axis_limit(curves, headline)
        figure = Figure(figsize=(3.75 * max(len(kinds), 1.2), 3.5), layout="constrained")
        panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            shown = [curve for curve in curves + published if curve.kind == kind]
            _panel(axes, shown, _colours(runs), headline, top)
            for step in rate_changes([run for run in runs if cell(run)[0] == kind]):
                axes.axvline(step, color=GREY, linewidth=0.6, linestyle=(0, (4, 3)), zorder=0)
            style_iteration_axis(axes, last, per_epoch)
            axes.set_title({"plain": "plain nets", "residual": "residual nets"}.get(kind, kind))
        panels[0].set_ylabel(headline.axis)
        figure.suptitle(title(group(runs).values()), fontsize=10)
        _style_legend(figure, headline, bool(published))
    return figure


def axis_limit(curves: Sequence[Curve], headline: Headline) -> float:
    """The top of the axis: of percent the paper's 20, or more where the last quarter needs it."""
    finished = [curve for curve in curves if curve.state == "finished"]
    late = [error for curve in finished or curves for error in curve.high[3 * len(curve.high) // 4 :]]
    worst = headline.scale * max(late, default=0.0)
    if headline.unit != "%":
        return 1.06 * worst or 1.0
    return PAPER_LIMIT if worst <= PAPER_LIMIT else min(100.0, 10 * math.ceil(1.06 * worst / 10))


def _colours(runs: Sequence[Run]) -> dict[int | None, str]:
    depths = sorted({depth for _, depth in map(cell, runs)}, key=lambda depth: depth or 0)
    return {depth: COLOURS[i % len(COLOURS)] for i, depth in enumerate(depths)}


def _panel(axes: Axes, curves: Sequence[Curve], colours: dict[int | None, str], headline: Headline, top: float) -> None:
    """Draws the curves of one kind; the first curve of a cell and state brings its legend entry."""
    handles: dict[str, Line2D] = {}
    tested = headline.name("test")
    for curve in curves:
        colour = colours.get(curve.depth, GREY)
        width = {"finished": 1.5, "published": 0.5}.get(curve.state, 0.9) * (1 if curve.metric == tested else 0.7)
        dashes = (0, (3, 1.5)) if curve.metric != tested else "-"
        alpha = 0.7 if curve.state == "published" else 1.0
        scaled = [headline.scale * value for value in curve.mean]
        marker = "o" if len(scaled) == 1 else "none"
        zorder = {"published": 1.0, "finished": 3.0}.get(curve.state, 2.0)
        name = label(curve.kind, curve.depth)
        if curve.state in ("failed", "unfinished"):
            name += f" ({curve.state})"
        (line,) = axes.plot(curve.steps, scaled, color=colour, linewidth=width, linestyle=dashes, alpha=alpha)
        line.set(marker=marker, markersize=3, zorder=zorder, label=f"{curve.state} {name} {curve.metric}")
        if curve.seeds > 1:
            low, high = ([headline.scale * value for value in side] for side in (curve.low, curve.high))
            axes.fill_between(curve.steps, low, high, color=colour, alpha=0.15, linewidth=0, zorder=zorder - 1)
        if curve.state == "failed" and curve.metric == tested:
            # A failed run may end far above the axis: its cross stays visible at the top.
            height = min(scaled[-1], top)
            axes.plot(curve.steps[-1:], [height], "x", color=colour, markersize=5, clip_on=False, zorder=4)
        if curve.state != "published":
            handles.setdefault(name, Line2D([], [], color=colour, linewidth=1.8 if curve.state == "finished" else 0.9))
    axes.set_ylim(0, top)
    if headline.unit == "%":
        axes.yaxis.set_major_locator(MultipleLocator(5 if top <= PAPER_LIMIT else 10))
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)
    if handles:
        _legend(axes, handles, [c for c in curves if c.state != "published"], top / headline.scale)
    else:
        axes.text(0.5, 0.5, "nothing measured yet", transform=axes.transAxes, ha="center", color=GREY)


def _legend(axes: Axes, handles: dict[str, Line2D], curves: Sequence[Curve], top: float) -> None:
    """Puts the legend in the corner that holds the fewest points of the curves."""
    last = max(curve.steps[-1] for curve in curves)
    points = [
        (step / last, error / top)
        for curve in curves
        for errors in (curve.mean, curve.low, curve.high)
        for step, error in zip(curve.steps, errors, strict=True)
    ]
    height = 0.065 * len(handles) + 0.08
    corners: dict[Any, tuple[float, float, float, float]] = {
        "upper right": (0.55, 1.0, 1 - height, 1.0),
        "lower left": (0.0, 0.45, 0.0, height),
        "center right": (0.55, 1.0, 0.5 - height / 2, 0.5 + height / 2),
        "lower right": (0.55, 1.0, 0.0, height),
    }
    crowd = {
        name: sum(left <= x <= right and low <= y <= high for x, y in points)
        for name, (left, right, low, high) in corners.items()
    }
    where = min(crowd, key=lambda name: crowd[name])
    frame = {"edgecolor": "#dddddd", "framealpha": 0.85, "fancybox": False, "borderpad": 0.5}
    axes.legend(handles.values(), handles.keys(), loc=where, handlelength=1.6, **frame).set_zorder(5)


def _style_legend(figure: Figure, headline: Headline, published: bool) -> None:
    styles: list[tuple[str, float, Any]] = [
        (f"test {headline.title}", 1.8, "-"),
        (f"training {headline.title}", 1.1, (0, (3, 1.5))),
    ]
    if published:
        styles.append(("published", 0.5, "-"))
    lines = [Line2D([], [], color="#333333", linewidth=width, linestyle=dashes) for _, width, dashes in styles]
    figure.legend(lines, [name for name, _, _ in styles], loc="outside lower center", ncols=3, frameon=False)


def error_against_depth(runs: Sequence[Run]) -> Figure:
    """Final training (left) and test headline (right) against depth, plain and residual.

    Mean over seeds with bars of one sample standard deviation; every seed a dot; on CIFAR-10 the paper's test errors.
    """
    rows = [row for row in results(runs) if row["depth"] is not None]
    datasets, headline = {dataset(run) for run in runs}, common_headline(runs)
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        figure = Figure(figsize=(7.5, 3.2), layout="constrained")
        panels = figure.subplots(1, 2, squeeze=False)[0]
        for axes, split in zip(panels, SPLITS, strict=True):
            for kind in KINDS:
                _depth_curve(figure, axes, [row for row in rows if row["kind"] == kind], headline, split)
            if split == "test" and headline == ERROR and len(datasets) == 1:
                plot_paper_points(axes, next(iter(datasets)), sorted({row["depth"] for row in rows}))
            style_depth_axis(axes, sorted({row["depth"] for row in rows}))
            axes.set_title(f"final {TITLES[split]} {headline.title}")
            if axes.has_data():
                axes.legend(frameon=False, loc="best")
        panels[0].set_ylabel(headline.axis)
        figure.suptitle(title(group(runs).values()), fontsize=10)
    return figure


def _depth_curve(figure: Figure, axes: Axes, rows: Sequence[dict[str, Any]], headline: Headline, split: str) -> None:
    metric, scale = headline.name(split), headline.scale
    cells = [row for row in summary(rows, (metric,)) if row[metric]["mean"] is not None]
    if not cells:
        return
    kind = cells[0]["kind"]
    colour = KIND_COLOURS[kind]
    dots = [(row["depth"], scale * row[metric]) for row in rows if row[metric] is not None]
    # Beside the mean, where its marker and bar do not cover them.
    beside = axes.transData + ScaledTranslation(5 / 72, 0, figure.dpi_scale_trans)
    axes.plot(*zip(*dots, strict=True), ".", color=colour, alpha=0.5, markersize=4, transform=beside, label="_seeds")
    depths = [row["depth"] for row in cells]
    means = [scale * row[metric]["mean"] for row in cells]
    bars = [scale * (row[metric]["sd"] or 0.0) for row in cells]
    spread = " (mean ± sd)" if any(bars) else ""
    style: dict[str, Any] = {
        "fmt": "o-" if kind == "residual" else "s-",
        "markersize": 4,
        "linewidth": 1.4,
        "capsize": 2.5,
    }
    axes.errorbar(depths, means, yerr=bars, color=colour, elinewidth=1, label=f"{kind}{spread}", **style)
