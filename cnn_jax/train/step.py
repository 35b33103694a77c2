"""The training step: the only place in cnn_jax where parameters have a gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import lax

from cnn_jax.config import ConfigError, Penalty
from cnn_jax.data.augment import example_keys, take
from cnn_jax.train import devices
from cnn_jax.train.average import Weight, update_average
from cnn_jax.train.devices import Layout
from cnn_jax.train.parts import restore_frozen, select_trained
from cnn_jax.train.penalties import penalty_loss
from cnn_jax.train.task import Task


class TrainState(struct.PyTreeNode):
    """All that a step changes; saved whole, it makes a resumed run the same run.

    Attributes:
      step: steps taken.
      params, model_state, opt_state: the task's parameters, its other variables, the optimizer's state.
      sums: the task's sums over the training examples since the last evaluation.
      diverged_at: the first step whose loss was not finite, or -1; looked at when the host next waits for the device.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    sums: dict[str, jax.Array]
    diverged_at: jax.Array

    @property
    def trained(self) -> dict[str, Any]:
        """The variables that a step goes on from."""
        return {"params": self.params, **self.model_state}

    @property
    def variables(self) -> dict[str, Any]:
        """Those that are evaluated, and handed on to whoever reads the run."""
        return self.trained


class AveragedState(TrainState):
    """With `average`, that of the variables after each step so far, see `average_weight`."""

    average: dict[str, Any]

    @property
    def variables(self) -> dict[str, Any]:
        return self.average


def zero_sums(names: Sequence[str]) -> dict[str, jax.Array]:
    return {name: jnp.zeros((), jnp.float32) for name in names}


def make_state(
    variables: dict[str, Any],
    optimizer: optax.GradientTransformation,
    sums: Sequence[str],
    frozen: Callable[[Any], Any] | None = None,
    averaged: bool = False,
) -> TrainState:
    """The state before the first step; `sums` and `frozen` are the task's.

    No two leaves share memory, which a step takes for what it returns. Raises ConfigError where all is frozen.
    """
    trained = select_trained(variables["params"], frozen and frozen(variables["params"]))
    if not jax.tree.leaves(trained):
        raise ConfigError("optim.frozen leaves nothing to train: name an endpoint before the last")
    fields: dict[str, Any] = dict(
        step=jnp.int32(0),
        params=variables["params"],
        model_state={name: value for name, value in variables.items() if name != "params"},
        opt_state=jax.tree.map(np.array, optimizer.init(trained)),  # optax.lbfgs has one array twice in it
        sums=zero_sums(sums),
        diverged_at=jnp.int32(-1),
    )
    return AveragedState(**fields, average=jax.tree.map(np.array, variables)) if averaged else TrainState(**fields)


def gradients(
    task: Task, variables: dict[str, Any], batch: Any, key: jax.Array, *penalties: Penalty
) -> tuple[Any, Any]:
    """`(loss, (model_state, sums))`, as the task's `loss` has them, and the gradient of the loss by the parameters.

    Penalties of the form `loss` are added to the loss, not to the sums: training errors and losses stay the task's.
    What the task has frozen has neither gradient nor penalty: None stands in its place, and nothing before the first
    trained parameter is differentiated.
    """
    params = variables["params"]

    def loss_of(trained: Any) -> Any:
        loss, others = task.loss(variables | {"params": restore_frozen(trained, params)}, batch, key)
        return sum((penalty_loss(penalty, trained) for penalty in penalties), loss), others

    return jax.value_and_grad(loss_of, has_aux=True)(select_trained(params, task.frozen and task.frozen(params)))


def with_gradient(value_and_gradient: Callable[[Any], tuple[jax.Array, Any]]) -> Callable[[Any], jax.Array]:
    """The first of `value_and_gradient(params)` as a function of them whose gradient is the second.

    JAX's own, of a mean over mapped devices, is each device's part of it.
    """

    @jax.custom_vjp
    def value(params: Any) -> jax.Array:
        return value_and_gradient(params)[0]

    def backward(gradient: Any, cotangent: jax.Array) -> tuple[Any]:
        return (jax.tree.map(lambda leaf: cotangent * leaf, gradient),)

    value.defvjp(value_and_gradient, backward)
    return value


