"""Sets whose sizes are known, for plans where they are not at hand: of the TFDS catalogue."""

from dataclasses import dataclass

from cnn_jax.data.dataset import Dataset, Field, class_numbers

# https://www.tensorflow.org/datasets/catalog/imagenet2012, and so on: train, test (their split `validation`), classes;
# and bytes of the archives: TFDS's own checksum files, of imagenet2012 those of image-net.org for train and val.
SIZES = {
    "imagenet2012": (1_281_167, 50_000, 1000, 147_897_477_120 + 6_744_924_160),
    "imagenette": (9_469, 3_925, 10, 1_557_161_267),
    "imagewang": (14_669, 3_929, 20, 2_900_347_689),
    "food101": (75_750, 25_250, 101, 4_996_278_331),
}


@dataclass(frozen=True)
class Absent:
    """A split of which the size alone is known: examples, and the bytes of one, the mean of the set."""

    size: int
    bytes_each: float

    def __len__(self) -> int:
        return self.size


def absent(name: str) -> Dataset | None:
    """The sizes of a set that is not at hand; None where they are not known."""
    if name not in SIZES:
        return None
    train, test, classes, archives = SIZES[name]
    each = archives / (train + test)
    fields = {"image": Field("image"), "label": Field("label", class_numbers(classes))}
    return Dataset(name, {"train": Absent(train, each), "test": Absent(test, each)}, fields, "absent")
