"""Some of the classes of a data set alone: which examples, under which labels, in memory and streamed."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cnn_jax import config as config_lib
from cnn_jax import data, runner, sweep
from cnn_jax.config import Config, override
from cnn_jax.data import DataError, select_classes


def test_they_are_the_examples_of_scikit_learn_in_their_order(digits):
    chosen = select_classes(digits, ("7", "2", "0"))
    images, labels = load_digits(return_X_y=True)
    tested = np.arange(len(labels)) % 5 == 0
    for split, part in (("train", ~tested), ("test", tested)):
        kept = part & np.isin(labels, (7, 2, 0))
        pixels = np.round(chosen.splits[split]["image"].reshape(-1, 64) * (16 / 255))
        np.testing.assert_array_equal(pixels, images[kept])
        np.testing.assert_array_equal(chosen.splits[split]["label"], [[7, 2, 0].index(one) for one in labels[kept]])
    assert chosen.class_names() == ("7", "2", "0") and chosen.splits["test"]["label"].dtype == np.int32
    assert len({digits.fingerprint, chosen.fingerprint, select_classes(digits, ("2", "7", "0")).fingerprint}) == 3
    assert digits.splits["train"]["label"].max() == 9  # the whole is as it was


def test_validation_is_of_those_classes(digits):
    chosen = select_classes(digits, ("3", "8"), validation=50)
    whole = select_classes(digits, ("3", "8"))
    assert chosen.count("validation") == 50 and chosen.count("train") == whole.count("train") - 50
    parts = [chosen.splits[split]["image"] for split in ("train", "validation")]
    together = sorted(image.tobytes() for part in parts for image in part)
    assert together == sorted(image.tobytes() for image in whole.splits["train"]["image"])


def test_streamed_images_of_a_folder_and_of_records(insects_dir, digits_dir, digits):
    folder = data.load("insects", insects_dir, streamed=True)
    chosen = select_classes(folder, ("cow", "0"))  # by name, or by number where no name is one
    assert chosen.streamed and chosen.class_names() == ("cow", "ant") and chosen.fingerprint != folder.fingerprint
    train = chosen.splits["train"]
    for index in range(len(train)):
        assert (("cow", "ant")[train.read(index)["label"]]) in train.name(index)
    assert chosen.annotations("test")["label"].tolist() == [1, 1, 1, 0, 0, 0]
    held = select_classes(folder, ("cow", "ant"), validation=4)
    assert (held.count("train"), held.count("validation")) == (18, 4)
    records = select_classes(data.load("digits", digits_dir, streamed=True), ("7", "2"))
    expected = select_classes(digits, ("7", "2")).splits["test"]["label"]
    np.testing.assert_array_equal(records.annotations("test")["label"], expected)
    assert records.splits["test"].read(3)["label"] == expected[3]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("1", "10"), "'digits' has no class '10'; did you mean 1 or 0"),
        (("1", "x"), "has no class 'x'; it has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (("1", "2", "1"), "data.classes=1,2,1: class 1 is there twice"),
        (("1",), "data.classes=1: one class alone"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(digits, classes, message):
    with pytest.raises(DataError, match=message):
        select_classes(digits, classes)


def test_a_data_set_of_other_labels_and_an_empty_split(digits_dir, insects_dir):
    with pytest.raises(DataError, match="data.classes=1,2: 'digits' has no one label for each image"):
        select_classes(data.load("digits", digits_dir, fields=("image",)), ("1", "2"))
    folder = data.load("insects", insects_dir, streamed=True)
    splits = folder.splits | {"test": folder.splits["test"][np.arange(3)]}  # ants alone
    with pytest.raises(DataError, match="split 'test' of 'insects' has no examples of them"):
        select_classes(replace(folder, splits=splits), ("bee", "cow"))
    with pytest.raises(DataError, match="'insects' has no class 'cows'; did you mean cow"):
        select_classes(folder, ("ant", "cows"))
    with pytest.raises(DataError, match="class ant is there twice"):
        select_classes(folder, ("ant", "0"))


def test_a_config_without_the_new_fields_has_its_old_name(digits_dir):
    """As version 0.2 named it, before there were these fields."""
    config = override(Config(), ["data.name=digits", "seed=3", "optim.frozen=stage1"])
    assert sweep.run_name(config) == "resnet20-digits-seed3-4f53013f"
    assert config_lib.from_dict(config_lib.to_dict(config)) == config
    halves = [override(config, [f"data.classes={classes}", "data.validation=20"]) for classes in ("0,1", "0,2")]
    assert len({sweep.run_name(one) for one in (config, *halves)}) == 3
    loaded = [runner.load_config_dataset(one, str(digits_dir), False) for one in halves]
    assert [one.class_names() for one in loaded] == [("0", "1"), ("0", "2")]
    assert runner.load_config_dataset(halves[0], str(digits_dir), False) is loaded[0]
    assert [one.count("validation") for one in loaded] == [20, 20]


def test_examples_of_each_class_are_drawn_by_the_seed_fewer_among_more(digits, insects_dir):
    few, more = (data.draw_of_each_class(digits, count, 3) for count in (2, 5))
    for drawn, count in ((few, 2), (more, 5)):
        assert np.bincount(drawn.splits["train"]["label"]).tolist() == [count] * 10
    assert drawn.splits["test"] is digits.splits["test"] and few.fingerprint != more.fingerprint
    pixels = [{image.tobytes() for image in drawn.splits["train"]["image"]} for drawn in (few, more, digits)]
    assert pixels[0] < pixels[1] < pixels[2]
    other = {image.tobytes() for image in data.draw_of_each_class(digits, 2, 4).splits["train"]["image"]}
    assert other != pixels[0] and other < pixels[2]
    folder = data.draw_of_each_class(data.load("insects", insects_dir, streamed=True), 4, 0)
    assert np.bincount(folder.annotations("train")["label"]).tolist() == [4] * 3
    with pytest.raises(DataError, match=r"examples_per_class=200: class 9 of 'digits' has 1\d\d to train on"):
        data.draw_of_each_class(digits, 200, 0)


def test_a_run_learns_from_what_its_config_says_of_each_class(digits_dir):
    config = override(Config(), ["data.name=digits", "data.classes=5,6,7", "data.examples_per_class=4", "seed=2"])
    dataset = runner.load_config_dataset(config, str(digits_dir), False)
    assert np.bincount(dataset.splits["train"]["label"]).tolist() == [4] * 3
    with pytest.raises(config_lib.ConfigError, match="leave one out"):
        override(config, ["data.train_examples=9"])
