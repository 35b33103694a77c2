"""How parameters begin, decided by the parameter's name.

A deep network's initial values are drawn on the host: compiling `model.init` costs more than compiling the whole
training step, and numpy draws the same numbers whatever the accelerator.
"""

import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


def he_normal(key: jax.Array | np.random.Generator, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """N(0, 2 / fan_in), fan_in being all axes but the last (He et al. 2015, eq. 10; https://arxiv.org/abs/1502.01852)."""
    deviation = math.sqrt(2 / math.prod(shape[:-1]))
    if isinstance(key, np.random.Generator):
        return key.standard_normal(shape, np.float32) * np.float32(deviation)
    return jax.random.normal(key, shape, dtype) * deviation


def zeros(_: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    return np.zeros(shape, dtype)


def ones(_: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    return np.ones(shape, dtype)


INITIALIZERS = {"kernel": he_normal, "bias": zeros, "scale": ones, "mean": zeros, "var": ones}


def initialize(model: nn.Module, key: jax.Array, x: jax.ShapeDtypeStruct) -> Any:
    """The model's variables, as numpy arrays, a function of the key and of each leaf's path alone.

    Args:
      model: any module whose leaves are named as in `INITIALIZERS`.
      key: a typed JAX key.
      x: shape and type of the input, (B, H, W, C).
    """
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(x.shape, x.dtype)))
    entropy = np.asarray(jax.random.key_data(key)).tolist()

    def leaf(path: Any, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        generator = np.random.default_rng([*entropy, zlib.crc32(name.encode())])
        return INITIALIZERS[name.rpartition("/")[2]](generator, shape.shape)

    return jax.tree_util.tree_map_with_path(leaf, shapes)
