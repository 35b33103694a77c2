"""PyTorch's side: the same network and step, as a PyTorch user would write them for speed (channels last)."""

import re
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from cnn_jax.benchmark.turns import BenchmarkError, Workload, serve


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


class ResNet(nn.Module):
    """The CIFAR family of He et al. 2016, 4.2, option A."""

    def __init__(self, depth: int, residual: bool, width: int, classes: int = 10):
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


def build(name: str, width: int) -> ResNet:
    """`plain20`, `resnet20`, ...; raises BenchmarkError on a network this peer does not have."""
    match = re.fullmatch(r"(plain|resnet)(\d+)", name)
    if match is None or int(match[2]) % 6 != 2 or name in ("resnet50", "resnet152"):
        raise BenchmarkError(f"the PyTorch peer has no {name}: it has CIFAR's networks alone, such as resnet20")
    return ResNet(int(match[2]), match[1] == "resnet", width)


def augment(image: torch.Tensor, mean: torch.Tensor, pad: int = 4) -> torch.Tensor:
    """uint8 (B, H, W, C) -> float32 (B, C, H, W), channels last: mean subtracted, cropped after padding, mirrored."""
    batch, size = image.shape[:2]
    x = F.pad(image.float() / 255 - mean, (0, 0, pad, pad, pad, pad))
    line = torch.arange(size, device=x.device)
    top, left = torch.randint(0, 2 * pad + 1, (2, batch, 1), device=x.device)
    columns = torch.where(torch.rand(batch, 1, device=x.device) < 0.5, line.flip(0), line) + left
    examples = torch.arange(batch, device=x.device)[:, None, None]
    return x[examples, (line + top)[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def set_up(workload: Workload) -> tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]:
    """Builds the network and takes the first step."""
    torch.manual_seed(0)
    torch.set_num_threads(workload.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build(workload.model, workload.width or 16).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    image, label = (torch.from_numpy(array).to(device) for array in workload.examples())
    label, mean = label.long(), image.float().mean(0) / 255
    sums = torch.zeros(3, device=device)

    def step() -> None:
        indices = torch.randint(len(label), (workload.batch_size,), device=device)
        x, target = augment(image[indices], mean), label[indices]
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=workload.dtype == "bfloat16"):
            logits = network(x)
        loss = F.cross_entropy(logits.float(), target)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            errors = (logits.argmax(1) != target).sum()
            sums.add_(torch.stack([loss * len(target), errors, torch.ones_like(loss) * len(target)]))

    def steps(count: int) -> dict[str, float]:
        """Seconds of `count` steps after one to get going."""
        marks = []
        for index in range(count + 1):
            step()
            if index in (0, count):
                sums.tolist()  # waits for the device
                marks.append(time.perf_counter())
        return {"seconds": marks[-1] - marks[0]}

    def memory() -> dict[str, int]:
        used = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
        return {"peak_bytes": used or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}

    steps(0)
    facts = {
        "first_step_seconds": time.time() - workload.started,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "versions": {"torch": torch.__version__},
    }
    return facts, {"steps": steps, "memory": memory}


if __name__ == "__main__":
    serve(set_up, Workload)
