"""Which class is taken for which, as a figure."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from cnn_jax.report.plots import KIND_COLOURS, STYLE

READABLE = 120
"""Classes whose names can stand beside a matrix; of more the pairs that are confused most are drawn."""
COUNTED = 24
"""Classes up to which the cells of a matrix have their numbers."""
INCHES = 7.0
"""Of a matrix of many classes, a side."""
LETTERS = 24


def shorten(name: str) -> str:
    """The first of a class's names, "tench" of "tench, Tinca tinca", without its middle where it is long."""
    first = name.partition(",")[0]
    return first if len(first) <= LETTERS else f"{first[: LETTERS // 2]}…{first[1 - LETTERS // 2 :]}"


def draw_matrix(confused: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """The matrix (K, K), its rows the true classes: the larger its share of its row, the darker is a cell.

    Args:
      confused: images of class i, the row, that were said to be of class j.
      names: of the K classes, of which there are at most READABLE.
      title: of the figure.
    """
    classes = len(names)
    side = min(INCHES, 1.2 + 0.34 * classes)
    letters = min(7.5, 62 * side / INCHES / classes * 6)  # points; a row is `side / classes` inches high
    totals = np.maximum(confused.sum(axis=1, keepdims=True), 1)
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(side + 1.6, side + 1.4), layout="constrained")
        axes = page.subplots()
        shades = PowerNorm(0.5, vmin=0, vmax=1)  # or what is rare could not be told from nothing
        axes.imshow(confused / totals, cmap="Blues", norm=shades, interpolation="nearest")
        axes.set_xticks(range(classes), map(shorten, names), rotation=90, fontsize=letters)
        axes.set_yticks(range(classes), map(shorten, names), fontsize=letters)
        axes.tick_params(length=0, pad=2)
        axes.set(xlabel="class said", ylabel="true class")
        if classes <= COUNTED:
            write_counts(axes, confused, totals)
        page.suptitle(title, fontsize=8)
    return page


def write_counts(axes: Axes, confused: np.ndarray, totals: np.ndarray) -> None:
    """The number of images in each cell that has any, white where the cell is dark."""
    for row, column in np.argwhere(confused):
        count = confused[row, column]
        dark = count > 0.3 * totals[row, 0]
        axes.text(column, row, f"{count:,}", ha="center", va="center", size=6, color="white" if dark else "#222222")


def draw_pairs(pairs: Sequence[tuple[str, str, int, int]], title: str) -> Figure:
    """A bar a pair `(true class, class said, images, images of the true class)`, as long as the share of the class."""
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(6.5, 0.9 + 0.19 * max(len(pairs), 3)), layout="constrained")
        axes = page.subplots()
        places = range(len(pairs))
        shares = [100 * images / total for _, _, images, total in pairs]
        axes.barh(places, shares, color=KIND_COLOURS["plain"], height=0.7)
        axes.set_yticks(places, [f"{shorten(true)}, said {shorten(said)}" for true, said, _, _ in pairs], fontsize=6.5)
        for place, (share, (_, _, images, total)) in enumerate(zip(shares, pairs, strict=True)):
            axes.text(share, place, f" {images:,} of {total:,}", va="center", size=6)
        axes.set_ylim(len(pairs) - 0.4, -0.6)
        axes.margins(x=0.15)
        axes.set_xlabel("share of the true class's images (%)")
        axes.spines["top"].set_visible(False)
        page.suptitle(title, fontsize=8)
    return page
