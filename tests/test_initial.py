"""Runs that begin with somebody's variables: a converted checkpoint, or another run."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from cnn_jax import classification, presets, sweep
from cnn_jax.config import ConfigError, Model, change, override
from cnn_jax.runner import Settings, run_one
from cnn_jax.train import devices
from cnn_jax.train import variables as stored
from cnn_jax.train.record import RecordError


@pytest.fixture(scope="module")
def base():
    settings = ["model.name=resnet8", "model.width=4", "batch_size=32", "steps=2", "evaluations=1"]
    return override(presets.get("resnet_digits"), settings)


@pytest.fixture(scope="module")
def resolved(base, digits):
    return sweep.resolve(base, devices.choose("jit", 1), digits)


@pytest.fixture(scope="module")
def trained(resolved, digits_dir, tmp_path_factory):
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("trained")
    run_one(resolved, folder, Settings(data_dir=str(digits_dir), devices=1, progress=False))
    return folder


def variables_of(config, digits):
    return classification.make_task(config, digits, None).init(jax.random.key(config.seed), digits.splits["train"])


def assert_equal(one, other):
    one, other = (traverse_util.flatten_dict(tree) for tree in (one, other))
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], other[path])


def begun(base, digits, folder, *assignments):
    config = override(change(base, "init_from", str(folder)), assignments)
    return sweep.resolve(config, devices.choose("jit", 1), digits)


def test_a_run_begins_with_what_another_learned(base, resolved, trained, digits):
    config = begun(base, digits, trained, "seed=5")
    learned, about = stored.load(trained)
    assert config.init_digest == about["digest"]
    assert_equal(variables_of(config, digits), learned)
    drawn = variables_of(change(resolved, "seed", 5), digits)
    assert (drawn["params"]["fc"]["kernel"] != learned["params"]["fc"]["kernel"]).any()


def test_what_is_left_open_is_the_checkpoints(base, resolved, digits, tmp_path):
    about = {"model": vars(resolved.model) | {"zero_channels": "each_side"}}
    about["preprocess"] = {"mean": [0.4], "std": [0.2]}
    stored.save(tmp_path / "converted", variables_of(resolved, digits), about)
    config = begun(base, digits, tmp_path / "converted")
    assert (config.model.zero_channels, config.data.mean, config.data.std) == ("each_side", (0.4,), (0.2,))
    with pytest.raises(ConfigError, match="has each_side; give --set=model.zero_channels=each_side"):
        begun(base, digits, tmp_path / "converted", "model.zero_channels=after")
    with pytest.raises(RecordError, match="is there already"):
        stored.save(tmp_path / "converted", {}, {})


def test_another_number_of_classes_draws_the_head_anew(base, resolved, digits, tmp_path):
    variables = variables_of(resolved, digits)
    variables["params"]["fc"] = {"kernel": np.zeros((16, 1000), "f4"), "bias": np.zeros(1000, "f4")}
    variables["params"]["conv1"]["conv"]["kernel"] = variables["params"]["conv1"]["conv"]["kernel"] + 1
    about = {"model": vars(resolved.model), "preprocess": {"mean": [], "std": []}}
    stored.save(tmp_path / "thousand", variables, about)
    config = begun(base, digits, tmp_path / "thousand")
    start, drawn = variables_of(config, digits), variables_of(resolved, digits)
    assert_equal(start["params"]["fc"], drawn["params"]["fc"])
    assert_equal(start["params"]["conv1"], variables["params"]["conv1"])


def test_what_cannot_be_begun_with_is_named(base, resolved, trained, digits, tmp_path):
    with pytest.raises(ConfigError, match="is a resnet8, not a plain8"):
        begun(base, digits, trained, "model.name=plain8")
    with pytest.raises(ConfigError, match="model.width=8: .* has 4; give --set=model.width=4"):
        begun(base, digits, trained, "model.width=8")
    with pytest.raises(RecordError, match="neither a converted checkpoint"):
        begun(base, digits, tmp_path)
    about = {"model": vars(Model(name="resnet8")), "preprocess": {"mean": [], "std": []}}
    variables = variables_of(resolved, digits)
    del variables["params"]["conv1"]
    stored.save(tmp_path / "less", variables, about)
    config = begun(base, digits, tmp_path / "less")
    with pytest.raises(ConfigError, match="3 missing: .*params/conv1/bn/bias"):
        variables_of(config, digits)


def test_a_changed_or_damaged_start_is_noticed(base, resolved, digits, tmp_path):
    about = {"model": vars(resolved.model), "preprocess": {"mean": [], "std": []}}
    stored.save(tmp_path / "one", variables_of(resolved, digits), about)
    config = begun(base, digits, tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "old")
    stored.save(tmp_path / "one", variables_of(change(resolved, "seed", 1), digits), about)
    with pytest.raises(ConfigError, match="are not those this config began with"):
        variables_of(config, digits)
    for path in (tmp_path / "one" / "variables").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RecordError):
        stored.load(tmp_path / "one")
