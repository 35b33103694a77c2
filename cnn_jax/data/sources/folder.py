"""Image folders: `train/<class>/*` and `test`, `val` or `validation` likewise; their images are always streamed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cnn_jax.data.dataset import DataError, Dataset, Field, Request, fingerprint, require_fields
from cnn_jax.data.picture import AS_STORED, Decoding

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff", ".gif")
TEST_SPLITS = ("test", "val", "validation")


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """A `stream.Encoded` of files below a folder.

    Attributes:
      folder: absolute.
      paths: of each file below it, bytes (N,); an array takes a tenth of what a list of strings does.
      labels: int32 (N,).
      decoding: how the images become pixels.
    """

    kinds: ClassVar[dict[str, str]] = {"image": "image", "label": "label"}
    folder: str
    paths: np.ndarray
    labels: np.ndarray
    decoding: Decoding = AS_STORED

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: np.ndarray) -> "ImageFiles":
        return replace(self, paths=self.paths[indices], labels=self.labels[indices])

    def read(self, index: int) -> dict[str, Any]:
        try:
            with open(self.name(index), "rb") as file:
                return {"image": file.read(), "label": self.labels[index]}
        except OSError as error:
            raise DataError(
                f"{self.name(index)} cannot be read ({error.strerror}); put it back, or add --skip_damaged"
            ) from error

    def name(self, index: int) -> str:
        return os.path.join(self.folder, os.fsdecode(self.paths[index]))


def has(name: str, folder: str) -> bool:
    """Whether `folder/name` holds `train/<class>/`; TFDS's own sets have another layout."""
    return Path(folder, name, "train").is_dir()


def load(request: Request) -> Dataset:
    """The images of `folder/name`, none of which is opened, with their class as `label`.

    Classes are the folders of `train`, numbered in the order of their names; files are in the order of theirs.

    Raises:
      DataError: not streamed; a split, a class or its images are missing, or `test` has a class that `train` has not.
    """
    folder = Path(request.folder, request.name)
    if request.streamed is False:
        raise DataError(f"{folder} holds images of any size: give the size of the crops, as --set=data.crop=224")
    kinds = require_fields(request.name, request.fields, ImageFiles.kinds)
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
    fields = {"image": Field("image"), "label": Field("label", tuple(classes))}
    return Dataset(request.name, splits, {name: fields[name] for name in kinds}, fingerprint(sizes))


def files(folder: Path, one: str) -> Iterator[tuple[bytes, int]]:
    """`(path below the folder, bytes)` of the images of one class, by name."""
    if not (folder / one).is_dir():
        return
    with os.scandir(folder / one) as entries:
        images = sorted((e.name, e.stat().st_size) for e in entries if e.name.lower().endswith(EXTENSIONS))
    for image, size in images:
        yield os.fsencode(os.path.join(one, image)), size
