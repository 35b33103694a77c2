"""Networks from wherever they are: files of other people's weights, converted checkpoints, and our own runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from cnn_jax import config as config_lib
from cnn_jax import models, weights
from cnn_jax.config import Config, ConfigError, Model
from cnn_jax.data import Dataset
from cnn_jax.network import Network, assemble, describe
from cnn_jax.tasks.images import describe_network, preprocessing
from cnn_jax.train import record
from cnn_jax.train import variables as stored
from cnn_jax.train.record import RecordError


def load(
    path: str | PathLike[str],
    model: str | None = None,
    source: str | None = None,
    *,
    ignore_surplus: Sequence[str] = (),
    read_dataset: Callable[[Config], Dataset] | None = None,
) -> Network:
    """The network of a file of weights, a converted checkpoint or a run folder, with all that belongs to it.

    Args:
      path: the file or folder.
      model: of other people's weights, the network, such as resnet50.
      source: of other people's weights, whose they are, see `weights.SOURCES`.
      ignore_surplus: see `weights.load`.
      read_dataset: of runs that older versions made, which did not keep their preprocessing and class names: what
        gives the data set of a config.

    Raises:
      WeightsError, RecordError, ConfigError: in one line, what is wrong with the path or missing beside it.
    """
    path = Path(path).expanduser()
    converted = (path / stored.METADATA_FILE).exists()
    run = (path / "config.json").exists() and not any(
        path.glob("*.safetensors*")
    )  # other people's folders have one too
    if not (converted or run):
        if model is None or source is None:
            raise ConfigError(
                f"{path}: neither a run folder nor a converted checkpoint; of a file of weights give the model and the "
                f"source too, such as resnet50 and torchvision (sources: {', '.join(weights.SOURCES)})"
            )
        return weights.load(path, model, source, ignore_surplus)
    if model is not None or source is not None:
        raise ConfigError(f"{path} has its own network: leave the model and the source of weights out")
    if converted:
        return load_converted(path)
    config = read_config(path)
    needed = not (path / "network.json").exists()
    return load_run(path, config, read_dataset(config) if needed and read_dataset else None)[0]


def load_converted(folder: Path) -> Network:
    """The network of a checkpoint that `convert` wrote; raises RecordError."""
    variables, about = stored.load(folder)
    known = about["network"]
    if known is None:  # an older version wrote it, of the three sources alone, and left out what they have in common
        if "source" not in about:
            raise RecordError(f"{folder} does not tell its class names: convert the file again")
        name, source = about["model"]["name"], about["source"]
        names = weights.class_names(name, source, weights.count_classes(variables, name, source))
        known = about | {"channels": len(about["preprocess"]["mean"]), "class_names": names}
    return rebuild(Model(**about["model"]), "float32", variables, known)


def save(folder: Path, name: str, network: Network, about: Mapping[str, Any]) -> None:
    """Writes the network of that name as a folder that `load_converted` reads, with what else is to be known of it.

    Raises RecordError where the folder is there already or cannot be written.
    """
    known = describe(network.preprocess, network.channels, network.class_names, network.image_size)
    settings = asdict(models.describe(name, network.model))
    stored.save(folder, network.variables, {**about, "model": settings, **known})


def rebuild(settings: Model, dtype: str, variables: Any, about: Mapping[str, Any]) -> Network:
    """The network of recorded settings, see `network.assemble`."""
    arguments = models.build_arguments(settings)
    model = models.build(settings.name, num_classes=len(about["class_names"]), dtype=jnp.dtype(dtype), **arguments)
    return assemble(model, variables, about)


def read_config(folder: Path) -> Config:
    """The config of a run; raises RecordError or ConfigError."""
    return config_lib.from_dict(record.read_run(folder).config)


def load_run(folder: Path, config: Config, dataset: Dataset | None = None) -> tuple[Network, int]:
    """The network of a run folder as of its newest checkpoint, and the steps it had taken.

    Args:
      folder: the run folder, finished or not.
      config: its own, see `read_config`.
      dataset: what it was trained on, where an older version made the run; it is not looked at otherwise.

    Raises:
      RecordError: there is no checkpoint that can be read, or the data set is needed.
      ConfigError: it is no classifier.
    """
    if config.task != "classification":
        raise ConfigError(f"{folder} is a run of the task {config.task}: give one of classification")
    variables, about = stored.load(folder)
    known = about["network"]
    if known is None:
        if dataset is None:
            raise RecordError(
                f"{folder}: an older version made it, without its preprocessing and class names: they are in its data "
                f"set, {config.data.name}; give the data_dir where that is"
            )
        known = describe_network(preprocessing(config.data, dataset), dataset, config.classification.label)
    return rebuild(config.model, config.dtype, variables, known), about["step"]


def require_fit(network: Network, dataset: Dataset) -> None:
    """Raises ConfigError where the data set has other classes than the network, or other channels."""
    if network.model.num_classes != dataset.num_classes:
        raise ConfigError(
            f"the network tells {network.model.num_classes} classes apart and {dataset.name} has "
            f"{dataset.num_classes}: its labels mean nothing here; --image=FILE shows what it says of a picture"
        )
    require_channels(network, dataset)


def require_channels(network: Network, dataset: Dataset) -> None:
    """Raises ConfigError where the images have other channels than the network sees; streamed ones are converted."""
    if not dataset.streamed and network.channels != dataset.image_shape[2]:
        raise ConfigError(
            f"the network sees {network.channels} channels and images of {dataset.name} have {dataset.image_shape[2]}"
        )
