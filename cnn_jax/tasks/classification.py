"""Classification, the base case: Config and Dataset -> Task."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax import initial, models
from cnn_jax.config import Config, ConfigError, Data, Loss, Model
from cnn_jax.data import Dataset
from cnn_jax.data.augment import average_pool, on_canvas, pixel_mean, random_crop_and_flip, standardize
from cnn_jax.layers.initializers import initialize
from cnn_jax.models.macs import count_macs
from cnn_jax.models.residual import stack_blocks
from cnn_jax.train.task import Task

CROSS_ENTROPY = Loss()


def make_task(config: Config, dataset: Dataset, axis_name: str | None) -> Task:
    """The task of a run; configs that differ in seed, batch size or optimizer share one, and what is compiled for it.

    Args:
      config: `model` complete, see `complete`.
      dataset: splits of `image` uint8 (N, H, W, C) and `label` int32 (N,).
      axis_name: the mapped axis of the training step, or None.
    """
    start = config.init_from, config.init_digest
    return _make_task(config.model, config.data, config.loss, config.dtype, start, dataset, axis_name)


def complete(config: Config, dataset: Dataset) -> Config:
    """The config with all that was left open: by the variables it begins with, then by the network for these images.

    Raises ConfigError or RecordError.
    """
    if config.init_from:
        config = initial.adopt(config, min(seen_shape(config.data, dataset)[:2]))
    return replace(config, model=models.complete(config.model, min(seen_shape(config.data, dataset)[:2])))


def seen_shape(data: Data, dataset: Dataset) -> tuple[int, int, int]:
    """(H, W, C) of the images that the network sees; raises ConfigError."""
    height, width, channels = (data.crop, data.crop, 3) if data.crop else dataset.image_shape
    if data.canvas and data.canvas < max(height, width):
        raise ConfigError(f"data.canvas={data.canvas} is smaller than images of {height}x{width}")
    height, width = (data.canvas or height), (data.canvas or width)
    if height % data.average_pool or width % data.average_pool:
        raise ConfigError(f"data.average_pool={data.average_pool} does not divide images of {height}x{width}")
    for name, values in (("mean", data.mean), ("std", data.std)):
        if len(values) not in (0, 1, channels):
            raise ConfigError(f"data.{name} has {len(values)} numbers; give 1, or one for each of {channels} channels")
    return height // data.average_pool, width // data.average_pool, channels


def preprocessing(data: Data, dataset: Dataset) -> Callable[[jax.Array], jax.Array]:
    """What turns uint8 (B, H, W, C) into what the network sees, float32."""
    mean = np.asarray(data.mean, np.float32) if data.mean else pixel_mean(dataset.splits["train"]["image"])
    std = np.asarray(data.std or 1.0, np.float32)
    if mean.ndim == 3 and data.canvas:
        mean = np.asarray(on_canvas(mean[None], data.canvas)[0])

    def images(image: jax.Array) -> jax.Array:
        image = on_canvas(image, data.canvas) if data.canvas else image
        return average_pool(standardize(image, mean, std), data.average_pool)

    return images


@functools.lru_cache(maxsize=2)
def _make_task(
    settings: Model,
    data: Data,
    objective: Loss,
    dtype: str,
    start: tuple[str, str],
    dataset: Dataset,
    axis_name: str | None,
) -> Task:
    shape = seen_shape(data, dataset)
    model = models.build(
        settings.name,
        num_classes=dataset.num_classes,
        axis_name=axis_name,
        dtype=jnp.dtype(dtype),
        **models.settings(settings),
    )
    images, std = preprocessing(data, dataset), np.asarray(data.std or 1.0, np.float32)

    def init(key: jax.Array, batch: Any) -> Any:
        # A leaf's initial value is a function of its path: drawn without the scan, a seed is the same network with it.
        unscanned = model.clone(scan=False) if settings.scan else model
        variables = initialize(unscanned, key, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
        if start[0]:
            variables = initial.put_in(variables, *start, dataset.num_classes)
        return stack_blocks(variables) if settings.scan else variables

    def loss(variables: Any, batch: Any, key: jax.Array) -> Any:
        image = images(batch["image"])
        if "color" in batch:
            image = image + (batch["color"] / std)[:, None, None, :]
        if not data.crop:
            moved = random_crop_and_flip({"image": image}, {"image": "image"}, batch["key"], data.pad, data.flip)
            image = moved["image"]
        (logits, endpoints), model_state = model.apply(
            variables | {"batch": {"slot": batch["slot"]}},
            image,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        losses, errors = loss_and_error(logits, batch["label"], objective)
        sums = {"loss": losses.sum(), "error": errors.sum(), "count": jnp.float32(len(losses))}
        if objective.label_smoothing:
            losses = cross_entropy(logits, batch["label"], objective.label_smoothing)
        for name, auxiliary in endpoints.items():
            if name.startswith("aux"):
                auxiliary_losses = cross_entropy(auxiliary, batch["label"], objective.label_smoothing)
                losses = losses + objective.auxiliary_weight * auxiliary_losses
        return losses.mean(), (model_state, sums)

    def evaluate(variables: Any, batch: Any) -> Any:
        logits, _ = model.apply(variables, images(batch["image"]), train=False)
        losses, errors = loss_and_error(logits, batch["label"], objective)
        mask = batch["mask"]
        sums = {"loss": jnp.where(mask, losses, 0).sum(), "error": jnp.where(mask, errors, 0).sum()}
        return sums | {"count": mask.sum(dtype=jnp.float32)}

    return Task(init, loss, evaluate, unit="images", facts=lambda: {"macs": count_macs(model, shape)})


def cross_entropy(logits: jax.Array, label: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """In nats, (B,) float32; `smoothing` of each label is spread evenly over all classes (Szegedy et al. 2016, 7)."""
    logits = logits.astype(jnp.float32)
    if not smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(logits, label)
    labels = optax.smooth_labels(jax.nn.one_hot(label, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, labels)


def loss_and_error(logits: jax.Array, label: jax.Array, objective: Loss = CROSS_ENTROPY) -> tuple[jax.Array, jax.Array]:
    """Loss in nats and top-1 error (0 or 1) of each example, both (B,) float32.

    The criterion `map` (LeCun et al. 1998, eq. 9) takes -y_i, the penalty of class i, as its logit: it is the cross
    entropy where a class of rubbish has the penalty j. An example whose logits are not all finite is an error, whatever
    its largest logit.
    """
    logits = logits.astype(jnp.float32)
    right = (logits.argmax(axis=-1) == label) & jnp.isfinite(logits).all(axis=-1)
    if objective.criterion == "map":
        rubbish = jnp.full((len(logits), 1), -objective.rubbish_penalty)
        logits = jnp.concatenate([logits, rubbish], axis=-1)
    return cross_entropy(logits, label), 1.0 - right.astype(jnp.float32)
