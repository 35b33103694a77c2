"""Scenes of handwritten digits: images with every kind of field, made in memory in seconds, the same on every machine.

The real digits of `digits` (Alpaydin and Kaynak 1998) on a dim, textured background, 2,000 scenes of its training
digits to train on and 500 of its test digits to test on. A scene of 64x64 pixels has 2 to 4 digits, the tallest of
which, its `label`, is 24 to 32 pixels high and the others 13 to 20; those of 96x96 and 128x128 have up to 5 and 6,
in proportion. Digits overlap: of each, at least VISIBLE of its pixels are in front, and of the smaller of two boxes
at most SHARED lies in the other. All arithmetic is of integers, and the random numbers are of `RandomState`, whose
stream NumPy has frozen for good (NEP 19).
"""

import functools
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.dataset import DataError, Dataset, Field, Request, require_fields
from cnn_jax.data.sources import digits
from cnn_jax.data.sources.sentences import DIGITS, LONGEST, describe

SIZES = (64, 96, 128)
COUNTS = {"train": 2000, "test": 500}
VISIBLE = Fraction(3, 5)
SHARED = Fraction(1, 3)
ATTEMPTS = 200  # at a place for a digit
INK = 128  # from which on a pixel belongs to a digit
FIELDS = {
    "image": Field("image"),
    "label": Field("label", DIGITS),
    "label_map": Field("label_map", ("background", *DIGITS)),
    "boxes": Field("boxes"),
    "box_label": Field("box_label", DIGITS),
    "box_mask": Field("box_mask"),
    "captions": Field("captions"),
}


class Digit(NamedTuple):
    """A digit of a scene: its class, its box, its ink uint8 (h, w) in the box, and how bright it is drawn."""

    label: int
    box: tuple[int, int, int, int]
    ink: np.ndarray
    brightness: int


def has(name: str, folder: str) -> bool:
    """Whether the name is `digit_scenes` or begins with `digit_scenes/`."""
    return name.partition("/")[0] == "digit_scenes"


def load(request: Request) -> Dataset:
    """The scenes of 64x64 pixels, of `digit_scenes/96` and `digit_scenes/128` larger ones. Raises DataError."""
    size = {"digit_scenes": 64} | {f"digit_scenes/{size}": size for size in SIZES}
    if request.name not in size:
        raise DataError(f"unknown dataset {request.name!r}; choose from {', '.join(size)}")
    if request.streamed:
        raise DataError(f"{request.name!r} is made in memory and cannot be streamed: leave data.crop out")
    fields = require_fields(request.name, request.fields, FIELDS)
    splits = {}
    for number, (split, count) in enumerate(COUNTS.items()):
        _, images, labels = digits.split(test=split == "test")
        found = [scene(images, labels, size[request.name], (number, index)) for index in range(count)]
        splits[split] = {field: np.stack([one[field] for one in found]) for field in fields}
    return Dataset(request.name, splits, fields, "")


