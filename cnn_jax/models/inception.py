"""The modules of GoogLeNet: Szegedy et al. 2015, Figure 2b and Section 5 (https://arxiv.org/abs/1409.4842)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from cnn_jax.layers.conv import Conv
from cnn_jax.layers.dense import Dense, average_logits
from cnn_jax.layers.dropout import Dropout
from cnn_jax.layers.norm import BatchNorm
from cnn_jax.layers.pool import max_pool

AUXILIARY_DROPOUT = 0.7


class ConvReLU(nn.Module):
    """A convolution with a bias, or with batch normalisation in place of it, and its rectifier."""

    features: int
    kernel_size: int
    stride: int = 1
    norm: dict[str, Any] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        biased = self.norm is None
        x = Conv(self.features, self.kernel_size, self.stride, use_bias=biased, dtype=self.dtype, name="conv")(x)
        return nn.relu(x if self.norm is None else BatchNorm(**self.norm, name="bn")(x, train=train))


class Inception(nn.Module):
    """Four branches side by side, their maps concatenated (Fig. 2b)."""

    features: tuple[int, ...]  # a row of the table
    large_kernel_size: int  # pixels a side of the kernel of the branch named 5x5
    conv: Callable[..., ConvReLU]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        one, reduce_3, three, reduce_5, five, projected = self.features
        a = self.conv(one, 1, name="1x1")(x, train=train)
        b = self.conv(reduce_3, 1, name="3x3_reduce")(x, train=train)
        b = self.conv(three, 3, name="3x3")(b, train=train)
        c = self.conv(reduce_5, 1, name="5x5_reduce")(x, train=train)
        c = self.conv(five, self.large_kernel_size, name="5x5")(c, train=train)
        d = self.conv(projected, 1, name="pool_proj")(max_pool(x, 3, 1, padding=1), train=train)
        return jnp.concatenate([a, b, c, d], axis=-1)


class Auxiliary(nn.Module):
    """A classifier on an inner map: (B, H, W, C) -> logits (B, num_classes), those of a larger map averaged."""

    features: tuple[int, int]  # of the 1x1 convolution and of fc1
    num_classes: int
    pool: Callable[[jax.Array], jax.Array]
    window: int  # pixels a side that `pool` leaves, all of which fc1 sees
    conv: Callable[..., ConvReLU]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.conv(self.features[0], 1, name="conv")(self.pool(x), train=train)  # (B, 4, 4, 128)
        x = nn.relu(Dense(self.features[1], self.window, dtype=x.dtype, name="fc1")(x))  # (B, 1024)
        x = Dropout(AUXILIARY_DROPOUT)(x, train=train)
        return average_logits(Dense(self.num_classes, dtype=x.dtype, name="fc2")(x))


def adaptive_mean_pool(x: jax.Array, size: int) -> jax.Array:
    """(B, H, W, C) -> (B, size, size, C): window i of H pixels is from floor(i H / size) to ceil((i + 1) H / size)."""
    for axis in (1, 2):
        pixels = x.shape[axis]
        edges = [(i * pixels // size, -(-(i + 1) * pixels // size)) for i in range(size)]
        x = jnp.stack([lax.slice_in_dim(x, *edge, axis=axis).mean(axis) for edge in edges], axis)
    return x
