"""One image file."""

import os

import numpy as np
from PIL import Image

from cnn_jax.data.dataset import DataError


def read(path: str | os.PathLike, channels: int = 3) -> np.ndarray:
    """The image as uint8 (H, W, channels), RGB for 3 and grey for 1; raises DataError where it is none."""
    try:
        with Image.open(path) as image:
            return to_pixels(image, channels)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{path} cannot be read as an image ({reason}); give a JPEG or PNG file") from error


def to_pixels(image: Image.Image, channels: int) -> np.ndarray:
    """A PIL image as uint8 (H, W, channels), RGB for 3 and grey for 1."""
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)
