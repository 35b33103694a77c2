"""Loading: our digits, prepared TFDS datasets, and one clear line for everything that can be wrong with them."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets
from sklearn.datasets import load_digits

from cnn_jax import data
from cnn_jax.data.dataset import Request, fingerprint
from cnn_jax.data.sources import records, tfds

TRAIN_FILE = "digits-train.array_record-00000-of-00001"
COMMAND = [sys.executable, "-W", "error", "-m", "cnn_jax.data"]


@pytest.fixture
def copy(digits_dir, tmp_path):
    """The prepared folder of a copy of digits, to be damaged, in the data folder `tmp_path`."""
    return Path(shutil.copytree(digits_dir / "digits", tmp_path / "digits")) / "1.0.0"


@pytest.fixture(scope="session")
def public_dir(real_data):
    """The data folder that holds CIFAR-10 and MNIST."""
    return real_data / "tfds"


def error_of(name, data_dir, **kwargs):
    """The one line that loading fails with."""
    with pytest.raises(data.DataError) as caught:
        data.load(name, data_dir, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path, change):
    """Applies `change` to a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rename_dataset(version_dir, name):
    """Makes of prepared digits a dataset of another name, one that TFDS has no code for."""
    edit(version_dir / "dataset_info.json", lambda info: info.update(name=name))
    for path in version_dir.glob("digits-*"):
        path.rename(path.with_name(path.name.replace("digits", name)))
    return version_dir.parent.rename(version_dir.parent.with_name(name)) / version_dir.name


def test_digits_are_scikit_learns_with_every_fifth_a_test_image(digits):
    images, labels = load_digits(return_X_y=True)
    test = np.arange(1797) % 5 == 0
    for split, chosen, size in (("train", ~test, 1437), ("test", test, 360)):
        arrays = digits.splits[split]
        assert arrays["image"].shape == (size, 8, 8, 1) and arrays["image"].dtype == np.uint8
        assert arrays["label"].shape == (size,) and arrays["label"].dtype == np.int32
        assert np.array_equal(np.round(arrays["image"] * (16 / 255)).reshape(-1, 64), images[chosen])
        assert np.array_equal(arrays["label"], labels[chosen])
    assert (digits.splits["train"]["image"].min(), digits.splits["train"]["image"].max()) == (0, 255)
    assert (digits.name, digits.num_classes, digits.image_shape) == ("digits", 10, (8, 8, 1))
    assert set(digits.splits) == {"train", "test"}


def test_the_fingerprint_is_of_the_contents_alone(digits, digits_dir, copy):
    assert digits.fingerprint == "05914a152e8d94a7"
    edit(copy / "dataset_info.json", lambda info: info.update(description="another"))
    assert data.load("digits:1.0.0", copy.parent.parent).fingerprint == digits.fingerprint
    for key in ("image", "label"):
        changed = {split: {k: v.copy() for k, v in arrays.items()} for split, arrays in digits.splits.items()}
        changed["test"][key].flat[-1] += 1
        assert fingerprint(changed) != digits.fingerprint
    assert data.load("digits", digits_dir, validation=1).fingerprint != digits.fingerprint


def test_the_default_folder_is_that_of_tfds(digits_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(digits_dir))
    assert tfds.data_folder(None) == str(digits_dir)
    assert len(data.load("digits").splits["test"]["label"]) == 360
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert tfds.data_folder(None) == os.path.expanduser("~/tensorflow_datasets")


def test_preparing_digits_and_reading_them_says_nothing(tmp_path, capfd):
    data.load("digits", tmp_path)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]  # nothing left behind


