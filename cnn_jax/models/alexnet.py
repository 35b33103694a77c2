"""AlexNet, and its one-tower successor.

Krizhevsky et al. 2012, Section 3 and Figure 2
(https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks);
Krizhevsky 2014, "One weird trick", Section 5 (https://arxiv.org/abs/1404.5997).
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
from cnn_jax.layers.norm import local_response_norm
from cnn_jax.layers.pool import max_pool

# Filters of the five convolutions and units of the two hidden layers, by year.
FEATURES = {
    2012: (96, 256, 384, 384, 256, 4096, 4096),
    2014: (64, 192, 384, 256, 256, 4096, 4096),
}
GROUPED_CONVS = (2, 4, 5)  # what sees the maps of its own tower alone
# conv1's kernel and stride, and the convolutions that a 3x3 max-pooling of stride 2 follows, by stem.
STEM_LAYERS = {
    "paper": (11, 4, (1, 2, 5)),
    "small": (5, 1, (1, 2, 5)),
    "tiny": (3, 1, (2, 5)),
}


class AlexNet(nn.Module):
    """(B, H, W, C) -> logits (B, num_classes) and endpoints `conv1`, `norm1`, `pool1`, ..., `pool5`, `fc6`, ..., `fc8`.

    Larger images than `image_size` give a map of scores, the endpoint `fc8`, and its average as logits.

    Stem    smallest  conv1     max-pooling 3x3/2 after
    paper   67        11x11/4   conv1, conv2, conv5
    small   15        5x5/1     conv1, conv2, conv5
    tiny    7         3x3/1     conv2, conv5

    Attributes:
      num_classes: classes.
      year: 2012; or 2014, other widths, and dropout before fc6 and fc7 in place of after them, as torchvision has it.
      towers: the paper's two GPUs, each with half of the maps; conv2, conv4 and conv5 do not see the other half. 1 is
        one network. Responses are normalized over all the maps of a layer, the paper's N.
      image_size: pixels a side of the images it is built for: fc6 sees all that is left of them.
      stem: see the table.
      width: filters of conv1; all others, and the hidden units, are in proportion, in whole numbers a tower.
      dropout: probability that a unit is dropped.
      normalization: "lrn", the responses of conv1 and conv2, or "none".
      activation: one of ACTIVATIONS.
      pooling: "overlapping", 3x3 of stride 2, or "max", 2x2 (Section 3.4).
      initialization: see INITIALIZATIONS.
      axis_name: unused; nothing here depends on the other devices' examples.
      dtype: compute type.
    """

    STEMS: ClassVar[dict[str, int]] = {"paper": 67, "small": 15, "tiny": 7}
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "normalization": ("lrn", "none"),
        "pooling": ("overlapping", "max"),
    }

    num_classes: int = 1000
    year: int = 2012
    towers: int = 2
    image_size: int = 227
    stem: str = "paper"
    width: int = 96
    dropout: float = 0.5
    normalization: str = "lrn"
    activation: str = "relu"
    pooling: str = "overlapping"
    initialization: str = "alexnet"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        features = [self.scale_features(count) for count in FEATURES[self.year]]
        kernel_size, stride, pools = STEM_LAYERS[self.stem]
        geometry = [(kernel_size, stride, self.padding), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1)]
        endpoints, activate = {}, ACTIVATIONS[self.activation]
        for index, (kernel_size, stride, padding) in enumerate(geometry, start=1):
            groups = self.towers if index in GROUPED_CONVS else 1
            conv = partial(Conv, groups=groups, use_bias=True, dtype=self.dtype, name=f"conv{index}")
            x = conv(features[index - 1], kernel_size, stride, padding)(x)
            x = endpoints[f"conv{index}"] = activate(x)
            if self.normalization == "lrn" and index <= 2:
                x = endpoints[f"norm{index}"] = local_response_norm(x)
            if index in pools:
                x = endpoints[f"pool{index}"] = max_pool(x, self.pool_size, 2)
        for name, units, window in (("fc6", features[5], self.window), ("fc7", features[6], 1)):
            if self.year == 2014:
                x = Dropout(self.dropout)(x, train=train)
            x = endpoints[name] = activate(Dense(units, window, dtype=self.dtype, name=name)(x))
            if self.year == 2012:
                x = Dropout(self.dropout)(x, train=train)
        x = endpoints["fc8"] = Dense(self.num_classes, dtype=self.dtype, name="fc8")(x)
        return average_logits(x), endpoints

    def scale_features(self, count: int) -> int:
        """Of a layer's maps or units, as many as `width` is of the paper's, the same in each tower."""
        return max(1, round(count * self.width / FEATURES[self.year][0] / self.towers)) * self.towers

    @property
    def pool_size(self) -> int:
        """Pixels a side of a pooling window."""
        return 3 if self.pooling == "overlapping" else 2

    @property
    def padding(self) -> int:
        """conv1's, in pixels."""
        if self.stem == "paper":
            return 0 if self.year == 2012 else 2
        return STEM_LAYERS[self.stem][0] // 2

    @property
    def window(self) -> int:
        """Pixels a side of the last map, all of which fc6 sees: 6 at the paper's size."""
        kernel_size, stride, pools = STEM_LAYERS[self.stem]
        size = output_size(self.image_size, kernel_size, stride, self.padding)
        for _ in pools:
            size = output_size(size, self.pool_size, 2)
        return size
