"""The contract between a learning problem and the engine."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Task(NamedTuple):
    """A learning problem as three pure functions.

    A batch is a dict of arrays whose first axis is the example: the fields of the data set; in training `slot` (B,), an
    example's place in the whole batch, and `key` (B,), its PRNG key; in evaluation `mask` (B,), False for padding.

    Attributes:
      init: `(key, batch) -> variables`; the batch may be abstract, the variables may be numpy. Not traced.
      loss: `(variables, batch, key) -> (scalar, (model_state, sums))`, the scalar a mean over the batch; `sums` adds
        `loss` and `error` over the examples, with their `count`.
      evaluate: `(variables, batch) -> sums` over the batch's real examples, `loss`, `error` and `count`; an evaluation
        that asks for more sums (`train.evaluate`) may be given them by another function of this kind.
      unit: what an example is called.
      facts: what result.json is to hold of the network itself, for instance its multiply-accumulates; asked at the end.
    """

    init: Callable[..., Any]
    loss: Callable[..., Any]
    evaluate: Callable[..., Any]
    unit: str
    facts: Callable[[], dict[str, Any]] = dict
