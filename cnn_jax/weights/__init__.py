"""Other people's trained weights as networks: the model as theirs is, the preprocessing they were trained under.

A source names its tensors in its own way and fixes settings of the network: one file each, a pure function from the
path of a leaf of ours to its name and layout there. What leaves there are, the network itself says, at any depth.
"""

from collections.abc import Mapping, Sequence
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
from cnn_jax.models.residual import unstack_blocks
from cnn_jax.network import Network, assemble, describe
from cnn_jax.weights import akamaster, amartyn, files, matching, torchvision
from cnn_jax.weights.naming import (
    LeafPath,
    Tensor,
    WeightsError,
    from_source_layout,
    source_shape,
    to_source_layout,
)

__all__ = ["SOURCES", "WeightsError", "build", "class_names", "count_classes", "load", "save"]

SOURCES: dict[str, ModuleType] = {"torchvision": torchvision, "akamaster": akamaster, "amartyn": amartyn}
COUNTER = "num_batches_tracked"  # PyTorch's count of training steps in a batch norm; nothing here depends on it
FOR_TRAINING = (
    "axis_name",
    "bn_group",
    "bn_momentum",
    "dropout",
    "dtype",
    "image_size",
    "initialization",
    "num_classes",
    "scan",
)
"""Fields on which what a network computes, given variables of their shapes, does not depend."""


def load(path: str | PathLike[str], name: str, source: str, ignore_surplus: Sequence[str] = ()) -> Network:
    """The network of other people's weights: the model as theirs is, variables, preprocessing and class names.

    Args:
      path: a file or folder of named tensors, see `files.read`; the number of classes is the file's.
      name: the model.
      source: whose they are, of SOURCES: their settings of the network, their preprocessing and class names. Tensors
        have the source's names or ours (see `namings`), all under one prefix such as `model.`, or none. Counters of
        training steps are left out.
      ignore_surplus: names of tensors that are no layer's, or their beginnings up to a dot, to be left out too.

    Returns:
      The network; its variables, params and batch_stats, are numpy float32.

    Raises:
      WeightsError: an unknown source, a model it does not have, a file that cannot be read, or one that does not fit:
        then all that is missing, surplus or of another shape is named.
      ConfigError: an unknown model.
    """
    model, path = build(name, source), Path(path)
    read = {key: tensor for key, tensor in files.read(path).items() if key.rpartition(".")[2] != COUNTER}
    try:
        names, tensors = matching.match(read, namings(name, source, leaf_shapes(model)))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    head = tensors.get(names[find_head(name, source, names)].name)
    if head is not None and head.ndim == 1:
        model = build(name, source, num_classes=len(head))
    shapes = leaf_shapes(model)
    expected = {tensor.name: source_shape(shapes[leaf], tensor.layout) for leaf, tensor in names.items()}
    wrong = matching.describe_mismatch(matching.leave_out(tensors, expected, ignore_surplus), expected)
    if wrong:
        advice = "; --ignore_surplus=NAME,... leaves out what is no layer's" if "surplus" in wrong else ""
        raise WeightsError(f"{path} does not fit {name} of {source}: {wrong}{advice}")
    leaves = {
        leaf: from_source_layout(tensors[tensor.name], tensor.layout, shapes[leaf]) for leaf, tensor in names.items()
    }
    shown = SOURCES[source].preprocess(name)
    about = describe(shown, len(shown.mean), class_names(name, source, model.num_classes))
    return assemble(model, traverse_util.unflatten_dict(leaves), about)


def save(path: str | PathLike[str], name: str, source: str, network: Network) -> None:
    """Writes the network's variables as safetensors under the source's names; undoes `load`, bit for bit.

    Where the source's files count training steps, theirs are 0 here.

    Raises WeightsError where the source's network is another, a leaf has no name there, or the file cannot be written.
    """
    require_same(network.model, build(name, source, num_classes=network.model.num_classes), f"{name} of {source}")
    tensors = {}
    for leaf, array in traverse_util.flatten_dict(dict(unstack_blocks(network.variables))).items():
        tensor = find_tensor(name, source, leaf)
        tensors[tensor.name] = to_source_layout(np.asarray(array, np.float32), tensor.layout)
        if leaf[-1] == "mean" and SOURCES[source].COUNTS_BATCHES:
            tensors[f"{tensor.name.rpartition('.')[0]}.{COUNTER}"] = np.zeros((), np.int64)
    files.write(Path(path), tensors)


