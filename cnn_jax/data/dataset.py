"""What a dataset is here: named splits of images and labels, whole in host memory or streamed from their files."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


class DataError(ValueError):
    """A problem with data that the user can put right; the message is one line: what is wrong and the way out."""


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: the arrays are large
class Dataset:
    """A labelled image dataset.

    Attributes:
      name: the name it was loaded by.
      splits: split name -> `{"image": uint8 (N, H, W, C), "label": int32 (N,)}`, labels in [0, num_classes), or where
        the dataset is streamed a `stream.Encoded`.
      num_classes: the number of classes of the label.
      fingerprint: 16 hex digits that change when any array of any split does, or any file's name or size.
      damaged: of a streamed dataset, what was left out.
    """

    name: str
    splits: dict[str, Any]
    num_classes: int
    fingerprint: str
    damaged: tuple[str, ...] = ()

    @property
    def streamed(self) -> bool:
        return not all(isinstance(split, dict) for split in self.splits.values())

    def count(self, split: str) -> int:
        """How many examples a split has."""
        return len(self.splits[split]) if self.streamed else len(self.splits[split]["label"])

    def first(self, split: str, count: int | None) -> Any:
        """The first `count` examples of a split, all where it is None, as what the split is."""
        examples = self.splits[split]
        if self.streamed:
            return examples[np.arange(len(examples))[:count]]
        return {name: array[:count] for name, array in examples.items()}

    def annotations(self, split: str) -> dict[str, np.ndarray]:
        """Every field of a split in memory but the image, (N, ...) each."""
        return {name: array for name, array in self.splits[split].items() if name != "image"}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C), the same for every image of every split."""
        height, width, channels = next(iter(self.splits.values()))["image"].shape[1:]
        return height, width, channels


def fingerprint(splits: dict[str, dict[str, np.ndarray]]) -> str:
    """First 16 hex digits of the SHA-256 of all arrays with their names, dtypes and shapes, in order of name."""
    digest = hashlib.sha256()
    for split, arrays in sorted(splits.items()):
        for key, array in sorted(arrays.items()):
            digest.update(f"{split}/{key} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def held_out(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits the indices of a training split in two: (what remains, `count` held-out examples), both in old order.

    Which examples are held out depends on `count` and the size of the split alone, never on a run's seed, so that the
    validation errors of different seeds and machines are of the same images. `RandomState` rather than a `Generator`
    because NumPy has frozen its stream for good (NEP 19).
    """
    order = np.random.RandomState(0).permutation(size)
    return np.sort(order[count:]), np.sort(order[:count])


def draw(dataset: Dataset, count: int, seed: int) -> Dataset:
    """The data set with `count` of its training examples, in random order; its other splits stay.

    The classes have the proportions they have among all, as far as numbers allow, and the examples of a smaller count
    are among those of a larger: what is drawn is the beginning of one order, a function of the seed.

    Raises:
      DataError: there are fewer.
    """
    train = dataset.splits["train"]
    size = len(train["label"])
    if not 1 <= count <= size:
        raise DataError(f"train_examples={count}: {dataset.name!r} has {size} to train on")
    order = np.random.default_rng([seed, size]).permutation(size)
    labels = train["label"][order]
    place = np.empty(size)  # in its class, as a fraction of the class
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    drawn = order[np.argsort(place, kind="stable")[:count]]
    splits = dataset.splits | {"train": {name: array[drawn] for name, array in train.items()}}
    return replace(dataset, splits=splits, fingerprint=fingerprint(splits))
