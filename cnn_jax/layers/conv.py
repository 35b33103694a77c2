"""Convolution with explicit, symmetric zero padding, and its two gradients, lowered per platform.

GPU and TPU have XLA's own. XLA:CPU is slow at the kernel gradient above all, so there float32 takes the package's
kernels (native.py), to the same numbers up to rounding. A convolution is linear in either argument, and each gradient
is again a convolution: the three functions here are each other's derivatives, to any order.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.custom_batching import sequential_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from cnn_jax.layers import native
from cnn_jax.layers.initializers import INITIALIZERS

LARGE_MAP = 256  # pixels from which XLA:CPU is faster at the kernel gradients of parts of the batch, summed
PARTS = 8

Pair = tuple[jax.Array, jax.Array]
Convolve = Callable[[jax.Array, jax.Array], jax.Array]


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
    """Cross-correlates x (B, H, W, C) with kernel (f, f, C, D) into (B, H', W', D).

    Raises ValueError where the padded input is smaller than the kernel.
    """
    if min(x.shape[1:3]) + 2 * padding < len(kernel):
        raise ValueError(f"an input of {x.shape[1:3]} with padding {padding} is smaller than the kernel, {len(kernel)}")
    height, width = ((size + 2 * padding - len(kernel)) // stride + 1 for size in x.shape[1:3])
    return lower("convolution", (len(x), height, width, kernel.shape[3]), x, kernel, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def input_gradient(kernel: jax.Array, y_bar: jax.Array, size: tuple[int, int], stride: int, padding: int) -> jax.Array:
    """The gradient of `conv` by its input, (B, *size, C), from that by its result, (B, H', W', D)."""
    return lower("input_gradient", (len(y_bar), *size, kernel.shape[2]), kernel, y_bar, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def kernel_gradient(x: jax.Array, y_bar: jax.Array, size: tuple[int, int], stride: int, padding: int) -> jax.Array:
    """The gradient of `conv` by its kernel, (*size, C, D), from that by its result, (B, H', W', D)."""
    return lower("kernel_gradient", (*size, x.shape[-1], y_bar.shape[-1]), x, y_bar, stride, padding)


def conv_forward(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> tuple[jax.Array, Pair]:
    return conv(x, kernel, stride, padding), (x, kernel)


def conv_backward(stride: int, padding: int, arguments: Pair, y_bar: jax.Array) -> Pair:
    x, kernel = arguments
    x_bar = input_gradient(kernel, y_bar, x.shape[1:3], stride, padding)
    return x_bar, kernel_gradient(x, y_bar, kernel.shape[:2], stride, padding)


def input_forward(kernel: jax.Array, y_bar: jax.Array, size: Any, stride: int, padding: int) -> tuple[jax.Array, Pair]:
    return input_gradient(kernel, y_bar, size, stride, padding), (kernel, y_bar)


def input_backward(size: Any, stride: int, padding: int, arguments: Pair, cotangent: jax.Array) -> Pair:
    kernel, y_bar = arguments
    kernel_bar = kernel_gradient(cotangent, y_bar, kernel.shape[:2], stride, padding)
    return kernel_bar, conv(cotangent, kernel, stride, padding)


def kernel_forward(x: jax.Array, y_bar: jax.Array, size: Any, stride: int, padding: int) -> tuple[jax.Array, Pair]:
    return kernel_gradient(x, y_bar, size, stride, padding), (x, y_bar)


def kernel_backward(size: Any, stride: int, padding: int, arguments: Pair, cotangent: jax.Array) -> Pair:
    x, y_bar = arguments
    return input_gradient(cotangent, y_bar, x.shape[1:3], stride, padding), conv(x, cotangent, stride, padding)


conv.defvjp(conv_forward, conv_backward)
input_gradient.defvjp(input_forward, input_backward)
kernel_gradient.defvjp(kernel_forward, kernel_backward)


def xla_conv(stride: int, padding: int) -> Convolve:
    return partial(
        lax.conv_general_dilated,
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def xla_input_gradient(shape: tuple[int, ...], stride: int, padding: int) -> Convolve:
    def gradient(kernel: jax.Array, y_bar: jax.Array) -> jax.Array:
        x = jax.ShapeDtypeStruct(shape, kernel.dtype)
        (x_bar,) = jax.linear_transpose(lambda x: xla_conv(stride, padding)(x, kernel), x)(y_bar)
        return x_bar

    return gradient


def xla_kernel_gradient(shape: tuple[int, ...], stride: int, padding: int) -> Convolve:
    def gradient(x: jax.Array, y_bar: jax.Array) -> jax.Array:
        kernel = jax.ShapeDtypeStruct(shape, x.dtype)
        (kernel_bar,) = jax.linear_transpose(lambda kernel: xla_conv(stride, padding)(x, kernel), kernel)(y_bar)
        return kernel_bar

    return gradient


def in_parts(gradient: Convolve) -> Convolve:
    """The kernel gradient as a sum over parts of the batch, where that is faster."""

    def summed(x: jax.Array, y_bar: jax.Array) -> jax.Array:
        if x.shape[1] * x.shape[2] < LARGE_MAP or len(x) % PARTS:
            return gradient(x, y_bar)
        parts = [gradient(*part) for part in zip(jnp.split(x, PARTS), jnp.split(y_bar, PARTS), strict=True)]
        return sum(parts[1:], parts[0])

    return summed


# How each function's arguments and result split along the batch; what does not, every device has whole.
BATCHED = {
    "convolution": "b h w c, i j e d -> b p q r",
    "input_gradient": "i j e d, b p q r -> b h w c",
    "kernel_gradient": "b h w c, b p q r -> i j e d",
}


def lower(
    name: str, shape: tuple[int, ...], first: jax.Array, second: jax.Array, stride: int, padding: int
) -> jax.Array:
    """The package's kernel `name` for float32 on CPU, XLA's lowering elsewhere; the result is `shape`."""
    float32 = first.dtype == second.dtype == jnp.float32
    own = float32 and jax.default_backend() == "cpu" and native.available()
    return _lower(name, shape, first, second, stride, padding, own)


@partial(jax.jit, static_argnums=(0, 1, 4, 5, 6))  # layers of the same shape are traced and lowered once
def _lower(
    name: str, shape: tuple[int, ...], first: jax.Array, second: jax.Array, stride: int, padding: int, own: bool
) -> jax.Array:
    xla = {
        "convolution": xla_conv(stride, padding),
        "input_gradient": xla_input_gradient(shape, stride, padding),
        "kernel_gradient": xla_kernel_gradient(shape, stride, padding),
    }[name]
    if own:
        cpu = sequential_vmap(over_devices(name, shape, stride, padding))
    else:
        cpu = in_parts(xla) if name == "kernel_gradient" else xla
    return lax.platform_dependent(first, second, cpu=cpu, default=xla)


def over_devices(name: str, shape: tuple[int, ...], stride: int, padding: int) -> Convolve:
    """The kernel, told to the compiler: on several devices under `jit` each works on its share of the batch."""
    arguments, result = (side.split(", ") for side in BATCHED[name].split(" -> "))

    def local(first: jax.Array, second: jax.Array) -> jax.Array:
        batches = [len(array) for array, axes in zip((first, second), arguments, strict=True) if axes[0] == "b"]
        own = (batches[0], *shape[1:]) if result[0][0] == "b" else shape
        return native.call(name, own, first, second, stride=stride, padding=padding)

    def partition(mesh: Any, argument_shapes: Any, _: Any) -> Any:
        specs = [argument.sharding.spec for argument in argument_shapes]
        batch = next(spec[0] if spec else None for spec, axes in zip(specs, arguments, strict=True) if axes[0] == "b")

        def sharding(axes: str) -> NamedSharding:
            return NamedSharding(mesh, PartitionSpec(batch) if axes[0] == "b" else PartitionSpec())

        def with_sum(first: jax.Array, second: jax.Array) -> jax.Array:
            part = local(first, second)
            return part if result[0][0] == "b" or batch is None else lax.psum(part, batch)

        return mesh, with_sum, sharding(result[0]), tuple(map(sharding, arguments))

    def infer(mesh: Any, argument_shapes: Any, result_shape: Any) -> Any:
        return partition(mesh, argument_shapes, result_shape)[2]

    function = custom_partitioning(local)
    function.def_partition(partition=partition, infer_sharding_from_operands=infer, sharding_rule=BATCHED[name])
    return function
