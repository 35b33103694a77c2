"""The regularisation study: tables, figures, and the lecture's claims judged, from the run folders alone."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cnn_jax.report import claims, page
from cnn_jax.report.cells import number, seed
from cnn_jax.report.claims import Comparison, Group, compare
from cnn_jax.report.page import Study, Table
from cnn_jax.report.significance import Kind
from cnn_jax.report.tables import mean_and_deviation
from cnn_jax.studies.regularization import figures
from cnn_jax.studies.regularization.cells import (
    Cell,
    cells,
    count_examples,
    example_counts,
    metric_values,
    run_metric,
    select_by_validation,
)
from cnn_jax.studies.regularization.methods import DISABLED
from cnn_jax.train.record import Run, read_runs

NOISE = 0.2
CHOSEN = (
    "The lowest mean validation error over seeds, of equals the weakest. A method tried at one strength has that; one "
    "tried at several without a validation split (--validation) has no row here, and nothing is claimed of its errors."
)
AXES = ("seed", "data.train_examples", *DISABLED)
NUMBERS = ("train_error", "validation_error", "test_error", "gap", "small", "zero", "l1", "l2", "seconds")
COLUMNS = ("method", "strength", "examples", "seed", *NUMBERS)
HEADER = ("training %", "validation %", "test %", "gap", "|w| < 0.001 %", "w = 0 %", "L1 norm", "L2 norm")


def write(workdir: str | os.PathLike) -> str:
    """Rebuilds results.csv, the figures (PNG, SVG), claims.json and report.html in `workdir` from its run folders.

    Returns the tables and verdicts as text for a terminal. Raises RecordError where the folder holds no run.
    """
    study = cells(read_runs(workdir))
    chosen = select_by_validation(study)
    drawn = {
        "error_against_examples": (
            figures.error_against_examples(study, chosen),
            "Error against the number of training examples, each method at the strength chosen on the validation "
            "split; mean over seeds, bars of one sample standard deviation.",
        ),
        "error_against_strength": (
            figures.error_against_strength(study),
            "Test error against strength (lambda; the probability of dropping; what is smoothed). The line is no "
            "regulariser, its band from the lowest to the highest seed.",
        ),
        "sparsity_against_strength": (
            figures.sparsity_against_strength(study),
            "The part of all weights that is small, and that is exactly zero, with the most examples.",
        ),
        "sparsity": (
            figures.sparsity_by_layer(study, chosen),
            "The part of each layer's weights that is small, and that is exactly zero, with the most examples.",
        ),
        "weights": (
            figures.weight_histograms(study, chosen),
            "Magnitudes of the weights of all kernels, both axes logarithmic, with the most examples; markers at the "
            "left are exact zeros, the dotted line is 0.001.",
        ),
        "pruning": (
            figures.error_under_perturbation(
                study, chosen, "pruned", "fraction", "weights set to zero, the smallest first"
            ),
            "Test error after pruning: one threshold for the kernels of all layers, no training after it.",
        ),
        "noise": (
            figures.error_under_perturbation(study, chosen, "noise", "deviation", "standard deviation of the noise"),
            "Test error under normal noise added to what the network sees, images in [0, 1].",
        ),
    }
    networks = sorted({run.config["model"]["name"] for cell in study for run in cell.runs})
    return page.write(
        Study(
            title=f"Regularisation of {' and '.join(networks)}",
            source="The lecture on convolutional networks, Regularization; Goodfellow, Bengio & Courville 2016, 7.1.",
            cells={f"{cell.name}, {count_examples(cell)} examples": cell.runs for cell in study},
            columns=COLUMNS,
            results=[row(cell, run) for cell in study for run in cell.runs if run.result is not None],
            tables=[
                table("Each method at the strength chosen on the validation split", chosen, CHOSEN),
                table("Every strength", study),
            ],
            figures=drawn,
            verdicts=verdicts(study),
            axes=AXES,
        ),
        Path(workdir),
    )


def row(cell: Cell, run: Run) -> dict[str, Any]:
    """A line of results.csv; errors, `small` and `zero` are fractions."""
    line = {"method": cell.method, "strength": cell.strength, "examples": count_examples(cell), "seed": seed(run)}
    return line | {name: run_metric(run, name) for name in NUMBERS}


def table(caption: str, table_cells: Sequence[Cell], note: str = "") -> Table:
    """A line a cell, means and sample standard deviations over seeds."""
    rows = []
    for cell in table_cells:
        strength = "–" if cell.strength is None else f"{cell.strength:g}"
        fractions = [format_spread(cell, metric, 100, 2) for metric in NUMBERS[:6]]
        norms = [format_spread(cell, metric, 1, 1) for metric in ("l1", "l2")]
        finished = sum(run.result is not None for run in cell.runs)
        rows.append((f"{count_examples(cell):,}", cell.method, strength, str(finished), *fractions, *norms))
    return Table(caption, ("examples", "method", "strength", "seeds", *HEADER), rows, note)


def format_spread(cell: Cell, metric: str, unit: float, digits: int) -> str:
    """`8.75 ± 0.12`, in units of 1 / `unit`; a dash where there is no number."""
    mean, deviation = mean_and_deviation([unit * value for value in metric_values(cell, metric)])
    if mean is None:
        return "–"
    return f"{mean:.{digits}f}" if deviation is None else f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def small_weights(run: Run) -> float:
    """The fraction of a run's weights below 0.001."""
    return run_metric(run, "small")


