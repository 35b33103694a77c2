"""Architectures by name; every network returns `(logits, endpoints)`."""

import dataclasses
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from cnn_jax.config import ConfigError, Model, suggest
from cnn_jax.config.checks import CHOICES
from cnn_jax.layers.initializers import INITIALIZATIONS
from cnn_jax.models.alexnet import AlexNet
from cnn_jax.models.googlenet import GoogLeNet, GoogLeNetBN
from cnn_jax.models.lenet import FULLY_CONNECTED, LeNet5
from cnn_jax.models.resnet import IMAGENET, CifarResNet, ImageNetResNet
from cnn_jax.models.squeezenet import SqueezeNet
from cnn_jax.models.vgg import VGG

MODELS: dict[str, Callable[..., nn.Module]] = {
    "lenet5": LeNet5,
    # As it is mostly retold: every map of C3 sees all of S2, means are pooled, the output is dense, Glorot's start.
    "lenet5_full": partial(
        LeNet5, connections=FULLY_CONNECTED, pooling="mean", output="dense", initialization="glorot"
    ),
    "alexnet": AlexNet,
    "alexnet_owt": partial(AlexNet, year=2014, towers=1, image_size=224, width=64, normalization="none"),
    "vgg11": partial(VGG, configuration="A"),
    "vgg11_lrn": partial(VGG, configuration="A-LRN"),
    "vgg13": partial(VGG, configuration="B"),
    "vgg16": partial(VGG, configuration="D"),
    "vgg16c": partial(VGG, configuration="C"),
    "vgg19": partial(VGG, configuration="E"),
    "vgg11_bn": partial(VGG, configuration="A", normalization="bn"),
    "vgg13_bn": partial(VGG, configuration="B", normalization="bn"),
    "vgg16_bn": partial(VGG, configuration="D", normalization="bn"),
    "vgg19_bn": partial(VGG, configuration="E", normalization="bn"),
    "googlenet": GoogLeNet,
    "googlenet_tv": GoogLeNetBN,
    "plain18": partial(ImageNetResNet, depth=18, residual=False),
    "plain34": partial(ImageNetResNet, depth=34, residual=False),
    "resnet18": partial(ImageNetResNet, depth=18),
    "resnet34": partial(ImageNetResNet, depth=34),
    "resnet50": partial(ImageNetResNet, depth=50),
    "resnet101": partial(ImageNetResNet, depth=101),
    "resnet152": partial(ImageNetResNet, depth=152),
    "squeezenet1_1": SqueezeNet,
}
"""Every network but the open-ended CIFAR family, by name."""

CIFAR_FAMILY = {"plain": partial(CifarResNet, residual=False), "resnet": CifarResNet}
"""The CIFAR family by the letters of its names, `plain20`, `resnet20`, ..., for any depth 6n + 2."""


def build(name: str, **changes: Any) -> nn.Module:
    """The network, at the paper's values but for `changes`: `build("resnet20", num_classes=10)`.

    With `image_size` and no `stem`, the stem is the one for images of that size, see `choose_stem`.

    Raises ConfigError on an unknown name or field, or images too small.
    """
    constructor = get_constructor(name)
    for field in changes.keys() - model_fields(constructor).keys():
        raise ConfigError(f"{name} has no model.{field}; {suggest(field, model_fields(constructor))}")
    if changes.get("initialization", "he") not in INITIALIZATIONS:
        raise ConfigError(f"model.initialization={changes['initialization']}: choose from {', '.join(INITIALIZATIONS)}")
    known = {field: CHOICES[f"model.{field}"] for field in changes if f"model.{field}" in CHOICES}
    for field, choices in (known | getattr(model_class(constructor), "CHOICES", {})).items():
        if changes.get(field, choices[0]) not in choices:
            raise ConfigError(f"model.{field}={changes[field]}: {name} has {', '.join(choices)}")
    image_size = changes.get("image_size", model_fields(constructor)["image_size"])
    if changes.get("stem") is None:
        changes["stem"] = choose_stem(name, image_size)
    elif changes["stem"] not in model_class(constructor).STEMS:
        raise ConfigError(f"model.stem={changes['stem']}: {name} has {', '.join(model_class(constructor).STEMS)}")
    elif not stem_fits(name, changes["stem"], image_size):
        smallest = model_class(constructor).STEMS[changes["stem"]]
        raise ConfigError(
            f"model.stem={changes['stem']}: {name} so takes {smallest} pixels or more; these are {image_size}"
        )
    return constructor(**changes)


