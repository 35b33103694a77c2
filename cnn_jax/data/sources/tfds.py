"""Prepared TFDS datasets into NumPy arrays, without TensorFlow and without a hidden download.

Reads array_record files shard by shard, so that a damaged file can be named: the reader takes a truncated file for an
empty one, and only the counts in dataset_info.json tell.
"""

import contextlib
import difflib
import io
import os
import re
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from array_record.python.array_record_module import ArrayRecordReader  # ty: ignore[import-not-found]  (compiled)
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from PIL import Image
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.extractor import ExtractError
from tensorflow_datasets.core.download.util import DownloadError
from tqdm import tqdm

from cnn_jax.data.dataset import DataError

SPLITS = ("train", "test")
_NAME = re.compile(r"(\w+)(/[\w.\-]+)?(:(\d+|\*)(\.(\d+|\*)){2})?")
_CHUNK = 500  # records read, and shown as progress, at a time


def data_folder(data_dir: str | os.PathLike | None) -> str:
    """The folder of prepared datasets, absolute; None is TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return os.path.abspath(os.path.expanduser(default if data_dir is None else data_dir))


def command(name: str, data_dir: str) -> str:
    """The command that prepares a dataset."""
    return f".venv/bin/python -m cnn_jax.data --dataset={name} --data_dir={data_dir}"


def first_line(error: BaseException) -> str:
    """The first line that says something in the error at the root of a chain of TFDS's rewordings, or its type."""
    error = _root(error)
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _root(error: BaseException) -> BaseException:
    return _root(error.__cause__) if error.__cause__ else error


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keeps TFDS's prints, warnings and bars off the screen, for work that the user did not ask for by name."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def find(name: str, data_dir: str | os.PathLike | None = None) -> tfds.core.DatasetBuilder:
    """The builder of `name[/config][:version]` in `data_dir`, prepared or not; touches no network.

    A dataset whose code TFDS does not have is found by its files, if it is prepared.

    Raises:
      DataError: malformed or unknown name, config or version; unreadable metadata.
    """
    folder = data_folder(data_dir)
    match = _NAME.fullmatch(name)
    if not match:  # also keeps out `namespace:name`, which asks the network
        raise DataError(f"dataset name {name!r} is not of the form name, name/config or name:1.2.3")
    try:
        with quiet():
            return tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        raise DataError(_unknown(name, match[1], folder)) from None
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise DataError(
            f"dataset_info.json of {name!r} under {folder}/{match[1]} is damaged ({first_line(error)}); delete that "
            f"folder and run: {command(name, folder)}"
        ) from error
    except ImportError as error:
        raise DataError(_missing_import(name, error)) from error
    except (AssertionError, ValueError, KeyError, OSError) as error:  # TFDS's refusals: version, config, permissions
        reason = " ".join(str(_root(error)).split())
        raise DataError(f"TFDS cannot open dataset {name!r} in {folder}: {reason}") from error


def _unknown(name: str, base: str, folder: str) -> str:
    if os.path.isdir(os.path.join(folder, base)):
        return (
            f"dataset {name!r} is unknown to TFDS, and {os.path.join(folder, base)} holds no prepared version of it "
            "(VERSION/dataset_info.json and VERSION/features.json)"
        )
    near = difflib.get_close_matches(base.lower(), tfds.list_builders(with_community_datasets=False), n=4)
    hint = f"did you mean {', '.join(near)}?" if near else "see https://www.tensorflow.org/datasets/catalog"
    return f"unknown dataset {name!r}, and nothing of that name is prepared in {folder}; {hint}"


def _missing_import(name: str, error: ImportError) -> str:
    module = (getattr(_root(error), "name", None) or first_line(error)).split(".")[0]
    return (
        f"TFDS needs {module} to prepare {name!r}; run once: .venv/bin/pip install {module}, then this command again "
        "(reading what is prepared does not need it)"
    )


def is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether the builder's version folder is there and complete; TFDS renames it into place when it is."""
    return os.path.isfile(os.path.join(builder.data_dir, "dataset_info.json"))


