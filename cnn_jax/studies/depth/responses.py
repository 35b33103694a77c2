"""How strongly layers respond: He et al. 2016, Fig. 7."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from cnn_jax import evaluation
from cnn_jax.models.residual import ConvNorm
from cnn_jax.network import Network
from cnn_jax.studies.depth.blocks import make_evaluator, prepare_network
from cnn_jax.train.devices import Layout


def is_conv_norm(module: nn.Module, method: str) -> bool:
    return isinstance(module, ConvNorm) and method == "__call__" and module.name != "shortcut"


def deviations(
    network: Network, examples: Mapping[str, np.ndarray], layout: Layout, batch_size: int = 128
) -> dict[str, float]:
    """Standard deviation of the responses of each layer of a plain or residual network, over images, pixels, channels.

    A response is the result of a convolution after its batch normalisation, and before the nonlinearity or addition.

    Args:
      network: see Network.
      examples: `image` uint8 (N, H, W, C) and `label` int32 (N,).
      layout: the devices.
      batch_size: images in a batch.

    Returns:
      by layer, `conv1`, `stage1_block1/conv1`, ..., in the order of the layers.

    Raises:
      ConfigError: a network without blocks, or images it cannot see.
    """
    network, blocks, protocol = prepare_network(network, examples)

    def responses(variables: Any, image: jax.Array) -> dict[str, jax.Array]:
        (view,) = evaluation.make_views(network.preprocess(image), protocol)  # (B, 1, H, W, C)
        _, state = network.model.apply(
            variables, view[:, 0], train=False, capture_intermediates=is_conv_norm, mutable=["intermediates"]
        )
        intermediates = traverse_util.flatten_dict(state["intermediates"])
        return {"/".join(path[:-1]): values[0].astype(jnp.float32) for path, values in intermediates.items()}

    def evaluate(variables: Any, batch: Any) -> Any:
        sums = {"count": batch["mask"].sum(dtype=jnp.float32)}
        for name, y in responses(variables, batch["image"]).items():
            for moment, values in (("mean", y), ("square", jnp.square(y))):
                sums[f"{moment} {name}"] = jnp.where(batch["mask"], values.mean(axis=(1, 2, 3)), 0).sum()
        return sums

    image = jax.ShapeDtypeStruct((1, *examples["image"].shape[1:]), jnp.uint8)
    names = sorted(jax.eval_shape(responses, network.variables, image), key=lambda name: layer_position(name, blocks))
    sums = ["count", *(f"{moment} {name}" for name in names for moment in ("mean", "square"))]
    means = make_evaluator(evaluate, sums, examples, layout, batch_size)(network.variables)
    return {name: max(0.0, means[f"square {name}"] - means[f"mean {name}"] ** 2) ** 0.5 for name in names}


def layer_position(layer: str, blocks: list[str]) -> tuple[int, str]:
    """Where a layer stands: what is in no block is before them all."""
    block, _, inside = layer.rpartition("/")
    return (blocks.index(block) if block else -1), inside
