"""A deeper network that computes what a shallower one does: "the added layers are identity mapping, and the other
layers are copied from the learned shallower model" (He et al. 2016, Section 1)."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from cnn_jax.config import ConfigError
from cnn_jax.layers.initializers import variable_shapes
from cnn_jax.layers.norm import BatchNorm
from cnn_jax.network import Network
from cnn_jax.studies.depth.blocks import block_names, unscan


def deepen(network: Network, depth: int) -> Network:
    """The network at `depth` weighted layers, its added blocks identities after what it has of blocks in their stage.

    A plain block is the identity where its kernels are 1 in their middle from each channel to itself, and its batch
    normalisation divides by 1 and shifts by nothing: what it sees are results of a ReLU, which another leaves as they
    are. A residual block is with kernels of zeros. In evaluation the logits are the shallower network's to rounding.

    Raises:
      ConfigError: a network without blocks; another nonlinearity, local response normalisation or bottlenecks, none of
        which leaves its input as it is; or a depth at which a stage has fewer blocks.
    """
    network = unscan(network)
    existing = set(block_names(network))
    if reason := identity_obstacle(network):
        raise ConfigError(reason)
    deeper = network.model.clone(depth=depth)
    size = network.model.image_size
    wanted = variable_shapes(deeper, jax.ShapeDtypeStruct((1, size, size, network.channels), jnp.float32))
    trained, leaves = (traverse_util.flatten_dict(tree) for tree in (network.variables, wanted))
    if lost := trained.keys() - leaves.keys():
        raise ConfigError(f"depth {depth} has no {sorted(lost)[0][1]}, which the trained network has")
    variables = {}
    for path, leaf in leaves.items():
        added = re.fullmatch(r"stage\d+_block\d+", path[1]) and path[1] not in existing
        variables[path] = identity_leaf(path, leaf.shape, network.model.residual) if added else trained[path]
    return network._replace(model=deeper, variables=traverse_util.unflatten_dict(variables))


def identity_obstacle(network: Network) -> str:
    """Why none of its blocks is the identity, in one line; "" where one can be."""
    for name, needed in {"activation": ("relu",), "normalization": ("bn", "none")}.items():
        value = getattr(network.model, name, needed[0])
        if value not in needed:
            return f"model.{name}={value}: no block of such layers is the identity; {', '.join(needed)} have one"
    return ""


def identity_leaf(path: tuple[str, ...], shape: tuple[int, ...], residual: bool) -> Any:
    """The leaf of a block that is the identity; raises ConfigError where the block changes the number of channels."""
    match path[-1]:
        case "kernel" if residual and "shortcut" not in path:
            return np.zeros(shape, np.float32)
        case "kernel":
            height, width, channels, features = shape
            if channels != features:
                raise ConfigError(f"{path[1]} goes from {channels} channels to {features}: it is not the identity")
            kernel = np.zeros(shape, np.float32)
            kernel[height // 2, width // 2] = np.eye(channels)
            return kernel
        case "scale":
            return np.full(shape, np.sqrt(1 + BatchNorm.epsilon), np.float32)
        case "var":
            return np.ones(shape, np.float32)
        case _:  # bias and mean
            return np.zeros(shape, np.float32)
