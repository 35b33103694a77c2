"""Images that cannot be decoded, found by trying all of them once."""

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
from tqdm import tqdm

from cnn_jax.data.dataset import DataError, Dataset
from cnn_jax.data.picture import decode, open_image
from cnn_jax.data.stream.encoded import Encoded


def leave_out(dataset: Dataset, progress: bool) -> Dataset:
    """The dataset without the images that cannot be decoded, which `damaged` names.

    What was found is kept under $XDG_CACHE_HOME/cnn_jax, by the dataset's fingerprint, how it is decoded and by which
    Pillow, so that trying all of them is done once.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cnn_jax" / "damaged"
    tried = dataset.fingerprint, *(tuple(images.decoding) for images in dataset.splits.values()), PIL.__version__
    found = cache / f"{hashlib.sha256(repr(tried).encode()).hexdigest()[:16]}.json"
    try:
        bad = json.loads(found.read_text())
    except (OSError, ValueError):
        bad = {split: unreadable(images, split, progress) for split, images in dataset.splits.items()}
        cache.mkdir(parents=True, exist_ok=True)
        temporary = found.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(bad))
        temporary.replace(found)
    names = tuple(images.name(index) for split, images in dataset.splits.items() for index in bad[split])
    if not names:
        return dataset
    splits = {s: images[np.setdiff1d(np.arange(len(images)), bad[s])] for s, images in dataset.splits.items()}
    without = hashlib.sha256((dataset.fingerprint + json.dumps(bad)).encode()).hexdigest()[:16]
    return replace(dataset, splits=splits, fingerprint=without, damaged=names)


def unreadable(images: Encoded, split: str, progress: bool) -> list[int]:
    """Which images of a split cannot be decoded."""

    def fails(index: int) -> bool:
        try:
            name = images.name(index)
            decode(open_image(images.read(index)["image"], name), name, images.decoding)
        except DataError:
            return True
        return False

    shown = progress and sys.stderr.isatty()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tried = tqdm(
            pool.map(fails, range(len(images))), f"trying {split}", len(images), unit=" images", disable=not shown
        )
        return [index for index, failed in enumerate(tried) if failed]
