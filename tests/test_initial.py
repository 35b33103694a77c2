"""Runs that begin with somebody's variables: a converted checkpoint, or another run."""

import shutil

import jax
import numpy as np
import pytest
from flax import traverse_util

from cnn_jax import data, initial, presets, sweep, tasks, weights
from cnn_jax.config import ConfigError, Model, override, replace_field
from cnn_jax.data import Dataset, Field, class_numbers
from cnn_jax.evaluation import networks
from cnn_jax.runner import Settings, run_one
from cnn_jax.train import devices, loop
from cnn_jax.train import variables as stored
from cnn_jax.train.record import RecordError


@pytest.fixture(scope="module")
def base():
    settings = ["model.name=resnet8", "model.width=4", "batch_size=32", "steps=2", "evaluations=1"]
    return override(presets.get("resnet_digits"), settings)


@pytest.fixture(scope="module")
def resolved(base, digits):
    return sweep.resolve(base, devices.make_layout("jit", 1), digits)


@pytest.fixture(scope="module")
def trained(resolved, digits_dir, tmp_path_factory):
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("trained")
    run_one(resolved, folder, Settings(data_dir=str(digits_dir), devices=1, progress=False))
    return folder


def variables_of(config, digits):
    return tasks.make(config, digits, None).init(jax.random.key(config.seed), digits.splits["train"])


def assert_equal(one, other):
    one, other = (traverse_util.flatten_dict(tree) for tree in (one, other))
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], other[path])


def begun(base, digits, folder, *assignments):
    config = override(replace_field(base, "init_from", str(folder)), assignments)
    return sweep.resolve(config, devices.make_layout("jit", 1), digits)


def test_a_run_begins_with_what_another_learned(base, resolved, trained, digits):
    config = begun(base, digits, trained, "seed=5")
    learned, about = stored.load(trained)
    assert config.init_digest == about["digest"]
    assert_equal(variables_of(config, digits), learned)
    drawn = variables_of(replace_field(resolved, "seed", 5), digits)
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


def test_a_standardisation_that_was_given_in_part_is_kept(base, resolved, digits, tmp_path):
    about = {"model": vars(resolved.model), "preprocess": {"mean": [0.4], "std": [0.2]}}
    stored.save(tmp_path / "converted", variables_of(resolved, digits), about)
    for given, mean, std in (("data.std=0.3", (), (0.3,)), ("data.mean=0.1", (0.1,), ())):
        data = begun(base, digits, tmp_path / "converted", given).data
        assert (data.mean, data.std) == (mean, std)


def test_a_recipes_standardisation_gives_way_and_the_command_lines_does_not(resolved, digits, trained, tmp_path):
    """On streamed images a recipe always has one; a run of the mean image has its colour for them."""
    about = {"model": vars(resolved.model), "preprocess": {"mean": [0.4], "std": [0.2]}}
    stored.save(tmp_path / "converted", variables_of(resolved, digits), about)
    recipe = presets.get("resnet_imagenet", "imagenet2012", "resnet8")
    recipe = replace_field(recipe, "init_from", str(tmp_path / "converted"))
    assert recipe.data.mean == (0.485, 0.456, 0.406)
    config = initial.adopt_standardization(recipe)
    assert (config.data.mean, config.data.std) == ((0.4,), (0.2,))
    config = override(config, ["data.std=0.3"])
    assert (config.data.mean, config.data.std) == ((0.4,), (0.3,))
    config = initial.adopt_standardization(replace_field(recipe, "init_from", str(trained)))
    colour = digits.splits["train"]["image"].mean() / 255
    assert config.data.mean == (pytest.approx(colour, abs=1e-6),) and config.data.std == ()


@pytest.mark.parametrize(("theirs", "ours"), [("paper", "tiny"), ("tiny", "tiny")])
def test_a_stem_for_larger_images_is_not_taken_over(digits, tmp_path, theirs, ours):
    about = {"model": vars(Model(name="squeezenet1_1", stem=theirs)), "preprocess": {"mean": [], "std": []}}
    stored.save(tmp_path / "large", {"params": {"conv1": {"bias": np.zeros(64, "f4")}}}, about)
    base = override(presets.get("auto", "digits", "squeezenet1_1"), ["batch_size=32"])
    assert begun(base, digits, tmp_path / "large").model.stem == ours


def test_another_number_of_classes_draws_the_head_anew_and_says_so(base, resolved, digits, tmp_path, capsys):
    variables = variables_of(resolved, digits)
    variables["params"]["fc"] = {"kernel": np.zeros((16, 1000), "f4"), "bias": np.zeros(1000, "f4")}
    variables["params"]["conv1"]["conv"]["kernel"] = variables["params"]["conv1"]["conv"]["kernel"] + 1
    about = {"model": vars(resolved.model), "preprocess": {"mean": [], "std": []}}
    stored.save(tmp_path / "thousand", variables, about)
    config = begun(base, digits, tmp_path / "thousand")
    start, drawn = variables_of(config, digits), variables_of(resolved, digits)
    assert_equal(start["params"]["fc"], drawn["params"]["fc"])
    told = "drawn anew for 10 are params/fc/bias, params/fc/kernel"
    variables_of(config, digits)
    assert capsys.readouterr().out.count(told) == 1
    assert_equal(start["params"]["conv1"], variables["params"]["conv1"])


