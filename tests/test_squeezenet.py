from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.config import ConfigError
from cnn_jax.layers.initializers import initialize
from cnn_jax.models import build
from cnn_jax.models.macs import count_macs
from tests import networks

traced = partial(networks.trace_shapes, "squeezenet1_1")


@pytest.fixture(scope="module")
def small():
    model = build("squeezenet1_1", num_classes=10, width=8, image_size=16)
    x = np.random.default_rng(0).standard_normal((2, 16, 16, 3), np.float32)
    return model, networks.draw_variables(model, x), x


def test_published_parameter_count_and_macs():
    _, _, variables = traced()
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 1_235_496
    assert count_macs(build("squeezenet1_1"), (224, 224, 3)) / 1e9 == pytest.approx(0.349, abs=5e-4)


def test_shapes_are_the_releases():
    logits, endpoints, _ = traced()
    assert logits == (2, 1000)
    assert endpoints == {
        "conv1": (111, 111, 64),
        "pool1": (55, 55, 64),
        "fire2": (55, 55, 128),
        "fire3": (55, 55, 128),
        "pool3": (27, 27, 128),
        "fire4": (27, 27, 256),
        "fire5": (27, 27, 256),
        "pool5": (13, 13, 256),
        "fire6": (13, 13, 384),
        "fire7": (13, 13, 384),
        "fire8": (13, 13, 512),
        "fire9": (13, 13, 512),
        "conv10": (13, 13, 1000),
        "pool10": (1000,),
    }


@pytest.mark.parametrize(
    ("size", "channels", "stem", "last"),
    [(8, 1, "tiny", 2), (28, 1, "small", 3), (32, 3, "small", 4), (64, 3, "paper", 3)],
)
def test_small_images(size, channels, stem, last):
    assert build("squeezenet1_1", image_size=size).stem == stem
    logits, endpoints, _ = traced(size, channels, image_size=size, num_classes=10)
    assert logits == (2, 10)
    assert endpoints["conv10"] == (last, last, 10)


def test_the_papers_stem_is_for_images_large_enough_for_it():
    with pytest.raises(ConfigError, match="model.stem=paper: squeezenet1_1 so takes 64 pixels or more; these are 32"):
        build("squeezenet1_1", image_size=32, stem="paper")


def test_pooling_rounds_up():
    """Of 112 pixels windows of 3, 2 apart, are 56 in Caffe, which hangs the last over the edge, and 55 else."""
    assert traced(226, image_size=226)[1]["pool1"][:2] == (56, 56)


def test_scores_are_rectified_then_averaged(small):
    model, variables, x = small
    logits, endpoints = model.apply(variables, x)
    leaves = variables["params"]["conv10"]
    before = np.asarray(endpoints["fire9"]) @ leaves["kernel"][0, 0] + leaves["bias"]
    assert (before < 0).any()
    np.testing.assert_allclose(logits, np.maximum(before, 0).mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)


def test_dropout_only_in_training_and_before_conv10(small):
    model, variables, x = small
    logits, still = model.apply(variables, x)
    np.testing.assert_array_equal(logits, model.apply(variables, x)[0])
    _, dropped = model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})
    assert sorted(name for name in still if (still[name] != dropped[name]).any()) == ["conv10", "pool10"]


def test_a_larger_image_has_the_same_parameters(small):
    model, variables, _ = small
    logits, endpoints = model.apply(variables, np.ones((1, 24, 32, 3), np.float32))
    assert logits.shape == (1, 10)
    assert endpoints["conv10"].shape == (1, 3, 4, 10)


def test_the_scores_begin_small():
    model = build("squeezenet1_1")
    params = initialize(model, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))["params"]
    np.testing.assert_allclose(params["conv10"]["kernel"].std(), 0.01, rtol=0.01)  # 512,000 draws
    np.testing.assert_allclose(params["fire9"]["expand3x3"]["kernel"].std(), np.sqrt(2 / (9 * 64)), rtol=0.01)


def test_settings_that_it_does_not_have_are_refused():
    with pytest.raises(ConfigError, match="squeezenet1_1 has no model.bn_group"):
        build("squeezenet1_1", bn_group=64)
    with pytest.raises(ConfigError, match="takes images of 8 pixels or more a side; these are 7"):
        build("squeezenet1_1", image_size=7)
