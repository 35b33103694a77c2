"""What a dataset is here: named splits of named fields, whole in host memory or streamed from their files."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")
IMAGE_AND_LABEL = ("image", "label")
VOID = 255
"""In a label map: no class."""
ON_HOST = ("captions",)
"""Kinds of fields that no device holds."""


class DataError(ValueError):
    """A problem with data that the user can put right; the message is one line: what is wrong and the way out."""


class Field(NamedTuple):
    """What a field holds, for each of N examples.

    Attributes:
      kind: one of
        image, uint8 (N, H, W, C);
        label, int32 (N,), in [0, number of names);
        label_map, uint8 (N, H, W), a class for each pixel, 255 where there is none (void);
        boxes, float32 (N, M, 4), x0, y0, x1, y1 in pixels of the image, half-open, rows of padding 0;
        box_label, int32 (N, M), the class of each box;
        box_mask, bool (N, M), False for padding;
        captions, str (N, C), padded with "".
        Of a dataset at most one field is of kind image, boxes and box_mask each.
      names: of a label, label_map or box_label, what its classes are called; "0", "1", ... where the source has none.
    """

    kind: str
    names: tuple[str, ...] = ()


class Decoding(NamedTuple):
    """How encoded images become pixels.

    Attributes:
      bits: of the values of grey images with more than 8 bits, floats too: they are scaled by 2^bits - 1. 0 is what
        the file says.
      exif_orientation: whether photographs are turned as their EXIF orientation says, as viewers show them.
    """

    bits: int = 0
    exif_orientation: bool = False


AS_STORED = Decoding()


class Request(NamedTuple):
    """What is asked of a source.

    Attributes:
      name: of the dataset.
      folder: of prepared datasets, absolute.
      fields: names of the fields wanted, None all that there are.
      streamed: leave the images encoded; None is whether the dataset cannot be held in memory.
      download: whether the network may be used.
      progress: whether to draw a bar on stderr.
      decoding: how streamed images become pixels.
      test_share: of an image folder without images to test on, the share of each class to hold out; 0 is none.
    """

    name: str
    folder: str
    fields: tuple[str, ...] | None = IMAGE_AND_LABEL
    streamed: bool | None = False
    download: bool = False
    progress: bool = False
    decoding: Decoding = AS_STORED
    test_share: float = 0.0


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: the arrays are large
class Dataset:
    """Images and what is known of them.

    Attributes:
      name: the name it was loaded by.
      splits: split name -> field name -> array (N, ...), or where the dataset is streamed a `stream.Encoded`.
      fields: what each field holds.
      fingerprint: 16 hex digits that change when any array of any split does, or any file's name or size.
      damaged: of a streamed dataset, what was left out.
      notes: what a user should be told of how it was read: what of it is not here, and what may not be as meant.
    """

    name: str
    splits: dict[str, Any]
    fields: dict[str, Field]
    fingerprint: str
    damaged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def streamed(self) -> bool:
        return not all(isinstance(split, dict) for split in self.splits.values())

    @property
    def num_classes(self) -> int:
        """The number of classes of the field `label`."""
        return len(self.class_names())

    def class_names(self, field: str = "label") -> tuple[str, ...]:
        """What the classes of a field are called; raises DataError where the dataset has no such field."""
        return require_fields(self.name, (field,), self.fields)[field].names

    def count(self, split: str) -> int:
        """How many examples a split has."""
        examples = self.splits[split]
        return len(next(iter(examples.values()))) if isinstance(examples, dict) else len(examples)

    def first(self, split: str, count: int | None) -> Any:
        """The first `count` examples of a split, all where it is None, as what the split is."""
        examples = self.splits[split]
        if isinstance(examples, dict):
            return {name: array[:count] for name, array in examples.items()}
        return examples[np.arange(len(examples))[:count]]

    def annotations(self, split: str) -> dict[str, np.ndarray]:
        """Every field of a split but the images, (N, ...) each; of a streamed one they are read from its files."""
        examples = self.splits[split]
        names = [name for name, field in self.fields.items() if field.kind != "image"]
        if isinstance(examples, dict):
            return {name: examples[name] for name in names}
        rows = [examples.read_annotations(index) for index in range(len(examples))]
        return {name: np.stack([row[name] for row in rows]) for name in names}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C), the same for every image of every split."""
        height, width, channels = next(iter(self.splits.values()))["image"].shape[1:]
        return height, width, channels

    def shapes(self, crop: int = 0) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """`(shape, dtype)` of one example of each field that a device holds; captions are the host's alone.

        Args:
          crop: pixels a side of what is shown of streamed images; they have three channels.
        """
        split: Any = next(iter(self.splits.values()))
        held = {name: field.kind for name, field in self.fields.items() if field.kind not in ON_HOST}
        if not self.streamed:
            return {name: (split[name].shape[1:], split[name].dtype) for name in held}
        known = {
            "image": ((crop, crop, 3), np.dtype(np.uint8)),
            "label_map": ((crop, crop), np.dtype(np.uint8)),
            "label": ((), np.dtype(np.int32)),
        }
        padded = {name for name, kind in held.items() if kind not in known}
        example = split.read(0) if padded else {}
        return {
            name: (example[name].shape, example[name].dtype) if name in padded else known[kind]
            for name, kind in held.items()
        }


