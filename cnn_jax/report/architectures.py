"""Networks beside each other, trained under one budget: error, size, cost and time."""

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, PercentFormatter

from cnn_jax.report.cells import number, seed
from cnn_jax.report.plots import COLOURS, STYLE, save, title
from cnn_jax.report.tables import mean_and_deviation, percent
from cnn_jax.train.record import Run, read_runs, write_atomically

SETTINGS = ("stem", "image_size", "width")
NUMBERS = ("parameters", "macs", "train_error", "test_error", "best_test_error", "seconds")


def write(workdir: str | os.PathLike) -> str:
    """Rebuilds architectures.csv and the figure architectures (PNG, SVG) from the run folders in `workdir` alone.

    Returns the table as text for a terminal. Raises RecordError where the folder holds no run.
    """
    workdir = Path(workdir)
    runs = [run for run in read_runs(workdir) if run.result is not None]
    text = io.StringIO()
    writer = csv.DictWriter(text, ("model", "seed", *SETTINGS, *NUMBERS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(row, sorted(runs, key=lambda run: (name(run), seed(run)))))
    rows = summary(runs)
    save(figure(runs, rows), workdir / "architectures")
    write_atomically(workdir / "architectures.csv", text.getvalue())
    return table(rows)


def name(run: Run) -> str:
    return str(run.config["model"]["name"])


def row(run: Run) -> dict[str, Any]:
    """One line of architectures.csv; errors are fractions."""
    settings = {field: run.config["model"].get(field) for field in SETTINGS}
    return (
        {"model": name(run), "seed": seed(run)} | settings | {field: (run.result or {}).get(field) for field in NUMBERS}
    )


def summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One dict a network, from the fewest to the most multiply-accumulates; errors as {"mean", "sd", "n"}."""
    rows = []
    for model in sorted({name(run) for run in runs}):
        own = [row(run) for run in runs if name(run) == model]
        line: dict[str, Any] = {"model": model, "seeds": len(own)} | {field: own[0][field] for field in SETTINGS}
        line |= {"parameters": number(own[0]["parameters"]), "macs": number(own[0]["macs"])}
        line["seconds"] = sum(number(one["seconds"]) for one in own) / len(own)
        for error in ("train_error", "test_error"):
            values = [number(one[error]) for one in own if math.isfinite(number(one[error]))]
            line[error] = dict(zip(("mean", "sd"), mean_and_deviation(values), strict=True)) | {"n": len(values)}
        rows.append(line)
    return sorted(rows, key=lambda line: line["macs"])


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The summary as Markdown, errors in percent, mean and standard deviation over seeds; seconds are of one run."""
    lines = [
        "| network | stem | width | seeds | parameters | MACs | training error % | test error % | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in rows:
        size = f"{line['parameters']:,.0f} | {line['macs'] / 1e6:,.2f} M"
        errors = f"{percent(line['train_error'])} | {percent(line['test_error'])}"
        lines.append(
            f"| {line['model']} | {line['stem']} | {line['width'] or '–'} | {line['seeds']} | {size} | {errors} "
            f"| {line['seconds']:.0f} |"
        )
    return "\n".join(lines)


def figure(runs: Sequence[Run], rows: Sequence[dict[str, Any]]) -> Figure:
    """Left, test error against multiply-accumulates, areas as the parameters; right, test error after each epoch."""
    with matplotlib.rc_context(STYLE):
        page = Figure(figsize=(8, 3.6), layout="constrained")
        left, right = page.subplots(1, 2)
        colours = {line["model"]: COLOURS[index % len(COLOURS)] for index, line in enumerate(rows)}
        cost(left, rows, colours)
        for index, line in enumerate(rows):
            own, dashes = [run for run in runs if name(run) == line["model"]], "-" if index < len(COLOURS) else "--"
            curve(right, own, {"color": colours[line["model"]], "linestyle": dashes, "label": line["model"]})
        right.set(xlabel="epoch", ylabel="test error", title="after each epoch, mean over seeds")
        for axes in (left, right):
            axes.set_yscale("symlog", linthresh=0.01)  # an error can be 0
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_locator(FixedLocator([0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.spines.top.set_visible(False)
        right.legend(frameon=False, ncols=2)
        page.suptitle(title(runs), fontsize=10)
    return page


def cost(axes: Axes, rows: Sequence[dict[str, Any]], colours: dict[str, str]) -> None:
    largest = max((line["parameters"] for line in rows), default=1)
    for index, line in enumerate(rows):
        error = line["test_error"]
        if error["mean"] is None:
            continue
        colour = colours[line["model"]]
        axes.errorbar(line["macs"], error["mean"], error["sd"], color=colour, elinewidth=0.8)
        axes.scatter(line["macs"], error["mean"], 12 + 500 * line["parameters"] / largest, color=colour, alpha=0.5)
        beside: dict[str, Any] = {"xytext": (4, 6 - 14 * (index % 2)), "textcoords": "offset points", "color": colour}
        axes.annotate(line["model"], (line["macs"], error["mean"]), **beside)
    axes.set(xscale="log", xlabel="multiply-accumulates an image", ylabel="test error", title="area: parameters")


def curve(axes: Axes, runs: Sequence[Run], style: dict[str, Any]) -> None:
    lines = list(zip(*(run.metrics for run in runs), strict=False))
    epochs = [number(points[0]["epoch"]) for points in lines]
    errors = [sum(number(point["test_error"]) for point in points) / len(points) for points in lines]
    axes.plot(epochs, errors, linewidth=1.2, **style)
