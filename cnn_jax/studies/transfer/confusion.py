"""Which class the best cell of a transfer study takes for which."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cnn_jax.data import Dataset
from cnn_jax.evaluation import networks
from cnn_jax.evaluation.answers import confusion
from cnn_jax.network import LOGITS
from cnn_jax.report.confusion import READABLE, draw_matrix
from cnn_jax.studies.transfer import pooled
from cnn_jax.studies.transfer.cells import best, read
from cnn_jax.train import record

FILE = "confusion.json"


def measure(workdir: Path, dataset: Dataset) -> None:
    """Writes the confusion of the best cell's first run that is a trained network's into the workdir, once a run."""
    cell = best(read(workdir))
    if cell is None:
        return
    run = next(run for run in cell.runs if run.result is not None)
    if (record.read_json(workdir / FILE) or {}).get("run") == run.folder.name:
        return
    config = networks.read_config(run.folder)
    network = networks.load_run(run.folder, config)[0]
    said = pooled.extract(pooled.show_as(network, config.data, dataset), dataset, "test", LOGITS).argmax(axis=1)
    names = list(network.class_names)
    matrix = confusion(dataset.annotations("test")["label"], said, len(names))
    about = {"run": run.folder.name, "cell": cell.name, "classes": names, "matrix": matrix.tolist()}
    record.write_json(workdir / FILE, about)


def draw(workdir: Path) -> Figure | None:
    """The matrix, None where none was measured or it has more classes than can be read."""
    about = record.read_json(workdir / FILE)
    if about is None or len(about["classes"]) > READABLE:
        return None
    return draw_matrix(np.array(about["matrix"]), about["classes"], f"{about['cell']}: {about['run']}")
