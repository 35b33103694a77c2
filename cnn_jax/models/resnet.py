"""Plain and residual networks: the same layers, without and with shortcuts.

He et al. 2016 (https://arxiv.org/abs/1512.03385): Table 1, for ImageNet, and Section 4.2, for CIFAR-10.
"""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from cnn_jax.layers.activations import ACTIVATIONS
from cnn_jax.layers.dropout import Dropout
from cnn_jax.layers.initializers import INITIALIZERS
from cnn_jax.layers.pool import global_mean_pool, max_pool
from cnn_jax.models.residual import Block, apply_stage, make_conv_norm

# Table 1. depth: (blocks of conv2_x, conv3_x, conv4_x and conv5_x, whether they are bottlenecks)
IMAGENET = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
# conv1's kernel and stride, and whether the 3x3 max-pooling of stride 2 follows, by stem.
STEM_LAYERS = {"paper": (7, 2, True), "small": (3, 1, False)}


class ImageNetResNet(nn.Module):
    """(B, H, W, C) -> logits (B, num_classes) and endpoints `conv1`, `pool1`, `conv2_x`, ..., `conv5_x`, `pool5`.

    Stem    smallest  conv1   max-pooling 3x3/2
    paper   64        7x7/2   pool1
    small   8         3x3/1   none

    Attributes:
      depth: 18, 34, 50, 101 or 152 weighted layers.
      num_classes: classes.
      residual: False is the plain twin.
      image_size: pixels a side of the images it is built for.
      stem: see the table.
      width: channels of conv1 and of conv2_x's 3x3 convolutions; later stages have two, four and eight times as many.
      shortcut_option: "A", "B" or "C" of Section 3.3, see Block.
      zero_channels: option A's zeros "after" or half on "each_side".
      stride_in: the convolution of a bottleneck that has the stride, "1x1" (the paper's, v1) or "3x3" (v1.5,
        torchvision); networks without bottlenecks, 18 and 34, are the same with either.
      bn_group, bn_momentum, axis_name: see BatchNorm.
      normalization: "bn", or what is to be studied in its place: "lrn" or "none", see ConvNorm.
      activation: one of ACTIVATIONS.
      padding_mode: see Conv; not "valid".
      dropout: probability that a mean of the last maps is dropped; the paper has none.
      initialization: see INITIALIZATIONS.
      dtype: compute type.
      scan: see CifarResNet.
    """

    STEMS: ClassVar[dict[str, int]] = {"paper": 64, "small": 8}

    depth: int = 50
    num_classes: int = 1000
    residual: bool = True
    image_size: int = 224
    stem: str = "paper"
    width: int = 64
    shortcut_option: str = "B"
    zero_channels: str = "after"
    stride_in: str = "1x1"
    bn_group: int | str = "global"
    bn_momentum: float = 0.9
    normalization: str = "bn"
    activation: str = "relu"
    padding_mode: str = "zero"
    dropout: float = 0.0
    initialization: str = "he"
    axis_name: str | None = None
    dtype: Any = jnp.float32
    scan: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        layer, activate = make_conv_norm(self), ACTIVATIONS[self.activation]
        shared: dict[str, Any] = dict(zero_channels=self.zero_channels, layer=layer, activation=self.activation)
        shared |= dict(shortcut=self.shortcut_option if self.residual else None, stride_in=self.stride_in)
        stages, bottleneck = IMAGENET[self.depth]
        kernel_size, stride, pooled = STEM_LAYERS[self.stem]
        endpoints = {}
        conv1 = layer(self.width, kernel_size, stride, name="conv1")
        x = endpoints["conv1"] = activate(conv1(x, train=train))  # (B, 112, 112, 64)
        if pooled:
            x = endpoints["pool1"] = max_pool(x, 3, 2, padding=1)  # (B, 56, 56, 64)
        for index, blocks in enumerate(stages):  # (B, 56, 56, 64 | 256), ..., (B, 7, 7, 512 | 2048)
            block = partial(Block, self.width * 2**index, bottleneck=bottleneck, **shared)
            x = apply_stage(index + 1, blocks, block, 2 if index else 1, self.scan, x, train)
            endpoints[f"conv{index + 2}_x"] = x
        x = endpoints["pool5"] = global_mean_pool(x)  # (B, 512 | 2048)
        x = Dropout(self.dropout)(x, train=train)
        return nn.Dense(self.num_classes, kernel_init=INITIALIZERS["kernel"], name="fc")(x), endpoints


class CifarResNet(nn.Module):
    """(B, H, W, C) -> logits (B, num_classes) and endpoints `conv1`, `stage1`, `stage2`, `stage3`, `pool`.

    Attributes:
      depth: 6n + 2 weighted layers: three stages of n blocks.
      num_classes: classes.
      residual: False is the plain twin.
      image_size, stem: any size has the paper's stem, a 3x3 convolution.
      width: channels of the first stage; the second and third have two and four times as many.
      shortcut_option: "A", "B" or "C" of Section 3.3, see Block.
      zero_channels: option A's zeros "after" or half on "each_side".
      bn_group, bn_momentum, axis_name: see BatchNorm.
      normalization: "bn", or what is to be studied in its place: "lrn" or "none", see ConvNorm.
      activation: one of ACTIVATIONS.
      padding_mode: see Conv; not "valid".
      dropout: probability that a mean of the last maps is dropped; the paper has none.
      initialization: see INITIALIZATIONS.
      dtype: compute type.
      scan: compile a stage's blocks after its first as one, scanned over their variables, see `stack_blocks`. It keeps
        compile time from growing with depth; it is for accelerators, a CPU runs it slowly.
    """

    STEMS: ClassVar[dict[str, int]] = {"paper": 1}

    depth: int = 20
    num_classes: int = 10
    residual: bool = True
    image_size: int = 32
    stem: str = "paper"
    width: int = 16
    shortcut_option: str = "A"
    zero_channels: str = "after"
    bn_group: int | str = "global"
    bn_momentum: float = 0.9
    normalization: str = "bn"
    activation: str = "relu"
    padding_mode: str = "zero"
    dropout: float = 0.0
    initialization: str = "he"
    axis_name: str | None = None
    dtype: Any = jnp.float32
    scan: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        layer, activate = make_conv_norm(self), ACTIVATIONS[self.activation]
        shared: dict[str, Any] = dict(zero_channels=self.zero_channels, layer=layer, activation=self.activation)
        shared |= dict(shortcut=self.shortcut_option if self.residual else None)
        x = activate(layer(self.width, 3, 1, name="conv1")(x, train=train))  # (B, 32, 32, 16)
        endpoints = {"conv1": x}
        for number in (1, 2, 3):  # (B, 32, 32, 16), (B, 16, 16, 32), (B, 8, 8, 64)
            block = partial(Block, self.width * 2 ** (number - 1), **shared)
            x = apply_stage(number, (self.depth - 2) // 6, block, 1 if number == 1 else 2, self.scan, x, train)
            endpoints[f"stage{number}"] = x
        x = endpoints["pool"] = global_mean_pool(x)  # (B, 64)
        x = Dropout(self.dropout)(x, train=train)
        return nn.Dense(self.num_classes, kernel_init=INITIALIZERS["kernel"], name="fc")(x), endpoints
