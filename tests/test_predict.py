"""Own images, from files to a table: which files are taken, what is said of them, and what is written."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data, evaluation
from cnn_jax.config import ConfigError
from cnn_jax.data import DataError
from cnn_jax.data.sources import loose
from cnn_jax.evaluation import Protocol, predict, printing
from cnn_jax.network import Network
from tests.test_evaluation import ONE, TWO, as_float

PROTOCOL = Protocol()


@pytest.fixture
def tree(tmp_path):
    """Images two folders deep, among what is none."""
    for name in ("b/2.jpg", "b/10.PNG", "a/deep/3.webp", ".cache/4.jpg", "b/.5.jpg", "b/notes.txt", "a/picture"):
        path = tmp_path / "shots" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "shots"


def test_a_folder_gives_its_images_at_any_depth_in_order(tree):
    assert loose.find([str(tree)]) == [f"{tree}/{name}" for name in ("a/deep/3.webp", "b/10.PNG", "b/2.jpg")]
    assert loose.find([f"{tree}/"]) == [f"{tree}/{name}" for name in ("a/deep/3.webp", "b/10.PNG", "b/2.jpg")]


def test_files_keep_their_order_and_count_once(tree):
    given = [f"{tree}/b/2.jpg", f"{tree}/a/picture"]
    assert loose.find(given) == loose.find([",".join(given)]) == loose.find([*given, given[0]]) == given
    assert loose.find([given[0], f"{tree}/b"]) == [given[0], f"{tree}/b/10.PNG"]


def test_patterns_take_images_and_folders(tree):
    assert loose.find([f"{tree}/b/*"]) == [f"{tree}/b/10.PNG", f"{tree}/b/2.jpg"]
    assert loose.find([f"{tree}/*"]) == loose.find([str(tree)])
    assert loose.find([f"{tree}/**/*.webp"]) == [f"{tree}/a/deep/3.webp"]


def test_a_name_that_looks_like_a_pattern_or_a_list_is_a_file(tmp_path):
    names = [str(tmp_path / name) for name in ("a[1].png", "b,c.png")]
    for name in names:
        open(name, "w").close()
    assert loose.find(names) == names
    assert loose.find([str(tmp_path)]) == names


@pytest.mark.parametrize("place", ["nowhere", "nowhere/*.jpg", "b/notes.*"])
def test_where_no_image_is_that_is_said(tree, place):
    with pytest.raises(DataError, match=r"has no images: files, folders and patterns"):
        loose.find([str(tree / place)])


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def digits_files(digits, tmp_path):
    """Forty of the digits as PNG files, in folders named after their classes, in the order of the split."""
    files, test = [], digits.first("test", 40)
    for number, (image, label) in enumerate(zip(test["image"], test["label"], strict=True)):
        path = tmp_path / f"{number:02}" / str(label) / "digit.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(image[..., 0]).save(path)
        files.append(str(path))
    return files, test


class Linear:
    """Logits that are linear in the pixels: compiled in no time."""

    def __init__(self, image_size, num_classes):
        self.image_size, self.num_classes = image_size, num_classes

    def apply(self, variables, x, train=False):
        return x.reshape(len(x), -1) @ variables["params"], {}


def linear(size, channels, class_names, **changes):
    weights = np.random.default_rng(0).normal(size=(size * size * channels, len(class_names)))
    model = Linear(size, len(class_names))
    variables = {"params": weights.astype(np.float32)}
    return Network(model, variables, as_float, channels, class_names=class_names)._replace(**changes)


SMALL = linear(8, 1, tuple("0123456789"), image_size=(8, 8))
"""As of a run of images of 8x8 pixels."""


def test_files_are_answered_as_the_split_they_are_of(digits_files, tmp_path):
    """Of a run of images of one size: the same classes and probabilities; folders agree as often as it is right."""
    files, test = digits_files
    said = predict.predict(SMALL, files, PROTOCOL, ONE)
    there = evaluation.answer(SMALL, test, PROTOCOL, ONE)
    np.testing.assert_array_equal(said.answers.classes, there.classes)
    np.testing.assert_array_equal(said.answers.probabilities, there.probabilities)
    right = 100 * (1 - there.means["error"])
    assert f"40 of 40 images are in a folder named after a class: {right:.2f} % of them" in printing.describe(said)
    predict.write(said, tmp_path / "one.csv")
    rows = read(tmp_path / "one.csv")
    assert [row["file"] for row in rows] == files
    assert [int(row["class"]) for row in rows] == there.said.tolist()
    assert np.mean([int(row["class"]) for row in rows] != test["label"]) == there.means["error"]
    likely = [[float(row[f"probability_{place}"]) for place in range(1, 6)] for row in rows]
    np.testing.assert_allclose(likely, there.probabilities, rtol=1e-5)
    assert all(row["probability"] == row["probability_1"] and row["class"] == row["class_1"] for row in rows)


def test_two_devices_write_the_same_bytes(digits_files, tmp_path):
    for name, layout in (("one", ONE), ("two", TWO)):
        predict.write(predict.predict(SMALL, digits_files[0][:13], PROTOCOL, layout, 8), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_photographs_are_made_as_large_as_what_a_run_was_trained_on(tmp_path):
    """Of any size and colour: the middle, as Pillow resizes it, and grey where the network is."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photograph.png")
    by_pil = Image.fromarray(pixels).convert("L").resize((12, 8), Image.Resampling.BILINEAR).crop((2, 0, 10, 8))
    there = evaluation.answer(SMALL, {"image": np.asarray(by_pil)[None, ..., None]}, PROTOCOL, ONE)
    said = predict.predict(SMALL, [str(tmp_path / "photograph.png")], PROTOCOL, ONE)
    np.testing.assert_array_equal(said.answers.probabilities, there.probabilities)
    np.testing.assert_array_equal(said.answers.classes, there.classes)
    assert "folder" not in printing.describe(said)


