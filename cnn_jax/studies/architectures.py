"""Networks beside each other, trained under one budget: error, size, cost and time."""

import math
import os
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, PercentFormatter

from cnn_jax.report import page
from cnn_jax.report.cells import AXES, number, seed
from cnn_jax.report.plots import COLOURS, STYLE, title
from cnn_jax.report.tables import mean_and_deviation, percent
from cnn_jax.train.record import Run, read_runs

SETTINGS = ("stem", "image_size", "width")
NUMBERS = ("parameters", "macs", "train_error", "test_error", "best_test_error", "seconds")


HEADER = ("network", "stem", "width", "seeds", "parameters", "MACs", "training %", "test %", "seconds")
NOTE = "Mean ± sample standard deviation over seeds; multiply-accumulates are of one image, seconds of one run."
CAPTION = (
    "Left, final test error against multiply-accumulates, mean over seeds with bars of one sample standard deviation, "
    "the area in proportion to the parameters. Right, test error after each epoch."
)


def write(workdir: str | os.PathLike) -> str:
    """Rebuilds the page of the study, see `page.write`, from the run folders in `workdir` alone.

    Raises RecordError where the folder holds no run.
    """
    return page.write(study(read_runs(workdir)), workdir)


def study(runs: Sequence[Run]) -> page.Study:
    """Every network's error beside its size and its cost, from the fewest to the most multiply-accumulates."""
    finished = [run for run in runs if run.result is not None]
    rows = summary(finished)
    ordered = dict.fromkeys([line["model"] for line in rows] + sorted(map(name, runs)))
    cells = {model: sorted((run for run in runs if name(run) == model), key=seed) for model in ordered}
    return page.Study(
        title="Architectures",
        source="Each network by its own recipe, for as many epochs as the others.",
        cells=cells,
        columns=("model", "seed", *SETTINGS, *NUMBERS),
        results=[row(run) for members in cells.values() for run in members if run.result is not None],
        tables=[page.Table("Summary", HEADER, table(rows), NOTE)],
        figures={"architectures": (figure(finished, rows), CAPTION)},
        verdicts=[],
        axes=(*AXES, *(f"model.{field}" for field in SETTINGS)),
    )


def name(run: Run) -> str:
    return str(run.config["model"]["name"])


def row(run: Run) -> dict[str, Any]:
    """One line of results.csv; errors are fractions."""
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


def table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The summary as text, errors in percent, mean and standard deviation over seeds."""
    return [
        [
            *(line["model"], str(line["stem"]), str(line["width"] or "–"), str(line["seeds"])),
            *(f"{line['parameters']:,.0f}", f"{line['macs'] / 1e6:,.2f} M"),
            *(percent(line["train_error"]), percent(line["test_error"]), f"{line['seconds']:.0f}"),
        ]
        for line in rows
    ]


def figure(runs: Sequence[Run], rows: Sequence[dict[str, Any]]) -> Figure:
    """Left, test error against multiply-accumulates, areas as the parameters; right, test error after each epoch."""
    with matplotlib.rc_context(STYLE):
        cells = [[run for run in runs if name(run) == line["model"]] for line in rows]
        canvas = Figure(figsize=(8, 3.6), layout="constrained")
        left, right = canvas.subplots(1, 2)
        colours = {line["model"]: COLOURS[index % len(COLOURS)] for index, line in enumerate(rows)}
        cost(left, rows, colours)
        for index, line in enumerate(rows):
            dashes = "-" if index < len(COLOURS) else "--"
            curve(right, cells[index], {"color": colours[line["model"]], "linestyle": dashes, "label": line["model"]})
        right.set(xlabel="epoch", ylabel="test error", title="after each epoch, mean over seeds")
        for axes in (left, right):
            axes.set_yscale("symlog", linthresh=0.01)  # an error can be 0
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_locator(FixedLocator([0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.spines.top.set_visible(False)
        right.legend(frameon=False, ncols=2)
        canvas.suptitle(title(cells), fontsize=10)
    return canvas


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
