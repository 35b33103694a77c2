"""The ImageNet networks of He et al. 2016, Table 1, and option C in both families."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.config import ConfigError
from cnn_jax.layers.initializers import initialize
from cnn_jax.models import build
from cnn_jax.models.macs import count_macs
from cnn_jax.models.residual import Block, make_conv_norm, stack_blocks


def variables_of(model, shape=(224, 224, 3)):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape))))


def parameters(name, **changes):
    return sum(leaf.size for leaf in jax.tree.leaves(variables_of(build(name, **changes))["params"]))


# torchvision's own counts; options A and the plain nets by integer arithmetic.
COUNTS = {
    ("resnet18", "B"): 11_689_512,
    ("resnet34", "B"): 21_797_672,
    ("resnet50", "B"): 25_557_032,
    ("resnet101", "B"): 44_549_160,
    ("resnet152", "B"): 60_192_808,
    ("resnet18", "A"): 11_515_688,
    ("resnet34", "A"): 21_623_848,
    ("plain18", "B"): 11_515_688,
    ("plain34", "A"): 21_623_848,
}


@pytest.mark.parametrize(("name", "option"), COUNTS)
def test_published_parameter_counts(name, option):
    assert parameters(name, shortcut_option=option) == COUNTS[name, option]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("resnet34", [(64, 3), (128, 3), (256, 5), (512, 2)]), ("resnet20", [(16, 3), (32, 2), (64, 2)])],
)
def test_option_c_adds_a_projection_to_every_block_that_keeps_its_shape(name, blocks):
    added = parameters(name, shortcut_option="C") - parameters(name, shortcut_option="B")
    assert added == sum(times * (channels**2 + 2 * channels) for channels, times in blocks)


# Billions of multiply-accumulates at 224 pixels: torchvision's are v1.5.
@pytest.mark.parametrize(
    ("name", "changes", "billions"),
    [
        ("resnet18", {}, 1.814),
        ("resnet34", {}, 3.664),
        ("plain18", {}, 1.795),
        ("plain34", {}, 3.644),
        ("resnet50", {}, 3.858),
        ("resnet101", {}, 7.570),
        ("resnet50", {"stride_in": "3x3"}, 4.089),
        ("resnet101", {"stride_in": "3x3"}, 7.801),
    ],
)
def test_published_multiply_accumulates(name, changes, billions):
    assert round(count_macs(build(name, **changes), (224, 224, 3)) / 1e9, 3) == billions


def shapes_of(tree):
    return jax.tree.map(lambda leaf: leaf.shape, tree)


def test_the_place_of_the_stride_changes_no_variable():
    first, third = (variables_of(build("resnet50", stride_in=place)) for place in ("1x1", "3x3"))
    assert shapes_of(first) == shapes_of(third)


def endpoint_shapes(model, shape=(224, 224, 3)):
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    _, endpoints = jax.eval_shape(model.apply, variables_of(model, shape), x)
    return {name: endpoint.shape[1:] for name, endpoint in endpoints.items()}


@pytest.mark.parametrize(("name", "factor"), [("resnet18", 1), ("plain34", 1), ("resnet50", 4)])
def test_endpoints_have_the_shapes_of_table_1(name, factor):
    assert endpoint_shapes(build(name)) == {
        "conv1": (112, 112, 64),
        "pool1": (56, 56, 64),
        "conv2_x": (56, 56, 64 * factor),
        "conv3_x": (28, 28, 128 * factor),
        "conv4_x": (14, 14, 256 * factor),
        "conv5_x": (7, 7, 512 * factor),
        "pool5": (512 * factor,),
    }


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3)])
def test_small_images_have_a_stem_that_keeps_their_pixels(shape):
    model = build("resnet50", image_size=shape[0], num_classes=10)
    assert model.stem == "small"
    shapes = endpoint_shapes(model, shape)
    assert shapes["conv2_x"] == (*shape[:2], 256)
    assert shapes["conv5_x"] == (-(-shape[0] // 8), -(-shape[0] // 8), 2048)
    assert "pool1" not in shapes


def test_images_below_eight_pixels_are_refused():
    with pytest.raises(ConfigError, match="takes images of 8 pixels or more a side; these are 7"):
        build("resnet18", image_size=7)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((2, 8, 8, 3), np.float32)


@pytest.mark.parametrize(("place", "strides"), [("1x1", (2, 1, 1)), ("3x3", (1, 2, 1))])
def test_a_bottleneck_whose_branch_is_dead_is_its_shortcut(x, place, strides):
    """3 channels become 4 * 2: at half the size, option A's five zero channels are two before and three after."""
    layer = make_conv_norm(build("resnet50", stem="small"))
    block = Block(2, 2, "A", "each_side", layer, bottleneck=True, stride_in=place)
    assert tuple(stride for _, _, stride in block.conv_arguments()) == strides
    variables = block.init(jax.random.key(0), x, train=False)
    variables["params"]["conv3"]["bn"]["scale"] = np.zeros(8, np.float32)
    expected = np.pad(np.maximum(x, 0)[:, ::2, ::2], [(0, 0)] * 3 + [(2, 3)])
    np.testing.assert_array_equal(block.apply(variables, x, train=False), expected)


def test_scanned_blocks_give_the_same_numbers(x):
    model = build("resnet18", num_classes=10, width=2, image_size=8, shortcut_option="C")
    variables = initialize(model, jax.random.key(0), jax.ShapeDtypeStruct(x.shape, jnp.float32))
    logits, endpoints = model.apply(variables, x)
    scanned, others = model.clone(scan=True).apply(stack_blocks(variables), x)
    np.testing.assert_allclose(scanned, logits, rtol=1e-4, atol=1e-5)
    assert others.keys() == endpoints.keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain50", "depth 50 is resnet50's, without a plain twin; the nearest are 44 and 56"),
        ("plain152", "depth 152 is resnet152's, without a plain twin; the nearest are 146 and 158"),
        ("resnet51", "depth 51 is not 6n+2; the nearest are 44 and 56"),
    ],
)
def test_no_depth_pairs_networks_of_different_families(name, message):
    with pytest.raises(ConfigError) as error:
        build(name)
    assert message in str(error.value)
