"""Data: a name in, arrays and batches out. Knows no model.

`load` asks the source of a dataset for it, `batches` turns (seed, step) into example indices, and `augment` gathers and
augments a batch on the device. Every problem a user can meet is a `DataError` of one line.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

from cnn_jax.data import sources
from cnn_jax.data.dataset import (
    IMAGE_AND_LABEL,
    DataError,
    Dataset,
    Field,
    Request,
    class_numbers,
    draw,
    fingerprint,
    hold_out,
    select,
)
from cnn_jax.data.sources import tfds
from cnn_jax.data.stream import damaged

__all__ = ["IMAGE_AND_LABEL", "DataError", "Dataset", "Field", "class_numbers", "draw", "load"]


def load(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    fields: Sequence[str] | None = IMAGE_AND_LABEL,
    validation: int = 0,
    download: bool = False,
    progress: bool = True,
    streamed: bool | None = False,
    skip_damaged: bool = False,
) -> Dataset:
    """A dataset's splits `train` and `test`, and `validation` if asked for, in host memory or to be streamed.

    Args:
      name: one that comes with the packages, such as `digits`; any TFDS dataset of images of one shape with class
        labels, `name[/config][:version]`; if streamed, an image folder of `data_dir`, or TFDS images of any size.
      data_dir: folder of prepared datasets; None is TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets.
      fields: which fields of the dataset to load; None is all that there are.
      validation: how many training examples to hold out as split `validation`; the same ones whatever the run's seed
        (He et al. 2016, 4.2 hold out 5,000 of CIFAR-10's 50,000). 0 makes no such split.
      download: download and prepare the dataset if it is not prepared yet. Never done unasked.
      progress: show a progress bar on stderr, when that is a terminal.
      streamed: leave the images where they are, encoded; see `stream`. None is whether they cannot be held in memory.
      skip_damaged: try every image that is to be streamed, and leave out those that cannot be decoded.

    Raises:
      DataError: whatever is wrong with the name, the arguments, the folder or the files, in one line.
    """
    if validation < 0:
        raise DataError(f"validation={validation} is negative; pass how many training examples to hold out, or 0")
    wanted = None if fields is None else tuple(fields)
    request = Request(name, tfds.data_folder(data_dir), wanted, streamed, download, progress)
    dataset = sources.find(name, request.folder).load(request)
    if skip_damaged and dataset.streamed:
        dataset = damaged.leave_out(dataset, progress)
    splits = dict(dataset.splits)
    if validation:
        train, size = splits["train"], dataset.count("train")
        if validation >= size:
            raise DataError(f"validation={validation} leaves nothing to train on: {name!r} has {size} examples")
        splits["train"], splits["validation"] = (select(train, part) for part in hold_out(size, validation))
    return replace(dataset, splits=splits, fingerprint=dataset.fingerprint if dataset.streamed else fingerprint(splits))
