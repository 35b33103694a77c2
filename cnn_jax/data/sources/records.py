"""The records of a prepared TFDS set: images and class labels, into memory or one by one, without TensorFlow.

Reads array_record files shard by shard, so that a damaged file can be named: the reader takes a truncated file for an
empty one, and only the counts in dataset_info.json tell.
"""

import functools
import io
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader  # ty: ignore[import-not-found]  (compiled)
from google.protobuf.message import DecodeError
from PIL import Image
from tqdm import tqdm

from cnn_jax.data.dataset import DataError, Dataset, Decoding, Field, Request, fingerprint
from cnn_jax.data.sources.tfds import again, find_prepared, first_line

SPLITS = ("train", "test")
ENCODED = {"image": tfds.decode.SkipDecoding()}  # decoded with PIL: TFDS's own way takes 1.4 times as long
CHUNK = 500  # records read, and shown as progress, at a time


def has(name: str, folder: str) -> bool:
    """True: a name that no other source has is TFDS's."""
    return True


def load(request: Request) -> Dataset:
    """The splits `train` and `test` of `name[/config][:version]`; streamed, `validation` where no `test` is labelled.

    Raises:
      DataError: a name that TFDS has not, a set that is not prepared; another file format, a missing split, no feature
        of that name and kind, missing or damaged files, unlabelled examples, in memory images of several shapes.
    """
    builder = find_prepared(request.name, request.folder, request.download)
    require_array_record(builder)
    features = select_features(builder, request.fields)
    fields = {name: Field(kind, tuple(getattr(features[name], "names", ()))) for name, kind in kinds(features).items()}
    streamed = request.streamed
    if streamed is None:
        streamed = None in dict(features)["image"].shape
    if not streamed:
        return Dataset(request.name, decoded_splits(builder, features, request.progress), fields, "")
    splits = encoded_splits(builder, features, request.name, request.decoding)
    sizes = {
        split: {"path": np.array([path.rpartition("/")[2] for path in one.paths]), "records": one.ends}
        for split, one in splits.items()
    }
    return Dataset(request.name, splits, fields, fingerprint(sizes))


def select_features(builder: tfds.core.DatasetBuilder, fields: Iterable[str] | None) -> tfds.features.FeaturesDict:
    """The features to decode, out of however many the records hold; None is the image and all class labels.

    Raises DataError where one is missing.
    """
    features = builder.info.features
    found = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    if fields is None:
        fields = ("image", *(key for key, one in found.items() if isinstance(one, tfds.features.ClassLabel)))
    for key in fields:
        kind = tfds.features.Image if key == "image" else tfds.features.ClassLabel
        if not isinstance(found.get(key), kind):
            raise DataError(
                f"dataset {builder.name!r} has no {kind.__name__} feature {key!r}; its features are "
                f"{', '.join(sorted(found)) or features}"
            )
    return tfds.features.FeaturesDict({key: found[key] for key in fields})


def kinds(features: tfds.features.FeaturesDict) -> dict[str, str]:
    return {key: "image" if isinstance(one, tfds.features.Image) else "label" for key, one in features.items()}


