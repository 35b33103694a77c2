"""What is computed of many images, a batch at a time: they are decoded while the devices compute, never all held."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax.data.dataset import DataError

AHEAD = 2
"""Batches that are decoded before they are asked for."""


class Extracted(NamedTuple):
    """What was computed of some images.

    Attributes:
      indices: int64 (n,), their places among all, ascending.
      outputs: a tree of arrays of numpy (n, ...), None where n is 0.
      damaged: of those left out, the reason each, which names the image.
    """

    indices: np.ndarray
    outputs: Any
    damaged: tuple[str, ...]


def extract(
    compute: Callable[[Any, jax.Array], Any],
    variables: Any,
    read: Callable[[int], np.ndarray],
    count: int,
    batch_size: int = 64,
    devices: Sequence[jax.Device] = (),
    skip_damaged: bool = False,
) -> Generator[Extracted]:
    """`compute(variables, images)` of images 0 to `count` - 1, once each and in order, a batch at a time.

    A whole batch goes to one device, the next to another: the program is the same on any number of them, and so is
    every bit of what it gives.

    Args:
      compute: compiled; of images uint8 (B, H, W, C) a tree of arrays (B, ...).
      variables: its first argument, put on each device once.
      read: of a place the image, uint8 (H, W, C), all of one shape; called by several threads.
      count: N.
      batch_size: B; the last batch is filled up with its first image. It is less where there are few images.
      devices: where it is computed; none is JAX's own choice.
      skip_damaged: leave out images of which `read` raises DataError, in place of raising it.

    Raises DataError, see `read`.
    """
    # By a power of two, so that calls with other numbers of images share what is compiled.
    batch_size = min(batch_size, 1 << max(0, count - 1).bit_length())
    places = tuple(devices) or (jax.devices()[0],)
    placed = [jax.device_put(variables, device) for device in places]
    running: deque[tuple[np.ndarray, Any, tuple[str, ...]]] = deque()
    for number, (indices, rows, damaged) in enumerate(decode(read, count, batch_size, skip_damaged)):
        outputs, place = None, number % len(places)
        if rows:
            batch = np.stack(rows + rows[:1] * (batch_size - len(rows)))
            outputs = compute(placed[place], jax.device_put(batch, places[place]))
        running.append((indices, outputs, damaged))
        if len(running) > len(places):
            yield fetch(*running.popleft())
    yield from (fetch(*batch) for batch in running)


def decode(
    read: Callable[[int], np.ndarray], count: int, batch_size: int, skip_damaged: bool
) -> Iterator[tuple[np.ndarray, list[np.ndarray], tuple[str, ...]]]:
    """`(places, images, reasons why others are left out)` of each batch; threads read the next ones meanwhile."""

    def attempt(index: int) -> np.ndarray | DataError:
        try:
            return read(index)
        except DataError as error:
            if not skip_damaged:
                raise
            return error

    pool, pending = ThreadPoolExecutor(os.cpu_count()), deque[tuple[range, list[Future]]]()
    starts = iter(range(0, count, batch_size))
    try:
        while True:
            while len(pending) <= AHEAD and (start := next(starts, None)) is not None:
                places = range(start, min(start + batch_size, count))
                pending.append((places, [pool.submit(attempt, index) for index in places]))
            if not pending:
                return
            places, futures = pending.popleft()
            found = [(index, future.result()) for index, future in zip(places, futures, strict=True)]
            whole = [(index, one) for index, one in found if not isinstance(one, DataError)]
            reasons = tuple(str(one) for _, one in found if isinstance(one, DataError))
            yield np.array([index for index, _ in whole], np.int64), [one for _, one in whole], reasons
    finally:
        pool.shutdown(cancel_futures=True)


def fetch(indices: np.ndarray, outputs: Any, damaged: tuple[str, ...]) -> Extracted:
    """What a device has computed of a batch, less what filled it up; waits for the device."""
    if outputs is not None:
        outputs = jax.tree.map(lambda array: np.asarray(array)[: len(indices)], outputs)
    return Extracted(indices, outputs, damaged)
