"""What a network answered, image by image, and what that says of its classes: confusions, accuracies, mistakes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LIKELIEST = 5
NONE = -1
"""In place of a class: the network's numbers were not finite, or nobody knows."""


class Answers(NamedTuple):
    """Of each of N images the likeliest classes, the likeliest first; k of them, at most five.

    Attributes:
      classes: int32 (N, k); -1 where the network's numbers were not finite.
      probabilities: float32 (N, k); NaN there.
      labels: int32 (N,), the true classes; -1 where they are not known.
      measures: `loss` in nats, `error` and from ten classes on `top5_error`, 0 or 1, float32 (N,) each; none where
        no labels are known.
      images_per_second: compiling left out.
    """

    classes: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray
    measures: Mapping[str, np.ndarray]
    images_per_second: float

    @property
    def said(self) -> np.ndarray:
        """The likeliest class of each, int32 (N,)."""
        return self.classes[:, 0]

    @property
    def means(self) -> dict[str, float]:
        """Those of the measures, with them `examples` and `images_per_second`."""
        means = {name: float(np.mean(values, dtype=np.float64)) for name, values in self.measures.items()}
        return means | {"examples": len(self.classes), "images_per_second": self.images_per_second}


def likeliest(log_probability: jax.Array) -> dict[str, jax.Array]:
    """`classes` and `probabilities` of (B, K), see Answers; of equal ones the lower class first, as `argmax` has it."""
    finite = jnp.isfinite(log_probability).all(axis=1, keepdims=True)
    logarithms, classes = jax.lax.top_k(log_probability, min(LIKELIEST, log_probability.shape[1]))
    return {
        "classes": jnp.where(finite, classes, NONE),
        "probabilities": jnp.where(finite, jnp.exp(logarithms), jnp.nan),
    }


def confusion(labels: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    """How many images of class i, the row, were said to be of class j: int64 (K, K), without those not answered."""
    answered = said != NONE
    cells = labels[answered].astype(np.int64) * classes + said[answered]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def accuracies(labels: np.ndarray, said: np.ndarray, classes: int) -> list[dict[str, Any]]:
    """For each class `examples`, `right`, and `accuracy`, a fraction, None where there is no example of it.

    An image without an answer is wrong. The accuracy is what others call the recall of the class.
    """
    examples = np.bincount(labels, minlength=classes).tolist()
    right = np.bincount(labels[labels == said], minlength=classes).tolist()
    return [
        {"examples": count, "right": good, "accuracy": good / count if count else None}
        for count, good in zip(examples, right, strict=True)
    ]


def most_confused(confused: np.ndarray, count: int) -> list[tuple[int, int, int]]:
    """`(true class, class said, images)` of the `count` most frequent confusions of (K, K), the most frequent first."""
    wrong = confused.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [(*divmod(int(cell), len(wrong)), int(wrong.flat[cell])) for cell in order]
    return [pair for pair in pairs if pair[2]]


def confident_mistakes(answers: Answers, count: int) -> np.ndarray:
    """Which images were said to be of a wrong class with the highest probability, the highest first."""
    wrong = np.flatnonzero((answers.said != answers.labels) & (answers.said != NONE))
    return wrong[np.argsort(-answers.probabilities[wrong, 0], kind="stable")][:count]
