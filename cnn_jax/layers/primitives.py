"""What the primitives of JAX that call the package's kernels share."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import Primitive
from jax.interpreters import batching
from jax.sharding import NamedSharding, PartitionSpec


def define(primitive: Primitive, infer_results: Callable[..., Any], batch: Callable[..., Any]) -> None:
    """What any primitive needs: to be computed outside of `jit`, its results' shapes and types, and `vmap`."""
    primitive.def_impl(lambda *arguments, **parameters: compiled(primitive, **parameters)(*arguments))
    primitive.def_abstract_eval(infer_results)
    batching.primitive_batchers[primitive] = batch


@cache
def compiled(primitive: Primitive, **parameters: Any) -> Callable[..., Any]:
    return jax.jit(partial(primitive.bind, **parameters))


def align(arguments: Sequence[Any], axes: Sequence[int | None]) -> tuple[int, list[jax.Array]]:
    """The size of the axis that `vmap` maps, and the arguments with it in front; those without it are repeated."""
    (count,) = {x.shape[axis] for x, axis in zip(arguments, axes, strict=True) if axis is not None}
    return count, [
        jnp.broadcast_to(x, (count, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(arguments, axes, strict=True)
    ]


def by_batch(rule: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel`, told to the compiler: on several devices under `jit` each works on its share of the batch.

    Args:
      rule: the axes of the arguments and of the results, as custom_partitioning's `sharding_rule` has them. Of axis `b`
        each device has its share, of all others the whole; results without it are summed over the devices.
      kernel: of a batch size and the arguments.
    """
    arguments, results = (side.split(", ") for side in rule.split(" -> "))

    def has_batch(axes: str) -> bool:
        return axes[0] == "b"

    def local(*arrays: jax.Array) -> Any:
        sizes = [array.shape[0] for array, axes in zip(arrays, arguments, strict=True) if has_batch(axes)]
        return kernel(sizes[0], *arrays)

    def partition(mesh: Any, argument_shapes: Any, _: Any) -> Any:
        specs = [argument.sharding.spec for argument in argument_shapes]
        batch = next(spec[0] if spec else None for spec, axes in zip(specs, arguments, strict=True) if has_batch(axes))

        def sharding(axes: str) -> NamedSharding:
            return NamedSharding(mesh, PartitionSpec(batch) if has_batch(axes) else PartitionSpec())

        def with_sum(*arrays: jax.Array) -> Any:
            part = local(*arrays)
            return part if has_batch(results[0]) or batch is None else lax.psum(part, batch)

        shardings = tuple(map(sharding, results))
        return mesh, with_sum, shardings if len(results) > 1 else shardings[0], tuple(map(sharding, arguments))

    function = custom_partitioning(local)
    function.def_partition(
        partition=partition,
        infer_sharding_from_operands=lambda *shapes: partition(*shapes)[2],
        sharding_rule=rule,
    )
    return function
