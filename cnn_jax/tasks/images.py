"""What a network is shown of the images of a data set: shared by the tasks."""

from collections.abc import Callable

import jax
import numpy as np

from cnn_jax.config import ConfigError, Data
from cnn_jax.data import Dataset
from cnn_jax.data.augment import average_pool, on_canvas, pixel_mean, standardize


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


def preprocessing(data: Data, dataset: Dataset) -> Callable[[jax.Array], jax.Array]:
    """What turns uint8 (B, H, W, C) into what the network sees, float32."""
    mean = np.asarray(data.mean, np.float32) if data.mean else pixel_mean(dataset.splits["train"]["image"])
    std = np.asarray(data.std or 1.0, np.float32)
    if mean.ndim == 3 and data.canvas:
        mean = np.asarray(on_canvas(mean[None], data.canvas)[0])

    def images(image: jax.Array) -> jax.Array:
        image = on_canvas(image, data.canvas) if data.canvas else image
        return average_pool(standardize(image, mean, std), data.average_pool)

    return images
