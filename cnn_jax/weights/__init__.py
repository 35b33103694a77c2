"""Other people's trained weights, as our variables, with the preprocessing they were trained under.

A source names its tensors in its own way and fixes settings of the network: one file each, a pure function from the
path of a leaf of ours to its name and layout there. What leaves there are, the network itself says, at any depth.
"""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from cnn_jax import models
from cnn_jax.config import suggest
from cnn_jax.layers.initializers import variable_shapes
from cnn_jax.weights import akamaster, amartyn, files, torchvision
from cnn_jax.weights.naming import Preprocess, Tensor, WeightsError, from_source_layout, source_shape, to_source_layout

__all__ = [
    "SOURCES",
    "Preprocess",
    "WeightsError",
    "class_names",
    "load",
    "describe_mismatch",
    "options",
    "preprocess",
    "save",
]

SOURCES: dict[str, ModuleType] = {"torchvision": torchvision, "akamaster": akamaster, "amartyn": amartyn}
MAX_NAMES = 8
COUNTER = "num_batches_tracked"  # PyTorch's count of training steps in a batch norm; nothing here depends on it


def load(path: str | PathLike[str], name: str, source: str) -> tuple[dict[str, Any], Preprocess]:
    """Reads weights for `build(name, num_classes=..., **options(name, source))`.

    Args:
      path: .safetensors with the source's names; or PyTorch's .pth, .pt, .th or .tar where PyTorch is installed.
      name: the model.
      source: whose names, of SOURCES. Their counters of training steps are ignored.

    Returns:
      The variables, params and batch_stats, numpy float32; the number of classes is the file's. And what images go
      through.

    Raises:
      WeightsError: an unknown source, a model it does not have, a file that cannot be read, or one that does not fit:
        then all that is missing, surplus or of another shape is named.
      ConfigError: an unknown model.
    """
    path, settings = Path(path), options(name, source)
    tensors = {key: tensor for key, tensor in files.read(path).items() if key.rpartition(".")[2] != COUNTER}
    head = tensors.get(f"{SOURCES[source].classifier(name)}.bias")
    if head is not None and head.ndim == 1:
        settings["num_classes"] = len(head)
    model = models.build(name, **settings)
    x = jax.ShapeDtypeStruct((1, model.image_size, model.image_size, 3), jnp.float32)
    leaves = {leaf: struct.shape for leaf, struct in traverse_util.flatten_dict(variable_shapes(model, x)).items()}
    expected = {leaf: SOURCES[source].find_tensor(name, leaf) for leaf in leaves}
    expected_shapes = {tensor.name: source_shape(leaves[leaf], tensor.layout) for leaf, tensor in expected.items()}
    wrong = describe_mismatch(tensors, expected_shapes)
    if wrong:
        raise WeightsError(f"{path} does not fit {name} of {source}: {wrong}")
    return traverse_util.unflatten_dict(
        {
            leaf: from_source_layout(tensors[tensor.name].astype(np.float32), tensor.layout, leaves[leaf])
            for leaf, tensor in expected.items()
        }
    ), preprocess(name, source)


def save(path: str | PathLike[str], name: str, source: str, variables: Mapping[str, Any]) -> None:
    """Writes the variables as safetensors under the source's names; undoes `load`, bit for bit.

    Where the source's files count training steps, theirs are 0 here.

    Raises WeightsError where a leaf has no name there, or the file cannot be written.
    """
    get_source(name, source)
    tensors = {}
    for leaf, array in traverse_util.flatten_dict(dict(variables)).items():
        tensor = find_tensor(name, source, leaf)
        tensors[tensor.name] = to_source_layout(np.asarray(array, np.float32), tensor.layout)
        if leaf[-1] == "mean" and SOURCES[source].COUNTS_BATCHES:
            tensors[f"{tensor.name.rpartition('.')[0]}.{COUNTER}"] = np.zeros((), np.int64)
    files.write(Path(path), tensors)


def find_tensor(name: str, source: str, leaf: tuple[str, ...]) -> Tensor:
    try:
        return SOURCES[source].find_tensor(name, leaf)
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{'/'.join(leaf)} of {name} has no name in {source}") from error


def options(name: str, source: str) -> dict[str, Any]:
    """What `build` takes so that the network is the source's: where zero channels go, which convolution strides.

    Raises WeightsError on an unknown source, or a model it does not have.
    """
    return get_source(name, source).options(name)


def preprocess(name: str, source: str) -> Preprocess:
    """What images go through before the source's network. Raises as `options` does."""
    return get_source(name, source).preprocess(name)


def class_names(name: str, source: str, count: int) -> tuple[str, ...]:
    """What the source calls the classes of a network; their numbers where it has `count` others.

    Raises as `options` does.
    """
    names = get_source(name, source).class_names()
    return names if len(names) == count else tuple(map(str, range(count)))


def get_source(name: str, source: str) -> ModuleType:
    if source not in SOURCES:
        raise WeightsError(f"unknown source of weights {source!r}; {suggest(source, SOURCES)}")
    models.get_constructor(name)
    if not SOURCES[source].supports(name):
        raise WeightsError(f"{source} has no {name}; it has {SOURCES[source].SUPPORTED}")
    return SOURCES[source]


def describe_mismatch(tensors: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> str:
    """What is wrong, in one line: nothing where the file has the wanted tensors and no others, all of floats."""
    shared = sorted(tensors.keys() & expected.keys())
    integers = [
        f"{name} {tensors[name].dtype}" for name in shared if not np.issubdtype(tensors[name].dtype, np.floating)
    ]
    shapes = [
        f"{name} {format_shape(tensors[name].shape)}, not {format_shape(expected[name])}"
        for name in shared
        if tensors[name].shape != expected[name]
    ]
    kinds = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "surplus": sorted(tensors.keys() - expected.keys()),
        "of another shape": shapes,
        "not floats": integers,
    }
    return "; ".join(f"{len(names)} {kind}: {format_names(names)}" for kind, names in kinds.items() if names)


def format_names(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")


def format_shape(shape: tuple[int, ...]) -> str:
    """`64x3x7x7`."""
    return "x".join(map(str, shape)) or "scalar"
