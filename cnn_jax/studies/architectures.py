"""Networks beside each other, trained under one budget: error, size, cost and time."""

import math
import os
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_jax.report import page, tables
from cnn_jax.report.cells import AXES, common_headline, model_name, number, seed
from cnn_jax.report.curves import SPLITS
from cnn_jax.report.plots import COLOURS, STYLE, style_value_axis, title
from cnn_jax.train.record import Run, read_runs
from cnn_jax.train.task import Headline

SETTINGS = ("stem", "image_size", "width")
SIZES = {"macs": "multiply-accumulates an image", "parameters": "parameters"}
NOTE = "Mean ± sample standard deviation over seeds; multiply-accumulates are of one image, seconds of one run."
CAPTION = (
    "Left, final test {title} against multiply-accumulates, mean over seeds, bars of one sample standard deviation, "
    "the area in proportion to the parameters. Right, test {title} after each epoch."
)


def write(workdir: str | os.PathLike) -> str:
    """Rebuilds the page of the study, see `page.write`, from the run folders in `workdir` alone.

    Raises RecordError where the folder holds no run.
    """
    return page.write(study(read_runs(workdir)), workdir)


def study(runs: Sequence[Run]) -> page.Study:
    """Every network's headline beside its size and its cost, from the fewest to the most multiply-accumulates."""
    finished = [run for run in runs if run.result is not None]
    headline = common_headline(runs)
    rows = summary(finished, headline)
    header = ("network", "stem", "width", "seeds", "parameters", "MACs", *tables.headers(headline)[:2], "seconds")
    ordered = dict.fromkeys([line["model"] for line in rows] + sorted(map(model_name, runs)))
    cells = {model: sorted((run for run in runs if model_name(run) == model), key=seed) for model in ordered}
    return page.Study(
        title="Architectures",
        source="Each network by its own recipe, for as many epochs as the others.",
        cells=cells,
        columns=("model", "seed", *SETTINGS, *numbers(headline)),
        results=[result_row(run, headline) for members in cells.values() for run in members if run.result is not None],
        tables=[page.Table("Summary", header, format_rows(rows, headline), NOTE)],
        figures={"architectures": (figure(finished, rows, headline), CAPTION.format(title=headline.title))},
        verdicts=[],
        axes=(*AXES, *(f"model.{field}" for field in SETTINGS)),
    )


def numbers(headline: Headline) -> tuple[str, ...]:
    """What results.csv takes over from result.json."""
    train, test, _, best = tables.metrics(headline)
    return "parameters", "macs", train, test, best, "seconds"


def result_row(run: Run, headline: Headline) -> dict[str, Any]:
    """One line of results.csv; errors are fractions."""
    settings = {field: run.config["model"].get(field) for field in SETTINGS}
    measured = {field: (run.result or {}).get(field) for field in numbers(headline)}
    return {"model": model_name(run), "seed": seed(run)} | settings | measured


def summary(runs: Sequence[Run], headline: Headline) -> list[dict[str, Any]]:
    """One dict a network, from the fewest to the most multiply-accumulates; metrics as {"mean", "sd", "n"}."""
    rows = []
    for model in sorted({model_name(run) for run in runs}):
        own = [result_row(run, headline) for run in runs if model_name(run) == model]
        line: dict[str, Any] = {"model": model, "seeds": len(own)} | {field: own[0][field] for field in SETTINGS}
        line |= {"parameters": number(own[0]["parameters"]), "macs": number(own[0]["macs"])}
        line["seconds"] = sum(number(one["seconds"]) for one in own) / len(own)
        rows.append(line | {name: tables.spread([number(one[name]) for one in own]) for name in numbers(headline)[2:4]})
    return sorted(rows, key=lambda line: line[size_of(rows)])


def format_rows(rows: Sequence[dict[str, Any]], headline: Headline) -> list[list[str]]:
    """The summary as text, mean and standard deviation over seeds."""
    return [
        [
            *(line["model"], str(line["stem"]), str(line["width"] or "–"), str(line["seeds"])),
            *(f"{line['parameters']:,.0f}", f"{line['macs'] / 1e6:,.2f} M" if math.isfinite(line["macs"]) else "–"),
            *(tables.format_mean(line[headline.name(split)], headline) for split in SPLITS),
            f"{line['seconds']:.0f}",
        ]
        for line in rows
    ]


def figure(runs: Sequence[Run], rows: Sequence[dict[str, Any]], headline: Headline) -> Figure:
    """Left, test headline against multiply-accumulates, areas as the parameters; right, after each epoch."""
    with matplotlib.rc_context(STYLE):
        cells = [[run for run in runs if model_name(run) == line["model"]] for line in rows]
        canvas = Figure(figsize=(8, 3.6), layout="constrained")
        left, right = canvas.subplots(1, 2)
        colours = {line["model"]: COLOURS[index % len(COLOURS)] for index, line in enumerate(rows)}
        plot_cost(left, rows, colours, headline)
        for index, line in enumerate(rows):
            dashes = "-" if index < len(COLOURS) else "--"
            style = {"color": colours[line["model"]], "linestyle": dashes, "label": line["model"]}
            plot_curve(right, cells[index], headline.name("test"), style)
        right.set(xlabel="epoch", ylabel=f"test {headline.title}", title="after each epoch, mean over seeds")
        for axes in (left, right):
            style_value_axis(axes, headline)
            axes.spines.top.set_visible(False)
        right.legend(frameon=False, ncols=2)
        canvas.suptitle(title(cells), fontsize=10)
    return canvas


def plot_cost(axes: Axes, rows: Sequence[dict[str, Any]], colours: dict[str, str], headline: Headline) -> None:
    largest = max((line["parameters"] for line in rows), default=1)
    size = size_of(rows)
    for index, line in enumerate(rows):
        test = line[headline.name("test")]
        if test["mean"] is None:
            continue
        colour = colours[line["model"]]
        axes.errorbar(line[size], test["mean"], test["sd"], color=colour, elinewidth=0.8)
        axes.scatter(line[size], test["mean"], 12 + 500 * line["parameters"] / largest, color=colour, alpha=0.5)
        beside: dict[str, Any] = {"xytext": (4, 6 - 14 * (index % 2)), "textcoords": "offset points", "color": colour}
        axes.annotate(line["model"], (line[size], test["mean"]), **beside)
    axes.set(xscale="log", xlabel=SIZES[size], title="area: parameters")
    axes.set_ylabel(f"test {headline.title}")


def size_of(rows: Sequence[dict[str, Any]]) -> str:
    """What the networks are ordered by: multiply-accumulates, or parameters where a task does not count them."""
    return "macs" if all(math.isfinite(line["macs"]) for line in rows) else "parameters"


def plot_curve(axes: Axes, runs: Sequence[Run], metric: str, style: dict[str, Any]) -> None:
    lines = list(zip(*(run.metrics for run in runs), strict=False))
    epochs = [number(points[0]["epoch"]) for points in lines]
    means = [sum(number(point[metric]) for point in points) / len(points) for points in lines]
    axes.plot(epochs, means, linewidth=1.2, **style)
