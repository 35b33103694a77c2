"""Descriptors turned to their principal components and, as far as is asked, brought to equal variance along them."""

from typing import NamedTuple

import numpy as np

from cnn_jax.config import ConfigError
from cnn_jax.retrieval.descriptors import normalize


class Whitening(NamedTuple):
    """`(x - mean) @ projection`: mean float32 (D,), projection float32 (D, d)."""

    mean: np.ndarray
    projection: np.ndarray

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """float32 (N, D) to (N, d), of length 1."""
        return normalize((vectors - self.mean) @ self.projection)


class Components(NamedTuple):
    """The principal components of descriptors: mean (D,), variances (R,) descending, directions (D, R), float64.

    R is their rank. Of `total` dimensions, those beyond it have no variance.
    """

    mean: np.ndarray
    variances: np.ndarray
    directions: np.ndarray
    total: int


def find_components(vectors: np.ndarray) -> Components:
    """The principal components of float32 (N, D), by the eigenvectors of the smaller of the two Gram matrices."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    count, total = centred.shape
    small = count < total
    values, own = np.linalg.eigh((centred @ centred.T if small else centred.T @ centred) / max(1, count - 1))
    kept = values > max(values[-1], 0) * 1e-10
    values, own = values[kept][::-1], own[:, kept][:, ::-1]
    directions = centred.T @ own / np.sqrt(values * max(1, count - 1)) if small else own
    return Components(mean, values, directions, total)


def make_whitening(components: Components, dimensions: int, shrinkage: float = 0.0) -> Whitening:
    """PCA to so many dimensions, each divided by its deviation.

    Whitening to the variances of few examples amplifies noise: of them there should be ten for each dimension. It is
    fitted on what is searched, or on other images for training, never on queries (Jegou & Chum 2012).

    Args:
      components: of the descriptors.
      dimensions: d.
      shrinkage: s in [0, 1]: variances v are taken for (1 - s) v + s mean(v), see Ledoit & Wolf 2004; 1 is PCA alone.

    Raises ConfigError where the descriptors have fewer components, or the shrinkage is no share.
    """
    if not 1 <= dimensions <= len(components.variances):
        raise ConfigError(
            f"whitening to {dimensions} dimensions: 1 to {len(components.variances)} components are there"
        )
    if not 0 <= shrinkage <= 1:
        raise ConfigError(f"a shrinkage of {shrinkage:g}: it is from 0, whitening, to 1, PCA alone")
    variances = components.variances
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.sum() / components.total
    projection = components.directions[:, :dimensions] / np.sqrt(shrunk[:dimensions])
    return Whitening(components.mean.astype(np.float32), projection.astype(np.float32))
