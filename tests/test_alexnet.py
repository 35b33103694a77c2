import jax
import numpy as np
import pytest

from cnn_jax import presets
from cnn_jax.config import ConfigError
from cnn_jax.models import build
from cnn_jax.models.macs import count_macs
from tests.networks import draw_variables, trace_shapes

FAMILY = ("alexnet", "alexnet_owt")


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((2, 16, 16, 3), np.float32)


# REFERENCE: exact integer arithmetic, and torchvision's record.
@pytest.mark.parametrize(
    ("name", "changes", "count"),
    [("alexnet", {}, 60_965_224), ("alexnet", {"towers": 1}, 62_378_344), ("alexnet_owt", {}, 61_100_840)],
)
def test_published_parameter_counts(name, changes, count):
    _, _, variables = trace_shapes(name, **changes)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


@pytest.mark.parametrize(("name", "size", "billions"), [("alexnet", 227, 0.7244), ("alexnet_owt", 224, 0.714)])
def test_published_macs(name, size, billions):
    assert count_macs(build(name), (size, size, 3)) / 1e9 == pytest.approx(billions, abs=5e-4)


def test_shapes_are_the_papers():
    logits, endpoints, _ = trace_shapes("alexnet")
    assert logits == (2, 1000)
    assert endpoints == {
        **dict.fromkeys(("conv1", "norm1"), (55, 55, 96)),
        "pool1": (27, 27, 96),
        **dict.fromkeys(("conv2", "norm2"), (27, 27, 256)),
        "pool2": (13, 13, 256),
        **dict.fromkeys(("conv3", "conv4"), (13, 13, 384)),
        "conv5": (13, 13, 256),
        "pool5": (6, 6, 256),
        **dict.fromkeys(("fc6", "fc7"), (4096,)),
        "fc8": (1000,),
    }


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(("size", "channels", "stem"), [(8, 1, "tiny"), (28, 1, "small"), (32, 3, "small")])
def test_small_images(name, size, channels, stem):
    assert build(name, image_size=size).stem == stem
    logits, endpoints, _ = trace_shapes(name, size, channels, image_size=size, num_classes=10)
    assert logits == (2, 10)
    assert len(endpoints["fc8"]) == 1


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(("stem", "smallest"), [("paper", 67), ("small", 15), ("tiny", 7)])
def test_the_smallest_image_of_a_stem_leaves_one_pixel(name, stem, smallest):
    _, endpoints, _ = trace_shapes(name, image_size=smallest, stem=stem, width=2)
    assert endpoints["pool5"][:2] == (1, 1)


def test_images_below_the_smallest_are_refused():
    with pytest.raises(ConfigError, match="alexnet takes images of 7 pixels or more a side; these are 6"):
        build("alexnet", image_size=6)


def test_an_unknown_field_is_refused():
    with pytest.raises(ConfigError, match="alexnet has no model.tower; did you mean towers"):
        build("alexnet", tower=1)


def test_towers_do_not_see_each_other_before_conv3(x):
    model = build("alexnet", num_classes=10, width=12, image_size=16, initialization="he")
    variables = draw_variables(model, x)
    _, before = model.apply(variables, x)
    variables["params"]["conv1"]["kernel"][..., 8:] = (
        0  # of the second tower, beyond reach of the first's normalization
    )
    _, after = model.apply(variables, x)
    np.testing.assert_array_equal(after["conv2"][..., :16], before["conv2"][..., :16])
    assert np.abs(after["conv2"] - before["conv2"])[..., 16:].max() > 0.1
    assert np.abs(after["conv3"] - before["conv3"])[..., :24].max() > 0.1


def test_responses_are_normalized_as_section_3_3_has_it(x):
    model = build("alexnet", num_classes=10, width=12, image_size=16, initialization="he")
    _, endpoints = model.apply(draw_variables(model, 30 * x), 30 * x)
    a = np.asarray(endpoints["conv1"], np.float64)
    expected = np.empty_like(a)
    for i in range(12):
        squares = np.square(a[..., max(0, i - 2) : min(11, i + 2) + 1]).sum(axis=-1)
        expected[..., i] = a[..., i] / (2 + 1e-4 * squares) ** 0.75
    np.testing.assert_allclose(endpoints["norm1"], expected, rtol=1e-5, atol=1e-6)


def test_dropout_only_in_training_and_before_fc6_in_one_weird_trick(x):
    for name, first in (("alexnet", "fc7"), ("alexnet_owt", "fc6")):
        model = build(name, num_classes=10, width=12, image_size=16, initialization="he")
        variables = draw_variables(model, x)
        logits, still = model.apply(variables, x)
        np.testing.assert_array_equal(logits, model.apply(variables, x)[0])
        _, dropped = model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})
        differing = [key for key in still if (still[key] != dropped[key]).any()]
        assert sorted(differing) == [key for key in ("fc6", "fc7", "fc8") if key >= first]


@pytest.mark.parametrize("name", FAMILY)
def test_the_head_slides_over_a_larger_image(x, name):
    """The scores at each place of a larger pool5 are those of its window alone."""
    model = build(name, num_classes=5, width=12, image_size=16, stem="tiny", initialization="he")
    variables = draw_variables(model, x)
    large = np.random.default_rng(1).standard_normal((1, 24, 24, 3), np.float32)
    logits, endpoints = model.apply(variables, large)
    pool5 = np.asarray(endpoints["pool5"])
    window = variables["params"]["fc6"]["kernel"].shape[0]
    rows, columns = endpoints["fc8"].shape[1:3]
    assert (window, rows, columns) == (3, 3, 3)
    for row, column in np.ndindex(rows, columns):
        y = pool5[:, row : row + window, column : column + window].reshape(1, -1)
        for layer in ("fc6", "fc7", "fc8"):
            leaves = variables["params"][layer]
            y = y @ leaves["kernel"].reshape(y.shape[1], -1) + leaves["bias"]
            y = y if layer == "fc8" else np.maximum(y, 0)
        np.testing.assert_allclose(endpoints["fc8"][:, row, column], y, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits, np.mean(endpoints["fc8"], axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_initial_values_are_the_papers():
    model = build("alexnet", num_classes=10, width=24, image_size=16)
    params = draw_variables(model, np.zeros((1, 16, 16, 3)))["params"]
    ones = {name for name, leaves in params.items() if (leaves["bias"] == 1).all()}
    assert ones == {"conv2", "conv4", "conv5", "fc6", "fc7"}
    np.testing.assert_allclose(params["fc7"]["kernel"].std(), 0.01, rtol=0.01)  # a million draws


def test_each_family_has_its_recipe():
    recipes = {
        ("alexnet_owt", "imagenet2012"): (0.01, 128, 900_820),
        ("vgg16_bn", "imagenet2012"): (0.01, 256, 370_000),
        ("vgg11", "cifar10"): (0.01, 128, 64_000),
        ("squeezenet1_1", "digits"): (0.01, 128, 225),
        ("alexnet", "fashion_mnist"): (0.01, 128, 9_375),
    }
    for (model, dataset), recipe in recipes.items():
        config = presets.get("auto", dataset, model)
        assert (config.optim.learning_rate, config.batch_size, config.steps) == recipe
        assert (config.model.name, config.data.name) == (model, dataset)
    assert presets.get("auto", "imagenet2012", "alexnet").optim.rate_inside
