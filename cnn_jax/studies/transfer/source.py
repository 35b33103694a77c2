"""The network that is transferred: other people's weights, converted once, or a run of ours."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax import models
from cnn_jax.config import Config
from cnn_jax.data import Dataset
from cnn_jax.evaluation import networks
from cnn_jax.layers.initializers import variable_shapes
from cnn_jax.models.heads import find_heads
from cnn_jax.studies.transfer.ways import Network
from cnn_jax.tasks.images import input_shape
from cnn_jax.train import record
from cnn_jax.train import variables as stored


def convert(file: Path, model: str | None, source: str | None, ignore_surplus: Sequence[str], folder: Path) -> Path:
    """The folder, in which the weights of the file are a checkpoint to begin with; written where there is none.

    Raises RecordError where it holds another file's, and what `networks.load` raises.
    """
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    about = {"source": source, "file": file.name, "sha256": digest}
    there = record.read_json(folder / stored.METADATA_FILE)
    if there is None:
        network = networks.load(file, model, source, ignore_surplus=ignore_surplus)
        networks.save(folder, str(model), network, about)
    elif {name: there.get(name) for name in about} != about:
        raise record.RecordError(f"{folder} holds the network of {there.get('file')}: give another --workdir")
    return folder


def describe(config: Config, dataset: Dataset, recipe: Config) -> Network:
    """What is known of the network of a complete config that begins with it, and of the recipe that is its own."""
    model, shape = build(config), input_shape(config.data, dataset)
    variables = variable_shapes(model, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    normalized, optim = "batch_stats" in variables, recipe.optim
    begun = config.init_from, find_heads(model, shape), normalized, optim.learning_rate, recipe.model.initialization
    return Network(*begun, small=not dataset.streamed)


def endpoint_shapes(config: Config, dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """The shape of each endpoint for one image, (H, W, C) or (C,), in the network's order; nothing is computed."""
    model, image = build(config), jax.ShapeDtypeStruct((1, *input_shape(config.data, dataset)), jnp.float32)
    order: dict[str, tuple[int, ...]] = {}

    def trace(variables: Any, image: jax.Array) -> None:
        endpoints = model.apply(variables, image, train=False)[1]
        order.update({name: value.shape[1:] for name, value in endpoints.items()})

    jax.eval_shape(trace, variable_shapes(model, image), image)
    return order


def choose_cut(config: Config, dataset: Dataset) -> str:
    """Of the endpoints that are maps of more than one pixel the one three quarters of the way."""
    maps = [name for name, shape in endpoint_shapes(config, dataset).items() if len(shape) == 3 and shape[0] > 1]
    return maps[3 * (len(maps) - 1) // 4]


def build(config: Config) -> Any:
    """The network of a complete config, its number of classes left open."""
    return models.build(config.model.name, **models.build_arguments(config.model))
