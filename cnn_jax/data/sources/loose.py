"""Image files that are no data set: named one by one, by a pattern, or by the folder that they are in."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cnn_jax.data.dataset import AS_STORED, DataError, Decoding
from cnn_jax.data.sources.folder import EXTENSIONS, ImageFiles


def find(places: Iterable[str]) -> list[str]:
    """Paths of the image files at these places, in their order, each once.

    Args:
      places: files, whatever they are called; folders, of which the images at any depth are taken, in the order of
        their paths; patterns such as `shots/*.jpg`, whose matches are taken likewise; or several of them with commas
        between. What is hidden is left out of folders and patterns, and so is what has no image's extension.

    Raises:
      DataError: nothing is there, or no image.
    """
    found: list[str] = []
    for given in places:
        for place in [given] if os.path.exists(given) else given.split(","):
            paths = list(images_at(os.path.expanduser(place)))
            if not paths:
                raise DataError(
                    f"{place} has no images: files, folders and patterns are taken, {', '.join(EXTENSIONS)}"
                )
            found += paths
    return list(dict.fromkeys(found))


def images_at(place: str) -> Iterator[str]:
    """The paths of one place, see `find`."""
    if os.path.isfile(place):
        yield place
        return
    inside = f"{glob.escape(place)}/**" if os.path.isdir(place) else place
    for path in sorted(glob.iglob(inside, recursive=True)):
        if path != place and os.path.isdir(path) and not os.path.isdir(place):
            yield from images_at(path)
        elif path.lower().endswith(EXTENSIONS) and os.path.isfile(path):
            yield path


def parent(path: str) -> str:
    """The name of the folder that a file is in."""
    return os.path.basename(os.path.dirname(os.path.abspath(path)))


def open_files(paths: Sequence[str], class_names: Sequence[str], decoding: Decoding = AS_STORED) -> ImageFiles:
    """The files as a split, each with the class its folder is named after as its label, -1 where there is none such."""
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = np.array([numbers.get(parent(path), -1) for path in paths], np.int32)
    return ImageFiles("", np.array([os.fsencode(path) for path in paths]), labels, decoding)
