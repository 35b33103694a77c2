"""The networks of PyTorch's side: CIFAR's and the retold LeNet-5 written here, the others torchvision's."""

import torch
import torch.nn.functional as F
from torch import nn

from cnn_jax.benchmark.twins import TORCHVISION, cifar_depth, require_twin


class ConvBN(nn.Sequential):
    def __init__(self, old: int, new: int, stride: int):
        super().__init__(nn.Conv2d(old, new, 3, stride, padding=1, bias=False), nn.BatchNorm2d(new))


class Block(nn.Module):
    def __init__(self, old: int, new: int, stride: int, residual: bool):
        super().__init__()
        self.conv1, self.conv2 = ConvBN(old, new, stride), ConvBN(new, new, 1)
        self.stride, self.added, self.residual = stride, new - old, residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.residual:
            if self.added:
                x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
            y = y + x
        return F.relu(y)


class CifarResNet(nn.Module):
    """The CIFAR family of He et al. 2016, 4.2, option A."""

    def __init__(self, depth: int, residual: bool, width: int, classes: int):
        super().__init__()
        self.conv1, blocks, old = ConvBN(3, width, 1), [], width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                new = width * 2**stage
                blocks.append(Block(old, new, 2 if stage and not block else 1, residual))
                old = new
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(old, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.blocks(F.relu(self.conv1(x))).mean((2, 3)))


class ScaledTanh(nn.Module):
    """LeCun et al. 1998, Appendix A: 1.7159 tanh(2/3 x)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.7159 * torch.tanh(2 / 3 * x)


def lenet5_full(classes: int) -> nn.Sequential:
    """LeNet-5 as it is mostly retold, for colour images of 32 pixels."""
    maps = [nn.Conv2d(3, 6, 5), ScaledTanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), ScaledTanh(), nn.AvgPool2d(2)]
    units = [nn.Linear(400, 120), ScaledTanh(), nn.Linear(120, 84), ScaledTanh(), nn.Linear(84, classes)]
    return nn.Sequential(*maps, nn.Flatten(), *units)


def build(name: str, width: int | None = None, classes: int = 10) -> nn.Module:
    """The twin of our network, of PyTorch's own initial values; raises BenchmarkError where there is none.

    Args:
      name: as `models.build` has it.
      width: channels of the first stage, of the CIFAR family alone; None is its own.
      classes: of the logits (B, classes). GoogLeNet has two auxiliary ones too, in training.
    """
    require_twin(name)
    if depth := cifar_depth(name):
        return CifarResNet(depth, name.startswith("resnet"), width or 16, classes)
    if name == "lenet5_full":
        return lenet5_full(classes)
    from torchvision import models  # 90 MB and seconds that the networks above do without

    theirs, arguments = TORCHVISION[name]
    network = models.get_model(theirs, weights=None, num_classes=classes, **arguments)
    for module in network.modules():
        if isinstance(module, models.resnet.Bottleneck):  # the paper's stride, in the 1x1 convolution, not v1.5's
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
    return network


def count_macs(name: str, width: int | None, size: int, classes: int = 10) -> int:
    """Multiply-adds of the convolutions and dense layers for one image of `size` pixels; nothing is computed."""
    counts: list[int] = []

    def count(module: nn.Module, _: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        counts.append(output.numel() * module.weight[0].numel())

    with torch.device("meta"):
        network = build(name, width, classes).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(count)
        network(torch.empty(1, 3, size, size))
    return sum(counts)
