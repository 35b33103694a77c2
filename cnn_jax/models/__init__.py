"""Architectures by name; every network returns `(logits, endpoints)`."""

import re
from typing import Any

from flax import linen as nn

from cnn_jax.config import ConfigError, near
from cnn_jax.models.resnet import ResNet

MODELS: dict[str, dict[str, Any]] = {"plain": {"residual": False}, "resnet": {"residual": True}}
"""The CIFAR family by the letters of its names, `plain20`, `resnet20`, ..., for any depth 6n + 2."""


def build(name: str, **changes: Any) -> nn.Module:
    """`build("resnet20", num_classes=10)`; raises ConfigError on an unknown name or a depth that is not 6n + 2."""
    family, depth = parse(name)
    arguments = MODELS[family] | changes
    return ResNet(depth=depth, **arguments)


def parse(name: str) -> tuple[str, int]:
    """`"resnet20"` -> `("resnet", 20)`; raises ConfigError on an unknown name or a depth that is not 6n + 2."""
    match = re.fullmatch(r"([a-z]+)(\d+)", name)
    if not match or match[1] not in MODELS:
        raise ConfigError(f"unknown model {name!r}; {near(name, [f'{family}20' for family in MODELS])}")
    depth = int(match[2])
    if depth < 8 or depth % 6 != 2:
        lower = max(8, depth - (depth - 2) % 6)
        raise ConfigError(f"model {name}: depth {depth} is not 6n+2; the nearest are {lower} and {lower + 6}")
    return match[1], depth
