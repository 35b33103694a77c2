"""The one object that a user holds: what it says of images, from a run, a converted checkpoint or a file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import cnn_jax
from cnn_jax import evaluation, presets, runner, sweep, weights
from cnn_jax.config import ConfigError, override
from cnn_jax.data import DataError
from cnn_jax.data.preprocess import Preprocess, from_json
from cnn_jax.evaluation import networks
from cnn_jax.train import devices
from cnn_jax.train.record import RecordError
from tests.pictures import draw_picture
from tests.test_evaluation import softmax
from tests.test_old_runs import GOLDEN, NAME
from tests.test_weights import drawn

ONE = devices.make_layout("jit", 1)
TINY = ["model.name=resnet8", "model.width=4", "batch_size=32", "steps=2", "evaluations=1"]


@pytest.fixture(scope="module")
def run(digits, digits_dir, tmp_path_factory):
    """A run on the digits, less their mean image."""
    folder = tmp_path_factory.mktemp("run")
    config = sweep.resolve(override(presets.get("resnet_digits"), TINY), ONE, digits)
    runner.run_one(config, folder, runner.Settings(data_dir=str(digits_dir), devices=1, progress=False))
    return folder


@pytest.fixture(scope="module")
def network(run):
    return cnn_jax.load(run)


@pytest.fixture(scope="module")
def images(digits):
    return digits.splits["test"]["image"][:50]


@pytest.fixture(scope="module")
def predicted(network, images):
    return network.predict(images)


@pytest.fixture(scope="module")
def photographs():
    """Of two sizes, for a network of colours."""
    draw = np.random.default_rng(0)
    return [draw_picture(draw, *size) for size in ((50, 40), (33, 64), (32, 32))]


@pytest.fixture(scope="module")
def akamaster(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    weights.save(path, "resnet8", "akamaster", drawn("resnet8", "akamaster"))
    return path


def test_a_run_folder_is_enough(network, run, digits, images, predicted):
    """What the task itself computes of the data set's test images; the folder alone is read here."""
    config = networks.read_config(run)
    assert not config.data.mean  # the mean image, which was in the data set alone
    assert network.class_names == digits.class_names() and network.image_size == (8, 8)
    mean = digits.splits["train"]["image"].mean(axis=0, dtype=np.float64) / 255
    logits, _ = jax.jit(network.model.apply)(network.variables, np.float32(images / 255 - mean))
    assert predicted.shape == (50, 10) and predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, softmax(logits), rtol=1e-4, atol=1e-6)


def test_predictions_are_what_evaluation_averages(network, images, predicted):
    protocol = evaluation.choose_protocol(network)
    ours = jax.jit(lambda image: evaluation.log_probabilities(network, network.variables, image, protocol))(images)
    np.testing.assert_allclose(predicted, np.exp(ours), rtol=1e-5, atol=1e-7)


def test_predictions_err_as_the_run_does(network, run, digits):
    test = digits.splits["test"]
    error = np.mean(network.predict(test["image"]).argmax(axis=1) != test["label"])
    assert error == pytest.approx(json.loads((run / "result.json").read_text())["test_error"], abs=1e-6)


