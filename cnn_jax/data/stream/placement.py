"""Where of an image its crop lies, and what becomes of all that lies in the image: on the host, in numpy and PIL."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


class Placement(NamedTuple):
    """A part of an image, resized to a square.

    Attributes:
      left, top, width, height: the part, in pixels of the image, whole or not.
      size: pixels a side of the square.
      mirrored: whether it is then mirrored left to right.
    """

    left: float
    top: float
    width: float
    height: float
    size: int
    mirrored: bool = False

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.left, self.top, self.left + self.width, self.top + self.height

    def image(self, image: Image.Image, across: float = 1.0, down: float = 1.0) -> Image.Image:
        """The square, interpolated; of an image decoded smaller by the ratios `across` and `down`."""
        left, top, right, bottom = self.box
        box = (left * across, top * down, right * across, bottom * down)
        return self.mirror(image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box))

    def label_map(self, label_map: np.ndarray) -> np.ndarray:
        """uint8 (H, W) to (size, size): each pixel has the label of the one it lies in."""
        whole = (self.size, self.size)
        return np.asarray(self.mirror(Image.fromarray(label_map).resize(whole, Image.Resampling.NEAREST, box=self.box)))

    def mirror(self, image: Image.Image) -> Image.Image:
        # Ten times as fast as a batch of mirrored arrays.
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else image

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """float32 (M, 4) of the image to those of the square, clipped to it; those without area are 0."""
        scale = np.array([self.size / self.width, self.size / self.height] * 2)
        moved = np.clip((boxes - np.array([self.left, self.top] * 2)) * scale, 0, self.size)
        if self.mirrored:
            moved[:, [0, 2]] = self.size - moved[:, [2, 0]]
        moved = moved.astype(np.float32)
        seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (moved[:, 2:] > moved[:, :2]).all(axis=1)
        return moved * seen[:, None]


def needs_placement(kinds: Mapping[str, str]) -> bool:
    """Whether an example has more than its image to be placed."""
    return not {"label_map", "boxes"}.isdisjoint(kinds.values())


def place(example: Mapping[str, Any], kinds: Mapping[str, str], placement: Placement) -> dict[str, Any]:
    """The example with its label maps and boxes placed; `box_mask` is False where nothing is left of a box."""
    placed = dict(example)
    for name, kind in kinds.items():
        if kind == "label_map":
            placed[name] = placement.label_map(example[name])
        elif kind == "boxes":
            placed[name] = placement.boxes(example[name])
            for mask in (one for one, kind in kinds.items() if kind == "box_mask"):
                placed[mask] = example[mask] & (placed[name][:, 2] > placed[name][:, 0])
    return placed
