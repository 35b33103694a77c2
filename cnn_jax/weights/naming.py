"""What every source says of its tensors: how one is called, how its axes lie."""

import math
from typing import NamedTuple

import numpy as np

LeafPath = tuple[str, ...]
"""Where a leaf is in our variables: ("params", "stage1_block1", "conv1", "conv", "kernel")."""

LEAVES = {"kernel": "weight", "bias": "bias", "scale": "weight", "mean": "running_mean", "var": "running_var"}
"""PyTorch's name of a leaf, by ours."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class WeightsError(ValueError):
    """Weights that cannot be read, or do not fit; the message is one line and names the file."""


class Tensor(NamedTuple):
    """A tensor of theirs; `layout` is that of its axes beside ours.

    conv    (O, I, H, W)    our (H, W, I, O)
    dense   (O, I)          our (I, O), or, of a map flattened channels first, O x IHW, our (H, W, I, O)
    vector  (C,)            the same
    own     any             the same: the file has ours
    """

    name: str
    layout: str


def make_tensor(module: str, path: LeafPath, linear: bool = False) -> Tensor:
    """The tensor of a leaf of ours in their module; `linear` is where that takes a flattened map."""
    layout = ("dense" if linear else "conv") if path[-1] == "kernel" else "vector"
    return Tensor(f"{module}.{LEAVES[path[-1]]}", layout)


def to_source_layout(array: np.ndarray, layout: str) -> np.ndarray:
    """Our leaf in their layout."""
    if layout == "vector":
        return np.ascontiguousarray(array)
    rows = array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
    return np.ascontiguousarray(rows.reshape(len(rows), -1) if layout == "dense" else rows)


def from_source_layout(array: np.ndarray, layout: str, shape: tuple[int, ...]) -> np.ndarray:
    """Their tensor as a leaf of ours of that shape, a float32 copy in order; undoes `to_source_layout`."""
    if layout not in ("vector", "own"):
        if len(shape) == 2:
            array = array.T
        else:
            height, width, inputs, outputs = shape
            array = array.reshape(outputs, inputs, height, width).transpose(2, 3, 1, 0)
    return np.array(array, np.float32, order="C")


def source_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The shape of their tensor, by that of our leaf."""
    if layout in ("vector", "own"):
        return shape
    if layout == "dense":
        return shape[-1], math.prod(shape[:-1])
    height, width, inputs, outputs = shape
    return outputs, inputs, height, width