def test_the_batch_changes_nothing(network, images, predicted):
    np.testing.assert_allclose(network.predict(images[:7], batch_size=4), predicted[:7], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(network.predict(jax.numpy.asarray(images[1])), predicted[1:2], rtol=1e-5, atol=1e-7)


def test_features_are_the_endpoints(network, images, predicted):
    _, endpoints = jax.jit(network.model.apply)(network.variables, network.preprocess(images))
    stage2 = network.features(images, "stage2")
    assert stage2.shape == (50, 4, 4, 8) and stage2.dtype == np.float32
    np.testing.assert_allclose(stage2, endpoints["stage2"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(softmax(network.features(images, "logits")), predicted, rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="'stage4'; choose from conv1, stage1, stage2, stage3, pool, logits"):
        network.features(images, "stage4")


def test_arrays_files_and_pictures_are_the_same(akamaster, photographs, tmp_path):
    network = cnn_jax.load(akamaster, "resnet8", "akamaster")
    for number, picture in enumerate(photographs):
        picture.save(tmp_path / f"{number}.png")
    paths = sorted(tmp_path.iterdir())
    expected = network.predict(photographs)
    for images in (paths, [str(path) for path in paths], [np.asarray(picture) for picture in photographs]):
        np.testing.assert_array_equal(network.predict(images), expected)
    np.testing.assert_allclose(network.predict(paths[1])[0], expected[1], rtol=1e-5)
    likeliest = network.classify(photographs, top=3)[2]
    assert [name for name, _ in likeliest] == [network.class_names[k] for k in np.argsort(-expected[2])[:3]]
    assert [chance for _, chance in likeliest] == sorted(expected[2].tolist(), reverse=True)[:3]


def test_photographs_are_resized_and_cut_as_torchvision_does(photographs):
    """Resize(40) and CenterCrop(32) of torchvision 0.29.1, which are PIL's: of 50x40, 33x64 and 32x32."""
    network = drawn("resnet8", "akamaster")._replace(scales=(40,), size=32)
    boxes = {(50, 40): ((50, 40), (9, 4)), (33, 64): ((40, 77), (4, 22)), (32, 32): ((40, 40), (4, 4))}
    for picture in photographs:
        size, (left, top) = boxes[picture.size]
        by_hand = picture.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + 32, top + 32))
        np.testing.assert_array_equal(network.show(picture), np.asarray(by_hand))


def test_images_of_other_sizes_are_brought_to_what_a_run_was_trained_on(network, photographs):
    grey = [picture.convert("L") for picture in photographs]
    assert network.show(photographs[0]).shape == (8, 8, 1)
    np.testing.assert_array_equal(
        network.show(photographs[2])[..., 0], np.asarray(grey[2].resize((8, 8), Image.Resampling.BILINEAR))
    )
    wide = network._replace(image_size=(8, 16))
    assert wide.show(photographs[1]).shape == (8, 16, 1)


WRONG = {
    "floats": (np.zeros((1, 8, 8, 1), np.float32), r"images of float32: pass uint8 .* np.rint\(255 \* images\)"),
    "integers": (np.zeros((1, 8, 8, 1), np.int64), "images of int64: pass uint8"),
    "no channels": (np.zeros((8, 8), np.uint8), "an array of shape 8x8 is none of images"),
    "colours": (np.zeros((8, 8, 3), np.uint8), "shape 8x8x3: its last axis are the channels, and the network sees 1"),
    "floats in a list": ([np.zeros((8, 8, 1))], "images of float64"),
    "nothing": ([], "no images"),
    "an empty array": (np.zeros((0, 8, 8, 1), np.uint8), "no images"),
    "no file": ("nowhere.png", "nowhere.png"),
    "no picture": (__file__, "test_network.py cannot be decoded \\(it is a text file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_image_is_named(network, name):
    images, message = WRONG[name]
    with pytest.raises(DataError, match=message) as error:
        network.predict(images)
    assert "\n" not in str(error.value)


def test_a_converted_checkpoint_is_the_file(akamaster, photographs, tmp_path):
    network = cnn_jax.load(akamaster, "resnet8", "akamaster")
    networks.save(tmp_path / "start", "resnet8", network, {"source": "akamaster"})
    converted = cnn_jax.load(tmp_path / "start")
    assert converted.class_names == network.class_names == weights.SOURCES["akamaster"].class_names()
    assert (converted.model, converted.scales, converted.size) == (network.model, network.scales, network.size)
    np.testing.assert_array_equal(converted.predict(photographs), network.predict(photographs))
    about = json.loads((tmp_path / "start" / "converted.json").read_text())
    for name in ("class_names", "channels", "image_size"):  # as version 0.1.0 wrote it
        del about[name]
    (tmp_path / "start" / "converted.json").write_text(json.dumps(about))
    assert cnn_jax.load(tmp_path / "start").class_names == network.class_names


def test_an_old_run_takes_what_it_lacks_from_its_data(digits_dir, tmp_path):
    with pytest.raises(RecordError, match=r"an older version made it, .* its data set, digits; give the data_dir"):
        cnn_jax.load(GOLDEN / NAME)
    old = cnn_jax.load(GOLDEN / NAME, data_dir=str(digits_dir))
    assert (old.class_names, old.image_size) == (tuple("0123456789"), (8, 8))
    assert old.predict(np.zeros((8, 8, 1), np.uint8)).shape == (1, 10)


def test_what_is_given_beside_it_has_to_fit(run, akamaster, tmp_path):
    for path, arguments, message in (
        (akamaster, (), "of a file of weights give the model and the source too"),
        (run, ("resnet8", "akamaster"), "has its own network: leave the model"),
        (tmp_path / "nowhere", (), "neither a run folder nor"),
    ):
        with pytest.raises(ConfigError, match=message):
            cnn_jax.load(path, *arguments)
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(RecordError, match="neither a converted checkpoint nor a run with one"):
        cnn_jax.load(tmp_path / "run")


def test_preprocessing_is_written_and_read_exactly():
    mean = np.random.default_rng(0).random((4, 4, 3), np.float32)
    whole = Preprocess(None, None, mean, (0.3,), canvas=4, average_pool=2)
    again = from_json(json.loads(json.dumps(whole.to_json())))
    image = np.random.default_rng(1).integers(0, 256, (2, 3, 3, 3), np.uint8)
    np.testing.assert_array_equal(again(image), whole(image))
    assert again(image).shape == (2, 2, 2, 3)


def test_the_package_itself_imports_nothing_large():
    code = "import cnn_jax, sys; print(cnn_jax.load.__name__, 'jax' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout == "load False False\n"


def test_every_file_of_a_run_and_a_checkpoint_obeys_the_umask(run, tmp_path):
    networks.save(tmp_path / "start", "resnet8", drawn("resnet8", "akamaster"), {})
    umask = os.umask(0)
    os.umask(umask)
    for path in (path for folder in (run, tmp_path / "start") for path in folder.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask, path
