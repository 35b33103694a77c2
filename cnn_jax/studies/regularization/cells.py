"""The cells of a regularisation study: runs of one method at one strength on one number of training examples."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_jax.report.cells import number, seed
from cnn_jax.studies.regularization.methods import REGULARIZERS, recognize
from cnn_jax.train.record import Run


class Cell(NamedTuple):
    """A method at a strength, learning from so many examples.

    Attributes:
      method: one of REGULARIZERS, or other.
      strength: its strength, None of `none`.
      examples: data.train_examples, 0 being all.
      runs: by seed.
    """

    method: str
    strength: float | None
    examples: int
    runs: list[Run]

    @property
    def name(self) -> str:
        """`l1 0.0001`."""
        return self.method if self.strength is None else f"{self.method} {self.strength:g}"


def cells(runs: Sequence[Run]) -> list[Cell]:
    """By number of examples, all of them last, then method in the order of REGULARIZERS, then strength."""
    groups: dict[tuple[int, str, float | None], list[Run]] = {}
    for run in sorted(runs, key=seed):
        method, strength = recognize(run.config)
        groups.setdefault((run.config["data"]["train_examples"], method, strength), []).append(run)
    names = [*REGULARIZERS, "other"]
    ordered = sorted(groups, key=lambda key: (key[0] or math.inf, names.index(key[1]), key[2] or 0))
    return [
        Cell(method, strength, examples, groups[examples, method, strength]) for examples, method, strength in ordered
    ]


def metric_values(cell: Cell, metric: str) -> list[float]:
    """A number of each run of the cell, where it is finite, see `run_metric`."""
    found = [run_metric(run, metric) for run in cell.runs]
    return [value for value in found if math.isfinite(value)]


def run_metric(run: Run, metric: str) -> float:
    """A number of a run by name: `gap` (test less training error), `small` and `zero` (fractions of all weights of the
    kernels), `l1` and `l2` (norms of all), or what result.json calls so; NaN where there is none."""
    result, layers = run.result or {}, (run.measured or {}).get("layers", [])
    if metric == "gap":
        return number(result.get("test_error")) - number(result.get("train_error"))
    if metric in ("small", "zero") and layers:
        return float(np.average([layer[metric] for layer in layers], weights=[layer["size"] for layer in layers]))
    if metric == "l1" and layers:
        return float(sum(layer["l1"] for layer in layers))
    if metric == "l2" and layers:
        return math.sqrt(sum(layer["l2"] ** 2 for layer in layers))
    return number(result.get(metric))


def metric_mean(cell: Cell, metric: str) -> float:
    """The mean over seeds, NaN where there is none."""
    own = metric_values(cell, metric)
    return float(np.mean(own)) if own else math.nan


def select_by_validation(study: Sequence[Cell]) -> list[Cell]:
    """For each method and number of examples the cell whose strength has the lowest mean validation error, of equals
    the weakest. A method tried at one strength needs no validation split; one at several without it has no cell."""
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in study:
        if any(run.result for run in cell.runs):
            groups.setdefault((cell.method, cell.examples), []).append(cell)
    chosen = []
    for candidates in groups.values():
        validated = [cell for cell in candidates if math.isfinite(metric_mean(cell, "validation_error"))]
        if len(candidates) == 1:
            chosen.append(candidates[0])
        elif validated:
            chosen.append(min(validated, key=lambda cell: metric_mean(cell, "validation_error")))
    return chosen


def method_names(study: Sequence[Cell]) -> list[str]:
    """The methods there are, in the order of REGULARIZERS."""
    return [name for name in (*REGULARIZERS, "other") if any(cell.method == name for cell in study)]


def example_counts(study: Sequence[Cell]) -> list[int]:
    """The settings of data.train_examples there are, 0, all, last."""
    return sorted({cell.examples for cell in study}, key=lambda count: count or math.inf)


def count_examples(cell: Cell) -> int:
    """How many examples a run of the cell learns from, by the manifest."""
    sizes = [run.manifest.get("dataset", {}).get("examples", {}).get("train", 0) for run in cell.runs]
    return max(sizes, default=0) or cell.examples
