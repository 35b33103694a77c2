"""GoogLeNet: Inception modules, and two auxiliary classifiers in training.

Szegedy et al. 2015, Table 1 and Section 5 (https://arxiv.org/abs/1409.4842). What the paper leaves open, the place and
constants of the response normalisation, is as in Caffe's replica, bvlc_googlenet.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from cnn_jax.layers.dropout import Dropout
from cnn_jax.layers.geometry import output_size
from cnn_jax.layers.initializers import INITIALIZERS
from cnn_jax.layers.norm import local_response_norm
from cnn_jax.layers.pool import global_mean_pool, max_pool, mean_pool
from cnn_jax.models.inception import Auxiliary, ConvReLU, Inception, adaptive_mean_pool

# Table 1. module: (1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj)
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOL_AFTER = {"3b": "pool3", "4e": "pool4"}
AUXILIARY_FROM = {"4a": "aux1", "4d": "aux2"}
# conv1's kernel and stride, and the max-pooling layers that there are, by stem.
STEM_LAYERS = {
    "paper": (7, 2, ("pool1", "pool2", "pool3", "pool4")),
    "small": (3, 1, ("pool2", "pool3", "pool4")),
    "tiny": (3, 1, ("pool3", "pool4")),
}


class GoogLeNet(nn.Module):
    """(B, H, W, C) -> logits (B, num_classes) and endpoints `conv1`, `pool1`, `conv2_reduce`, `conv2`, `pool2`,
    `inception_3a`, `inception_3b`, `pool3`, `inception_4a`, ..., `inception_4e`, `pool4`, `inception_5a`,
    `inception_5b`, `pool5`; in training `aux1` and `aux2` too, the auxiliary logits (B, num_classes).

    Stem    smallest  conv1   max-pooling 3x3/2
    paper   64        7x7/2   pool1, pool2, pool3, pool4
    small   24        3x3/1   pool2, pool3, pool4
    tiny    8         3x3/1   pool3, pool4

    The auxiliary classifiers see means over 5x5 pixels, or over the whole map where it is smaller.

    Attributes:
      num_classes: classes.
      auxiliary: there are auxiliary classifiers; their parameters are there in evaluation too.
      image_size: pixels a side of the images it is built for; larger ones do.
      stem: see the table.
      width: channels of conv1; all others, and the hidden units, are in proportion.
      dropout: probability that a unit of pool5 is dropped; in the auxiliary classifiers it is 0.7.
      initialization: see INITIALIZATIONS.
      axis_name: unused without batch norm; see BatchNorm.
      dtype: compute type.
    """

    STEMS: ClassVar[dict[str, int]] = {"paper": 64, "small": 24, "tiny": 8}
    LARGE: ClassVar[int] = 5
    POOL4: ClassVar[int] = 3

    num_classes: int = 1000
    auxiliary: bool = True
    image_size: int = 224
    stem: str = "paper"
    width: int = 64
    dropout: float = 0.4
    initialization: str = "glorot"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        conv = partial(ConvReLU, norm=self.norm, dtype=self.dtype)
        normalize = partial(local_response_norm, k=1.0, alpha_over_size=True) if self.norm is None else lambda x: x
        kernel_size, stride, pools = STEM_LAYERS[self.stem]
        endpoints = {}
        x = endpoints["conv1"] = conv(self.scale_features(64), kernel_size, stride, name="conv1")(x, train=train)
        if "pool1" in pools:
            x = endpoints["pool1"] = max_pool(x, 3, 2, ceil_mode=True)  # (B, 56, 56, 64)
        x = endpoints["conv2_reduce"] = conv(self.scale_features(64), 1, name="conv2_reduce")(normalize(x), train=train)
        x = endpoints["conv2"] = conv(self.scale_features(192), 3, name="conv2")(x, train=train)
        x = normalize(x)
        if "pool2" in pools:
            x = endpoints["pool2"] = max_pool(x, 3, 2, ceil_mode=True)  # (B, 28, 28, 192)
        for name, row in INCEPTION.items():
            module = Inception(tuple(map(self.scale_features, row)), self.LARGE, conv, name=f"inception_{name}")
            x = endpoints[f"inception_{name}"] = module(x, train=train)
            # Initialisation is not training, and must make their parameters.
            if (head := AUXILIARY_FROM.get(name)) and self.auxiliary and (train or self.is_initializing()):
                features = self.scale_features(128), self.scale_features(1024)
                classify = Auxiliary(features, self.num_classes, *self.auxiliary_pool, conv, name=head)
                endpoints[head] = classify(x, train=train)
            if pool := POOL_AFTER.get(name):
                x = endpoints[pool] = max_pool(x, self.POOL4 if pool == "pool4" else 3, 2, ceil_mode=True)
        x = endpoints["pool5"] = global_mean_pool(x)  # (B, 1024)
        x = Dropout(self.dropout)(x, train=train)
        return nn.Dense(self.num_classes, kernel_init=INITIALIZERS["kernel"], name="fc")(x), endpoints

    @property
    def auxiliary_pool(self) -> tuple[Callable[[jax.Array], jax.Array], int]:
        """The pooling of the auxiliary classifiers, and the pixels a side that it leaves."""
        kernel_size, stride, pools = STEM_LAYERS[self.stem]
        pixels = output_size(self.image_size, kernel_size, stride, kernel_size // 2)
        for _ in pools[:-1]:
            pixels = output_size(pixels, 3, 2, ceil_mode=True)
        size = min(5, pixels)
        return partial(mean_pool, size=size, stride=3), output_size(pixels, size, 3)

    def scale_features(self, count: int) -> int:
        return max(1, round(count * self.width / 64))

    @property
    def norm(self) -> dict[str, Any] | None:
        return None


class GoogLeNetBN(GoogLeNet):
    """torchvision's: batch normalisation, see BatchNorm, in place of biases and of response normalisation; 3x3 kernels
    in the branch named 5x5; pool4 of 2x2; auxiliary classifiers that see a map averaged to 4x4 (adaptive pooling).
    """

    LARGE: ClassVar[int] = 3
    POOL4: ClassVar[int] = 2

    dropout: float = 0.2
    initialization: str = "he"
    bn_group: int | str = "global"
    bn_momentum: float = 0.9

    @property
    def auxiliary_pool(self) -> tuple[Callable[[jax.Array], jax.Array], int]:
        return partial(adaptive_mean_pool, size=4), 4

    @property
    def norm(self) -> dict[str, Any] | None:
        norm = dict(group=self.bn_group, momentum=self.bn_momentum, axis_name=self.axis_name, dtype=self.dtype)
        return norm | {"epsilon": 1e-3}
