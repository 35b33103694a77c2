"""The nearest of many vectors by faiss (extra `retrieval`), which looks at some of them: faster, and not all are
found."""

from types import ModuleType
from typing import Any

import numpy as np

from cnn_jax.config import ConfigError
from cnn_jax.retrieval.search import NOBODY, require_queries

LEAST = 39
"""Vectors a list, below which faiss warns that its clusters are too small."""


def import_faiss() -> ModuleType:
    """Raises ConfigError where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "--index=faiss: faiss is not installed; EXTRAS=retrieval ./launch.sh installs it, or take --index=exact"
        ) from error
    return faiss


def build(vectors: np.ndarray) -> Any:
    """An inverted file of float32 (N, D) by inner product: about 4 sqrt(N) lists, whose clusters are its own draw."""
    faiss = import_faiss()
    lists = max(1, min(round(4 * len(vectors) ** 0.5), len(vectors) // LEAST))
    index = faiss.index_factory(vectors.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index


def search(
    index: Any, vectors: np.ndarray, queries: np.ndarray, count: int, probes: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `search.search`, of which it finds a part: the lists nearest to a query, `probes` of them, are looked at.

    Raises DataError as that does: to faiss a query that is not finite has the answer -1.
    """
    require_queries(vectors, queries)
    index.nprobe = min(probes, index.nlist)
    scores, indices = index.search(np.ascontiguousarray(queries, np.float32), min(count + 1, len(vectors)))
    own = np.full(len(queries), NOBODY) if own is None else own
    scores = np.where((indices == own[:, None]) | (indices == NOBODY), -np.inf, scores)
    order = np.lexsort((indices, -scores))[:, :count]  # equal scores come in any order
    scores, indices = np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1)
    return scores.astype(np.float32), np.where(np.isneginf(scores), NOBODY, indices).astype(np.int32)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """The share of the exact answers (Q, k) that are among those found (Q, k); where there are none, 1."""
    there = exact != NOBODY
    hits = (exact[:, :, None] == found[:, None, :]).any(axis=2) & there
    return float(hits.sum() / there.sum()) if there.any() else 1.0
