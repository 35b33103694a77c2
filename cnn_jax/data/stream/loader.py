"""Batches of encoded images, decoded by threads or processes of grain: functions of (seed, step).

An image that cannot be decoded is a DataError in the process that asks for batches, whichever met it.
"""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.batches import epoch_order
from cnn_jax.data.dataset import ON_HOST, DataError
from cnn_jax.data.stream.encoded import Encoded
from cnn_jax.data.stream.pictures import Augmentation, augment_example
from cnn_jax.data.stream.views import Fitted, Middle, Views, show

AHEAD = 4  # batches that threads decode before they are asked for
Batch = dict[str, np.ndarray]


class TrainingExamples(NamedTuple):
    """What this process decodes for the steps from `first_step` on, one example after another.

    The example at a place of the endless line of epochs, and what befalls it, is a function of (seed, epoch, index).
    """

    split: Encoded
    batch_size: int
    seed: int
    first_step: int
    steps: int
    share: tuple[int, int]
    augmentation: Augmentation

    def size(self) -> int:
        return self.steps * (self.batch_size // self.share[1])

    def example(self, position: int) -> dict[str, Any]:
        each = self.batch_size // self.share[1]
        step, slot = self.first_step + position // each, self.share[0] * each + position % each
        epoch, place = divmod(step * self.batch_size + slot, len(self.split))
        index = int(epoch_order(len(self.split), self.seed, epoch)[place])
        draw = np.random.default_rng([self.seed, epoch, index])
        example, name = self.split.read(index), self.split.name(index)
        shown = augment_example(example, self.split.kinds, name, self.augmentation, draw, self.split.decoding)
        return drop_host_fields(shown, self.split.kinds)


class EvaluationExamples(NamedTuple):
    """What this process decodes of a split, every example once, the last batch padded with the first, masked."""

    split: Encoded
    batch_size: int
    share: tuple[int, int]
    shown: Middle | Views | Fitted

    def size(self) -> int:
        return -(-len(self.split) // self.batch_size) * (self.batch_size // self.share[1])

    def example(self, position: int) -> dict[str, Any]:
        each = self.batch_size // self.share[1]
        index = position // each * self.batch_size + self.share[0] * each + position % each
        real = index < len(self.split)
        shown = show(self.shown, self.split, index if real else 0)
        return drop_host_fields(shown, self.split.kinds) | {"mask": np.bool_(real)}


def drop_host_fields(example: dict[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    return {name: value for name, value in example.items() if kinds.get(name) not in ON_HOST}


class Source:
    """Examples as grain asks for them: a problem is an example too, so that it travels from any process."""

    def __init__(self, examples: TrainingExamples | EvaluationExamples):
        self.examples = examples

    def __len__(self) -> int:
        return self.examples.size()

    def __getitem__(self, index: int) -> Any:
        try:
            return self.examples.example(int(index))
        except DataError as error:
            return error

    def __repr__(self) -> str:
        return f"Source({type(self.examples).__name__})"


def stack_examples(examples: Any) -> Batch | DataError:
    """A batch of the examples, or the first of their problems."""
    problem = next((example for example in examples if isinstance(example, DataError)), None)
    return problem or {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def batches(examples: TrainingExamples | EvaluationExamples, workers: int) -> Iterator[Batch]:
    """Raises DataError where an image is damaged or a worker process is gone."""
    threads = min(16, 2 * (os.cpu_count() or 1))  # while one waits for the interpreter another decodes
    import grain  # takes seconds, of which most runs need none

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(AHEAD, threads))
    source = grain.MapDataset.source(Source(examples))
    ahead = source.batch(examples.batch_size // examples.share[1], batch_fn=stack_examples).to_iter_dataset(options)
    if workers:
        each = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        ahead = ahead.mp_prefetch(each, worker_init_fn=end_with_parent)
    iterator = iter(ahead)
    with contextlib.closing(iterator):
        for batch in iterator:
            if isinstance(batch, DataError):
                raise batch
            # A copy: what a worker process sends lies in shared memory, which is given back when nobody refers to it.
            yield {name: np.array(array) for name, array in batch.items()} if workers else batch


def end_with_parent(_index: int, _count: int) -> None:
    """In a process that decodes: has it end when the one that asks for batches is gone, killed perhaps."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def training(
    split: Encoded,
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    steps: int,
    share: tuple[int, int],
    augmentation: Augmentation,
    workers: int = 0,
) -> Iterator[Batch]:
    """The batches of `steps` training steps from `first_step` on, of which this process gets its share.

    Args:
      split: N examples; which of them are in a batch is `batches.training_indices`.
      batch_size: B, of all processes together.
      seed, first_step, steps: see `batches.training_indices`.
      share: `(index, count)`: of `count` processes, this one has the slots from index * B / count on.
      augmentation: what is shown of an image.
      workers: processes that decode; 0 is threads of this one.

    Yields:
      the split's fields but captions, see `dataset.Field`: `image` uint8 (b, crop, crop, 3), all that lies in it
      placed alike; with `augmentation.pca` also `color` float32 (b, 3), to be added to the colours in [0, 1]; b = B /
      count.

    Raises:
      DataError: an image cannot be read or decoded.
    """
    examples = TrainingExamples(split, batch_size, seed, first_step, steps, share, augmentation)
    return batches(examples, workers)


def evaluation(
    split: Encoded,
    *,
    batch_size: int,
    share: tuple[int, int],
    shown: Middle | Views | Fitted,
    workers: int = 0,
) -> Iterator[Batch]:
    """Every example of the split once; see `training`.

    Args:
      shown: what is shown of an image.

    Yields:
      the split's fields but captions: `image` uint8 (b, ...) as `shown` has it; `mask` bool (b,), False for padding.
    """
    return batches(EvaluationExamples(split, batch_size, share, shown), workers)
