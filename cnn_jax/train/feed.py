"""What steps are fed: data that lies on the devices by index, streamed data itself. Each process gets its share of it.

A batch is a dict of numpy arrays (b, ...), `b` examples of each of the layout's processes: `index` into what lies on
the devices, or the fields of streamed examples; `slot`, an example's place in the whole batch (training); `mask`, False
for padding (evaluation).
"""

from collections.abc import Generator, Iterable
from typing import Any

import jax
import numpy as np

from cnn_jax.config import Config
from cnn_jax.data import Dataset, stream
from cnn_jax.data.batches import evaluation_indices, training_indices
from cnn_jax.train import devices
from cnn_jax.train.devices import Layout

Batch = dict[str, np.ndarray]


@devices.cache_per_layout(1)
def put_on_devices(dataset: Dataset, layout: Layout) -> dict[str, Any]:
    """The data set's splits, whole, on every device, but for what no device holds; of streamed ones nothing."""
    fields = {} if dataset.streamed else dataset.shapes()
    held = {split: {field: arrays[field] for field in fields} for split, arrays in dataset.splits.items()}
    return devices.replicate(layout, held)


def batch_shapes(dataset: Dataset, config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """The fields of a training batch, abstract."""
    fields = dataset.shapes(config.data.crop)
    return {name: jax.ShapeDtypeStruct((config.batch_size, *shape), dtype) for name, (shape, dtype) in fields.items()}


def training_batches(
    dataset: Dataset, config: Config, layout: Layout, start: int, workers: int = 0
) -> Generator[Batch]:
    """The batches of the steps from `start` on; `workers` decode streamed images, threads where 0."""
    index, processes = layout.share
    each = config.batch_size // processes
    share = slice(index * each, (index + 1) * each)
    slot = np.arange(config.batch_size, dtype=np.int32)[share]
    if not dataset.streamed:
        count = dataset.count("train")
        for step in range(start, config.steps):
            yield {"index": training_indices(count, config.batch_size, config.seed, step)[share], "slot": slot}
        return
    for batch in stream.training(
        dataset.splits["train"],
        batch_size=config.batch_size,
        seed=config.seed,
        first_step=start,
        steps=config.steps - start,
        share=layout.share,
        augmentation=augmentation(config),
        workers=workers,
    ):
        yield batch | {"slot": slot}


def augmentation(config: Config) -> stream.Augmentation:
    """How streamed images are cropped, mirrored and coloured in training."""
    data = config.data
    return stream.Augmentation(data.crop, data.short_side, data.area, data.aspect, data.flip, data.pca)


def evaluation_batches(
    dataset: Dataset, split: str, config: Config, layout: Layout, workers: int = 0
) -> Iterable[Batch]:
    """Batches with every example of the split once, as large as the parts of a training step."""
    batch_size = config.batch_size // layout.accumulate
    if not dataset.streamed:
        return index_batches(dataset.count(split), batch_size, layout)
    return stream.evaluation(
        dataset.splits[split],
        batch_size=batch_size,
        share=layout.share,
        shown=stream.Middle(config.data.crop, config.data.resolved_test_short_side),
        workers=workers,
    )


def index_batches(count: int, batch_size: int, layout: Layout) -> list[Batch]:
    """`evaluation_batches` of so many examples that lie on the devices."""
    index, processes = layout.share
    each = batch_size // processes
    share = slice(index * each, (index + 1) * each)
    return [{"index": indices[share], "mask": mask[share]} for indices, mask in evaluation_indices(count, batch_size)]
