"""Image folders: `train/<class>/*`, and likewise to test and to validate on; their images are always streamed.

What is a split is told by the names of its folder, in letters of either case: see TRAIN, TEST and VALIDATION. With a
folder of TEST, one of VALIDATION is the split `validation`; without, it is the split `test`, as it is where the images
of TEST lie in no class. Class folders directly in the root are all there is to train on, and of those the request holds
out a share to test on.

Which files are images of which class is as torchvision's ImageFolder has it: those of the endings, however deep below
the class's folder, symbolic links followed; but for what is hidden, which ImageFolder takes for classes and images.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cnn_jax.data.dataset import (
    DataError,
    Dataset,
    Decoding,
    Field,
    Request,
    fingerprint,
    hold_out_by_class,
    require_fields,
)

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
EXTENSIONS += (".jp2", ".j2k", ".avif")
TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation")
SHOWN = 3  # of what is left out, of however many
LeftOut = dict[str, list[str]]
"""Why -> what, below the root."""


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
    decoding: Decoding

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

    def read_annotations(self, index: int) -> dict[str, Any]:
        return {"label": self.labels[index]}

    def name(self, index: int) -> str:
        return os.path.join(self.folder, os.fsdecode(self.paths[index]))


class Layout(NamedTuple):
    """The folders below which there are class folders; of a root of class folders, `train` is the root itself."""

    train: Path
    test: Path | None = None
    validation: Path | None = None


def has(name: str, folder: str) -> bool:
    """Whether `folder/name` holds `train/` or class folders with images; TFDS's own sets have another layout."""
    return find_layout(Path(folder, name)) is not None


def find_layout(root: Path) -> Layout | None:
    """Where the splits are; None where it is no image folder."""
    if not root.is_dir():
        return None
    folders = {entry.name.lower(): Path(entry) for entry in visible(root) if entry.is_dir()}
    train, test, validation = (
        next((folders[name] for name in names if name in folders), None) for names in (TRAIN, TEST, VALIDATION)
    )
    if train is not None:
        return Layout(train, test, validation)
    return Layout(root) if any(map(has_images, folders.values())) else None


def has_images(folder: Path) -> bool:
    """Whether there is an image in the folder itself."""
    return any(map(is_image, visible(folder)))


def visible(folder: Path, root: Path | None = None, left: LeftOut | None = None) -> Iterator[os.DirEntry]:
    """The entries by name that are not hidden; those that are, below the root, are added to what is left out.

    Raises DataError where the folder cannot be read.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}); make it readable, or take it away") from error
    for entry in entries:
        if not is_hidden(entry.name):
            yield entry
        elif left is not None and root is not None:
            left["hidden"].append(relative(entry.path, root))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is there for a program, such as .ipynb_checkpoints, and not for people."""
    return name.startswith(".") or name == "__MACOSX"


def is_image(entry: os.DirEntry) -> bool:
    return entry.name.lower().endswith(EXTENSIONS) and not entry.is_dir()


def load(request: Request) -> Dataset:
    """The images of `folder/name`, none of which is opened, with their class as `label`.

    Classes are the folders of `train`, numbered in the order of their names; files are in the order of theirs. What is
    left out is counted in the dataset's notes.

    Raises:
      DataError: not streamed; a split, a class or its images are missing, there is one class alone, or another split
        has a class that `train` has not; a share is to be held out and there is a split to test on.
    """
    root, left = Path(request.folder, request.name), defaultdict(list)
    if request.streamed is False:
        raise DataError(
            f"{root} holds images of any size, and this wants them in memory, of one: train, evaluate, predict and "
            "dataset take them, and data.load where they are streamed"
        )
    kinds = require_fields(request.name, request.fields, ImageFiles.kinds)
    found, notes = choose_splits(root, request.test_share)
    if found["train"] != root:
        others = {entry.name for entry in visible(root, root, left)} - {place.name for place in found.values()}
        left["of no split"] += sorted(others)
    classes = find_classes(root, found, left)
    files = {split: list_images(root, place, classes, left) for split, place in found.items()}
    empty = set(range(len(classes))) - {label for _, _, label in files["train"]}
    if empty:
        raise DataError(f"{found['train'] / classes[min(empty)]} has no images; put some there, or take it away")
    columns = {split: arrays(rows) for split, rows in files.items()}
    if request.test_share:
        parts = zip(("train", "test"), hold_out_by_class(columns["train"]["label"], request.test_share), strict=True)
        columns = {split: {key: array[part] for key, array in columns["train"].items()} for split, part in parts}
    splits = {
        split: ImageFiles(
            str(found.get(split, found["train"]).absolute()), rows["path"], rows["label"], request.decoding
        )
        for split, rows in columns.items()
    }
    notes += describe_classes(classes, {split: rows["label"] for split, rows in columns.items()})
    notes += [f"left out, {why}: {len(what):,} ({shorten(what)})" for why, what in left.items() if what]
    fields = {"image": Field("image"), "label": Field("label", tuple(classes))}
    fields = {name: fields[name] for name in kinds}
    return Dataset(request.name, splits, fields, fingerprint(columns), notes=tuple(notes))


