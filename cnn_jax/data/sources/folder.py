"""Images that stay where they are until they are needed: encoded, in files of their own."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from cnn_jax.data.dataset import DataError, Dataset, fingerprint

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff", ".gif")
TEST_SPLITS = ("test", "val", "validation")


class Encoded(Protocol):
    """A split of encoded images; it can be sent to other processes, which open the files for themselves."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Self:
        """The split of these examples alone, in this order."""

    def read(self, index: int) -> tuple[bytes, int]:
        """The encoded image and its label; raises DataError where it cannot be read."""

    def name(self, index: int) -> str:
        """Where the image is, for people."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Files below a folder.

    Attributes:
      folder: absolute.
      paths: of each file below it, bytes (N,); an array takes a tenth of what a list of strings does.
      labels: int32 (N,).
    """

    folder: str
    paths: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: np.ndarray) -> "ImageFiles":
        return replace(self, paths=self.paths[indices], labels=self.labels[indices])

    def read(self, index: int) -> tuple[bytes, int]:
        try:
            with open(self.name(index), "rb") as file:
                return file.read(), int(self.labels[index])
        except OSError as error:
            raise DataError(
                f"{self.name(index)} cannot be read ({error.strerror}); put it back, or add --skip_damaged"
            ) from error

    def name(self, index: int) -> str:
        return os.path.join(self.folder, os.fsdecode(self.paths[index]))


def find(name: str, data_dir: str) -> Path | None:
    """`data_dir/name`, where it holds `train/<class>/`; TFDS's own sets have another layout."""
    folder = Path(data_dir) / name
    return folder if (folder / "train").is_dir() else None


def load(name: str, folder: Path) -> Dataset:
    """The image folder `train/<class>/*`, and `test`, `val` or `validation` likewise, without opening an image.

    Classes are the folders of `train`, numbered in the order of their names; files are in the order of theirs.

    Raises:
      DataError: a split, a class or its images are missing, or `test` has a class that `train` has not.
    """
    test = next((split for split in TEST_SPLITS if (folder / split).is_dir()), None)
    if test is None:
        raise DataError(f"{folder} has no images to test on: make {folder / 'test'}/<class>/, as train/ is")
    classes = sorted(entry.name for entry in os.scandir(folder / "train") if entry.is_dir())
    if not classes:
        raise DataError(f"{folder / 'train'} has no classes: images are expected in train/<class>/")
    if unknown := {entry.name for entry in os.scandir(folder / test) if entry.is_dir()} - set(classes):
        raise DataError(f"{folder / test / min(unknown)}: {folder / 'train'} has no such class")
    splits, sizes = {}, {}
    for split, place in (("train", "train"), ("test", test)):
        found = [(path, size, label) for label, one in enumerate(classes) for path, size in files(folder / place, one)]
        if not found:
            raise DataError(f"{folder / place} has no images: {', '.join(EXTENSIONS)} are expected in {place}/<class>/")
        paths, lengths, labels = zip(*found, strict=True)
        splits[split] = ImageFiles(str((folder / place).absolute()), np.array(paths), np.array(labels, np.int32))
        sizes[split] = {"path": splits[split].paths, "size": np.array(lengths), "label": splits[split].labels}
    empty = set(range(len(classes))) - set(splits["train"].labels.tolist())
    if empty:
        raise DataError(f"{folder / 'train' / classes[min(empty)]} has no images; put some there, or take it away")
    return Dataset(name, splits, len(classes), fingerprint(sizes))


def files(folder: Path, one: str) -> Iterator[tuple[bytes, int]]:
    """`(path below the folder, bytes)` of the images of one class, by name."""
    if not (folder / one).is_dir():
        return
    with os.scandir(folder / one) as entries:
        images = sorted((e.name, e.stat().st_size) for e in entries if e.name.lower().endswith(EXTENSIONS))
    for image, size in images:
        yield os.fsencode(os.path.join(one, image)), size
