"""Our side of the input benchmark: `stream.training` as a run has it."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from cnn_jax import data
from cnn_jax.benchmark.turns import InputWorkload, serve
from cnn_jax.data import stream

WARMUP_BATCHES = 16  # batches before the clock starts: more than are decoded ahead
AREA = (0.08, 1.0)  # Szegedy et al. 2015, as torchvision's RandomResizedCrop has it
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def time_batches(images: Iterable[Any], shape: tuple[int, ...]) -> float:
    """Seconds of the batches after the first WARMUP_BATCHES, before processes end; all are of that shape."""
    moments = []
    for image in images:
        assert image.shape == shape
        moments.append(time.perf_counter())
    return moments[-1] - moments[WARMUP_BATCHES - 1]


def set_up(workload: InputWorkload) -> tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]:
    """Lists the folder."""
    flags.FLAGS.mark_as_parsed()  # grain's worker processes are given them
    folder = Path(workload.folder)
    train = data.load(folder.name, folder.parent, streamed=True).splits["train"]
    mean, std = (np.asarray(values, np.float32) * 255 for values in (MEAN, STD))

    def steps(count: int) -> dict[str, float]:
        """Seconds of `count` batches."""
        batches = stream.training(
            train,
            batch_size=workload.batch_size,
            seed=0,
            first_step=0,
            steps=count + WARMUP_BATCHES,
            share=(0, 1),
            augmentation=stream.Augmentation(workload.size, area=AREA),
            workers=workload.workers,
        )
        images = (batch["image"] for batch in batches)
        if workload.pixels == "normalized":
            images = ((image - mean) / std for image in images)
        return {"seconds": time_batches(images, (workload.batch_size, workload.size, workload.size, 3))}

    return {"images": len(train)}, {"steps": steps}


if __name__ == "__main__":
    serve(set_up, InputWorkload)
