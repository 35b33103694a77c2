"""Early stopping: training ends where the validation error has not fallen for a while, and goes back to its lowest.

Algorithm 7.1 of Goodfellow, Bengio & Courville 2016 (https://www.deeplearningbook.org/contents/regularization.html).
"""

from collections.abc import Sequence
from typing import Any


def best(metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line of metrics.jsonl with the lowest validation error, of equals the first."""
    return min(metrics, key=lambda line: line["validation_error"])


def is_over(metrics: Sequence[dict[str, Any]], patience: int) -> bool:
    """Whether the last `patience` evaluations were no better than one before them; a patience of 0 has no end."""
    return bool(patience) and len(metrics) > patience and best(metrics) not in metrics[-patience:]
