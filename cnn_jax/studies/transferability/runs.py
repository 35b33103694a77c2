"""The runs of the study: networks of both halves, then those that begin with some of their layers."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flax import traverse_util

from cnn_jax import models
from cnn_jax.config import Config, ConfigError, suggest
from cnn_jax.data import Dataset
from cnn_jax.models.frozen import find_endpoints, find_part
from cnn_jax.studies.transferability.halves import Halves
from cnn_jax.tasks.images import input_shape

SOURCE_SEEDS = 1000
"""What is added to the seed of networks whose layers are taken. Under one seed, the layers drawn anew on top of them
would begin as those did that they have grown up with, and see the same batches: no co-adaptation would be broken."""
STANDIN_SEEDS = 10_000
MEAN = (0.5,)
"""What is subtracted from images, alike in both halves: layers that stay would take another mean image for a shift."""
FIELDS = ("seed", "data.classes", "init_from", "init_until", "optim.frozen")
Row = tuple[int, tuple[str, ...], str, str, str]
"""A value for each of FIELDS."""


class Kind(NamedTuple):
    """Layers of A's or of B's own network, kept as they are or fine-tuned (`+`) with those on top, on B."""

    source: str
    frozen: bool


KINDS = {
    "BnB": Kind("b", True),
    "BnB+": Kind("b", False),
    "AnB": Kind("a", True),
    "AnB+": Kind("a", False),
    "random": Kind("", True),
}
"""By the paper's names, and `random`, layers that are as they were drawn (its Fig. 3)."""
APART = ("AnB",)
"""What of them is run on dissimilar halves: the others are of B alone, or adapt to it."""


def check(kinds: Sequence[str], seeds: Sequence[int]) -> None:
    """Raises ConfigError on a kind that is not there, none, or a seed that is kept for sources."""
    if not kinds:
        raise ConfigError(f"--kinds is empty; choose from {', '.join(KINDS)}")
    if not 0 <= min(seeds) <= max(seeds) < SOURCE_SEEDS:
        raise ConfigError(f"--seeds={','.join(map(str, seeds))}: from 0 to {SOURCE_SEEDS - 1}")
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"--kinds: unknown kind {kind!r}; {suggest(kind, KINDS)}")


def layer_cuts(config: Config, dataset: Dataset, named: Sequence[str]) -> list[str]:
    """The endpoints after which the network is cut, in its order: those named, or one after each layer but the last.

    Raises ConfigError where there is no such endpoint, or nothing is left above it.
    """
    model = models.build(config.model.name, **models.build_arguments(config.model))
    shape = input_shape(config.data, dataset)
    parts = {}
    for endpoint in named or find_endpoints(model, shape):
        below = traverse_util.flatten_dict(find_part(model, shape, endpoint, "--cuts").params)
        parts[endpoint] = frozenset(path for path, depended in below.items() if depended)
        if len(parts[endpoint]) == len(below):
            if named:
                raise ConfigError(f"--cuts={endpoint} leaves no layer of {config.model.name} to draw anew")
            del parts[endpoint]
    if named:
        return sorted(parts, key=lambda endpoint: len(parts[endpoint]))
    first: dict[frozenset[Any], str] = {}
    for endpoint, part in parts.items():  # a pooling has the layers of what it pools
        first.setdefault(part, endpoint)
    return [first[part] for part in sorted(first, key=len) if part]


def base_rows(halves: Mapping[int, Sequence[Halves]], cuts: Sequence[str], kinds: Sequence[str]) -> list[Row]:
    """What begins with nothing: the networks of A and of B whose layers are taken, that of B which the others are
    compared with, and those over random layers.

    Args:
      halves: by seed.
      cuts: endpoints.
      kinds: of KINDS.
    """
    rows: list[Row] = []
    for seed, pairs in halves.items():
        for pair in pairs:
            run = kinds_of(pair, kinds)
            sources = sorted({KINDS[name].source for name in run} & {"a", "b"})
            rows += [(SOURCE_SEEDS + seed, getattr(pair, source), "", "", "") for source in sources]
            rows.append((seed, pair.b, "", "", ""))
            rows += [(seed, pair.b, "", "", cut) for cut in cuts if "random" in run]
    return list(dict.fromkeys(rows))


def kinds_of(pair: Halves, kinds: Sequence[str]) -> list[str]:
    """Those of the kinds that are run on two halves."""
    return [name for name in kinds if name in APART or not pair.dissimilar]


def transfer_rows(
    halves: Mapping[int, Sequence[Halves]],
    cuts: Sequence[str],
    kinds: Sequence[str],
    folders: Mapping[Path, Config],
    planned: bool,
) -> list[Row]:
    """What begins with layers of the networks in `folders` that are finished, as `base_rows`.

    `planned` has rows for those that are not, too: what takes as long, under a seed that nothing else has.
    """
    finished = {
        (config.seed, config.data.classes): str(folder.absolute())
        for folder, config in folders.items()
        if (folder / "result.json").exists()
    }
    rows: list[Row] = []
    for seed, pairs in halves.items():
        for pair, name, cut in itertools.product(pairs, kinds, cuts):
            kind = KINDS[name]
            if not kind.source or name not in kinds_of(pair, kinds):
                continue
            start, frozen = finished.get((SOURCE_SEEDS + seed, getattr(pair, kind.source))), cut * kind.frozen
            if start is not None:
                rows.append((seed, pair.b, start, cut, frozen))
            elif planned:
                rows.append((STANDIN_SEEDS * (1 + len(rows)), pair.b, "", "", frozen))
    return list(dict.fromkeys(rows))
