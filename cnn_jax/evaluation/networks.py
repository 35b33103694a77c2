"""Trained networks with the preprocessing they were trained under: other people's weights, and our own runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from cnn_jax import config as config_lib
from cnn_jax import models, weights
from cnn_jax.config import Config, ConfigError
from cnn_jax.data import Dataset
from cnn_jax.data.augment import standardize
from cnn_jax.data.crops import LIKE_PIL, Interpolation
from cnn_jax.tasks.images import preprocessing
from cnn_jax.train import record
from cnn_jax.train import variables as stored


class Network(NamedTuple):
    """A trained network and what it expects to be shown.

    Attributes:
      model: with fields `num_classes` and `image_size`; `model.apply(variables, x)` gives logits (B, K) and endpoints.
      variables: as arrays of numpy or JAX.
      preprocess: what turns uint8 (B, H, W, C) into what the network sees, float32, before it is resized and cropped.
      channels: C.
      scales: the short side, in pixels, that its images are resized to; none leaves them as they are.
      size: pixels a side of the middle that it is shown, or None for the whole image.
      interpolation: how they are resized.
      class_names: of its K classes.
    """

    model: Any
    variables: Any
    preprocess: Callable[[jax.Array], jax.Array]
    channels: int
    scales: tuple[int, ...] = ()
    size: int | None = None
    interpolation: Interpolation = LIKE_PIL
    class_names: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))


def load_weights(path: Path, name: str, source: str) -> Network:
    """Other people's weights, see `weights.load`; what they say of no crop is a middle of the network's own size.

    Raises WeightsError or ConfigError.
    """
    variables, preprocess = weights.load(path, name, source)
    last = f"{weights.SOURCES[source].classifier(name)}.bias"
    leaves = traverse_util.flatten_dict(variables)
    (classes,) = (len(array) for leaf, array in leaves.items() if weights.find_tensor(name, source, leaf).name == last)
    model = models.build(name, num_classes=classes, **weights.options(name, source))
    mean, std = (np.asarray(values, np.float32) for values in (preprocess.mean, preprocess.std))
    return Network(
        model,
        variables,
        partial(standardize, mean=mean, std=std),
        channels=len(mean),
        scales=() if preprocess.resize is None else (preprocess.resize,),
        size=preprocess.crop or model.image_size,
        interpolation=Interpolation(preprocess.interpolation, preprocess.antialias),
        class_names=weights.class_names(name, source, classes),
    )


def read_config(folder: Path) -> Config:
    """The config of a run; raises RecordError or ConfigError."""
    return config_lib.from_dict(record.read_run(folder).config)


def load_run(folder: Path, config: Config, dataset: Dataset) -> tuple[Network, int]:
    """The network of a run folder as of its newest checkpoint, and the steps it had taken.

    Args:
      folder: the run folder, finished or not.
      config: its own, see `read_config`.
      dataset: what it was trained on.

    Raises:
      RecordError: there is no checkpoint that can be read.
      ConfigError: it is no classifier.
    """
    if config.task != "classification":
        raise ConfigError(f"{folder} is a run of the task {config.task}: give one of classification")
    variables, about = stored.load(folder)
    names = dataset.class_names(config.classification.label)
    model = models.build(
        config.model.name,
        num_classes=len(names),
        dtype=jnp.dtype(config.dtype),
        **models.build_arguments(config.model),
    )
    images, crop = preprocessing(config.data, dataset), config.data.crop
    channels = 3 if crop else dataset.image_shape[2]
    network = Network(model, variables, images, channels, class_names=names)
    if crop:
        network = network._replace(scales=(config.data.resolved_test_short_side,), size=crop)
    return network, about["step"]


def require_fit(network: Network, dataset: Dataset) -> None:
    """Raises ConfigError where the data set has other classes than the network, or other channels."""
    if network.model.num_classes != dataset.num_classes:
        raise ConfigError(
            f"the network tells {network.model.num_classes} classes apart and {dataset.name} has "
            f"{dataset.num_classes}: its labels mean nothing here; --image=FILE shows what it says of a picture"
        )
    require_channels(network, dataset)


def require_channels(network: Network, dataset: Dataset) -> None:
    """Raises ConfigError where the images have other channels than the network sees."""
    if network.channels != dataset.image_shape[2]:
        raise ConfigError(
            f"the network sees {network.channels} channels and images of {dataset.name} have {dataset.image_shape[2]}"
        )
