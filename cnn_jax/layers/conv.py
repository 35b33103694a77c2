"""Convolution with explicit padding, the same on every side."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from cnn_jax.layers.convolutions import convolve, xla_conv
from cnn_jax.layers.geometry import output_size
from cnn_jax.layers.initializers import INITIALIZERS

PADDING_MODES = ("zero", "valid", "symmetric", "circular")


class Conv(nn.Module):
    """A square convolution: (B, H, W, C) -> (B, H', W', features), H' as `geometry.output_size` has it.

    Attributes:
      features: filters.
      kernel_size: f, taps a side.
      stride: s, in pixels.
      padding: p, pixels on every side; None is dilation * (f // 2), which keeps the size where f is odd and s is 1.
      padding_mode: what the padding holds: "zero", "symmetric" (the map mirrored, its edge pixels twice) or "circular"
        (the map repeated); "valid" pads nothing, whatever `padding` is.
      dilation: pixels between taps (Yu and Koltun 2016, https://arxiv.org/abs/1511.07122).
      groups: towers; each group of filters sees C / groups channels only (Krizhevsky et al. 2012, 3.5).
      use_bias: adds a bias (features,) to each filter.
      dtype: compute type; the kernel (f, f, C / groups, features) and the bias are float32 parameters.

    Raises ValueError for an unknown `padding_mode`, for channels or filters that `groups` does not divide, for more
    symmetric or circular padding than there are pixels, and where the padded input is smaller than the kernel.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | None = None
    padding_mode: str = "zero"
    dilation: int = 1
    groups: int = 1
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if x.shape[-1] % self.groups or self.features % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {x.shape[-1]} channels and {self.features} filters")
        shape = (self.kernel_size, self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", INITIALIZERS["kernel"], shape).astype(self.dtype)
        padding = self.dilation * (self.kernel_size // 2) if self.padding is None else self.padding
        x, padding = pad(x.astype(self.dtype), padding, self.padding_mode)
        # XLA:CPU is slow at grouped convolutions, and groups are few.
        parts = zip(*(jnp.split(array, self.groups, axis=-1) for array in (x, kernel)), strict=True)
        if self.dilation == 1:
            results = [conv(*part, self.stride, padding) for part in parts]
        else:
            results = [dilated_conv(*part, self.stride, padding, self.dilation) for part in parts]
        y = jnp.concatenate(results, axis=-1)
        if not self.use_bias:
            return y
        bias = self.param("bias", INITIALIZERS["bias"], (self.features,))
        return y + bias.astype(self.dtype).reshape(1, 1, 1, -1)


def pad(x: jax.Array, padding: int, mode: str) -> tuple[jax.Array, int]:
    """Maps (B, H, W, C) padded as `mode` says, and the zeros that the convolution itself is still to add."""
    if mode not in PADDING_MODES:
        raise ValueError(f"padding_mode {mode!r}; choose from {', '.join(PADDING_MODES)}")
    if mode in ("zero", "valid"):
        return x, padding if mode == "zero" else 0
    if padding > min(x.shape[1:3]):
        raise ValueError(f"{mode} padding of {padding} pixels needs a map of as many; this one has {x.shape[1:3]}")
    return jnp.pad(
        x, [(0, 0), (padding, padding), (padding, padding), (0, 0)], "symmetric" if mode == "symmetric" else "wrap"
    ), 0


def conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """Cross-correlates x (B, H, W, C) with kernel (f, f, C, D) into (B, H', W', D), to be differentiated in any way.

    Raises ValueError where the padded input is smaller than the kernel.
    """
    height, width = (output_size(size, len(kernel), stride, padding) for size in x.shape[1:3])
    return convolve("convolution", (x.shape[0], height, width, kernel.shape[3]), x, kernel, stride, padding)


def dilated_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int, dilation: int) -> jax.Array:
    """`conv` with `dilation` pixels between the taps, lowered by XLA on every platform."""
    for size in x.shape[1:3]:
        output_size(size, len(kernel), stride, padding, dilation)
    return xla_conv(stride, padding, dilation)(x, kernel)
