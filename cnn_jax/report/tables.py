"""The numbers of a study: one row a finished run, and one row a cell with mean and spread over seeds."""

import csv
import io
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_jax.report.cells import cell, cell_order, number, seed
from cnn_jax.train.record import Run, write_atomically

COLUMNS = (
    "kind",
    "depth",
    "seed",
    "parameters",
    "train_error",
    "test_error",
    "test_error_at_best_validation",
    "best_test_error",
    "seconds",
)

ERRORS = ("train_error", "test_error", "test_error_at_best_validation", "best_test_error")
ERROR_HEADERS = ("training %", "test %", "test % at best validation", "best on test %")

# He et al. 2016, table 6: test error of the residual nets on CIFAR-10, as a fraction; 110 is the best of five runs.
PAPER_TEST_ERROR = {20: 0.0875, 32: 0.0751, 44: 0.0717, 56: 0.0697, 110: 0.0643, 1202: 0.0793}


def paper_test_error(dataset: str, kind: str, depth: int | None) -> float | None:
    """The paper's test error of a cell as a fraction, None where the paper prints none."""
    if dataset != "cifar10" or kind != "residual" or depth is None:
        return None
    return PAPER_TEST_ERROR.get(depth)


def results(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One dict of COLUMNS a finished run, by kind, depth and seed; errors are fractions, missing values None."""
    ordered = sorted(runs, key=lambda run: (cell_order(cell(run)), seed(run), run.folder.name))
    return [_row(run, run.result) for run in ordered if run.result is not None]


def _row(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    kind, depth = cell(run)
    return {"kind": kind, "depth": depth, "seed": seed(run)} | {name: result.get(name) for name in COLUMNS[3:]}


def write_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: str | os.PathLike) -> None:
    """Writes the rows atomically; errors as fractions, an empty field for a missing value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The mean and the sample standard deviation (n - 1); None where there are too few values."""
    mean = statistics.fmean(values) if values else None
    return mean, statistics.stdev(values) if len(values) > 1 else None


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One dict a cell: kind, depth, n, parameters, and {"mean", "sd", "n"} for each of ERRORS.

    `sd` is the sample standard deviation over seeds. A missing or non-finite error counts for nothing, which `n` of
    that error shows.
    """
    groups: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["kind"], row["depth"]), []).append(row)
    return [_cell_row(*key, groups[key]) for key in sorted(groups, key=cell_order)]


def _cell_row(kind: str, depth: int | None, rows: list[dict[str, Any]]) -> dict[str, Any]:
    sizes = sorted({row["parameters"] for row in rows if row["parameters"] is not None})
    out: dict[str, Any] = {"kind": kind, "depth": depth, "n": len(rows), "parameters": sizes}
    for name in ERRORS:
        values = [value for value in (number(row[name]) for row in rows) if math.isfinite(value)]
        mean, deviation = mean_and_deviation(values)
        out[name] = {"mean": mean, "sd": deviation, "n": len(values)}
    return out


def percent(error: dict[str, Any]) -> str:
    """{"mean": 0.0875, "sd": 0.0012, ...} -> "8.75 ± 0.12"; "–" without a value."""
    if error["mean"] is None:
        return "–"
    text = f"{100 * error['mean']:.2f}"
    return text if error["sd"] is None else f"{text} ± {100 * error['sd']:.2f}"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as plain text, its first column to the left and the others to the right; "" without a row."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for fields in (header, *rows):
        cells = [fields[0].ljust(widths[0]), *(f.rjust(w) for f, w in zip(fields[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
