"""Exact evaluation: every example once, sums with a count, divided once at the end."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cnn_jax.data.batches import evaluation_indices
from cnn_jax.train import devices
from cnn_jax.train.devices import Layout
from cnn_jax.train.step import no_sums


def evaluate(
    layout: Layout, evaluate_step: Callable[..., Any], variables: Any, examples: Any, batch_size: int
) -> dict[str, float]:
    """Means of the task's sums over all of `examples`, for instance `{"loss": 0.31, "error": 0.08}`."""
    count = len(jax.tree.leaves(examples)[0])
    sums = devices.replicate(layout, no_sums())
    for indices, mask in evaluation_indices(count, batch_size):
        sums = evaluate_step(sums, variables, examples, *devices.shard(layout, indices, mask))
        # Hundreds of steps ahead, the sums over CPU devices can wait for each other for ever.
        jax.block_until_ready(sums)
    return means(sums)


def means(sums: dict[str, jax.Array]) -> dict[str, float]:
    """The sums divided by their count, as Python floats; waits for the device."""
    host = {name: np.float64(value) for name, value in jax.device_get(sums).items()}
    count = host.pop("count")
    return {name: float(value / count) for name, value in host.items()}