def test_a_new_head_begins_small_and_open_whatever_the_old_one_was(base, trained, digits):
    start = variables_of(begun(base, digits, trained, "seed=5", "init_new_head=true"), digits)
    drawn = variables_of(override(begun(base, digits, trained, "seed=5"), ["init_from=", "init_digest="]), digits)
    learned = stored.load(trained)[0]
    head = start["params"].pop("fc")
    np.testing.assert_allclose(head["kernel"], 0.1 * drawn["params"]["fc"]["kernel"], rtol=1e-6)
    assert (head["bias"] == 1).all() and not np.array_equal(head["kernel"], learned["params"].pop("fc")["kernel"])
    assert_equal(start, learned)
    with pytest.raises(ConfigError, match="init_new_head is for variables of init_from, which is empty"):
        override(base, ["init_new_head=true"])


def test_a_run_begins_with_another_up_to_an_endpoint(base, trained, digits):
    """Batch statistics too; what is above is drawn as without init_from, and may have other shapes there."""
    config = begun(base, digits, trained, "seed=5", "init_until=stage1", "optim.frozen=stage1")
    start, learned = variables_of(config, digits), stored.load(trained)[0]
    drawn = variables_of(override(config, ["init_from=", "init_digest=", "init_until="]), digits)
    flat, old, new = (traverse_util.flatten_dict(tree, sep="/") for tree in (start, learned, drawn))
    copied = {name for name in flat if name.split("/")[1] in ("conv1", "stage1_block1")}
    assert {name.split("/")[0] for name in copied} == {"params", "batch_stats"} and len(copied) < len(flat)
    for name, leaf in flat.items():
        np.testing.assert_array_equal(leaf, old[name] if name in copied else new[name])
        assert name not in copied or name.endswith("scale") or not np.array_equal(leaf, new[name])
    halved = data.select_classes(digits, ("1", "2", "3"))
    assert variables_of(config, halved)["params"]["fc"]["kernel"].shape == (16, 3)
    with pytest.raises(ConfigError, match="init_until=stage7: no such endpoint; did you mean stage3 or stage2"):
        begun(base, digits, trained, "init_until=stage7")
    with pytest.raises(ConfigError, match="init_until=stage1 is of init_from, which is empty"):
        override(base, ["init_until=stage1"])


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
    stored.save(tmp_path / "one", variables_of(replace_field(resolved, "seed", 1), digits), about)
    with pytest.raises(ConfigError, match="are not those this config began with"):
        variables_of(config, digits)
    for path in (tmp_path / "one" / "variables").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RecordError):
        stored.load(tmp_path / "one")


def test_a_damaged_checkpoint_of_a_run_is_passed_over(base, trained, digits, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.copytree(checkpoints / "2", checkpoints / "3")
    for path in (checkpoints / "3" / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:-200])
    learned, _ = stored.load(tmp_path / "run")
    assert_equal(learned, stored.load(trained)[0])
    assert "going back to 2" in capsys.readouterr().out
    meta = checkpoints / "2" / "meta" / "metadata"
    meta.write_text(meta.read_text().replace('"variables": "', '"variables": "0'))
    with pytest.raises(RecordError, match="2 is damaged"):
        begun(base, digits, tmp_path / "run")


def test_akamasters_weights_are_trained_on_and_resumed(real_data, tmp_path):
    """Stopped after a step and continued, the run has the bytes of one that was not."""
    path = real_data / "weights" / "cifar10_resnet20_akamaster.safetensors"
    network = weights.load(path, "resnet20", "akamaster")
    networks.save(tmp_path / "start", "resnet20", network, {"source": "akamaster"})
    generator = np.random.default_rng(0)
    arrays = {"image": generator.integers(0, 256, (8, 32, 32, 3), np.uint8), "label": np.arange(8, dtype=np.int32)}
    fields = {"image": Field("image"), "label": Field("label", class_numbers(10))}
    dataset = Dataset("tiny", {"train": arrays, "test": arrays}, fields, "0")
    config = override(
        presets.get("resnet_cifar10", "tiny"), ["batch_size=8", "steps=2", "evaluations=2", "model.bn_group=8"]
    )
    config = replace_field(config, "init_from", str(tmp_path / "start"))
    layout = devices.make_layout("jit", 1)
    config = sweep.resolve(config, layout, dataset)
    assert config.model.zero_channels == "each_side" and config.data.std == (0.229, 0.224, 0.225)
    task = tasks.make(config, dataset, None)
    assert_equal(task.init(jax.random.key(0), arrays), network.variables)
    options = loop.Options(layout, checkpoint_seconds=0, progress=False)
    whole = loop.fit(task, config, dataset, tmp_path / "whole", options)
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "2")
    (tmp_path / "again" / "result.json").unlink()
    again = loop.fit(task, config, dataset, tmp_path / "again", options)
    assert whole | {"seconds": 0} == again | {"seconds": 0}
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "again" / "metrics.jsonl").read_bytes()
