"""ImageNet networks of torchvision, IMAGENET1K_V1: `features.0.weight`, `layer1.0.downsample.1.weight`.

ResNets project where the shape changes, and their bottlenecks stride in the 3x3 convolution (v1.5).
"""

import itertools
import re
from typing import Any

from cnn_jax.data.preprocess import Preprocess
from cnn_jax.models import get_constructor, model_fields
from cnn_jax.models.vgg import KERNEL_SIZES
from cnn_jax.weights.classes import imagenet
from cnn_jax.weights.naming import IMAGENET_MEAN, IMAGENET_STD, LeafPath, Tensor, make_tensor

SUPPORTED = "alexnet_owt, vgg11, 13, 16, 19 and these with _bn, googlenet_tv, resnet18, 34, 50, 101, 152, squeezenet1_1"
FAMILIES = ("alexnet", "vgg", "googlenet", "resnet", "squeezenet")
NAMES = re.compile(r"alexnet_owt|vgg1[1369](_bn)?|googlenet_tv|resnet(18|34|50|101|152)|squeezenet1_1")
COUNTS_BATCHES = False

# The places of layers in `features` and `classifier`, which also count what has no parameters.
ALEXNET = {
    **{f"conv{index}": f"features.{place}" for index, place in enumerate((0, 3, 6, 8, 10), start=1)},
    **{f"fc{index}": f"classifier.{place}" for index, place in enumerate((1, 4, 6), start=6)},
}
SQUEEZENET = {
    **{"conv1": "features.0", "conv10": "classifier.1"},
    **{f"fire{index}": f"features.{place}" for index, place in enumerate((3, 4, 6, 7, 9, 10, 11, 12), start=2)},
}
VGG_HEAD = {f"fc{index}": f"classifier.{place}" for index, place in enumerate((0, 3, 6), start=6)}
INCEPTION = {  # the branches of an inception module
    "1x1": "branch1",
    "3x3_reduce": "branch2.0",
    "3x3": "branch2.1",
    "5x5_reduce": "branch3.0",
    "5x5": "branch3.1",
    "pool_proj": "branch4.1",
}


def supports(name: str) -> bool:
    return NAMES.fullmatch(name) is not None


def options(name: str) -> dict[str, Any]:
    return {"shortcut_option": "B", "stride_in": "3x3"} if family(name) == "resnet" else {}


def family(name: str) -> str:
    """The family of a network, such as resnet of resnet50."""
    return next(letters for letters in FAMILIES if name.startswith(letters))


def preprocess(name: str) -> Preprocess:
    """GoogLeNet's weights were trained elsewhere, on pixels in [-1, 1]: torchvision's `transform_input` sees to it."""
    if name == "googlenet_tv":
        return Preprocess(256, 224, (0.5,) * 3, (0.5,) * 3)
    return Preprocess(256, 224, IMAGENET_MEAN, IMAGENET_STD)


def class_names() -> tuple[str, ...]:
    return imagenet()


def classifier(name: str) -> str:
    return {"alexnet": "classifier.6", "vgg": "classifier.6", "squeezenet": "classifier.1"}.get(family(name), "fc")


def find_tensor(name: str, path: LeafPath) -> Tensor:
    first, *inside = path[1:-1]
    match family(name):
        case "alexnet":
            return make_tensor(ALEXNET[first], path, linear=first.startswith("fc"))
        case "vgg":
            return make_tensor((VGG_HEAD | vgg_modules(name))[first], path, linear=first.startswith("fc"))
        case "squeezenet":
            return make_tensor(".".join([SQUEEZENET[first], *inside]), path)
        case "resnet":
            return make_tensor(resnet_module(first, inside), path, linear=first == "fc")
        case "googlenet":
            return make_tensor(googlenet_module(first, inside), path, linear=path[-2].startswith("fc"))
    raise KeyError(path)


def resnet_module(first: str, inside: list[str]) -> str:
    """`layer1.0.conv2` of `stage1_block1/conv2/conv`."""
    if first == "fc":
        return "fc"
    if first == "conv1":
        return f"{inside[0]}1"
    stage, index = first.removeprefix("stage").split("_block")
    module, part = inside
    block = f"layer{stage}.{int(index) - 1}"
    if module == "shortcut":
        return f"{block}.downsample.{('conv', 'bn').index(part)}"
    return f"{block}.{part}{module.removeprefix('conv')}"


def googlenet_module(first: str, inside: list[str]) -> str:
    """`inception3a.branch2.0.conv` of `inception_3a/3x3_reduce/conv`."""
    if first.startswith("inception_"):
        branch, part = inside
        return f"inception{first.removeprefix('inception_')}.{INCEPTION[branch]}.{part}"
    return ".".join([{"conv2_reduce": "conv2", "conv2": "conv3"}.get(first, first), *inside])


def vgg_modules(name: str) -> dict[str, str]:
    """The places of convolutions and batch norms among the layers before the classifier."""
    places, count = {}, itertools.count()
    for stage, kernel_sizes in enumerate(KERNEL_SIZES[model_fields(get_constructor(name))["configuration"]], start=1):
        for index in range(1, len(kernel_sizes) + 1):
            places[f"conv{stage}_{index}"] = f"features.{next(count)}"
            if name.endswith("_bn"):
                places[f"bn{stage}_{index}"] = f"features.{next(count)}"
            next(count)  # the nonlinearity
        next(count)  # the pooling
    return places
