"""The same numbers as torchvision's networks, of the same random weights: goldens/from_torchvision.py made them."""

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import linen as nn
from goldens.random_weights import normal, random_state_dict, summary
from safetensors.numpy import load_file, save_file

from cnn_jax import weights
from cnn_jax.layers.dropout import Dropout

GOLDENS = np.load(Path(__file__).parent / "goldens" / "torchvision.npz")
ABOUT = json.loads(str(GOLDENS["about"]))
IN_TRAINING = " in training"


def relative_error(actual, expected):
    """The largest difference, as a part of the largest number expected."""
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / np.abs(expected).max()


def load(case, folder):
    """Our network, by way of a file of random weights in torchvision's form."""
    name, path = case.removesuffix(IN_TRAINING), folder / "random.safetensors"
    save_file(random_state_dict(ABOUT[case]["tensors"]), path)
    network = weights.load(path, name, "torchvision")
    path.unlink()
    return network


def assert_torchvisions(case, logits, endpoints, tolerance):
    assert {name: list(result.shape) for name, result in endpoints.items()} == ABOUT[case]["endpoints"]
    errors = {
        name: relative_error(summary(name, result), GOLDENS[f"{case}/{name}"]) for name, result in endpoints.items()
    }
    errors["logits"] = relative_error(np.asarray(logits), GOLDENS[f"{case}/logits"])
    print(f"{case}: relative error {max(errors.values()):.1e} of {max(errors, key=errors.get)}")
    assert {name: error for name, error in errors.items() if not error < tolerance} == {}


def test_numpy_draws_what_it_drew():
    """Where this fails, numpy has changed its generator: the goldens have to be made again."""
    np.testing.assert_array_equal(normal("draws", (8,)), GOLDENS["draws"])


@pytest.mark.parametrize("case", [case for case in ABOUT if not case.endswith(IN_TRAINING)])
def test_logits_and_endpoints(case, tmp_path):
    network = load(case, tmp_path)
    logits, endpoints = jax.jit(network.model.apply)(network.variables, normal("images", ABOUT[case]["images"]))
    assert_torchvisions(case, logits, endpoints, 1e-4)


def undropped(call, arguments, keywords, context):
    """Dropout of nothing, as the goldens have it."""
    return arguments[0] if isinstance(context.module, Dropout) else call(*arguments, **keywords)


def test_training_googlenet(tmp_path):
    """By its own statistics, and both auxiliary classifiers; and the running statistics that it leaves.

    In float64: normalised by few numbers, layer after layer, rounding grows until torchvision's own float32 is 1.3e-4
    from its float64.
    """
    case = "googlenet_tv" + IN_TRAINING
    network = load(case, tmp_path)
    with jax.enable_x64(True), nn.intercept_methods(undropped):
        apply = partial(network.model.clone(dtype=np.float64).apply, train=True, mutable="batch_stats")
        images = np.float64(normal("images", ABOUT[case]["images"]))
        results, updated = jax.jit(apply)(jax.tree.map(np.float64, network.variables), images)
        assert_torchvisions(case, *results, 1e-10)

    network = network._replace(variables=network.variables | updated)
    weights.save(tmp_path / "updated.safetensors", "googlenet_tv", "torchvision", network)
    after = load_file(tmp_path / "updated.safetensors")
    before = random_state_dict(ABOUT[case]["tensors"])
    # PyTorch's running variance, unlike what it normalises by, is the unbiased estimate from `count` numbers.
    for module, count in ABOUT[case]["counts"].items():
        mean, var = f"{module}.running_mean", f"{module}.running_var"
        unbiased = after[var] + (after[var] - 0.9 * before[var]) / (count - 1)
        assert relative_error(summary(mean, after[mean]), GOLDENS[f"{case}/{mean}"]) < 1e-6  # saved as float32
        assert relative_error(summary(var, unbiased), GOLDENS[f"{case}/{var}"]) < 1e-6
