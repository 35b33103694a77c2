"""SqueezeNet 1.1: AlexNet's accuracy with fifty times fewer parameters.

Iandola et al. 2016, Section 3.2 and Table 1 (https://arxiv.org/abs/1602.07360), in the authors' release 1.1: a smaller
conv1, pooling earlier.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from cnn_jax.layers.conv import Conv
from cnn_jax.layers.dropout import Dropout
from cnn_jax.layers.pool import global_mean_pool, max_pool

# Fire modules: the filters of the squeeze layer and of each of the two expand layers, in quarters of conv1's 64.
FIRES = {2: (1, 4), 3: (1, 4), 4: (2, 8), 5: (2, 8), 6: (3, 12), 7: (3, 12), 8: (4, 16), 9: (4, 16)}
# conv1's stride and padding, and the layers that a 3x3 max-pooling of stride 2 follows, by stem.
STEM_LAYERS = {"paper": (2, 0, (1, 3, 5)), "small": (1, 1, (1, 3, 5)), "tiny": (1, 1, (3, 5))}


class Fire(nn.Module):
    """A squeeze layer of 1x1 filters, and an expand layer of 1x1 and 3x3 filters side by side (Fig. 1).

    (B, H, W, C) -> (B, H, W, 2 expand).
    """

    squeeze: int
    expand: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(Conv(self.squeeze, 1, use_bias=True, dtype=self.dtype, name="squeeze")(x))
        one = Conv(self.expand, 1, use_bias=True, dtype=self.dtype, name="expand1x1")(x)
        three = Conv(self.expand, 3, use_bias=True, dtype=self.dtype, name="expand3x3")(x)
        return nn.relu(jnp.concatenate([one, three], axis=-1))


class SqueezeNet(nn.Module):
    """(B, H, W, C) -> logits (B, num_classes) and endpoints `conv1`, `pool1`, `fire2`, ..., `conv10`, `pool10`.

    Images of any size that a stem takes are averaged over in the end; parameters do not depend on it.

    Stem    smallest  conv1             ceil-mode max-pooling 3x3/2 after
    paper   64        3x3/2, unpadded   conv1, fire3, fire5
    small   16        3x3/1             conv1, fire3, fire5
    tiny    8         3x3/1             fire3, fire5

    The last maps are then 2 pixels a side, the paper's 3; its stem runs from 25 pixels, where they are 1.

    Attributes:
      num_classes: classes.
      image_size: pixels a side of the images it is built for.
      stem: see the table.
      width: filters of conv1; all others are in proportion.
      dropout: probability that a unit of fire9 is dropped.
      initialization: see INITIALIZATIONS.
      axis_name: unused; nothing here depends on the other devices' examples.
      dtype: compute type.
    """

    STEMS: ClassVar[dict[str, int]] = {"paper": 64, "small": 16, "tiny": 8}

    num_classes: int = 1000
    image_size: int = 224
    stem: str = "paper"
    width: int = 64
    dropout: float = 0.5
    initialization: str = "squeezenet"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        stride, padding, pools = STEM_LAYERS[self.stem]
        endpoints = {}
        conv1 = Conv(self.width, 3, stride, padding, use_bias=True, dtype=self.dtype, name="conv1")
        x = endpoints["conv1"] = nn.relu(conv1(x))  # (B, 111, 111, 64)
        if 1 in pools:
            x = endpoints["pool1"] = max_pool(x, 3, 2, ceil_mode=True)  # (B, 55, 55, 64)
        for index, quarters in FIRES.items():
            squeeze, expand = (max(1, self.width * quarter // 4) for quarter in quarters)
            x = endpoints[f"fire{index}"] = Fire(squeeze, expand, self.dtype, name=f"fire{index}")(x)
            if index in pools:
                x = endpoints[f"pool{index}"] = max_pool(x, 3, 2, ceil_mode=True)  # (B, 27, 27, 128), (B, 13, 13, 256)
        x = Dropout(self.dropout)(x, train=train)
        x = Conv(self.num_classes, 1, use_bias=True, dtype=self.dtype, name="conv10")(x)
        x = endpoints["conv10"] = nn.relu(x)  # (B, 13, 13, 1000)
        x = endpoints["pool10"] = global_mean_pool(x)  # (B, 1000)
        return x, endpoints
