"""What images go through before a network, as data: kept beside its variables, written and read back exactly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from cnn_jax.data.augment import average_pool, on_canvas, standardize
from cnn_jax.data.dataset import Decoding


@dataclass(frozen=True, eq=False)  # by identity, as a function: so JAX traces it
class Preprocess:
    """What an image goes through before a network; pixels are in [0, 1], RGB or grey.

    Attributes:
      resize: pixels that the shorter side is scaled to; None is no scaling.
      crop: pixels a side of the square cut from the centre; None is the whole image.
      mean: what is subtracted, a number a channel, one for all, or an image float32 (H, W, C).
      std: what is then divided by, a number a channel or one for all.
      interpolation: bilinear or bicubic.
      antialias: whether scaling down averages over what a pixel covers, as Pillow does.
      canvas: pixels a side of the black canvas on which the image is centred first; 0 is no canvas.
      average_pool: pixels a side of the squares whose averages the network sees; 1 is the image itself.
      bits, exif_orientation: how files become pixels, see Decoding. Where nobody has said (None), photographs that a
        user hands over are turned upright: other people's networks have learned what is upright.
    """

    resize: int | None
    crop: int | None
    mean: tuple[float, ...] | np.ndarray
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    antialias: bool = True
    canvas: int = 0
    average_pool: int = 1
    bits: int = 0
    exif_orientation: bool | None = None

    @property
    def decoding(self) -> Decoding:
        return Decoding(self.bits, self.exif_orientation is not False)

    def __call__(self, image: jax.Array) -> jax.Array:
        """uint8 (B, H, W, C) as the network sees it, float32, but for scaling and cropping: those commute with it."""
        mean, std = (np.asarray(values, np.float32) for values in (self.mean, self.std))
        image = on_canvas(image, self.canvas) if self.canvas else image
        return average_pool(standardize(image, mean, std), self.average_pool)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON knows them; each number comes back as the same float32."""
        return vars(self) | {"mean": np.asarray(self.mean).tolist(), "std": list(self.std)}


def from_json(values: Mapping[str, Any]) -> Preprocess:
    """The inverse of `to_json`; fields that an older version did not write are at their defaults."""
    mean = values["mean"]
    arrays: dict[str, Any] = {
        "mean": np.asarray(mean, np.float32) if np.ndim(mean) == 3 else tuple(mean),
        "std": tuple(values["std"]),
    }
    return Preprocess(**{**values, **arrays})
