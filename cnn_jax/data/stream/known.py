"""Sets whose sizes are known, for plans where they are not at hand: of the TFDS catalogue."""

from dataclasses import dataclass

from cnn_jax.data.dataset import Dataset

# https://www.tensorflow.org/datasets/catalog/imagenet2012, and so on: train, test (their split `validation`), classes
SIZES = {
    "imagenet2012": (1_281_167, 50_000, 1000),
    "imagenette": (9_469, 3_925, 10),
    "imagewang": (14_669, 3_929, 20),
    "food101": (75_750, 25_250, 101),
}


@dataclass(frozen=True)
class Absent:
    """A split of which the size alone is known."""

    size: int

    def __len__(self) -> int:
        return self.size


def absent(name: str) -> Dataset | None:
    """The sizes of a set that is not at hand; None where they are not known."""
    if name not in SIZES:
        return None
    train, test, classes = SIZES[name]
    return Dataset(name, {"train": Absent(train), "test": Absent(test)}, classes, "absent")
