"""CIFAR-10 plain and residual nets of github.com/a-martyn/resnet: `stack2a.conv1.weight`, `stack2b.0.conv1.weight`.

Option A appends its zero channels; all channels of an image have one mean and one deviation.
"""

from typing import Any

from cnn_jax.data.preprocess import Preprocess
from cnn_jax.models import cifar_depth
from cnn_jax.weights.classes import CIFAR10
from cnn_jax.weights.naming import LeafPath, Tensor, make_tensor

SUPPORTED = "plain or resnet and a depth 6n + 2, such as plain20"
COUNTS_BATCHES = True


def supports(name: str) -> bool:
    return cifar_depth(name) is not None


def options(name: str) -> dict[str, Any]:
    return {"shortcut_option": "A", "zero_channels": "after"}


def preprocess(name: str) -> Preprocess:
    return Preprocess(None, None, (0.49187,) * 3, (0.24697,) * 3)


def class_names() -> tuple[str, ...]:
    return CIFAR10


def classifier(name: str) -> str:
    return "fcOut"


def find_tensor(name: str, path: LeafPath) -> Tensor:
    match path[1:-1]:
        case ("fc",):
            return make_tensor("fcOut", path, linear=True)
        case ("conv1", part):
            return make_tensor(f"{part}In", path)
        case (block, conv, part):
            stage, index = block.removeprefix("stage").split("_block")
            return make_tensor(f"{stack_name(stage, int(index))}.{part}{conv.removeprefix('conv')}", path)
    raise KeyError(path)


def stack_name(stage: str, index: int) -> str:
    """Their name of a stage's block: the second and third stages begin with a block outside of their stacks."""
    if stage == "1":
        return f"stack1.{index - 1}"
    return f"stack{stage}a" if index == 1 else f"stack{stage}b.{index - 2}"
