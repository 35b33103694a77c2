"""Plans of sets that are not at hand: published counts, and what a step keeps for its backward pass."""

import jax
import pytest

from cnn_jax import config, plan, presets, tasks
from cnn_jax.data.sources import known
from cnn_jax.train import devices

PUBLISHED = {  # parameters and GMACs, as in models/published.py, and epochs of 1,281,167 images
    "resnet18": (11_689_512, "1.814", "119.9"),
    "alexnet": (60_965_224, "0.724", "90.0"),
    "vgg16": (138_357_544, "15.470", "73.9"),
    "googlenet": (13_378_280, None, "249.8"),
}


def row(name, tmp_path, accumulate=1, hours=24.0):
    dataset = known.absent("imagenet2012")
    one = tasks.complete(presets.get("auto", "imagenet2012", name), dataset)
    layout = devices.make_layout("jit", 2, accumulate)
    text = plan.estimate_plan([one], [dataset], tmp_path, layout, hours)
    assert "2 devices" in text and "nothing was trained or timed" in text
    columns = text.splitlines()[1].split()
    return dict(
        zip("model runs steps epochs parameters macs memory images mebibytes flops".split(), columns, strict=True)
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_imagenets_presets_have_the_published_counts(name, tmp_path):
    parameters, macs, epochs = PUBLISHED[name]
    planned = row(name, tmp_path)
    assert (planned["model"], planned["parameters"], planned["epochs"]) == (name, f"{parameters:,}", epochs)
    assert macs in (None, planned["macs"])


def test_parts_of_a_batch_need_less_memory_and_haste_more_images(tmp_path):
    whole, parts = row("resnet18", tmp_path), row("resnet18", tmp_path, accumulate=4, hours=6.0)
    assert float(parts["memory"]) < float(whole["memory"]) / 3
    assert whole["images"] == "1,778" and parts["images"] == "7,111"  # 600,000 x 256 in a day, in six hours


def recipe(name, **changes):
    dataset = known.absent("imagenet2012")
    one = tasks.complete(presets.get("auto", "imagenet2012", name), dataset)
    one = config.replace_fields(one, changes)
    task = tasks.make(one, dataset, None)
    return task, task.init(jax.random.key(0), None), one, dataset


@pytest.mark.parametrize(
    ("changes", "copies"),
    [
        ({}, 3),  # parameters, gradient, momentum
        ({"optim.optimizer": "adamw"}, 4),
        ({"optim.average": "exponential"}, 4),
        ({"optim.optimizer": "lbfgs"}, 25),  # ten changes of both, the last of both, and the gradient that zoom keeps
    ],
)
def test_the_state_is_counted_whole(changes, copies):
    task, variables, one, _ = recipe("alexnet_owt", **changes)
    parameters = 4 * sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert plan.state_bytes(task, variables, one) == pytest.approx(copies * parameters, rel=1e-4)


def test_what_is_kept_grows_with_the_examples_alone():
    """Of n examples n times as much; what does not depend on them is the parameters, each of which is needed once."""
    problem = recipe("resnet18", **{"model.bn_group": "global"})
    kept = [plan.activation_bytes(*problem, examples) for examples in (8, 16, 32)]
    assert kept == [kept[0], 2 * kept[0], 4 * kept[0]]
    parameters = 4 * sum(leaf.size for leaf in jax.tree.leaves(problem[1]["params"]))
    assert plan.residual_bytes(*problem, 8) - kept[0] == pytest.approx(parameters, rel=0.01)


def test_what_vgg_keeps_is_its_maps():
    """At least the input of every layer with weights, as the paper's table of VGG-D gives them (configuration D)."""
    problem = recipe("vgg16")
    blocks = [(224, 3, 64, 2), (112, 64, 128, 2), (56, 128, 256, 3), (28, 256, 512, 3), (14, 512, 512, 3)]
    inputs = sum(size**2 * (before + (count - 1) * channels) for size, before, channels, count in blocks)
    inputs += 7 * 7 * 512 + 4096 + 4096
    assert 4 * inputs < plan.activation_bytes(*problem, 1) < 4 * 4 * inputs


def test_images_to_read_are_as_large_as_the_archives_are(tmp_path):
    """ImageNet's 144 GiB, 1.8 thousand images a second: each image once in 721 seconds."""
    assert float(row("resnet18", tmp_path)["mebibytes"]) == pytest.approx(
        144.02 * 1024 / (1_331_167 / 1777.8), rel=0.01
    )


def test_sizes_that_are_not_known_are_not_made_up():
    assert known.absent("nosuchset") is None and known.absent("imagenet2012").count("test") == 50_000