def download(builder: tfds.core.DatasetBuilder) -> tfds.core.DatasetBuilder:
    """Downloads and prepares a dataset as array_record, with TFDS's progress bars; returns the builder.

    Raises:
      DataError: no network, a missing package such as TensorFlow, files to fetch by hand, no room on the disk.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints banners; its bars go to stderr
            builder.download_and_prepare(file_format="array_record")
    except ImportError as error:
        raise DataError(_missing_import(builder.name, error)) from error
    except (OSError, DownloadError, ExtractError, NonMatchingChecksumError) as error:
        raise DataError(
            f"could not download and prepare {builder.name!r} into {builder.data_dir}: {type(error).__name__}: "
            f"{first_line(error)}; check the network, the disk and the folder, then try again"
        ) from error
    except (AssertionError, ValueError) as error:  # e.g. ImageNet, whose archives must be fetched by hand
        raise DataError(f"TFDS cannot prepare {builder.name!r}: {' '.join(str(error).split())}") from error
    return builder


def prepare_offline(builder: tfds.core.DatasetBuilder) -> tfds.core.DatasetBuilder:
    """Prepares a dataset of ours, which needs no download, without a word; returns the builder to read it with.

    It is made in a folder of its own and renamed into place, so processes that prepare it at the same time cannot meet:
    the first rename wins and the others read its files. (TFDS's own temporary names come from `random`, which runs
    that set the same seed share.)

    Raises:
      DataError: the data folder cannot be written.
    """
    target, root = builder.data_dir, str(builder.data_dir_root)
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".preparing_", dir=root) as scratch, quiet():
            made = type(builder)(data_dir=scratch)
            made.download_and_prepare(file_format="array_record")
            with contextlib.suppress(OSError):  # the folder is there: made meanwhile, or in the way, told apart below
                os.rename(made.data_dir, target)
    except OSError as error:
        raise DataError(
            f"cannot prepare {builder.name!r} in {root} ({error.strerror or first_line(error)}); pass a folder you "
            "can write, as --data_dir=DIR or in the environment as TFDS_DATA_DIR"
        ) from error
    if not is_prepared(builder):
        raise DataError(f"{target} is in the way and is not a prepared dataset; delete it and try again")
    with quiet():
        return type(builder)(data_dir=root)


def read(builder: tfds.core.DatasetBuilder, progress: bool) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """Reads the splits `train` and `test` of a prepared dataset.

    Returns:
      (splits, num_classes): `{"train": {"image": uint8 (N, H, W, C), "label": int32 (N,)}, "test": ...}`.

    Raises:
      DataError: another file format, a missing split, features that are not one image of one shape and one class
        label, missing or damaged files, unlabelled examples.
    """
    require_array_record(builder)
    for split in SPLITS:
        if split not in builder.info.splits or not builder.info.splits[split].num_examples:
            raise DataError(
                f"dataset {builder.name!r} has no examples of split {split!r}; its splits are "
                f"{', '.join(builder.info.splits) or 'none'}, and {' and '.join(SPLITS)} are needed"
            )
    features = image_and_label(builder)
    _require_one_shape(builder, features)
    splits = {}
    for split in SPLITS:
        info = builder.info.splits[split]
        with tqdm(
            _records(builder, split),
            desc=f"reading {builder.name} {split}",
            total=info.num_examples,
            unit=" images",
            leave=False,
            disable=not (progress and sys.stderr.isatty()),
        ) as records:
            splits[split] = _decode_all(records, info.num_examples, builder)
        labels, num_classes = splits[split]["label"], features["label"].num_classes
        if labels.min() < 0 or labels.max() >= num_classes:
            raise DataError(
                f"split {split!r} of {builder.name!r} has labels from {labels.min()} to {labels.max()}, outside its "
                f"{num_classes} classes (-1 is TFDS's mark for unlabelled); choose a dataset with labelled test images"
            )
    return splits, features["label"].num_classes


def again(builder: tfds.core.DatasetBuilder) -> str:
    """What to do about a prepared dataset that is damaged."""
    if builder.name not in tfds.list_builders(with_community_datasets=False):  # only its files are known
        return f"replace {builder.data_dir} by a whole copy"
    return f"delete {builder.data_dir} and run: {command(builder.info.full_name, str(builder.data_dir_root))}"


def require_array_record(builder: tfds.core.DatasetBuilder) -> None:
    """Raises DataError where a prepared dataset has another file format."""
    file_format = builder.info.file_format
    if file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise DataError(
            f"{builder.name!r} in {builder.data_dir} is prepared as {file_format.value if file_format else 'unknown'}, "
            f"which needs TensorFlow to read; to have it as array_record, {again(builder)}"
        )


def image_and_label(builder: tfds.core.DatasetBuilder) -> tfds.features.FeaturesDict:
    """The two features to decode, out of however many the records hold; raises DataError where one is missing."""
    features = builder.info.features
    found = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    for key, kind in (("image", tfds.features.Image), ("label", tfds.features.ClassLabel)):
        if not isinstance(found.get(key), kind):
            raise DataError(
                f"dataset {builder.name!r} has no {kind.__name__} feature {key!r}; its features are "
                f"{', '.join(sorted(found)) or features}"
            )
    return tfds.features.FeaturesDict({"image": found["image"], "label": found["label"]})


def _require_one_shape(builder: tfds.core.DatasetBuilder, features: tfds.features.FeaturesDict) -> None:
    image = features["image"]
    if None in image.shape or image.np_dtype != np.uint8:
        raise DataError(
            f"images of {builder.name!r} are {np.dtype(image.np_dtype)} of shape {image.shape}; only uint8 images of "
            "one fixed shape (H, W, C) can be held in memory: to stream others, give --set=data.crop=224"
        )


def require_whole(path: str, expected: int, builder: tfds.core.DatasetBuilder) -> ArrayRecordReader:
    """The reader of one file of so many records; raises DataError where it is missing or cut."""
    if not os.path.isfile(path):
        raise DataError(f"data file {path} is missing; {again(builder)}")
    try:
        reader = ArrayRecordReader(path)
        count = reader.num_records()
    except (RuntimeError, IndexError) as error:  # what array_record raises for a bad header
        raise DataError(f"data file {path} is damaged ({first_line(error)}); {again(builder)}") from error
    if count != expected:
        raise DataError(
            f"data file {path} is damaged: {count} records can be read where dataset_info.json has {expected}; "
            f"{again(builder)}"
        )
    return reader


def _records(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[tuple[str, bytes]]:
    """(path, serialized example) of every record of a split, in order; checks each file's count before reading it."""
    info = builder.info.splits[split]
    for path, expected in zip(map(str, info.filepaths), info.shard_lengths, strict=True):
        reader = require_whole(path, expected, builder)
        try:
            for start in range(0, expected, _CHUNK):
                for record in reader.read(start, min(start + _CHUNK, expected)):
                    yield path, record
            reader.close()
        except (RuntimeError, IndexError) as error:  # what array_record raises for a bad checksum or length
            raise DataError(f"data file {path} is damaged ({first_line(error)}); {again(builder)}") from error


def _decode_all(
    records: Iterable[tuple[str, bytes]], count: int, builder: tfds.core.DatasetBuilder
) -> dict[str, np.ndarray]:
    """The arrays of a split. Decodes with PIL directly, because TFDS's own way takes 1.4 times as long."""
    features, encoded = image_and_label(builder), {"image": tfds.decode.SkipDecoding()}
    shape = features["image"].shape
    images, labels = np.empty((count, *shape), np.uint8), np.empty(count, np.int32)
    for index, (path, record) in enumerate(records):
        try:
            example: Any = features.deserialize_example_np(record, decoders=encoded)
            with Image.open(io.BytesIO(example["image"])) as image:
                images[index] = np.asarray(image).reshape(shape)
            labels[index] = example["label"]
        except (DecodeError, OSError, SyntaxError, ValueError, KeyError) as error:  # protobuf's, then PIL's and ours
            raise DataError(
                f"record {index} of its split, in {path}, is no labelled image of shape {shape} "
                f"({first_line(error)}); {again(builder)}"
            ) from error
    return {"image": images, "label": labels}
