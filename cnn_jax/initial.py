"""Runs that begin with variables somebody has trained: a converted checkpoint, or another run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from cnn_jax import models
from cnn_jax.config import Config, ConfigError
from cnn_jax.models.frozen import Part
from cnn_jax.models.residual import unstack_blocks
from cnn_jax.train import variables as stored
from cnn_jax.train.processes import print_once
from cnn_jax.weights.matching import describe_mismatch

STRUCTURE = ("width", "shortcut_option", "zero_channels", "stride_in", "output")
"""Settings without which the variables do not mean what they did."""


def inherit_settings(config: Config, image_size: int) -> Config:
    """The config with what it leaves open of the network and the standardisation taken from `init_from`; the stem where
    images of `image_size` pixels are large enough for it.

    Raises ConfigError where it says otherwise, RecordError where there is nothing to begin with.
    """
    _, about = stored.load(Path(config.init_from))
    saved = about["model"]
    if saved["name"] != config.model.name:
        raise ConfigError(f"--init_from={config.init_from} is a {saved['name']}, not a {config.model.name}")
    inherited = {}
    for name in (*STRUCTURE, "stem"):
        value, current = saved.get(name), getattr(config.model, name)
        if current is None and (name != "stem" or models.stem_fits(saved["name"], value, image_size)):
            inherited[name] = value
        elif name in STRUCTURE and value is not None and current != value:
            raise ConfigError(
                f"model.{name}={current}: --init_from={config.init_from} has {value}; give --set=model.{name}={value}"
            )
    data = config.data
    if not (data.mean or data.std) or (data.crop and not data.mean):
        mean, std = own_standardization(about, bool(data.crop))
        data = replace(data, mean=mean, std=data.std or std)
    if data.crop and not data.mean:
        raise ConfigError(
            f"--init_from={config.init_from} does not tell under which mean it was trained: give --set=data.mean, for "
            "instance 0.485,0.456,0.406"
        )
    if config.init_digest not in ("", about["digest"]):
        raise ConfigError(f"--init_from={config.init_from}: its variables are not those this config began with")
    return replace(config, model=replace(config.model, **inherited), data=data, init_digest=about["digest"])


def adopt_standardization(config: Config) -> Config:
    """The config of a recipe with the mean and deviation of `init_from` in place of the recipe's, where it has a mean.

    Raises RecordError where there is nothing to begin with.
    """
    mean, std = own_standardization(stored.describe(Path(config.init_from)), bool(config.data.crop))
    return replace(config, data=replace(config.data, mean=mean, std=std)) if mean else config


def own_standardization(about: dict[str, Any], streamed: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`(data.mean, data.std)` that variables were trained under, see `stored.describe`.

    No mean stands for the mean image of the data; of the one they had, streamed images, which have none, take the
    colour.
    """
    mean, std = (tuple(about["preprocess"][name]) for name in ("mean", "std"))
    if streamed and not mean and about["network"]:
        mean = tuple(np.mean(about["network"]["preprocess"]["mean"], axis=(0, 1)).round(6).tolist())
    return mean, std


def load_variables(
    variables: dict[str, Any], folder: str, digest: str, num_classes: int, part: Part | None = None
) -> dict[str, Any]:
    """The variables of `folder` in place of the drawn ones: those of the part, or all of them, where the layers that
    tell the classes apart stay drawn if their number differs.

    Raises ConfigError where the two do not fit, naming all that does not, or where the folder has changed.
    """
    loaded, about = stored.load(Path(folder))
    if digest and about["digest"] != digest:
        raise ConfigError(f"--init_from={folder}: its variables are not those this config began with")
    old, drawn = (traverse_util.flatten_dict(tree, sep="/") for tree in (unstack_blocks(loaded), variables))
    new, heads = drawn, set[str]()
    if part is not None:
        new = {name: leaf for name, leaf in drawn.items() if part.holds(name.split("/"))}
        old = {name: leaf for name, leaf in old.items() if name in new}
    else:
        differ = {name for name in old.keys() & new.keys() if old[name].shape != new[name].shape}
        heads = {name for name in differ if (*old[name].shape[:-1], num_classes) == new[name].shape}
    wanted = {name: leaf.shape for name, leaf in new.items() if name not in heads}
    wrong = describe_mismatch({name: leaf for name, leaf in old.items() if name not in heads}, wanted)
    if wrong:
        raise ConfigError(f"--init_from={folder} does not fit: {wrong}")
    if heads:
        print_once(f"{folder} has other classes: drawn anew for {num_classes} are {', '.join(sorted(heads))}")
    taken = new.keys() - heads
    merged = {name: np.asarray(old[name] if name in taken else drawn[name]) for name in drawn}
    return traverse_util.unflatten_dict(merged, sep="/")


def begin_heads(variables: dict[str, Any], drawn: dict[str, Any], heads: tuple[str, ...]) -> dict[str, Any]:
    """The variables with the layers of the classes as drawn, their kernels a tenth of that and their biases 1.

    On trained features, which are large, a head of its usual size begins with a loss of many nats, whose first steps
    harm what is below it. The softmax knows no bias that all classes share; of a SqueezeNet, whose scores go through a
    ReLU, it keeps the classes from beginning at zero, where no gradient is.
    """
    merged = traverse_util.flatten_dict(variables, sep="/")
    fresh = traverse_util.flatten_dict(drawn, sep="/")
    for head in heads:
        merged[f"params/{head}/kernel"] = np.asarray(fresh[f"params/{head}/kernel"]) * np.float32(0.1)
        if f"params/{head}/bias" in fresh:
            merged[f"params/{head}/bias"] = np.ones_like(fresh[f"params/{head}/bias"])
    return traverse_util.unflatten_dict(merged, sep="/")
