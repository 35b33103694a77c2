"""What the chosen endpoint finds, as a sheet of pictures: a query of each class."""

from pathlib import Path

import numpy as np

from cnn_jax.data import Dataset
from cnn_jax.evaluation.writing import pictures
from cnn_jax.report import examples
from cnn_jax.retrieval.descriptors import combine
from cnn_jax.retrieval.search import search
from cnn_jax.studies.retrieval.measure import Side

NEIGHBOURS = 8
CLASSES = 8


def write(path: Path, dataset: Dataset, single: str, database: Side, queries: Side) -> None:
    """The first test image of each class, up to 8, with the 8 training images nearest to it; right ones framed green.

    Args:
      path: of the PNG.
      dataset: with splits train and test, the database and the queries.
      single: the descriptor, as it is written.
      database, queries: see `measure`.
    """
    names = dataset.class_names()
    asked = np.array([np.flatnonzero(queries.labels == label)[0] for label in np.unique(queries.labels)[:CLASSES]])
    (part,) = (part for part in database.pooled if str(part) == single)
    vectors, probes = (combine(side.pooled, (part,)) for side in (database, queries))
    scores, found = search(vectors, probes[asked], min(NEIGHBOURS, len(vectors)))
    shown, captions, frames = [], [], []
    for query, values, places in zip(asked, scores, found, strict=True):
        shown += [*pictures(dataset.splits["test"], np.array([query])), *pictures(dataset.splits["train"], places)]
        captions.append((f"query: {names[queries.labels[query]]}", ""))
        captions += [(names[database.labels[at]], f"{value:.3f}") for at, value in zip(places, values, strict=True)]
        frames.append(None)
        frames += [examples.RIGHT if database.labels[at] == queries.labels[query] else None for at in places]
    title = f"{dataset.name}: test images, and the nearest training images by {single}; green: of the same class"
    examples.save(examples.draw_sheet(shown, captions, title, 1 + found.shape[1], frames), path)
