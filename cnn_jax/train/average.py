"""Averages of what a run has learned over its steps, which its evaluations use."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.config import Optim

MOST_AVERAGED = 1_000  # variables in a uniform average
Weight = Callable[[jax.Array], jax.Array]


def average_weight(optim: Optim, steps: int) -> Weight | None:
    """What the variables after a step, counted from 0, weigh in their average with those before; None: no average.

    Of the n-th variables since `average_from`:

    polyak       1 / n: all count the same (Polyak & Juditsky 1992), as in torch's AveragedModel. Of many steps, every
                 k-th is averaged, a thousand in all: float32 has no digits for what one of many more would add.
    exponential  (1 - d) / (1 - d^n), d being average_decay: without bias, as optax.ema(d), where the first variables
                 are not worth more than their share; torch's get_ema_multi_avg_fn gives them all of d^(n-1).

    It is 1 until the average begins.
    """
    if optim.average == "none":
        return None
    start, log_decay = round(optim.average_from * steps), np.log(optim.average_decay)
    every = 1 if optim.average == "exponential" else max(1, -(-(steps - start) // MOST_AVERAGED))

    def weight(step: jax.Array) -> jax.Array:
        since = step + 1 - start
        count = jnp.maximum(since // every, 1).astype(jnp.float32)
        if optim.average == "exponential":
            return np.expm1(log_decay) / jnp.expm1(count * log_decay)
        return jnp.where((since > every) & (since % every != 0), 0, 1 / count)

    return weight


def update_average(average: Any, variables: Any, weight: jax.Array) -> Any:
    """The average with new variables that have this weight in it; batch-norm statistics are averaged like parameters.

    (torch's AveragedModel with use_buffers=True, and TensorFlow's Inception. Parameters far apart want other ones.)
    """

    def average_leaf(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(weight < 1, old + (weight * (new - old)).astype(old.dtype), new)

    return jax.tree.map(average_leaf, average, variables)
