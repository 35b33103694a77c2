"""What a network says of image files that nobody has labelled."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_jax import evaluation
from cnn_jax.config import ConfigError
from cnn_jax.data.dataset import DataError
from cnn_jax.data.sources import loose
from cnn_jax.data.stream import damaged
from cnn_jax.evaluation.answers import NONE, Answers
from cnn_jax.evaluation.protocol import Protocol
from cnn_jax.network import Network
from cnn_jax.report import tables
from cnn_jax.train import record
from cnn_jax.train.devices import Layout


class Predictions(NamedTuple):
    """What is said of files.

    Attributes:
      files: paths as they were given, N of them.
      answers: their classes and probabilities; labels and measures where the folder of an image is named after a class,
        -1 and meaningless elsewhere.
      class_names: of the network's classes.
      damaged: the files left out, which cannot be decoded.
    """

    files: Sequence[str]
    answers: Answers
    class_names: Sequence[str]
    damaged: Sequence[str]


def predict(
    network: Network,
    files: Sequence[str],
    protocol: Protocol,
    layout: Layout,
    batch_size: int = 128,
    progress: bool = False,
    workers: int = 0,
    skip_damaged: bool = False,
) -> Predictions:
    """What the network says of image files of any size, in their order; decoded while it looks at others.

    Args:
      network: see Network.
      files: paths, see `loose.find`.
      protocol, layout, batch_size, progress, workers: see `evaluation.answer`.
      skip_damaged: leave out what cannot be decoded, for which all are decoded once before.

    Raises:
      ConfigError: see `evaluation.answer`.
      DataError: a file cannot be read or decoded; or none can.
    """
    images, without = loose.open_files(files, network.class_names, network.decoding), np.array([], int)
    if skip_damaged:
        without = np.array(damaged.unreadable(images, "images", progress), int)
        if len(without) == len(files):
            raise DataError(f"none of {len(files)} files can be decoded, {files[0]} for instance; give images")
    kept = np.setdiff1d(np.arange(len(files)), without)
    answers = evaluation.answer(network, images[kept], protocol, layout, batch_size, progress, workers)
    return Predictions([files[i] for i in kept], answers, network.class_names, [files[i] for i in without])


def likeliest(predictions: Predictions, index: int) -> list[tuple[str, float]]:
    """`(class name, probability)` of an image's likeliest classes; none where the network's numbers were not finite."""
    answers = predictions.answers
    pairs = zip(answers.classes[index].tolist(), answers.probabilities[index].tolist(), strict=True)
    return [(predictions.class_names[number], chance) for number, chance in pairs if number != NONE]


def check_output(path: Path) -> Path:
    """Raises ConfigError or RecordError where no file can be written there."""
    if path.is_dir():
        raise ConfigError(f"--output={path} is a folder: name a file in it, such as {path / 'predictions.csv'}")
    record.require_writable(path.parent)
    return path


def write(predictions: Predictions, path: Path) -> None:
    """Writes a CSV, atomically: a row a file, with its class, its probability, and the five likeliest with theirs."""
    count = predictions.answers.classes.shape[1]
    pairs = [(f"class_{place}", f"probability_{place}") for place in range(1, count + 1)]
    rows = []
    for index, file in enumerate(predictions.files):
        row, likely = {"file": file}, likeliest(predictions, index)
        for columns, values in zip([("class", "probability"), *pairs], likely[:1] + likely, strict=False):
            row |= dict(zip(columns, (values[0], f"{values[1]:.6g}"), strict=True))
        rows.append(row)
    columns = ["file", "class", "probability", *(name for pair in pairs for name in pair)]
    tables.write_csv(rows, columns, path)
