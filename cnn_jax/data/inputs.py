"""Images as a user has them, arrays, files or PIL's own, as uint8 of the one size that a network is shown."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from cnn_jax.data import picture
from cnn_jax.data.dataset import AS_STORED, DataError, Decoding


def as_sequence(images: Any) -> Sequence[Any] | np.ndarray:
    """One image or several, as a sequence: an array uint8 (N, H, W, C), or a list.

    Args:
      images: uint8 (N, H, W, C) or (H, W, C); a path or a PIL image; or a list of paths, PIL images and uint8
        (H, W, C), of any sizes.

    Raises DataError where there is none, or an array is none of images.
    """
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    if hasattr(images, "dtype"):
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
    """uint8 (H, W, channels) of a path, a PIL image or such an array; raises DataError."""
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
