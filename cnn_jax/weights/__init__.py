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
from cnn_jax.config import near
from cnn_jax.layers.initializers import shapes
from cnn_jax.weights import akamaster, amartyn, files, torchvision
from cnn_jax.weights.naming import Preprocess, Tensor, WeightsError, their_shape, to_ours, to_theirs

__all__ = ["SOURCES", "Preprocess", "WeightsError", "class_names", "load", "misfits", "options", "preprocess", "save"]

SOURCES: dict[str, ModuleType] = {"torchvision": torchvision, "akamaster": akamaster, "amartyn": amartyn}
LISTED = 8
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
    leaves = {leaf: struct.shape for leaf, struct in traverse_util.flatten_dict(shapes(model, x)).items()}
    expected = {leaf: SOURCES[source].theirs(name, leaf) for leaf in leaves}
    wanted = {tensor.name: their_shape(leaves[leaf], tensor.layout) for leaf, tensor in expected.items()}
    wrong = misfits(tensors, wanted)
    if wrong:
        raise WeightsError(f"{path} does not fit {name} of {source}: {wrong}")
    return traverse_util.unflatten_dict(
        {
            leaf: to_ours(tensors[tensor.name].astype(np.float32), tensor.layout, leaves[leaf])
            for leaf, tensor in expected.items()
        }
    ), preprocess(name, source)


def save(path: str | PathLike[str], name: str, source: str, variables: Mapping[str, Any]) -> None:
    """Writes the variables as safetensors under the source's names; undoes `load`, bit for bit.

    Where the source's files count training steps, theirs are 0 here.

    Raises WeightsError where a leaf has no name there, or the file cannot be written.
    """
    find(name, source)
    tensors = {}
    for leaf, array in traverse_util.flatten_dict(dict(variables)).items():
        tensor = their_tensor(name, source, leaf)
        tensors[tensor.name] = to_theirs(np.asarray(array, np.float32), tensor.layout)
        if leaf[-1] == "mean" and SOURCES[source].COUNTS_BATCHES:
            tensors[f"{tensor.name.rpartition('.')[0]}.{COUNTER}"] = np.zeros((), np.int64)
    files.write(Path(path), tensors)


def their_tensor(name: str, source: str, leaf: tuple[str, ...]) -> Tensor:
    try:
        return SOURCES[source].theirs(name, leaf)
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{'/'.join(leaf)} of {name} has no name in {source}") from error


def options(name: str, source: str) -> dict[str, Any]:
    """What `build` takes so that the network is the source's: where zero channels go, which convolution strides.

    Raises WeightsError on an unknown source, or a model it does not have.
    """
    return find(name, source).options(name)


def preprocess(name: str, source: str) -> Preprocess:
    """What images go through before the source's network. Raises as `options` does."""
    return find(name, source).preprocess(name)


def class_names(name: str, source: str, count: int) -> tuple[str, ...]:
    """What the source calls the classes of a network; their numbers where it has `count` others.

    Raises as `options` does.
    """
    names = find(name, source).class_names()
    return names if len(names) == count else tuple(map(str, range(count)))


def find(name: str, source: str) -> ModuleType:
    if source not in SOURCES:
        raise WeightsError(f"unknown source of weights {source!r}; {near(source, SOURCES)}")
    models.find(name)
    if not SOURCES[source].has(name):
        raise WeightsError(f"{source} has no {name}; it has {SOURCES[source].HAS}")
    return SOURCES[source]


def misfits(tensors: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """What is wrong, in one line: nothing where the file has the wanted tensors and no others, all of floats."""
    shared = sorted(tensors.keys() & wanted.keys())
    integers = [
        f"{name} {tensors[name].dtype}" for name in shared if not np.issubdtype(tensors[name].dtype, np.floating)
    ]
    shapes = [
        f"{name} {by(tensors[name].shape)}, not {by(wanted[name])}"
        for name in shared
        if tensors[name].shape != wanted[name]
    ]
    kinds = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "surplus": sorted(tensors.keys() - wanted.keys()),
        "of another shape": shapes,
        "not floats": integers,
    }
    return "; ".join(f"{len(names)} {kind}: {listed(names)}" for kind, names in kinds.items() if names)


def listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def by(shape: tuple[int, ...]) -> str:
    """`64x3x7x7`."""
    return "x".join(map(str, shape)) or "scalar"
