"""Streamed images in memory after all: their central squares."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.stream.encoded import Encoded
from cnn_jax.data.stream.views import Middle, show


def load_squares(dataset: Dataset, short_side: int, splits: Iterable[str], count: int | None = None) -> Dataset:
    """The dataset with the first `count` images of these splits, and no other, as squares of `short_side` pixels.

    An image is resized, and the middle of its long side kept. Raises DataError where one cannot be decoded.
    """
    return replace(dataset, splits={split: squares(dataset.splits[split], short_side, count) for split in splits})


def squares(images: Encoded, short_side: int, count: int | None) -> dict[str, np.ndarray]:
    """The fields, see `dataset.Field`: `image` uint8 (N, S, S, 3)."""
    view = Middle(short_side, short_side)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        examples = list(pool.map(lambda index: show(view, images, index), range(len(images))[:count]))
    return {field: np.stack([example[field] for example in examples]) for field in images.kinds}
