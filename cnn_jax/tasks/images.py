"""What a network is shown of the images of a data set: shared by the tasks."""

from typing import Any

import numpy as np

from cnn_jax.config import ConfigError, Data
from cnn_jax.data import Dataset
from cnn_jax.data.augment import on_canvas, pixel_mean
from cnn_jax.data.preprocess import Preprocess
from cnn_jax.network import describe


def input_shape(data: Data, dataset: Dataset) -> tuple[int, int, int]:
    """(H, W, C) of the images that the network sees; raises ConfigError."""
    height, width, channels = (data.crop, data.crop, 3) if data.crop else dataset.image_shape
    if data.canvas and data.canvas < max(height, width):
        raise ConfigError(f"data.canvas={data.canvas} is smaller than images of {height}x{width}")
    height, width = (data.canvas or height), (data.canvas or width)
    if height % data.average_pool or width % data.average_pool:
        raise ConfigError(f"data.average_pool={data.average_pool} does not divide images of {height}x{width}")
    for name, values in (("mean", data.mean), ("std", data.std)):
        if len(values) not in (0, 1, channels):
            raise ConfigError(f"data.{name} has {len(values)} numbers; give 1, or one for each of {channels} channels")
    return height // data.average_pool, width // data.average_pool, channels


def preprocessing(data: Data, dataset: Dataset) -> Preprocess:
    """What turns uint8 (B, H, W, C) into what the network sees, float32."""
    mean = data.mean or pixel_mean(dataset.splits["train"]["image"])
    if isinstance(mean, np.ndarray) and data.canvas:
        mean = np.asarray(on_canvas(mean[None], data.canvas)[0])
    return Preprocess(
        data.resolved_test_short_side if data.crop else None,
        data.crop or None,
        mean,
        data.std or (1.0,),
        canvas=data.canvas,
        average_pool=data.average_pool,
    )


def describe_network(shown: Preprocess, dataset: Dataset, label: str) -> dict[str, Any]:
    """What a user of the trained network has to know beside its variables, see `network.describe`."""
    height, width, channels = (0, 0, 3) if shown.crop else dataset.image_shape
    image_size = None if shown.crop else (height, width)
    return describe(shown, channels, dataset.class_names(label), image_size)
