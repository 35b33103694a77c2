"""PyTorch's side of the input benchmark: DataLoader and torchvision, as their ImageNet example has them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler
from torchvision import datasets, transforms

from cnn_jax.benchmark.input_ours import AREA, MEAN, STD, WARMUP_BATCHES, time_batches
from cnn_jax.benchmark.turns import InputWorkload, serve


def set_up(workload: InputWorkload) -> tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]:
    """Lists the folder."""
    pixels = [transforms.PILToTensor()]
    if workload.pixels == "normalized":
        pixels = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    crop = [transforms.RandomResizedCrop(workload.size, scale=AREA), transforms.RandomHorizontalFlip()]
    train = datasets.ImageFolder(str(Path(workload.folder) / "train"), transforms.Compose([*crop, *pixels]))

    def steps(count: int) -> dict[str, float]:
        """Seconds of `count` batches."""
        torch.manual_seed(0)
        # One long epoch: at the end of each of its own, DataLoader would start its workers anew.
        order = RandomSampler(train, replacement=True, num_samples=(count + WARMUP_BATCHES) * workload.batch_size)
        batches = DataLoader(train, workload.batch_size, sampler=order, num_workers=workload.workers)
        shape = (workload.batch_size, 3, workload.size, workload.size)
        return {"seconds": time_batches((image for image, _ in batches), shape)}

    return {"images": len(train)}, {"steps": steps}


if __name__ == "__main__":
    serve(set_up, InputWorkload)
