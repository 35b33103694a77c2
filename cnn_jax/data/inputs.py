"""Images as a user has them, arrays, files or PIL's own, as uint8 of the one size that a network is shown."""

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cnn_jax.data import picture
from cnn_jax.data.dataset import AS_STORED, DataError, Decoding
from cnn_jax.data.stream.encoded import Encoded


@dataclass(frozen=True)
class EncodedImages:
    """The images of a streamed split as a sequence, of which each is read when it is asked for."""

    split: Encoded

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> "EncodedImage":
        return EncodedImage(self.split, index)


class EncodedImage(NamedTuple):
    """An image of a streamed split."""

    split: Encoded
    index: int

    def read(self, channels: int) -> np.ndarray:
        """uint8 (H, W, channels), decoded as the split says; raises DataError."""
        name = self.split.name(self.index)
        image = picture.open_image(self.split.read(self.index)["image"], name)
        return picture.to_pixels(image, name, channels, self.split.decoding)


def as_sequence(images: Any) -> Any:
    """One image or several, as a sequence: an array uint8 (N, H, W, C), a list, or a streamed split's.

    Args:
      images: uint8 (N, H, W, C) or (H, W, C); a path or a PIL image; or a list of paths, PIL images and uint8
        (H, W, C), of any sizes; or a streamed split.

    Raises DataError where there is none, or an array is none of images.
    """
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    if isinstance(images, Encoded):
        if len(images):
            return EncodedImages(images)
    elif hasattr(images, "dtype"):
        array = np.asarray(images)
        array = require_images(array[None] if array.ndim == 3 else array, 4)
        if len(array):
            return array
    elif listed := list(images):
        return listed
    raise DataError("no images: pass one or more, as uint8 (N, H, W, C) or a list of files")


def require_images(array: np.ndarray, dimensions: int) -> np.ndarray:
    """The array itself; raises DataError where it does not hold images of whole levels, channels last."""
    if array.ndim != dimensions:
        shape = "x".join(map(str, array.shape))
        raise DataError(f"an array of shape {shape} is none of images: pass uint8 (N, H, W, C) or (H, W, C)")
    if array.dtype != np.uint8:
        raise DataError(
            f"images of {array.dtype}: pass uint8 from 0 to 255, which the network's own preprocessing begins with; of "
            "floats in [0, 1] that is np.rint(255 * images).astype(np.uint8)"
        )
    return array


def read_pixels(image: Any, channels: int, decoding: Decoding = AS_STORED) -> np.ndarray:
    """uint8 (H, W, channels) of a path, a PIL image, one of a streamed split or such an array; raises DataError."""
    if isinstance(image, EncodedImage):
        return image.read(channels)
    if hasattr(image, "dtype"):
        return require_channels(require_images(np.asarray(image), 3), channels)
    if isinstance(image, Image.Image):
        return picture.to_pixels(image, "the image", channels, decoding)
    return picture.read(image, channels, decoding)


def require_channels(array: np.ndarray, channels: int) -> np.ndarray:
    """The array itself, (..., H, W, channels); raises DataError where the last axis is another."""
    if array.shape[-1] != channels:
        shape = "x".join(map(str, array.shape))
        raise DataError(
            f"an image of shape {shape}: its last axis are the channels, and the network sees {channels}; pass those, "
            "or files, which are converted"
        )
    return array
