import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.config import Config, ConfigError, override, replace_fields
from cnn_jax.data import DataError
from cnn_jax.runner import Settings, load_config_dataset, prepare
from cnn_jax.sweep import grid


def pixels(dataset):
    return [image.tobytes() for image in dataset.splits["train"]["image"]]


def test_fewer_examples_are_among_more_and_have_the_classes_proportions(digits):
    few, more, all_of_them = (data.draw(digits, count, seed=3) for count in (100, 300, 1437))
    assert pixels(few) == pixels(more)[:100]
    assert sorted(pixels(all_of_them)) == sorted(pixels(digits))
    assert few.splits["test"] is digits.splits["test"]
    shares = np.bincount(digits.splits["train"]["label"]) / 1437
    for dataset in (few, more):
        counts = np.bincount(dataset.splits["train"]["label"])
        assert np.abs(counts - shares * counts.sum()).max() <= 1


def test_what_is_drawn_is_the_seeds(digits):
    one, again, other = (pixels(data.draw(digits, 100, seed)) for seed in (0, 0, 1))
    assert one == again != other
    assert len({data.draw(digits, 100, seed).fingerprint for seed in (0, 1)} | {digits.fingerprint}) == 3


def test_a_run_learns_from_what_its_seed_drew(digits, digits_dir):
    config = override(Config(), ["data.name=digits", "data.train_examples=50", "seed=2"])
    dataset = load_config_dataset(config, str(digits_dir), False)
    assert pixels(dataset) == pixels(data.draw(digits, 50, 2))
    assert prepare(override(config, ["model.name=resnet8"]), Settings(data_dir=str(digits_dir)))[1] is dataset


def test_more_than_there_are_is_one_line(digits):
    with pytest.raises(DataError, match="train_examples=1438: 'digits' has 1437 to train on"):
        data.draw(digits, 1438, 0)


def test_an_axis_may_be_several_fields():
    configs = grid(Config(), {("penalty.l1", "penalty.l2"): [(0.1, 0.2), (0.3, 0.4)], "seed": [5, 6]})
    values = [(config.penalty.l1, config.penalty.l2, config.seed) for config in configs]
    assert values == [(0.1, 0.2, 5), (0.1, 0.2, 6), (0.3, 0.4, 5), (0.3, 0.4, 6)]


def test_several_fields_are_checked_when_all_are_changed():
    with pytest.raises(ConfigError):
        replace_fields(Config(), {"data.crop": 300})
    assert replace_fields(Config(), {"data.crop": 300, "data.short_side": (320,)}).data.crop == 300