def build(name: str, source: str, **changes: Any) -> Any:
    """The source's network: `models.build` with its settings, where zero channels go, which convolution strides.

    Raises WeightsError on an unknown source, or a model it does not have; ConfigError on an unknown model.
    """
    return models.build(name, **get_source(name, source).options(name) | changes)


def require_same(ours: Any, theirs: Any, title: str) -> None:
    """Raises WeightsError where two networks with the same variables would compute different things."""
    if type(ours) is not type(theirs):
        raise WeightsError(f"{title} is a {type(theirs).__name__}, and this network a {type(ours).__name__}")
    fields = models.model_fields(type(ours)).keys() - set(FOR_TRAINING)
    differing = sorted(field for field in fields if getattr(ours, field) != getattr(theirs, field))
    if differing:
        told = ", ".join(f"{field} {getattr(theirs, field)}, not {getattr(ours, field)}" for field in differing)
        raise WeightsError(f"the network is not {title}, which has {told}: there these variables mean another network")


def class_names(name: str, source: str, count: int) -> tuple[str, ...]:
    """What the source calls the classes of a network; their numbers where it has `count` others.

    Raises WeightsError on an unknown source, or a model it does not have.
    """
    names = get_source(name, source).class_names()
    return names if len(names) == count else tuple(map(str, range(count)))


def count_classes(variables: Mapping[str, Any], name: str, source: str) -> int:
    """How many classes variables that were loaded tell apart."""
    leaves = traverse_util.flatten_dict(dict(variables))
    return len(leaves[find_head(name, source, leaves)])


def leaf_shapes(model: Any) -> dict[LeafPath, tuple[int, ...]]:
    """The shape of each leaf of the network's variables."""
    x = jax.ShapeDtypeStruct((1, model.image_size, model.image_size, 3), jnp.float32)
    return {leaf: struct.shape for leaf, struct in traverse_util.flatten_dict(variable_shapes(model, x)).items()}


def namings(name: str, source: str, leaves: Mapping[LeafPath, Any]) -> list[dict[LeafPath, Tensor]]:
    """The names, with their layouts, under which the leaves are looked for in a file: all of one naming.

    theirs        `layer1.0.conv1.weight`, in their layout
    ours          `params.stage1_block1.conv1.conv.kernel`, in ours; with and without the collection
    theirs, Flax  `params.layer1.0.conv1.kernel`: their modules and Flax's leaves, in ours; likewise
    """
    theirs = {leaf: find_tensor(name, source, leaf) for leaf in leaves}
    flax = [
        {leaf: ".".join(leaf) for leaf in leaves},
        {leaf: f"{leaf[0]}.{tensor.name.rpartition('.')[0]}.{leaf[-1]}" for leaf, tensor in theirs.items()},
    ]
    flax += [{leaf: text.partition(".")[2] for leaf, text in names.items()} for names in flax]
    return [theirs, *({leaf: Tensor(text, "own") for leaf, text in names.items()} for names in flax)]


def find_tensor(name: str, source: str, leaf: LeafPath) -> Tensor:
    try:
        return SOURCES[source].find_tensor(name, leaf)
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{'/'.join(leaf)} of {name} has no name in {source}") from error


def find_head(name: str, source: str, leaves: Mapping[LeafPath, Any]) -> LeafPath:
    """The leaf whose length is the number of classes."""
    last = f"{get_source(name, source).classifier(name)}.bias"
    return next(leaf for leaf in leaves if find_tensor(name, source, leaf).name == last)


def get_source(name: str, source: str) -> ModuleType:
    if source not in SOURCES:
        raise WeightsError(f"unknown source of weights {source!r}; {suggest(source, SOURCES)}")
    models.get_constructor(name)
    if not SOURCES[source].supports(name):
        raise WeightsError(f"{source} has no {name}; it has {SOURCES[source].SUPPORTED}")
    return SOURCES[source]
