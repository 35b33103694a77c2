"""What figures share: colours, style, axes, and files that are the same bytes for the same figure."""

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from cnn_jax.report.cells import dataset, state
from cnn_jax.report.tables import paper_test_error
from cnn_jax.train.record import Run, write_atomically
from cnn_jax.train.task import Headline

# Okabe and Ito's colours, told apart by colour-blind readers, in an order close to the colours of the paper's Fig. 6.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#000000", "#0072B2", "#CC79A7")
KIND_COLOURS = {"plain": "#D55E00", "residual": "#0072B2"}
GREY = "#8a8a8a"


STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "axes.spines.right": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7.5,
    "svg.hashsalt": "cnn_jax",  # element ids would otherwise be random, and no two builds alike
    "svg.fonttype": "path",
}


def title(cells: Iterable[Sequence[Run]]) -> str:
    """Dataset, pooling of its images, width and seeds a net, each only where it is the same over all cells."""
    cells = list(cells)
    runs = [run for members in cells for run in members]
    parts = []
    names = {dataset(run) for run in runs}
    if len(names) == 1:
        name = names.pop()
        parts.append({"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "mnist": "MNIST"}.get(name, name))
    pools = {(run.config.get("data") or {}).get("average_pool", 1) for run in runs}
    if len(pools) == 1 and pools != {1}:
        pool = pools.pop()
        parts.append(f"images averaged over {pool}x{pool} pixels")
    widths = {(run.config.get("model") or {}).get("width") for run in runs}
    if len(widths) == 1 and None not in widths:
        parts.append(f"width {widths.pop()}")
    counts = {sum(state(run) == "finished" for run in members) for members in cells}
    if len(counts) == 1 and 0 not in counts:
        count = counts.pop()
        parts.append(f"{count} seed{'' if count == 1 else 's'} a net")
    return ", ".join(parts)


def style_iteration_axis(axes: Axes, last: float, per_epoch: float | None) -> None:
    """Iterations below, in thousands where they are many; epochs above where the metrics tell them."""
    axes.set_xlim(0, last)
    axes.set_xlabel("iteration")
    if last >= 10_000:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step / 1000:g}k" if step else "0"))
    if per_epoch is not None:
        scale: Any = (lambda step: step / per_epoch, lambda epoch: epoch * per_epoch)
        above = axes.secondary_xaxis("top", functions=scale)
        above.set_xlabel("epoch", labelpad=2, color="#666666", fontsize=7)
        above.tick_params(labelsize=6.5, colors="#666666", width=0.5)
    else:
        axes.spines["top"].set_visible(False)


def plot_paper_points(axes: Axes, name: str, depths: Sequence[int]) -> None:
    """The paper's test errors of the residual nets on data set `name`, where it has any."""
    points = [(depth, paper_test_error(name, "residual", depth)) for depth in depths]
    known = [(depth, 100 * error) for depth, error in points if error is not None]
    if known:
        style: dict[str, Any] = {
            "color": GREY,
            "markerfacecolor": "none",
            "markersize": 5,
            "linestyle": "none",
            "zorder": 2,
        }
        axes.plot(*zip(*known, strict=True), marker="D", label="residual, He et al. 2016", **style)


def style_value_axis(axes: Axes, headline: Headline) -> None:
    """A vertical axis of the headline: of fractions from 0 to 100 %, logarithmic from 1 % on, for one can be 0."""
    if headline.unit == "%":
        axes.set_yscale("symlog", linthresh=0.01, linscale=0.4)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_locator(FixedLocator([0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)


def style_depth_axis(axes: Axes, depths: Sequence[int]) -> None:
    """Depths along the horizontal axis, each with its number."""
    if not depths:
        axes.text(0.5, 0.5, "no finished run yet", transform=axes.transAxes, ha="center", color=GREY)
    elif depths[-1] > 8 * depths[0]:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(list(depths)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda depth, _: f"{depth:g}"))
    axes.margins(x=0.12)
    top = axes.get_ylim()[1]
    axes.set_ylim(-0.02 * top, top)  # markers at zero stay whole
    axes.set_xlabel("depth (weighted layers)")
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)


def save(figure: Figure, stem: str | os.PathLike) -> None:
    """Writes `stem`.png (300 dpi) and `stem`.svg atomically, byte for byte the same for the same figure."""
    for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
        data = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            figure.savefig(data, format=suffix, dpi=300, metadata=metadata)
        write_atomically(Path(f"{stem}.{suffix}"), data.getvalue())
