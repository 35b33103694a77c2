"""The encoded images of a prepared TFDS set, read record by record."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader  # ty: ignore[import-not-found]  (compiled)
from google.protobuf.message import DecodeError

from cnn_jax.data.dataset import DataError, Dataset, fingerprint
from cnn_jax.data.sources import tfds as prepared

ENCODED = {"image": tfds.decode.SkipDecoding()}


@dataclass(frozen=True, eq=False)
class Records:
    """Records of array_record files.

    Attributes:
      folder: of the prepared set, with its dataset_info.json.
      paths: of the files.
      ends: how many records the files up to each hold, int64 (files,).
      records: which of them are in the split, int64 (N,).
    """

    folder: str
    paths: tuple[str, ...]
    ends: np.ndarray
    records: np.ndarray

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, indices: np.ndarray) -> "Records":
        return replace(self, records=self.records[indices])

    def read(self, index: int) -> tuple[bytes, int]:
        path, place = self._place(index)
        try:
            (record,) = reader(path).read([place])
            example: Any = features(self.folder).deserialize_example_np(record, decoders=ENCODED)
            return example["image"], int(example["label"])
        except (RuntimeError, IndexError, DecodeError, ValueError, KeyError) as error:
            raise DataError(
                f"{self.name(index)} cannot be read ({prepared.first_line(error)}); prepare the set again, or add "
                "--skip_damaged"
            ) from error

    def name(self, index: int) -> str:
        path, place = self._place(index)
        return f"record {place} of {path}"

    def _place(self, index: int) -> tuple[str, int]:
        record = int(self.records[index])
        file = int(np.searchsorted(self.ends, record, side="right"))
        return self.paths[file], record - int(self.ends[file - 1] if file else 0)


@functools.lru_cache(maxsize=2048)
def reader(path: str) -> Any:
    return ArrayRecordReader(path)


@functools.cache
def features(folder: str) -> tfds.features.FeaturesDict:
    """The image and the label, of however many features the records hold."""
    return prepared.image_and_label(tfds.builder_from_directory(folder))


def load(name: str, builder: tfds.core.DatasetBuilder) -> Dataset:
    """A prepared set's splits `train` and `test`, or `validation` where there is no labelled `test`; decodes no image.

    Raises:
      DataError: another file format, a missing split, features that are not an image and a label, files missing or cut.
    """
    prepared.require_array_record(builder)
    train = records(builder, "train")
    tested = [records(builder, split) for split in ("test", "validation") if split in builder.info.splits]
    labelled = next((split for split in tested if len(split) and split.read(0)[1] >= 0), None)
    if labelled is None:
        raise DataError(f"dataset {name!r} has no labelled split test or validation")
    splits = {"train": train, "test": labelled}
    sizes = {
        split: {"path": np.array([p.rpartition("/")[2] for p in one.paths]), "records": one.ends}
        for split, one in splits.items()
    }
    return Dataset(name, splits, features(str(builder.data_dir))["label"].num_classes, fingerprint(sizes))


def records(builder: tfds.core.DatasetBuilder, split: str) -> Records:
    """All records of a split; each file's count is checked."""
    info = builder.info.splits[split]
    for path, expected in zip(map(str, info.filepaths), info.shard_lengths, strict=True):
        prepared.require_whole(path, expected, builder)
    ends = np.cumsum(info.shard_lengths, dtype=np.int64)
    folder = str(builder.data_dir)
    prepared.image_and_label(builder)
    return Records(folder, tuple(map(str, info.filepaths)), ends, np.arange(ends[-1], dtype=np.int64))
