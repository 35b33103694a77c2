"""Trained networks with blocks taken out, one or several (Veit et al. 2016, https://arxiv.org/abs/1605.06431)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from tqdm import tqdm

from cnn_jax import evaluation
from cnn_jax.models.residual import Block
from cnn_jax.network import Network
from cnn_jax.studies.depth.blocks import make_evaluator, prepare_network
from cnn_jax.train.devices import Layout


def remove_blocks(kept: Mapping[str, jax.Array]) -> Any:
    """Within this context a network runs without the blocks whose entry is False; it may be traced.

    Of a residual block the shortcut stays, followed by the block's own nonlinearity, which changes nothing after a
    ReLU. A plain block becomes the identity, or where it changes the shape every second pixel and channels of zeros,
    as option A's shortcut (He et al. 2016, Section 3.3), since nothing else is there to take.
    """

    def interceptor(call: Any, arguments: Any, keywords: Any, context: nn.module.InterceptorContext) -> Any:
        y, module, block = call(*arguments, **keywords), context.module, context.module.parent
        name, within = str(module.name), str(getattr(block, "name", ""))
        if context.method_name != "__call__":
            return y
        if isinstance(module, Block) and module.shortcut is None and name in kept:
            around = module.clone(parent=None, shortcut="A").apply_shortcut(arguments[0], y.shape, False)
            return jnp.where(kept[name], y, around)
        if isinstance(block, Block) and block.shortcut is not None and within in kept:
            last = f"conv{len(block.conv_arguments())}"
            return jnp.where(kept[within], y, jnp.zeros_like(y)) if name == last else y
        return y

    return nn.intercept_methods(interceptor)


def lesions(
    network: Network,
    examples: Mapping[str, np.ndarray],
    layout: Layout,
    batch_size: int = 128,
    several: Sequence[int] = (),
    draws: int = 10,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Errors without a block, each in turn, and without several drawn at random.

    Args:
      network: plain or residual, trained.
      examples: `image` uint8 (N, H, W, C) and `label` int32 (N,), of the test split.
      layout: the devices.
      batch_size: images in a batch.
      several: how many blocks are removed together; what is above their number is left out.
      draws: how often so many are drawn; 0 removes no several.
      seed: of the drawing.
      progress: whether to draw a bar on stderr.

    Returns:
      `intact`, the error of the whole network, a fraction; `blocks`, `error` and `chance`: the names, the error without
      each, and that of guessing; `several`, one {"removed": k, "error": [a draw each]} for each k.

    Raises:
      ConfigError: a network without blocks, or images it cannot see.
    """
    network, names, protocol = prepare_network(network, examples)
    inner, sums = evaluation.make_evaluate(network, protocol)

    def evaluate(variables_and_kept: Any, batch: Any) -> Any:
        variables, kept = variables_and_kept
        with remove_blocks(dict(zip(names, kept, strict=True))):
            return inner(variables, batch)

    means = make_evaluator(evaluate, sums, examples, layout, batch_size)
    generator = np.random.default_rng(seed)
    sizes = [size for size in several if 0 < size <= len(names)] if draws else []
    drawn = [generator.choice(len(names), size, replace=False) for size in sizes for _ in range(draws)]
    errors = []
    for removed in tqdm([[], *([i] for i in range(len(names))), *drawn], "lesions", disable=not progress):
        kept = np.ones(len(names), bool)
        kept[removed] = False
        errors.append(means((network.variables, kept))["error"])
    singles, rest = errors[1 : len(names) + 1], errors[len(names) + 1 :]
    return {
        "intact": errors[0],
        "blocks": names,
        "error": singles,
        "chance": 1 - 1 / network.model.num_classes,
        "several": [{"removed": k, "error": rest[i * draws : (i + 1) * draws]} for i, k in enumerate(sizes)],
    }