def complete(model: Model, image_size: int) -> Model:
    """The settings with the network's own values where they were None; `image_size` is that of the data.

    Raises ConfigError on an unknown name, a setting the network does not have, or images too small.
    """
    network = build(model.name, **{"image_size": image_size} | build_arguments(model))
    if getattr(network, "padding_mode", "") == "valid":
        require_valid_padding(model.name, network)
    return describe(model.name, network)


def describe(name: str, network: Any) -> Model:
    """The settings of a network, such that `build` makes it again of them; those it does not have are None."""
    known = model_fields(get_constructor(name)).keys() & {field.name for field in dataclasses.fields(Model)}
    return Model(name=name, **{field: getattr(network, field) for field in known})


def require_valid_padding(name: str, network: Any) -> None:
    """Raises ConfigError where the maps of a network without padding do not fit its layers, or its shortcuts."""
    if getattr(network, "residual", False):
        raise ConfigError(f"model.padding_mode=valid: the shortcuts of {name} need maps that keep their size")
    size = network.image_size
    try:
        jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 1), jnp.float32))
    except ValueError as error:
        raise ConfigError(
            f"model.padding_mode=valid: images of {size} pixels are too small for {name}, {error}; take larger ones, "
            "put them on a larger canvas (data.canvas), or leave valid out"
        ) from error


def build_arguments(model: Model) -> dict[str, Any]:
    """What `build` takes of the settings: all but the name and what is None."""
    return {name: value for name, value in vars(model).items() if value is not None and name != "name"}


def choose_stem(name: str, image_size: int) -> str:
    """The stem of a network for images of `image_size` pixels a side. Raises ConfigError where they are too small."""
    stems: dict[str, int] = model_class(get_constructor(name)).STEMS
    for stem, smallest in stems.items():
        if image_size >= smallest:
            return stem
    raise ConfigError(f"{name} takes images of {min(stems.values())} pixels or more a side; these are {image_size}")


def stem_fits(name: str, stem: str | None, image_size: int) -> bool:
    """Whether the network has that stem and it is for images of `image_size` pixels a side."""
    return image_size >= model_class(get_constructor(name)).STEMS.get(stem, math.inf)


def get_constructor(name: str) -> Callable[..., nn.Module]:
    """What makes the network; raises ConfigError on an unknown name or a depth that is not 6n + 2.

    Depths 50 and 152 are ImageNet's alone: a plain twin of CIFAR's would be compared with another family.
    """
    if name in MODELS:
        return MODELS[name]
    depth = cifar_depth(name)
    if depth is None:
        raise ConfigError(f"unknown model {name!r}; {suggest(name, [*MODELS, 'plain20', 'resnet20'])}")
    depths = [known for known in range(8, max(depth, 8) + 13, 6) if known not in IMAGENET]
    if depth not in depths:
        above = next(index for index, known in enumerate(depths) if index and known > depth)
        wrong = f"is resnet{depth}'s, without a plain twin" if depth in IMAGENET else "is not 6n+2"
        raise ConfigError(
            f"model {name}: depth {depth} {wrong}; the nearest are {depths[above - 1]} and {depths[above]}"
        )
    return partial(CIFAR_FAMILY[name.rstrip("0123456789")], depth=depth)


def cifar_depth(name: str) -> int | None:
    """20 of `plain20` and `resnet20`; None of a name that is not of the CIFAR family."""
    match = re.fullmatch(r"(plain|resnet)(\d+)", name)
    return int(match[2]) if match and name not in MODELS else None


def model_class(constructor: Callable[..., nn.Module]) -> Any:
    """The class that a constructor, it itself or a partial of it, makes."""
    return model_class(constructor.func) if isinstance(constructor, partial) else constructor


def model_fields(constructor: Callable[..., nn.Module]) -> dict[str, Any]:
    """The fields that can be changed, with their values."""
    defaults = {field.name: field.default for field in dataclasses.fields(model_class(constructor))}
    fixed = constructor.keywords if isinstance(constructor, partial) else {}
    return {name: value for name, value in (defaults | fixed).items() if name not in ("parent", "name")}
