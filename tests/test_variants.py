"""Networks with one part exchanged: what changes, what does not, and what cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.config import ConfigError, Model
from cnn_jax.layers.activations import ACTIVATIONS
from cnn_jax.layers.norm import local_response_norm
from cnn_jax.layers.pool import Pool
from cnn_jax.models import build, complete
from tests.networks import draw_variables, trace_shapes


def images(size, channels=1):
    return np.random.default_rng(0).standard_normal((2, size, size, channels), np.float32)


def names(name, size=8, **changes):
    _, _, variables = trace_shapes(name, size, 1, num_classes=10, image_size=size, **changes)
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves}


@pytest.mark.parametrize("normalization", ["none", "lrn"])
@pytest.mark.parametrize("name", ["plain8", "resnet8", "resnet18"])
def test_without_batch_norm_a_convolution_has_the_bias(name, normalization):
    usual, other = names(name), names(name, normalization=normalization)
    assert {
        leaf.replace("bn/bias", "conv/bias") for leaf in usual if not leaf.endswith(("scale", "mean", "var"))
    } == set(other)
    assert all(other[leaf] == shape for leaf, shape in usual.items() if leaf in other)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_plain_net_is_its_layers_one_after_another(activation):
    """A second implementation: convolution by XLA, no normalisation, the mean and the classifier."""
    model = build("plain8", num_classes=10, image_size=8, width=4, normalization="none", activation=activation)
    x = images(8)
    variables = draw_variables(model, x)
    y = x
    layers = ["conv1", *(f"stage{s}_block1/conv{c}" for s in (1, 2, 3) for c in (1, 2))]
    for layer in layers:
        parameters = variables["params"]
        for part in layer.split("/"):
            parameters = parameters[part]
        stride = 2 if layer in ("stage2_block1/conv1", "stage3_block1/conv1") else 1
        padded = np.pad(y, [(0, 0), (1, 1), (1, 1), (0, 0)])
        convolved = jax.lax.conv_general_dilated(
            padded, parameters["conv"]["kernel"], (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        y = ACTIVATIONS[activation](convolved + parameters["conv"]["bias"].reshape(1, 1, 1, -1))
    fc = variables["params"]["fc"]
    expected = y.mean(axis=(1, 2)) @ fc["kernel"] + fc["bias"].reshape(1, -1)
    np.testing.assert_allclose(model.apply(variables, x)[0], expected, rtol=1e-4, atol=1e-5)


def test_lrn_stands_where_batch_norm_does():
    model = build("plain8", num_classes=10, image_size=8, width=8, normalization="lrn")
    none = build("plain8", num_classes=10, image_size=8, width=8, normalization="none", activation="tanh")
    x = images(8)
    variables = draw_variables(model, x)
    _, endpoints = model.apply(variables, x)
    before = jnp.arctanh(none.apply(variables, x)[1]["conv1"])
    np.testing.assert_allclose(endpoints["conv1"], jax.nn.relu(local_response_norm(before)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["plain8", "resnet8", "resnet18"])
@pytest.mark.parametrize("padding_mode", ["symmetric", "circular"])
def test_what_padding_holds_changes_no_shape_and_some_numbers(name, padding_mode):
    assert names(name, padding_mode=padding_mode) == names(name)
    usual, other = (
        build(name, num_classes=10, image_size=8, width=4, padding_mode=mode) for mode in ("zero", padding_mode)
    )
    variables = draw_variables(usual, images(8))
    assert not np.allclose(usual.apply(variables, images(8))[0], other.apply(variables, images(8))[0])


def test_a_circular_net_is_equivariant_to_circular_shifts():
    """No pixel is an edge: stage 1, which has no stride, moves as the image does."""
    model = build("resnet8", num_classes=10, image_size=8, width=4, padding_mode="circular")
    x = images(8)
    variables = draw_variables(model, x)
    shifted = model.apply(variables, np.roll(x, (3, 2), axis=(1, 2)))[1]["stage1"]
    np.testing.assert_allclose(shifted, jnp.roll(model.apply(variables, x)[1]["stage1"], (3, 2), (1, 2)), atol=1e-5)


@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_dropout_drops_the_last_means_in_training_alone(name):
    model = build(name, num_classes=10, image_size=8, width=16, dropout=0.5)
    x = images(8)
    variables = draw_variables(model, x)
    usual = build(name, num_classes=10, image_size=8, width=16)
    np.testing.assert_array_equal(model.apply(variables, x)[0], usual.apply(variables, x)[0])
    draws = [
        model.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(seed)})[0][0]
        for seed in (0, 1)
    ]
    assert not np.allclose(*draws)


CANNOT = {
    "resnet8, valid": (Model("resnet8", padding_mode="valid"), "the shortcuts of resnet8 need maps that keep their"),
    "plain8, valid, too small": (
        Model("plain8", padding_mode="valid"),
        "model.padding_mode=valid: images of 8 pixels are too small for plain8",
    ),
    "vgg11, trainable": (
        Model("vgg11", pooling="trainable"),
        "model.pooling=trainable: vgg11 has max, mean, overlapping, strided",
    ),
    "vgg11, no such normalisation": (Model("vgg11", normalization="bm"), "normalization=bm: vgg11 has none, lrn, bn"),
    "alexnet, mean": (Model("alexnet", pooling="mean"), "model.pooling=mean: alexnet has overlapping, max"),
    "alexnet, bn": (Model("alexnet", normalization="bn"), "model.normalization=bn: alexnet has lrn, none"),
    "vgg11, valid, too small": (Model("vgg11", padding_mode="valid"), "images of 8 pixels are too small for vgg11"),
    "lenet5_full, valid, too small": (Model("lenet5_full", padding_mode="valid"), "are too small for lenet5_full"),
    "googlenet, activation": (Model("googlenet", activation="tanh"), "googlenet has no model.activation"),
    "resnet8, pooling": (Model("resnet8", pooling="max"), "resnet8 has no model.pooling"),
}


@pytest.mark.parametrize("case", CANNOT)
def test_what_a_network_cannot_be_is_one_line(case):
    model, message = CANNOT[case]
    with pytest.raises(ConfigError, match=message) as error:
        complete(model, 8)
    assert "\n" not in str(error.value)


def test_a_plain_net_without_padding_on_larger_images():
    completed = complete(Model("plain8", padding_mode="valid"), 32)
    assert completed.padding_mode == "valid" and completed.image_size == 32


@pytest.mark.parametrize("pooling", ["mean", "overlapping", "strided"])
@pytest.mark.parametrize(("name", "size"), [("vgg11", 8), ("vgg11", 32), ("lenet5", 32), ("lenet5_full", 8)])
def test_every_pooling_halves_the_maps(name, size, pooling):
    usual = trace_shapes(name, size, 1, num_classes=10, image_size=size, pooling="max")
    other = trace_shapes(name, size, 1, num_classes=10, image_size=size, pooling=pooling)
    assert usual[:2] == other[:2]
    new = {leaf: shape for leaf, shape in names(name, size, pooling=pooling).items() if "/conv/" in leaf}
    pools = [layer for layer in usual[1] if layer.startswith(("pool", "S"))]
    channels = {layer: usual[1][layer][-1] for layer in pools}
    expected = {f"params/{layer}/conv/kernel": (3, 3, count, count) for layer, count in channels.items()}
    expected |= {f"params/{layer}/conv/bias": (count,) for layer, count in channels.items()}
    assert new == (expected if pooling == "strided" else {})


def test_overlapping_windows_are_krizhevskys_and_means_are_means():
    x = jnp.asarray(images(8, 2))
    padded = np.pad(np.asarray(x), [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    expected = [[padded[:, i : i + 3, j : j + 3].max(axis=(1, 2)) for j in range(0, 8, 2)] for i in range(0, 8, 2)]
    overlapping = Pool("overlapping").apply({}, x)
    np.testing.assert_array_equal(overlapping, np.array(expected).transpose(2, 0, 1, 3))
    np.testing.assert_allclose(
        Pool("mean").apply({}, x), x.reshape(2, 4, 2, 4, 2, 2).mean(axis=(2, 4)), rtol=1e-6, atol=1e-7
    )


def test_vgg_with_batch_norm_is_vgg_bn_and_lrn_follows_each_convolution():
    assert names("vgg11", 32, normalization="bn") == names("vgg11_bn", 32)
    assert names("vgg11", 32, normalization="lrn") == names("vgg11", 32)
    _, endpoints, _ = trace_shapes("vgg11", 32, image_size=32, normalization="lrn")
    assert {name for name in endpoints if name.startswith("norm")} == {
        name.replace("conv", "norm") for name in endpoints if name.startswith("conv")
    }


def test_alexnet_without_its_response_normalisation_has_the_same_parameters():
    assert names("alexnet", 32, normalization="none") == names("alexnet", 32)
    assert "norm1" not in trace_shapes("alexnet", 32, image_size=32, normalization="none")[1]
    assert "norm1" in trace_shapes("alexnet", 32, image_size=32)[1]


def test_alexnet_pools_without_overlap():
    _, overlapping, _ = trace_shapes("alexnet", 227)
    _, apart, variables = trace_shapes("alexnet", 227, pooling="max")
    assert [overlapping[f"pool{index}"][0] for index in (1, 2, 5)] == [27, 13, 6]  # the paper's
    assert [apart[f"pool{index}"][0] for index in (1, 2, 5)] == [27, 13, 6]
    small = [
        trace_shapes("alexnet", 32, image_size=32, pooling=pooling)[1]["pool5"][0] for pooling in ("overlapping", "max")
    ]
    assert small == [3, 4]
    assert variables["params"]["fc6"]["kernel"].shape[:2] == (6, 6)


def test_a_strided_convolution_pads_as_all_others_do():
    x = jnp.asarray(images(8, 2))
    pool = Pool("strided", "tanh", "circular")
    variables = pool.init(jax.random.key(0), x)
    y = pool.apply(variables, x)
    shifted = pool.apply(variables, jnp.roll(x, (2, 4), (1, 2)))
    np.testing.assert_allclose(shifted, jnp.roll(y, (1, 2), (1, 2)), atol=1e-6)
    assert Pool("strided", "tanh", "valid").init_with_output(jax.random.key(0), x)[0].shape == (2, 3, 3, 2)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_full"])
def test_lenet_without_padding_sees_smaller_maps(name):
    _, zero, _ = trace_shapes(name, 28, 1, image_size=28)
    _, valid, _ = trace_shapes(name, 28, 1, image_size=28, padding_mode="valid")
    assert (zero["C1"][0], zero["C3"][0]) == (28, 10) and (valid["C1"][0], valid["C3"][0]) == (24, 8)
    assert trace_shapes(name, 32, 1, padding_mode="valid")[1] == trace_shapes(name, 32, 1)[1]  # the paper pads nothing


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize(("name", "layer"), [("lenet5_full", "F6"), ("vgg11", "fc7"), ("alexnet", "fc7")])
def test_the_nonlinearity_is_everywhere(name, layer, activation):
    model = build(
        name, num_classes=10, image_size=8, activation=activation, **({} if "lenet" in name else {"width": 8})
    )
    x = images(8)
    _, endpoints = model.apply(draw_variables(model, x), x)
    for end, value in endpoints.items():
        if end not in ("output", "fc8"):
            assert float(value.min()) >= 0
    assert activation == "relu" or 0 < float(endpoints[layer].min()) < float(endpoints[layer].max()) < 1
