"""Some of the classes of a data set, or some examples of each, as a data set of their own."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from cnn_jax.data.dataset import DataError, Dataset, Decoding, Field, fingerprint, hold_out_validation, select
from cnn_jax.data.stream.encoded import Encoded

SHOWN = 12  # of the names of classes, in a message


@dataclass(frozen=True, eq=False)
class Relabelled:
    """A `stream.Encoded` of another's images under labels of its own.

    Attributes:
      examples: the other.
      field: which label they are.
      labels: int32 (N,).
    """

    examples: Encoded
    field: str
    labels: np.ndarray

    @property
    def kinds(self) -> Mapping[str, str]:
        return self.examples.kinds

    @property
    def decoding(self) -> Decoding:
        return self.examples.decoding

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, indices: np.ndarray) -> "Relabelled":
        return Relabelled(self.examples[indices], self.field, self.labels[indices])

    def read(self, index: int) -> dict[str, Any]:
        return self.examples.read(index) | {self.field: self.labels[index]}

    def read_annotations(self, index: int) -> dict[str, Any]:
        return self.examples.read_annotations(index) | {self.field: self.labels[index]}

    def name(self, index: int) -> str:
        return self.examples.name(index)


def draw_of_each_class(dataset: Dataset, count: int, seed: int) -> Dataset:
    """The data set with `count` training examples of each class, see `choose_of_each_class`; its other splits stay."""
    chosen = choose_of_each_class(dataset, count, seed)
    digest = hashlib.sha256(f"{dataset.fingerprint} {chosen.tolist()}".encode()).hexdigest()[:16]
    splits = dataset.splits | {"train": select(dataset.splits["train"], chosen)}
    return replace(dataset, splits=splits, fingerprint=digest)


def choose_of_each_class(dataset: Dataset, count: int, seed: int) -> np.ndarray:
    """The indices of `count` training examples of each class, in random order; of all of them where it is 0.

    Those of a smaller count are among those of a larger: of each class they are the beginning of one order, a function
    of the seed. Of streamed images all labels are read.

    Raises:
      DataError: a class has fewer; the data set has no field `label`.
    """
    names, labels = dataset.class_names(), dataset.annotations("train")["label"]
    there = np.bincount(labels, minlength=len(names))
    if count > there.min():
        scarce = int(there.argmin())
        raise DataError(
            f"data.examples_per_class={count}: class {names[scarce]} of {dataset.name!r} has {there[scarce]} to train "
            "on; ask for as many or fewer"
        )
    order = np.random.default_rng([seed, len(labels)]).permutation(len(labels))
    chosen = np.concatenate([order[labels[order] == label][: count or None] for label in range(len(names))])
    return order[np.isin(order, chosen)]


def select_classes(dataset: Dataset, classes: Sequence[str], validation: int = 0) -> Dataset:
    """The examples of these classes alone, in their old order; their labels are places in `classes`, from 0.

    Args:
      dataset: with one label for each image; of streamed images all labels are read.
      classes: two or more, by name, or by number where no class has a number for a name.
      validation: how many of the training examples left to hold out as split `validation`, see `data.load`.

    Raises:
      DataError: an unknown class, one given twice or alone, a data set of other labels, a split that has none of them.
    """
    told = f"data.classes={','.join(classes)}"
    labels = [name for name, field in dataset.fields.items() if field.kind == "label"]
    if len(labels) != 1:
        raise DataError(f"{told}: {dataset.name!r} has no one label for each image; leave it out")
    (field,) = labels
    names = dataset.class_names(field)
    numbers = [find_class(dataset.name, name, names) for name in classes]
    twice = next((names[number] for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise DataError(f"{told}: class {twice} is there twice; leave one out")
    if len(numbers) == 1:
        raise DataError(f"{told}: one class alone, and nothing to tell it from; give two or more")
    place = np.full(len(names), -1, np.int32)
    place[numbers] = np.arange(len(numbers))
    splits = {split: select_labelled(dataset, split, field, place) for split in dataset.splits}
    fields = dataset.fields | {field: Field("label", tuple(names[number] for number in numbers))}
    digest = hashlib.sha256(f"{dataset.fingerprint} {field} {numbers}".encode()).hexdigest()[:16]
    chosen = replace(dataset, splits=splits, fields=fields, fingerprint=digest)
    empty = next((split for split in splits if not chosen.count(split)), None)
    if empty:
        raise DataError(f"{told}: split {empty!r} of {dataset.name!r} has no examples of them")
    chosen = hold_out_validation(chosen, validation)
    return chosen if dataset.streamed else replace(chosen, fingerprint=fingerprint(chosen.splits))


def find_class(dataset: str, name: str, names: Sequence[str]) -> int:
    """The number of a class by its name, or by itself where no name is a number; raises DataError."""
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(names) and not any(one.isdecimal() for one in names):
        return int(name)
    near = get_close_matches(name, names)
    listed = ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {listed}"
    raise DataError(f"data.classes: {dataset!r} has no class {name!r}; {hint}")


def select_labelled(dataset: Dataset, split: str, field: str, place: np.ndarray) -> Any:
    """The examples of a split whose label has a place, which becomes their label; -1 is none."""
    labels = place[dataset.annotations(split)[field]]
    kept = np.flatnonzero(labels >= 0)
    examples = select(dataset.splits[split], kept)
    if isinstance(examples, dict):
        return examples | {field: labels[kept]}
    return Relabelled(examples, field, labels[kept])
