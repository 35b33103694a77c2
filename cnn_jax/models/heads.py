"""The layers of a network that tell the classes apart."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from cnn_jax.layers.initializers import variable_shapes


def find_heads(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Paths of the modules whose parameters change in shape with the number of classes: `fc`, `conv10`, `aux1/fc`.

    Args:
      model: a network with a field `num_classes`.
      image_shape: (H, W, C) of what it sees.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    # Another number that no layer within has: of equal shapes a head would not be seen.
    few, more = (variable_shapes(model.clone(num_classes=count), image)["params"] for count in (7, 11))
    there = traverse_util.flatten_dict(more)
    differ = [path for path, leaf in traverse_util.flatten_dict(few).items() if leaf.shape != there[path].shape]
    return tuple(dict.fromkeys("/".join(path[:-1]) for path in differ))