def test_two_processes_may_prepare_at_the_same_time(tmp_path, digits_dir):
    command = [*COMMAND, "--dataset=digits", f"--data_dir={tmp_path}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    line = f"digits/1.0.0 is prepared in {tmp_path}/digits/1.0.0: train 1437, test 360\n"
    assert [process.communicate(timeout=60) for process in processes] == [(line, "")] * 2
    assert [process.returncode for process in processes] == [0, 0]
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    assert files == {path.relative_to(digits_dir) for path in digits_dir.rglob("*")}


def test_a_folder_that_cannot_be_written_and_one_in_the_way_are_named(tmp_path):
    (tmp_path / "file").touch()
    message = error_of("digits", tmp_path / "file" / "data")
    assert f"{tmp_path}/file/data" in message and "--data_dir=DIR" in message
    (tmp_path / "digits/1.0.0/not_ours").mkdir(parents=True)
    assert f"{tmp_path}/digits/1.0.0 is in the way" in error_of("digits", tmp_path)


def test_validation_is_the_same_part_of_train_whatever_else(digits, digits_dir):
    held = data.load("digits", digits_dir, validation=400)
    assert list(held.splits) == ["train", "test", "validation"]
    order = np.random.RandomState(0).permutation(1437)
    for key in ("image", "label"):
        whole = digits.splits["train"][key]
        assert np.array_equal(held.splits["validation"][key], whole[np.sort(order[:400])])
        assert np.array_equal(held.splits["train"][key], whole[np.sort(order[400:])])
        assert np.array_equal(held.splits["test"][key], digits.splits["test"][key])
    assert order[:5].tolist() == [52, 34, 987, 1334, 517]


@pytest.mark.parametrize("validation, message", [(-1, "negative"), (1437, "1437 examples"), (9999, "1437 examples")])
def test_a_validation_split_that_cannot_be(digits_dir, validation, message):
    assert message in error_of("digits", digits_dir, validation=validation)


@pytest.mark.parametrize(
    "name, words",
    [
        ("cifar11", ["unknown dataset 'cifar11'", "cifar10,"]),
        ("zzzzqq", ["unknown dataset", "catalog"]),
        ("kaggle:foo", ["not of the form"]),
        ("../cifar10", ["there is no folder", "/cifar10"]),
        ("cifar10:9.9.9", ["cifar10:9.9.9", "3.0.2"]),
        ("cifar10/gray", ["cifar10/gray", "gray not found"]),
        ("coco", ["needs tensorflow", ".venv/bin/pip install tensorflow"]),
        ("cifar10", ["not prepared", "{}/cifar10/3.0.2", "add --download", "--dataset=cifar10 --data_dir={}"]),
    ],
)
def test_names_that_cannot_be_loaded(tmp_path, name, words, capfd):
    message = error_of(name, tmp_path)
    for word in words:
        assert word.format(tmp_path) in message
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_a_prepared_dataset_that_tfds_does_not_know(copy, digits):
    root = rename_dataset(copy, "scans").parent.parent
    scans = data.load("scans", root)
    assert scans.fingerprint == digits.fingerprint and scans.name == "scans" and scans.num_classes == 10
    os.truncate(root / "scans/1.0.0/scans-test.array_record-00000-of-00001", 0)
    assert f"replace {root}/scans/1.0.0 by a whole copy" in error_of("scans", root)
    (root / "scans/1.0.0/features.json").unlink()
    assert f"{root}/scans holds no prepared version" in error_of("scans", root)


def test_download_prepares_as_array_record_and_then_reads(tmp_path, monkeypatch, digits):
    monkeypatch.setattr(tfds, "OWN", {})  # digits as if they were a dataset of TFDS's own
    assert "add --download" in error_of("digits", tmp_path)
    assert data.load("digits", tmp_path, download=True).fingerprint == digits.fingerprint


@pytest.mark.parametrize(
    "error, words",
    [
        (requests.exceptions.ConnectionError("Max retries\nexceeded"), ["ConnectionError", "check the network"]),
        (tfds.DownloadError("Failed to get url"), ["Failed to get url", "check the network"]),
        (tfds.NonMatchingChecksumError("Artifact wrong"), ["Artifact wrong"]),
        (OSError("Not enough disk space."), ["Not enough disk space", "the disk"]),
        (ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow"), ["pip install tensorflow"]),
        (AssertionError("Manual download\nrequired"), ["Manual download required"]),
    ],
)
def test_downloads_that_fail(tmp_path, monkeypatch, error, words):
    def fail(self, **kwargs):
        assert kwargs == {"file_format": "array_record"}
        raise error

    monkeypatch.setattr(tensorflow_datasets.core.DatasetBuilder, "download_and_prepare", fail)
    message = error_of("cifar10", tmp_path, download=True)
    assert all(word in message for word in ["'cifar10'", *words])


def test_the_command_fails_with_one_line(tmp_path):
    done = subprocess.run([*COMMAND, "--dataset=cifar11", f"--data_dir={tmp_path}"], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert b"did you mean" in done.stderr


def flip_bytes(path, position):
    content = bytearray(path.read_bytes())
    content[position : position + 8] = bytes(255 - byte for byte in content[position : position + 8])
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage, arguments",
    [(os.truncate, size) for size in (0, 1, 100, 65535, 65536, 65537, 131072, 200_000, 262_144, 393_215)]
    + [(flip_bytes, position) for position in (65_700, 100_000, 150_000, 196_608, 200_001)],
)
def test_a_damaged_file_is_named(copy, damage, arguments):
    damage(copy / TRAIN_FILE, arguments)
    message = error_of("digits", copy.parent.parent)
    assert f"{copy / TRAIN_FILE} is damaged" in message
    assert f"delete {copy} and run: .venv/bin/python -m cnn_jax.data --dataset=digits/1.0.0" in message


def test_a_missing_file_and_one_of_another_split_are_named(copy):
    shutil.copy(copy / TRAIN_FILE.replace("train", "test"), copy / TRAIN_FILE)
    assert "360 records can be read where dataset_info.json has 1437" in error_of("digits", copy.parent.parent)
    (copy / TRAIN_FILE).unlink()
    assert f"{copy / TRAIN_FILE} is missing" in error_of("digits", copy.parent.parent)


@pytest.mark.parametrize("size", [0, 1, 300])
def test_damaged_metadata_are_named(copy, size):
    os.truncate(copy / "dataset_info.json", size)
    assert "dataset_info.json of 'digits'" in error_of("digits", copy.parent.parent)


def test_splits_and_formats_that_cannot_be_read(copy):
    edit(copy / "dataset_info.json", lambda info: info["splits"].pop())
    assert "no examples of split 'test'; its splits are train" in error_of("digits", copy.parent.parent)
    edit(copy / "dataset_info.json", lambda info: info.update(fileFormat="tfrecord"))
    message = error_of("digits", copy.parent.parent)
    assert all(word in message for word in ("prepared as tfrecord", "needs TensorFlow", f"delete {copy} and run: "))


def dimensions(*sizes):
    return lambda features: features["image"]["image"]["shape"].update(dimensions=list(sizes))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda features: features.update(picture=features.pop("image")), ["no Image feature 'image'", "picture"]),
        (lambda features: features.pop("label"), ["no ClassLabel feature 'label'"]),
        (dimensions("-1", "-1", "1"), ["(None, None, 1)", "one fixed shape"]),
        (lambda features: features["image"]["image"].update(dtype="uint16"), ["uint16", "only uint8"]),
        (dimensions("9", "9", "1"), ["record 0", "no labelled image of shape (9, 9, 1)"]),
        (lambda features: features["label"]["classLabel"].update(numClasses="5"), ["from 0 to 9", "5 classes"]),
    ],
)
def test_features_that_are_not_one_image_with_one_label(copy, change, words):
    scans = rename_dataset(copy, "scans")  # else TFDS takes the features from the code and not from the file
    edit(scans / "features.json", lambda content: change(content["featuresDict"]["features"]))
    message = error_of("scans", scans.parent.parent)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_the_first_images_are_those_that_tfds_itself_decodes(public_dir, name):
    builder = tfds.find_prepared(name, str(public_dir), download=False)
    source, features = builder.as_data_source(split="test"), records.select_features(builder, ("image", "label"))
    arrays = records.decode(itertools.islice(records.read(builder, "test"), 5), 5, builder, features)
    for index in range(5):
        assert np.array_equal(arrays["image"][index], source[index]["image"])
        assert arrays["label"][index] == source[index]["label"]


def test_cifar10_has_its_training_labels(public_dir):
    builder = tfds.find_prepared("cifar10", str(public_dir), download=False)
    label = tensorflow_datasets.features.FeaturesDict({"label": builder.info.features["label"]})
    labels = [label.deserialize_example_np(record)["label"] for _, record in records.read(builder, "train")]
    assert np.bincount(labels).tolist() == [5000] * 10


def test_a_whole_split_of_mnist_is_decoded(public_dir, monkeypatch):
    monkeypatch.setattr(records, "SPLITS", ("test",))  # the training images take ten seconds
    mnist = records.load(Request("mnist", str(public_dir)))
    splits = mnist.splits
    assert splits["test"]["image"].shape == (10_000, 28, 28, 1) and mnist.num_classes == 10
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # of the original file
    assert np.bincount(splits["test"]["label"]).tolist() == counts
    assert abs(splits["test"]["image"].mean() / 255 - 0.1325) < 1e-4
