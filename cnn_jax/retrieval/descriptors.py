"""From the maps of endpoints to one vector an image: pooled, brought to length 1, several of them side by side."""

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.config import ConfigError, suggest
from cnn_jax.network import Network, choose_endpoints

GEM_POWER = 3.0
GEM_LEAST = 1e-6
LEAST_NORM = 1e-12
LEVELS = 3
OVERLAP = 0.4
NONE = "none"
"""The pooling of an endpoint that is a vector already."""


class Part(NamedTuple):
    """A pooled endpoint, written `fire9:gem`."""

    endpoint: str
    pooling: str

    def __str__(self) -> str:
        return self.endpoint if self.pooling == NONE else f"{self.endpoint}:{self.pooling}"


def average(maps: jax.Array) -> jax.Array:
    """The mean of each map: (B, H, W, C) -> (B, C); up to length the sums of Babenko & Lempitsky 2015 (SPoC)."""
    return maps.mean(axis=(1, 2))


def maximum(maps: jax.Array) -> jax.Array:
    """The largest of each map: (B, H, W, C) -> (B, C)."""
    return maps.max(axis=(1, 2))


def gem(maps: jax.Array) -> jax.Array:
    """The generalised mean, power 3, of each map: (B, H, W, C) -> (B, C); what is below 1e-6 counts as that.

    Radenovic et al. 2018, Section 3.2 (https://arxiv.org/abs/1711.02512).
    """
    return (jnp.maximum(maps, GEM_LEAST) ** GEM_POWER).mean(axis=(1, 2)) ** (1 / GEM_POWER)


def rmac(maps: jax.Array) -> jax.Array:
    """The sum over `regions` of their maxima, each brought to length 1: (B, H, W, C) -> (B, C).

    Tolias et al. 2016, Section 3.2 (https://arxiv.org/abs/1511.05879), without its whitening of each region.
    """
    vectors = [
        normalize(maps[:, top : top + side, left : left + side].max(axis=(1, 2)))
        for top, left, side in regions(*maps.shape[1:3])
    ]
    return jnp.stack(vectors).sum(axis=0)


POOLINGS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "average": average,
    "max": maximum,
    "gem": gem,
    "rmac": rmac,
}


def regions(height: int, width: int, levels: int = LEVELS) -> list[tuple[int, int, int]]:
    """`(top, left, side)` of R-MAC's squares on maps of that size, uniform at each level.

    At level l they have a side of 2 min(H, W) / (l + 1), and there are l along the short side of the maps; along the
    long side as many more as make those of level 1 overlap by 40 % as nearly as can be.
    """
    short, long = min(height, width), max(height, width)
    more = 0
    if long > short:
        gaps = {count: (long - short) / count for count in range(1, 7)}
        more = min(gaps, key=lambda count: abs((short - gaps[count]) / short - OVERLAP))
    found = []
    for level in range(1, levels + 1):
        side = max(1, 2 * short // (level + 1))
        down = level + (more if height > width else 0)
        across = level + (more if width > height else 0)
        found += [(top, left, side) for top in spread(height, side, down) for left in spread(width, side, across)]
    return found


def spread(length: int, side: int, count: int) -> list[int]:
    """Where `count` squares begin, from one end to the other, evenly and in whole pixels."""
    return [math.floor(place * (length - side) / max(1, count - 1)) for place in range(count)]


def normalize(vectors: Any) -> Any:
    """(..., D) brought to length 1 in Euclid's norm; what is shorter than 1e-12 is divided by that."""
    array = jnp if isinstance(vectors, jax.Array) else np
    return vectors / array.maximum(array.linalg.norm(vectors, axis=-1, keepdims=True), LEAST_NORM)


def parse(text: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Part, ...]:
    """The parts of `fire8:max+fire9:gem`; where no pooling is named it is gem.

    Args:
      text: endpoints with their poolings.
      shapes: of the network's endpoints, see `Network.endpoint_shapes`.

    Raises ConfigError on what is no endpoint or no pooling, naming the near ones.
    """
    parts = []
    for one in text.split("+"):
        endpoint, _, pooling = one.strip().partition(":")
        if endpoint not in shapes:
            raise ConfigError(f"no endpoint {endpoint!r}; {suggest(endpoint, shapes)}")
        if len(shapes[endpoint]) == 1:
            pooling = NONE
        elif (pooling := pooling or "gem") not in POOLINGS:
            raise ConfigError(f"{one}: no pooling {pooling!r}; {suggest(pooling, POOLINGS)}")
        parts.append(Part(endpoint, pooling))
    return tuple(parts)


def all_parts(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Part, ...]:
    """Every endpoint under every pooling; one that is a vector as it is, once."""
    return tuple(
        Part(endpoint, pooling)
        for endpoint, shape in shapes.items()
        for pooling in (POOLINGS if len(shape) == 3 else (NONE,))
    )


@partial(jax.jit, static_argnames=("model", "parts"))
def pool(model: Any, parts: tuple[Part, ...], variables: Any, image: jax.Array) -> dict[Part, jax.Array]:
    """Each part of what the network sees, float32 (B, C), of any length."""
    maps = choose_endpoints(model, variables, image, list(dict.fromkeys(part.endpoint for part in parts)))
    return {
        part: maps[part.endpoint] if maps[part.endpoint].ndim == 2 else POOLINGS[part.pooling](maps[part.endpoint])
        for part in parts
    }


class Described(NamedTuple):
    """The pooled endpoints of some images: `vectors` float32 (n, C) a part; the rest as of `extraction.Extracted`."""

    indices: np.ndarray
    vectors: Mapping[Part, np.ndarray]
    damaged: tuple[str, ...]


def describe(network: Network, parts: Sequence[Part], images: Any, **options: Any) -> Generator[Described]:
    """The pooled endpoints of each image, by batches; arguments and errors as of `Network.stream`."""
    for part in network.stream(partial(pool, network.model, tuple(parts)), images, **options):
        yield Described(part.indices, part.outputs or {}, part.damaged)


def gather(batches: Iterable[Described], parts: Sequence[Part]) -> Described:
    """All of the batches in one."""
    found = list(batches)
    vectors = {
        part: np.concatenate([one.vectors[part] for one in found if len(one.indices)] or [np.empty((0, 0), np.float32)])
        for part in parts
    }
    indices = np.concatenate([one.indices for one in found] or [np.empty(0, np.int64)])
    return Described(indices, vectors, tuple(reason for one in found for reason in one.damaged))


def combine(vectors: Mapping[Part, np.ndarray], parts: Sequence[Part]) -> np.ndarray:
    """One vector an image, float32 (N, D), of length 1: its parts, each of length 1, side by side."""
    return normalize(np.concatenate([normalize(vectors[part]) for part in parts], axis=1))
