"""Digits: 1,797 real handwritten digits of 8x8 pixels, for runs that take seconds and need no network.

Source: the test half of "Optical Recognition of Handwritten Digits", Alpaydin and Kaynak 1998, UCI Machine Learning
Repository (CC BY 4.0), as scikit-learn ships it. Every fifth image, by scikit-learn's index, is a test image.
"""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

GREYS = 16  # a pixel counts the dark pixels of a 4x4 block of the scanned bitmap, so it lies in 0..16


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Pixels in 0..16, of any shape, to uint8 0..255; `round(v * 16 / 255)` brings them back exactly."""
    return np.round(pixels * 255 / GREYS).astype(np.uint8)


def split(test: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(index, images, labels)` of the test or training digits: scikit-learn's index, uint8 (N, 8, 8), int (N,)."""
    from sklearn.datasets import load_digits  # takes two seconds to import, and is needed once a machine

    images, labels = load_digits(return_X_y=True)
    index = np.flatnonzero((np.arange(len(labels)) % 5 == 0) == test)
    return index, to_uint8(images[index]).reshape(-1, 8, 8), labels[index]


class Digits(tfds.core.GeneratorBasedBuilder):
    """Images uint8 (8, 8, 1) and ten classes: 1,437 to train on and 360 to test on."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Every fifth image by index (0, 5, 10, ...) is a test image."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {"image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download
        return {"train": self._generate_examples(test=False), "test": self._generate_examples(test=True)}

    def _generate_examples(self, test: bool):
        for index, image, label in zip(*split(test), strict=True):
            png = io.BytesIO()  # encoded here, because TFDS encodes an array with TensorFlow
            Image.fromarray(image).save(png, "png")
            yield int(index), {"image": png.getvalue(), "label": int(label)}
