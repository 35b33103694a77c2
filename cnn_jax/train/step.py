"""The training step: the only place in cnn_jax where parameters have a gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from cnn_jax.config import Penalty
from cnn_jax.data.augment import example_keys, take
from cnn_jax.train.penalties import NO_PENALTY, cost
from cnn_jax.train.task import Task

SUMS = ("loss", "error", "count")
"""What is summed over the training examples, and unless a task says more over those of an evaluation."""


class TrainState(struct.PyTreeNode):
    """All that a step changes; saved whole, it makes a resumed run the same run.

    Attributes:
      step: steps taken.
      params, model_state, opt_state: the task's parameters, its other variables, the optimizer's state.
      sums: loss, error and count over the training examples since the last evaluation.
      diverged_at: the first step whose loss was not finite, or -1; looked at when the host next waits for the device.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    sums: dict[str, jax.Array]
    diverged_at: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, **self.model_state}


def no_sums(names: Sequence[str] = SUMS) -> dict[str, jax.Array]:
    return {name: jnp.zeros((), jnp.float32) for name in names}


def make_state(variables: dict[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    model_state = {name: value for name, value in variables.items() if name != "params"}
    return TrainState(
        step=jnp.int32(0),
        params=variables["params"],
        model_state=model_state,
        opt_state=optimizer.init(variables["params"]),
        sums=no_sums(),
        diverged_at=jnp.int32(-1),
    )


def gradients(
    task: Task, variables: dict[str, Any], batch: Any, key: jax.Array, penalty: Penalty = NO_PENALTY
) -> tuple[Any, Any]:
    """`(loss, (model_state, sums))`, as the task's `loss` has them, and the gradient of the loss by the parameters.

    A penalty of the form `loss` is added to the loss, not to the sums: training errors and losses stay the task's.
    """

    def loss_of(params: Any) -> Any:
        loss, others = task.loss(variables | {"params": params}, batch, key)
        return loss + cost(penalty, params), others

    return jax.value_and_grad(loss_of, has_aux=True)(variables["params"])


def make_train_step(
    task: Task, optimizer: optax.GradientTransformation, axis_name: str | None, penalty: Penalty = NO_PENALTY
) -> Callable[..., Any]:
    """`train_step(state, examples, indices, slots, key) -> state`.

    `examples` is the whole split, on the device; `indices` (B,) says which of it are in the batch, and `slots` (B,)
    where in the whole batch each stands, so that an example draws the same random numbers on any number of devices.
    `key` is the run's; the step folds its number in, so that a resumed run goes on with the same randomness.
    `axis_name` is the mapped axis, or None where the step sees the whole batch. For `penalty` see `gradients`.
    """

    def train_step(
        state: TrainState, examples: Any, indices: jax.Array, slots: jax.Array, key: jax.Array
    ) -> TrainState:
        key = jax.random.fold_in(key, state.step)
        batch = take(examples, indices) | {"key": example_keys(key, slots)}
        (loss, (model_state, sums)), gradient = gradients(task, state.variables, batch, key, penalty)
        if axis_name is not None:
            loss, model_state, gradient = lax.pmean((loss, model_state, gradient), axis_name)
            sums = lax.psum(sums, axis_name)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        diverged = (state.diverged_at < 0) & ~jnp.isfinite(loss)
        return TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            model_state=model_state,
            opt_state=opt_state,
            sums=jax.tree.map(jnp.add, state.sums, sums),
            diverged_at=jnp.where(diverged, state.step, state.diverged_at),
        )

    return train_step


def make_evaluate_step(evaluate: Callable[..., Any], axis_name: str | None) -> Callable[..., Any]:
    """`evaluate_step(sums, variables, examples, indices, mask) -> sums`, with the batch's own added.

    `evaluate` is a task's, or another of that contract.
    """

    def evaluate_step(sums: Any, variables: Any, examples: Any, indices: jax.Array, mask: jax.Array) -> Any:
        batch_sums = evaluate(variables, take(examples, indices) | {"mask": mask})
        if axis_name is not None:
            batch_sums = lax.psum(batch_sums, axis_name)
        return jax.tree.map(jnp.add, sums, batch_sums)

    return evaluate_step
