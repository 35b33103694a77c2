"""LeNet-5 (LeCun et al. 1998, Section II.B; http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf)."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cnn_jax.layers.activations import ACTIVATIONS
from cnn_jax.layers.conv import Conv, conv, pad
from cnn_jax.layers.dense import Dense, average_logits
from cnn_jax.layers.geometry import output_size
from cnn_jax.layers.initializers import INITIALIZERS
from cnn_jax.layers.pool import POOLINGS, Pool, TrainablePool, window_geometry

# Table I: the maps of S2 that each of the 16 maps of C3 sees; contiguous ones go round.
TABLE_I = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)
FULLY_CONNECTED = (tuple(range(6)),) * 16

# Pixels of zeros on every side at C1 and C3; the paper's 32 pixels are digits of 20 with the margins already there.
PADDING = {"paper": (0, 0), "small": (2, 0), "tiny": (2, 2)}

# The digits as drawings of 7 by 12, in the manner of Fig. 3: # is +1, . is -1.
BITMAPS = """
..###.. ...##.. .#####. .#####. ##...## ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ##...## ##..... .##.... ####### ##...## ##...##
##...## .####.. ##...## .....## ##...## ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## ##...## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. .....## .....## ##...## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ..####. ####### ######. ######. ...##.. .#####. .######
##...## ...##.. ...##.. ..####. ####### .....## ##...## ...##.. .#####. .....##
##...## ...##.. ..##... .....## .....## .....## ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## .....## .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## .....## .....## ##...## .##.... ##...## .....##
.##.##. ...##.. ##..... ##...## .....## ##...## ##...## .##.... ##...## ....##.
..###.. .###### ####### .#####. .....## .#####. .#####. .##.... .#####. .####..
"""


def output_codes(num_classes: int) -> np.ndarray:
    """The centres of the output units, (84, num_classes) of +1 and -1: drawings of the ten digits.

    Other numbers of classes have random codes, the same every time, the other choice the paper names.
    """
    if num_classes != 10:
        return 2.0 * np.random.default_rng(1998).integers(0, 2, (84, num_classes)).astype(np.float32) - 1
    rows = [line.split() for line in BITMAPS.split("\n") if line]
    drawings = ["".join(row[digit] for row in rows) for digit in range(10)]
    return np.array([[1 if pixel == "#" else -1 for pixel in drawing] for drawing in drawings], np.float32).T


def rbf_penalties(x: jax.Array, centres: np.ndarray) -> jax.Array:
    """Equation 7, y_i = sum_j (x_j - w_ij)^2: x (..., J) and w (J, I) -> float32 (..., I)."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    squares = np.square(centres).sum(axis=0).reshape((1,) * (x.ndim - 1) + (-1,))
    return jnp.square(x).sum(axis=-1, keepdims=True) - 2 * x @ centres + squares


