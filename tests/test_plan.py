"""Plans of sets that are not at hand: published counts, and what a step keeps for its backward pass."""

import jax
import pytest

from cnn_jax import classification, config, plan, presets
from cnn_jax.data.stream import known
from cnn_jax.train import devices

PUBLISHED = {  # parameters and GMACs, as in models/published.py, and epochs of 1,281,167 images
    "resnet18": (11_689_512, "1.814", "119.9"),
    "alexnet": (60_965_224, "0.724", "90.0"),
    "vgg16": (138_357_544, "15.470", "73.9"),
    "googlenet": (13_378_280, None, "249.8"),
}


def row(name, tmp_path, accumulate=1, hours=24.0):
    dataset = known.absent("imagenet2012")
    one = classification.complete(presets.get("auto", "imagenet2012", name), dataset)
    layout = devices.choose("jit", 2, accumulate)
    text = plan.counted([one], [dataset], tmp_path, layout, hours)
    assert "2 devices" in text and "nothing was trained, timed or read" in text
    columns = text.splitlines()[1].split()
    return dict(zip("model runs steps epochs parameters macs memory images flops".split(), columns, strict=True))


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


def test_what_is_kept_grows_with_the_examples_alone():
    """Of n examples n times as much, beside what does not depend on them: parameters that the backward pass needs."""
    dataset = known.absent("imagenet2012")
    one = classification.complete(presets.get("auto", "imagenet2012", "resnet18"), dataset)
    task = classification.make_task(config.change(one, "model.bn_group", "global"), dataset, None)
    variables = task.init(jax.random.key(0), None)
    kept = [plan.kept_bytes(task, variables, one, dataset, examples) for examples in (8, 16, 32)]
    assert kept[2] - kept[1] == 2 * (kept[1] - kept[0]) > 0


def test_sizes_that_are_not_known_are_not_made_up():
    assert known.absent("nosuchset") is None and known.absent("imagenet2012").count("test") == 50_000
