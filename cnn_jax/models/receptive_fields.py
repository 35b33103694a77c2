"""What one unit of each endpoint sees of the image, read off the traced computation."""

from typing import Any, NamedTuple

import jax

from cnn_jax.models.macs import Trace, inner_jaxprs


class ReceptiveField(NamedTuple):
    """Row i of a map is computed from the image's rows step * i + first to step * i + last, padding and all.

    `layers` is the number of convolutions and dense layers on the longest way from the image.
    """

    step: int
    first: int
    last: int
    layers: int

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.last - self.first + 1


def receptive_fields(traced: Trace) -> dict[str, ReceptiveField]:
    """The field of each endpoint and of the `logits`.

    Of maps (1, H', W', C') only: of a vector `layers` alone is true. A network traced with images larger than those it
    is built for has maps of its dense layers too.
    """
    before_image = [None] * (len(traced.jaxpr.invars) - 1)
    results = _propagate(traced.jaxpr, [*before_image, ReceptiveField(1, 0, 0, 0)])
    logits, endpoints = jax.tree.unflatten(jax.tree.structure(traced.results), results)
    return {**endpoints, "logits": logits}


def _propagate(jaxpr: Any, fields: list[ReceptiveField | None]) -> list[ReceptiveField | None]:
    """The fields of a computation's results from those of its arguments; None is what the image has no part in."""
    known: dict[Any, ReceptiveField | None] = dict(zip(jaxpr.invars, fields, strict=True))

    def field(variable: Any) -> ReceptiveField | None:
        return None if hasattr(variable, "val") else known.get(variable)  # a literal cannot be looked up

    for equation in jaxpr.eqns:
        arguments = [field(variable) for variable in equation.invars]
        known.update(zip(equation.outvars, _propagate_equation(equation, arguments), strict=True))
    return [field(variable) for variable in jaxpr.outvars]


def _propagate_equation(equation: Any, arguments: list[ReceptiveField | None]) -> list[ReceptiveField | None]:
    """The fields of an equation's results."""
    if equation.primitive.name == "scan":
        (body,) = inner_jaxprs(equation)
        # Constants come first, then what is carried, then what is scanned: of this alone the body sees a slice.
        carried = _count_equal_shapes(equation.outvars, body.outvars)
        constants = _count_equal_shapes(equation.invars, body.invars) - carried
        for _ in range(equation.params["length"]):
            results = _propagate(body, arguments)
            arguments = [*arguments[:constants], *results[:carried], *arguments[constants + carried :]]
        return results
    for jaxpr in inner_jaxprs(equation):
        if len(jaxpr.invars) == len(arguments) and not equation.primitive.name.startswith("cnn_jax_"):
            return _propagate(jaxpr, arguments)
    seen = [field for field in arguments if field is not None]
    if not seen:
        return [None] * len(equation.outvars)
    step, layers = max(field.step for field in seen), max(field.layers for field in seen)
    union = ReceptiveField(step, min(field.first for field in seen), max(field.last for field in seen), layers)
    return [_apply_window(equation, union)] * len(equation.outvars)


def _count_equal_shapes(outer: list[Any], inner: list[Any]) -> int:
    return sum(one.aval.shape == other.aval.shape for one, other in zip(outer, inner, strict=True))


def _apply_window(equation: Any, field: ReceptiveField) -> ReceptiveField:
    """The field after a convolution, a pooling window, a slice or a padding; other equations leave it as it is."""
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        size = equation.invars[1].aval.shape[params["dimension_numbers"].rhs_spec[2]]
        (before, _), dilation = params["padding"][0], params["rhs_dilation"][0]
        window = -before, dilation * (size - 1) - before, params["window_strides"][0]
    elif name == "cnn_jax_convolution":
        before, size = params["padding"], equation.invars[1].aval.shape[1]
        window = -before, size - 1 - before, params["stride"]
    elif name == "cnn_jax_max_pool":
        size, stride, before = params["windows"]
        window = -before, size - 1 - before, stride
    elif name.startswith("reduce_window"):
        (before, _), size = params["padding"][1], params["window_dimensions"][1]
        window = -before, size - 1 - before, params["window_strides"][1]
    elif name == "slice" and len(params["start_indices"]) == 4:
        start = int(params["start_indices"][1])
        window = start, start, (params["strides"] or (1,) * 4)[1]
    elif name == "pad" and len(params["padding_config"]) == 4:
        window = (-params["padding_config"][1][0],) * 2 + (1,)
    else:
        return field._replace(layers=field.layers + (name == "dot_general"))
    first, last, stride = window
    layers = field.layers + (name in ("conv_general_dilated", "cnn_jax_convolution"))
    return ReceptiveField(
        int(field.step * stride), int(field.first + field.step * first), int(field.last + field.step * last), layers
    )
