"""Multiply-accumulates of a network, counted in the traced computation of one example."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def count_macs(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Those of the convolutions and dense layers of a forward pass of one image, (H, W, C), as the papers count."""
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return _count(jax.make_jaxpr(lambda variables, x: model.apply(variables, x)[0])(variables, image).jaxpr)


def _count(jaxpr: Any) -> int:
    return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: Any) -> int:
    if equation.primitive.name == "conv_general_dilated":
        kernel, layout = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
        per_output = math.prod(kernel) // kernel[layout[0]]  # the kernel's input axis holds one group's channels
        return math.prod(equation.outvars[0].aval.shape) * per_output
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        summed = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return math.prod(equation.outvars[0].aval.shape) * summed
    inner = [_count(jaxpr) for jaxpr in _inner(equation.params)]
    if equation.primitive.name == "cond":
        return max(inner)  # one branch runs: of a convolution's lowerings, XLA's own says what it does
    return sum(inner) * equation.params.get("length", 1)  # of a scan


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "jaxpr"):
                yield item.jaxpr
            elif hasattr(item, "eqns"):
                yield item
