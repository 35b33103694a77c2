"""How far the loss's gradient reaches: its norm by each kernel (Glorot & Bengio 2010, Section 4.2.2)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from cnn_jax import models, tasks
from cnn_jax.config import Config, replace_field
from cnn_jax.data import Dataset
from cnn_jax.data.augment import example_keys
from cnn_jax.data.batches import training_indices
from cnn_jax.models.residual import unstack_blocks
from cnn_jax.tasks.images import input_shape
from cnn_jax.train.step import gradients
from cnn_jax.train.task import Task


def gradient_norms(config: Config, dataset: Dataset, variables: Any = None) -> dict[str, float]:
    """L2 norm of the gradient of the loss by the kernel of each layer, on the run's first batch of training images.

    Args:
      config: complete, see `tasks.complete`; its seed draws the initial values, the batch and what befalls it.
      dataset: what it is for.
      variables: those of the network; None is its initial ones.

    Returns:
      by layer, in the order in which they are computed.
    """
    unscanned = replace_field(config, "model.scan", False) if config.model.scan else config
    task = tasks.make(unscanned, dataset, None)
    key = jax.random.key(config.seed)
    variables = task.init(key, None) if variables is None else unstack_blocks(variables)
    train = dataset.splits["train"]
    indices = training_indices(len(train["label"]), config.batch_size, config.seed, 0)
    slot = jnp.arange(config.batch_size)
    batch = {field: array[indices] for field, array in train.items()} | {"slot": slot, "key": example_keys(key, slot)}
    norms = jax.device_get(leaf_norms(task, variables, batch, key))
    by_layer = {"/".join(path[:-1]): norm for path, norm in norms.items() if path[-1] == "kernel"}
    order = module_paths(unscanned, dataset)
    return {name.removesuffix("/conv"): float(by_layer[name]) for name in order if name in by_layer}


@partial(jax.jit, static_argnums=0)
def leaf_norms(task: Task, variables: Any, batch: Any, key: jax.Array) -> dict[tuple[str, ...], jax.Array]:
    leaves = traverse_util.flatten_dict(gradients(task, variables, batch, key)[1])  # None of what is frozen
    return {path: l2_norm(leaf.astype(jnp.float32)) for path, leaf in leaves.items() if leaf is not None}


def l2_norm(leaf: jax.Array) -> jax.Array:
    """The L2 norm, also of what has all but vanished, whose squares are zeros in float32."""
    largest = jnp.abs(leaf).max()
    scaled = leaf / jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(jnp.square(scaled).sum())


def module_paths(config: Config, dataset: Dataset) -> list[str]:
    """The paths of the network's modules, `stage1_block1/conv1/conv`, in the order in which they are first called."""
    called: dict[str, None] = {}

    def interceptor(call: Any, arguments: Any, keywords: Any, context: nn.module.InterceptorContext) -> Any:
        called.setdefault("/".join(context.module.path))
        return call(*arguments, **keywords)

    model = models.build(config.model.name, num_classes=dataset.num_classes, **models.build_arguments(config.model))
    image = jnp.zeros((1, *input_shape(config.data, dataset)), np.float32)
    with nn.intercept_methods(interceptor):
        jax.eval_shape(lambda: model.init(jax.random.key(0), image))
    return list(called)
