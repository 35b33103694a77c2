import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import features
from cnn_jax.config import ConfigError
from cnn_jax.layers.initializers import initialize
from cnn_jax.models import build

SHAPE = (12, 12, 3)


def normalize(image):
    return image.astype(jnp.float32) / 255 - 0.5


@pytest.fixture(scope="module")
def network():
    model = build("resnet8", num_classes=10, width=4)
    return model, initialize(model, jax.random.key(0), jax.ShapeDtypeStruct((1, *SHAPE), jnp.float32))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (7, *SHAPE), np.uint8)


def test_first_filters_are_the_first_convolutions(network):
    kernel = network[1]["params"]["conv1"]["conv"]["kernel"]
    np.testing.assert_array_equal(features.first_filters(network[1]["params"]), kernel)
    assert len(features.draw_filters(kernel, "").axes) == 4


def test_maps_are_the_endpoints_in_the_networks_order(network, images):
    model, variables = network
    maps = features.compute_maps(model, variables, normalize, images[0])
    assert list(maps) == ["conv1", "stage1", "stage2", "stage3", "pool"]
    expected = model.apply(variables, normalize(jnp.asarray(images[:1])))[1]
    np.testing.assert_allclose(maps["stage2"], expected["stage2"][0], rtol=1e-4, atol=1e-5)
    features.draw_maps(maps, features.to_unit_range(images[0]), 4, "")


def test_the_most_exciting_patch_is_where_a_second_search_finds_it(network, images):
    """The unit's activation, sought by hand; outside the patch pixels do not matter to it, inside they do."""
    model, variables = network
    unit = ("conv1", 2)
    (patches,) = features.find_patches(model, variables, normalize, images, [unit], count=3, batch_size=4).values()
    activations = np.asarray(model.apply(variables, normalize(jnp.asarray(images)))[1]["conv1"][..., 2])  # (7, 12, 12)
    strongest = activations.max(axis=(1, 2))
    assert [patch.image for patch in patches] == np.argsort(-strongest)[:3].tolist()
    for patch in patches:
        assert patch.activation == pytest.approx(strongest[patch.image], rel=1e-5)
        row, column = np.unravel_index(activations[patch.image].argmax(), (12, 12))
        assert (patch.top, patch.bottom) == (max(row - 1, 0), min(row + 2, 12))  # a 3x3 convolution, its zeros apart
        assert (patch.left, patch.right) == (max(column - 1, 0), min(column + 2, 12))
    features.draw_patches({unit: patches, ("conv1", 0): []}, dict(enumerate(images / 255)), "")


@pytest.mark.parametrize(
    ("unit", "message"), [(("conv9", 0), "no endpoint 'conv9'"), (("conv1", 4), "has the units 0 to 3, not 4")]
)
def test_an_unknown_unit_is_named(network, images, unit, message):
    with pytest.raises(ConfigError, match=message):
        features.find_patches(*network, normalize, images, [unit])


def test_units_are_written_with_their_endpoint(network, images):
    assert features.parse_units(["stage2:3", "conv1:0"]) == [("stage2", 3), ("conv1", 0)]
    with pytest.raises(ConfigError, match="write endpoint:channel"):
        features.parse_units(["stage2"])
    maps = features.compute_maps(*network, normalize, images[0])
    assert features.default_units(maps, 2) == [("stage3", 0), ("stage3", 1)]