def zero_weights(run: Run) -> float:
    """The fraction of a run's weights that are exactly 0."""
    return run_metric(run, "zero")


def error_under_noise(run: Run) -> float:
    """A run's test error with noise of standard deviation NOISE on its inputs, a fraction."""
    lines = (run.measured or {}).get("noise", [])
    return number(next((line["error"] for line in lines if line["deviation"] == NOISE), None))


def verdicts(study: Sequence[Cell]) -> list[dict[str, Any]]:
    """The lecture's claims, for each number of examples.

    "L1 regularization ... tends to drive the weights sparse", "L2 ... the weights tend to be diffused with smaller
    values", elastic net "is a combination": at the largest lambda that the methods have in common, as the lecture
    writes them. L1's networks "become invariant to noisy inputs", "L2 regularization is superior to L1": each at the
    strength that validation chose.
    """
    out = []
    for count in example_counts(study):
        here = [cell for cell in study if cell.examples == count]
        same, best = partial(_compare, here, small_weights), partial(_compare, select_by_validation(here), "test_error")
        noisy = partial(_compare, select_by_validation(here), error_under_noise)
        penalties = ("l1", "l2", "elastic_net")
        text = "L1 leaves more weights below 0.001 than L2"
        out += same("l1_is_sparser_than_l2", text, "l1", "l2", "higher", penalties)
        text = "the elastic net leaves no more weights below 0.001 than L1"
        out += same("elastic_net_is_no_sparser_than_l1", text, "elastic_net", "l1", "no_higher", penalties)
        text = "L2 leaves no more weights below 0.001 than the elastic net"
        out += same("l2_is_no_sparser_than_elastic_net", text, "l2", "elastic_net", "no_higher", penalties)
        text = "the proximal map makes more weights exactly zero than the loss term"
        zeros = partial(_compare, here, zero_weights)
        out += zeros("proximal_makes_zeros", text, "l1_proximal", "l1", "higher", ("l1", "l1_proximal"))
        if count == example_counts(study)[0]:
            out += best("l1_is_better_than_none", "L1 has lower test error than no regulariser", "none", "l1", "higher")
            out += best("l2_is_better_than_none", "L2 has lower test error than no regulariser", "none", "l2", "higher")
        text = f"under noise of {NOISE} on its inputs L1 has lower test error than no regulariser"
        out += noisy("l1_withstands_noise", text, "none", "l1", "higher")
        out += best("l2_is_as_good_as_l1", "L2 has no higher test error than L1", "l2", "l1", "no_higher")
    return claims.judge(out)


def _compare(
    here: Sequence[Cell], metric: Any, name: str, text: str, a: str, b: str, kind: Kind, alike: Sequence[str] = ()
) -> list[Comparison]:
    """The metric of method `a` beside that of `b`; nothing where one was not tried.

    The methods `alike` are taken at the largest strength that those of them that were tried have in common.
    """
    if alike:
        tried = [{cell.strength for cell in here if cell.method == method} for method in alike]
        common = set.intersection(*filter(None, tried)) if any(tried) else set()
        here = [cell for cell in here if common and cell.strength == max(common)]
    sides = {cell.method: Group(cell.name, cell.runs) for cell in here if cell.method in (a, b)}
    if sides.keys() != {a, b}:
        return []
    count = here[0].examples
    said = f"{text}, with {max(map(count_examples, here)):,} training examples"
    name = f"{name}_{count or 'all'}"
    return [compare(name, said, metric, sides[a], sides[b], kind, axes=AXES, paired=True)]
