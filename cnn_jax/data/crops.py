"""What of an image a network is shown when it is tested: pure functions of images (B, H, W, C), all shapes static.

Resizing is PIL's, and so torchvision's, in float: from PIL's on uint8 it differs by the rounding to whole levels, and
an image that has the size asked for stays bit for bit what it was. Standardising by a mean and deviation a channel and
resizing commute, so it does not matter which comes first.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Interpolation(NamedTuple):
    """How pixels are interpolated.

    Attributes:
      method: bilinear or bicubic; bicubic overshoots, and is not clipped.
      antialias: where an image shrinks, the filter is as wide as a pixel of the smaller one, as PIL's is.
    """

    method: str = "bilinear"
    antialias: bool = True


LIKE_PIL = Interpolation()


def resize(image: jax.Array, height: int, width: int, by: Interpolation = LIKE_PIL) -> jax.Array:
    """(B, H, W, C) to (B, height, width, C), floating point unless it has that size."""
    if image.shape[1:3] == (height, width):
        return image
    shape = (len(image), height, width, image.shape[3])
    image = image.astype(jnp.promote_types(image.dtype, jnp.float32))
    return jax.image.resize(image, shape, by.method, antialias=by.antialias)


def resized_shape(height: int, width: int, short: int) -> tuple[int, int]:
    """(H, W) of an image resized to a short side of `short` pixels; the long side is rounded down, as torchvision's."""
    return (short, short * width // height) if height <= width else (short * height // width, short)


def resize_short_side(image: jax.Array, short: int, by: Interpolation = LIKE_PIL) -> jax.Array:
    """(B, H, W, C) to (B, H', W', C) of the same proportions, min(H', W') = `short` pixels."""
    return resize(image, *resized_shape(*image.shape[1:3], short), by)


def crop(image: jax.Array, top: int, left: int, size: int) -> jax.Array:
    """(B, size, size, C); raises ValueError where that reaches beyond the image."""
    height, width = image.shape[1:3]
    if min(top, left) < 0 or top + size > height or left + size > width:
        raise ValueError(f"a crop of {size} at ({top}, {left}) reaches beyond an image of {height}x{width}")
    return image[:, top : top + size, left : left + size]


def mirror(image: jax.Array) -> jax.Array:
    """Left to right: (..., H, W, C)."""
    return image[..., ::-1, :]


def center_crop(image: jax.Array, size: int) -> jax.Array:
    """(B, size, size, C) from the middle; of an odd margin the half is rounded to even, as torchvision's."""
    return crop(image, *(round((length - size) / 2) for length in image.shape[1:3]), size)


def five_crop(image: jax.Array, size: int) -> list[jax.Array]:
    """Top left, top right, bottom left, bottom right and middle, (B, size, size, C) each."""
    bottom, right = (length - size for length in image.shape[1:3])
    corners = [crop(image, top, left, size) for top in (0, bottom) for left in (0, right)]
    return [*corners, center_crop(image, size)]


def ten_crop(image: jax.Array, size: int) -> jax.Array:
    """(B, 10, size, size, C): the four corners and the middle, then their mirror images (Krizhevsky et al. 2012, 4.1).

    As there, they are of the image's central square.
    """
    five = jnp.stack(five_crop(center_crop(image, min(image.shape[1:3])), size), axis=1)
    return jnp.concatenate([five, mirror(five)], axis=1)


def squares(image: jax.Array) -> list[jax.Array]:
    """Left, middle and right square of a landscape, top, middle and bottom of a portrait, (B, S, S, C) each."""
    height, width = image.shape[1:3]
    side, slack = min(height, width), abs(height - width)
    starts = (0, round(slack / 2), slack)
    return [crop(image, 0, start, side) if width > height else crop(image, start, 0, side) for start in starts]


def scales_144(size: int) -> tuple[int, ...]:
    """Short sides for crops of `size` pixels: 256, 288, 320 and 352 for 224, in that proportion, rounded."""
    return tuple(round(size * scale / 224) for scale in (256, 288, 320, 352))


def crops_144(image: jax.Array, size: int, scales: tuple[int, ...] = (), by: Interpolation = LIKE_PIL) -> jax.Array:
    """(B, 144, size, size, C), or of square images (B, 48, size, size, C).

    At each scale, of each of the three squares: four corners, the middle and the whole square resized, and their mirror
    images (Szegedy et al. 2015, Section 7: 4 x 3 x 6 x 2). Of a square image the three squares are one, and given once:
    the average is the same.

    Args:
      image: (B, H, W, C).
      size: pixels a side of a crop.
      scales: short sides that the image is resized to, each at least `size`; none are `scales_144(size)`.
      by: how it is resized.
    """
    crops, different = [], 1 if image.shape[1] == image.shape[2] else 3
    for scale in scales or scales_144(size):
        for square in squares(resize_short_side(image, scale, by))[:different]:
            crops += [*five_crop(square, size), resize(square, size, size, by)]
    stacked = jnp.stack([one.astype(jnp.result_type(*crops)) for one in crops], axis=1)
    return jnp.concatenate([stacked, mirror(stacked)], axis=1)