def class_numbers(count: int) -> tuple[str, ...]:
    """Names for classes that have none: "0", "1", ..."""
    return tuple(map(str, range(count)))


def require_fields(name: str, fields: Iterable[str] | None, there: Mapping[str, T]) -> dict[str, T]:
    """Those of the fields of dataset `name`, all where it is None; raises DataError where there is no such field."""
    for field in fields or ():
        if field not in there:
            raise DataError(f"dataset {name!r} has no field {field!r}; its fields are {', '.join(there)}")
    return {field: there[field] for field in fields or there}


def select(examples: Any, indices: np.ndarray) -> Any:
    """These examples of a split alone, in this order, as what the split is."""
    if isinstance(examples, dict):
        return {field: array[indices] for field, array in examples.items()}
    return examples[indices]


def fingerprint(splits: dict[str, dict[str, np.ndarray]]) -> str:
    """First 16 hex digits of the SHA-256 of all arrays with their names, dtypes and shapes, in order of name."""
    digest = hashlib.sha256()
    for split, arrays in sorted(splits.items()):
        for key, array in sorted(arrays.items()):
            digest.update(f"{split}/{key} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def hold_out(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits the indices of a training split in two: (what remains, `count` held-out examples), both in old order.

    Which examples are held out depends on `count` and the size of the split alone, never on a run's seed, so that the
    validation errors of different seeds and machines are of the same images. `RandomState` rather than a `Generator`
    because NumPy has frozen its stream for good (NEP 19).
    """
    order = np.random.RandomState(0).permutation(size)
    return np.sort(order[count:]), np.sort(order[:count])


def hold_out_validation(dataset: Dataset, count: int) -> Dataset:
    """The data set with so many of its training examples as split `validation`; itself where they are 0.

    They take the place of validation images of its own, which is noted. Raises DataError where none is left.
    """
    if not count:
        return dataset
    notes, size = dataset.notes, dataset.count("train")
    if "validation" in dataset.splits:
        notes += (f"its own validation images are left out: {count} training images are validated on",)
    if count >= size:
        raise DataError(f"validation={count} leaves nothing to train on: {dataset.name!r} has {size} examples")
    train, held = (select(dataset.splits["train"], part) for part in hold_out(size, count))
    return replace(dataset, splits=dataset.splits | {"train": train, "validation": held}, notes=notes)


def hold_out_by_class(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """As `hold_out`, of each class its share, in whole examples: at least one, and not all; of one example none.

    Args:
      labels: (N,) of the examples.
      share: between 0 and 1.
    """
    parts = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        count = min(max(1, round(share * len(own))), len(own) - 1)
        parts.append([own[part] for part in hold_out(len(own), count)])
    kept, held = (np.sort(np.concatenate(part)) for part in zip(*parts, strict=True))
    return kept, held


def draw(dataset: Dataset, count: int, seed: int) -> Dataset:
    """The data set with `count` of its training examples, in random order; its other splits stay.

    The classes of the field `label`, where there is one, have the proportions they have among all, as far as numbers
    allow, and the examples of a smaller count are among those of a larger: what is drawn is the beginning of one
    order, a function of the seed.

    Raises:
      DataError: there are fewer.
    """
    train, size = dataset.splits["train"], dataset.count("train")
    if not 1 <= count <= size:
        raise DataError(f"train_examples={count}: {dataset.name!r} has {size} to train on")
    order = np.random.default_rng([seed, size]).permutation(size)
    if "label" in dataset.fields:
        labels = train["label"][order]
        place = np.empty(size)  # in its class, as a fraction of the class
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            place[own] = (np.arange(len(own)) + 0.5) / len(own)
        order = order[np.argsort(place, kind="stable")]
    splits = dataset.splits | {"train": select(train, order[:count])}
    return replace(dataset, splits=splits, fingerprint=fingerprint(splits))