class Kernel(nn.Module):
    """A parameter `kernel` of this shape, its fan-in all axes but the last."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("kernel", INITIALIZERS["kernel"], self.shape)


class PartialConv(nn.Module):
    """A 5x5 convolution whose maps each see some of the input's: (B, H, W, C) -> (B, H', W', len(connections)).

    Maps of equally many connections have one parameter, `of_3/kernel` (5, 5, 3, maps) and so on: no parameter is
    without a connection, and its fan-in is that of its map. They are spread over one kernel, zero elsewhere.
    """

    connections: tuple[tuple[int, ...], ...]
    padding: int
    padding_mode: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = jnp.zeros((5, 5, x.shape[-1], len(self.connections)))
        for count in sorted({len(sources) for sources in self.connections}):
            maps = np.array([index for index, sources in enumerate(self.connections) if len(sources) == count])
            sources = np.array([self.connections[index] for index in maps]).T  # (seen, maps)
            kernel = kernel.at[:, :, sources, maps].set(Kernel((5, 5, *sources.shape), name=f"of_{count}")())
        bias = self.param("bias", INITIALIZERS["bias"], (len(self.connections),)).astype(self.dtype)
        x, padding = pad(x.astype(self.dtype), self.padding, self.padding_mode)
        y = conv(x, kernel.astype(self.dtype), 1, padding)
        return y + bias.reshape(1, 1, 1, -1)


class LeNet5(nn.Module):
    """(B, H, W, C) -> logits (B, num_classes) and endpoints `C1`, `S2`, `C3`, `S4`, `C5`, `F6`, `output`.

    Images larger than `image_size` have a map of logits, `output` (B, H', W', num_classes), one for each window of
    `image_size` pixels at every fourth, and its mean for logits. The stem "small" pads C1 by 2 pixels, "tiny" pads C3
    too; C5 sees what remains, 5 pixels a side in the paper.

    Attributes:
      num_classes: classes.
      connections: the maps of S2 that each map of C3 sees.
      pooling: "trainable", S2 and S4 of the paper; or one of POOLINGS: "mean" and "max" have no parameters and no
        squashing.
      activation: what squashes, one of ACTIVATIONS.
      padding_mode: what the padding of C1 and C3 holds, see Conv; the paper has none, and "valid" has none at any stem.
      output: "rbf", minus the squared distances to fixed codes (eq. 7), or "dense", whose criterion is cross entropy.
      image_size, stem: see STEMS and PADDING.
      initialization: see INITIALIZATIONS.
      axis_name: unused; nothing here depends on the other devices' examples.
      dtype: compute type.
    """

    STEMS: ClassVar[dict[str, int]] = {"paper": 32, "small": 28, "tiny": 8}
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {"pooling": ("trainable", *POOLINGS)}

    num_classes: int = 10
    connections: tuple[tuple[int, ...], ...] = TABLE_I
    pooling: str = "trainable"
    activation: str = "scaled_tanh"
    padding_mode: str = "zero"
    output: str = "rbf"
    image_size: int = 32
    stem: str = "paper"
    initialization: str = "lecun"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
        squash, (c1_padding, c3_padding) = ACTIVATIONS[self.activation], PADDING[self.stem]
        if self.padding_mode == "valid":
            c1_padding = c3_padding = 0
        pooling_geometry = (
            (2, 2, 0) if self.pooling == "trainable" else window_geometry(self.pooling, self.padding_mode)
        )
        window = output_size(output_size(self.image_size, 5, 1, c1_padding), *pooling_geometry)
        window = output_size(output_size(window, 5, 1, c3_padding), *pooling_geometry)
        c1 = Conv(6, 5, 1, c1_padding, self.padding_mode, use_bias=True, dtype=self.dtype, name="C1")
        c3 = PartialConv(self.connections, c3_padding, self.padding_mode, self.dtype, name="C3")
        endpoints = {}
        x = endpoints["C1"] = squash(c1(x))  # (B, 28, 28, 6)
        x = endpoints["S2"] = self.pool(x, "S2")  # (B, 14, 14, 6)
        x = endpoints["C3"] = squash(c3(x))  # (B, 10, 10, 16)
        x = endpoints["S4"] = self.pool(x, "S4")  # (B, 5, 5, 16)
        x = endpoints["C5"] = squash(Dense(120, window, self.dtype, name="C5")(x))  # (B, 120)
        x = endpoints["F6"] = squash(Dense(84, dtype=self.dtype, name="F6")(x))  # (B, 84)
        if self.output == "rbf":
            endpoints["output"] = -rbf_penalties(x, output_codes(self.num_classes))
        else:
            endpoints["output"] = Dense(self.num_classes, dtype=self.dtype, name="output")(x)
        return average_logits(endpoints["output"]), endpoints

    def pool(self, x: jax.Array, name: str) -> jax.Array:
        if self.pooling == "trainable":
            return ACTIVATIONS[self.activation](TrainablePool(2, self.dtype, name=name)(x))
        return Pool(self.pooling, self.activation, self.padding_mode, self.dtype, name=name)(x)
