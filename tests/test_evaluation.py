"""Protocols against loops written by hand, dense evaluation against the sliding window, and published weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import data, evaluation, models, tasks
from cnn_jax.config import Config, ConfigError, Data, Model
from cnn_jax.data.crops import resize_short_side, ten_crop
from cnn_jax.evaluation import Protocol, networks
from cnn_jax.layers.initializers import initialize
from cnn_jax.network import Network
from cnn_jax.tasks.images import preprocessing
from cnn_jax.train import devices, feed
from cnn_jax.train import evaluate as exact
from cnn_jax.train.step import make_evaluate_step

ONE, TWO = devices.make_layout("jit", 1), devices.make_layout("pmap", 2)


def as_float(image):
    return image.astype(jnp.float32) / 255


def tiny(name="resnet8", size=8, channels=1, **changes):
    """A network at its initial values, with random batch-norm statistics, that is sure of no class."""
    model = models.build(name, image_size=size, **changes)
    variables = initialize(model, jax.random.key(1), jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32))
    noise = np.random.default_rng(2)
    if "batch_stats" in variables:
        variables["batch_stats"] = jax.tree.map(
            lambda leaf: leaf + noise.uniform(0, 0.1, leaf.shape).astype(np.float32), variables["batch_stats"]
        )
        variables["params"]["fc"]["kernel"] *= np.float32(0.3)
    return Network(model, variables, as_float, channels)


def labelled(count, height, width, channels=1, classes=10):
    noise = np.random.default_rng(3)
    image = noise.integers(0, 256, (count, height, width, channels), np.uint8)
    return {"image": image, "label": noise.integers(0, classes, count, np.int32)}


def softmax(logits):
    shifted = np.exp(np.float64(logits) - np.max(logits, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def probabilities(network, x):
    return softmax(network.model.apply(network.variables, x)[0])


def averaged(network, image, protocol):
    return np.exp(evaluation.log_probabilities(network, network.variables, image, protocol))


@pytest.mark.parametrize("layout", [ONE, TWO, TWO._replace(parallel="jit")], ids=["one", "pmap", "jit on two"])
def test_one_crop_is_what_training_evaluates(layout, digits):
    config = tasks.complete(Config(Model("resnet8", width=4), Data("digits", pad=0, flip=False)), digits)
    task = tasks.make(config, digits, layout.axis_name)
    variables = task.init(jax.random.key(0), None)
    step = devices.parallelize(layout, make_evaluate_step(task.evaluate, layout.axis_name), "rrrs")
    given = devices.replicate(layout, (variables, digits.splits["test"]))
    there, _ = exact.evaluate(layout, step, *given, feed.index_batches(360, 100, layout), task.sums)
    model = models.build("resnet8", num_classes=10, **models.build_arguments(config.model))
    network = Network(model, variables, preprocessing(config.data, digits), 1)
    here = evaluation.evaluate(network, digits.splits["test"], Protocol(), layout, batch_size=100)
    assert here["error"] == there["error"]
    np.testing.assert_allclose(here["loss"], there["loss"], rtol=1e-5)
    assert here["examples"] == len(digits.splits["test"]["label"])


def test_ten_crops_are_averaged_as_by_hand():
    network, examples = tiny(), labelled(3, 10, 10)
    protocol = evaluation.choose_protocol(network, crops=10)
    assert protocol.size == 8
    ten = np.asarray(ten_crop(as_float(examples["image"]), 8))
    by_hand = np.mean([probabilities(network, ten[:, crop]) for crop in range(10)], axis=0)
    np.testing.assert_allclose(averaged(network, examples["image"], protocol), by_hand, rtol=1e-4)
    result = evaluation.evaluate(network, examples, protocol, ONE)
    assert by_hand.max() < 0.9
    assert result["error"] == pytest.approx(np.mean(by_hand.argmax(axis=1) != examples["label"]))
    likeliest = np.take_along_axis(by_hand, examples["label"][:, None], axis=1)
    np.testing.assert_allclose(result["loss"], -np.log(likeliest).mean(), rtol=1e-4)


def test_scales_are_averaged_as_by_hand():
    network, image = tiny(), labelled(2, 9, 12)["image"]
    protocol = evaluation.choose_protocol(network, size=8, scales=(8, 11))
    middles = [resize_short_side(as_float(image), scale) for scale in (8, 11)]
    middles = [middles[0][:, :, 1:9], middles[1][:, 2:10, 3:11]]  # 8x10 and 11x14: margins 2; 3 and 6
    by_hand = np.mean([probabilities(network, middle) for middle in middles], axis=0)
    np.testing.assert_allclose(averaged(network, image, protocol), by_hand, rtol=1e-4)


def test_144_crops_have_the_papers_scales_in_proportion():
    protocol = evaluation.choose_protocol(tiny(), crops=144)
    assert (protocol.size, protocol.scales) == (8, (9, 10, 11, 13))
    assert evaluation.count_views(protocol, (12, 16, 1)) == 144
    assert averaged(tiny(width=4), labelled(1, 8, 8)["image"], protocol).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("layout", [ONE, TWO], ids=["one", "two"])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_example_counts_once_whatever_the_batch(layout, batch_size):
    network, examples = tiny(width=4), labelled(7, 8, 8)
    chosen = averaged(network, examples["image"], Protocol()).argmax(axis=1)
    examples["label"] = np.where(np.arange(7) < 2, (chosen + 1) % 10, chosen).astype(np.int32)  # index 0 is wrong
    result = evaluation.evaluate(network, examples, Protocol(), layout, batch_size)
    assert result["error"] == pytest.approx(2 / 7)


def test_top_5_error_is_of_the_rank():
    log_probability = np.log(softmax(np.random.default_rng(0).normal(size=(200, 12)))).astype(np.float32)
    label = np.random.default_rng(1).integers(0, 12, 200)
    rank = (log_probability > log_probability[np.arange(200), label][:, None]).sum(axis=1)
    np.testing.assert_array_equal(evaluation.top_5_error(log_probability, label), rank >= 5)
    assert evaluation.top_5_error(np.full((1, 12), np.nan, np.float32), np.array([0]))[0] == 1


@pytest.mark.parametrize(("classes", "has"), [(9, False), (10, True)])
def test_top_5_is_told_from_ten_classes_on(classes, has):
    network = tiny(width=4, num_classes=classes)
    result = evaluation.evaluate(network, labelled(4, 8, 8, classes=classes), Protocol(), ONE)
    assert ("top5_error" in result) == has


def test_dense_lenet_is_the_window_slid_over_the_image_and_its_mirror_image():
    network = tiny("lenet5", 32, output="dense")
    network.variables["params"]["output"]["kernel"] *= np.float32(1000)  # its initial values are sure of nothing at all
    image = labelled(2, 36, 40)["image"]
    both = [as_float(image), as_float(image)[:, :, ::-1]]
    by_hand = []
    for x in both:
        windows = [x[:, top : top + 32, left : left + 32] for top in (0, 4) for left in (0, 4, 8)]
        by_hand.append(softmax(np.mean([network.model.apply(network.variables, w)[0] for w in windows], axis=0)))
    dense = averaged(network, image, evaluation.choose_protocol(network, dense=True))
    np.testing.assert_allclose(dense, np.mean(by_hand, axis=0), rtol=1e-5)
    assert not np.allclose(by_hand[0], by_hand[1], rtol=1e-3)


def test_dense_vgg_is_its_head_slid_over_pool5():
    network = tiny("vgg11", 64, 3, width=4, initialization="he")
    x = as_float(labelled(1, 128, 96, 3)["image"])
    logits, endpoints = network.model.apply(network.variables, x)
    pool5, params = np.asarray(endpoints["pool5"]), network.variables["params"]
    kernels = [params[name]["kernel"] for name in ("fc6", "fc7", "fc8")]
    window = len(kernels[0])
    maps = []
    for top in range(pool5.shape[1] - window + 1):
        for left in range(pool5.shape[2] - window + 1):
            y = pool5[:, top : top + window, left : left + window].reshape(1, -1)
            for name, kernel in zip(("fc6", "fc7", "fc8"), kernels, strict=True):
                y = y @ kernel.reshape(-1, kernel.shape[-1]) + params[name]["bias"]
                y = y if name == "fc8" else np.maximum(y, 0)
            maps.append(y)
    assert window == 2 and len(maps) == 6
    np.testing.assert_allclose(logits, np.mean(maps, axis=0), rtol=1e-3)


WRONG = {
    "crops": ({"crops": 5}, (8, 8), "--crops=5: choose from 1, 10, 144"),
    "dense crops": ({"crops": 10, "dense": True}, (8, 8), "--dense sees whole images"),
    "too small": ({}, (6, 8), "built for 8 pixels a side"),
    "dense too small": ({"dense": True}, (6, 6), "built for 8 pixels a side"),
    "no room": ({"size": 10}, (8, 9), "a crop of 10 does not fit in images of 8x9"),
    "ten crops of the whole": ({"crops": 10}, (8, 8), "--resize=9"),
    "small crop": ({"size": 6}, (8, 8), "give --crop=8 or more"),
    "small scale": ({"size": 8, "scales": (12, 7)}, (20, 20), "a crop of 8 does not fit in images of 7x7"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_shown_is_named(name):
    asked, shape, message = WRONG[name]
    with pytest.raises(ConfigError, match=message):
        network = tiny(width=4)
        evaluation.evaluate(network, labelled(2, *shape), evaluation.choose_protocol(network, **asked), ONE)


def test_a_network_and_its_data_have_to_agree(digits):
    with pytest.raises(ConfigError, match="tells 12 classes apart and digits has 10"):
        networks.require_fit(tiny(num_classes=12, width=4), digits)
    with pytest.raises(ConfigError, match="sees 3 channels and images of digits have 1"):
        networks.require_fit(tiny(channels=3, width=4), digits)


@pytest.mark.parametrize("layout", [ONE, TWO], ids=["one", "two"])
def test_recomputed_statistics_are_those_of_all_images(layout):
    network, image = tiny(width=4), labelled(11, 8, 8)["image"]
    fresh = evaluation.recompute_batch_norm(network, image, layout, batch_size=4)
    model = network.model.clone(bn_momentum=0.0)
    _, state = model.apply(network.variables, as_float(image), train=True, mutable=["batch_stats"])
    first, whole = (stats["conv1"]["bn"] for stats in (fresh.variables["batch_stats"], state["batch_stats"]))
    for name in ("mean", "var"):  # of the first layer; later ones see what batches of 4 were normalised to
        np.testing.assert_allclose(first[name], whole[name], rtol=1e-4)
    assert fresh.variables["params"] is network.variables["params"]


def test_without_batch_norm_there_is_nothing_to_recompute():
    with pytest.raises(ConfigError, match="no batch normalisation"):
        evaluation.recompute_batch_norm(tiny("lenet5", 32), labelled(2, 32, 32)["image"], ONE)


def akamaster(real_data, depth):
    path = real_data / "weights" / f"cifar10_resnet{depth}_akamaster.safetensors"
    return networks.load(path, f"resnet{depth}", "akamaster")


def test_published_weights_make_pytorchs_errors(real_data, part_of_cifar10):
    # PyTorch 2.13 with the same file on the same first 1,000 test images: 76 and 8 errors, loss 0.37417099.
    thousand = data.load("cifar10", part_of_cifar10).splits["test"]
    network = akamaster(real_data, 20)
    result = evaluation.evaluate(network, thousand, evaluation.choose_protocol(network), ONE)
    assert (result["error"], result["top5_error"]) == pytest.approx((0.076, 0.008), abs=1e-9)
    assert result["loss"] == pytest.approx(0.37417099, rel=1e-5)
    predicted = network.predict(thousand["image"], batch_size=128)
    assert np.mean(predicted.argmax(axis=1) != thousand["label"]) == pytest.approx(0.076, abs=1e-9)
    assert -np.log(predicted[np.arange(1000), thousand["label"]]).mean() == pytest.approx(result["loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "error"), [(20, 0.0827), (32, 0.0737)])
def test_published_weights_have_their_published_error(depth, error, real_data):
    network = akamaster(real_data, depth)
    examples = data.load("cifar10", real_data / "tfds").splits["test"]
    result = evaluation.evaluate(network, examples, evaluation.choose_protocol(network), ONE)
    assert round(result["error"] * 10_000) == round(error * 10_000)
