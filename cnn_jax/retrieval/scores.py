"""How good rankings are: precision and recall among the first k, average precision; of each query, on the host."""

from typing import NamedTuple

import numpy as np

from cnn_jax.retrieval.search import NOBODY

AT = (1, 5, 10)
DUPLICATE = 0.99
"""The cosine from which two images count as the same."""
QUERIES = 256
MEASURES = ("cosine", "dot", "euclid")


class Scores(NamedTuple):
    """What is measured of Q queries that have something to be found.

    Attributes:
      queries: int (Q,), which of those asked they are.
      average_precision: float64 (Q,).
      precision, recall: k -> float64 (Q,): the share of the first k that are right; 1 where at least one is, else 0.
      without: how many queries have nothing right to be found, and are left out.
      duplicates: how many queries of all have an image above a cosine of 0.99, themselves apart.
    """

    queries: np.ndarray
    average_precision: np.ndarray
    precision: dict[int, np.ndarray]
    recall: dict[int, np.ndarray]
    without: int
    duplicates: int


def average_precision(right: np.ndarray) -> np.ndarray:
    """The mean of the precisions at each right answer: of bool (Q, N), in the order of the ranking, float64 (Q,).

    The area under the rectangles of precision against recall, as scikit-learn has it where no scores are equal; the
    trapezoids of the Oxford buildings' program give less. NaN where nothing is right.
    """
    hits = np.cumsum(right, axis=1)
    precisions = hits / np.arange(1, right.shape[1] + 1)
    with np.errstate(invalid="ignore"):
        return (precisions * right).sum(axis=1) / hits[:, -1]


def similarities(queries: np.ndarray, vectors: np.ndarray, measure: str) -> np.ndarray:
    """(Q, N), larger for what is nearer: the inner product, of vectors of length 1 the cosine; or minus Euclid's
    squared distance."""
    product = queries @ vectors.T
    if measure != "euclid":
        return product
    return 2 * product - (vectors**2).sum(axis=1) - (queries**2).sum(axis=1)[:, None]


def score(
    queries: np.ndarray,
    query_labels: np.ndarray,
    vectors: np.ndarray,
    labels: np.ndarray,
    own: np.ndarray | None = None,
    measure: str = "cosine",
) -> Scores:
    """Ranks all vectors for each query, by (-similarity, index); right is what has the query's label.

    Args:
      queries: float32 (Q, D); of length 1 where the measure is the cosine.
      query_labels: int (Q,).
      vectors: float32 (N, D), likewise.
      labels: int (N,).
      own: int (Q,), a query's own place among the vectors, which is dropped before ranking; -1 where it is not there.
      measure: of MEASURES.
    """
    own = np.full(len(queries), NOBODY) if own is None else own
    parts = [
        score_few(queries[few], query_labels[few], vectors, labels, own[few], measure)
        for few in (slice(start, start + QUERIES) for start in range(0, len(queries), QUERIES))
    ]
    precision, duplicate = (np.concatenate(column) for column in list(zip(*parts, strict=True))[:2])
    first = {k: np.concatenate([part[2][k] for part in parts]) for k in AT}
    kept = np.flatnonzero(~np.isnan(precision))
    return Scores(
        kept,
        precision[kept],
        {k: right[kept] for k, right in first.items()},
        {k: (right[kept] > 0).astype(float) for k, right in first.items()},
        len(queries) - len(kept),
        int(duplicate.sum()),
    )


def score_few(
    queries: np.ndarray,
    query_labels: np.ndarray,
    vectors: np.ndarray,
    labels: np.ndarray,
    own: np.ndarray,
    measure: str,
) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """`(average precision, whether there is a duplicate, precision among the first k)` of each query."""
    near = similarities(queries, vectors, measure)
    known = np.flatnonzero(own != NOBODY)
    near[known, own[known]] = -np.inf
    order = np.argsort(-near, axis=1, kind="stable")
    right = (labels[order] == query_labels[:, None]) & np.isfinite(np.take_along_axis(near, order, 1))
    first = {k: right[:, :k].mean(axis=1) for k in AT}
    same = near.max(axis=1) > DUPLICATE if measure == "cosine" else np.zeros(len(queries), bool)
    return average_precision(right), same, first