def gather_batch(resident: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """A batch with its examples' fields, gathered from what lies on the device where it names them by `index`."""
    return batch if "index" not in batch else take(resident, batch["index"]) | batch


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformationExtraArgs,
    layout: Layout | None = None,
    *penalties: Penalty,
    weight: Weight | None = None,
) -> Callable[..., Any]:
    """`train_step(state, resident, batch, key) -> (state, loss)`, the loss of the state that was given.

    `resident` and `batch` are as `feed` makes them; `slot` (B,) says where in the whole batch each example stands, so
    that it draws the same random numbers on any number of devices. `key` is the run's; the step folds its number in,
    so that a resumed run goes on with the same randomness. `layout` None is a step that sees the whole batch.
    For `penalties` see `gradients`; `weight` is that of an AveragedState's new variables.
    """
    axis_name = layout and layout.axis_name

    def differentiate(variables: Any, resident: Any, batch: dict[str, jax.Array], key: jax.Array) -> Any:
        """`((loss, model_state, gradient), sums)` of the whole batch."""

        def part(batch: dict[str, jax.Array]) -> Any:
            batch = gather_batch(resident, batch) | {"key": example_keys(key, batch["slot"])}
            (loss, (model_state, sums)), gradient = gradients(task, variables, batch, key, *penalties)
            return (loss, model_state, gradient), sums

        if layout is None or layout.accumulate == 1:
            means, sums = part(batch)
        else:
            means, sums = devices.accumulate_parts(layout, part, batch)
        if axis_name is not None:
            means, sums = lax.pmean(means, axis_name), lax.psum(sums, axis_name)
        return means, sums

    def train_step(state: TrainState, resident: Any, batch: dict[str, jax.Array], key: jax.Array) -> Any:
        key = jax.random.fold_in(key, state.step)
        (loss, model_state, gradient), sums = differentiate(state.trained, resident, batch, key)

        def value_and_gradient(trained: Any) -> tuple[jax.Array, Any]:
            variables = state.trained | {"params": restore_frozen(trained, state.params)}
            (loss, _, gradient), _ = differentiate(variables, resident, batch, key)
            return loss, gradient

        trained = select_trained(state.params, task.frozen and task.frozen(state.params))
        updates, opt_state = optimizer.update(
            gradient, state.opt_state, trained, value=loss, grad=gradient, value_fn=with_gradient(value_and_gradient)
        )
        diverged = (state.diverged_at < 0) & ~jnp.isfinite(loss)
        new_state = state.replace(
            step=state.step + 1,
            params=restore_frozen(optax.apply_updates(trained, updates), state.params),
            model_state=model_state,
            opt_state=opt_state,
            sums=jax.tree.map(jnp.add, state.sums, sums),
            diverged_at=jnp.where(diverged, state.step, state.diverged_at),
        )
        if weight is not None:
            average = update_average(state.variables, new_state.trained, weight(state.step))
            new_state = new_state.replace(average=average)
        return new_state, loss.astype(jnp.float32)

    return train_step


def make_evaluate_step(
    evaluate: Callable[..., Any], axis_name: str | None, outputs: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """`evaluate_step(sums, variables, resident, batch) -> (sums, outputs)`, with the batch's own sums added.

    `evaluate` and `outputs` are a task's, or others of that contract. The outputs (B, ...) are those of the whole
    batch, on any number of devices, with its `mask`; without a function for them they are empty.
    """

    def evaluate_step(sums: Any, variables: Any, resident: Any, batch: dict[str, jax.Array]) -> Any:
        batch = gather_batch(resident, batch)
        batch_sums = evaluate(variables, batch)
        gathered = {} if outputs is None else {**outputs(variables, batch), "mask": batch["mask"]}
        if axis_name is not None:
            batch_sums = lax.psum(batch_sums, axis_name)
            gathered = lax.all_gather(gathered, axis_name, tiled=True)
        return jax.tree.map(jnp.add, sums, batch_sums), gathered

    return evaluate_step
