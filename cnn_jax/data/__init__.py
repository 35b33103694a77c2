"""Data: a name in, arrays and batches out. Knows no model.

`load` reads a prepared dataset into host memory, `batches` turns (seed, step) into example indices, and `augment`
gathers and augments a batch on the device. Every problem a user can meet is a `DataError` of one line.
"""

import os

from tensorflow_datasets.core import DatasetBuilder

from cnn_jax.data import tfds
from cnn_jax.data.dataset import DataError, Dataset, draw, fingerprint, hold_out
from cnn_jax.data.digits import Digits

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
) -> Dataset:
    """Reads a dataset's splits `train` and `test`, and `validation` if asked for, into host memory.

    Args:
      name: one of `DATASETS`, or any TFDS dataset of images of one shape with one label, `name[/config][:version]`.
      data_dir: folder of prepared datasets; None is TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets.
      validation: how many training examples to hold out as split `validation`; the same ones whatever the run's seed
        (He et al. 2016, 4.2 hold out 5,000 of CIFAR-10's 50,000). 0 makes no such split.
      download: download and prepare the dataset if it is not prepared yet. Never done unasked.
      progress: show a progress bar on stderr, when that is a terminal.

    Raises:
      DataError: whatever is wrong with the name, the arguments, the folder or the files, in one line.
    """
    if validation < 0:
        raise DataError(f"validation={validation} is negative; pass how many training examples to hold out, or 0")
    splits, num_classes = tfds.read(prepared(name, data_dir, download=download), progress)
    if validation:
        size = len(splits["train"]["label"])
        if validation >= size:
            raise DataError(f"validation={validation} leaves nothing to train on: {name!r} has {size} examples")
        splits["train"], splits["validation"] = hold_out(splits["train"], validation)
    return Dataset(name, splits, num_classes, fingerprint(splits))
