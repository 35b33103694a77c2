"""The transfer study: what of a trained network serves other classes, how it is used, and when not."""

import os
from pathlib import Path
from typing import Any

from cnn_jax.report import page
from cnn_jax.report.cells import number, seed
from cnn_jax.report.page import Table
from cnn_jax.report.tables import format_mean, spread
from cnn_jax.studies.transfer import confusion, figures
from cnn_jax.studies.transfer.cells import Cell, Study, chosen, counts, mean, read, sizes_shown, values
from cnn_jax.studies.transfer.claims import verdicts
from cnn_jax.studies.transfer.ways import AXES, LINEAR, WAYS
from cnn_jax.train.record import Run
from cnn_jax.train.task import ERROR

COLUMNS = ("way", "cut", "source", "size", "examples", "seed", "steps", "train_error", "held_out_error", "test_error")
COLUMNS += ("strength", "trained_parameters", "seconds")
CHOSEN = (
    "Mean ± sample standard deviation over seeds, which draw the examples. The linear way's cut and size of images are "
    "those with the lowest error on training examples held out, and its strength too; seconds are of one run, of the "
    "linear way of the regression alone, its features being taken once for all."
)
CAPTIONS = {
    "error_against_examples": "How, and when: test error against the training examples of each class, mean over seeds, "
    "bars of one sample standard deviation; of the linear way at the cut that held-out training examples chose.",
    "error_against_cut": "What: test error against the endpoint up to which the network is used. Lines, a logistic "
    "regression on the endpoint's features, averaged over its map (all: every endpoint's side by side), dashed of "
    "images enlarged, with the most examples; markers, the network frozen up to there.",
    "confusion": "Test images of the class in the row that were said to be of the class in the column, by the trained "
    "cell with the lowest mean test error, its first seed.",
}


def write(workdir: str | os.PathLike) -> str:
    """Rebuilds results.csv, the figures, claims.json and report.html in `workdir` from what lies there.

    Returns the tables and verdicts as text for a terminal. Raises RecordError where the folder holds no run.
    """
    workdir = Path(workdir)
    study = read(workdir)
    cells, sizes = [*study.cells, *study.unrelated], count_examples(study)
    drawn = {
        "error_against_examples": figures.error_against_examples(study, sizes),
        "error_against_cut": figures.error_against_cut(study, sizes) if study.endpoints else None,
        "confusion": confusion.draw(workdir),
    }
    compared = [*chosen(study), *(cell for cell in study.unrelated if cell.way != LINEAR)]
    return page.write(
        page.Study(
            title="Transfer learning",
            source="The lecture on convolutional networks, Transfer learning; Kornblith, Shlens & Le 2019.",
            cells={f"{title(study, cell)}, {sizes[cell.examples]} a class": cell.runs for cell in compared},
            columns=COLUMNS,
            results=[row(cell, run) for cell in cells for run in cell.runs if run.result is not None],
            tables=[table(study, compared, sizes), linear_table(study, sizes)],
            figures={name: (figure, CAPTIONS[name]) for name, figure in drawn.items() if figure is not None},
            verdicts=verdicts(study),
            axes=AXES,
        ),
        workdir,
    )


def title(study: Study, cell: Cell) -> str:
    """The cell's name, and whether its network is the unrelated one."""
    return f"{cell.name}, unrelated" if any(cell is one for one in study.unrelated) else cell.name


def count_examples(study: Study) -> dict[int, int]:
    """By setting of data.examples_per_class how many that is; of 0, all, by the manifest, an average over classes."""
    sizes = {count: count for count in counts([*study.cells, *study.unrelated])}
    manifests = [run.manifest for cell in study.cells if not cell.examples for run in cell.runs if run.manifest]
    if 0 in sizes and manifests:
        about = manifests[0]
        sizes[0] = about["dataset"]["examples"]["train"] // max(1, len(about.get("classes", [])))
    return sizes


def row(cell: Cell, run: Run) -> dict[str, Any]:
    """A line of results.csv; errors are fractions."""
    known = {"way": cell.way, "cut": cell.cut, "source": Path(cell.source).name, "size": run.config["data"]["crop"]}
    known |= {"examples": cell.examples}
    result = run.result or {}
    return (
        {name: result.get(name) for name in COLUMNS} | known | {"seed": seed(run), "trained_parameters": trained(run)}
    )


def trained(run: Run) -> int | None:
    """How many parameters were trained."""
    result = run.result or {}
    return result.get("trained_parameters", result.get("parameters"))


def table(study: Study, cells: list[Cell], sizes: dict[int, int]) -> Table:
    """A line a cell, from the fewest examples to the most."""
    header = ("examples a class", "way", "seeds", "training %", "held out %", "test %", "trained parameters", "seconds")
    order = sorted(cells, key=lambda cell: (sizes[cell.examples], list(WAYS).index(cell.way)))
    rows = []
    for cell in order:
        errors = [format_mean(spread(values(cell, f"{name}_error")), ERROR) for name in ("train", "held_out", "test")]
        finished = [run for run in cell.runs if run.result is not None]
        sizes_trained = [number(trained(run)) for run in finished]
        parameters = f"{sizes_trained[0]:,.0f}" if finished else "–"
        seconds = f"{mean(cell, 'seconds'):.1f}" if finished else "–"
        told = (f"{sizes[cell.examples]:,}", title(study, cell), str(len(finished)))
        rows.append((*told, *errors, parameters, seconds))
    return Table("Every way on every number of examples", header, rows, CHOSEN)


def linear_table(study: Study, sizes: dict[int, int]) -> Table:
    """The linear way's test error, a line an endpoint and size, a column a number of examples."""
    linear = [cell for cell in study.cells if cell.way == LINEAR]
    there = counts(linear)
    of = {(cell.size, cell.cut, cell.examples): cell for cell in linear}
    rows = [
        (
            f"{cut} at {size} px" if size else cut,
            *(format_mean(spread(values(of[size, cut, count], "test_error")), ERROR) for count in there),
        )
        for size in sizes_shown(linear)
        for cut in study.endpoints
    ]
    header = ("features of", *(f"test %, {sizes[count]:,} a class" for count in there))
    return Table("The linear way at every endpoint", header, rows)
