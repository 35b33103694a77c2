"""Classification, the base case: Config and Dataset -> Task."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cnn_jax import models
from cnn_jax.config import Config, ConfigError, Data, Model
from cnn_jax.data import Dataset
from cnn_jax.data.augment import average_pool, pixel_mean, random_crop, random_flip, standardize
from cnn_jax.layers.initializers import initialize
from cnn_jax.models.resnet import stack_blocks
from cnn_jax.train.task import Task


def make_task(config: Config, dataset: Dataset, axis_name: str | None) -> Task:
    """The task of a run; configs that differ in seed, batch size or optimizer share one, and what is compiled for it.

    Args:
      config: `model.bn_group` is a number or "global".
      dataset: splits of `image` uint8 (N, H, W, C) and `label` int32 (N,).
      axis_name: the mapped axis of the training step, or None.
    """
    return _make_task(config.model, config.data, config.dtype, dataset, axis_name)


@functools.lru_cache(maxsize=2)
def _make_task(model_config: Model, data: Data, dtype: str, dataset: Dataset, axis_name: str | None) -> Task:
    changes = {name: value for name, value in vars(model_config).items() if name != "name"}
    model = models.build(
        model_config.name, num_classes=dataset.num_classes, axis_name=axis_name, dtype=jnp.dtype(dtype), **changes
    )
    mean = pixel_mean(dataset.splits["train"]["image"])
    height, width, channels = dataset.image_shape
    if height % data.average_pool or width % data.average_pool:
        raise ConfigError(f"data.average_pool={data.average_pool} does not divide images of {height}x{width}")

    def images(batch: Any) -> jax.Array:
        return average_pool(standardize(batch["image"], mean), data.average_pool)

    def init(key: jax.Array, batch: Any) -> Any:
        shape = (1, height // data.average_pool, width // data.average_pool, channels)
        # A leaf's initial value is a function of its path: drawn without the scan, a seed is the same network with it.
        variables = initialize(model.clone(scan=False), key, jax.ShapeDtypeStruct(shape, jnp.float32))
        return stack_blocks(variables) if model_config.scan else variables

    def loss(variables: Any, batch: Any, key: jax.Array) -> Any:
        image = images(batch)
        if data.pad:
            image = random_crop(batch["key"], image, data.pad)
        if data.flip:
            image = random_flip(batch["key"], image)
        (logits, _), model_state = model.apply(variables, image, train=True, mutable=["batch_stats"])
        losses, errors = loss_and_error(logits, batch["label"])
        sums = {"loss": losses.sum(), "error": errors.sum(), "count": jnp.float32(len(losses))}
        return losses.mean(), (model_state, sums)

    def evaluate(variables: Any, batch: Any) -> Any:
        logits, _ = model.apply(variables, images(batch), train=False)
        losses, errors = loss_and_error(logits, batch["label"])
        mask = batch["mask"]
        sums = {"loss": jnp.where(mask, losses, 0).sum(), "error": jnp.where(mask, errors, 0).sum()}
        return sums | {"count": mask.sum(dtype=jnp.float32)}

    return Task(init, loss, evaluate, unit="images")


def loss_and_error(logits: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross entropy in nats and top-1 error (0 or 1) of each example, both (B,) float32.

    An example whose logits are not all finite is an error, whatever its largest logit.
    """
    logits = logits.astype(jnp.float32)
    right = (logits.argmax(axis=-1) == label) & jnp.isfinite(logits).all(axis=-1)
    return optax.softmax_cross_entropy_with_integer_labels(logits, label), 1.0 - right.astype(jnp.float32)
