"""The blocks of a network by name, in the order of its layers, and means over a split of what a function sums."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cnn_jax import evaluation
from cnn_jax.config import ConfigError
from cnn_jax.evaluation import Protocol
from cnn_jax.models.residual import unstack_blocks
from cnn_jax.models.resnet import CifarResNet, ImageNetResNet
from cnn_jax.network import Network
from cnn_jax.train import devices, feed
from cnn_jax.train import evaluate as exact
from cnn_jax.train.devices import Layout
from cnn_jax.train.step import make_evaluate_step


def unscan(network: Network) -> Network:
    """The same network with each of its blocks a module of its own."""
    if not getattr(network.model, "scan", False):
        return network
    return network._replace(model=network.model.clone(scan=False), variables=unstack_blocks(network.variables))


def block_names(network: Network) -> list[str]:
    """`stage1_block1`, `stage1_block2`, ...; raises ConfigError where the network is not made of such blocks."""
    if not has_blocks(network):
        raise ConfigError(
            f"{type(network.model).__name__} has no blocks to remove, repeat or look into: plain and residual networks "
            "have, such as plain20 and resnet20"
        )
    matches = [re.fullmatch(r"stage(\d+)_block(\d+)", name) for name in unscan(network).variables["params"]]
    return [name for _, _, name in sorted((int(match[1]), int(match[2]), match[0]) for match in matches if match)]


def has_blocks(network: Network) -> bool:
    return isinstance(network.model, CifarResNet | ImageNetResNet)


def prepare_network(network: Network, examples: Mapping[str, np.ndarray]) -> tuple[Network, list[str], Protocol]:
    """The network with its blocks apart, their names, and how it is shown one view of each of the images.

    Raises ConfigError: it has no blocks, or cannot see the images.
    """
    network = unscan(network)
    names, protocol = block_names(network), evaluation.choose_protocol(network)
    height, width, _ = evaluation.input_shape(network, examples["image"].shape[1:])
    evaluation.check_protocol(protocol, height, width, network.model.image_size)
    return network, names, protocol


def make_evaluator(
    evaluate: Callable[..., Any],
    names: Sequence[str],
    examples: Mapping[str, np.ndarray],
    layout: Layout,
    batch_size: int,
) -> Callable[[Any], dict[str, float]]:
    """`means(given)` over all the examples of the sums that `evaluate(given, batch)` makes; it is compiled once.

    Args:
      evaluate: as a task has it, of anything that is a tree of arrays in the place of the variables.
      names: of its sums, `count` among them.
      examples: `image` uint8 (N, H, W, C) and `label` int32 (N,).
      layout: the devices.
      batch_size: images in a batch; at least one example a device.
    """
    count, devices_ = len(examples["label"]), len(layout.devices)
    batch_size = devices_ * min(max(1, batch_size // devices_), -(-count // devices_))
    step = devices.parallelize(layout, make_evaluate_step(evaluate, layout.axis_name), "rrrs", donate=(0,))
    arrays, batches = devices.replicate(layout, dict(examples)), feed.index_batches(count, batch_size, layout)

    def means(variables: Any) -> dict[str, float]:
        return exact.evaluate(layout, step, devices.replicate(layout, variables), arrays, batches, names)[0]

    return means
