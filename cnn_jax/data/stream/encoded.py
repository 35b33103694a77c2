"""What a split of a streamed data set is."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np

from cnn_jax.data.dataset import Decoding


class Encoded(Protocol):
    """A split of encoded images; it can be sent to other processes, which open the files for themselves."""

    @property
    def kinds(self) -> Mapping[str, str]:
        """The kind of each field, see `dataset.Field`."""

    @property
    def decoding(self) -> Decoding:
        """How its images become pixels."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Self:
        """The split of these examples alone, in this order."""

    def read(self, index: int) -> dict[str, Any]:
        """An example's fields: `image` encoded, bytes, the others as arrays of numpy. Raises DataError."""

    def read_annotations(self, index: int) -> dict[str, Any]:
        """The same without the image. Raises DataError."""

    def name(self, index: int) -> str:
        """Where the image is, for people."""
