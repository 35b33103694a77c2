"""What keeps weights small: terms of the loss, their proximal maps, a bound on norms; and what they are of."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cnn_jax.config import Penalty
from cnn_jax.train.parts import path_names

Schedule = Callable[[Any], jax.Array]

NO_PENALTY = Penalty()


def penalty_loss(penalty: Penalty, params: Any) -> jax.Array:
    """l1 |w| + l2 w^2, or with `half` l1 |w| + l2 / 2 w^2, summed over what is penalized; 0 in another form; a scalar.

    At 0 the gradient of |w| is 0, so that gradient descent crosses it back and forth and seldom stays: the proximal
    form is for zeros.
    """

    if penalty.form != "loss" or not (penalty.l1 or penalty.l2):
        return jnp.float32(0)
    masked = jax.tree.leaves(mask(params, penalty.penalized))
    leaves = [leaf for leaf, penalized in zip(jax.tree.leaves(params), masked, strict=True) if penalized]
    terms = (penalty.l1 * jnp.abs(leaf).sum() + square_coefficient(penalty) * jnp.square(leaf).sum() for leaf in leaves)
    return sum(terms, start=jnp.float32(0))


def square_coefficient(penalty: Penalty) -> float:
    """What w^2 is multiplied by."""
    return penalty.l2 / 2 if penalty.half else penalty.l2


def proximal(penalty: Penalty, step_size: Schedule) -> optax.GradientTransformation:
    """Has each update end at `prox` of where it was going, the minimum of the penalty and the distance from there.

    prox(w) = sign(w) max(|w| - s l1, 0) / (1 + 2 s c) for l1 |w| + c w^2 and steps of size s (Parikh & Boyd 2014,
    6.5.2 and 6.5.3, https://web.stanford.edu/~boyd/papers/prox_algs.html). What it makes zero is exactly zero.

    Args:
      penalty: the penalty; its gradient is then not to be in the updates.
      step_size: s by the number of the step: rate / (1 - momentum), which a gradient counts in all; its fixed points
        are then the minima of loss and penalty, whatever the momentum.
    """

    def prox(leaf: jax.Array, step: jax.Array) -> jax.Array:
        size = step_size(step)
        shrunk = jnp.sign(leaf) * jnp.maximum(jnp.abs(leaf) - size * penalty.l1, 0)
        return shrunk / (1 + 2 * size * square_coefficient(penalty))

    return project_updates(prox, lambda params: mask(params, penalty.penalized))


def max_norm(bound: float) -> optax.GradientTransformation:
    """Has no update end where a unit's incoming weights, one vector w, are longer than `bound`: w bound / |w| instead.

    Hinton et al. 2012; Srivastava et al. 2014, 5.1 (https://jmlr.org/papers/v15/srivastava14a.html). Units are the last
    axis of a kernel; what is no kernel is let alone.
    """

    def project(leaf: jax.Array, _: jax.Array) -> jax.Array:
        norm = jnp.sqrt(jnp.square(leaf).sum(axis=tuple(range(leaf.ndim - 1)), keepdims=True))
        return leaf * jnp.minimum(1, bound / jnp.maximum(norm, jnp.finfo(leaf.dtype).tiny))

    return project_updates(project, lambda params: mask(params, "kernels"))


def towards_start(strength: float, penalized: str) -> optax.GradientTransformation:
    """Adds strength (w - w0), the gradient of strength / 2 |w - w0|^2, to the updates; w0 is where `init` found w.

    L2-SP of Li, Grandvalet & Davoine 2018, eq. 3 (https://arxiv.org/abs/1802.01483). A layer drawn anew has what was
    drawn for w0; the paper has 0. The state is a copy of the parameters, which checkpoints hold, so that a resumed run
    is pulled to the same place.
    """

    def init(params: Any) -> Any:
        return jax.tree.map(jnp.asarray, params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def pull(update: jax.Array, leaf: jax.Array, first: jax.Array, penalized: bool) -> jax.Array:
            return update + strength * (leaf - first) if penalized else update

        return jax.tree.map(pull, updates, params, state, mask(params, penalized)), state

    return optax.GradientTransformation(init, update)


def project_updates(
    project: Callable[[jax.Array, jax.Array], jax.Array], make_mask: Callable[[Any], Any]
) -> optax.GradientTransformation:
    """Updates after which each masked leaf w is `where(w + update, step)`; the last of a chain."""

    def init(params: Any) -> optax.ScaleByScheduleState:
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def project_leaf(leaf: jax.Array, update: jax.Array, masked: bool) -> jax.Array:
            # Exact where it is to be zero: w + (0 - w) is 0.
            return project(leaf + update, state.count) - leaf if masked else update

        updates = jax.tree.map(project_leaf, params, updates, make_mask(params))
        return updates, optax.ScaleByScheduleState(count=state.count + 1)

    return optax.GradientTransformation(init, update)


def mask(params: Any, which: str) -> Any:
    """True for each leaf meant: those named kernel, or all."""
    return jax.tree_util.tree_map_with_path(lambda path, _: which == "all" or path_names(path)[-1] == "kernel", params)
