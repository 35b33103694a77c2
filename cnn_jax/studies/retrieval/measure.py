"""What of a network retrieves best: chosen on training images, measured of test queries in the training images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data import Dataset, inputs
from cnn_jax.network import Network
from cnn_jax.retrieval import descriptors, scores
from cnn_jax.retrieval.baselines import BASELINES
from cnn_jax.retrieval.descriptors import Part
from cnn_jax.retrieval.scores import Scores
from cnn_jax.retrieval.search import expand
from cnn_jax.retrieval.whitening import Components, find_components, make_whitening
from cnn_jax.studies.retrieval.folds import quarters

DIMENSIONS = (32, 64, 128)
SHRINKAGES = (0.0, 0.5, 1.0)
SEVERAL = (2, 3, 4, 6)
"""Endpoints side by side, the best by the training images first."""


class Side(NamedTuple):
    """Images as they are searched or asked: pooled endpoints (N, C) a part, baselines (N, D), labels int (N,)."""

    pooled: Mapping[Part, np.ndarray]
    plain: Mapping[str, np.ndarray]
    labels: np.ndarray


class Choice(NamedTuple):
    """A descriptor: parts side by side, whitened to `dimensions` with `shrinkage`, or not where that is 0."""

    parts: tuple[Part, ...]
    dimensions: int = 0
    shrinkage: float = 0.0

    def __str__(self) -> str:
        name = "+".join(map(str, self.parts))
        if not self.dimensions:
            return name
        how = "PCA" if self.shrinkage == 1 else f"whitened, shrinkage {self.shrinkage:g},"
        return f"{name}, {how} to {self.dimensions}"


def describe(network: Network, dataset: Dataset, split: str, parts: Sequence[Part], **options: Any) -> Side:
    """A split of the data set as the network and the baselines describe it; options and errors of `Network.stream`."""
    examples = dataset.splits[split]
    images = examples["image"] if isinstance(examples, dict) else examples
    found = descriptors.gather(descriptors.describe(network, parts, images, **options), parts)
    shown = [network.show(image) for image in given(images)]
    plain = {name: baseline(shown) for name, baseline in BASELINES.items()}
    return Side(found.vectors, plain, dataset.annotations(split)["label"])


def given(images: Any) -> Sequence[Any]:
    """The images one by one."""
    listed = inputs.as_sequence(images)
    return [listed[place] for place in range(len(listed))]


def measure(database: Side, queries: Side, parts: Sequence[Part]) -> dict[str, Any]:
    """Every part, the baselines, and what the training images choose: the numbers of each query, as JSON knows them.

    Args:
      database: what is searched, the training images.
      queries: the test images.
      parts: those of both.

    Returns:
      `variants`, name -> {"average_precision": [a query each], "precision_1", "precision_10", "recall_10",
      "without", "duplicates"}; `validation`, mAP on the training images; `chosen`, the names of what they chose.
    """
    validation, single, whitened, several = choose(database, parts)
    variants = {str(part): (database.pooled[part], queries.pooled[part]) for part in parts}
    named = {name: [descriptors.normalize(side) for side in pair] for name, pair in variants.items()}
    named |= {name: [database.plain[name], queries.plain[name]] for name in BASELINES}
    for choice in dict.fromkeys((whitened, several)):
        named[str(choice)] = list(prepare(choice, database, queries))
    for choice in dict.fromkeys((single, whitened, several)):
        vectors, asked = named[str(choice)]
        named[f"{choice}, query expansion"] = [vectors, expand(vectors, asked)]
    measured = {
        name: record(scores.score(asked, queries.labels, vectors, database.labels))
        for name, (vectors, asked) in named.items()
    }
    vectors, asked = variants[str(single)]
    for measure_, title in (("euclid", "Euclid's distance"), ("dot", "inner product")):
        found = scores.score(asked, queries.labels, vectors, database.labels, measure=measure_)
        measured[f"{single}, length kept, {title}"] = record(found)
    return {
        "variants": measured,
        "validation": validation,
        "chosen": {"single": str(single), "whitened": str(whitened), "several": str(several)},
        "database": len(database.labels),
        "queries": len(queries.labels),
    }


def record(found: Scores) -> dict[str, Any]:
    """The numbers of each query."""
    return {
        "queries": found.queries.tolist(),
        "average_precision": found.average_precision.round(6).tolist(),
        "precision_1": found.precision[1].tolist(),
        "precision_10": found.precision[10].tolist(),
        "recall_10": found.recall[10].tolist(),
        "without": found.without,
        "duplicates": found.duplicates,
    }


def choose(database: Side, parts: Sequence[Part]) -> tuple[dict[str, float], Choice, Choice, Choice]:
    """`(mAP of each candidate, the best part, it whitened or not, the best of several)`, on the training images.

    They are validated as `Quarters` has it.
    """
    kept = Quarters(database)
    found: dict[str, float] = {}

    def best(candidates: Sequence[Choice]) -> Choice:
        for choice in candidates:
            if str(choice) not in found:
                found[str(choice)] = kept.validate(choice)
        return max(candidates, key=lambda choice: found[str(choice)])

    singles = [Choice((part,)) for part in parts]
    single = best(singles)
    whitened = best([single, *whitenings(single, database)])
    order = sorted(singles, key=lambda choice: -found[str(choice)])
    endpoints = {choice.parts[0].endpoint: choice.parts[0] for choice in reversed(order)}
    ranked = sorted(endpoints.values(), key=lambda part: -found[str(part)])
    joined = best([Choice(tuple(ranked[:count])) for count in SEVERAL if count <= len(ranked)] or [single])
    return found, single, whitened, best([joined, *whitenings(joined, database)])


def whitenings(choice: Choice, database: Side) -> list[Choice]:
    """The choice under each whitening that its dimensions, and three quarters of the images, allow."""
    most = min(sum(database.pooled[part].shape[1] for part in choice.parts), len(database.labels) // 2)
    return [choice._replace(dimensions=d, shrinkage=s) for d in DIMENSIONS if d < most for s in SHRINKAGES]


def prepare(choice: Choice, database: Side, queries: Side) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of both sides; a whitening is fitted on what is searched alone."""
    vectors, asked = (descriptors.combine(side.pooled, choice.parts) for side in (database, queries))
    if not choice.dimensions:
        return vectors, asked
    whitening = make_whitening(find_components(vectors), choice.dimensions, choice.shrinkage)
    return whitening(vectors), whitening(asked)


class Quarters:
    """The training images, each quarter asked of the other three; of descriptors the components are kept."""

    def __init__(self, database: Side):
        self.database, self.asked = database, quarters(database.labels)
        self.components: dict[tuple[tuple[Part, ...], int], Components] = {}

    def validate(self, choice: Choice) -> float:
        """mAP of all of them; whitening is fitted on the three quarters that are searched."""
        vectors, labels = descriptors.combine(self.database.pooled, choice.parts), self.database.labels
        precisions = []
        for number, queries in enumerate(self.asked):
            searched, asked = vectors[~queries], vectors[queries]
            if choice.dimensions:
                key = choice.parts, number
                if key not in self.components:
                    self.components[key] = find_components(searched)
                whitening = make_whitening(self.components[key], choice.dimensions, choice.shrinkage)
                searched, asked = whitening(searched), whitening(asked)
            precisions.append(scores.score(asked, labels[queries], searched, labels[~queries]).average_precision)
        return float(np.concatenate(precisions).mean())
