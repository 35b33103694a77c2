"""Fully connected layers that slide: at a larger image the same parameters give a map of scores."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from cnn_jax.layers.conv import conv
from cnn_jax.layers.initializers import INITIALIZERS


class Dense(nn.Module):
    """A fully connected layer, written as the convolution it is (Sermanet et al. 2014; Simonyan & Zisserman 2015, 3.2).

    (B, window, window, C), or (B, C) where the window is one pixel, -> (B, features). A larger map (B, H, W, C)
    -> (B, H - window + 1, W - window + 1, features): the layer at each position.

    Attributes:
      features: units.
      window: pixels a side of the map that a unit sees.
      dtype: compute type; the kernel (window, window, C, features) and the bias are float32 parameters.
    """

    features: int
    window: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.window, self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", INITIALIZERS["kernel"], shape).astype(self.dtype)
        bias = self.param("bias", INITIALIZERS["bias"], (self.features,)).astype(self.dtype)
        x = x.astype(self.dtype)
        if x.ndim == 2 or x.shape[1:3] == kernel.shape[:2]:
            y = x.reshape(len(x), -1) @ kernel.reshape(-1, self.features)
        else:
            y = conv(x, kernel, 1, 0)
        return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def average_logits(x: jax.Array) -> jax.Array:
    """Logits (B, K) float32 of the last layer's (B, K), or of its map (B, H, W, K), averaged."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x if x.ndim == 2 else x.mean(axis=(1, 2))
