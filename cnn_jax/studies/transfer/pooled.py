"""Features of every endpoint, averaged over its map, taken once and kept on disk."""

import hashlib
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.config import Data
from cnn_jax.data import Dataset
from cnn_jax.data.picture import open_image
from cnn_jax.network import Network
from cnn_jax.train.checkpoint import digest
from cnn_jax.train.record import require_writable, write_atomically

POOLED = "pooled"
SPLITS = ("train", "test")
CHUNK = 512  # images of which the files are held at a time


class Pooled(NamedTuple):
    """A network as `cnn_jax.network.Network` takes one, whose one endpoint is all of another's, averaged over their
    maps, side by side: (B, D)."""

    model: Any
    num_classes: int
    image_size: int

    def apply(self, variables: Any, image: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits, endpoints = self.model.apply(variables, image, train=train)
        return logits, {POOLED: jnp.concatenate([average(value) for value in endpoints.values()], axis=1)}


class Features(NamedTuple):
    """Features of a data set.

    Attributes:
      splits: by split, float32 (N, D), in the order of the split.
      labels: by split, int (N,).
      seconds: that taking them took, when they were taken.
    """

    splits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    seconds: float


def average(endpoint: jax.Array) -> jax.Array:
    """(B, H, W, C) or (B, C) -> (B, C)."""
    return endpoint.mean(axis=(1, 2)) if endpoint.ndim == 4 else endpoint


def show_as(network: Network, data: Data, dataset: Dataset) -> Network:
    """The network that is shown what a run of that config is shown when it is tested, all its endpoints pooled."""
    size = network.model.image_size
    pooled = network._replace(model=Pooled(network.model, network.model.num_classes, size))
    if dataset.streamed:
        return pooled._replace(scales=(data.resolved_test_short_side,), size=data.crop, image_size=None)
    return pooled._replace(scales=(), size=None, image_size=dataset.image_shape[:2])


def key(network: Network, dataset: Dataset) -> str:
    """What the features are a function of: the variables, what the network is shown, and the images."""
    preprocess: Any = network.preprocess
    known = [digest(network.variables), preprocess.to_json(), dataset.fingerprint, str(network.model)]
    known += [network.scales, network.size, network.image_size]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def take(network: Network, data: Data, dataset: Dataset, folder: Path) -> Features:
    """The features of the splits train and test, from the folder if they have been taken before, or else into it.

    Args:
      network: with its own preprocessing.
      data: how images are shown.
      dataset: all of it.
      folder: where they are kept, a file of numpy's for each network and data set.

    Raises DataError on a damaged image, RecordError where the folder cannot be written.
    """
    shown, begun = show_as(network, data, dataset), time.monotonic()
    file = require_writable(folder) / f"{key(shown, dataset)}.npz"
    labels = {split: dataset.annotations(split)["label"] for split in SPLITS}
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as there:
            return Features({split: there[split] for split in SPLITS}, labels, float(there["seconds"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # none, or not whole
        splits = {split: extract(shown, dataset, split, POOLED) for split in SPLITS}
        seconds, buffer = time.monotonic() - begun, io.BytesIO()
        arrays: dict[str, Any] = {"seconds": np.float64(seconds), **splits}
        np.savez(buffer, **arrays)
        write_atomically(file, buffer.getvalue())
        return Features(splits, labels, seconds)


def extract(network: Network, dataset: Dataset, split: str, endpoint: str) -> np.ndarray:
    """What the endpoint makes of each image of a split, float32 (N, ...)."""
    examples, count = dataset.splits[split], dataset.count(split)
    if not dataset.streamed:
        return network.features(examples["image"], endpoint)

    def load(index: int) -> Any:
        return open_image(examples.read(index)["image"], examples.name(index))

    chunks = (range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))
    return np.concatenate([network.features([load(index) for index in chunk], endpoint) for chunk in chunks])
