import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.config import ConfigError
from cnn_jax.models import MODELS, build
from cnn_jax.models.macs import count_macs
from tests.networks import draw_variables, trace_shapes


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((2, 16, 16, 3), np.float32)


# REFERENCE: exact integer arithmetic over Table 1, and torchvision's record. The paper rounds to millions (Table 2).
COUNTS = {
    "vgg11": 132_863_336,
    "vgg11_lrn": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16c": 133_638_952,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}


def test_every_vgg_is_counted():
    assert {name for name in MODELS if name.startswith("vgg")} == COUNTS.keys()


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_published_parameter_counts(name, count):
    _, _, variables = trace_shapes(name)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    weighted = [layer for layer in variables["params"] if not layer.startswith("bn")]
    assert len(weighted) == int("".join(filter(str.isdigit, name)))


@pytest.mark.parametrize(("name", "billions"), [("vgg11", 7.609), ("vgg13", 11.308), ("vgg16", 15.47)])
def test_published_macs(name, billions):
    assert count_macs(build(name), (224, 224, 3)) / 1e9 == pytest.approx(billions, abs=5e-3)


def test_shapes_of_vgg16():
    logits, endpoints, _ = trace_shapes("vgg16")
    assert logits == (2, 1000)
    assert endpoints["conv1_1"] == endpoints["conv1_2"] == (224, 224, 64)
    assert [endpoints[f"pool{stage}"] for stage in range(1, 6)] == [
        (112, 112, 64),
        (56, 56, 128),
        (28, 28, 256),
        (14, 14, 512),
        (7, 7, 512),
    ]
    assert endpoints["conv5_3"] == (14, 14, 512)
    assert [endpoints[name] for name in ("fc6", "fc7", "fc8")] == [(4096,), (4096,), (1000,)]


def test_configuration_c_ends_its_last_three_stages_with_1x1():
    _, _, variables = trace_shapes("vgg16c", 32, image_size=32, width=1)
    sizes = {name: leaves["kernel"].shape[0] for name, leaves in variables["params"].items() if "conv" in name}
    assert {name for name, size in sizes.items() if size == 1} == {"conv3_3", "conv4_3", "conv5_3"}
    assert len(sizes) == 13


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(("size", "channels", "stem"), [(8, 1, "tiny"), (28, 1, "small"), (32, 3, "paper")])
def test_small_images(name, size, channels, stem):
    assert build(name, image_size=size).stem == stem
    logits, endpoints, _ = trace_shapes(name, size, channels, image_size=size, num_classes=10)
    assert logits == (2, 10)
    assert endpoints["pool5"] == (1, 1, 512)


def test_settings_that_a_network_does_not_have_are_refused():
    with pytest.raises(ConfigError, match="vgg16 has no model.shortcut_option"):
        build("vgg16", shortcut_option="A")
    assert build("vgg16_bn", bn_group=64).bn_group == 64
    with pytest.raises(ConfigError, match="vgg16 takes images of 8 pixels or more a side; these are 7"):
        build("vgg16", image_size=7)


def test_a_lrn_differs_from_a_by_response_normalization_after_conv1_1(x):
    plain, normalized = (
        build(name, num_classes=10, width=4, image_size=16, initialization="he") for name in ("vgg11", "vgg11_lrn")
    )
    variables = draw_variables(plain, x)
    _, endpoints = plain.apply(variables, x)
    _, with_lrn = normalized.apply(variables, x)
    assert with_lrn.keys() - endpoints.keys() == {"norm1_1"}
    a = np.asarray(endpoints["conv1_1"], np.float64)
    squares = [np.square(a[..., max(0, i - 2) : i + 3]).sum(axis=-1) for i in range(4)]
    expected = a / (2 + 1e-4 * np.stack(squares, axis=-1)) ** 0.75
    np.testing.assert_allclose(with_lrn["norm1_1"], expected, rtol=1e-5)


def test_dropout_only_in_training(x):
    model = build("vgg11", num_classes=10, width=4, image_size=16, initialization="he")
    variables = draw_variables(model, x)
    logits, still = model.apply(variables, x)
    np.testing.assert_array_equal(logits, model.apply(variables, x)[0])
    _, dropped = model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})
    assert sorted(name for name in still if (still[name] != dropped[name]).any()) == ["fc7", "fc8"]


def test_batch_norm_comes_before_the_nonlinearity(x):
    model = build("vgg11_bn", num_classes=10, width=4, image_size=16, initialization="he")
    variables = draw_variables(model, x)
    variables["params"]["bn1_1"]["bias"][:] = -1e3
    rngs = {"dropout": jax.random.key(1)}
    (_, endpoints), moved = model.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)
    assert (endpoints["conv1_1"] == 0).all()
    assert len(moved["batch_stats"]) == 8
    # After the layer of zeros a convolution is its bias, zero here, and so is its mean.
    assert (moved["batch_stats"]["bn2_1"]["mean"] == 0).all()
    assert (moved["batch_stats"]["bn1_1"]["mean"] != 0).all()


def test_the_head_slides_over_a_larger_image(x):
    """The scores at each place of a larger pool5 are those of its window alone (Section 3.2)."""
    model = build("vgg11", num_classes=5, width=4, image_size=16, stem="tiny", initialization="he")
    variables = draw_variables(model, x)
    large = np.random.default_rng(1).standard_normal((1, 24, 32, 3), np.float32)
    logits, endpoints = model.apply(variables, large)
    pool5 = np.asarray(endpoints["pool5"])
    assert endpoints["fc8"].shape == (1, 2, 3, 5)
    for row, column in np.ndindex(2, 3):
        y = pool5[:, row : row + 2, column : column + 2].reshape(1, -1)
        for layer in ("fc6", "fc7", "fc8"):
            leaves = variables["params"][layer]
            y = y @ leaves["kernel"].reshape(y.shape[1], -1) + leaves["bias"]
            y = y if layer == "fc8" else np.maximum(y, 0)
        np.testing.assert_allclose(endpoints["fc8"][:, row, column], y, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits, np.mean(endpoints["fc8"], axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_bfloat16_logits_are_float32_and_near(x):
    model = build("vgg11", num_classes=10, width=4, image_size=16, initialization="he")
    variables = draw_variables(model, x)
    full, _ = model.apply(variables, x)
    low, endpoints = model.clone(dtype=jnp.bfloat16).apply(variables, x)
    assert low.dtype == jnp.float32
    assert endpoints["conv5_2"].dtype == jnp.bfloat16
    np.testing.assert_allclose(low, full, rtol=0.1, atol=0.1)
