"""Early stopping: training ends where the validation headline stays worse for a while, and goes back to its best.

Algorithm 7.1 of Goodfellow, Bengio & Courville 2016 (https://www.deeplearningbook.org/contents/regularization.html).
"""

from collections.abc import Sequence
from typing import Any

from cnn_jax.train.task import Headline


def best_evaluation(metrics: Sequence[dict[str, Any]], headline: Headline, split: str = "validation") -> dict[str, Any]:
    """The line of metrics.jsonl with the split's best headline, of equals the first.

    An older version had no validation images of a folder's own: what it began has lines without them.
    """
    measured = [line for line in metrics if headline.name(split) in line]
    return min(measured, key=lambda line: headline.cost(line[headline.name(split)]))


def should_stop(metrics: Sequence[dict[str, Any]], patience: int, headline: Headline) -> bool:
    """Whether the last `patience` evaluations were no better than one before them; a patience of 0 has no end."""
    return bool(patience) and len(metrics) > patience and best_evaluation(metrics, headline) not in metrics[-patience:]
