"""What of an encoded image a network is shown when it is tested: `data.crops`, on the host, where images have any size.

Each can be sent to other processes, as a closure cannot. Called with the content of a file, its name and how it is
decoded, it raises DataError where it cannot be.
"""

from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cnn_jax.data.dataset import AS_STORED, Decoding
from cnn_jax.data.picture import decode, decoded_size, open_image, to_pixels
from cnn_jax.data.stream.encoded import Encoded
from cnn_jax.data.stream.placement import Placement, needs_placement, place


class Middle(NamedTuple):
    """The middle of an image: uint8 (size, size, 3).

    Attributes:
      size: pixels a side.
      short_side: pixels that the image's short side is resized to first.
    """

    size: int
    short_side: int

    def __call__(self, data: bytes, name: str, decoding: Decoding = AS_STORED) -> np.ndarray:
        image = decode(open_image(data, name), name, decoding)
        return np.asarray(middle(resize_short_side(image, self.short_side), self.size))

    def placement(self, width: int, height: int) -> Placement:
        """Where it lies in an image of that size, for all else that lies there."""
        wide, high = short_side_size(width, height, self.short_side)
        left, top = (round((length - self.size) / 2) for length in (wide, high))
        across, down = width / wide, height / high
        return Placement(left * across, top * down, self.size * across, self.size * down, self.size)


class Views(NamedTuple):
    """Several crops of an image: uint8 (V, size, size, 3).

    Attributes:
      crops: 1, 10 or 144, see `data.crops`; 144 are those of four scales, 36 of each.
      size: pixels a side.
      short_sides: pixels that the image's short side is resized to first, each of them for itself.
    """

    crops: int
    size: int
    short_sides: tuple[int, ...]

    @property
    def views(self) -> int:
        """V."""
        return len(self.short_sides) * {1: 1, 10: 10, 144: 36}[self.crops]

    def __call__(self, data: bytes, name: str, decoding: Decoding = AS_STORED) -> np.ndarray:
        image, views = decode(open_image(data, name), name, decoding), []
        for short_side in self.short_sides:
            views += self.at_scale(resize_short_side(image, short_side))
        return np.stack(views)

    def at_scale(self, image: Image.Image) -> list[np.ndarray]:
        if self.crops == 1:
            return [np.asarray(middle(image, self.size))]
        if self.crops == 10:
            one_way = five(middle(image, min(image.size)), self.size)
        else:
            whole = (self.size, self.size)
            one_way = [
                view
                for square in squares(image)
                for view in (*five(square, self.size), square.resize(whole, Image.Resampling.BILINEAR))
            ]
        arrays = [np.asarray(view) for view in one_way]
        return [*arrays, *(array[:, ::-1] for array in arrays)]


class Fitted(NamedTuple):
    """The whole of an image, as far as its shape allows, where a network saw images of one size: uint8 (H, W, C).

    Attributes:
      height, width: of those.
      channels: C; of 1 the image is made grey.
    """

    height: int
    width: int
    channels: int

    def __call__(self, data: bytes, name: str, decoding: Decoding = AS_STORED) -> np.ndarray:
        return fit(to_pixels(open_image(data, name), name, self.channels, decoding), (self.height, self.width))


def show(view: Middle | Views | Fitted, split: Encoded, index: int) -> dict[str, Any]:
    """An example of a split with its image as the view has it; a label map and boxes likewise, of a single middle.

    Raises DataError where the image cannot be read or decoded.
    """
    example, name = split.read(index), split.name(index)
    image = view(example["image"], name, split.decoding)
    if isinstance(view, Middle) and needs_placement(split.kinds):
        size = decoded_size(open_image(example["image"], name), split.decoding)
        example = place(example, split.kinds, view.placement(*size))
    return example | {"image": image}


def fit(pixels: np.ndarray, size: tuple[int, int], short_side: int | None = None) -> np.ndarray:
    """The middle of an image as uint8 (*size, C): it is resized, as PIL does, and cut.

    Args:
      pixels: uint8 (H, W, C), C 1 or 3.
      size: height and width of what is cut from the middle.
      short_side: pixels that the short side is resized to first; None is as many as just cover `size`, and an image
        that has that size is left as it is.
    """
    if short_side is None and pixels.shape[:2] == size:
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if short_side is not None or size[0] == size[1]:
        image = middle(resize_short_side(image, short_side or size[0]), size[0])
    else:
        image = cover(image, *size)
    return np.asarray(image).reshape(*size, pixels.shape[-1])


def cover(image: Image.Image, height: int, width: int) -> Image.Image:
    """The middle of an image resized so that it just covers `height` x `width`."""
    scale = max(height / image.height, width / image.width)
    wide, high = max(width, int(scale * image.width)), max(height, int(scale * image.height))
    left, top = round((wide - width) / 2), round((high - height) / 2)
    return image.resize((wide, high), Image.Resampling.BILINEAR).crop((left, top, left + width, top + height))


def resize_short_side(image: Image.Image, short_side: int) -> Image.Image:
    """The image with its short side of so many pixels, and its long side in proportion, rounded down."""
    size = short_side_size(*image.size, short_side)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def short_side_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    short, long = min(width, height), max(width, height)
    other = int(short_side * long / short)
    return (short_side, other) if width <= height else (other, short_side)


def cut(image: Image.Image, left: int, top: int, size: int) -> Image.Image:
    return image.crop((left, top, left + size, top + size))


def middle(image: Image.Image, size: int) -> Image.Image:
    left, top = (round((length - size) / 2) for length in image.size)
    return cut(image, left, top, size)


def five(image: Image.Image, size: int) -> list[Image.Image]:
    """The corners and the middle."""
    right, bottom = (length - size for length in image.size)
    return [*(cut(image, left, top, size) for top in (0, bottom) for left in (0, right)), middle(image, size)]


def squares(image: Image.Image) -> list[Image.Image]:
    """The left, middle and right square of a landscape, the top, middle and bottom of a portrait."""
    (width, height), side = image.size, min(image.size)
    slack = max(image.size) - side
    return [
        cut(image, start, 0, side) if width > height else cut(image, 0, start, side)
        for start in (0, round(slack / 2), slack)
    ]
