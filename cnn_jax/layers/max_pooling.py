"""The largest of each window on CPU, by the package's kernels, and its derivatives: primitives of JAX.

XLA:CPU spends a quarter of a step of GoogLeNet on pooling. The kernel keeps the place of what won each window; the
derivative reads a map at these places, its transpose adds to them. Both are linear: forward and reverse, to any order.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, mlir
from jax.sharding import get_abstract_mesh

from cnn_jax.layers import native
from cnn_jax.layers.primitives import align, by_batch, define

MOST_PIXELS = 15  # a side of a window whose places fit into a byte
RULES = {
    "max_pool": "b h w c -> b p q c, b p q c",
    "take": "b h w c, b p q c -> b p q c",
    "spread": "b p q c, b p q c -> b h w c",
}
PRIMITIVES = {name: Primitive(f"cnn_jax_{name}") for name in RULES}
PRIMITIVES["max_pool"].multiple_results = True


class Windows(NamedTuple):
    """Squares of `size` pixels, `stride` apart, from `padding` before the map's edge on."""

    size: int
    stride: int
    padding: int


def takes(x: Any, size: int) -> bool:
    """Whether the kernels compute the largest of windows of maps x (B, H, W, C)."""
    return size <= MOST_PIXELS and native.takes(x)


def largest(x: jax.Array, windows: Windows, out: tuple[int, int]) -> jax.Array:
    """Of each window of x (B, H, W, C): (B, *out, C)."""
    return bind("max_pool", windows, (x.shape[0], *out, x.shape[3]), x)[0]


def bind(name: str, windows: Windows, shape: tuple[int, ...], *arguments: Any) -> Any:
    call = trace(
        name, windows, shape, tuple(argument.shape for argument in arguments), arguments[0].dtype, get_abstract_mesh()
    )
    return PRIMITIVES[name].bind(*arguments, windows=windows, shape=shape, call=call)


@cache
def trace(name: str, windows: Windows, shape: Any, sizes: Any, dtype: Any, _: Any) -> ClosedJaxpr:
    """The kernel's call, carried by the primitive as in `convolutions`."""

    def kernel(batch: int, *arguments: jax.Array) -> Any:
        result = jax.ShapeDtypeStruct((batch, *shape[1:]), dtype)
        results = (result, jax.ShapeDtypeStruct(result.shape, jnp.uint8)) if name == "max_pool" else result
        return native.call(name, results, *arguments, **windows._asdict())

    types = (dtype, jnp.uint8)[: len(sizes)]
    return jax.make_jaxpr(by_batch(RULES[name], kernel))(*map(jax.ShapeDtypeStruct, sizes, types))


def read_windows(x: jax.Array, windows: Windows, out: tuple[int, int], empty: float) -> list[jax.Array]:
    """What each pixel of the windows sees, row by row: (B, *out, C) each."""
    ends = [(n - 1) * windows.stride + windows.size for n in out]
    widths = [(windows.padding, max(0, end - windows.padding - n)) for end, n in zip(ends, x.shape[1:3], strict=True)]
    x = jnp.pad(x, [(0, 0), *widths, (0, 0)], constant_values=empty)
    rows, columns = ((n - 1) * windows.stride + 1 for n in out)
    return [
        x[:, i : i + rows : windows.stride, j : j + columns : windows.stride]
        for i in range(windows.size)
        for j in range(windows.size)
    ]


def xla_max_pool(windows: Windows, shape: Any, x: jax.Array) -> list[jax.Array]:
    first, *others = read_windows(x, windows, shape[1:3], -jnp.inf)
    best, places = first, jnp.zeros(first.shape, jnp.uint8)
    for place, value in enumerate(others, start=1):
        wins = (value > best) | jnp.isnan(value)
        best, places = jnp.where(wins, value, best), jnp.where(wins, jnp.uint8(place), places)
    return [best, places]


def xla_take(windows: Windows, shape: Any, x: jax.Array, places: jax.Array) -> jax.Array:
    values = read_windows(x, windows, shape[1:3], 0)
    taken = [jnp.where(places == place, value, 0) for place, value in enumerate(values)]
    return sum(taken[1:], taken[0])


def xla_spread(windows: Windows, shape: Any, y_bar: jax.Array, places: jax.Array) -> jax.Array:
    x = jax.ShapeDtypeStruct(shape, y_bar.dtype)
    (x_bar,) = jax.linear_transpose(lambda x: xla_take(windows, y_bar.shape, x, places), x)(y_bar)
    return x_bar


def lower(name: str, context: Any, *arguments: Any, windows: Windows, shape: Any, call: ClosedJaxpr) -> Any:
    if not context.module_context.lowering_parameters.for_export:
        return mlir.lower_fun(jaxpr_as_fun(call), multiple_results=True)(context, *arguments)
    xla = {"max_pool": xla_max_pool, "take": xla_take, "spread": xla_spread}[name]
    return mlir.lower_fun(partial(xla, windows, shape), multiple_results=name == "max_pool")(context, *arguments)


def infer_results(name: str, x: Any, *_: Any, shape: Any, **__: Any) -> Any:
    result = x.update(shape=shape, weak_type=False)
    return [result, result.update(dtype=jnp.dtype("uint8"))] if name == "max_pool" else result


def batch(name: str, arguments: Any, axes: Any, *, windows: Windows, shape: Any, call: Any) -> Any:
    """Under `vmap` what is mapped is more of the batch."""
    count, moved = align(arguments, axes)
    results = bind(name, windows, (count * shape[0], *shape[1:]), *(x.reshape(-1, *x.shape[2:]) for x in moved))
    split = jax.tree.map(lambda result: result.reshape(count, *shape), results)
    return split, [0, 0] if name == "max_pool" else 0


def register(name: str, primitive: Primitive) -> None:
    define(primitive, partial(infer_results, name), partial(batch, name))
    mlir.register_lowering(primitive, partial(lower, name))


def max_pool_jvp(primals: Any, tangents: Any, **parameters: Any) -> Any:
    ((x,), (x_dot,)) = primals, tangents
    y, places = PRIMITIVES["max_pool"].bind(x, **parameters)
    y_dot = bind("take", parameters["windows"], parameters["shape"], ad.instantiate_zeros(x_dot), places)
    return [y, places], [y_dot, ad.Zero(jax.typeof(places).to_tangent_aval())]


def define_linear(name: str, transposed: str) -> None:
    """In the first argument; the second are places."""
    primitive = PRIMITIVES[name]

    def jvp(primals: Any, tangents: Any, **parameters: Any) -> Any:
        (x, places), (x_dot, _) = primals, tangents
        tangent = primitive.bind(ad.instantiate_zeros(x_dot), places, **parameters)
        return primitive.bind(x, places, **parameters), tangent

    def transpose(result_bar: Any, x: Any, places: Any, *, windows: Windows, **_: Any) -> Any:
        if isinstance(result_bar, ad.Zero):
            return ad.Zero(x.aval), None
        return bind(transposed, windows, x.aval.shape, result_bar, places), None

    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose


for _name, _primitive in PRIMITIVES.items():
    register(_name, _primitive)
ad.primitive_jvps[PRIMITIVES["max_pool"]] = max_pool_jvp
define_linear("take", "spread")
define_linear("spread", "take")
