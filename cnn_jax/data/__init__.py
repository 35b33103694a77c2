"""Data: a name in, arrays and batches out. Knows no model.

`load` asks the source of a dataset for it, `batches` turns (seed, step) into example indices, and `augment` gathers and
augments a batch on the device. Every problem a user can meet is a `DataError` of one line.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

from cnn_jax.data import sources
from cnn_jax.data.classes import choose_of_each_class, draw_of_each_class, select_classes
from cnn_jax.data.dataset import (
    AS_STORED,
    IMAGE_AND_LABEL,
    DataError,
    Dataset,
    Decoding,
    Field,
    Request,
    class_numbers,
    draw,
    fingerprint,
    hold_out_validation,
)
from cnn_jax.data.sources import folder as image_folder
from cnn_jax.data.sources import tfds
from cnn_jax.data.stream import damaged

__all__ = [
    "IMAGE_AND_LABEL",
    "DataError",
    "Dataset",
    "Decoding",
    "Field",
    "class_numbers",
    "choose_of_each_class",
    "draw",
    "draw_of_each_class",
    "load",
    "locate",
    "select_classes",
]


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
    decoding: Decoding = AS_STORED,
    test_share: float = 0.0,
) -> Dataset:
    """A dataset's splits `train` and `test`, and `validation` if asked for, in host memory or to be streamed.

    Args:
      name: one that comes with the packages, such as `digits`; any TFDS dataset of images of one shape with class
        labels, `name[/config][:version]`; if streamed, an image folder of `data_dir`, or TFDS images of any size. A
        path to the set's own folder is its name and `data_dir` in one, see `locate`.
      data_dir: folder of prepared datasets; None is TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets.
      fields: which fields of the dataset to load; None is all that there are.
      validation: how many training examples to hold out as split `validation`; the same ones whatever the run's seed
        (He et al. 2016, 4.2 hold out 5,000 of CIFAR-10's 50,000). 0 makes no such split. They take the place of the
        images of a folder's own `valid/`, which is noted.
      download: download and prepare the dataset if it is not prepared yet. Never done unasked.
      progress: show a progress bar on stderr, when that is a terminal.
      streamed: leave the images where they are, encoded; see `stream`. None is whether they cannot be held in memory.
      skip_damaged: try every image that is to be streamed, and leave out those that cannot be decoded.
      decoding: how images that are streamed become pixels.
      test_share: of an image folder without images to test on, the share of each class to hold out for that: the same
        images whatever the run's seed. 0 is none.

    Raises:
      DataError: whatever is wrong with the name, the arguments, the folder or the files, in one line.
    """
    if validation < 0:
        raise DataError(f"validation={validation} is negative; pass how many training examples to hold out, or 0")
    name, data_dir = locate(name, data_dir)
    wanted = None if fields is None else tuple(fields)
    request = Request(name, tfds.data_folder(data_dir), wanted, streamed, download, progress, decoding, test_share)
    source = sources.find(name, request.folder)
    dataset = source.load(request)
    if test_share and source is not image_folder:
        raise DataError(f"data.test_share={test_share:g} is of image folders, and {name!r} is none; leave it out")
    if skip_damaged and dataset.streamed:
        dataset = damaged.leave_out(dataset, progress)
    dataset = hold_out_validation(dataset, validation)
    return dataset if dataset.streamed else replace(dataset, fingerprint=fingerprint(dataset.splits))


def locate(name: str, data_dir: str | os.PathLike | None) -> tuple[str, str | os.PathLike | None]:
    """`(name, data_dir)` of a dataset that may be given as a path: its name is then the last part of that.

    A path begins with /, ./, ../ or ~, or has a / and leads to a folder from here that `data_dir` has not.

    Raises:
      DataError: there is no such folder, or a path is given beside `data_dir`.
    """
    bare = name.rstrip("/")
    is_path = name.startswith(("/", "./", "../", "~")) or name in (".", "..")
    if not is_path and ("/" not in name or os.path.isdir(os.path.join(tfds.data_folder(data_dir), bare))):
        return bare, data_dir
    if not is_path and not os.path.isdir(name):
        return name, data_dir
    path = os.path.abspath(os.path.expanduser(name))
    if os.path.isfile(path):
        raise DataError(f"dataset {name!r} is a file: unpack it, and give the folder")
    if not os.path.isdir(path):
        raise DataError(f"dataset {name!r}: there is no folder {path}")
    if data_dir is not None:
        raise DataError(f"dataset {name!r} is a path, which says where it is: leave --data_dir={data_dir} out")
    return os.path.basename(path), os.path.dirname(path)
