"""The pages evaluate and predict, started as a user starts them: our own run, other people's weights, pictures."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cnn_jax import weights
from cnn_jax.evaluation import networks
from cnn_jax.weights.classes import CIFAR10
from tests import started
from tests.started import read_refusal
from tests.test_experiments import TINY


@pytest.fixture(scope="module")
def run(digits_dir, tmp_path_factory):
    """A run folder that the page train left, and what its result.json says."""
    workdir = tmp_path_factory.mktemp("train")
    done = started.run_page(
        "train", "--model=resnet8", "--run=tiny", f"--data_dir={digits_dir}", f"--workdir={workdir}", *TINY
    )
    assert done.returncode == 0, done.stderr
    return workdir / "tiny", json.loads((workdir / "tiny" / "result.json").read_text())


def evaluate(*flags, page="evaluate"):
    """(what is printed, the JSON of its last line) of a call that succeeds."""
    done = started.run_page(page, "--noprogress", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, json.loads(done.stdout.splitlines()[-1])


def test_a_run_has_the_error_it_recorded(run, tmp_path):
    """Its manifest tells where the data set is."""
    folder, recorded = run
    text, result = evaluate(f"--run={folder}", f"--workdir={tmp_path}")
    assert result["test_error"] == recorded["test_error"]
    assert result["test_loss"] == pytest.approx(recorded["test_loss"], rel=1e-5)
    assert (result["model"], result["dataset"], result["split"], result["step"]) == ("resnet8", "digits", "test", 4)
    assert (result["examples"], result["parameters"]) == (360, recorded["parameters"])
    assert result["images_per_second"] > 0 and result["top5_error"] <= result["test_error"]
    assert "whole images" in text and f"{100 * result['test_error']:.2f} %" in text
    with open(tmp_path / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    right, images = (sum(int(row[column]) for row in rows) for column in ("right", "examples"))
    assert (images, 1 - right / images) == (360, pytest.approx(recorded["test_error"]))
    assert {"confusion.csv", "confusion.png", "mistakes.png"} < {path.name for path in tmp_path.iterdir()}


def test_a_run_alone_names_what_is_in_pictures(run, digits, tmp_path):
    """Its folder is enough: the data set is not there."""
    for number, (image, label) in enumerate(zip(*digits.first("test", 30).values(), strict=True)):
        path = tmp_path / str(label) / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).resize((16, 16), Image.Resampling.NEAREST).save(path)
    flags = [f"--run={run[0]}", "--data_dir=nowhere", f"--images={tmp_path}", f"--output={tmp_path / 'out.csv'}"]
    text, result = evaluate(*flags, page="predict")
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    agree = sum(Path(row["file"]).parent.name == row["class"] for row in rows)
    assert result == {"output": str(tmp_path / "out.csv"), "images": 30, "damaged": 0} and len(rows) == 30
    assert f"{100 * agree / 30:.2f} % of them, {agree}, are said to be of it" in text


def test_a_run_under_another_protocol_and_with_statistics_recomputed(run, digits_dir, tmp_path):
    flags = [
        f"--workdir={tmp_path}",
        f"--run={run[0]}",
        f"--data_dir={digits_dir}",
        "--split=train",
        "--examples=50",
        "--devices=2",
    ]
    _, result = evaluate(*flags, "--crops=10", "--resize=9", "--recompute_batch_norm")
    assert result["protocol"] == {"crops": 10, "crop": 8, "scales": [9], "dense": False}
    assert result["examples"] == 50 and 0 <= result["train_error"] <= 1
    assert result["recomputed_batch_norm"]


def test_other_peoples_weights_on_real_images(real_data, part_of_cifar10, tmp_path):
    flags = [
        f"--workdir={tmp_path}",
        "--model=resnet20",
        "--source=akamaster",
        "--dataset=cifar10",
        f"--data_dir={part_of_cifar10}",
    ]
    weights = real_data / "weights" / "cifar10_resnet20_akamaster.safetensors"
    _, result = evaluate(*flags, f"--weights={weights}", "--examples=200")
    assert (result["model"], result["source"], result["parameters"]) == ("resnet20", "akamaster", 269_722)
    assert result["test_error"] < 0.15


def test_a_picture_has_five_classes(real_data, tmp_path):
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(picture)
    weights = real_data / "weights" / "cifar10_resnet20_akamaster.safetensors"
    flags = [f"--weights={weights}", "--model=resnet20", "--source=akamaster", f"--image={picture}"]
    text, result = evaluate(*flags)
    probabilities = [guess["probability"] for guess in result["top5"]]
    assert len(probabilities) == 5 and probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1.0001
    likeliest = result["top5"][0]
    assert likeliest["name"] == CIFAR10[likeliest["class"]] and likeliest["name"] in text.splitlines()[0]


def test_the_classes_of_imagenet_have_names(real_data):
    """The order is that of WordNet's ids, as TFDS lists them: n02123045 is a tabby, n03063599 a coffee mug."""
    labels = Path(tfds.__file__).parent / "datasets" / "imagenet2012" / "labels.txt"
    ids, names = labels.read_text().split(), weights.class_names("squeezenet1_1", "torchvision", 1000)
    assert len(set(names)) == len(ids) == 1000 and ids == sorted(ids)
    known = {"n01440764": "tench", "n02123045": "tabby", "n03063599": "coffee mug", "n15075141": "toilet tissue"}
    assert {one: names[ids.index(one)].partition(",")[0] for one in known} == known
    assert weights.class_names("squeezenet1_1", "torchvision", 3) == ("0", "1", "2")
    path = real_data / "weights" / "squeezenet1_1.safetensors"
    assert networks.load(path, "squeezenet1_1", "torchvision").class_names == names


