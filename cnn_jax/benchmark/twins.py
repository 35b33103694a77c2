"""Which networks a PyTorch side has, and how the two are known to be the same; nothing of PyTorch is imported here."""

import re
from typing import Any

from cnn_jax.benchmark.turns import BenchmarkError

VGGS = tuple(f"vgg{depth}{norm}" for norm in ("", "_bn") for depth in (11, 13, 16, 19))
RESNETS = tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152))

TORCHVISION: dict[str, tuple[str, dict[str, Any]]] = {
    "alexnet_owt": ("alexnet", {}),
    **{name: (name, {"init_weights": False}) for name in VGGS},  # a minute of drawing numbers for nothing
    "googlenet_tv": ("googlenet", {"aux_logits": True, "init_weights": False}),
    **{name: (name, {}) for name in RESNETS},
    "squeezenet1_1": ("squeezenet1_1", {}),
}
"""Our networks that are torchvision's: its name, and what its constructor takes beside the number of classes."""


def cifar_depth(name: str) -> int | None:
    """20 of `plain20` and `resnet20`; None of what is not of the CIFAR family."""
    match = re.fullmatch(r"(plain|resnet)(\d+)", name)
    found = match is not None and name not in TORCHVISION and int(match[2]) % 6 == 2
    return int(match[2]) if match and found else None


def require_twin(name: str) -> None:
    """Raises BenchmarkError on a network that PyTorch's side does not have."""
    if name not in TORCHVISION and name != "lenet5_full" and cifar_depth(name) is None:
        known = ", ".join([*TORCHVISION, "lenet5_full"])
        raise BenchmarkError(
            f"the PyTorch peer has no {name}: it has {known}, and CIFAR's plain20, resnet20 and so on of depth 6n+2"
        )


def require_same(name: str, peer: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Raises BenchmarkError where the sides' facts, `parameters` and `macs` of an image, say two different networks."""
    sizes = [f"{side['parameters']:,} parameters and {side['macs']:,} multiply-adds" for side in (ours, theirs)]
    if sizes[0] != sizes[1]:
        raise BenchmarkError(
            f"{name} is not the same network in {peer}: {sizes[0]} here, {sizes[1]} there; --width and --set change "
            "ours alone, and torchvision's networks are as the papers have them for --image_size=224"
        )
