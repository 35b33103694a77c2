"""Weights counted, pruned and tried under noise: against numpy and by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.network import Network
from cnn_jax.studies.regularization import weights

PARAMS = {
    "conv1": {"conv": {"kernel": np.array([[0.0, 5e-4], [-2.0, 1.0]], np.float32)}, "bn": {"scale": np.zeros(2)}},
    "fc": {"kernel": np.array([[3.0], [-0.5]], np.float32), "bias": np.zeros(1, np.float32)},
}


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(2, use_bias=False, name="fc")(x.reshape(len(x), -1)), {}


@pytest.fixture
def network():
    """Tells which of two pixels is brighter, one weight being of no use."""
    kernel = np.array([[1.0, -1.0], [-1.0, 1.0], [0.01, 0.0]], np.float32)
    return Network(Linear(), {"params": {"fc": {"kernel": kernel}}}, lambda image: image.astype(jnp.float32) / 255, 1)


@pytest.fixture
def examples():
    image = np.random.default_rng(0).integers(0, 256, (1000, 1, 3, 1), np.uint8)
    return {"image": image, "label": (image[:, 0, 1, 0] > image[:, 0, 0, 0]).astype(np.int32)}


def test_sparsity_is_by_layer_and_of_kernels_alone():
    first, second = weights.sparsity(PARAMS)
    assert (first["name"], first["size"], first["small"], first["zero"]) == ("conv1/conv", 4, 0.5, 0.25)
    assert (second["name"], second["small"], second["zero"], second["l1"]) == ("fc", 0.0, 0.0, 3.5)
    assert second["l2"] == pytest.approx(np.hypot(3, 0.5)) and first["l1"] == pytest.approx(3.0005)


def test_the_histogram_has_every_weight_once():
    counted = weights.histogram(PARAMS)
    assert sum(counted["counts"]) + counted["zeros"] == 6 and counted["zeros"] == 1
    inside = dict(zip(counted["exponents"], counted["counts"], strict=False))
    assert inside[-3.5] == 1 and inside[0.25] == 2 and inside[0.0] == 1  # 5e-4; 2 and 3; 1


@pytest.mark.parametrize(("fraction", "left"), [(0, 5), (1 / 6, 5), (1 / 3, 4), (0.5, 3), (1, 0)])
def test_pruning_takes_the_smallest_of_all_layers(fraction, left):
    pruned = weights.prune({"params": PARAMS, "batch_stats": {}}, fraction)["params"]
    kept = np.concatenate([kernel.ravel() for kernel in weights.kernels(pruned).values()])
    assert np.count_nonzero(kept) == left
    all_of_them = np.concatenate([kernel.ravel() for kernel in weights.kernels(PARAMS).values()])
    assert sorted(np.abs(kept[kept != 0])) == sorted(np.abs(all_of_them))[6 - left :]


def test_errors_after_pruning_and_under_noise(network, examples):
    measured = weights.measure(network, examples, batch_size=300)
    errors = {line["fraction"]: line["error"] for line in measured["pruned"]}
    assert errors[0.0] < 0.02 and errors[0.4] == 0.0  # the useless weight is gone: the answer is exact
    assert errors[0.95] == pytest.approx(np.mean(examples["label"] != 0))  # none is left, and the first class wins
    noise = {line["deviation"]: line["error"] for line in measured["noise"]}
    assert noise[0.0] == errors[0.0] < noise[0.1] < noise[0.5]
    # Two pixels uniform in [0, 1] and noise of 0.5 on each: their difference is told apart in some 67 % of cases.
    difference = np.random.default_rng(1).random(100_000) - np.random.default_rng(2).random(100_000)
    shaken = difference + 0.5 * np.sqrt(2) * np.random.default_rng(3).standard_normal(100_000)
    assert noise[0.5] == pytest.approx(np.mean((difference > 0) != (shaken > 0)), abs=0.04)
