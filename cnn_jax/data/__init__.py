"""Data: a name in, arrays and batches out. Knows no model.

`load` reads a prepared dataset into host memory, `batches` turns (seed, step) into example indices, and `augment`
gathers and augments a batch on the device. Every problem a user can meet is a `DataError` of one line.
"""

import os
from dataclasses import replace

from tensorflow_datasets.core import DatasetBuilder

from cnn_jax.data.dataset import DataError, Dataset, draw, fingerprint, held_out
from cnn_jax.data.sources import folder as encoded
from cnn_jax.data.sources import records, tfds
from cnn_jax.data.sources.digits import Digits
from cnn_jax.data.stream import damaged

__all__ = ["DATASETS", "DataError", "Dataset", "draw", "load", "prepared"]

# Our own builders, prepared on first use without a network; every other name is TFDS's.
DATASETS = {"digits": Digits}


def prepared(name: str, data_dir: str | os.PathLike | None = None, *, download: bool = False) -> DatasetBuilder:
    """The TFDS builder of a dataset that is prepared on disk.

    Args:
      name: `name[/config][:version]` as in TFDS.
      data_dir: folder of prepared datasets; None is TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets.
      download: prepare what is not prepared, over the network. Our own datasets need none and are always prepared.

    Raises:
      DataError: unknown name, not prepared and not to be downloaded, or preparing failed.
    """
    builder = tfds.find(name, data_dir)
    if tfds.is_prepared(builder):
        return builder
    if builder.name in DATASETS:
        return tfds.prepare_offline(builder)
    if download:
        return tfds.download(builder)
    raise DataError(
        f"dataset {name!r} is not prepared: no dataset_info.json in {builder.data_dir}; add --download to this "
        f"command, or run: {tfds.command(name, tfds.data_folder(data_dir))}"
    )


def load(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    validation: int = 0,
    download: bool = False,
    progress: bool = True,
    streamed: bool = False,
    skip_damaged: bool = False,
) -> Dataset:
    """A dataset's splits `train` and `test`, and `validation` if asked for, in host memory or to be streamed.

    Args:
      name: one of `DATASETS`, or any TFDS dataset of images of one shape with one label, `name[/config][:version]`; if
        streamed, an image folder of `data_dir`, or any TFDS dataset of images with one label.
      data_dir: folder of prepared datasets; None is TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets.
      validation: how many training examples to hold out as split `validation`; the same ones whatever the run's seed
        (He et al. 2016, 4.2 hold out 5,000 of CIFAR-10's 50,000). 0 makes no such split.
      download: download and prepare the dataset if it is not prepared yet. Never done unasked.
      progress: show a progress bar on stderr, when that is a terminal.
      streamed: leave the images where they are, encoded; see `stream`.
      skip_damaged: try every image that is to be streamed, and leave out those that cannot be decoded.

    Raises:
      DataError: whatever is wrong with the name, the arguments, the folder or the files, in one line.
    """
    if validation < 0:
        raise DataError(f"validation={validation} is negative; pass how many training examples to hold out, or 0")
    folder = encoded.find(name, tfds.data_folder(data_dir))
    if streamed:
        dataset = (
            encoded.load(name, folder) if folder else records.load(name, prepared(name, data_dir, download=download))
        )
        if skip_damaged:
            dataset = damaged.left_out(dataset, progress)
    elif folder:
        raise DataError(f"{folder} holds images of any size: give the size of the crops, as --set=data.crop=224")
    else:
        splits, num_classes = tfds.read(prepared(name, data_dir, download=download), progress)
        dataset = Dataset(name, splits, num_classes, "")
    splits = dict(dataset.splits)
    if validation:
        size = dataset.count("train")
        if validation >= size:
            raise DataError(f"validation={validation} leaves nothing to train on: {name!r} has {size} examples")
        train, rest, held = splits["train"], *held_out(size, validation)
        splits["train"], splits["validation"] = (
            train[part] if streamed else {field: array[part] for field, array in train.items()} for part in (rest, held)
        )
    return replace(dataset, splits=splits, fingerprint=dataset.fingerprint or fingerprint(splits))
