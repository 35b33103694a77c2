"""Named fields of a data set: several labels, class names, what devices hold, and one clear line for those missing."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cnn_jax import data
from cnn_jax.data import DataError, Dataset, Field, class_numbers
from cnn_jax.train import devices, feed

COARSE = ["fish", "flower"]


class Tiny100(tfds.core.GeneratorBasedBuilder):
    """Two labels an image, as CIFAR-100 has."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "coarse_label": tfds.features.ClassLabel(names=COARSE),
            "image": tfds.features.Image(shape=(4, 5, 3)),
            "label": tfds.features.ClassLabel(names=["ray", "shark", "tulip"]),
            "where": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples() for split in ("train", "test")}

    def _generate_examples(self):
        for index in range(6):
            png = io.BytesIO()
            Image.fromarray(np.full((4, 5, 3), index, np.uint8)).save(png, "png")
            label = index % 3
            yield index, {"image": png.getvalue(), "label": label, "coarse_label": label // 2, "where": "here"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    data.load("tiny100", folder, download=True)
    return folder


def test_of_two_labels_the_one_that_is_asked_for(folder):
    for streamed in (False, True):
        coarse, both, fine = (
            data.load("tiny100", folder, fields=fields, streamed=streamed)
            for fields in (("image", "coarse_label"), ("image", "label", "coarse_label"), ("image", "label"))
        )
        assert coarse.fields == {"image": Field("image"), "coarse_label": Field("label", tuple(COARSE))}
        assert coarse.class_names("coarse_label") == tuple(COARSE)
        assert fine.class_names() == ("ray", "shark", "tulip") and fine.num_classes == both.num_classes == 3
        with pytest.raises(DataError, match="'tiny100' has no field 'label'; its fields are image, coarse_label"):
            coarse.class_names()
        read = coarse.splits["test"]
        found = [read.read(i)["coarse_label"] for i in range(6)] if streamed else read["coarse_label"]
        if streamed:
            pixels = [np.asarray(Image.open(io.BytesIO(read.read(i)["image"])))[0, 0, 0] for i in range(6)]
        else:
            pixels = read["image"][:, 0, 0, 0]
        np.testing.assert_array_equal(np.asarray(pixels) % 3 // 2, found)
        assert np.asarray(found).dtype == np.int32


@pytest.mark.parametrize("streamed", [False, True])
def test_a_field_that_is_missing_or_no_label_is_one_line_with_those_there_are(folder, insects_dir, streamed):
    for field in ("fine_label", "where"):
        message = f"'tiny100' has no ClassLabel feature '{field}'; its features are coarse_label, image, label, where"
        with pytest.raises(DataError, match=message):
            data.load("tiny100", folder, fields=("image", field), streamed=streamed)
    if streamed:
        with pytest.raises(DataError, match="'insects' has no field 'boxes'; its fields are image, label"):
            data.load("insects", insects_dir, fields=("image", "boxes"), streamed=True)


def test_classes_are_called_what_their_source_calls_them(digits, insects_dir, real_data):
    assert digits.class_names() == class_numbers(10) == tuple("0123456789")
    insects = data.load("insects", insects_dir, streamed=None)
    assert insects.streamed and insects.class_names() == ("ant", "bee", "cow")
    cifar10 = data.load("cifar10", real_data / "tfds", streamed=True)
    assert cifar10.class_names()[:3] == ("airplane", "automobile", "bird") and cifar10.num_classes == 10


def every_kind(count=6):
    arrays = {
        "image": np.arange(count * 24, dtype=np.uint8).reshape(count, 4, 6, 1),
        "map": np.zeros((count, 4, 6), np.uint8),
        "boxes": np.zeros((count, 2, 4), np.float32),
        "what": np.zeros((count, 2), np.int32),
        "real": np.ones((count, 2), bool),
        "captions": np.array([["a", ""]] * count),
    }
    kinds = ("image", "label_map", "boxes", "box_label", "box_mask", "captions")
    fields = {name: Field(kind) for name, kind in zip(arrays, kinds, strict=True)}
    return Dataset("every", {"train": arrays, "test": {n: a[:2] for n, a in arrays.items()}}, fields, "0")


def test_devices_hold_every_field_but_captions():
    dataset, layout = every_kind(), devices.make_layout("jit", 2)
    assert dataset.shapes() == {
        "image": ((4, 6, 1), np.uint8),
        "map": ((4, 6), np.uint8),
        "boxes": ((2, 4), np.float32),
        "what": ((2,), np.int32),
        "real": ((2,), np.bool_),
    }
    held = feed.put_on_devices(dataset, layout)
    assert held["train"].keys() == held["test"].keys() == dataset.shapes().keys()
    np.testing.assert_array_equal(held["test"]["image"], dataset.splits["test"]["image"])


def test_examples_are_drawn_with_all_their_fields_and_without_strata_where_there_is_no_label():
    dataset = every_kind()
    few, more = (data.draw(dataset, count, seed=1) for count in (3, 6))
    for name, array in few.splits["train"].items():
        np.testing.assert_array_equal(array, more.splits["train"][name][:3])
    firsts = more.splits["train"]["image"][:, 0, 0, 0]
    assert sorted(firsts) == [0, 24, 48, 72, 96, 120] and list(firsts) != sorted(firsts)
    assert few.fingerprint != more.fingerprint and few.count("train") == 3
