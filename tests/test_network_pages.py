"""The pages about networks, started as a user starts them: architectures, convert, features, published_depth."""

import csv
import re

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from cnn_jax import weights
from tests import started
from tests.started import read_refusal
from tests.test_experiments import TINY
from tests.test_weights import drawn


@pytest.fixture(scope="module")
def akamaster(tmp_path_factory):
    """A file of weights in akamaster's form."""
    path = tmp_path_factory.mktemp("weights") / "resnet8.safetensors"
    weights.save(path, "resnet8", "akamaster", drawn("resnet8", "akamaster"))
    return path


def run(page, *flags):
    done = started.run_page(page, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


OTHERS = ["alexnet", "squeezenet1_1", "googlenet", "resnet18"]


@pytest.mark.parametrize("others", [[], pytest.param(OTHERS, marks=pytest.mark.slow)])
def test_every_family_is_tabulated(others, digits_dir, tmp_path):
    models = ["lenet5", "vgg11", "plain8", *others]
    flags = [f"--models={','.join(models)}", "--seeds=0", "--width_multiplier=0.07", *TINY[1:], "--set=batch_size=16"]
    text = run("architectures", *flags, f"--data_dir={digits_dir}", f"--workdir={tmp_path}")
    with open(tmp_path / "results.csv") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(models)
    assert {row["image_size"] for row in rows.values()} == {"8"}
    assert rows["vgg11"]["stem"] == "tiny" and rows["vgg11"]["width"] == "4"
    assert all(int(row["macs"]) > 0 and 0 <= float(row["test_error"]) <= 1 for row in rows.values())
    assert re.search(r"vgg11 +tiny +4 +1 ", text)
    assert (tmp_path / "architectures.png").stat().st_size > 1000


def test_weights_are_converted_trained_on_and_converted_back(akamaster, digits_dir, tmp_path):
    flags = ["--model=resnet8", "--source=akamaster"]
    run("convert", *flags, f"--weights={akamaster}", f"--workdir={tmp_path / 'start'}")
    run("convert", *flags, f"--back={tmp_path / 'start'}", f"--weights={tmp_path / 'back.safetensors'}")
    old, new = load_file(akamaster), load_file(tmp_path / "back.safetensors")
    assert all((old[name] == new[name]).all() for name in old.keys() | new.keys())
    again = read_refusal("convert", *flags, f"--weights={akamaster}", f"--workdir={tmp_path / 'start'}")
    assert "is there already" in again
    # The digits have one channel: what does not fit is named, and nothing is trained.
    train = [f"--init_from={tmp_path / 'start'}", f"--data_dir={digits_dir}", "--set=model.width=16"]
    train += ["--set=data.mean=0.5", "--set=data.std=0.5", *TINY[1:]]
    done = started.run_page("train", "--model=resnet8", *train, f"--workdir={tmp_path / 'runs'}")
    assert done.returncode == 1
    assert "1 of another shape: params/conv1/conv/kernel 3x3x3x16, not 3x3x1x16" in done.stderr


def test_features_of_an_image(akamaster, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "image.png")
    flags = ["--model=resnet8", "--source=akamaster", f"--weights={akamaster}", f"--workdir={tmp_path / 'figures'}"]
    text = run("features", *flags, f"--image={tmp_path / 'image.png'}", "--maps=3")
    assert [line.rpartition("/")[2] for line in text.splitlines()] == ["filters.png", "maps.png"]
    assert (
        read_refusal("features", *flags) == "error: give images: --dataset, such as cifar10, or --image=FILE, or both\n"
    )


def test_published_nets_are_tested_and_tabulated(real_data, part_of_cifar10, tmp_path):
    """Of the first 1,000 images akamaster's resnet20 errs on 76, as in test_evaluation."""
    file = real_data / "weights" / "cifar10_resnet20_akamaster.safetensors"
    flags = [f"--data_dir={part_of_cifar10}", f"--workdir={tmp_path}", "--noprogress"]
    text = run("published_depth", f"--nets=resnet20:akamaster:{file}", *flags)
    assert text.splitlines()[-1] == "| resnet20 | akamaster | 269,722 | 7.60 | 8.75 |"
    for net, message in (("resnet20", "write model:source:file"), (f"plain20:akamaster:{file}", "has no plain20")):
        assert message in read_refusal("published_depth", f"--nets={net}", *flags)


@pytest.mark.slow
def test_a_published_net_makes_its_published_errors(real_data, tmp_path):
    """All 10,000 images: akamaster's resnet20 errs on 827."""
    file = real_data / "weights" / "cifar10_resnet20_akamaster.safetensors"
    flags = [f"--data_dir={real_data / 'tfds'}", f"--workdir={tmp_path}", "--noprogress"]
    text = run("published_depth", f"--nets=resnet20:akamaster:{file}", *flags)
    assert text.splitlines()[-1] == "| resnet20 | akamaster | 269,722 | 8.27 | 8.75 |"


def test_a_width_is_given_in_one_way(digits_dir, tmp_path):
    flags = [f"--data_dir={digits_dir}", f"--workdir={tmp_path}"]
    both = read_refusal("train", "--width=8", "--width_multiplier=0.5", *flags)
    assert both == "error: --width and --width_multiplier: leave one out\n"
    assert read_refusal("train", "--model=lenet5", "--width=8", *flags).startswith("error: lenet5 has no model.width; ")
    small = read_refusal("train", "--model=vgg16", "--set=model.stem=paper", *flags)
    assert small == "error: model.stem=paper: vgg16 so takes 32 pixels or more; these are 8\n"
