"""Convolution with explicit padding, the same on every side, and its two gradients, lowered per platform.

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
from cnn_jax.layers.geometry import output_size
from cnn_jax.layers.initializers import INITIALIZERS

LARGE_MAP_PIXELS = 256  # pixels from which XLA:CPU is faster at the kernel gradients of parts of the batch, summed
PARTS = 8

Pair = tuple[jax.Array, jax.Array]
Convolve = Callable[[jax.Array, jax.Array], jax.Array]


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


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    """Cross-correlates x (B, H, W, C) with kernel (f, f, C, D) into (B, H', W', D).

    Raises ValueError where the padded input is smaller than the kernel.
    """
    height, width = (output_size(size, len(kernel), stride, padding) for size in x.shape[1:3])
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


def dilated_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int, dilation: int) -> jax.Array:
    """`conv` with `dilation` pixels between the taps, lowered by XLA on every platform."""
    for size in x.shape[1:3]:
        output_size(size, len(kernel), stride, padding, dilation)
    return xla_conv(stride, padding, dilation)(x, kernel)


def xla_conv(stride: int, padding: int, dilation: int = 1) -> Convolve:
    return partial(
        lax.conv_general_dilated,
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
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


def split_batch(gradient: Convolve) -> Convolve:
    """The kernel gradient as a sum over parts of the batch, where that is faster."""

    def summed(x: jax.Array, y_bar: jax.Array) -> jax.Array:
        if x.shape[1] * x.shape[2] < LARGE_MAP_PIXELS or len(x) % PARTS:
            return gradient(x, y_bar)
        parts = [gradient(*part) for part in zip(jnp.split(x, PARTS), jnp.split(y_bar, PARTS), strict=True)]
        return sum(parts[1:], parts[0])

    return summed


# How each function's arguments and result split along the batch; what does not, every device has whole.
SHARDING_RULES = {
    "convolution": "b h w c, i j e d -> b p q r",
    "input_gradient": "i j e d, b p q r -> b h w c",
    "kernel_gradient": "b h w c, b p q r -> i j e d",
}


def lower(
    name: str, shape: tuple[int, ...], first: jax.Array, second: jax.Array, stride: int, padding: int
) -> jax.Array:
    """The package's kernel `name` for float32 on CPU, XLA's lowering elsewhere; the result is `shape`."""
    float32 = first.dtype == second.dtype == jnp.float32
    use_native = float32 and jax.default_backend() == "cpu" and native.is_available()
    return _lower(name, shape, first, second, stride, padding, use_native)


@partial(jax.jit, static_argnums=(0, 1, 4, 5, 6))  # layers of the same shape are traced and lowered once
def _lower(
    name: str, shape: tuple[int, ...], first: jax.Array, second: jax.Array, stride: int, padding: int, use_native: bool
) -> jax.Array:
    xla = {
        "convolution": xla_conv(stride, padding),
        "input_gradient": xla_input_gradient(shape, stride, padding),
        "kernel_gradient": xla_kernel_gradient(shape, stride, padding),
    }[name]
    if use_native:
        cpu = sequential_vmap(partition_batch(name, shape, stride, padding))
    else:
        cpu = split_batch(xla) if name == "kernel_gradient" else xla
    return lax.platform_dependent(first, second, cpu=cpu, default=xla)


def partition_batch(name: str, shape: tuple[int, ...], stride: int, padding: int) -> Convolve:
    """The kernel, told to the compiler: on several devices under `jit` each works on its share of the batch."""
    arguments, result = (side.split(", ") for side in SHARDING_RULES[name].split(" -> "))

    def local(first: jax.Array, second: jax.Array) -> jax.Array:
        batches = [len(array) for array, axes in zip((first, second), arguments, strict=True) if axes[0] == "b"]
        local_shape = (batches[0], *shape[1:]) if result[0][0] == "b" else shape
        return native.call(name, local_shape, first, second, stride=stride, padding=padding)

    def partition(mesh: Any, argument_shapes: Any, _: Any) -> Any:
        specs = [argument.sharding.spec for argument in argument_shapes]
        batch = next(spec[0] if spec else None for spec, axes in zip(specs, arguments, strict=True) if axes[0] == "b")

        def sharding(axes: str) -> NamedSharding:
            return NamedSharding(mesh, PartitionSpec(batch) if axes[0] == "b" else PartitionSpec())

        def with_sum(first: jax.Array, second: jax.Array) -> jax.Array:
            part = local(first, second)
            return part if result[0][0] == "b" or batch is None else lax.psum(part, batch)

        return mesh, with_sum, sharding(result[0]), tuple(map(sharding, arguments))

    function = custom_partitioning(local)
    function.def_partition(
        partition=partition,
        infer_sharding_from_operands=lambda *shapes: partition(*shapes)[2],
        sharding_rule=SHARDING_RULES[name],
    )
    return function
