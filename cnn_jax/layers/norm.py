"""Batch normalisation (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167) over a chosen number of examples."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from cnn_jax.layers.initializers import INITIALIZERS


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
        size = len(x) if self.group == "global" else int(self.group)
        groups = x.reshape(-1, size, *x.shape[1:])  # (G, group, H, W, C)
        axis_name = self.axis_name if self.group == "global" else None
        y, batch_mean, batch_var = normalize_by_own(groups, scale, bias, self.epsilon, self.dtype, axis_name)
        mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
        var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
        return y.reshape(x.shape)


# Compiled functions, so that layers of the same shape are traced once.
@partial(jax.jit, static_argnums=(3, 4, 5))
def normalize_by_own(
    groups: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: Any, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Groups (G, group, H, W, C) normalised each by its own statistics; with them, averaged over the groups, (C,)."""
    mean, var = statistics(groups, axis_name)
    return normalize(groups, mean, var, scale, bias, epsilon, dtype), mean.mean(axis=0), var.mean(axis=0)


def statistics(groups: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
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
