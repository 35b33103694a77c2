"""What a network is shown of the images of a data set: shared by the tasks."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from cnn_jax import models
from cnn_jax.config import Config, ConfigError, Data
from cnn_jax.data import DataError, Dataset
from cnn_jax.data.augment import on_canvas, pixel_mean
from cnn_jax.data.picture import open_image
from cnn_jax.data.preprocess import Preprocess
from cnn_jax.network import describe
from cnn_jax.train.processes import print_once

# What the papers' recipes for ImageNet show of an image: the middle 224 pixels of a short side of 256, less the mean
# colour of its training images and divided by their deviation, as torchvision's weights have it.
SHOWN = 224 / 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAMPLE = 64  # images of which the sizes are looked at


def complete_crop(config: Config, dataset: Dataset) -> Data:
    """The data's settings with a crop, where they have none and images have any size; what is taken is printed.

    It is the size that the network is built for, or as much of the images as ImageNet's recipes show, if that is less.
    """
    data = config.data
    if data.crop or not dataset.streamed:
        return data
    own = config.model.image_size or models.build(config.model.name).image_size
    typical = median_short_side(dataset)
    crop = min(own, round(typical * SHOWN))
    print_once(
        f"{dataset.name}: short sides of about {typical} pixels, {config.model.name} is built for {own}: it is shown "
        f"crops of {crop}; --set=data.crop=PIXELS is another"
    )
    sides = (round(crop / SHOWN),) if data.short_side == Data().short_side else data.short_side
    upright = data.exif_orientation is not False  # of photographs that nobody has learned otherwise yet
    return replace(data, crop=crop, short_side=sides, exif_orientation=upright)


@functools.lru_cache(maxsize=4)
def median_short_side(dataset: Dataset) -> int:
    """In pixels, of some training images, evenly spread; raises DataError where none of them can be opened."""
    split: Any = dataset.splits["train"]
    sides, problem = [], None
    for index in range(0, len(split), -(-len(split) // SAMPLE)):
        try:
            sides.append(min(open_image(split.read(index)["image"], split.name(index)).size))
        except DataError as error:
            problem = error
    if not sides and problem is not None:
        raise problem
    return int(np.median(sides))


def complete_mean(data: Data) -> Data:
    """The settings with what streamed images are less and divided by, where nothing is said of it: ImageNet's."""
    if not data.crop or data.mean:
        return data
    return replace(data, mean=MEAN, std=data.std or STD)


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
        bits=data.bits,
        exif_orientation=bool(data.exif_orientation),
    )


def describe_network(shown: Preprocess, dataset: Dataset, label: str) -> dict[str, Any]:
    """What a user of the trained network has to know beside its variables, see `network.describe`."""
    height, width, channels = (0, 0, 3) if shown.crop else dataset.image_shape
    image_size = None if shown.crop else (height, width)
    return describe(shown, channels, dataset.class_names(label), image_size)
