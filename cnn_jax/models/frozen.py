"""The part of a network up to an endpoint, as a feature extractor that training leaves alone."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util
from jax.extend.core import Literal

from cnn_jax.config import ConfigError, suggest
from cnn_jax.layers.dropout import Dropout
from cnn_jax.layers.initializers import variable_shapes
from cnn_jax.layers.norm import BatchNorm


class Part(NamedTuple):
    """What the value of an endpoint depends on.

    Attributes:
      params: a tree like the network's parameters, True for those it depends on.
      modules: the paths of those parameters' modules, and of the dropouts, that it depends on.
    """

    params: dict[str, Any]
    modules: frozenset[tuple[str, ...]]

    def holds(self, path: Sequence[str]) -> bool:
        """Whether it depends on a variable, given by its collection and its path there."""
        collection, *module, _ = path
        if collection == "params":
            return bool(traverse_util.flatten_dict(self.params)[tuple(path[1:])])
        return tuple(module) in self.modules


def find_part(
    model: nn.Module, image_shape: tuple[int, int, int], endpoint: str, setting: str = "optim.frozen"
) -> Part:
    """The part of a network that its endpoint depends on, found in the traced training pass; nothing is computed.

    Args:
      model: a network.
      image_shape: (H, W, C) of what it sees.
      endpoint: one of those it returns.
      setting: what names it, for the message.

    Raises:
      ConfigError: it returns no such endpoint.
    """
    group = getattr(model, "bn_group", 1)
    shape = group if isinstance(group, int) else 1, *image_shape
    image, model = jax.ShapeDtypeStruct(shape, jnp.float32), model.clone(axis_name=None)
    variables = variable_shapes(model, image)

    def apply(params: Any, image: jax.Array) -> Any:
        others = {name: jnp.zeros_like(value) for name, value in traverse_util.flatten_dict(rest).items()}
        everything = {"params": params, **traverse_util.unflatten_dict(others)}
        keys = {"dropout": jax.random.key(0)}
        (_, endpoints), _ = model.apply(everything, image, train=True, mutable=["batch_stats"], rngs=keys)
        if endpoint not in endpoints:
            raise ConfigError(f"{setting}={endpoint}: no such endpoint; {suggest(endpoint, endpoints)}")
        return endpoints[endpoint]

    rest = {name: value for name, value in variables.items() if name != "params"}
    traced = jax.make_jaxpr(apply)(variables["params"], image).jaxpr
    needed, scopes = set(traced.outvars), set()
    for equation in reversed(traced.eqns):
        if not needed.isdisjoint(equation.outvars):
            needed.update(_variables(equation.invars))
            scopes.add(tuple(str(equation.source_info.name_stack).split("/")[1:]))  # of the modules, the network's own
    leaves, structure = jax.tree.flatten(variables["params"])
    params = structure.unflatten(variable in needed for variable in traced.invars[: len(leaves)])
    owners = {path[:-1] for path, depended in traverse_util.flatten_dict(params).items() if depended}
    return Part(params, frozenset(owners | scopes))


def find_endpoints(model: nn.Module, image_shape: tuple[int, int, int]) -> list[str]:
    """The names of the endpoints that a network returns, in its order; nothing is computed."""
    found: list[str] = []

    def apply(image: jax.Array) -> None:
        (_, endpoints), _ = model.init_with_output(jax.random.key(0), image)
        found.extend(endpoints)

    jax.eval_shape(apply, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    return found


def _variables(operands: Any) -> Iterator[Any]:
    return (operand for operand in operands if not isinstance(operand, Literal))


def evaluating(modules: frozenset[tuple[str, ...]]) -> AbstractContextManager[Any]:
    """While it is entered, the batch norms and dropouts of these paths do in training what they do in evaluation."""

    def interceptor(call: Any, arguments: Any, keywords: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, BatchNorm | Dropout) and context.module.path in modules:
            keywords = keywords | {"train": False}
        return call(*arguments, **keywords)

    return nn.intercept_methods(interceptor)
