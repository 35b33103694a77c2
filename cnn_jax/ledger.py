"""Every printed number of `published` beside our networks' own, computed from the networks themselves."""

import functools
import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict

from cnn_jax import models
from cnn_jax.models.macs import Trace, macs_by_layer, trace
from cnn_jax.models.published import UNITS, Row
from cnn_jax.models.receptive_fields import receptive_fields

EQUAL, ROUNDED, DEVIATION, DIFFERS = "equal", "equal as printed", "named deviation", "DIFFERS"
CHANNELS = {"lenet5": 1, "lenet5_full": 1}
"""Channels of the images of the papers; 3 of all others."""


class Entry(NamedTuple):
    """A printed number, ours, and one of the four verdicts above."""

    row: Row
    ours: str
    verdict: str


def make_entries(rows: Iterable[Row]) -> Iterator[Entry]:
    """The rows with ours, one after another; a network is traced once for all of its rows."""
    for row in rows:
        ours = compute_quantity(row)
        yield Entry(row, ours, judge(row, ours))


def judge(row: Row, ours: str) -> str:
    """How ours compares with the printed number at the precision it is printed with.

    A deviation is named only as long as ours is the number it explains, and differs from the printed one.
    """
    if row.quantity in ("shape", "kernel"):
        same, exact = ours == row.value, True
    else:
        printed = Decimal(row.value)
        same, exact = (Decimal(ours) / UNITS[row.unit]).quantize(printed) == printed, row.unit == ""
    if same and not row.deviation:
        return EQUAL if exact else ROUNDED
    return DEVIATION if not same and row.deviation and ours == row.ours else DIFFERS


def compute_quantity(row: Row) -> str:
    """Ours of what a row prints, exact: a whole number, or sizes with "x" between them.

    Raises:
      KeyError: the network has no such layer or endpoint.
    """
    traced = trace_network(row.model, tuple(row.settings.items()))
    match row.quantity:
        case "shape":
            return "x".join(map(str, endpoint_shapes(traced)[row.where]))
        case "kernel":
            return "x".join(map(str, traced.variables["params"][row.where]["kernel"].shape))
        case "parameters" | "weights":
            return str(count_parameters(traced, row.where or "*", ("kernel",) if row.quantity == "weights" else ()))
        case "macs":
            return str(sum(select(macs_by_layer(traced), row.where or "*")))
        case "units":
            shapes = {name: endpoint_shapes(traced)[name] for name in traced.variables["params"]}
            return str(sum(map(math.prod, select(shapes, row.where or "*"))))
        case "connections":
            return str(sum(select(count_connections(traced), row.where or "*")))
        case "layers":
            return str(receptive_fields(traced)["logits"].layers)
        case "receptive field":
            return str(field_size(traced, row.where))
    raise KeyError(row.quantity)


@functools.cache
def trace_network(name: str, settings: tuple[tuple[str, Any], ...]) -> Trace:
    network: Any = models.build(name, **dict(settings))
    return trace(network, (network.image_size, network.image_size, CHANNELS.get(name, 3)))


def select(by_name: dict[str, Any], pattern: str) -> list[Any]:
    """The values of the names that a pattern such as conv* matches; KeyError where it matches none."""
    values = [value for name, value in by_name.items() if fnmatchcase(name, pattern)]
    if not values:
        raise KeyError(f"no {pattern} among {', '.join(by_name)}")
    return values


def endpoint_shapes(traced: Trace) -> dict[str, tuple[int, ...]]:
    """Of one image's endpoints, (H, W, C) or (units,)."""
    return {name: endpoint.shape[1:] for name, endpoint in traced.results[1].items()}


def count_parameters(traced: Trace, pattern: str, kinds: tuple[str, ...] = ()) -> int:
    """Trained numbers of the layers whose names match; of the kinds named, such as kernel, or of all."""
    by_layer: dict[str, int] = {}
    for path, leaf in flatten_dict(traced.variables["params"]).items():
        if not kinds or path[-1] in kinds:
            by_layer[path[0]] = by_layer.get(path[0], 0) + math.prod(leaf.shape)
    return sum(select(by_layer, pattern))


def count_connections(traced: Trace) -> dict[str, int]:
    """LeCun's count, by endpoint: the inputs of each unit, and one more for its bias, over all units of the layer.

    A layer's weights are each used once at each position; a subsampling unit has the inputs of its window, which no
    other unit has; the output's units are connected to all before them and have no bias.
    """
    shapes, fields = endpoint_shapes(traced), receptive_fields(traced)
    counts, before = {}, 0
    for name in sorted(shapes, key=lambda name: (fields[name].layers, fields[name].size)):  # from the image onwards
        units, weights = math.prod(shapes[name]), traced.variables["params"].get(name, {})
        if "coefficient" in weights:
            counts[name] = before + units
        elif weights:
            counts[name] = count_parameters(traced, name) * units // shapes[name][-1]
        else:
            counts[name] = before * units
        before = units
    return counts


def field_size(traced: Trace, where: str) -> int:
    """Pixels a side that one unit of an endpoint sees, of the image or, as pool4..conv5_3, of an endpoint before it."""
    fields = receptive_fields(traced)
    start, _, end = where.rpartition("..")
    if not start:
        return fields[end].size
    return (fields[end].size - fields[start].size) // fields[start].step + 1
