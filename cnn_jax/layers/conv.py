"""Convolution with explicit, symmetric zero padding, lowered per platform.

XLA:CPU is slow at two things the training step needs: the kernel gradient of a large map (one pass over the batch; the
sum over chunks of it is several times faster) and any convolution of a map of a few pixels (a matrix product is). Both
are replaced on CPU, to the same numbers up to rounding; GPU and TPU keep their own.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from cnn_jax.layers.initializers import INITIALIZERS

SMALL_MAP = 16  # pixels up to which a convolution is computed as a matrix product on CPU
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
    x, kernel = residuals
    arguments = {"stride": stride, "padding": padding}
    gradients = (_input_gradient_cpu, _input_gradient_native), (_kernel_gradient_cpu, _kernel_gradient_native)
    x_bar, kernel_bar = (
        lax.platform_dependent(
            x, kernel, cotangent, cpu=partial(cpu, **arguments), default=partial(native, **arguments)
        )
        for cpu, native in gradients
    )
    return x_bar, kernel_bar


conv.defvjp(_forward, _backward)


def _conv_native(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _input_gradient_native(x: jax.Array, kernel: jax.Array, cotangent: jax.Array, **arguments: int) -> jax.Array:
    return jax.vjp(lambda x: _conv_native(x, kernel, **arguments), x)[1](cotangent)[0]


def _kernel_gradient_native(x: jax.Array, kernel: jax.Array, cotangent: jax.Array, **arguments: int) -> jax.Array:
    return jax.vjp(lambda kernel: _conv_native(x, kernel, **arguments), kernel)[1](cotangent)[0]


def _conv_cpu(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    if x.shape[1] * x.shape[2] > SMALL_MAP:
        return _conv_native(x, kernel, stride=stride, padding=padding)
    columns = _columns(x, kernel.shape[0], stride, padding)  # (B, H', W', f f C)
    return columns @ kernel.reshape(-1, kernel.shape[-1])


def _input_gradient_cpu(
    x: jax.Array, kernel: jax.Array, cotangent: jax.Array, *, stride: int, padding: int
) -> jax.Array:
    if stride > 1 or x.shape[1] * x.shape[2] > SMALL_MAP:
        return _input_gradient_native(x, kernel, cotangent, stride=stride, padding=padding)
    # At stride 1 it is the convolution of the cotangent with the kernel turned round, its channels exchanged.
    turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    return _conv_cpu(cotangent, turned, stride=1, padding=kernel.shape[0] - 1 - padding)


def _kernel_gradient_cpu(x: jax.Array, kernel: jax.Array, cotangent: jax.Array, **arguments: int) -> jax.Array:
    if x.shape[1] * x.shape[2] < LARGE_MAP or len(x) % PARTS:
        return _kernel_gradient_native(x, kernel, cotangent, **arguments)
    parts = zip(jnp.split(x, PARTS), jnp.split(cotangent, PARTS), strict=True)
    return sum(_kernel_gradient_native(part, kernel, part_bar, **arguments) for part, part_bar in parts)


def _columns(x: jax.Array, size: int, stride: int, padding: int) -> jax.Array:
    x = jnp.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    b, h, w, c = x.shape
    last = h - size, w - size
    patches = [
        lax.slice(x, (0, i, j, 0), (b, i + last[0] + 1, j + last[1] + 1, c), (1, stride, stride, 1))
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(patches, axis=-1)
