"""Two halves of a data set's classes: drawn alike, unlike each other, or as they are given."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_jax.config import ConfigError, suggest
from cnn_jax.data.classes import find_class

Classes = tuple[str, ...]

GROUPS: dict[str, tuple[Classes, Classes]] = {
    "cifar10": (("bird", "cat", "deer", "dog", "frog", "horse"), ("airplane", "automobile", "ship", "truck")),
}
"""Of data sets that have them, two groups of classes unlike each other: what is natural, and what is man-made."""

DEFAULTS = {"digits": ("0,1,2,3,4/5,6,7,8,9",), "cifar10": ("similar", "dissimilar")}
"""The halves of a data set where none are named; of any other `similar`."""


class Halves(NamedTuple):
    """The classes of A, where networks learn first, and of B, to which they are moved, none in both; and whether the
    two are known to be unlike each other."""

    a: Classes
    b: Classes
    dissimilar: bool = False


def choose(given: str, dataset: str, names: Sequence[str], seed: int) -> Halves:
    """The halves that a user means.

    Args:
      given: `similar`, `dissimilar`, or the classes themselves, as `cat,dog/car,ship`.
      dataset: its name.
      names: of its classes.
      seed: of what is drawn.

    Raises:
      ConfigError: classes that overlap, fewer than two in a half, no such word, a data set without groups.
      DataError: an unknown class.
    """
    groups = GROUPS.get(dataset, ())
    if given == "similar":
        return draw_similar(names, groups, seed)
    if given == "dissimilar":
        if not groups:
            raise ConfigError(
                f"--halves=dissimilar: of {dataset} is not known which classes are unlike each other: write "
                "--halves=CLASSES/CLASSES"
            )
        return draw_dissimilar(groups, seed)
    a, slash, b = given.partition("/")
    if not slash:
        raise ConfigError(
            f"--halves={given}: {suggest(given, ('similar', 'dissimilar'))}, or write the classes as --halves=0,1/2,3"
        )
    first, second = (
        tuple(names[find_class(dataset, name, names)] for name in half.split(",") if name) for half in (a, b)
    )
    shared = sorted(set(first) & set(second))
    if shared:
        raise ConfigError(f"--halves={given}: {', '.join(shared)} is in both halves; leave it out of one")
    if min(len(first), len(second)) < 2:
        raise ConfigError(f"--halves={given}: a half of fewer than two classes has nothing to tell apart")
    return Halves(first, second, are_dissimilar(dataset, first, second))


def draw_similar(names: Sequence[str], groups: Sequence[Classes], seed: int) -> Halves:
    """Halves with as many classes of each group as the smallest allows, or of all classes where there are no groups.

    A few classes drawn without regard to groups would often be dissimilar halves.
    """
    drawn = [np.random.default_rng(seed).permutation(group).tolist() for group in groups or (tuple(names),)]
    each = min(map(len, drawn)) // 2
    if each * len(drawn) < 2:
        raise ConfigError(f"--halves=similar: {len(names)} classes make no two halves of two or more")
    first = {name for group in drawn for name in group[:each]}
    second = {name for group in drawn for name in group[each : 2 * each]}
    return Halves(tuple(name for name in names if name in first), tuple(name for name in names if name in second))


def draw_dissimilar(groups: Sequence[Classes], seed: int) -> Halves:
    """As many classes of the first group as the second has, and the second."""
    first, second = groups
    drawn = np.random.default_rng(seed).permutation(first).tolist()[: len(second)]
    return Halves(tuple(name for name in first if name in drawn), second, True)


def are_dissimilar(dataset: str, a: Classes, b: Classes) -> bool:
    """Whether all of `a` is of one known group and all of `b` of another."""
    groups = [set(group) for group in GROUPS.get(dataset, ())]
    return any(set(a) <= one and set(b) <= other for one in groups for other in groups if one is not other)
