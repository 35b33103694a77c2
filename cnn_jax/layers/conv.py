"""Convolution with explicit, symmetric zero padding, lowered per platform.

XLA:CPU is slow at two things the training step needs: the kernel gradient of a large map in one pass over the batch (a
sum over parts of the batch is several times faster), and any convolution of a map of a few pixels, where each output
sees each input (one matrix product is ten times faster). Both are replaced on CPU, to the same numbers up to rounding;
GPU and TPU keep their own.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from cnn_jax.layers.initializers import INITIALIZERS

SMALL_MAP = 4  # pixels up to which a convolution is one matrix product on CPU
LARGE_MAP = 256  # pixels from which a kernel gradient is summed over parts of the batch on CPU
PARTS = 8


class Conv(nn.Module):
    """A square convolution without bias: (B, H, W, C) -> (B, H', W', features), H' = floor((H - f + 2p) / s + 1).

    Attributes:
      features: filters.
      kernel_size: f, in pixels.
      stride: s, in pixels.
      padding: p, pixels of zeros on every side; None is f // 2.
      dtype: compute type; the kernel (f, f, C, features) is a float32 parameter.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", INITIALIZERS["kernel"], shape)
        padding = self.kernel_size // 2 if self.padding is None else self.padding
        return conv(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """Cross-correlates x (B, H, W, C) with kernel (f, f, C, D) into (B, H', W', D)."""
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_conv_cpu, stride=stride, padding=padding),
        default=partial(_conv_native, stride=stride, padding=padding),
    )


def _forward(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> tuple[jax.Array, Any]:
    return conv(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: int, residuals: Any, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    gradients = {
        "cpu": partial(_gradients_cpu, stride=stride, padding=padding),
        "default": partial(_gradients, partial(_conv_native, stride=stride, padding=padding)),
    }
    x_bar, kernel_bar = lax.platform_dependent(*residuals, cotangent, **gradients)
    return x_bar, kernel_bar


conv.defvjp(_forward, _backward)


def _conv_native(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _gradients(convolve: Any, x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.vjp(convolve, x, kernel)[1](cotangent)


def _conv_cpu(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    if x.shape[1] * x.shape[2] > SMALL_MAP:
        return _conv_native(x, kernel, stride=stride, padding=padding)
    return _conv_dense(x, kernel, stride=stride, padding=padding)


def _gradients_cpu(
    x: jax.Array, kernel: jax.Array, cotangent: jax.Array, *, stride: int, padding: int
) -> tuple[jax.Array, jax.Array]:
    convolve = partial(_conv_cpu, stride=stride, padding=padding)
    if x.shape[1] * x.shape[2] < LARGE_MAP or len(x) % PARTS:
        return _gradients(convolve, x, kernel, cotangent)
    (x_bar,) = jax.vjp(lambda x: convolve(x, kernel), x)[1](cotangent)
    parts = zip(jnp.split(x, PARTS), jnp.split(cotangent, PARTS), strict=True)
    kernel_bars = [jax.vjp(partial(convolve, part), kernel)[1](part_bar)[0] for part, part_bar in parts]
    return x_bar, sum(kernel_bars[1:], kernel_bars[0])


def _conv_dense(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    """The convolution as one matrix product of (B, H W C) with (H W C, H' W' D)."""
    (b, h, w, c), (f, _, _, d) = x.shape, kernel.shape
    out_h, out_w = (h - f + 2 * padding) // stride + 1, (w - f + 2 * padding) // stride + 1
    # What an output pixel sees of the map is a window of the kernel, moved the other way and cut or filled with zeros.
    kernel = jnp.pad(kernel, [(h, h), (w, w), (0, 0), (0, 0)])
    tops = [h + padding - stride * i for i in range(out_h)]
    lefts = [w + padding - stride * j for j in range(out_w)]
    windows = [kernel[top : top + h, left : left + w] for top in tops for left in lefts]
    matrix = jnp.stack(windows, axis=3)  # (H, W, C, H' W', D)
    return (x.reshape(b, -1) @ matrix.reshape(h * w * c, -1)).reshape(b, out_h, out_w, d)