def test_streamed_files_are_answered_as_the_split_they_are_of(insects_dir):
    network = linear(24, 3, ("ant", "bee", "cow"), scales=(28,))._replace(size=24)
    protocol = evaluation.choose_protocol(network)
    split = data.load("insects", insects_dir, streamed=True).splits["test"]
    there = evaluation.answer(network, split, protocol, ONE)
    said = predict.predict(network, loose.find([str(insects_dir / "insects" / "val")]), protocol, ONE)
    np.testing.assert_array_equal(said.answers.classes, there.classes)
    np.testing.assert_array_equal(said.answers.labels, there.labels)
    np.testing.assert_array_equal(said.answers.probabilities, there.probabilities)
    assert said.answers.classes.shape == (9, 3)
    by_itself = np.sort(network.predict(said.files), axis=1)[:, ::-1]
    np.testing.assert_allclose(said.answers.probabilities, by_itself, atol=1e-5)


def test_what_is_damaged_is_named_or_left_out(digits_files, tmp_path):
    files = digits_files[0][:3]
    with open(files[1], "r+b") as file:
        file.truncate(60)
    with pytest.raises(DataError, match=f"{files[1]} cannot be decoded .*--skip_damaged"):
        predict.predict(SMALL, files, PROTOCOL, ONE)
    said = predict.predict(SMALL, files, PROTOCOL, ONE, skip_damaged=True)
    assert (said.files, said.damaged) == ([files[0], files[2]], [files[1]])
    assert printing.describe(said).endswith(f"left out, for they cannot be decoded, 1:\n  {files[1]}")
    with pytest.raises(DataError, match="none of 1 files can be decoded"):
        predict.predict(SMALL, files[1:2], PROTOCOL, ONE, skip_damaged=True)


def test_a_file_whose_name_is_no_text_is_written_as_it_is(digits_files, tmp_path):
    odd = os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9.png")
    os.rename(digits_files[0][0], odd)
    said = predict.predict(SMALL, [odd], PROTOCOL, ONE)
    predict.write(said, tmp_path / "out.csv")
    assert b"/caf\xe9.png," in (tmp_path / "out.csv").read_bytes()
    assert "caf\ufffd.png" in printing.describe(said)


def test_the_output_is_a_file(tmp_path):
    with pytest.raises(ConfigError, match="is a folder: name a file in it"):
        predict.check_output(tmp_path)
    assert predict.check_output(tmp_path / "new" / "out.csv").parent.is_dir()
