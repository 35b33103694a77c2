"""Diagnostics against shallower networks, statistics known beforehand, and gradients written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from cnn_jax import evaluation, models, tasks
from cnn_jax.config import Config, ConfigError, Data, Model, replace_field
from cnn_jax.layers.initializers import initialize
from cnn_jax.models.residual import stack_blocks
from cnn_jax.network import Network
from cnn_jax.studies.depth.blocks import block_names, unscan
from cnn_jax.studies.depth.construction import deepen
from cnn_jax.studies.depth.gradients import gradient_norms
from cnn_jax.studies.depth.lesions import lesions, remove_blocks
from cnn_jax.studies.depth.responses import deviations
from cnn_jax.tasks.images import preprocessing
from cnn_jax.train import devices
from tests.test_evaluation import as_float, labelled, softmax

ONE, TWO = devices.make_layout("jit", 1), devices.make_layout("pmap", 2)


def network(name, size=8, width=4, **changes):
    """A small network all of whose variables are random, the running statistics too."""
    model = models.build(name, image_size=size, width=width, **changes)
    variables = initialize(model.clone(scan=False), jax.random.key(1), jax.ShapeDtypeStruct((1, size, size, 1), "f4"))
    noise = np.random.default_rng(0)
    drawn = {
        path: leaf + noise.uniform(0.1, 0.9, leaf.shape).astype(np.float32) * (path[-1] != "kernel")
        for path, leaf in traverse_util.flatten_dict(variables).items()
    }
    return Network(model, traverse_util.unflatten_dict(drawn), as_float, 1)


def apply(network, variables=None, removed=()):
    names = block_names(network)
    with remove_blocks({name: jnp.asarray(name not in removed) for name in names}):
        x = as_float(labelled(3, 8, 8)["image"])
        logits, endpoints = network.model.apply(variables or network.variables, x)
    return np.asarray(logits), endpoints


def taken_over(small, large):
    """The variables of `large` that `small` has too."""
    flat = traverse_util.flatten_dict(large)
    return traverse_util.unflatten_dict({path: flat[path] for path in traverse_util.flatten_dict(small)})


@pytest.mark.parametrize("name", ["plain", "resnet"])
def test_without_its_added_blocks_a_network_is_the_shallower_one(name):
    deep, shallow = network(f"{name}14"), network(f"{name}8")
    shared = taken_over(shallow.variables, deep.variables)
    there = apply(deep, removed=[f"stage{stage}_block2" for stage in (1, 2, 3)])[0]
    np.testing.assert_allclose(there, apply(shallow, shared)[0], rtol=1e-5)
    assert not np.allclose(there, apply(deep)[0], rtol=1e-2)
    np.testing.assert_array_equal(
        apply(deep)[0], deep.model.apply(deep.variables, as_float(labelled(3, 8, 8)["image"]))[0]
    )


@pytest.mark.parametrize(("name", "option"), [("plain8", "A"), ("resnet8", "A"), ("resnet8", "B"), ("resnet8", "C")])
def test_of_a_block_that_halves_the_maps_the_shortcut_stays(name, option):
    net = network(name, shortcut_option=option)
    endpoints = apply(net, removed=["stage2_block1"])[1]
    before, after = (np.asarray(endpoints[stage]) for stage in ("stage1", "stage2"))
    halved = before[:, ::2, ::2]
    if option == "A":
        np.testing.assert_array_equal(after[..., :4], halved)
        assert not after[..., 4:].any()
        return
    shortcut, running = (net.variables[kind]["stage2_block1"]["shortcut"] for kind in ("params", "batch_stats"))
    y = halved @ shortcut["conv"]["kernel"][0, 0]
    y = (y - running["bn"]["mean"]) / np.sqrt(running["bn"]["var"] + 1e-5) * shortcut["bn"]["scale"]
    np.testing.assert_allclose(after, np.maximum(y + shortcut["bn"]["bias"], 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [ONE, TWO], ids=["one", "two"])
def test_lesions_are_of_every_block_and_every_example(layout):
    net, examples = network("resnet14"), labelled(7, 8, 8)

    def error(*removed):
        names = block_names(net)
        with remove_blocks({name: jnp.asarray(name not in removed) for name in names}):
            logits = net.model.apply(net.variables, as_float(examples["image"]))[0]
        return float(np.mean(np.argmax(logits, axis=1) != examples["label"]))

    examples["label"] = np.asarray(net.model.apply(net.variables, as_float(examples["image"]))[0]).argmax(axis=1)
    examples["label"] = examples["label"].astype(np.int32)
    found = lesions(net, examples, layout, batch_size=4, several=[6, 7], draws=2)
    assert found["blocks"] == [f"stage{stage}_block{block}" for stage in (1, 2, 3) for block in (1, 2)]
    assert found["intact"] == 0 and found["chance"] == pytest.approx(0.9)
    assert found["error"] == pytest.approx([error(name) for name in found["blocks"]])
    assert found["several"] == [{"removed": 6, "error": pytest.approx([error(*found["blocks"])] * 2)}]


def test_a_scanned_network_has_the_same_blocks():
    net = network("resnet20")
    scanned = net._replace(model=net.model.clone(scan=True), variables=stack_blocks(net.variables))
    again = unscan(scanned)
    assert block_names(again) == block_names(net)
    np.testing.assert_array_equal(apply(again)[0], apply(net)[0])


@pytest.mark.parametrize(
    ("name", "depth", "changes"),
    [
        ("plain8", 20, {}),
        ("plain14", 14, {}),
        ("resnet8", 20, {}),
        ("resnet8", 14, {"shortcut_option": "C"}),
        ("plain18", 34, {"stem": "small"}),
    ],
)
def test_a_deeper_network_computes_the_same(name, depth, changes):
    net = network(name, **changes)
    deeper = deepen(net, depth)
    assert len(block_names(deeper)) >= len(block_names(net))
    np.testing.assert_allclose(apply(deeper)[0], apply(net)[0], rtol=1e-4, atol=1e-4)
    assert np.abs(apply(net)[0]).max() > 0.01


@pytest.mark.parametrize(
    ("name", "depth", "told"),
    [
        ("plain14", 8, "depth 8 has no stage1_block2, which the trained network has"),
        ("lenet5", 8, "LeNet5 has no blocks"),
    ],
)
def test_what_cannot_be_deepened_is_one_line(name, depth, told):
    size = 32 if name == "lenet5" else 8
    model = models.build(name, image_size=size)
    variables = initialize(model, jax.random.key(1), jax.ShapeDtypeStruct((1, size, size, 1), "f4"))
    with pytest.raises(ConfigError, match=told):
        deepen(Network(model, variables, as_float, 1), depth)


@pytest.mark.parametrize("layout", [ONE, TWO], ids=["one", "two"])
@pytest.mark.parametrize("name", ["plain8", "resnet14"])
def test_responses_after_batch_norm_have_the_deviation_that_it_gives_them(name, layout):
    # Where the statistics are those of these very images, a channel has mean bias and standard deviation scale.
    images = labelled(7, 8, 8)
    net = evaluation.recompute_batch_norm(network(name), images["image"], ONE, batch_size=7)
    found = deviations(net, images, layout, batch_size=4)
    blocks = [f"{block}/conv{index}" for block in block_names(net) for index in (1, 2)]
    assert list(found) == ["conv1", *blocks]
    for layer, value in found.items():
        batch_norm = net.variables["params"]
        for module in layer.split("/"):
            batch_norm = batch_norm[module]
        scale, bias = (np.float64(batch_norm["bn"][leaf]) for leaf in ("scale", "bias"))
        assert value == pytest.approx(np.sqrt(np.square(scale).mean() + bias.var()), rel=1e-3)


def complete(name, digits, **changes):
    config = Config(Model(name, width=4), Data("digits", pad=0, flip=False), batch_size=16)
    for field, value in changes.items():
        config = replace_field(config, f"model.{field}", value)
    return tasks.complete(config, digits)


def test_the_last_layers_gradient_is_that_of_softmax_regression(digits):
    config = complete("plain8", digits)
    norms = gradient_norms(config, digits)
    blocks = [f"stage{stage}_block1/conv{index}" for stage in (1, 2, 3) for index in (1, 2)]
    assert list(norms) == ["conv1", *blocks, "fc"]
    task = tasks.make(config, digits, None)
    variables = task.init(jax.random.key(0), None)
    order = np.random.default_rng([0, 0]).permutation(len(digits.splits["train"]["label"]))[:16]
    image, label = (digits.splits["train"][field][order] for field in ("image", "label"))
    model = models.build("plain8", **models.build_arguments(config.model))
    seen = preprocessing(config.data, digits)(image)
    (logits, endpoints), _ = model.apply(variables, seen, train=True, mutable=["batch_stats"])
    by_hand = np.asarray(endpoints["pool"]).T @ (softmax(logits) - np.eye(10)[label]) / 16
    assert norms["fc"] == pytest.approx(np.linalg.norm(by_hand), rel=1e-4)


def test_before_batch_norm_twice_the_kernel_has_half_the_gradient(digits):
    config = complete("resnet8", digits)
    variables = tasks.make(config, digits, None).init(jax.random.key(0), None)
    before = gradient_norms(config, digits, variables)
    variables["params"]["stage2_block1"]["conv1"]["conv"]["kernel"] *= 2
    after = gradient_norms(config, digits, variables)
    expected = before | {"stage2_block1/conv1": before["stage2_block1/conv1"] / 2}
    assert after == pytest.approx(expected, rel=1e-3)
    assert gradient_norms(replace_field(config, "model.scan", True), digits, stack_blocks(variables)) == pytest.approx(
        after
    )


def test_any_network_has_gradients_by_layer(digits):
    config = tasks.complete(Config(Model("lenet5_full"), Data("digits", canvas=32), batch_size=4), digits)
    assert list(gradient_norms(config, digits)) == ["C1", "C3/of_6", "C5", "F6", "output"]