def test_a_run_has_the_class_names_of_its_data(run, digits):
    config = networks.read_config(run[0])
    assert networks.load_run(run[0], config, digits)[0].class_names == digits.class_names()


WRONG = {
    "no network": (["--dataset=digits"], "give a network: --run alone, or --weights, with --model and --source"),
    "no run there": (["--run=nowhere"], "nowhere is not a run folder"),
    "no such source": (["--weights=x", "--model=resnet20", "--source=akamasters"], "unknown source of weights"),
    "no such file": (["--weights=x.safetensors", "--model=resnet20", "--source=akamaster"], "no such file"),
    "two scales": (["--resize=9", "--scales=9,10"], "leave one out"),
    "no size": (["--scales=9,ten"], "'ten' is no size"),
    "no split": (["--split=valid"], "--split=valid: digits has train, test"),
    "run and model": (["--model=resnet20"], "--model: a run has its own"),
    "no room": (["--crops=10"], "ten crops of 8 in images of 8x8 are one"),
    "not a picture": (["--image=pyproject.toml"], "pyproject.toml cannot be decoded"),
    "no picture": (["--image=nowhere.jpg"], "nowhere.jpg cannot be read (No such file or directory)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line(name, run, digits_dir):
    flags, message = WRONG[name]
    if not any(flag.startswith(("--weights", "--run", "--dataset")) for flag in flags):
        flags = [f"--run={run[0]}", *flags]
    assert message in read_refusal("evaluate", f"--data_dir={digits_dir}", *flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--run=x"], "give --images: files, folders or patterns"),
        (["--images=nowhere"], "nowhere has no images: files, folders and patterns are taken"),
        (["--images=tests"], "tests has no images"),
        (["--images=pyproject.toml"], "give a network: --run alone, or --weights"),
        (["--run=x", "--images=pyproject.toml", "--output=tests"], "--output=tests is a folder: name a file in it"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(flags, message):
    assert message in read_refusal("predict", *flags)


def test_labels_of_other_classes_are_refused(real_data, digits_dir):
    flags = [f"--weights={real_data / 'weights' / 'squeezenet1_1.safetensors'}", "--model=squeezenet1_1"]
    said = read_refusal("evaluate", *flags, "--source=torchvision", "--dataset=digits", f"--data_dir={digits_dir}")
    assert said.startswith("error: the network tells 1000 classes apart and digits has 10")
