"""Exact evaluation: every example once; sums with a count, divided once at the end, and outputs of each example."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from cnn_jax.train import devices
from cnn_jax.train.devices import Layout
from cnn_jax.train.feed import Batch
from cnn_jax.train.step import zero_sums


def evaluate(
    layout: Layout,
    evaluate_step: Callable[..., Any],
    variables: Any,
    resident: Any,
    batches: Iterable[Batch],
    names: Sequence[str],
    progress: bool = False,
    total: int | None = None,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Means of a task's sums over all examples, `{"loss": 0.31, "error": 0.08}`, and its outputs of each, in order.

    Args:
      layout: what the step is compiled for.
      evaluate_step: as `make_evaluate_step` makes it.
      variables: on the layout's devices, whole.
      resident, batches: as `feed` makes them.
      names: of the sums, `count` among them.
      progress: whether to draw a bar on stderr.
      total: how many batches there are, for the bar, where `batches` cannot tell.
    """
    sums, parts = devices.replicate(layout, zero_sums(names)), []
    interval = 0.1 if sys.stderr.isatty() else 30.0
    bar = tqdm(batches, "evaluating", total, unit="batch", mininterval=interval, disable=not progress)
    for batch in bar:
        sums, outputs = evaluate_step(sums, variables, resident, devices.shard(layout, batch))
        # Hundreds of steps ahead, the sums over CPU devices can wait for each other for ever.
        jax.block_until_ready(sums)
        if outputs:
            outputs = jax.device_get(outputs)
            mask = outputs.pop("mask")
            parts.append({name: array[mask] for name, array in outputs.items()})
    return means(sums), {name: np.concatenate([part[name] for part in parts]) for name in (parts or [{}])[0]}


def means(sums: dict[str, jax.Array]) -> dict[str, float]:
    """The sums divided by their count, as Python floats; waits for the device."""
    host = {name: np.float64(value) for name, value in jax.device_get(sums).items()}
    count = host.pop("count")
    return {name: float(value / count) for name, value in host.items()}
