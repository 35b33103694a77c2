"""The learning rate of each step of a run, on the host and traced: one formula."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.config import Optim


def learning_rate(optim: Optim, steps: int, step: int) -> float:
    """The learning rate of a step, counted from 0; 1 in L-BFGS, whose line search finds the size of each step.

    After the warm-up of W steps, of T in all:

    steps     constant between the boundaries, which are fractions of T.
    constant  the same.
    cosine    half a cosine from W to T (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, eq. 5, without
              restarts), to `final_fraction` of the rate; as optax.cosine_decay_schedule, and as torch's
              CosineAnnealingLR with T_max = T - W.
    onecycle  half a cosine up and half a one down (Smith & Topin 2018, https://arxiv.org/abs/1708.07120), as
              optax.cosine_onecycle_schedule(T - W); torch's OneCycleLR has its peak and its end a step earlier, and
              cycles momentum too, unless told not to.

    A linear warm-up rises from `warmup_learning_rate` at step 0 to where the schedule begins, at step W.
    """
    return float(_rate(optim, steps, step, np))


def schedule(optim: Optim, steps: int) -> Callable[[Any], jax.Array]:
    """`learning_rate` as a function that can be traced."""
    return lambda step: _rate(optim, steps, step, jnp)


def _rate(optim: Optim, steps: int, step: Any, xp: Any) -> Any:
    """The rate as `xp`, numpy or jax.numpy, computes it."""
    if optim.optimizer == "lbfgs":
        return xp.ones(())
    warm = round(optim.warmup * steps)
    rate_after = AFTER_WARMUP[optim.schedule]
    after = rate_after(optim, steps, warm, step, xp)
    if not warm:
        return after
    before = optim.warmup_learning_rate
    if optim.warmup_form == "linear":
        rise = float(rate_after(optim, steps, warm, warm, np)) - before
        before = before + rise * (step / warm)
    return xp.where(step < warm, before, after)


def _steps(optim: Optim, steps: int, warm: int, step: Any, xp: Any) -> Any:
    # Twelve digits: 0.1 * 0.1 is 0.01.
    rates = [float(f"{optim.learning_rate * optim.factor**drop:.12g}") for drop in range(len(optim.boundaries) + 1)]
    starts = [round(fraction * steps) for fraction in optim.boundaries]
    return xp.asarray(rates)[xp.searchsorted(xp.asarray(starts), step, side="right")]


def _constant(optim: Optim, steps: int, warm: int, step: Any, xp: Any) -> Any:
    return xp.asarray(optim.learning_rate)


def _cosine(optim: Optim, steps: int, warm: int, step: Any, xp: Any) -> Any:
    # Of what is left, not of what is past: near the end 1 + cos has no digits in float32.
    part = _half_cosine((steps - step) / (steps - warm), xp)
    return optim.learning_rate * (optim.final_fraction + (1 - optim.final_fraction) * part)


def _onecycle(optim: Optim, steps: int, warm: int, step: Any, xp: Any) -> Any:
    peak, first = optim.learning_rate, optim.learning_rate / optim.div_factor
    last, top = first / optim.final_div_factor, warm + max(1, round(optim.pct_start * (steps - warm)))
    up = first + (peak - first) * _half_cosine((step - warm) / (top - warm), xp)
    down = last + (peak - last) * _half_cosine((steps - step) / max(1, steps - top), xp)
    return xp.where(step < top, up, down)


def _half_cosine(part: Any, xp: Any) -> Any:
    """From 0 at 0 to 1 at 1: (1 - cos(pi part)) / 2."""
    return xp.square(xp.sin(np.pi / 2 * part))


AFTER_WARMUP = {"steps": _steps, "constant": _constant, "cosine": _cosine, "onecycle": _onecycle}
