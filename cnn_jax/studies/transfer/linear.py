"""The linear way: multinomial logistic regression on features, its strength chosen on held-out training examples."""

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""scikit-learn's C: what the summed cross entropy counts beside 1/2 |w|^2."""
ALONE = 1e-2
"""That of one example a class, of which none can be held out."""
FOLDS = 5
STEPS = 100


class Fit(NamedTuple):
    """A regression, fitted.

    Attributes:
      train_error, test_error: fractions.
      held_out_error: of the strength that was chosen, refitted without the examples it is of; None of one example.
      strength: which that was.
      said: int (N,), the class said of each test example.
    """

    train_error: float
    test_error: float
    held_out_error: float | None
    strength: float
    said: np.ndarray


def fit(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Fit:
    """The regression on all training examples at the strength that errs least on those held out, of equals the weakest.

    Args:
      train, test: features, (N, D) and (M, D); each is standardised by the training rows.
      labels, test_labels: int (N,) and (M,).
    """
    with threadpool_limits(1):  # products of a few hundred rows: a second thread waits longer than it helps
        train, test = rotate(*standardise(train, test))
        held_out = {} if np.bincount(labels).max() < 2 else validate(train, labels)
        strength = min(held_out, key=lambda one: (held_out[one], one), default=ALONE)
        model = regress(train, labels, strength)
        said = model.predict(test)
    errors = [
        float(np.mean(predicted != true)) for predicted, true in ((model.predict(train), labels), (said, test_labels))
    ]
    return Fit(errors[0], errors[1], held_out.get(strength), strength, said)


def standardise(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Each less the mean of the training rows, divided by their deviation; float32."""
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 1e-6, deviation, 1.0)
    return [((rows - mean) / scale).astype(np.float32) for rows in (train, *others)]


def rotate(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """The same in the coordinates of the training rows, of which there are no more than rows.

    The penalty |w|^2 does not change under rotation, and outside of what the rows span the best w is 0: the regression
    is the same, of a few hundred numbers in place of thousands.
    """
    if len(train) >= train.shape[1]:
        return [train, *others]
    # By the Gram matrix, N x N: a tenth of the time of the singular values of the rows themselves.
    squares, vectors = np.linalg.eigh(train.astype(np.float64) @ train.T.astype(np.float64))
    kept = squares > squares[-1] * 1e-9
    axes = (train.T @ (vectors[:, kept] / np.sqrt(squares[kept]))).astype(np.float32)
    return [rows @ axes for rows in (train, *others)]


def validate(train: np.ndarray, labels: np.ndarray) -> dict[float, float]:
    """By strength the error on the examples held out, a fifth of each class in turn."""
    wrong, seen = dict.fromkeys(STRENGTHS, 0), 0
    fold = assign_folds(labels)
    for index in range(FOLDS):
        kept, held = fold != index, fold == index
        if not held.any() or len(np.unique(labels[kept])) < 2:
            continue
        for strength in STRENGTHS:
            wrong[strength] += int(
                (regress(train[kept], labels[kept], strength).predict(train[held]) != labels[held]).sum()
            )
        seen += int(held.sum())
    return {strength: count / seen for strength, count in wrong.items()}


def assign_folds(labels: np.ndarray) -> np.ndarray:
    """A fold for each example, those of a class dealt out one by one."""
    fold = np.empty(len(labels), int)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        fold[own] = np.arange(len(own)) % FOLDS
    return fold


def regress(rows: np.ndarray, labels: np.ndarray, strength: float) -> LogisticRegression:
    """The minimum, by L-BFGS."""
    return LogisticRegression(C=strength, max_iter=STEPS, tol=1e-3).fit(rows, labels)
