"""Multiply-accumulates of a network, counted in the traced computation of one example."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from cnn_jax.layers.initializers import variable_shapes


class Trace(NamedTuple):
    """A forward pass of one image in evaluation, traced.

    Attributes:
      jaxpr: (variables, image (1, H, W, C)) -> (logits, endpoints), flat.
      variables: their shapes.
      results: the shapes of (logits, endpoints).
    """

    jaxpr: Any
    variables: Any
    results: Any


def trace(model: nn.Module, image_shape: tuple[int, int, int]) -> Trace:
    """Traces a network for an image (H, W, C)."""
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    variables = variable_shapes(model, image)
    closed, results = jax.make_jaxpr(model.apply, return_shape=True)(variables, image)
    return Trace(closed.jaxpr, variables, results)


def count_macs(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Those of the convolutions and dense layers of a forward pass of one image, (H, W, C), as the papers count."""
    return sum(macs_by_layer(trace(model, image_shape)).values())


def macs_by_layer(traced: Trace) -> dict[str, int]:
    """Those of `count_macs` by the network's own modules, those without any left out; "" has what is in no module."""
    by_layer: dict[str, int] = {}
    for equation in traced.jaxpr.eqns:
        if macs := _equation_macs(equation):
            scopes = str(equation.source_info.name_stack).split("/")  # the network, its module, that one's, ...
            layer = scopes[1] if len(scopes) > 1 else ""
            by_layer[layer] = by_layer.get(layer, 0) + macs
    return by_layer


def _equation_macs(equation: Any) -> int:
    if equation.primitive.name == "conv_general_dilated":
        kernel, layout = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
        per_output = math.prod(kernel) // kernel[layout[0]]  # the kernel's input axis holds one group's channels
        return math.prod(equation.outvars[0].aval.shape) * per_output
    if equation.primitive.name == "cnn_jax_convolution":
        return math.prod(equation.outvars[0].aval.shape) * math.prod(equation.invars[1].aval.shape[:3])
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        summed = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return math.prod(equation.outvars[0].aval.shape) * summed
    inner = [sum(map(_equation_macs, jaxpr.eqns)) for jaxpr in inner_jaxprs(equation)]
    return sum(inner) * equation.params.get("length", 1)  # of a scan


def inner_jaxprs(equation: Any) -> Iterator[Any]:
    """The computations that an equation calls: one of a jit, of a scan."""
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "jaxpr"):
                yield item.jaxpr
            elif hasattr(item, "eqns"):
                yield item
