"""Convolution and its two gradients as primitives of JAX, lowered per platform.

GPU and TPU have XLA's own. XLA:CPU is slow at the kernel gradient above all, so there float32 and bfloat16 take the
package's kernels (native.py), to the same numbers up to rounding. A convolution is linear in either argument, and each
gradient is again a convolution: the three are each other's derivatives, forward and reverse and to any order.

An exported program takes XLA's own everywhere: the kernels are built for one machine.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, mlir
from jax.sharding import get_abstract_mesh

from cnn_jax.layers import native
from cnn_jax.layers.primitives import align, by_batch, define

LARGE_MAP_PIXELS = 256  # pixels from which XLA:CPU is faster at the kernel gradients of parts of the batch, summed
PARTS = 8

Convolve = Callable[[jax.Array, jax.Array], jax.Array]
Shape = tuple[int, ...]

# How each primitive's arguments and result split along the batch; what does not, every device has whole.
SHARDING_RULES = {
    "convolution": "b h w c, i j e d -> b p q r",
    "input_gradient": "i j e d, b p q r -> b h w c",
    "kernel_gradient": "b h w c, b p q r -> i j e d",
}
PRIMITIVES = {name: Primitive(f"cnn_jax_{name}") for name in SHARDING_RULES}


def convolve(name: str, shape: Shape, first: jax.Array, second: jax.Array, stride: int, padding: int) -> jax.Array:
    """The primitive `name` of two arrays of one type; the result is `shape`.

    "convolution" takes x (B, H, W, C) and kernel (f, f, C, D) to (B, H', W', D); "input_gradient" kernel and the
    gradient by that result to the one by x; "kernel_gradient" x and that gradient to the one by the kernel.
    """
    return bind(name, tuple(shape), first, second, stride, padding, native.takes(first, second))


def bind(name: str, shape: Shape, first: Any, second: Any, stride: int, padding: int, use_native: bool) -> Any:
    """Either 4 axes each, or one more before them: problems of the same shape, whose results are `shape` each."""
    if first.dtype != second.dtype:
        raise TypeError(f"a convolution of {first.dtype} and {second.dtype}: give both one type")
    sizes = (first.shape, second.shape)
    own = trace_native(name, shape, stride, padding, sizes, first.dtype, get_abstract_mesh()) if use_native else None
    return PRIMITIVES[name].bind(first, second, shape=shape, stride=stride, padding=padding, native=own)


# The two transposes of each, from the gradient by its result and the argument that stays: a primitive and the order.
TRANSPOSES = {
    "convolution": (
        lambda result, _, kernel: ("input_gradient", kernel, result),
        lambda result, x, _: ("kernel_gradient", x, result),
    ),
    "input_gradient": (
        lambda result, _, y_bar: ("kernel_gradient", result, y_bar),
        lambda result, kernel, _: ("convolution", result, kernel),
    ),
    "kernel_gradient": (
        lambda result, _, y_bar: ("input_gradient", result, y_bar),
        lambda result, x, _: ("convolution", x, result),
    ),
}


def transpose(name: str, argument: int, result_bar: Any, *arguments: Any, native: Any, **parameters: Any) -> Any:
    transposed, first, second = TRANSPOSES[name][argument](result_bar, *arguments)
    shape = arguments[argument].aval.shape[-4:]
    return bind(transposed, first=first, second=second, use_native=native is not None, **parameters | {"shape": shape})


def batch(name: str, arguments: Any, axes: Any, *, native: Any, **parameters: Any) -> tuple[Any, int]:
    """Under `vmap` both arguments have one more axis before theirs, of problems, which several share."""
    count, moved = align(arguments, axes)
    inner = next((x.shape[1] for x in moved if x.ndim == 6), None)
    if inner is not None:  # mapped before: problems of problems are problems
        moved = [x.reshape(-1, *x.shape[2:]) for x in moved]
    first, second = moved
    result = bind(name, first=first, second=second, use_native=native is not None, **parameters)
    return result if inner is None else result.reshape(count, inner, *result.shape[1:]), 0


def infer_result(first: Any, second: Any, *, shape: Shape, **_: Any) -> Any:
    return first.update(shape=(*first.shape[:-4], *shape), weak_type=False)


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
        if x.shape[1] * x.shape[2] < LARGE_MAP_PIXELS or x.shape[0] % PARTS:
            return gradient(x, y_bar)
        parts = [gradient(*part) for part in zip(jnp.split(x, PARTS), jnp.split(y_bar, PARTS), strict=True)]
        return sum(parts[1:], parts[0])

    return summed


@cache
def trace_native(
    name: str, shape: Shape, stride: int, padding: int, sizes: tuple[Shape, Shape], dtype: Any, mesh: Any
) -> ClosedJaxpr:
    """The call of the kernel, once for layers of the same shape.

    A primitive carries it as a parameter, so that JAX sees what is in it: custom_partitioning asks for the devices.
    What is traced belongs to the `mesh` it is traced under.
    """

    def kernel(batch: int, first: jax.Array, second: jax.Array) -> jax.Array:
        local = shape if name == "kernel_gradient" else (batch, *shape[1:])
        return native.call(name, jax.ShapeDtypeStruct(local, dtype), first, second, stride=stride, padding=padding)

    one = by_batch(SHARDING_RULES[name], kernel)
    call = one if len(sizes[0]) == 4 else lambda first, second: lax.map(lambda pair: one(*pair), (first, second))
    return jax.make_jaxpr(call)(*(jax.ShapeDtypeStruct(size, dtype) for size in sizes))


@cache
def make_xla(name: str, shape: Shape, stride: int, padding: int, on_cpu: bool, mapped: bool) -> Convolve:
    """XLA's own; compiled once for layers of the same shape."""
    one = {
        "convolution": xla_conv(stride, padding),
        "input_gradient": xla_input_gradient(shape, stride, padding),
        "kernel_gradient": xla_kernel_gradient(shape, stride, padding),
    }[name]
    if on_cpu and name == "kernel_gradient":
        one = split_batch(one)
    return jax.jit(jax.vmap(one) if mapped else one)


def lower(name: str, on_cpu: bool, context: Any, *arguments: Any, native: Any, **parameters: Any) -> Any:
    """Of an exported program as where there is no kernel: one is built for the machine it runs on."""
    if on_cpu and native is not None and not context.module_context.lowering_parameters.for_export:
        return mlir.lower_fun(jaxpr_as_fun(native), multiple_results=True)(context, *arguments)
    mapped = len(context.avals_in[0].shape) > 4
    function = make_xla(name, on_cpu=on_cpu, mapped=mapped, **parameters)
    return mlir.lower_fun(function, multiple_results=False)(context, *arguments)


def register(name: str, primitive: Primitive) -> None:
    define(primitive, infer_result, partial(batch, name))
    ad.defbilinear(primitive, partial(transpose, name, 0), partial(transpose, name, 1))
    mlir.register_lowering(primitive, partial(lower, name, False))
    mlir.register_lowering(primitive, partial(lower, name, True), platform="cpu")


for _name, _primitive in PRIMITIVES.items():
    register(_name, _primitive)
