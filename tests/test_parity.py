"""The same numbers as torchvision's networks, of the same random weights: goldens/from_torchvision.py made them."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import linen as nn
from safetensors.numpy import load_file, save_file

from cnn_jax import models, weights
from goldens.random_weights import normal, random_state_dict, summary

GOLDENS = np.load(Path(__file__).parent / "goldens" / "torchvision.npz")
ABOUT = json.loads(str(GOLDENS["about"]))
TOLERANCE = 1e-4


def relative_error(actual, expected):
    """The largest difference, as a part of the largest number expected."""
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / np.abs(expected).max()


def load(case, tmp_path, **changes):
    """Our network, its variables by way of a file in torchvision's form, and the tensors in that."""
    name = case.removesuffix(" in training")
    tensors = random_state_dict(ABOUT[case]["tensors"])
    path = tmp_path / "random.safetensors"
    save_file(tensors, path)
    variables, _ = weights.load(path, name, "torchvision")
    path.unlink()
    return models.build(name, **weights.options(name, "torchvision"), **changes), variables, tensors


def assert_endpoints_equal(case, endpoints):
    assert endpoints
    shapes = {endpoint: list(result.shape) for endpoint, result in endpoints.items()}
    assert shapes == ABOUT[case]["endpoints"]
    errors = {
        endpoint: relative_error(summary(endpoint, result), GOLDENS[f"{case}/{endpoint}"])
        for endpoint, result in endpoints.items()
    }
    print(f"{case}: largest relative error {max(errors.values()):.1e}, of {max(errors, key=errors.get)}")
    assert {endpoint: error for endpoint, error in errors.items() if not error < TOLERANCE} == {}


def test_numpy_draws_what_it_drew():
    """Where this fails, numpy has changed its generator: the goldens have to be made again."""
    np.testing.assert_array_equal(normal("draws", (8,)), GOLDENS["draws"])


@pytest.mark.parametrize("case", [case for case in ABOUT if not case.endswith("in training")])
def test_every_endpoint_equals_torchvisions(case, tmp_path):
    model, variables, _ = load(case, tmp_path)
    images = normal("images", ABOUT[case]["images"])
    logits, endpoints = model.apply(variables, images)
    assert relative_error(np.asarray(logits), GOLDENS[f"{case}/logits"]) < TOLERANCE
    assert_endpoints_equal(case, endpoints)
