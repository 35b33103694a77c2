"""Optim and Penalty -> optax: the schedule, the momentum, the decay, and where a step may end."""

import bisect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cnn_jax.config import Optim, Penalty
from cnn_jax.train.penalties import NO_PENALTY, mask, max_norm, proximal


def make_optimizer(optim: Optim, steps: int, penalty: Penalty = NO_PENALTY) -> optax.GradientTransformation:
    """SGD: v := momentum v + (gradient + weight_decay w), w := w - rate v, or with the rate inside the momentum.

    Decoupled decay adds weight_decay w to v where w is moved, not to v itself. Each step then ends with the proximal
    map of a penalty of that form, and within the bound on norms.
    """
    decay = optax.add_decayed_weights(optim.weight_decay, mask=lambda params: mask(params, optim.decayed))
    momentum = optax.trace(optim.momentum, optim.nesterov)
    rate = optax.scale_by_learning_rate(schedule(optim, steps))
    if optim.decoupled:
        chain = [momentum, decay, rate]
    else:
        chain = [decay, rate, momentum] if optim.rate_inside else [decay, momentum, rate]
    if penalty.form == "proximal":
        rate_at = schedule(optim, steps)
        chain.append(proximal(penalty, lambda step: rate_at(step) / (1 - optim.momentum)))
    if penalty.max_norm:
        chain.append(max_norm(penalty.max_norm))
    return optax.chain(*chain)


def schedule_pieces(optim: Optim, steps: int) -> tuple[list[float], list[int]]:
    """The learning rates of a run, and the steps at which each but the first begins."""
    # Twelve digits: 0.1 * 0.1 is 0.01.
    rates = [float(f"{optim.learning_rate * optim.factor**drop:.12g}") for drop in range(len(optim.boundaries) + 1)]
    starts = [round(fraction * steps) for fraction in optim.boundaries]
    if optim.warmup:
        rates, starts = [optim.warmup_learning_rate, *rates], [round(optim.warmup * steps), *starts]
    return rates, starts


def learning_rate(optim: Optim, steps: int, step: int) -> float:
    """The learning rate of a step, counted from 0: constant between the boundaries, after an optional warm-up."""
    rates, starts = schedule_pieces(optim, steps)
    return rates[bisect.bisect_right(starts, step)]


def schedule(optim: Optim, steps: int) -> Callable[[Any], jax.Array]:
    """`learning_rate` as a function that can be traced."""
    rates, starts = map(jnp.asarray, schedule_pieces(optim, steps))
    return lambda step: rates[jnp.searchsorted(starts, step, side="right")]