def scene(images: np.ndarray, labels: np.ndarray, size: int, seed: tuple[int, int]) -> dict[str, Any]:
    """The fields of one scene: `image` uint8 (size, size, 1), see FIELDS; boxes from the back to the front."""
    draw = np.random.RandomState(seed)
    most = 2 + size // 32
    count = draw.randint(2, most + 1)
    tall = draw.randint(count)  # which of them is the tallest
    placed: list[Digit] = []
    for place in range(count):
        low, high = (24, 32) if place == tall else (13, 20)
        height = draw.randint(low * size // 64, high * size // 64 + 1)
        which = draw.randint(len(labels))
        placed.append(place_digit(placed, int(labels[which]), render(images[which].tobytes(), height), size, draw))
    boxes, label_map = np.zeros((most, 4), np.float32), np.zeros((size, size), np.uint8)
    boxes[:count] = [digit.box for digit in placed]
    box_label = np.array([digit.label for digit in placed] + [0] * (most - count), np.int32)
    canvas = background(size, draw)
    for digit in placed:
        x0, y0, x1, y1 = digit.box
        under, ink = canvas[y0:y1, x0:x1].astype(np.int64), digit.ink.astype(np.int64)
        canvas[y0:y1, x0:x1] = (under * (255 - ink) + digit.brightness * ink + 127) // 255
        label_map[y0:y1, x0:x1][digit.ink >= INK] = 1 + digit.label
    return {
        "image": canvas[..., None],
        "label": np.int32(placed[tall].label),
        "label_map": label_map,
        "boxes": boxes,
        "box_label": box_label,
        "box_mask": np.arange(most) < count,
        "captions": np.array(describe(boxes[:count], box_label[:count]), f"<U{LONGEST}"),
    }


def place_digit(placed: list[Digit], label: int, ink: np.ndarray, size: int, draw: np.random.RandomState) -> Digit:
    """The digit in front of those placed, where it hides of none too much; raises RuntimeError where there is none."""
    height, width = ink.shape
    for _ in range(ATTEMPTS):
        x0, y0 = draw.randint(size - width + 1), draw.randint(size - height + 1)
        digit = Digit(label, (x0, y0, x0 + width, y0 + height), ink, draw.randint(140, 256))
        if (
            all(box_overlap(digit, other) <= SHARED for other in placed)
            and min(visible_shares([*placed, digit], size)) >= VISIBLE
        ):
            return digit
    raise RuntimeError(f"no room for another digit among {len(placed)} on {size}x{size}")


def box_overlap(one: Digit, other: Digit) -> Fraction:
    """How much of the smaller of two boxes lies in the other."""
    x0, y0 = (max(one.box[axis], other.box[axis]) for axis in (0, 1))
    x1, y1 = (min(one.box[axis], other.box[axis]) for axis in (2, 3))
    return Fraction(max(0, x1 - x0) * max(0, y1 - y0), min(one.ink.size, other.ink.size))


def visible_shares(placed: list[Digit], size: int) -> list[Fraction]:
    """The share of each digit's pixels that no digit after it covers."""
    front = np.full((size, size), -1)
    for index, digit in enumerate(placed):
        x0, y0, x1, y1 = digit.box
        front[y0:y1, x0:x1][digit.ink >= INK] = index
    return [Fraction(int((front == index).sum()), int((digit.ink >= INK).sum())) for index, digit in enumerate(placed)]


def background(size: int, draw: np.random.RandomState) -> np.ndarray:
    """Dim texture, uint8 (size, size) up to 90: coarse noise, interpolated, and fine noise."""
    coarse = draw.randint(0, 66, (8, 8))
    return (enlarge(coarse, size) + draw.randint(0, 26, (size, size))).astype(np.uint8)


@functools.lru_cache(maxsize=4096)
def render(pixels: bytes, height: int) -> np.ndarray:
    """The ink of a digit, uint8 (height, w), in the proportions it was written in: cut to where it has any.

    The digit is enlarged until what has ink is as high as asked for.
    """
    digit = np.frombuffer(pixels, np.uint8).reshape(8, 8)
    for size in range(height, 3 * height):
        ink = enlarge(digit, size)
        rows = np.flatnonzero((ink >= INK).any(axis=1))
        if rows.size and rows[-1] - rows[0] + 1 >= height:
            ink = ink[rows[0] : rows[0] + height]
            columns = np.flatnonzero((ink >= INK).any(axis=0))
            return ink[:, columns[0] : columns[-1] + 1].astype(np.uint8)
    raise RuntimeError("a digit without ink")


def enlarge(pixels: np.ndarray, size: int) -> np.ndarray:
    """Bilinear interpolation of whole numbers (8, 8) to (size, size), exact before it is rounded."""
    weights = interpolation(size)
    return (weights @ pixels.astype(np.int64) @ weights.T + 2 * size**2) // (4 * size**2)


@functools.cache
def interpolation(size: int) -> np.ndarray:
    """int64 (size, 8) whose rows sum to 2 * size: of 8 pixels, pixel i is what lies at (i + 1/2) * 8 / size - 1/2."""
    place = np.clip((2 * np.arange(size) + 1) * 8 - size, 0, 14 * size)  # in units of 1 / (2 * size)
    low, part = np.divmod(place, 2 * size)
    weights = np.zeros((size, 9), np.int64)
    np.add.at(weights, (np.arange(size), low), 2 * size - part)
    np.add.at(weights, (np.arange(size), low + 1), part)
    return weights[:, :8]