def require_array_record(builder: tfds.core.DatasetBuilder) -> None:
    """Raises DataError where a prepared dataset has another file format."""
    file_format = builder.info.file_format
    if file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise DataError(
            f"{builder.name!r} in {builder.data_dir} is prepared as {file_format.value if file_format else 'unknown'}, "
            f"which needs TensorFlow to read; to have it as array_record, {again(builder)}"
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


def decoded_splits(
    builder: tfds.core.DatasetBuilder, features: tfds.features.FeaturesDict, progress: bool
) -> dict[str, dict[str, np.ndarray]]:
    """split -> field -> array (N, ...)."""
    for split in SPLITS:
        if split not in builder.info.splits or not builder.info.splits[split].num_examples:
            raise DataError(
                f"dataset {builder.name!r} has no examples of split {split!r}; its splits are "
                f"{', '.join(builder.info.splits) or 'none'}, and {' and '.join(SPLITS)} are needed"
            )
    require_one_shape(builder, features)
    splits = {}
    for split in SPLITS:
        count = builder.info.splits[split].num_examples
        with tqdm(
            read(builder, split),
            desc=f"reading {builder.name} {split}",
            total=count,
            unit=" images",
            leave=False,
            disable=not (progress and sys.stderr.isatty()),
        ) as records:
            splits[split] = decode(records, count, builder, features)
        require_labels(builder, features, split, splits[split])
    return splits


def require_one_shape(builder: tfds.core.DatasetBuilder, features: tfds.features.FeaturesDict) -> None:
    image = dict(features).get("image")
    if image and (None in image.shape or image.np_dtype != np.uint8):
        raise DataError(
            f"images of {builder.name!r} are {np.dtype(image.np_dtype)} of shape {image.shape}; only uint8 images of "
            "one fixed shape (H, W, C) can be held in memory: to stream others, give --set=data.crop=224"
        )


def require_labels(
    builder: tfds.core.DatasetBuilder,
    features: tfds.features.FeaturesDict,
    split: str,
    arrays: dict[str, np.ndarray],
) -> None:
    for field, kind in kinds(features).items():
        if kind == "label":
            labels, num_classes = arrays[field], features[field].num_classes
            if labels.min() < 0 or labels.max() >= num_classes:
                raise DataError(
                    f"split {split!r} of {builder.name!r} has labels from {labels.min()} to {labels.max()}, outside "
                    f"its {num_classes} classes (-1 is TFDS's mark for unlabelled); choose a dataset with labelled "
                    "test images"
                )


def read(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[tuple[str, bytes]]:
    """(path, serialized example) of every record of a split, in order; checks each file's count before reading it."""
    info = builder.info.splits[split]
    for path, expected in zip(map(str, info.filepaths), info.shard_lengths, strict=True):
        reader = require_whole(path, expected, builder)
        try:
            for start in range(0, expected, CHUNK):
                for record in reader.read(start, min(start + CHUNK, expected)):
                    yield path, record
            reader.close()
        except (RuntimeError, IndexError) as error:  # what array_record raises for a bad checksum or length
            raise DataError(f"data file {path} is damaged ({first_line(error)}); {again(builder)}") from error


def decode(
    records: Iterable[tuple[str, bytes]],
    count: int,
    builder: tfds.core.DatasetBuilder,
    features: tfds.features.FeaturesDict,
) -> dict[str, np.ndarray]:
    """The arrays of a split: images uint8 (count, H, W, C), labels int32 (count,)."""
    of_images = {"image": features["image"].shape} if "image" in features else {}
    arrays = {
        key: np.empty((count, *of_images[key]), np.uint8) if key in of_images else np.empty(count, np.int32)
        for key in features
    }
    for index, (path, record) in enumerate(records):
        try:
            example: Any = features.deserialize_example_np(record, decoders=ENCODED if of_images else None)
            for key, shape in of_images.items():
                with Image.open(io.BytesIO(example[key])) as image:
                    example[key] = np.asarray(image).reshape(shape)
            for key, array in arrays.items():
                array[index] = example[key]
        except (DecodeError, OSError, SyntaxError, ValueError, KeyError) as error:  # protobuf's, then PIL's and ours
            raise DataError(
                f"record {index} of its split, in {path}, is no labelled image of shape {of_images.get('image')} "
                f"({first_line(error)}); {again(builder)}"
            ) from error
    return arrays


@dataclass(frozen=True, eq=False)
class Records:
    """A `stream.Encoded` of records of array_record files.

    Attributes:
      folder: of the prepared set, with its dataset_info.json.
      fields: of each record, those wanted.
      paths: of the files.
      ends: how many records the files up to each hold, int64 (files,).
      records: which of them are in the split, int64 (N,).
      decoding: how the images become pixels.
    """

    folder: str
    fields: tuple[str, ...]
    paths: tuple[str, ...]
    ends: np.ndarray
    records: np.ndarray
    decoding: Decoding

    @property
    def kinds(self) -> dict[str, str]:
        return kinds(stored_features(self.folder, self.fields))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, indices: np.ndarray) -> "Records":
        return replace(self, records=self.records[indices])

    def read(self, index: int) -> dict[str, Any]:
        return self._read(index, self.fields, ENCODED)

    def read_annotations(self, index: int) -> dict[str, Any]:
        return self._read(index, tuple(field for field in self.fields if field != "image"), None)

    def _read(self, index: int, fields: tuple[str, ...], decoders: Any) -> dict[str, Any]:
        path, place = self._place(index)
        try:
            (record,) = open_reader(path).read([place])
            example: Any = stored_features(self.folder, fields).deserialize_example_np(record, decoders=decoders)
            return {key: value if key == "image" else np.int32(value) for key, value in example.items()}
        except (RuntimeError, IndexError, DecodeError, ValueError, KeyError) as error:
            raise DataError(
                f"{self.name(index)} cannot be read ({first_line(error)}); prepare the set again, or add --skip_damaged"
            ) from error

    def name(self, index: int) -> str:
        path, place = self._place(index)
        return f"record {place} of {path}"

    def _place(self, index: int) -> tuple[str, int]:
        record = int(self.records[index])
        file = int(np.searchsorted(self.ends, record, side="right"))
        return self.paths[file], record - int(self.ends[file - 1] if file else 0)


@functools.lru_cache(maxsize=2048)
def open_reader(path: str) -> Any:
    return ArrayRecordReader(path)


@functools.cache
def stored_features(folder: str, fields: tuple[str, ...]) -> tfds.features.FeaturesDict:
    return select_features(tfds.builder_from_directory(folder), fields)


def encoded_splits(
    builder: tfds.core.DatasetBuilder, features: tfds.features.FeaturesDict, name: str, decoding: Decoding
) -> dict[str, Records]:
    """`train`, and as `test` the first of `test` and `validation` that is labelled; each file's count is checked."""
    found = {}
    for split in (one for one in ("train", "test", "validation") if one in builder.info.splits):
        info = builder.info.splits[split]
        paths = tuple(map(str, info.filepaths))
        for path, expected in zip(paths, info.shard_lengths, strict=True):
            require_whole(path, expected, builder)
        ends = np.cumsum(info.shard_lengths, dtype=np.int64)
        records = np.arange(sum(info.shard_lengths), dtype=np.int64)
        found[split] = Records(str(builder.data_dir), tuple(features), paths, ends, records, decoding)
    tested = [records for split, records in found.items() if split != "train" and len(records)]
    labels = [field for field, kind in kinds(features).items() if kind == "label"]
    for records in tested:
        first = records.read(0)
        if all(first[label] >= 0 for label in labels):
            return {"train": found["train"], "test": records}
    raise DataError(f"dataset {name!r} has no labelled split test or validation")
