"""The contract between a learning problem and the engine."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Headline(NamedTuple):
    """The number by which a task's networks are compared and chosen.

    Attributes:
      metric: its name among the task's metrics, `error` for instance.
      label: what people call it, in tables, figures and sentences; empty is `metric`.
      unit: `%` is a fraction, told in percent; anything else stands behind the number.
      higher_is_better: its direction.
      margin: the smallest difference that counts in a claim, half a percentage point of a fraction.
    """

    metric: str
    label: str = ""
    unit: str = "%"
    higher_is_better: bool = False
    margin: float = 0.005

    @property
    def title(self) -> str:
        return self.label or self.metric

    @property
    def scale(self) -> float:
        """What a value is multiplied by where it is told: 100 of a fraction."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def worse(self) -> str:
        """`higher` or `lower`: what a worse value is than another."""
        return "lower" if self.higher_is_better else "higher"

    @property
    def axis(self) -> str:
        """What stands beside an axis: `error (%)`."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def best(self) -> str:
        """`lowest` or `highest`."""
        return "highest" if self.higher_is_better else "lowest"

    def name(self, split: str) -> str:
        """`test_error`: the headline's name among a run's numbers."""
        return f"{split}_{self.metric}"

    def format(self, value: float | None) -> str:
        """`12.30%`, `21.30 dB`; `none` where there is no number."""
        if value is None:
            return "none"
        return f"{value:.2%}" if self.unit == "%" else f"{value:.2f} {self.unit}".rstrip()

    def cost(self, value: float | None) -> float:
        """What is lower the better the value is; no number is the worst."""
        if value is None or math.isnan(value):
            return math.inf
        return -value if self.higher_is_better else value


ERROR = Headline("error")
"""That of classification, and of every run that older versions made."""


class Task(NamedTuple):
    """A learning problem as pure functions.

    A batch is a dict of arrays whose first axis is the example: the fields of the data set; in training `slot` (B,), an
    example's place in the whole batch, and `key` (B,), its PRNG key; in evaluation `mask` (B,), False for padding.

    Attributes:
      init: `(key, batch) -> variables`; the batch may be abstract, the variables may be numpy. Not traced.
      loss: `(variables, batch, key) -> (scalar, (model_state, sums))`, the scalar a mean over the batch's examples, so
        that devices and parts of a batch are averaged; `sums`, over the examples, are by the names below.
      evaluate: `(variables, batch) -> sums` over the batch's real examples; an evaluation that asks for other sums
        (`train.evaluate`) may be given them by another function of this kind.
      sums: names of the sums, `count` among them, which the others are divided by: the metrics that are means.
      headline: the metric that decides.
      unit: what an example is called.
      evaluation_sums: names of the sums of `evaluate` where they are others than those of `loss`; empty is the same.
      facts: what result.json is to hold of the network itself, for instance its multiply-accumulates; asked at the end.
      network: what a user of the trained network has to know beside its variables, as JSON knows it; asked when the run
        begins, and kept in its folder. Empty where there is nothing.
      outputs: `(variables, batch) -> {name: (B, ...)}` for metrics that are no means; None where there are none.
      score: `(outputs, annotations) -> {metric: number}` on the host, of a whole split: the outputs (N, ...) of every
        example once, in the order of the split, and the split's fields but the image, likewise.
      frozen: `(params) -> ` a tree like them, True for those that training leaves as they begin, which is what the
        setting optim.frozen asks for; `loss` has what it says of them to itself, batch norm in evaluation for instance.
        None where nothing is frozen.
    """

    init: Callable[..., Any]
    loss: Callable[..., Any]
    evaluate: Callable[..., Any]
    sums: tuple[str, ...]
    headline: Headline
    unit: str
    evaluation_sums: tuple[str, ...] = ()
    facts: Callable[[], dict[str, Any]] = dict
    network: Callable[[], dict[str, Any]] = dict
    outputs: Callable[..., Any] | None = None
    score: Callable[..., dict[str, float]] | None = None
    frozen: Callable[[Any], Any] | None = None

    @property
    def means(self) -> tuple[str, ...]:
        """The names of the sums of an evaluation."""
        return self.evaluation_sums or self.sums
