"""Pooling: the largest, the mean or a trained multiple of the sum, of each map in square windows.

A window is slid along the rows, then along the columns, each a reduction of strided slices. XLA:CPU is several times
slower at the gradient of its own `reduce_window`, and at that of the slices of both axes at once. There the largest is
found by a kernel of the package, see max_pooling.py.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from cnn_jax.layers import max_pooling
from cnn_jax.layers.activations import ACTIVATIONS
from cnn_jax.layers.conv import Conv
from cnn_jax.layers.geometry import output_size
from cnn_jax.layers.initializers import INITIALIZERS


def max_pool(
    x: jax.Array, size: int, stride: int | None = None, padding: int = 0, ceil_mode: bool = False
) -> jax.Array:
    """The largest of each window: (B, H, W, C) -> (B, H', W', C), H' as `output_size` has it.

    Padding never wins. Of equals the first, row by row, has the gradient (Caffe, PyTorch); NaN is larger than all.

    Args:
      x: maps (B, H, W, C) of a floating type.
      size: pixels a side of the window.
      stride: pixels between windows; None is `size`, windows that do not overlap.
      padding: pixels on every side, at most size // 2.
      ceil_mode: rounds H' up; the last window may hang over the edge.

    Raises:
      ValueError: a window larger than the padded input, or one that could see padding alone.
    """
    stride = stride or size
    if not max_pooling.takes(x, size):
        return reduce_windows(maximum, -jnp.inf, x, size, stride, padding, ceil_mode)
    check_padding(size, padding)
    height, width = (output_size(pixels, size, stride, padding, ceil_mode=ceil_mode) for pixels in x.shape[1:3])
    return max_pooling.largest(x, max_pooling.Windows(size, stride, padding), (height, width))


def mean_pool(
    x: jax.Array, size: int, stride: int | None = None, padding: int = 0, ceil_mode: bool = False
) -> jax.Array:
    """The mean of each window: (B, H, W, C) -> (B, H', W', C); arguments and errors as in `max_pool`.

    Padding counts as zeros; what `ceil_mode` hangs over the padded input does not count (PyTorch's default).
    """
    stride = stride or size
    total = reduce_windows(
        jnp.add, 0, x.astype(jnp.promote_types(x.dtype, jnp.float32)), size, stride, padding, ceil_mode
    )
    rows, columns = (
        np.minimum(stride * np.arange(out) + size, pixels + 2 * padding) - stride * np.arange(out)
        for out, pixels in zip(total.shape[1:3], x.shape[1:3], strict=True)
    )
    return (total / np.multiply.outer(rows, columns)[None, :, :, None].astype(total.dtype)).astype(x.dtype)


def global_mean_pool(x: jax.Array) -> jax.Array:
    """The mean of each map, in float32: (B, H, W, C) -> (B, C)."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean(axis=(1, 2))


# Window, stride and padding of what halves a map. Krizhevsky et al. 2012, 3.4, overlap windows; Springenberg et al.
# 2015 (https://arxiv.org/abs/1412.6806) have a convolution learn what to keep.
POOLINGS = {"max": (2, 2, 0), "mean": (2, 2, 0), "overlapping": (3, 2, 1), "strided": (3, 2, 1)}


def window_geometry(pooling: str, padding_mode: str = "zero") -> tuple[int, int, int]:
    """Window, stride and padding of one of POOLINGS; a convolution that is to stay inside has no padding."""
    window, stride, padding = POOLINGS[pooling]
    return window, stride, 0 if (pooling, padding_mode) == ("strided", "valid") else padding


class Pool(nn.Module):
    """Maps of half the size, by one of POOLINGS: (B, H, W, C) -> (B, H', W', C).

    Attributes:
      pooling: "max", "mean", "overlapping" (the largest) or "strided" (a convolution, and the nonlinearity).
      activation: that nonlinearity.
      padding_mode: what the convolution finds beyond the edge, see Conv.
      dtype: the convolution's compute type.
    """

    pooling: str
    activation: str = "relu"
    padding_mode: str = "zero"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        window, stride, padding = window_geometry(self.pooling, self.padding_mode)
        if self.pooling == "strided":
            conv = partial(Conv, use_bias=True, dtype=self.dtype, name="conv")
            return ACTIVATIONS[self.activation](conv(x.shape[-1], window, stride, padding, self.padding_mode)(x))
        return (mean_pool if self.pooling == "mean" else max_pool)(x, window, stride, padding)


class TrainablePool(nn.Module):
    """A trained coefficient a map times the sum of each window, plus a trained bias (LeCun et al. 1998, II.B, S2, S4).

    (B, H, W, C) -> (B, H // size, W // size, C); windows do not overlap, and no nonlinearity is applied.

    Attributes:
      size: pixels a side of the window.
      dtype: compute type; `coefficient` and `bias`, (C,) both, are float32 parameters.
    """

    size: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (1, 1, 1, x.shape[-1])
        coefficient = self.param("coefficient", INITIALIZERS["coefficient"], shape[-1:]).astype(self.dtype)
        bias = self.param("bias", INITIALIZERS["bias"], shape[-1:]).astype(self.dtype)
        total = reduce_windows(jnp.add, 0, x.astype(self.dtype), self.size, self.size, 0, False)
        return total * coefficient.reshape(shape) + bias.reshape(shape)


def check_padding(size: int, padding: int) -> None:
    if 2 * padding > size:
        raise ValueError(f"pooling {size} pixels with padding {padding}: at most {size // 2}, half the window")


def maximum(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where((b > a) | jnp.isnan(b), b, a)  # `jnp.maximum` would halve the gradient between equals


def reduce_windows(
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    empty: float,
    x: jax.Array,
    size: int,
    stride: int,
    padding: int,
    ceil_mode: bool,
) -> jax.Array:
    """Reduces each window of maps (B, H, W, C) by `combine`, along W and then along H; `empty` is the padding."""
    check_padding(size, padding)
    for axis in (2, 1):
        pixels = x.shape[axis]
        out = output_size(pixels, size, stride, padding, ceil_mode=ceil_mode)
        overhang = max(0, (out - 1) * stride + size - pixels - 2 * padding)
        if padding or overhang:
            widths = [(0, 0)] * x.ndim
            widths[axis] = padding, padding + overhang
            x = jnp.pad(x, widths, constant_values=empty)
        last = (out - 1) * stride + 1
        x = reduce(combine, [lax.slice_in_dim(x, start, start + last, stride, axis) for start in range(size)])
    return x
