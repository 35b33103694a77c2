"""Plain and residual networks: the same layers, without and with shortcuts.

He et al. 2016, Section 4.2 (https://arxiv.org/abs/1512.03385): 6n + 2 layers, three stages of n blocks.
"""

import operator
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cnn_jax.layers.conv import Conv
from cnn_jax.layers.initializers import INITIALIZERS
from cnn_jax.layers.norm import BatchNorm

STAGES = (1, 2, 3)


class ConvBN(nn.Module):
    """A convolution and its batch normalisation."""

    features: int
    kernel_size: int
    stride: int
    norm: dict[str, Any]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = Conv(self.features, self.kernel_size, self.stride, dtype=self.norm["dtype"], name="conv")(x)
        return BatchNorm(**self.norm, name="bn")(x, train=train)


class Block(nn.Module):
    """Two 3x3 convolutions and an optional shortcut around them (Fig. 2)."""

    features: int
    stride: int
    shortcut: str | None  # None (plain), "A" (zero channels) or "B" (projection)
    zero_channels: str
    norm: dict[str, Any]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = ConvBN(self.features, 3, self.stride, self.norm, name="conv1")(x, train=train)
        y = ConvBN(self.features, 3, 1, self.norm, name="conv2")(nn.relu(y), train=train)
        if self.shortcut is not None:
            y = y + self.bypass(x, y.shape, train)
        return nn.relu(y)

    def bypass(self, x: jax.Array, shape: tuple[int, ...], train: bool) -> jax.Array:
        if x.shape == shape:
            return x
        if self.shortcut == "B":
            return ConvBN(self.features, 1, self.stride, self.norm, name="shortcut")(x, train=train)
        x = x[:, :: self.stride, :: self.stride]
        new = shape[-1] - x.shape[-1]
        before = new // 2 if self.zero_channels == "each_side" else 0
        return jnp.pad(x, [(0, 0), (0, 0), (0, 0), (before, new - before)])


def repeat(block: Block, times: int, x: jax.Array, train: bool) -> jax.Array:
    """`times` blocks one after another, compiled once; each of the variables has a leading axis of that size."""

    def body(block: Block, x: jax.Array) -> tuple[jax.Array, None]:
        return block(x, train=train), None

    scanned = nn.scan(body, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True}, length=times)
    return scanned(block, x)[0]


class ResNet(nn.Module):
    """(B, H, W, C) -> logits (B, num_classes) and endpoints `conv1`, `stage1`, `stage2`, `stage3`, `pool`.

    Attributes:
      depth: 6n + 2 weighted layers.
      num_classes: classes.
      residual: False is the plain twin.
      image_size, stem: any size has the paper's stem, a 3x3 convolution.
      width: channels of the first stage; the second and third have two and four times as many.
      shortcut_option: "A" or "B" of Section 3.3, where the shape changes.
      zero_channels: option A's zeros "after" or half on "each_side".
      bn_group, bn_momentum, axis_name: see BatchNorm.
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
    initialization: str = "he"
    axis_name: str | None = None
    dtype: Any = jnp.float32
    scan: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        norm = {
            "group": self.bn_group,
            "momentum": self.bn_momentum,
            "axis_name": self.axis_name,
            "dtype": self.dtype,
        }
        shortcut = self.shortcut_option if self.residual else None
        n = (self.depth - 2) // 6
        endpoints = {}
        x = nn.relu(ConvBN(self.width, 3, 1, norm, name="conv1")(x, train=train))  # (B, 32, 32, 16)
        endpoints["conv1"] = x
        for stage in STAGES:  # (B, 32, 32, 16), (B, 16, 16, 32), (B, 8, 8, 64)
            features = self.width * 2 ** (stage - 1)
            block = partial(Block, features, shortcut=shortcut, zero_channels=self.zero_channels, norm=norm)
            x = block(stride=1 if stage == 1 else 2, name=f"stage{stage}_block1")(x, train=train)
            if self.scan and n > 1:
                x = repeat(block(stride=1, name=f"stage{stage}_blocks"), n - 1, x, train)
            else:
                for index in range(2, n + 1):
                    x = block(stride=1, name=f"stage{stage}_block{index}")(x, train=train)
            endpoints[f"stage{stage}"] = x
        x = endpoints["pool"] = x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean(axis=(1, 2))  # (B, 64)
        return nn.Dense(self.num_classes, kernel_init=INITIALIZERS["kernel"], name="fc")(x), endpoints


def stack_blocks(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables of a network, as the same network with `scan` has them.

    Each collection's `stage1_block2`, ..., `stage1_blockN`, with leaves (...), become one `stage1_blocks`, with numpy
    leaves (N - 1, ...); so for every stage. All else stays, and `unstack_blocks` is the exact inverse.
    """

    def stack(modules: dict[str, Any]) -> dict[str, Any]:
        modules = dict(modules)
        for stage in STAGES:
            blocks = []
            while (name := f"stage{stage}_block{len(blocks) + 2}") in modules:
                blocks.append(modules.pop(name))
            if blocks:
                modules[f"stage{stage}_blocks"] = jax.tree.map(lambda *leaves: np.stack(leaves), *blocks)
        return modules

    return {collection: stack(modules) for collection, modules in variables.items()}


def unstack_blocks(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables of a network with `scan`, as the same network without it has them: undoes `stack_blocks`."""

    def unstack(modules: dict[str, Any]) -> dict[str, Any]:
        modules = dict(modules)
        for stage in STAGES:
            if blocks := modules.pop(f"stage{stage}_blocks", None):
                for index in range(len(jax.tree.leaves(blocks)[0])):
                    modules[f"stage{stage}_block{index + 2}"] = jax.tree.map(operator.itemgetter(index), blocks)
        return modules

    return {collection: unstack(modules) for collection, modules in variables.items()}
