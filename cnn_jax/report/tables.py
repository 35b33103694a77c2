"""The numbers of a study: one row a finished run, and one row a cell with mean and spread over seeds."""

import csv
import io
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_jax.report.cells import cell, cell_order, common_headline, number, seed
from cnn_jax.train.record import Run, write_atomically
from cnn_jax.train.task import Headline

# He et al. 2016, table 6: test error of the residual nets on CIFAR-10, as a fraction; 110 is the best of five runs.
PAPER_TEST_ERROR = {20: 0.0875, 32: 0.0751, 44: 0.0717, 56: 0.0697, 110: 0.0643, 1202: 0.0793}


def metrics(headline: Headline) -> tuple[str, ...]:
    """Final training and test headline, test at the best validation, best on test: their names in result.json."""
    test = headline.name("test")
    return headline.name("train"), test, f"{test}_at_best_validation", f"best_{test}"


def headers(headline: Headline) -> tuple[str, ...]:
    """What `metrics` are called above a column: `training %`, ..."""
    unit = headline.unit or headline.title
    return f"training {unit}", f"test {unit}", f"test {unit} at best validation", f"best on test {unit}"


def columns(headline: Headline) -> tuple[str, ...]:
    """Those of results.csv in a study of depth."""
    return "kind", "depth", "seed", "parameters", *metrics(headline), "seconds"


def paper_test_error(dataset: str, kind: str, depth: int | None) -> float | None:
    """The paper's test error of a cell as a fraction, None where the paper prints none."""
    if dataset != "cifar10" or kind != "residual" or depth is None:
        return None
    return PAPER_TEST_ERROR.get(depth)


def results(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One dict of `columns` a finished run, by kind, depth and seed; errors are fractions, missing values None."""
    names = columns(common_headline(runs))[3:]
    ordered = sorted(runs, key=lambda run: (cell_order(cell(run)), seed(run), run.folder.name))
    return [
        dict(zip(("kind", "depth"), cell(run), strict=True))
        | {"seed": seed(run)}
        | {name: run.result.get(name) for name in names}
        for run in ordered
        if run.result is not None
    ]


def write_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: str | os.PathLike) -> None:
    """Writes the rows atomically; errors as fractions, an empty field for a missing value, file names as they are."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode(errors="surrogateescape"))  # as `os.fsdecode` makes them


def mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The mean and the sample standard deviation (n - 1); None where there are too few values."""
    mean = statistics.fmean(values) if values else None
    return mean, statistics.stdev(values) if len(values) > 1 else None


def summary(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """One dict a cell: kind, depth, n, parameters, and {"mean", "sd", "n"} for each metric of those names.

    `sd` is the sample standard deviation over seeds. A missing or non-finite number counts for nothing, which `n` of
    that metric shows.
    """
    groups: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["kind"], row["depth"]), []).append(row)
    out = []
    for kind, depth in sorted(groups, key=cell_order):
        own = groups[kind, depth]
        sizes = sorted({row["parameters"] for row in own if row["parameters"] is not None})
        row: dict[str, Any] = {"kind": kind, "depth": depth, "n": len(own), "parameters": sizes}
        out.append(row | {name: spread([number(row[name]) for row in own]) for name in names})
    return out


def spread(values: Sequence[float]) -> dict[str, Any]:
    """{"mean", "sd", "n"} of the finite ones."""
    finite = [value for value in values if math.isfinite(value)]
    mean, deviation = mean_and_deviation(finite)
    return {"mean": mean, "sd": deviation, "n": len(finite)}


def format_mean(value: dict[str, Any], headline: Headline) -> str:
    """{"mean": 0.0875, "sd": 0.0012, ...} -> "8.75 ± 0.12", errors in percent; "–" without a value."""
    if value["mean"] is None:
        return "–"
    text = f"{headline.scale * value['mean']:.2f}"
    return text if value["sd"] is None else f"{text} ± {headline.scale * value['sd']:.2f}"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as plain text, its first column to the left and the others to the right; "" without a row."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for fields in (header, *rows):
        cells = [fields[0].ljust(widths[0]), *(f.rjust(w) for f, w in zip(fields[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
