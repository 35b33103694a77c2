"""CIFAR-10 ResNets of github.com/akamaster/pytorch_resnet_cifar10: `layer1.0.conv1.weight`.

Option A has half of its zero channels on each side; images have ImageNet's mean and deviation.
"""

from typing import Any

from cnn_jax.data.preprocess import Preprocess
from cnn_jax.models import cifar_depth
from cnn_jax.weights.classes import CIFAR10
from cnn_jax.weights.naming import IMAGENET_MEAN, IMAGENET_STD, LeafPath, Tensor, make_tensor

SUPPORTED = "resnet and a depth 6n + 2, such as resnet20"
COUNTS_BATCHES = False


def supports(name: str) -> bool:
    return cifar_depth(name) is not None and name.startswith("resnet")


def options(name: str) -> dict[str, Any]:
    return {"shortcut_option": "A", "zero_channels": "each_side"}


def preprocess(name: str) -> Preprocess:
    return Preprocess(None, None, IMAGENET_MEAN, IMAGENET_STD)


def class_names() -> tuple[str, ...]:
    return CIFAR10


def classifier(name: str) -> str:
    return "linear"


def find_tensor(name: str, path: LeafPath) -> Tensor:
    match path[1:-1]:
        case ("fc",):
            return make_tensor("linear", path, linear=True)
        case ("conv1", part):
            return make_tensor(f"{part}1", path)
        case (block, conv, part):
            stage, index = block.removeprefix("stage").split("_block")
            return make_tensor(f"layer{stage}.{int(index) - 1}.{part}{conv.removeprefix('conv')}", path)
    raise KeyError(path)
