"""Classification, the base case: one label an image, the headline its top-1 error."""

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax import initial, models
from cnn_jax.config import Classification, Config, Data, Model
from cnn_jax.data import Dataset
from cnn_jax.data.augment import random_crop_and_flip
from cnn_jax.layers.initializers import initialize
from cnn_jax.models.frozen import evaluating, find_part
from cnn_jax.models.heads import find_heads
from cnn_jax.models.macs import count_macs
from cnn_jax.models.residual import stack_blocks
from cnn_jax.tasks.images import complete_crop, complete_mean, describe_network, input_shape, preprocessing
from cnn_jax.train.task import Headline, Task

SUMS = ("loss", "error", "count")
DEFAULTS = Classification()


class Start(NamedTuple):
    """The variables to begin with: `Config.init_from`, `init_digest`, `init_until`, `init_new_head`."""

    folder: str
    digest: str
    until: str
    new_head: bool


def fields(config: Config) -> tuple[str, ...]:
    """The image and the label that is learned."""
    return "image", config.classification.label


def make(config: Config, dataset: Dataset, axis_name: str | None) -> Task:
    """The task of a run; configs that differ in seed, batch size or optimizer share one, and what is compiled for it.

    Args:
      config: complete, see `complete`.
      dataset: splits of `image` uint8 (N, H, W, C) and a label int32 (N,).
      axis_name: the mapped axis of the training step, or None.
    """
    start = Start(config.init_from, config.init_digest, config.init_until, config.init_new_head)
    objective, frozen = config.classification, config.optim.frozen
    return _make(config.model, config.data, objective, config.dtype, start, frozen, dataset, axis_name)


def complete(config: Config, dataset: Dataset) -> Config:
    """The config with all that was left open: by the images, by the variables it begins with, then by the network.

    Raises ConfigError, DataError or RecordError.
    """
    config = replace(config, data=complete_crop(config, dataset))
    shape = input_shape(config.data, dataset)
    if config.init_from:
        config = initial.inherit_settings(config, min(shape[:2]))
    config = replace(config, data=complete_mean(config.data))
    config = replace(config, model=models.complete(config.model, min(shape[:2])))
    for setting, endpoint in (("optim.frozen", config.optim.frozen), ("init_until", config.init_until)):
        if endpoint:  # one that is not there is told before anything runs
            model = models.build(config.model.name, **models.build_arguments(config.model))
            find_part(model, shape, endpoint, setting)
    return config


@functools.lru_cache(maxsize=2)
def _make(
    settings: Model,
    data: Data,
    objective: Classification,
    dtype: str,
    start: Start,
    frozen: str,
    dataset: Dataset,
    axis_name: str | None,
) -> Task:
    shape = input_shape(data, dataset)
    classes = len(dataset.class_names(objective.label))
    arguments = models.build_arguments(settings) | {"axis_name": axis_name, "dtype": jnp.dtype(dtype)}
    model = models.build(settings.name, num_classes=classes, **arguments)
    part = find_part(model, shape, frozen) if frozen else None
    images, std = preprocessing(data, dataset), np.asarray(data.std or 1.0, np.float32)

    def loss(variables: Any, batch: Any, key: jax.Array) -> Any:
        image = images(batch["image"])
        if "color" in batch:
            image = image + (batch["color"] / std)[:, None, None, :]
        if not data.crop and (data.pad or data.flip):
            moved = random_crop_and_flip({"image": image}, {"image": "image"}, batch["key"], data.pad, data.flip)
            image = moved["image"]
        variables = variables | {"batch": {"slot": batch["slot"]}}
        with evaluating(part.modules if part else frozenset()):
            (logits, endpoints), model_state = model.apply(
                variables, image, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )
        losses, errors = loss_and_error(logits, batch[objective.label], objective)
        sums = {"loss": losses.sum(), "error": errors.sum(), "count": jnp.float32(len(losses))}
        if objective.label_smoothing:
            losses = cross_entropy(logits, batch[objective.label], objective.label_smoothing)
        for name, auxiliary in endpoints.items():
            if name.startswith("aux"):
                auxiliary_losses = cross_entropy(auxiliary, batch[objective.label], objective.label_smoothing)
                losses = losses + objective.auxiliary_weight * auxiliary_losses
        return losses.mean(), (model_state, sums)

    def evaluate(variables: Any, batch: Any) -> Any:
        logits, _ = model.apply(variables, images(batch["image"]), train=False)
        losses, errors = loss_and_error(logits, batch[objective.label], objective)
        mask = batch["mask"]
        sums = {"loss": jnp.where(mask, losses, 0).sum(), "error": jnp.where(mask, errors, 0).sum()}
        return sums | {"count": mask.sum(dtype=jnp.float32)}

    return Task(
        lambda key, batch: initial_variables(model, key, shape, start),
        loss,
        evaluate,
        sums=SUMS,
        headline=Headline("error"),
        unit="images",
        facts=lambda: {"macs": count_macs(model, shape)},
        frozen=(lambda _: part.params) if part else None,
        network=lambda: describe_network(images, dataset, objective.label),
    )


def initial_variables(model: Any, key: jax.Array, shape: tuple[int, int, int], start: Start) -> Any:
    """Drawn for images of that shape, or those of a folder, up to an endpoint or all that fit."""
    scan = getattr(model, "scan", False)
    # A leaf's initial value is a function of its path: drawn without the scan, a seed is the same network with it.
    unscanned = model.clone(scan=False) if scan else model
    variables = initialize(unscanned, key, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    if start.folder:
        drawn, until = variables, start.until
        part = find_part(unscanned, shape, until, "init_until") if until else None
        variables = initial.load_variables(drawn, start.folder, start.digest, model.num_classes, part)
        if start.new_head:
            variables = initial.begin_heads(variables, drawn, find_heads(unscanned, shape))
    return stack_blocks(variables) if scan else variables


def cross_entropy(logits: jax.Array, label: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """In nats, (B,) float32; `smoothing` of each label is spread evenly over all classes (Szegedy et al. 2016, 7)."""
    logits = logits.astype(jnp.float32)
    if not smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(logits, label)
    labels = optax.smooth_labels(jax.nn.one_hot(label, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, labels)


def loss_and_error(
    logits: jax.Array, label: jax.Array, objective: Classification = DEFAULTS
) -> tuple[jax.Array, jax.Array]:
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
