"""Other people's trained networks by depth: what they err on the test split, beside the paper's numbers."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_jax.report.cells import KINDS, family
from cnn_jax.report.plots import KIND_COLOURS, STYLE, plot_paper_points, save, style_depth_axis
from cnn_jax.report.tables import paper_test_error
from cnn_jax.train.record import write_atomically

COLUMNS = ("model", "source", "dataset", "examples", "parameters", "test_error", "paper")
MARKERS = "osv^"


class Evaluated(NamedTuple):
    """A network's error on the test split of `dataset`, a fraction of `examples`."""

    model: str
    source: str
    dataset: str
    examples: int
    parameters: int
    test_error: float

    @property
    def paper(self) -> float | None:
        return paper_test_error(self.dataset, *family(self.model))


def write(evaluated: Sequence[Evaluated], workdir: str | os.PathLike) -> str:
    """Writes published_depth.csv and the figure published_depth (PNG, SVG); returns the table as Markdown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(one, column) for column in COLUMNS] for one in evaluated)
    write_atomically(Path(workdir) / "published_depth.csv", text.getvalue())
    save(figure(evaluated), Path(workdir) / "published_depth")
    lines = ["| network | source | parameters | test error % | the paper |", "|---|---|---|---|---|"]
    for one in evaluated:
        paper = "–" if one.paper is None else f"{100 * one.paper:.2f}"
        lines.append(f"| {one.model} | {one.source} | {one.parameters:,} | {100 * one.test_error:.2f} | {paper} |")
    return "\n".join(lines)


def figure(evaluated: Sequence[Evaluated]) -> Figure:
    """Test error in percent against depth: a line for the plain and the residual nets of each source."""
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False}):
        page = Figure(figsize=(4.2, 3.4), layout="constrained")
        axes = page.subplots()
        for marker, source in zip(MARKERS, sorted({one.source for one in evaluated}), strict=False):
            for kind in KINDS:
                plot_line(axes, [one for one in evaluated if one.source == source], kind, f"{kind}, {source}", marker)
        depths = sorted({depth for one in evaluated if (depth := family(one.model)[1]) is not None})
        for name in {one.dataset for one in evaluated}:
            plot_paper_points(axes, name, depths)
        style_depth_axis(axes, depths)
        axes.set_ylabel("test error (%)")
        if axes.has_data():
            axes.legend(frameon=False)
    return page


def plot_line(axes: Axes, evaluated: Sequence[Evaluated], kind: str, label: str, marker: str) -> None:
    points = sorted(
        (family(one.model)[1] or 0, 100 * one.test_error) for one in evaluated if family(one.model)[0] == kind
    )
    if points:
        axes.plot(*zip(*points, strict=True), marker=marker, color=KIND_COLOURS[kind], markersize=4, label=label)
