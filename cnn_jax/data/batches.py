"""Which examples are in which batch: pure functions, so that resuming at a step needs no state but the step.

Training order is one permutation of the examples per epoch, laid end to end; a batch is a window of that endless
line. So every batch is full, every epoch shows each example exactly once, and a batch may hold the end of one epoch
and the start of the next.
"""

from functools import lru_cache

import numpy as np

from cnn_jax.data.dataset import DataError


@lru_cache(maxsize=32)  # a batch reads the current epoch and at times the next, of up to 16 runs side by side
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch shows its examples: a permutation (count,) int32, a function of (seed, epoch)."""
    order = np.random.default_rng([seed, epoch]).permutation(count).astype(np.int32)
    order.setflags(write=False)  # it is shared by every caller
    return order


def training_indices(count: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """The examples of a training step: positions [step * B, (step + 1) * B) of the endless line of epochs.

    Args:
      count: number of examples in the split.
      batch_size: B; may exceed `count`.
      seed: the run's seed, at least 0.
      step: from 0.

    Returns:
      int32 (B,).

    Raises:
      DataError: a count, batch size, seed or step out of range.
    """
    _check(count, batch_size)
    if seed < 0 or step < 0:
        raise DataError(f"seed={seed} and step={step} must not be negative")
    first, last = step * batch_size, (step + 1) * batch_size
    line = [epoch_order(count, seed, epoch) for epoch in range(first // count, (last - 1) // count + 1)]
    offset = first - first // count * count
    return np.concatenate(line)[offset : offset + batch_size]


def evaluation_indices(count: int, batch_size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches that hold each of `count` examples exactly once, in order, all of one size.

    Returns:
      [(indices int32 (B,), mask bool (B,)), ...]; where the last batch is padded, the index is 0 and the mask False.

    Raises:
      DataError: a count or batch size below 1.
    """
    _check(count, batch_size)
    batches = -(-count // batch_size)
    positions = np.arange(batches * batch_size, dtype=np.int32).reshape(batches, batch_size)
    masks = positions < count
    return list(zip(np.where(masks, positions, np.int32(0)), masks, strict=True))


def _check(count: int, batch_size: int) -> None:
    if count < 1 or batch_size < 1:
        raise DataError(f"{count} examples in batches of {batch_size}: both must be at least 1")
