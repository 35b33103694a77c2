"""One encoded image into the pixels that a network is shown in training: on the host, where images have any size."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.dataset import AS_STORED, Decoding
from cnn_jax.data.picture import decode, decoded_size, is_turned, open_image
from cnn_jax.data.stream.placement import Placement, place

# The principal components of the colours of ImageNet's training images, in [0, 1], and the standard deviations along
# them: https://github.com/facebookarchive/fb.resnet.torch/blob/master/datasets/imagenet.lua
COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], np.float32)
DEVIATIONS = np.array([0.2175, 0.0188, 0.0045], np.float32)
ATTEMPTS = 10  # at a crop of random area and aspect, before it is the central one


class Augmentation(NamedTuple):
    """What is shown of an image in training.

    Attributes:
      crop: pixels a side.
      short_side: pixels that the short side is resized to before the crop, one number or two between which it is drawn.
      area: in place of it, between which shares of the image's area the crop's is drawn (Szegedy et al. 2015, 6).
      aspect: with area, between which ratios of width to height it is drawn.
      flip: whether half of the images are mirrored.
      pca: standard deviation of the shift along the components of colour (Krizhevsky et al. 2012, 4.1).
    """

    crop: int
    short_side: tuple[int, ...] = (256,)
    area: tuple[float, ...] = ()
    aspect: tuple[float, ...] = (3 / 4, 4 / 3)
    flip: bool = True
    pca: float = 0.0


def augment_example(
    example: Mapping[str, Any],
    kinds: Mapping[str, str],
    name: str,
    augmentation: Augmentation,
    draw: np.random.Generator,
    decoding: Decoding = AS_STORED,
) -> dict[str, Any]:
    """The example with its encoded `image` as uint8 (crop, crop, 3), and with all that lies in the image placed alike.

    With `augmentation.pca` also `color` float32 (3,), to be added to the colours in [0, 1]. The crop is cut out and
    resized in one pass. Where it is much larger than what it becomes, a JPEG is decoded at half the size or less.

    Args:
      example: fields as a split reads them.
      kinds: of the fields.
      name: of the image, for errors.
      augmentation: what is shown of it.
      draw: what box, mirror image and colour are drawn from, in this order.
      decoding: how it becomes pixels.

    Raises:
      DataError: the image cannot be decoded.
    """
    image, crop = open_image(example["image"], name), augmentation.crop
    width, height = decoded_size(image, decoding)
    box = random_box(width, height, augmentation, draw)
    placement = Placement(*box, crop, augmentation.flip and draw.random() < 0.5)
    shift = draw.normal(0.0, augmentation.pca, 3) if augmentation.pca else None
    least = math.ceil(width * crop / placement.width), math.ceil(height * crop / placement.height)
    image.draft("RGB", least[::-1] if is_turned(image, decoding) else least)
    image = decode(image, name, decoding)
    shown = placement.image(image, image.size[0] / width, image.size[1] / height)
    placed = place(example, kinds, placement) | {"image": np.asarray(shown)}
    if shift is not None:
        placed["color"] = COMPONENTS @ (shift.astype(np.float32) * DEVIATIONS)
    return placed


def random_box(
    width: int, height: int, augmentation: Augmentation, draw: np.random.Generator
) -> tuple[float, float, float, float]:
    """`(left, top, width, height)` of the crop, in pixels of the image."""
    if not augmentation.area:
        short = int(draw.integers(augmentation.short_side[0], augmentation.short_side[-1] + 1))
        scale = min(width, height) / short
        side = augmentation.crop * scale
        # Whole pixels of the resized image, as where it is resized first.
        left, top = (int(draw.integers(0, int(length / scale) - augmentation.crop + 1)) for length in (width, height))
        return min(left * scale, width - side), min(top * scale, height - side), side, side
    for _ in range(ATTEMPTS):
        area = width * height * draw.uniform(augmentation.area[0], augmentation.area[1])
        aspect = math.exp(draw.uniform(math.log(augmentation.aspect[0]), math.log(augmentation.aspect[1])))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            return int(draw.integers(0, width - wide + 1)), int(draw.integers(0, height - high + 1)), wide, high
    wide = round(min(width, height * augmentation.aspect[1]))
    high = round(min(height, width / augmentation.aspect[0]))
    return round((width - wide) / 2), round((height - high) / 2), wide, high
