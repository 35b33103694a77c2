"""Optim -> optax: the schedule, the momentum, and what decays."""

import bisect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cnn_jax.config import Optim


def make(optim: Optim, steps: int) -> optax.GradientTransformation:
    """SGD: v := momentum v + (gradient + weight_decay w), w := w - rate v, or with the rate inside the momentum."""
    decay = optax.add_decayed_weights(optim.weight_decay, mask=lambda params: decay_mask(params, optim.decayed))
    momentum = optax.trace(optim.momentum, optim.nesterov)
    rate = optax.scale_by_learning_rate(schedule(optim, steps))
    return optax.chain(decay, rate, momentum) if optim.rate_inside else optax.chain(decay, momentum, rate)


def pieces(optim: Optim, steps: int) -> tuple[list[float], list[int]]:
    """The learning rates of a run, and the steps at which each but the first begins."""
    # Twelve digits: 0.1 * 0.1 is 0.01.
    rates = [float(f"{optim.learning_rate * optim.factor**drop:.12g}") for drop in range(len(optim.boundaries) + 1)]
    starts = [round(fraction * steps) for fraction in optim.boundaries]
    if optim.warmup:
        rates, starts = [optim.warmup_learning_rate, *rates], [round(optim.warmup * steps), *starts]
    return rates, starts


def learning_rate(optim: Optim, steps: int, step: int) -> float:
    """The learning rate of a step, counted from 0: constant between the boundaries, after an optional warm-up."""
    rates, starts = pieces(optim, steps)
    return rates[bisect.bisect_right(starts, step)]


def schedule(optim: Optim, steps: int) -> Callable[[Any], jax.Array]:
    """`learning_rate` as a function that can be traced."""
    rates, starts = map(jnp.asarray, pieces(optim, steps))
    return lambda step: rates[jnp.searchsorted(starts, step, side="right")]


def decay_mask(params: Any, decayed: str) -> Any:
    """True for each leaf that decays: those named kernel, or all."""
    return jax.tree_util.tree_map_with_path(lambda path, _: decayed == "all" or _names(path)[-1] == "kernel", params)


def decay_table(params: Any, optim: Optim) -> str:
    """What decays and what does not, a line for each kind of parameter."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    decays = jax.tree.leaves(decay_mask(params, optim.decayed))
    kinds: dict[tuple[str, bool], tuple[int, int]] = {}
    for (path, leaf), decay in zip(leaves, decays, strict=True):
        kind = "/".join(_names(path)[-2:]), decay
        arrays, parameters = kinds.get(kind, (0, 0))
        kinds[kind] = arrays + 1, parameters + leaf.size
    lines = [f"{'parameter':<20} {'arrays':>6} {'parameters':>12}  weight decay"]
    for (kind, decay), (arrays, parameters) in kinds.items():
        lines.append(f"{kind:<20} {arrays:>6} {parameters:>12,}  {optim.weight_decay if decay else 'none'}")
    return "\n".join(lines)


def _names(path: Any) -> list[str]:
    return jax.tree_util.keystr(path, simple=True, separator="/").split("/")
