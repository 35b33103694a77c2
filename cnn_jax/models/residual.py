"""The blocks of plain and residual networks: He et al. 2016, Section 3 (https://arxiv.org/abs/1512.03385)."""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cnn_jax.layers.activations import ACTIVATIONS
from cnn_jax.layers.conv import Conv
from cnn_jax.layers.norm import BatchNorm, local_response_norm


class ConvNorm(nn.Module):
    """A convolution and its normalisation: "bn", of a batch, which has the bias; "lrn", local response; or "none"."""

    features: int
    kernel_size: int
    stride: int
    normalization: str
    padding_mode: str
    norm: dict[str, Any]  # of BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = Conv(
            self.features,
            self.kernel_size,
            self.stride,
            padding_mode=self.padding_mode,
            use_bias=self.normalization != "bn",
            dtype=self.norm["dtype"],
            name="conv",
        )(x)
        if self.normalization == "bn":
            return BatchNorm(**self.norm, name="bn")(x, train=train)
        return local_response_norm(x) if self.normalization == "lrn" else x


def make_conv_norm(network: Any) -> Callable[..., ConvNorm]:
    """The `ConvNorm` of features, kernel size and stride that a network's own fields ask for."""
    norm = dict(group=network.bn_group, momentum=network.bn_momentum, axis_name=network.axis_name, dtype=network.dtype)
    return partial(ConvNorm, normalization=network.normalization, padding_mode=network.padding_mode, norm=norm)


class Block(nn.Module):
    """Two 3x3 convolutions (Fig. 2) or a bottleneck (Fig. 5, right), and an optional shortcut around them."""

    features: int  # of the 3x3 convolutions; a bottleneck has four times as many at its end
    stride: int
    shortcut: str | None  # None (plain), "A" (zero channels), "B" (projection) or "C" (projection, everywhere)
    zero_channels: str
    layer: Callable[..., ConvNorm]  # of features, kernel size and stride
    activation: str = "relu"
    bottleneck: bool = False
    stride_in: str = "1x1"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        first, *others = self.conv_arguments()
        activate = ACTIVATIONS[self.activation]
        y = self.layer(*first, name="conv1")(x, train=train)
        for index, layer in enumerate(others, start=2):
            y = self.layer(*layer, name=f"conv{index}")(activate(y), train=train)
        if self.shortcut is not None:
            y = y + self.apply_shortcut(x, y.shape, train)
        return activate(y)

    def conv_arguments(self) -> tuple[tuple[int, int, int], ...]:
        """(features, kernel size, stride) of each convolution."""
        if not self.bottleneck:
            return (self.features, 3, self.stride), (self.features, 3, 1)
        in_1x1, in_3x3 = (self.stride, 1) if self.stride_in == "1x1" else (1, self.stride)
        return (self.features, 1, in_1x1), (self.features, 3, in_3x3), (4 * self.features, 1, 1)

    def apply_shortcut(self, x: jax.Array, shape: tuple[int, ...], train: bool) -> jax.Array:
        if self.shortcut == "C" or (self.shortcut == "B" and x.shape != shape):
            return self.layer(shape[-1], 1, self.stride, name="shortcut")(x, train=train)
        x = x[:, :: self.stride, :: self.stride]
        new = shape[-1] - x.shape[-1]
        before = new // 2 if self.zero_channels == "each_side" else 0
        return jnp.pad(x, [(0, 0), (0, 0), (0, 0), (before, new - before)])


def apply_stage(
    number: int, blocks: int, block: Callable[..., Block], stride: int, scan: bool, x: jax.Array, train: bool
) -> jax.Array:
    """`blocks` blocks one after another, the first with the stride; with `scan`, those after it are compiled once.

    They are named `stage1_block1`, `stage1_block2`, ..., of stage 1; scanned ones `stage1_blocks`, see `stack_blocks`.
    """
    x = block(stride=stride, name=f"stage{number}_block1")(x, train=train)
    if scan and blocks > 1:
        return scan_blocks(block(stride=1, name=f"stage{number}_blocks"), blocks - 1, x, train)
    for index in range(2, blocks + 1):
        x = block(stride=1, name=f"stage{number}_block{index}")(x, train=train)
    return x


def scan_blocks(block: Block, times: int, x: jax.Array, train: bool) -> jax.Array:
    """`times` blocks one after another, compiled once; each of the variables has a leading axis of that size."""

    def body(block: Block, x: jax.Array) -> tuple[jax.Array, None]:
        return block(x, train=train), None

    scanned = nn.scan(body, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True}, length=times)
    return scanned(block, x)[0]


STAGES = (1, 2, 3, 4)


def stack_blocks(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables of a network, as the same network with `scan` has them.

    Each collection's `stage1_block2`, ..., `stage1_blockN`, with leaves (...), become one `stage1_blocks`, with numpy
    leaves (N - 1, ...); so for every stage. All else stays, and `unstack_blocks` is the exact inverse.
    """

    def stack(modules: dict[str, Any]) -> dict[str, Any]:
        modules = dict(modules)
        for number in STAGES:
            blocks = []
            while (name := f"stage{number}_block{len(blocks) + 2}") in modules:
                blocks.append(modules.pop(name))
            if blocks:
                modules[f"stage{number}_blocks"] = jax.tree.map(lambda *leaves: np.stack(leaves), *blocks)
        return modules

    return {collection: stack(modules) for collection, modules in variables.items()}


def unstack_blocks(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables of a network with `scan`, as the same network without it has them: undoes `stack_blocks`."""

    def unstack(modules: dict[str, Any]) -> dict[str, Any]:
        modules = dict(modules)
        for number in STAGES:
            if blocks := modules.pop(f"stage{number}_blocks", None):
                for index in range(len(jax.tree.leaves(blocks)[0])):
                    modules[f"stage{number}_block{index + 2}"] = jax.tree.map(operator.itemgetter(index), blocks)
        return modules

    return {collection: unstack(modules) for collection, modules in variables.items()}
