"""Optim and Penalty -> optax: momentum, decay, clipping, the rates of parts, and where a step may end."""

from typing import Any

import jax
import optax

from cnn_jax.config import Optim, Penalty
from cnn_jax.train.parts import rate_multipliers
from cnn_jax.train.penalties import NO_PENALTY, mask, max_norm, proximal, towards_start
from cnn_jax.train.schedule import schedule


def make_optimizer(optim: Optim, steps: int, penalty: Penalty = NO_PENALTY) -> optax.GradientTransformationExtraArgs:
    """What turns the gradient of a step, averaged over the devices, into what is added to the parameters.

    The gradient is clipped first, as a whole, to the norm `clip_norm`: optax.clip_by_global_norm, which torch's
    clip_grad_norm_ equals but for the 1e-6 that it adds to the norm. The rate of each part is a multiple of the
    schedule's. What pulls towards the start is a gradient beside decay. Each step then ends with the proximal map of a
    penalty of that form, and within the bound on norms.

    `update` takes the keywords `value`, `grad` and `value_fn` too, which L-BFGS wants: the loss, its gradient, and the
    function of the parameters whose gradient that is.
    """
    chain = {"sgd": _sgd, "adamw": _adamw, "lbfgs": _lbfgs}[optim.optimizer](optim, steps)
    if penalty.towards_start:
        chain.insert(0, towards_start(penalty.towards_start, penalty.penalized))
    if optim.clip_norm:
        chain.insert(0, optax.clip_by_global_norm(optim.clip_norm))
    if penalty.form == "proximal":
        rate_at = schedule(optim, steps)
        chain.append(proximal(penalty, lambda step: rate_at(step) / (1 - optim.momentum)))
    if penalty.max_norm:
        chain.append(max_norm(penalty.max_norm))
    return optax.with_extra_args_support(optax.chain(*chain))


def objective(optim: Optim, penalty: Penalty) -> tuple[Penalty, ...]:
    """What the training step adds to a task's loss: in L-BFGS, whose line search looks at the loss, the decay too."""
    if optim.optimizer != "lbfgs":
        return (penalty,)
    return penalty, Penalty(l2=optim.weight_decay, half=True, penalized=optim.decayed)


def _sgd(optim: Optim, steps: int) -> list[optax.GradientTransformation]:
    """v := momentum v + (gradient + weight_decay w), w := w - rate v, or with the rate inside the momentum.

    Decoupled decay adds weight_decay w to v where w is moved, not to v itself.
    """
    momentum = optax.trace(optim.momentum, optim.nesterov)
    decay, rate = _decay(optim), _rate(optim, steps)
    if optim.decoupled:
        return [momentum, decay, *rate]
    return [decay, *rate, momentum] if optim.rate_inside else [decay, momentum, *rate]


def _adamw(optim: Optim, steps: int) -> list[optax.GradientTransformation]:
    """w := w - rate (m / (sqrt(v) + eps) + weight_decay w), m and v the unbiased means of gradient and square."""
    return [optax.scale_by_adam(optim.b1, optim.b2, optim.eps), _decay(optim), *_rate(optim, steps)]


def _lbfgs(optim: Optim, steps: int) -> list[optax.GradientTransformation]:
    """Nocedal & Wright 2006, Algorithms 7.4 (two loops) and 3.5 (zoom: the strong Wolfe conditions)."""
    return [optax.lbfgs(memory_size=optim.memory)]


def _decay(optim: Optim) -> optax.GradientTransformation:
    return optax.add_decayed_weights(optim.weight_decay, mask=lambda params: mask(params, optim.decayed))


def _rate(optim: Optim, steps: int) -> list[optax.GradientTransformation]:
    """Minus the learning rate, of each part."""
    rate = optax.scale_by_learning_rate(schedule(optim, steps))
    return [rate, _scale_parts(optim)] if optim.rates else [rate]


def _scale_parts(optim: Optim) -> optax.GradientTransformation:
    """Multiplies updates by what `rates` says of their parts."""

    def init(params: Any) -> optax.EmptyState:
        rate_multipliers(optim, params)  # what is wrong is said before the first step
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        multipliers = rate_multipliers(optim, params)
        return jax.tree.map(lambda update, multiplier: update * multiplier, updates, multipliers), state

    return optax.GradientTransformation(init, update)
