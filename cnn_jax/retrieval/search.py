"""The nearest of many vectors, exactly: one compiled product and top-k, in blocks, so that the vectors lie once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.data.dataset import DataError
from cnn_jax.retrieval.descriptors import normalize

BLOCK = 8_192
"""Vectors of a product: its scores stay in a processor's cache, and on an accelerator they are enough."""
QUERIES = 256
EXPANSION = 5
NOBODY = -1


def search(
    vectors: np.ndarray, queries: np.ndarray, count: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` vectors with the largest inner products, of each query: `(scores float32, indices int32)`, (Q, k).

    They are in the order of (-score, index). Of vectors of length 1 the inner product is the cosine, and the order that
    of Euclid's distance. Where there are fewer than `count`, the last have index -1 and score -inf.

    Args:
      vectors: float32 (N, D), in memory or mapped; they are not copied.
      queries: float32 (Q, D).
      count: k, at least 1.
      own: int (Q,), of each query its own place among the vectors, which is no answer; -1 where it is not there.

    Raises DataError where a query is not finite, or has other dimensions.
    """
    require_queries(vectors, queries)
    own = np.full(len(queries), NOBODY, np.int32) if own is None else own.astype(np.int32)
    scores, indices = [], []
    for start in range(0, len(queries), QUERIES):
        few = slice(start, start + QUERIES)
        best = search_few(vectors, queries[few], count, own[few])
        scores.append(best[0])
        indices.append(best[1])
    if not scores:
        return np.empty((0, count), np.float32), np.empty((0, count), np.int32)
    return np.concatenate(scores), np.concatenate(indices)


def search_few(vectors: np.ndarray, queries: np.ndarray, count: int, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`search` of so few queries that all of their scores for a block can be held."""
    size = min(BLOCK, max(len(vectors), count))
    asked, own_ = jnp.asarray(queries, jnp.float32), jnp.asarray(own)
    scores = jnp.full((len(queries), count), -jnp.inf, jnp.float32)
    indices = jnp.full((len(queries), count), NOBODY, jnp.int32)
    for start in range(0, len(vectors), size):
        block = vectors[start : start + size]
        held = len(block)
        if held < size:
            block = np.concatenate([block, np.zeros((size - held, block.shape[1]), block.dtype)])
        scores, indices = merge(scores, indices, asked, own_, jnp.asarray(block), np.int32(start), np.int32(held))
        scores.block_until_ready()  # or blocks wait in memory, faster than they are multiplied
    return np.asarray(scores), np.asarray(jnp.where(jnp.isneginf(scores), NOBODY, indices))


@partial(jax.jit, donate_argnums=(0, 1))
def merge(
    scores: jax.Array, indices: jax.Array, queries: jax.Array, own: jax.Array, block: jax.Array, start: int, held: int
) -> tuple[jax.Array, jax.Array]:
    """The best of those so far (Q, k) and of a block (N, D), of which the first `held` are vectors.

    Of equal scores `top_k` takes the first, and those so far, whose indices are less, stand first.
    """
    product = lax.dot_general(queries, block, (((1,), (1,)), ((), ())), precision="highest")  # (Q, N)
    place = jnp.arange(len(block), dtype=jnp.int32)
    hidden = (place >= held)[None] | (place[None] + start == own[:, None])
    found, at = lax.top_k(jnp.where(hidden, -jnp.inf, product), min(scores.shape[1], len(block)))
    both = jnp.concatenate([scores, found], axis=1), jnp.concatenate([indices, at.astype(jnp.int32) + start], axis=1)
    best, chosen = lax.top_k(both[0], scores.shape[1])
    return best, jnp.take_along_axis(both[1], chosen, axis=1)


def require_queries(vectors: np.ndarray, queries: np.ndarray) -> None:
    """Raises DataError where queries cannot be compared with the vectors."""
    if queries.shape[1:] != vectors.shape[1:]:
        raise DataError(f"queries of {queries.shape[1]} dimensions, and the index has {vectors.shape[1]}")
    bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
    if len(bad):
        raise DataError(f"query {bad[0]} is not finite: {len(bad)} of {len(queries)} descriptors hold NaN or infinity")


def expand(
    vectors: np.ndarray, queries: np.ndarray, count: int = EXPANSION, own: np.ndarray | None = None
) -> np.ndarray:
    """Each query's mean with its `count` nearest vectors, of length 1: average query expansion (Chum et al. 2007).

    It looks at what is searched, so that its scores stand beside those without and are not compared with them.
    """
    _, nearest = search(vectors, queries, min(count, len(vectors)), own)
    added = np.where((nearest == NOBODY)[..., None], 0, vectors[nearest]).sum(axis=1)
    return normalize(queries + added)
