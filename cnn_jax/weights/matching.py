"""The tensors of a file beside the names they are looked for under: one prefix for all, what is missing or too much."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from cnn_jax.weights.naming import LeafPath, Tensor, WeightsError

MAX_NAMES = 8


def match(
    tensors: Mapping[str, np.ndarray], namings: Sequence[dict[LeafPath, Tensor]]
) -> tuple[dict[LeafPath, Tensor], dict[str, np.ndarray]]:
    """The naming that fits most tensors, and the tensors by its names; those of other names keep what they are called.

    Raises WeightsError where the file holds the network twice.
    """
    found = [(names, *find_prefix(tensors, {tensor.name for tensor in names.values()})) for names in namings]
    names, prefix, _ = max(found, key=lambda candidate: candidate[2])  # the first of equals
    wanted = {f"{prefix}{tensor.name}": tensor.name for tensor in names.values()}
    return names, {
        wanted.get(key, key if key not in wanted.values() else f"{key}, beside {prefix}{key}"): tensor
        for key, tensor in tensors.items()
    }


def find_prefix(tensors: Iterable[str], names: set[str]) -> tuple[str, int]:
    """The prefix under which most of the names are there, none where that is as good, and how many are.

    Raises WeightsError where all are under several.
    """
    counts = Counter(prefix for key in tensors for prefix, name in split_prefixes(key) if name in names)
    best = max(counts.values(), default=0)
    prefixes = sorted(prefix for prefix, count in counts.items() if count == best)
    if not prefixes or "" in prefixes:
        return "", best
    if len(prefixes) > 1 and best == len(names):
        raise WeightsError(f"holds this network under {' and '.join(prefixes)}: leave one alone in the file")
    return prefixes[0], best


def split_prefixes(key: str) -> Iterator[tuple[str, str]]:
    """`("", "a.b.c"), ("a.", "b.c"), ("a.b.", "c")` of `a.b.c`."""
    parts = key.split(".")
    for place in range(len(parts)):
        prefix = "".join(f"{part}." for part in parts[:place])
        yield prefix, key[len(prefix) :]


def leave_out(
    tensors: Mapping[str, np.ndarray], expected: Mapping[str, object], surplus: Sequence[str]
) -> dict[str, np.ndarray]:
    """The tensors without those that are not expected and have such a name, or such a beginning up to a dot."""
    beginnings = tuple(f"{name}." for name in surplus)
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name in expected or not (name in surplus or name.startswith(beginnings))
    }


def describe_mismatch(tensors: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> str:
    """What is wrong, in one line: nothing where the file has the wanted tensors and no others, all of floats.

    Floats of 8 bits are refused too: their scales are elsewhere.
    """
    shared = sorted(tensors.keys() & expected.keys())
    others = [f"{name} {tensors[name].dtype}" for name in shared if not is_float(tensors[name].dtype)]
    shapes = [
        f"{name} {format_shape(tensors[name].shape)}, not {format_shape(expected[name])}"
        for name in shared
        if tensors[name].shape != expected[name]
    ]
    kinds = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "surplus": sorted(tensors.keys() - expected.keys()),
        "of another shape": shapes,
        "not floats of 16 bits or more": others,
    }
    return "; ".join(f"{len(names)} {kind}: {format_names(names)}" for kind, names in kinds.items() if names)


def is_float(dtype: np.dtype) -> bool:
    """Whether it is float16, bfloat16 (to numpy no float), float32 or float64."""
    return bool(jnp.issubdtype(dtype, jnp.floating)) and dtype.itemsize > 1


def format_names(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")


def format_shape(shape: tuple[int, ...]) -> str:
    """`64x3x7x7`."""
    return "x".join(map(str, shape)) or "scalar"