def choose_splits(root: Path, test_share: float) -> tuple[dict[str, Path], list[str]]:
    """`({"train": folder, ...}, notes)`; no `test` where a share is held out for it. Raises DataError."""
    layout = find_layout(root)
    assert layout is not None  # or another source had been asked
    train, test, validation, notes = *layout, []
    if test is not None and has_images(test) and not any(entry.is_dir() for entry in visible(test)):
        unlabelled = f"the images of {test} are in no class folder"
        if validation is None and not test_share:
            raise DataError(
                f"{unlabelled}, and cannot tell an error: put them in {test}/<class>/, or rename that folder and hold "
                "out a share of each class, as --test_share=0.2"
            )
        notes.append(f"{unlabelled}, and left out")
        test = None
    if test is None:
        test, validation = validation, None
    if test_share and test is not None:
        raise DataError(f"data.test_share={test_share:g}: {root} has images to test on, in {test}; leave it out")
    if test is None and not test_share:
        advice = "hold out a share of each class to test on, as --test_share=0.2"
        if train == root:
            raise DataError(f"{root} has class folders alone, and no images to test on: {advice}")
        raise DataError(
            f"{root} has no images to test on: make {root / 'test'}/<class>/, as {train.name}/ is, or {advice}"
        )
    places = {"train": train, "test": test, "validation": validation}
    return {split: place for split, place in places.items() if place is not None}, notes


def find_classes(root: Path, found: dict[str, Path], left: LeftOut) -> list[str]:
    """The class folders of `train`, by name; raises DataError where they are none, one, or not those of all splits."""
    folders = {}
    for split, place in found.items():
        entries = list(visible(place, root, left))
        folders[split] = [entry.name for entry in entries if entry.is_dir()]
        left["beside the class folders"] += [relative(entry.path, root) for entry in entries if not entry.is_dir()]
    train, classes = found["train"], folders["train"]
    if not classes:
        raise DataError(f"{train} has no classes: images are expected in {train.name}/<class>/")
    for split, names in folders.items():
        for name in names:
            if name not in classes:
                near = [one for one in classes if one.lower() == name.lower()]
                raise DataError(
                    f"{found[split] / name}: {train} has no such class{f', it has {near[0]}' if near else ''}; "
                    "rename the one, or take it away"
                )
    if len(classes) == 1:
        raise DataError(
            f"{train} has one class alone, {classes[0]}, and nothing to tell it from: make a folder a class"
        )
    return classes


def list_images(root: Path, place: Path, classes: list[str], left: LeftOut) -> list[tuple[bytes, int, int]]:
    """`(path below the split's folder, bytes, label)` of the images of a split; raises DataError where it has none."""
    found = []
    for label, one in enumerate(classes):
        for entry in walk(place / one, root, left):
            if entry.name.lower().endswith(EXTENSIONS):
                found.append((os.fsencode(entry.path.removeprefix(f"{place}{os.sep}")), size_of(entry), label))
            else:
                left["no images by their endings"].append(relative(entry.path, root))
    if not found:
        raise DataError(f"{place} has no images: {', '.join(EXTENSIONS)} are expected in {place.name}/<class>/")
    return found


def walk(folder: Path, root: Path, left: LeftOut) -> Iterator[os.DirEntry]:
    """The files of a folder, then those of the folders in it, by name, links followed, less what is hidden.

    A link back to a folder that it lies in, which has no end, is left out.
    """
    folders = []
    for entry in visible(folder, root, left) if folder.is_dir() else ():
        if not entry.is_dir():
            yield entry
        elif entry.is_symlink() and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(entry)):
            left["links back to a folder they lie in"].append(relative(entry.path, root))
        else:
            folders.append(Path(entry))
    for one in folders:
        yield from walk(one, root, left)


def size_of(entry: os.DirEntry) -> int:
    """In bytes; 0 of a link to nothing, which is an error when it is read."""
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def relative(path: str, root: Path) -> str:
    return os.path.relpath(path, root)


def arrays(rows: list[tuple[bytes, int, int]]) -> dict[str, np.ndarray]:
    paths, sizes, labels = zip(*rows, strict=True)
    return {"path": np.array(paths), "size": np.array(sizes), "label": np.array(labels, np.int32)}


def describe_classes(classes: list[str], labels: dict[str, np.ndarray]) -> list[str]:
    """What may not be as it was meant: classes that differ by case alone, and those without an image in a split."""
    by_name = defaultdict(list)
    for one in classes:
        by_name[one.lower()].append(one)
    notes = [f"classes {' and '.join(same)} differ by case alone, and are two" for same in by_name.values() if same[1:]]
    for split, present in labels.items():
        absent = [classes[label] for label in sorted(set(range(len(classes))) - set(present.tolist()))]
        if absent:
            notes.append(f"{split} has no images of {len(absent)} of {len(classes)} classes ({shorten(absent)})")
    return notes


def shorten(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
