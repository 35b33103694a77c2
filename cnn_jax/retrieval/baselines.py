"""Descriptors that need no network: what a trained one has to beat."""

import numpy as np
from PIL import Image

from cnn_jax.retrieval.descriptors import normalize

SIDE = 16
LEVELS = 8


def pixels(images: list[np.ndarray]) -> np.ndarray:
    """The pixels in [0, 1] of images uint8 (H, W, C) at 16x16, or their own size where that is less: unit vectors."""
    small = []
    for image in images:
        picture = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])
        if min(picture.size) > SIDE:
            picture = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        small.append(np.asarray(picture, np.float32).ravel() / 255)
    return normalize(np.stack(small))


def histogram(images: list[np.ndarray]) -> np.ndarray:
    """The roots of the shares of colours, 8 levels a channel, of images uint8 (H, W, C): (N, 8^C), unit vectors.

    Roots make the inner product Bhattacharyya's coefficient.
    """
    shares = []
    for image in images:
        levels = image.reshape(-1, image.shape[-1]).astype(np.int64) * LEVELS // 256
        bins = LEVELS ** image.shape[-1]
        colours = levels @ LEVELS ** np.arange(image.shape[-1])[::-1]
        shares.append(np.bincount(colours, minlength=bins) / len(levels))
    return np.sqrt(np.stack(shares)).astype(np.float32)


BASELINES = {"pixels 16x16": pixels, "colour histogram": histogram}
