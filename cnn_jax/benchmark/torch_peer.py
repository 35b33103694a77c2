"""PyTorch's side: the same network and step, as a PyTorch user would write them for speed.

Channels last, the optimizer fused, bfloat16 by autocast, cuDNN choosing its kernels by trial on a GPU.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from cnn_jax import presets
from cnn_jax.benchmark.torch_networks import build, count_macs
from cnn_jax.benchmark.turns import Workload, peak_resident_bytes, serve


class Examples(NamedTuple):
    """On the device: uint8 (N, H, W, 3), their mean (H, W, 3) in [0, 1], labels int64 (N,)."""

    image: torch.Tensor
    mean: torch.Tensor
    label: torch.Tensor


def augment(image: torch.Tensor, mean: torch.Tensor, pad: int = 4) -> torch.Tensor:
    """uint8 (B, H, W, C) -> float32 (B, C, H, W), channels last: mean subtracted, cropped after padding, mirrored."""
    batch, size = image.shape[:2]
    x = F.pad(image.float() / 255 - mean, (0, 0, pad, pad, pad, pad))
    line = torch.arange(size, device=x.device)
    top, left = torch.randint(0, 2 * pad + 1, (2, batch, 1), device=x.device)
    columns = torch.where(torch.rand(batch, 1, device=x.device) < 0.5, line.flip(0), line) + left
    examples = torch.arange(batch, device=x.device)[:, None, None]
    return x[examples, (line + top)[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def add_up(loss: torch.Tensor, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Of a batch, (3,): the sum of its losses, of its top-1 errors, its examples."""
    count = torch.full_like(loss, len(target))
    return torch.stack([loss * count, (logits.argmax(1) != target).sum(), count])


def training_step(network: nn.Module, examples: Examples, workload: Workload) -> Callable[[], torch.Tensor]:
    """A step as `tasks.classification` and its recipe have it; each call takes one, and returns `add_up`'s sums."""
    recipe = presets.get("auto", "cifar10", workload.model)
    rates = recipe.optim.learning_rate, recipe.optim.momentum
    optimizer = torch.optim.SGD(network.parameters(), *rates, weight_decay=recipe.optim.weight_decay, fused=True)
    network.train()

    def step() -> torch.Tensor:
        indices = torch.randint(len(examples.label), (workload.batch_size,), device=examples.label.device)
        x, target = augment(examples.image[indices], examples.mean), examples.label[indices]
        optimizer.zero_grad()
        with autocast(x, workload):
            outputs = network(x)
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)  # GoogLeNet's in training
        loss = F.cross_entropy(logits.float(), target)
        weight = recipe.classification.auxiliary_weight
        total = loss + weight * sum(F.cross_entropy(other.float(), target) for other in auxiliary)
        total.backward()
        optimizer.step()
        return add_up(loss.detach(), logits.detach(), target)

    return step


def inference_step(network: nn.Module, examples: Examples, workload: Workload) -> Callable[[], torch.Tensor]:
    """Evaluation of the next batch, in order: no augmentation, running statistics, no dropout."""
    network.eval()
    starts = range(0, len(examples.label), workload.batch_size)
    step_count = 0

    @torch.inference_mode()
    def step() -> torch.Tensor:
        nonlocal step_count
        start = starts[step_count % len(starts)]
        step_count += 1
        batch = slice(start, start + workload.batch_size)
        x = (examples.image[batch].float() / 255 - examples.mean).permute(0, 3, 1, 2)
        with autocast(x, workload):
            logits = network(x).float()
        return add_up(F.cross_entropy(logits, examples.label[batch]), logits, examples.label[batch])

    return step


def autocast(x: torch.Tensor, workload: Workload) -> torch.autocast:
    return torch.autocast(x.device.type, torch.bfloat16, enabled=workload.dtype == "bfloat16")


def time_steps(step: Callable[[], torch.Tensor], sums: torch.Tensor, count: int) -> dict[str, float]:
    """Seconds of `count` steps after one to get going."""
    marks = []
    for index in range(count + 1):
        sums.add_(step())
        if index in (0, count):
            sums.tolist()  # waits for the device
            marks.append(time.perf_counter())
    return {"seconds": marks[-1] - marks[0]}


def set_up(workload: Workload, compiled: bool = False) -> tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]:
    """Builds the network and takes the first step; `compiled` is by torch.compile."""
    import_bytes = peak_resident_bytes()
    torch.manual_seed(0)
    torch.set_num_threads(workload.threads)
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build(workload.model, workload.width).to(device, memory_format=torch.channels_last)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    image, label = workload.examples()
    mean = image.mean(0, dtype="float32") / 255
    examples = Examples(*(torch.from_numpy(array).to(device) for array in (image, mean, label.astype("int64"))))
    make_step = inference_step if workload.inference else training_step
    step = make_step(torch.compile(network) if compiled else network, examples, workload)
    steps = partial(time_steps, step, torch.zeros(3, device=device))

    def memory() -> dict[str, int]:
        if device.type == "cuda":
            return {"peak_bytes": torch.cuda.max_memory_allocated(), "import_bytes": 0}
        return {"peak_bytes": peak_resident_bytes(), "import_bytes": import_bytes}

    steps(count=0)
    facts = {
        "first_step_seconds": time.time() - workload.started,
        "parameters": parameters,
        "macs": count_macs(workload.model, workload.width, workload.image_size),
        "versions": {"torch": torch.__version__},
    }
    return facts, {"steps": steps, "memory": memory}


if __name__ == "__main__":
    serve(set_up, Workload)
