"""Normalisation: by a batch, over a chosen number of examples (Ioffe and Szegedy 2015,
https://arxiv.org/abs/1502.03167), and local, by the neighbouring channels (Krizhevsky et al. 2012, 3.3)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from cnn_jax.layers.initializers import INITIALIZERS

STATISTICS = ("mean", "var")


class BatchNorm(nn.Module):
    """Normalises each channel of (B, H, W, C) by the statistics of groups of examples, then scales and shifts.

    Training uses each group's own mean and (biased) variance, and moves the running ones, which evaluation uses,
    towards their average over the groups: `running = momentum * running + (1 - momentum) * batch`, in float32.

    Attributes:
      group: examples that share statistics, consecutive in the batch ("ghost" batches); "global" is the whole batch. A
        group of B / D on any number of devices equals per-device statistics on D of them.
      momentum: what is kept of the running statistics in a step (PyTorch's momentum is 1 minus this).
      epsilon: added to the variance.
      axis_name: the mapped axis over which a global group extends (`pmap`); None under `jit`, which sees all of it.
      dtype: type of the result.
    """

    group: int | str = "global"
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        shape = x.shape[-1:]
        scale = self.param("scale", INITIALIZERS["scale"], shape)
        bias = self.param("bias", INITIALIZERS["bias"], shape)
        mean = self.variable("batch_stats", "mean", INITIALIZERS["mean"], None, shape)
        var = self.variable("batch_stats", "var", INITIALIZERS["var"], None, shape)
        if not train or self.is_initializing():
            return normalize(x[None], mean.value, var.value, scale, bias, self.epsilon, self.dtype).reshape(x.shape)
        size = x.shape[0] if self.group == "global" else int(self.group)
        groups = x.reshape(-1, size, *x.shape[1:])  # (G, group, H, W, C)
        axis_name = self.axis_name if self.group == "global" else None
        y, batch_mean, batch_var = normalize_groups(groups, scale, bias, self.epsilon, self.dtype, axis_name)
        mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
        var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
        return y.reshape(x.shape)


# Compiled functions, so that layers of the same shape are traced once.
@partial(jax.jit, static_argnums=(3, 4, 5))
def normalize_groups(
    groups: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: Any, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Groups (G, group, H, W, C) normalised each by its own statistics; with them, averaged over the groups, (C,)."""
    mean, var = group_statistics(groups, axis_name)
    return normalize(groups, mean, var, scale, bias, epsilon, dtype), mean.mean(axis=0), var.mean(axis=0)


def group_statistics(groups: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """Each group's mean and variance, (G, C) both, in one pass over the data: E[x^2] - E[x]^2."""
    groups = groups.astype(jnp.promote_types(groups.dtype, jnp.float32))
    moments = jnp.stack([groups.mean(axis=(1, 2, 3)), jnp.square(groups).mean(axis=(1, 2, 3))])
    mean, mean_of_squares = moments if axis_name is None else lax.pmean(moments, axis_name)
    return mean, jnp.maximum(mean_of_squares - jnp.square(mean), 0)


@partial(jax.jit, static_argnums=(5, 6))
def normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: Any
) -> jax.Array:
    """Groups (G, group, H, W, C) by statistics (G, C) or (C,)."""
    mean, var = (value.reshape(-1, 1, 1, 1, x.shape[-1]) for value in (mean, var))
    factor = lax.rsqrt(var + epsilon) * scale.reshape(1, 1, 1, 1, -1)
    return (x * factor + (bias.reshape(1, 1, 1, 1, -1) - mean * factor)).astype(dtype)


def combine_statistics(parts: Sequence[Any], counts: Sequence[int]) -> Any:
    """The statistics of a whole set from those of its parts: the law of total variance, in float64 on the host.

    He et al. recomputed them so after training, with the parameters at rest. Give one `batch_stats` tree a part, as
    a training pass with `momentum=0` leaves it, each part a single group: with ghost groups `BatchNorm` averages
    variances, and loses what the groups' means differ by.

    Args:
      parts: trees of the same structure, their `mean` and `var` (C,) each a part's own.
      counts: examples in each part.

    Returns:
      A tree like each of `parts`, numpy arrays of float32.
    """
    weights = np.asarray(counts, np.float64) / np.sum(counts)

    def whole(*layers: Any) -> dict[str, np.ndarray]:
        means, variances = (np.stack([np.asarray(layer[name], np.float64) for layer in layers]) for name in STATISTICS)
        mean = weights @ means
        var = weights @ (variances + np.square(means - mean))
        return {"mean": mean.astype(np.float32), "var": var.astype(np.float32)}

    return jax.tree.map(whole, *parts, is_leaf=lambda node: set(node) == set(STATISTICS))


def local_response_norm(
    x: jax.Array, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, alpha_over_size: bool = False
) -> jax.Array:
    """a_i / (k + alpha * sum of a_j^2 over the `size` channels around i)^beta, at each pixel (Krizhevsky et al., 3.3).

    Args:
      x: activations (B, H, W, C); the result has their shape and type. There are zeros beyond the first and last map.
      size: n, odd.
      k: above 0.
      alpha: the paper's, times the sum.
      beta: the exponent.
      alpha_over_size: alpha multiplies the mean of the `size` squares instead, as in Caffe and PyTorch.

    Raises:
      ValueError: an even `size`.
    """
    if size % 2 == 0:
        raise ValueError(f"local response normalisation over {size} channels: choose an odd number")
    a = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    sides = [(0, 0)] * 3 + [(size // 2, size // 2)]
    squares = lax.reduce_window(jnp.square(a), 0.0, lax.add, (1, 1, 1, size), (1, 1, 1, 1), sides)
    base = k + (alpha / size if alpha_over_size else alpha) * squares
    return (a * jnp.exp(-beta * jnp.log(base))).astype(x.dtype)  # on CPU several times faster than a power
