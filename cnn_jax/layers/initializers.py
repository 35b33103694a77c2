"""How parameters begin, decided by their names.

A deep network's initial values are drawn on the host: compiling `model.init` costs more than compiling the whole
training step, and numpy draws the same numbers whatever the accelerator.
"""

import functools
import math
import re
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

Initializer = Callable[..., Any]


def standard_normal(key: jax.Array | np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    if isinstance(key, np.random.Generator):
        return key.standard_normal(shape, np.float32)
    return jax.random.normal(key, shape, dtype)


def uniform(key: jax.Array | np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    """U(-1, 1)."""
    if isinstance(key, np.random.Generator):
        return 2 * key.random(shape, np.float32) - 1
    return jax.random.uniform(key, shape, dtype, -1, 1)


def he_normal(key: jax.Array | np.random.Generator, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """N(0, 2 / fan_in), fan_in being all axes but the last (He et al. 2015, eq. 10; https://arxiv.org/abs/1502.01852)."""
    return standard_normal(key, shape, dtype) * np.float32(math.sqrt(2 / math.prod(shape[:-1])))


def zeros(_: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    return np.zeros(shape, dtype)


def ones(_: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    return np.ones(shape, dtype)


def normal(deviation: float) -> Initializer:
    """N(0, deviation^2)."""

    def draw(key: jax.Array | np.random.Generator, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        return standard_normal(key, shape, dtype) * np.float32(deviation)

    return draw


def glorot_uniform(key: jax.Array | np.random.Generator, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16)."""
    pixels = math.prod(shape[:-2])
    return uniform(key, shape, dtype) * np.float32(math.sqrt(6 / (pixels * (shape[-2] + shape[-1]))))


def lecun_1998(key: jax.Array | np.random.Generator, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """U(-2.4 / fan_in, 2.4 / fan_in) (LeCun et al. 1998, Appendix A)."""
    return uniform(key, shape, dtype) * np.float32(2.4 / math.prod(shape[:-1]))


def symmetric_uniform(bound: float) -> Initializer:
    """U(-bound, bound)."""

    def draw(key: jax.Array | np.random.Generator, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        return uniform(key, shape, dtype) * np.float32(bound)

    return draw


INITIALIZERS = {"kernel": he_normal, "bias": zeros, "scale": ones, "mean": zeros, "var": ones, "coefficient": ones}
"""By a leaf's name: what a module declares its parameters with, and what holds where no other rule does."""

INITIALIZATIONS: dict[str, tuple[tuple[str, Initializer], ...]] = {
    "he": (),
    "glorot": ((r".*/kernel", glorot_uniform),),
    # A unit of S2 or S4 has four inputs.
    "lecun": ((r".*/kernel", lecun_1998), (r".*/coefficient", symmetric_uniform(2.4 / 4))),
    # Krizhevsky et al. 2012, Section 5; in Simonyan & Zisserman 2015, 3.1, all biases are 0.
    "alexnet": ((r".*/kernel", normal(0.01)), (r".*(conv[245]|fc[67])/bias", ones)),
    "vgg": ((r".*/kernel", normal(0.01)),),
    # Of Iandola et al. 2016's own release, and of torchvision's: small scores in the beginning.
    "squeezenet": ((r"conv10/kernel", normal(0.01)),),
}
"""By a network's `initialization`: the rule, of those here, that the whole of a leaf's path matches first; the path is
that of the modules and the leaf, `stage1_block1/conv1/conv/kernel`."""


def variable_shapes(model: nn.Module, x: jax.ShapeDtypeStruct) -> Any:
    """Shape and type of each of the model's variables; nothing is computed.

    Args:
      model: a network.
      x: shape and type of the input, (B, H, W, C).
    """
    return _variable_shapes(model, x)  # ty: ignore[invalid-argument-type]  (flax makes modules hashable, by their fields)


@functools.lru_cache(maxsize=8)
def _variable_shapes(model: nn.Module, x: jax.ShapeDtypeStruct) -> Any:
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(x.shape, x.dtype)))


def initialize(model: nn.Module, key: jax.Array, x: jax.ShapeDtypeStruct) -> Any:
    """The model's variables, as numpy arrays, a function of the key and of each leaf's path alone.

    Args:
      model: a network, its field `initialization` the name of its rules.
      key: a typed JAX key.
      x: shape and type of the input, (B, H, W, C).
    """
    entropy = np.asarray(jax.random.key_data(key)).tolist()
    rules = INITIALIZATIONS[model.initialization]

    def draw_leaf(path: Any, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        generator = np.random.default_rng([*entropy, zlib.crc32(name.encode())])
        _, _, module_path = name.partition("/")
        matches = [draw for pattern, draw in rules if re.fullmatch(pattern, module_path)]
        return (matches or [INITIALIZERS[name.rpartition("/")[2]]])[0](generator, shape.shape)

    return jax.tree_util.tree_map_with_path(draw_leaf, variable_shapes(model, x))
