"""What training left in the weights: how many are small or zero, how they are spread, and what the smallest are for."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cnn_jax.data.batches import evaluation_indices
from cnn_jax.network import Network

SMALL = 1e-3
FRACTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95)
DEVIATIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
EXPONENTS = np.arange(-8, 2.01, 0.25)  # of 10: the edges of the histogram


def measure(
    network: Network, examples: Mapping[str, np.ndarray], batch_size: int = 500, max_images: int = 2000
) -> dict[str, Any]:
    """Sparsity, norms, histogram, and the error after pruning and under noise; plain numbers.

    Args:
      network: a trained classifier.
      examples: `image` uint8 (N, H, W, C) and `label` int32 (N,), of the test split.
      batch_size: images in a batch.
      max_images: how many images, the first, are enough for the errors.

    Returns:
      `layers`, see `sparsity`; `histogram`, see `histogram`; `pruned`, a list of {"fraction", "error"}; `noise`, a list
      of {"deviation", "error"}; errors are fractions.
    """
    some = {name: array[:max_images] for name, array in examples.items()}
    errors = functools.partial(test_error, network, some, batch_size=batch_size)
    return {
        "layers": sparsity(network.variables["params"]),
        "histogram": histogram(network.variables["params"]),
        "pruned": [
            {"fraction": fraction, "error": errors(prune(network.variables, fraction))} for fraction in FRACTIONS
        ],
        "noise": [{"deviation": deviation, "error": errors(network.variables, deviation)} for deviation in DEVIATIONS],
    }


def kernels(params: Any) -> dict[str, np.ndarray]:
    """The kernels by the path of their layer, in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = [(jax.tree_util.keystr(path, simple=True, separator="/"), np.asarray(leaf)) for path, leaf in leaves]
    return {name.rpartition("/")[0]: leaf for name, leaf in named if name.rpartition("/")[2] == "kernel"}


def sparsity(params: Any) -> list[dict[str, Any]]:
    """One dict a kernel: `name`, `size`, `small` (fraction of |w| < 1e-3), `zero` (of w = 0), `l1` and `l2` norms."""
    return [
        {
            "name": name,
            "size": kernel.size,
            "small": float(np.mean(np.abs(kernel) < SMALL)),
            "zero": float(np.mean(kernel == 0)),
            "l1": float(np.abs(kernel, dtype=np.float64).sum()),
            "l2": float(np.sqrt(np.square(kernel, dtype=np.float64).sum())),
        }
        for name, kernel in kernels(params).items()
    ]


def histogram(params: Any) -> dict[str, Any]:
    """Of |w| over all kernels: `exponents` of 10, the edges; `counts` between them, what is beyond counted at the ends;
    and `zeros`, which are in no bin."""
    weights = np.abs(np.concatenate([kernel.ravel() for kernel in kernels(params).values()]))
    logarithms = np.log10(weights[weights > 0], dtype=np.float64)
    counts, _ = np.histogram(np.clip(logarithms, EXPONENTS[0], EXPONENTS[-1]), EXPONENTS)
    return {"exponents": EXPONENTS.tolist(), "counts": counts.tolist(), "zeros": int(np.sum(weights == 0))}


def prune(variables: Any, fraction: float) -> Any:
    """The variables with that fraction of all kernels' weights, the smallest, at zero (Han et al. 2015, 3.1).

    Theirs is a fraction of each layer; this is one threshold for all (https://arxiv.org/abs/1506.02626). Of equals at
    the threshold all go: zeros count among them.
    """
    magnitudes = np.sort(np.abs(np.concatenate([kernel.ravel() for kernel in kernels(variables["params"]).values()])))
    removed = round(fraction * len(magnitudes))
    if not removed:
        return variables
    threshold = magnitudes[removed - 1]

    def zero_small(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        return np.where(np.abs(leaf) <= threshold, np.zeros_like(leaf), leaf) if name == "kernel" else leaf

    return dict(variables) | {"params": jax.tree_util.tree_map_with_path(zero_small, variables["params"])}


def test_error(
    network: Network,
    examples: Mapping[str, np.ndarray],
    variables: Any,
    deviation: float = 0.0,
    *,
    batch_size: int,
    seed: int = 0,
) -> float:
    """Top-1 error, a fraction, with normal noise added to what the network sees, of that standard deviation.

    Images are in [0, 1] there unless the network divides by another deviation. The noise is the seed's, the same for
    every network that sees images of that shape.
    """
    wrong, count = 0, len(examples["label"])
    apply = compile_apply(network.model)
    for number, (indices, mask) in enumerate(evaluation_indices(count, min(batch_size, count))):
        x = network.preprocess(jnp.asarray(examples["image"][indices]))
        if deviation:
            noise = np.random.default_rng([seed, number]).standard_normal(x.shape, np.float32)
            x = x + np.float32(deviation) * noise
        predicted = np.asarray(apply(variables, x)).argmax(axis=-1)
        wrong += int(np.sum((predicted != examples["label"][indices]) & mask))
    return wrong / count


@functools.lru_cache(maxsize=4)
def compile_apply(model: nn.Module) -> Any:
    """`apply(variables, x) -> logits`, compiled once for networks that differ in their variables alone."""
    return jax.jit(lambda variables, x: model.apply(variables, x, train=False)[0])
