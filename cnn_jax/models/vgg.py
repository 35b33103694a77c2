"""VGG: depth by stacking 3x3 convolutions.

Simonyan & Zisserman 2015, Table 1 (https://arxiv.org/abs/1409.1556).
"""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from cnn_jax.layers.activations import ACTIVATIONS
from cnn_jax.layers.conv import Conv
from cnn_jax.layers.dense import Dense, average_logits
from cnn_jax.layers.dropout import Dropout
from cnn_jax.layers.geometry import output_size
from cnn_jax.layers.norm import BatchNorm, local_response_norm
from cnn_jax.layers.pool import POOLINGS, Pool, window_geometry

# Table 1: kernel sizes of the convolutions, a tuple for each stage. A-LRN normalizes the responses of conv1_1.
KERNEL_SIZES = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A-LRN": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
WIDTHS = (1, 2, 4, 8, 8)  # of the stages, in units of the first: 64 to 512
HIDDEN = 64  # the 4096 units of fc6 and fc7, likewise
# The stages that a 2x2 max-pooling ends, by stem.
POOLS = {"paper": (1, 2, 3, 4, 5), "small": (2, 3, 4, 5), "tiny": (3, 4, 5)}


class VGG(nn.Module):
    """(B, H, W, C) -> logits (B, num_classes) and endpoints `conv1_1`, ..., `pool5`, `fc6`, `fc7`, `fc8`.

    Larger images than `image_size` give a map of scores, the endpoint `fc8`, and its average as logits (Section 3.2).

    Stem    smallest  max-pooling 2x2 after stage
    paper   32        1, 2, 3, 4, 5
    small   16        2, 3, 4, 5
    tiny    8         3, 4, 5

    Attributes:
      configuration: a column of Table 1: A, A-LRN, B, C, D or E.
      num_classes: classes.
      image_size: pixels a side of the images it is built for: fc6 sees all that is left of them.
      stem: see the table.
      width: filters of the first stage; all others, and the hidden units, are in proportion.
      dropout: probability that a unit of fc6 or fc7 is dropped.
      normalization: "none"; "bn", of each convolution (it keeps its bias) before its nonlinearity, as torchvision has
        it; or "lrn", after it, as Krizhevsky et al. 2012.
      activation: one of ACTIVATIONS.
      pooling: "max", or what is to be studied in its place, one of POOLINGS.
      padding_mode: see Conv.
      bn_group, bn_momentum: see BatchNorm.
      initialization: see INITIALIZATIONS.
      axis_name: see BatchNorm.
      dtype: compute type.
    """

    STEMS: ClassVar[dict[str, int]] = {"paper": 32, "small": 16, "tiny": 8}
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {"pooling": tuple(POOLINGS)}

    configuration: str = "D"
    num_classes: int = 1000
    image_size: int = 224
    stem: str = "paper"
    width: int = 64
    dropout: float = 0.5
    normalization: str = "none"
    activation: str = "relu"
    pooling: str = "max"
    padding_mode: str = "zero"
    bn_group: int | str = "global"
    bn_momentum: float = 0.9
    initialization: str = "vgg"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        activate, endpoints = ACTIVATIONS[self.activation], {}
        conv = partial(Conv, padding_mode=self.padding_mode, use_bias=True, dtype=self.dtype)
        norm = partial(BatchNorm, self.bn_group, self.bn_momentum, axis_name=self.axis_name, dtype=self.dtype)
        size = self.image_size
        for stage, kernel_sizes in enumerate(KERNEL_SIZES[self.configuration], start=1):
            for index, kernel_size in enumerate(kernel_sizes, start=1):
                place = f"{stage}_{index}"
                features = WIDTHS[stage - 1] * self.width
                x = conv(features, kernel_size, name=f"conv{place}")(x)
                if self.normalization == "bn":
                    x = norm(name=f"bn{place}")(x, train=train)
                x = endpoints[f"conv{place}"] = activate(x)
                if self.normalization == "lrn" or (self.configuration, place) == ("A-LRN", "1_1"):
                    x = endpoints[f"norm{place}"] = local_response_norm(x)
                size = output_size(size, kernel_size, 1, 0 if self.padding_mode == "valid" else kernel_size // 2)
            if stage in POOLS[self.stem]:
                pool = Pool(self.pooling, self.activation, self.padding_mode, self.dtype, name=f"pool{stage}")
                x = endpoints[f"pool{stage}"] = pool(x)
                size = output_size(size, *window_geometry(self.pooling, self.padding_mode))
        for name, window in (("fc6", size), ("fc7", 1)):
            x = Dense(HIDDEN * self.width, window, dtype=self.dtype, name=name)(x)  # (B, 4096)
            x = endpoints[name] = activate(x)
            x = Dropout(self.dropout)(x, train=train)
        x = endpoints["fc8"] = Dense(self.num_classes, dtype=self.dtype, name="fc8")(x)
        return average_logits(x), endpoints
